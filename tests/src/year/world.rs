//! One run: two nodes over one state, a clock moved by hand, and a seed that decides what happens.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use alerting::channels::{Channel, ReceiverConfig};
use alerting::delivery::DeliveryWorker;
use alerting::ladder::LadderRun;
use alerting::machine::Instance;
use alerting::routing::Routing;
use alerting::routing::group::{AlertGroup, Member};
use alerting::routing::settle::SettledTree;
use alerting::{Alerting, AlertingDeps, RuleSet};
use axum::http::{Method, StatusCode};
use incidents::Incidents;
use model::alert::Alert;
use model::drive::{Nudge, Worker};
use model::event::Recorded;
use model::ids::{NotificationId, SequentialIds};
use model::incident::Incident;
use model::state::{Entity, Journal, JournalQuery, Leases, StateError, WorkRows, all};
use model::tenant::TenantId;
use model::time::{Clock, SimulatedClock, Timestamp};
use model::work::{Queue, WorkQuery, WorkState};
use prometheus::Registry;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::{Value, json};
use store::state::MemoryState;
use tokio::sync::watch;

use super::Told;
use super::invariants::{self, Ledger, Settled};
use super::node::{Defect, Fault, LEASE, Node, NodeState, Watched, send};
use super::outside::{Mode, NoEvidence, NoPapers, Providers, Signals, Way};

/// How often rules are evaluated.
const TICK: Duration = Duration::from_secs(300);
const DAY: Duration = Duration::from_secs(86_400);
/// How many doings a failure shows.
const REMEMBERED: usize = 30;
const SERVICES: [&str; 3] = ["cart", "search", "shop"];
/// Name, and the values that it takes.
const SIGNALS: [(&str, &[f64]); 5] =
    [("errors", &[1.0]), ("latency", &[2.0, 9.0]), ("backlog", &[1.0]), ("disk", &[1.0]), ("crash", &[1.0])];
const RECEIVERS: [&str; 3] = ["pager", "hook", "chat"];
/// The receiver that can be asked and takes acknowledgements.
const PAGER: &str = "pager";
/// The receiver that cannot be asked and takes acknowledgements.
const CHAT: &str = "chat";

const RULES: &str = r#"
groups:
  - name: services
    interval: 5m
    rules:
      - { alert: Errors, expr: errors, labels: { severity: critical }, escalation: page }
      - alert: Latency
        expr: latency
        for: 10m
        thresholds: { warning: "> 1", critical: "> 5" }
        escalation: { warning: inform, critical: page }
      - { alert: Backlog, expr: backlog, keep_firing_for: 15m, labels: { severity: high }, escalation: second }
  - name: hosts
    interval: 5m
    rules:
      - { alert: Disk, expr: disk, labels: { severity: warning } }
      - { alert: Crash, expr: crash, labels: { severity: critical } }
"#;

/// The trees that the configuration has in turn: routes that stay beside others, that are gone, that have other receivers, other hours or none
/// at all, routes that go on to the next one, and ladders.
fn trees() -> [Value; 7] {
    let others = |receivers: &[&str]| json!({"matchers": ["alertname=Others"], "receivers": receivers, "group_by": ["n"], "group_wait": "0s", "group_interval": "1m"});
    let shop = json!({"matchers": ["service_name=shop"], "receivers": ["pager"], "group_by": ["alertname"]});
    let shop_too = json!({"matchers": ["service_name=shop"], "receivers": ["pager"], "group_by": ["alertname"], "continue": true});
    let disks = json!({"matchers": ["alertname=Disk"], "escalation": "inform"});
    let crashes = |ladder: &str| json!({"matchers": ["alertname=Crash"], "escalation": ladder, "continue": true});
    let in_hours = |route: &Value, active: &str| {
        let mut route = route.clone();
        route["active_time_intervals"] = json!([active]);
        route
    };
    let root = |receivers: &[&str], routes: &[&Value]| json!({"receivers": receivers, "group_by": ["service_name"], "group_wait": "30s", "group_interval": "5m", "repeat_interval": "4h", "routes": routes});
    [
        root(&["hook", "chat"], &[&others(&["pager", "hook"])]),
        root(&["hook", "chat"], &[&shop, &others(&["pager", "hook"])]),
        root(&["pager"], &[&others(&["chat"])]),
        root(&["chat"], &[&disks]),
        root(&["chat"], &[&crashes("page"), &shop_too, &json!({"receivers": ["hook"]})]),
        root(&["chat"], &[&others(&[]), &in_hours(&crashes("second"), "office"), &in_hours(&shop, "office")]),
        root(&["chat"], &[&in_hours(&crashes("page"), "sundays"), &crashes("second"), &others(&["hook"]), &disks]),
    ]
}

