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
        // What a provider or a rate limit holds back is due later, and not late.
        let pages = |queue| matches!(queue, Queue::Ladder | Queue::Alerting | Queue::Intake | Queue::Delivery);
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

    use axum::Router;
    use axum::routing::get;
    use dashboards::health::PartHealth;
    use model::drive::Nudge;
    use model::event::Subject;
    use model::json::Json;
    use model::secret::Secret;
    use model::state::{Commit, Fence, Leases, Records, StateStore};
    use model::tenant::TenantId;
    use model::time::{Clock, SimulatedClock, Timestamp};
    use model::work::{Lane, NewWork};
    use store::state::MemoryState;
    use tokio::sync::watch;
    use tokio_util::sync::CancellationToken;

    use super::*;

    /// A part that is well or not.
    #[derive(Default)]
    struct Part(AtomicBool);

    #[async_trait::async_trait]
    impl Probe for Part {
        async fn health(&self) -> PartHealth {
            let ill = self.0.load(Ordering::SeqCst);
            PartHealth { part: "engine".to_owned(), healthy: !ill, detail: if ill { "gone".to_owned() } else { String::new() } }
        }
    }

    /// A node that beats twenty times a second, and who listens.
    struct World {
        clock: Arc<SimulatedClock>,
        state: Arc<MemoryState>,
        part: Arc<Part>,
        leads: watch::Sender<Option<Fence>>,
        heard: Arc<AtomicUsize>,
        beats: IntCounterVec,
        stop: CancellationToken,
        running: tokio::task::JoinHandle<()>,
    }

    impl World {
        async fn begin() -> Self {
            let _ = rustls::crypto::ring::default_provider().install_default(); // another test may have
            let heard = Arc::<AtomicUsize>::default();
            let count = heard.clone();
            let listens = Router::new().route("/ping", get(async move || count.fetch_add(1, Ordering::SeqCst).to_string()));
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let url = format!("http://{}/ping", listener.local_addr().unwrap());
            tokio::spawn(async move { axum::serve(listener, listens).await });
            let clock = Arc::new(SimulatedClock::new(Timestamp::from_secs(1_800_000_000)));
            let (state, part) = (Arc::new(MemoryState::new(clock.clone())), Arc::<Part>::default());
            let beat = Heartbeat::new(&Secret::new(url), &alerting::channels::client().unwrap());
            let pulse = Pulse::new(beat, Duration::from_millis(50), vec![part.clone()], &Registry::new()).unwrap();
            let ((leads, fence), stop, beats) = (watch::channel(None), CancellationToken::new(), pulse.beats.clone());
            let shared: Arc<dyn StateStore> = state.clone();
            let context = Loop { state: shared, nudge: Nudge::default(), fence, stop: stop.clone(), longest: Duration::from_secs(1) };
            let running = tokio::spawn(run(context, pulse));
            World { clock, state, part, leads, heard, beats, stop, running }
        }

        async fn lead(&self) {
            let fence = self.state.acquire("leader", "this", self.clock.now(), Duration::from_secs(3600)).await.unwrap();
            self.leads.send_replace(fence);
        }

        /// Waits until an outcome was counted once more.
        async fn one_more(&self, outcome: &str) {
            let count = || self.beats.with_label_values(&[outcome]).get();
            let before = count();
            let more = async {
                while count() == before {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            tokio::time::timeout(Duration::from_secs(30), more).await.unwrap_or_else(|_| panic!("never {outcome}"));
        }

        /// From the next beat on nobody hears one.
        async fn assert_withheld(&self) {
            self.one_more("withheld").await;
            let heard = self.heard.load(Ordering::SeqCst);
            self.one_more("withheld").await;
            assert_eq!(self.heard.load(Ordering::SeqCst), heard);
        }
    }

    #[tokio::test]
    async fn it_beats_while_this_node_leads_and_is_well() {
        let world = World::begin().await;
        // Nothing tells that nothing happens: four of its intervals.
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(world.heard.load(Ordering::SeqCst), 0, "another one leads");
        world.lead().await;
        world.one_more("sent").await;
        world.one_more("sent").await;
        assert!(world.heard.load(Ordering::SeqCst) >= 2);
        world.part.0.store(true, Ordering::SeqCst);
        world.assert_withheld().await;
        world.part.0.store(false, Ordering::SeqCst);
        world.one_more("sent").await;
        world.stop.cancel();
        world.running.await.unwrap();
    }

    /// Whatever pages people: a row that nobody takes up is noticed outside.
    #[tokio::test]
    async fn it_is_withheld_while_what_pages_people_is_late() {
        for queue in [Queue::Ladder, Queue::Alerting, Queue::Intake, Queue::Delivery] {
            let world = World::begin().await;
            world.lead().await;
            let (key, body) = ("late".to_owned(), Json::of(&"a row").unwrap());
            let mut commit = Commit::at(world.clock.now());
            let due_at = world.clock.now();
            commit.schedule(&TenantId::default(), NewWork { queue, key, lane: Lane::Page, subject: Subject::default(), due_at, body });
            world.state.commit(commit).await.unwrap();
            world.one_more("sent").await;
            world.clock.advance(LATE + Duration::from_secs(1));
            world.assert_withheld().await;
            world.stop.cancel();
        }
    }
}
