//! The external heartbeat: while this node leads and is well, a URL is asked for at a steady pace. In: probes, the state store. Out: one
//! request per interval, or none and a line in the log why. Somebody outside notices the silence.

use std::sync::Arc;
use std::time::Duration;

use alerting::channels::heartbeat::Heartbeat;
use dashboards::health::Probe;
use model::state::StateError;
use model::work::Queue;
use prometheus::{IntCounterVec, Opts, Registry};

use crate::runtime::{Loop, chain};

/// How late what pages people may be before Watchfire counts as unwell.
const LATE: Duration = Duration::from_secs(120);

/// What is looked at before a beat.
pub struct Pulse {
    heartbeat: Heartbeat,
    interval: Duration,
    probes: Vec<Arc<dyn Probe>>,
    beats: IntCounterVec,
}

impl Pulse {
    /// Registers `watchfire_heartbeats_total{outcome}`: sent, failed, withheld.
    pub fn new(
        heartbeat: Heartbeat,
        interval: Duration,
        probes: Vec<Arc<dyn Probe>>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let beats = IntCounterVec::new(Opts::new("watchfire_heartbeats_total", "Beats of the external heartbeat."), &["outcome"])?;
        registry.register(Box::new(beats.clone()))?;
        Ok(Pulse { heartbeat, interval, probes, beats })
    }

    /// Why there should be no beat.
    async fn trouble(&self, context: &Loop) -> Result<Option<String>, StateError> {
        for probe in &self.probes {
            let health = probe.health().await;
            if !health.healthy {
                return Ok(Some(format!("{}: {}", health.part, health.detail)));
            }
        }
        let backlog = context.state.backlog(context.state.now().await?).await?;
        let pages = |queue| matches!(queue, Queue::Ladder | Queue::Alerting | Queue::Intake);
        let late = backlog.iter().find(|backlog| pages(backlog.queue) && backlog.overdue > LATE);
        Ok(late.map(|late| format!("queue {} is {:.0} s late", late.queue.as_str(), late.overdue.as_secs_f64())))
    }

    async fn once(&self, context: &Loop) -> &'static str {
        let trouble = match self.trouble(context).await {
            Ok(trouble) => trouble,
            Err(error) => Some(chain(&error)),
        };
        if let Some(trouble) = trouble {
            tracing::warn!(trouble, "the heartbeat is withheld");
            return "withheld";
        }
        let Ok(now) = context.state.now().await else { return "withheld" };
        match self.heartbeat.beat(now).await {
            Ok(()) => "sent",
            Err(error) => {
                tracing::warn!(%error, "the heartbeat did not arrive");
                "failed"
            }
        }
    }
}

/// Beats while this node leads, until the loops end.
pub async fn run(context: Loop, pulse: Pulse) {
    loop {
        if context.leading().is_some() {
            pulse.beats.with_label_values(&[pulse.once(&context).await]).inc();
        }
        tokio::select! {
            () = tokio::time::sleep(pulse.interval) => {}
            () = context.stop.cancelled() => return,
        }
    }
}