fn config(tree: usize) -> alerting::Config {
    serde_json::from_value(json!({
        "evaluation_interval": "5m",
        "escalations": [
            {"name": "page", "steps": [
                {"after": "0s", "notify": ["pager"]}, {"after": "5m", "notify": ["hook"]}, {"after": "15m", "notify": ["pager", "hook"]}],
             "repeat": 2},
            {"name": "second", "steps": [{"after": "2m", "notify": ["turns"]}, {"after": "30m", "notify": ["days"]}], "repeat": 1},
            {"name": "inform", "steps": [{"after": "0s", "notify": ["hook"]}]},
        ],
        "route": trees()[tree],
        "inhibit_rules": [{"source_matchers": ["alertname=Errors"], "target_matchers": ["alertname=Backlog"], "equal": ["service_name"]}],
        "time_intervals": [{"name": "sundays", "time_intervals": [{"weekdays": ["sunday"], "times": [{"start_time": "02:00", "end_time": "04:00"}]}]},
            {"name": "office", "time_intervals": [{"weekdays": ["monday:friday"], "times": [{"start_time": "06:00", "end_time": "20:00"}]}]}],
        "users": [{"name": "ada", "receivers": ["pager"]}, {"name": "bob", "receivers": ["hook", "pager"]}],
        "schedules": [
            {"name": "turns", "time_zone": "Europe/Berlin", "layers": [{"users": ["ada", "bob"], "from": "2026-01-01 09:00", "turn": "1d", "within": ["office"]}]},
            {"name": "days", "layers": [{"users": ["bob"], "from": "2020-01-01 00:00", "turn": "7d", "within": ["office"]}]},
        ],
        "maintenance": [{"name": "backup", "matchers": ["service_name=shop"], "time_intervals": ["sundays"]}],
    }))
    .unwrap()
}

/// Why a run failed, with what happened last.
#[derive(Debug)]
pub(super) struct Broken {
    pub sentence: String,
    pub doings: Vec<String>,
}

pub(super) struct World {
    rng: StdRng,
    clock: Arc<SimulatedClock>,
    start: Timestamp,
    state: Arc<MemoryState>,
    watched: Arc<Watched>,
    signals: Arc<Signals>,
    providers: Arc<Providers>,
    ids: Arc<SequentialIds>,
    defect: Option<Defect>,
    nodes: [Arc<Node>; 2],
    processes: u32,
    /// Which tree the configuration has now.
    tree: usize,
    /// Which one each node goes by.
    trees: [usize; 2],
    /// Since when both go by the same one, and all that fires was placed by it.
    settled_since: Option<Timestamp>,
    next_tick: Timestamp,
    ledger: Ledger,
    arrivals: usize,
    arrived: BTreeSet<NotificationId>,
    doings: VecDeque<String>,
    pub told: Told,
}

type Done<T = ()> = Result<T, String>;

