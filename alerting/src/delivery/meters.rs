//! The delivery worker's metrics.

use std::time::Duration;

use model::message::Delivery;
use model::state::Backlog;
use model::time::Timestamp;
use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry};

use super::progress::Next;
use crate::channels::Reconciled;

/// All of them.
pub struct Meters {
    outcomes: IntCounterVec,
    seconds: HistogramVec,
    delay: HistogramVec,
    reconciled: IntCounterVec,
    pending: IntGauge,
    dead: IntGauge,
    overdue: Gauge,
}

impl Meters {
    /// Registers them.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let histogram = |name: &str, help: &str, buckets: &[f64]| -> Result<HistogramVec, prometheus::Error> {
            let made = HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &["receiver"])?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let made = IntGauge::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let overdue = Gauge::new("watchfire_delivery_overdue_seconds", "How long the longest overdue delivery has been due.")?;
        registry.register(Box::new(overdue.clone()))?;
        Ok(Meters {
            outcomes: counter(
                "watchfire_notifications_total",
                "What became of deliveries: sent, resent (marked, an earlier attempt may have arrived), retried, waited, unneeded, folded (into a digest) or dead.",
                &["receiver", "outcome"],
            )?,
            reconciled: counter(
                "watchfire_notification_reconciliations_total",
                "What providers said about sends of unknown outcome: arrived, partly, not_arrived or unknown.",
                &["receiver", "answer"],
            )?,
            seconds: histogram(
                "watchfire_notification_seconds",
                "How long one send to a provider took, whatever its outcome.",
                &[0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0],
            )?,
            delay: histogram(
                "watchfire_notification_delay_seconds",
                "From the writing of a delivery to the provider's acceptance.",
                &[0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0, 86_400.0],
            )?,
            pending: gauge("watchfire_delivery_pending", "Deliveries that are not done yet.")?,
            dead: gauge("watchfire_delivery_dead", "Deliveries that were given up and can be replayed.")?,
            overdue,
        })
    }

    /// The queue as the state store sees it; `None` where it is empty.
    pub fn backlog(&self, backlog: Option<&Backlog>) {
        self.pending.set(backlog.map_or(0, |backlog| i64::try_from(backlog.pending).unwrap_or(i64::MAX)));
        self.dead.set(backlog.map_or(0, |backlog| i64::try_from(backlog.dead).unwrap_or(i64::MAX)));
        self.overdue.set(backlog.map_or(0.0, |backlog| backlog.overdue.as_secs_f64()));
    }

    /// One send.
    pub fn sent(&self, receiver: &str, took: Duration) {
        self.seconds.with_label_values(&[receiver]).observe(took.as_secs_f64());
    }

    /// Notices that are told in a digest.
    pub fn folded(&self, receiver: &str, count: usize) {
        self.outcomes.with_label_values(&[receiver, "folded"]).inc_by(count as u64);
    }

    /// One question to a provider.
    pub fn reconciled(&self, receiver: &str, answer: &Reconciled) {
        let answer = match answer {
            Reconciled::Arrived(_) => "arrived",
            Reconciled::Partly { .. } => "partly",
            Reconciled::NotArrived => "not_arrived",
            Reconciled::Unknown => "unknown",
        };
        self.reconciled.with_label_values(&[receiver, answer]).inc();
    }

    /// What became of a row. Receivers that are not configured share one label value, so that names from rows cannot grow the series.
    pub fn settled(&self, receiver: Option<&str>, delivery: &Delivery, next: &Next, now: Timestamp) {
        let receiver = receiver.unwrap_or("unknown");
        let outcome = match next {
            Next::Done { resend: false, .. } => "sent",
            Next::Done { resend: true, .. } => "resent",
            Next::Retry { .. } => "retried",
            Next::Wait { .. } => "waited",
            Next::Unneeded { .. } => "unneeded",
            Next::Dead { .. } => "dead",
        };
        self.outcomes.with_label_values(&[receiver, outcome]).inc();
        match next {
            Next::Done { .. } => self.delay.with_label_values(&[receiver]).observe(now.since(delivery.queued_at).as_secs_f64()),
            Next::Retry { .. } | Next::Wait { .. } | Next::Unneeded { .. } | Next::Dead { .. } => {}
        }
    }
}
