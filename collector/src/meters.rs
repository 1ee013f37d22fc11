//! What the intake says about itself, as `watchfire_collector_*` metrics. Fails: only at start, if a name is taken.

use model::time::Stopwatch;
use prometheus::{Histogram, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, Opts, Registry};

use crate::pipeline::Pipeline;
use crate::pipeline::stage::Changes;
use crate::rows::tally::Tally;
use crate::sockets::SocketMeters;

/// The metrics of the intake.
pub(crate) struct Meters {
    /// Answered requests by protocol, signal and status code.
    pub(crate) requests: IntCounterVec,
    /// Rows that the sink made durable.
    pub(crate) rows: IntCounterVec,
    /// Records that can never be stored.
    pub(crate) rejected: IntCounterVec,
    /// Values and parts that were cut or dropped at a limit.
    pub(crate) cut: IntCounterVec,
    /// Requests that had been accepted before.
    pub(crate) duplicates: IntCounterVec,
    /// Spans whose service or name passed the limit of the derived series.
    pub(crate) red_overflow: IntCounter,
    /// Records that a rule dropped.
    pub(crate) dropped: IntCounterVec,
    /// Records that sampling left out.
    pub(crate) sampled: IntCounterVec,
    /// Secrets that were redacted.
    pub(crate) redacted: IntCounterVec,
    /// Points that are in no series of their own.
    pub(crate) overflowed: IntCounter,
    /// Requests over their tenant's rate.
    pub(crate) limited: IntCounterVec,
    /// Series that count against the limits.
    pub(crate) active: IntGauge,
    /// Items of Sentry's envelopes.
    pub(crate) sentry_items: IntCounterVec,
    /// Time to inflate, decode and build the blocks of a request.
    pub(crate) decode_seconds: HistogramVec,
    /// Memory reserved by requests in flight.
    pub(crate) in_flight: IntGauge,
    /// Series described in the store, as far as this process knows.
    pub(crate) series: IntGauge,
    /// What the receivers with sockets of their own say.
    pub(crate) sockets: SocketMeters,
}

impl Meters {
    /// Registers all of them.
    pub(crate) fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
            let counter = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let requests = counters("watchfire_collector_requests_total", "Answered requests.", &["protocol", "signal", "code"])?;
        let rows = counters("watchfire_collector_rows_total", "Rows made durable.", &["signal"])?;
        let rejected =
            counters("watchfire_collector_rejected_rows_total", "Records that can never be stored, by reason.", &["signal", "reason"])?;
        let cut = counters("watchfire_collector_cut_values_total", "Values and parts cut or dropped at a limit.", &["signal", "part"])?;
        let duplicates = counters("watchfire_collector_duplicate_requests_total", "Requests that had been accepted before.", &["signal"])?;
        let sentry_items = counters(
            "watchfire_collector_sentry_items_total",
            "Items of Sentry's envelopes: read, or ignored because nothing is done with their type.",
            &["type", "outcome"],
        )?;
        let red_overflow = IntCounter::new(
            "watchfire_collector_red_overflow_spans_total",
            "Spans counted as `overflow` in the series derived from spans, because their service or name passed the limit.",
        )?;
        registry.register(Box::new(red_overflow.clone()))?;
        let overflowed = IntCounter::new(
            "watchfire_pipeline_overflow_points_total",
            "Points of series past the limit: in their metric's overflow series, or rejected.",
        )?;
        registry.register(Box::new(overflowed.clone()))?;
        let buckets = vec![0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0];
        let options =
            HistogramOpts::new("watchfire_collector_decode_seconds", "Time to inflate, decode and build the blocks of a request.");
        let decode_seconds = HistogramVec::new(options.buckets(buckets), &["signal"])?;
        registry.register(Box::new(decode_seconds.clone()))?;
        Ok(Meters {
            requests,
            rows,
            rejected,
            cut,
            duplicates,
            red_overflow,
            dropped: counters("watchfire_pipeline_dropped_records_total", "Records that a rule dropped.", &["signal", "rule"])?,
            sampled: counters("watchfire_pipeline_sampled_out_records_total", "Records that sampling left out.", &["signal"])?,
            redacted: counters("watchfire_pipeline_redactions_total", "Secrets that were redacted.", &["kind"])?,
            overflowed,
            limited: counters(
                "watchfire_pipeline_rate_limited_requests_total",
                "Requests over their tenant's rate.",
                &["tenant", "signal"],
            )?,
            active: gauge("watchfire_pipeline_active_series", "Series that count against the limits of pipeline.cardinality.")?,
            sentry_items,
            decode_seconds,
            in_flight: gauge("watchfire_collector_inflight_bytes", "Memory reserved by requests in flight.")?,
            sockets: SocketMeters::new(registry)?,
            series: gauge("watchfire_collector_known_series", "Series that this process knows to be described in the store.")?,
        })
    }
    /// Counts what was cut and rejected in an accepted request.
    pub(crate) fn tally(&self, signal: &str, tally: &Tally) {
        for (reason, count) in tally.rejected() {
            self.rejected.with_label_values(&[signal, reason.label()]).inc_by(count);
        }
        for (part, count) in tally.cuts() {
            self.cut.with_label_values(&[signal, part.label()]).inc_by(count);
        }
        for (kind, count) in tally.sentry.items() {
            self.sentry_items.with_label_values(&[kind.label(), kind.outcome()]).inc_by(count);
        }
        self.red_overflow.inc_by(tally.red_overflow);
    }
    /// Counts what processing changed and left out in an accepted request.
    pub(crate) fn changes(&self, signal: &str, changes: &Changes, pipeline: &Pipeline) {
        for (index, count) in changes.dropped.iter().enumerate().filter(|(_, count)| **count > 0) {
            self.dropped.with_label_values(&[signal, pipeline.rule_name(index)]).inc_by(*count);
        }
        for (signal, count) in
            [("traces", changes.sampled_spans), ("logs", changes.sampled_logs)].into_iter().filter(|(_, count)| *count > 0)
        {
            self.sampled.with_label_values(&[signal]).inc_by(count);
        }
        for (kind, count) in pipeline.redactor.iter().flat_map(|redactor| redactor.labels(&changes.redacted)) {
            self.redacted.with_label_values(&[kind]).inc_by(count);
        }
        self.overflowed.inc_by(changes.overflowed);
    }
    /// A stopwatch and the histogram that it ends in.
    pub(crate) fn time_decode(&self, signal: &str) -> (Stopwatch, Histogram) {
        (Stopwatch::start(), self.decode_seconds.with_label_values(&[signal]))
    }
}