fn failed(error: StateError) -> String {
    format!("store: {error}: {:?}", std::error::Error::source(&error).map(ToString::to_string))
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self::with(seed, None)
    }

    /// A world with a defect.
    pub(super) fn with(seed: u64, defect: Option<Defect>) -> Self {
        let start = Timestamp::from_secs(1_800_000_000);
        let clock = Arc::new(SimulatedClock::new(start));
        let state = Arc::new(MemoryState::new(clock.clone()).named("a"));
        let (watched, signals, providers, ids) = (Arc::default(), Arc::default(), Arc::default(), Arc::default());
        let process = |name, number| build(name, number, 0, &clock, &state, &watched, &signals, &providers, &ids, defect);
        let nodes = [process("a", 0), process("b", 1)];
        World {
            rng: StdRng::seed_from_u64(seed),
            clock,
            start,
            state,
            watched,
            signals,
            providers,
            ids,
            defect,
            nodes,
            processes: 2,
            tree: 0,
            trees: [0, 0],
            settled_since: None,
            next_tick: start,
            ledger: Ledger::default(),
            arrivals: 0,
            arrived: BTreeSet::new(),
            doings: VecDeque::new(),
            told: Told::default(),
        }
    }

    fn now(&self) -> Timestamp {
        self.clock.now()
    }
    fn note(&mut self, text: impl AsRef<str>) {
        self.doings.push_back(format!("{} {}", self.now(), text.as_ref()));
        if self.doings.len() > REMEMBERED {
            self.doings.pop_front();
        }
    }

    /// Lives for so many days, then lets everything become quiet, and checks all along.
    pub(super) async fn live(&mut self, days: u64) -> Result<(), Broken> {
        match self.days(days).await {
            Ok(()) => Ok(()),
            Err(sentence) => {
                let journal = self.state.events(&JournalQuery { after: self.ledger.seq.saturating_sub(25), ..Default::default() }).await;
                let mut doings: Vec<String> = self.doings.drain(..).collect();
                let line = |one: &Recorded| format!("  journal {} {} {:?} {:?}", one.seq, one.event.at, one.event.kind, one.event.subject);
                doings.extend(journal.unwrap_or_default().iter().map(line));
                Err(Broken { sentence, doings })
            }
        }
    }

    async fn days(&mut self, days: u64) -> Done {
        for day in 0..days {
            let until = self.start.plus(DAY * u32::try_from(day + 1).unwrap());
            while self.now() < until {
                self.something().await?;
                self.told.steps += 1;
            }
            let kept = self.now().minus(2 * DAY);
            self.state.prune_work(kept).await.map_err(failed)?;
            self.told.days += 1;
        }
        self.quiet().await
    }

    /// One random thing, and the time until the next one.
    async fn something(&mut self) -> Done {
        match self.rng.random_range(0..100) {
            0..24 => self.signal(),
            24..30 => self.others().await?,
            30..33 => self.query_failure(),
            33..48 => self.act_on_alert().await?,
            48..53 => self.act_on_incident().await?,
            53..59 => self.silence().await?,
            59..68 => self.provider(),
            68..74 => self.restart().await?,
            74..80 => self.die().await?,
            80..90 => self.race().await?,
            90..92 => self.jump()?,
            92..96 => self.outage().await?,
            96..98 => self.retree(),
            _ => {}
        }
        let pause = match self.rng.random_range(0..10) {
            0..3 => self.rng.random_range(1..60),
            3..8 => self.rng.random_range(60..1_800),
            _ => self.rng.random_range(1_800..10_800),
        };
        self.pass(Duration::from_secs(pause)).await
    }

    fn signal(&mut self) {
        let (signal, values) = SIGNALS[self.rng.random_range(0..SIGNALS.len())];
        let service = SERVICES[self.rng.random_range(0..SERVICES.len())];
        let value = self.rng.random_bool(0.4).then(|| values[self.rng.random_range(0..values.len())]);
        self.signals.set(signal, service, value);
        self.note(format!("{signal} of {service}: {value:?}"));
    }

    /// Others send that alerts fire, or are over, to any node or to the one that leads, while it works.
    async fn others(&mut self) -> Done {
        let until = self.now().plus(Duration::from_secs(if self.rng.random_bool(0.7) { 300 } else { 0 }));
        let count = self.rng.random_range(1..4);
        let one = |number: usize| json!({"labels": {"alertname": "Others", "severity": "info", "n": number.to_string()}, "endsAt": until});
        let alerts: Value = (0..count).map(one).collect();
        self.told.others += 1;
        if self.rng.random_bool(0.3) {
            return self.ask(Method::POST, "/api/v2/alerts", alerts).await.map(drop);
        }
        self.note(format!("others send {alerts} to whoever leads"));
        self.watched.send(alerts);
        Ok(())
    }

    /// The routing tree is changed: each node reads it now, or when it starts again.
    fn retree(&mut self) {
        self.tree = self.rng.random_range(0..trees().len());
        for (place, node) in self.nodes.iter().enumerate() {
            if self.rng.random_bool(0.8) {
                self.trees[place] = self.tree;
                node.alerting.reroute(Routing::of(&config(self.tree)));
            }
        }
        (self.settled_since, self.told.trees) = (None, self.told.trees + 1);
        self.note(format!("the tree is number {} now", self.tree));
    }

    fn query_failure(&mut self) {
        let (signal, fails) = (SIGNALS[self.rng.random_range(0..SIGNALS.len())].0, self.rng.random_bool(0.4));
        self.signals.fail(signal, fails);
        self.note(format!("{signal} fails: {fails}"));
    }

    fn provider(&mut self) {
        let receiver = RECEIVERS[self.rng.random_range(0..RECEIVERS.len())];
        let mode = match self.rng.random_range(0..10) {
            0..2 => Mode::Down,
            2..4 => Mode::Busy,
            4 => Mode::Mute,
            5 => Mode::Lost,
            _ => Mode::Well,
        };
        // A moment, or hours: what is held up that long is overtaken by what people do.
        let messages = if self.rng.random_bool(0.6) { self.rng.random_range(1..6) } else { self.rng.random_range(20..80) };
        self.providers.set(receiver, mode, messages);
        self.note(format!("{receiver} is {mode:?} for {messages} messages"));
    }

    /// A provider is away while an alert begins, and somebody takes it before the provider is back.
    async fn outage(&mut self) -> Done {
        let receiver = [PAGER, "hook"][self.rng.random_range(0..2)];
        let mode = [Mode::Down, Mode::Busy, Mode::Mute, Mode::Lost][self.rng.random_range(0..4)];
        self.providers.set(receiver, mode, 1_000);
        let service = SERVICES[self.rng.random_range(0..SERVICES.len())];
        self.signals.set("errors", service, Some(1.0));
        self.note(format!("{receiver} is {mode:?} while errors of {service} begin"));
        let before = TICK + Duration::from_secs(self.rng.random_range(1..400));
        self.pass(before).await?;
        for _ in 0..self.rng.random_range(1..4) {
            self.act_on_alert().await?;
        }
        let after = Duration::from_secs(self.rng.random_range(1..600));
        self.pass(after).await?;
        self.providers.set(receiver, Mode::Well, 0);
        Ok(())
    }

    /// A request of a person to either node.
    async fn ask(&mut self, method: Method, path: &str, body: Value) -> Done<StatusCode> {
        let node = self.nodes[self.rng.random_range(0..2)].clone();
        let status = send(&node.router, path, method.clone(), body).await;
        self.note(format!("{method} {path} at {}: {status}", node.name));
        if status.is_server_error() { Err(format!("{method} {path} answers {status}")) } else { Ok(status) }
    }

    async fn records<T: Entity>(&self, statuses: &[&str]) -> Done<Vec<T>> {
        let found = all::<T>(&*self.state, None, statuses, 10_000).await.map_err(failed)?;
        Ok(found.into_iter().map(|found| found.entity).collect())
    }

    async fn act_on_alert(&mut self) -> Done {
        let firing: Vec<Instance> = self.records(&["firing"]).await?;
        if firing.is_empty() {
            return Ok(());
        }
        let id = firing[self.rng.random_range(0..firing.len())].alert.id;
        let (word, body) = match self.rng.random_range(0..4) {
            0 => ("unacknowledge", Value::Null),
            1 => ("snooze", json!({"duration": format!("{}m", self.rng.random_range(1..600))})),
            _ => ("acknowledge", Value::Null),
        };
        self.told.acts += 1;
        self.ask(Method::POST, &format!("/api/watchfire/v1/alerts/{id}/{word}"), body).await.map(drop)
    }

    async fn act_on_incident(&mut self) -> Done {
        let open: Vec<Incident> = self.records(&["open", "acknowledged"]).await?;
        if open.is_empty() {
            return Ok(());
        }
        let id = open[self.rng.random_range(0..open.len())].id;
        let word = match self.rng.random_range(0..10) {
            0..6 => "acknowledge",
            6..9 => "unacknowledge",
            _ => "escalate",
        };
        self.told.acts += 1;
        self.told.escalations += u64::from(word == "escalate");
        self.ask(Method::POST, &format!("/api/watchfire/v1/incidents/{id}/{word}"), Value::Null).await.map(drop)
    }

    async fn silence(&mut self) -> Done {
        let live: Vec<alerting::silence::Silence> = self.records(&["live"]).await?;
        if !live.is_empty() && self.rng.random_bool(0.4) {
            let id = live[self.rng.random_range(0..live.len())].id;
            return self.ask(Method::DELETE, &format!("/api/watchfire/v1/silences/{id}"), Value::Null).await.map(drop);
        }
        let service = SERVICES[self.rng.random_range(0..SERVICES.len())];
        let starts_at = self.now().plus(Duration::from_secs(self.rng.random_range(0..3_600)));
        let mut body = json!({
            "matchers": [format!("service_name={service}")],
            "starts_at": starts_at,
            "duration": format!("{}m", self.rng.random_range(5..300)),
            "comment": "planned",
        });
        self.told.silences += 1;
        if self.rng.random_bool(0.5) {
            return self.ask(Method::POST, "/api/watchfire/v1/silences", body).await.map(drop);
        }
        body["name"] = json!("move");
        self.ask(Method::POST, "/api/watchfire/v1/maintenance", body).await.map(drop)
    }

    /// The clock is set: hours forward, or a little back.
    fn jump(&mut self) -> Done {
        let back = self.rng.random_bool(0.5);
        let to = match back {
            true => self.now().minus(Duration::from_secs(self.rng.random_range(1..120))),
            false => self.now().plus(Duration::from_secs(self.rng.random_range(600..40_000))),
        };
        self.note(format!("the clock is set to {to}"));
        self.clock.set(to);
        self.next_tick = self.next_tick.min(to.plus(TICK));
        self.told.jumps += 1;
        Ok(())
    }

    /// A process ends at rest, and the node starts again.
    async fn restart(&mut self) -> Done {
        let place = self.rng.random_range(0..2);
        self.replace(place).await?;
        self.told.restarts += 1;
        Ok(())
    }

    async fn replace(&mut self, place: usize) -> Done {
        let name = self.nodes[place].name;
        self.nodes[place].kill();
        let (watched, signals, providers) = (&self.watched, &self.signals, &self.providers);
        let number = self.processes;
        self.nodes[place] = build(name, number, self.tree, &self.clock, &self.state, watched, signals, providers, &self.ids, self.defect);
        self.processes += 1;
        if std::mem::replace(&mut self.trees[place], self.tree) != self.tree {
            self.settled_since = None;
        }
        self.note(format!("node {name} starts again"));
        // Sometimes what its earlier process held is only free when the leases run out, as on another machine.
        if self.rng.random_bool(0.7) {
            self.state.take_back(name).await.map_err(failed)?;
        }
        Ok(())
    }

    /// The next process that leads dies around one of its next commits.
    async fn die(&mut self) -> Done {
        let fault = match self.rng.random_range(0..4) {
            0 => Fault::DieBefore,
            1 => Fault::DieAfter,
            2 => Fault::PowerBefore,
            _ => Fault::PowerAfter,
        };
        let after = self.rng.random_range(0..6);
        self.note(format!("whoever leads dies: {fault:?} {after} more commits"));
        self.nodes.iter().for_each(|node| node.arm(after, fault));
        Ok(())
    }

    /// The node that leads stands still before a commit, longer than its lease; the other one takes over and works; then the first goes on.
    async fn race(&mut self) -> Done {
        let after = self.rng.random_range(0..4);
        let first = self.rng.random_range(0..2);
        let (one, other) = (self.nodes[first].clone(), self.nodes[1 - first].clone());
        [&one, &other].iter().for_each(|node| node.disarm());
        one.arm(after, Fault::Hold);
        self.signal();
        let working = tokio::spawn({
            let one = one.clone();
            async move { one.work(true).await }
        });
        while !working.is_finished() && !one.is_held() {
            tokio::task::yield_now().await;
        }
        let held = one.is_held();
        if held {
            let late = LEASE + Duration::from_secs(self.rng.random_range(0..60));
            self.note(format!("node {} stands still for {late:?} before a commit", one.name));
            self.clock.advance(late);
            if self.rng.random_bool(0.5) {
                self.act_on_alert_at(&other).await?;
            }
            self.work_of(&other, true).await?;
            self.told.races += 1;
        }
        one.disarm();
        one.go_on();
        match working.await.map_err(|error| format!("panic: {error}"))? {
            Ok(_) | Err(StateError::Fenced { .. } | StateError::Conflict { .. }) => {}
            Err(error) => return Err(failed(error)),
        }
        if held {
            self.note(format!("node {} went on", one.name));
        }
        self.check(false).await
    }

    async fn act_on_alert_at(&mut self, node: &Node) -> Done {
        let firing: Vec<Instance> = self.records(&["firing"]).await?;
        let Some(id) = firing.first().map(|instance| instance.alert.id) else { return Ok(()) };
        let nodes = self.nodes.clone();
        let same = nodes.iter().find(|one| one.name == node.name).cloned().unwrap_or_else(|| nodes[0].clone());
        self.nodes = [same.clone(), same];
        let asked = self.ask(Method::POST, &format!("/api/watchfire/v1/alerts/{id}/acknowledge"), Value::Null).await;
        self.nodes = nodes;
        asked.map(drop)
    }

    /// One node works; a death is no failure of the run.
    async fn work_of(&mut self, node: &Node, evaluate: bool) -> Done<bool> {
        match node.work(evaluate).await {
            Ok(led) => Ok(led),
            Err(StateError::Conflict { .. } | StateError::Fenced { .. }) => Ok(true),
            Err(_) if node.is_dead() => Ok(false),
            Err(error) => Err(failed(error)),
        }
    }

    /// Both nodes do what they do at this moment; who died starts again.
    async fn moment(&mut self) -> Done {
        let evaluate = self.now() >= self.next_tick;
        let first = self.rng.random_range(0..2);
        let mut led = false;
        for place in [first, 1 - first] {
            let node = self.nodes[place].clone();
            led |= self.work_of(&node, evaluate).await?;
            if node.is_dead() {
                self.told.deaths += 1;
                self.replace(place).await?;
            }
        }
        if evaluate && led {
            self.next_tick = self.now().plus(TICK);
        }
        self.check(led).await
    }

    /// Time passes, each due thing at its own moment.
    async fn pass(&mut self, time: Duration) -> Done {
        let end = self.now().plus(time);
        self.moment().await?;
        while self.now() < end {
            let mut next = self.next_tick;
            for queue in [Queue::Ladder, Queue::Alerting, Queue::Incident, Queue::Delivery] {
                let due = self.state.next_due_in(queue, self.now()).await.map_err(failed)?;
                next = due.map_or(next, |due| next.min(due));
            }
            // A row that is held comes due with the end of its lease: time must go on.
            let next = next.max(self.now().plus(Duration::from_secs(1))).min(end);
            self.clock.advance(next.since(self.now()));
            self.moment().await?;
        }
        Ok(())
    }

    /// The invariants. `settled`: a node has just led to the end of its round.
    async fn check(&mut self, settled: bool) -> Done {
        let events =
            self.state.events(&JournalQuery { after: self.ledger.seq, limit: 100_000, ..Default::default() }).await.map_err(failed)?;
        let quiet = events.is_empty();
        let arrivals = self.providers.arrivals(self.arrivals);
        let mut sent = arrivals.iter().peekable();
        for event in &events {
            // What was sent before this event was decided.
            while let Some(arrival) = sent.next_if(|arrival| arrival.seq < event.seq) {
                self.ledger.arrived(arrival)?;
            }
            self.ledger.read(event)?;
        }
        for arrival in sent {
            self.ledger.arrived(arrival)?;
        }
        self.told.events += events.len() as u64;
        invariants::fenced_nodes_commit_nothing(&self.watched.take())?;
        // What has been checked is not taken back: a machine may lose what happens from here on.
        self.state.sync();
        self.arrivals += arrivals.len();
        self.told.arrivals += arrivals.len() as u64;
        invariants::each_arrives_once(&mut self.arrived, &arrivals, |receiver| receiver == PAGER)?;
        if !settled || (quiet && self.now() < self.next_tick) {
            return Ok(());
        }
        let open: Vec<Instance> = self.records(&["pending", "firing"]).await?;
        invariants::replay_gives_the_records(&self.ledger, &open)?;
        let runs: Vec<LadderRun> = self.records(&["running", "stopped", "exhausted"]).await?;
        let query = WorkQuery { queue: Some(Queue::Ladder), state: Some(WorkState::Pending), limit: 100_000, ..Default::default() };
        let rows = self.state.list(&query).await.map_err(failed)?;
        let keys: BTreeSet<String> = rows.into_iter().map(|row| row.key).collect();
        invariants::pages_climb(&self.ledger, &runs, &keys, self.now())?;
        let routing = Routing::of(&config(self.tree));
        let Some(settled_since) = self.settled_since(&routing).await? else { return Ok(()) };
        let firing: Vec<Alert> = open.into_iter().map(|instance| instance.alert).filter(Alert::is_firing).collect();
        let tree = Settled { routing: &routing, since: settled_since, now: self.now() };
        invariants::ladders_of_the_tree_climb(&self.ledger, &tree, &firing, &runs, &keys)?;
        let (groups, members) = (self.records::<AlertGroup>(&[]).await?, self.records::<Member>(&[]).await?);
        invariants::receivers_know_what_fires(&self.ledger, &tree, &firing, &groups, &members)
    }

    /// Since when both nodes go by one tree and all was placed by it.
    async fn settled_since(&mut self, routing: &Routing) -> Done<Option<Timestamp>> {
        let records: Vec<SettledTree> = self.records(&[]).await?;
        let settled = records.iter().any(|record| record.settled && record.tree == routing.digest);
        let now = self.now();
        // A clock that was set back is no time that has passed.
        let since = self.settled_since.filter(|_| settled && self.trees == [self.tree; 2]).filter(|since| *since <= now);
        self.settled_since = if settled && self.trees == [self.tree; 2] { since.or(Some(now)) } else { None };
        Ok(self.settled_since)
    }

    /// Nothing fires, providers are well, nobody acts: after a while nothing is left to do, and everybody has heard of the end.
    async fn quiet(&mut self) -> Done {
        self.note("all becomes quiet");
        self.signals.quiet();
        RECEIVERS.iter().for_each(|receiver| self.providers.set(receiver, Mode::Well, 0));
        self.nodes.iter().for_each(|node| node.disarm());
        for _ in 0..8 {
            self.pass(Duration::from_secs(6 * 3_600)).await?;
        }
        self.check(true).await?;
        let open: Vec<Instance> = self.records(&["pending", "firing"]).await?;
        if let Some(instance) = open.first() {
            return Err(format!("quiet: alert {} is still {}", instance.alert.id, instance.alert.state.name()));
        }
        let query = WorkQuery { queue: Some(Queue::Delivery), state: Some(WorkState::Pending), limit: 10, ..Default::default() };
        if let Some(row) = self.state.list(&query).await.map_err(failed)?.first() {
            return Err(format!("quiet: delivery {} still waits: {:?}", row.key, row.error));
        }
        if let Some(group) = self.records::<AlertGroup>(&[]).await?.first() {
            return Err(format!("quiet: a group is still there: {group:?}"));
        }
        self.told.alerts += self.ledger.alerts.len() as u64;
        self.told.ladder_steps += self.ledger.steps;
        self.told.overtaken += self.ledger.overtaken;
        self.told.handed_over += self.watched.handed_over();
        invariants::the_last_word_is_the_end(&self.providers.arrivals(0))
    }
}

#[allow(clippy::too_many_arguments)] // the world
fn build(
    name: &'static str,
    number: u32,
    tree: usize,
    clock: &Arc<SimulatedClock>,
    inner: &Arc<MemoryState>,
    watched: &Arc<Watched>,
    signals: &Arc<Signals>,
    providers: &Arc<Providers>,
    ids: &Arc<SequentialIds>,
    defect: Option<Defect>,
) -> Arc<Node> {
    let state = Arc::new(NodeState::new(inner.clone(), name, watched.clone(), defect));
    let registry = Registry::new();
    let alerting = Alerting::new(AlertingDeps {
        config: config(tree),
        rules: RuleSet::load(vec![("a.yaml".to_owned(), RULES.to_owned())]).unwrap(),
        state: state.clone(),
        metrics: signals.clone(),
        rows: Arc::new(server::simulate::NoRows),
        series: signals.clone(),
        clock: clock.clone(),
        ids: ids.clone(),
        nudge: Nudge::default(),
        registry: registry.clone(),
        tenant: TenantId::default(),
    })
    .unwrap();
    let deps = incidents::Deps {
        config: incidents::Config::default(),
        data_dir: std::path::PathBuf::new(),
        public_url: None,
        state: state.clone(),
        evidence: Arc::new(NoEvidence),
        series: signals.clone(),
        ids: ids.clone(),
    };
    let incidents = Incidents::new(deps, &registry).unwrap();
    let channels = RECEIVERS.iter().map(|receiver| {
        let config: ReceiverConfig = serde_json::from_value(json!({
            "name": receiver, "type": "webhook", "url": "https://catcher.example.org/", "rate_limit": {"per_second": 10.0, "burst": 100},
        }))
        .unwrap();
        let (knows, answers) = (*receiver == PAGER, [PAGER, CHAT].contains(receiver));
        let way: Box<dyn Channel> = Box::new(Way { providers: providers.clone(), journal: inner.clone(), knows, answers });
        (config, way)
    });
    // A round waits for its sends: nothing here takes real time.
    let config: alerting::delivery::Config = serde_json::from_value(json!({"patience": "1h", "give_up_after": "52w"})).unwrap();
    let delivery = DeliveryWorker::with_channels(channels.collect(), config, ids.clone(), &registry).unwrap();
    let delivery = Arc::new(delivery);
    let (leading, fence) = watch::channel(None);
    alerting.hand_over_to(delivery.clone(), fence);
    let mut followers = incidents.followers();
    followers.extend(alerting.followers());
    let mut workers = alerting.workers();
    workers.extend(incidents.workers().into_iter().map(|worker| Arc::new(NoPapers(worker)) as Arc<dyn Worker>));
    let router = alerting.router().merge(incidents.router());
    Arc::new(Node {
        name,
        holder: format!("{name}/{number}"),
        state,
        evaluator: alerting.evaluator(),
        alerting,
        followers,
        workers,
        delivery,
        router,
        leading,
    })
}
