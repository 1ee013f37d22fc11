//! The evaluator: the thin shell around the alert machine. In: rules, the state store, PromQL. Out: alert records and journal events
//! (one commit per rule and evaluation that changed something), recorded series, `ALERTS`. A failing query holds its alerts; a
//! failing commit leaves everything as it was, and the next evaluation decides again.

pub(crate) mod ask;
mod board;
mod ended;
pub(crate) mod forecasts;
mod group;
mod own;
mod rows;
mod schedule;
mod series;
mod unusual;
mod view;
mod write;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::future::Future;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

use model::alert::{Alert, AlertState, RuleKey};
use model::event::{EventKind, Subject};
use model::labels::Labels;
use model::state::{Commit, Expect, Fence, StateError};
use model::time::Timestamp;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::machine::Instance;
use crate::routing::settle::settle_where_changed;
use crate::rules::{AlertRule, Group, Rule, RuleSet};
use crate::shared::Shared;
use crate::silence::{Inhibition, Muting, Silence};

pub use board::{FailingRule, SilentRule};
pub(crate) use board::{a_few, everything};
pub(crate) use own::SOURCE as OWN_SOURCE;
pub use schedule::Rhythm;
#[cfg(test)]
pub(crate) use series::STALE;
pub use view::{GroupView, Health, RuleView};

use board::RuleBoard;

/// How often ladders are checked for overdue steps.
const LADDER_CHECK: Duration = Duration::from_secs(15);
/// How long the driver sleeps at most: next ticks, leadership, ends of evaluations and other rules wake it; a clock that was set does not.
const LONGEST: Duration = Duration::from_secs(10);
/// How long a group waits after a failure, so that a store that is away is not asked without end.
const AGAIN: Duration = Duration::from_millis(250);

/// One group with what is held of it.
pub(crate) struct Runner {
    group: Group,
    interval: Duration,
    rhythm: Rhythm,
    /// What its rules ask of PromQL.
    exprs: Arc<[String]>,
    /// The rule for what goes wrong here.
    own: AlertRule,
    /// Whether this is the check of ladders instead of a group of rules.
    checks_ladders: bool,
    /// One board per rule, and the last one for `own`.
    boards: tokio::sync::Mutex<Vec<RuleBoard>>,
    view: RwLock<Arc<GroupView>>,
    /// The last evaluated tick in nanoseconds; 0 before the first.
    last: AtomicI64,
}

/// What the runners stand for.
struct Stage {
    runners: Vec<Arc<Runner>>,
    /// Under which fencing token the boards were read; `None`: not yet.
    loaded: tokio::sync::Mutex<Option<Option<u64>>>,
    /// What stood here before, until it is known which series it wrote.
    before: Mutex<Option<Arc<Stage>>>,
}

/// Evaluates rules.
pub struct Evaluator {
    shared: Arc<Shared>,
    stage: RwLock<Arc<Stage>>,
    restaged: Notify,
}

impl Evaluator {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        let stage = Stage::of(&shared, None);
        Evaluator { shared, stage: RwLock::new(Arc::new(stage)), restaged: Notify::new() }
    }

    fn stage(&self) -> Arc<Stage> {
        match self.stage.read() {
            Ok(stage) => stage.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    /// Goes on with other rules. Alert state is read from the store again; alerts of rules that are gone resolve, and their series end.
    pub(crate) fn restage(&self) {
        let stage = Arc::new(Stage::of(&self.shared, ended::last(self.stage())));
        match self.stage.write() {
            Ok(mut slot) => *slot = stage,
            Err(poisoned) => *poisoned.into_inner() = stage,
        }
        self.restaged.notify_one();
    }

    /// How many groups there are, the check of ladders included.
    pub fn groups(&self) -> usize {
        self.stage().runners.len()
    }

    /// Evaluates one group by place (0-based) at a moment, by hand: for simulated tests.
    pub async fn evaluate_group(&self, group: usize, at: Timestamp, fence: Option<&Fence>) -> Result<(), StateError> {
        let stage = self.stage();
        match stage.runners.get(group) {
            Some(runner) => self.evaluate(&stage, runner, at, fence).await,
            None => Ok(()),
        }
    }

    /// Evaluates every group once at a moment, one after the other.
    pub async fn evaluate_all(&self, at: Timestamp, fence: Option<&Fence>) -> Result<(), StateError> {
        for group in 0..self.groups() {
            self.evaluate_group(group, at, fence).await?;
        }
        Ok(())
    }

    /// Drives all groups on their ticks while this node leads (`fence` holds a fence), until `shutdown` ends.
    pub async fn run(self: Arc<Self>, mut fence: watch::Receiver<Option<Fence>>, shutdown: impl Future<Output = ()> + Send) {
        self.shared.forecasts.hurry();
        let mut running = JoinSet::new();
        let mut busy: HashSet<(String, String)> = HashSet::new();
        tokio::pin!(shutdown);
        loop {
            while let Some(ended) = running.try_join_next() {
                if let Ok(name) = ended {
                    busy.remove(&name);
                }
            }
            if running.is_empty() {
                busy.clear();
            }
            let now = self.shared.clock.now();
            let held = fence.borrow_and_update().clone();
            let stage = self.stage();
            let mut pause = LONGEST;
            if held.is_none() {
                // Another node leads: what this one remembers ages. Readers get the store's answer, and it is read again later.
                *stage.loaded.lock().await = None;
            }
            if let Some(held) = held {
                for runner in &stage.runners {
                    let name = (runner.group.source.clone(), runner.group.name.clone());
                    let (last, tick) = (runner.last.load(Ordering::SeqCst), runner.rhythm.tick(now));
                    if last >= tick.nanos() {
                        pause = pause.min(runner.rhythm.next(now).since(now).max(Duration::from_millis(1)));
                    } else if busy.insert(name.clone()) {
                        let (me, stage, runner, held) = (self.clone(), stage.clone(), runner.clone(), held.clone());
                        running.spawn(async move {
                            if let Err(error) = me.evaluate(&stage, &runner, tick, Some(&held)).await {
                                tracing::warn!(group = %runner.group.name, error = &error as &dyn std::error::Error, "a rule group could not be evaluated; it is tried at the next tick");
                                tokio::time::sleep(AGAIN).await;
                            }
                            name
                        });
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                // Only now is it known when the group is due next.
                Some(ended) = running.join_next(), if !running.is_empty() => {
                    busy.retain(|name| !ended.as_ref().is_ok_and(|ended| ended == name));
                }
                Ok(()) = fence.changed() => {}
                () = self.restaged.notified() => {}
                () = &mut shutdown => break,
            }
        }
        running.shutdown().await;
    }

    /// What is known of every group on this node, in order; empty alerts until the first evaluation has read the state.
    pub fn views(&self) -> Vec<Arc<GroupView>> {
        self.stage().runners.iter().filter(|runner| !runner.checks_ladders).map(|runner| runner.view()).collect()
    }

    /// Open alerts: as this node evaluates them, else (another node leads) as the store has them.
    pub async fn open_alerts(&self) -> Result<Vec<Instance>, StateError> {
        let stage = self.stage();
        if stage.loaded.lock().await.is_none() {
            let found = everything::<Instance>(&*self.shared.state, &self.shared.tenant, &["pending", "firing"]).await?;
            return Ok(found.into_iter().map(|found| found.entity).collect());
        }
        let open = |instance: &Instance| instance.alert.state.resolved_at().is_none();
        Ok(stage.runners.iter().flat_map(|runner| runner.view().instances().filter(|one| open(one)).cloned().collect::<Vec<_>>()).collect())
    }

    async fn evaluate(&self, stage: &Stage, runner: &Runner, at: Timestamp, fence: Option<&Fence>) -> Result<(), StateError> {
        let watch = model::time::Stopwatch::start();
        self.ensure_loaded(stage, at, fence).await?;
        let last = runner.last.swap(at.nanos(), Ordering::SeqCst);
        let name = [runner.group.name.as_str()];
        if last != 0 {
            let missed = runner.rhythm.between(Timestamp::from_nanos(last), at);
            self.shared.meters.missed.with_label_values(&name).inc_by(missed);
        }
        let muting = self.muting(stage, runner, at, fence).await?;
        let result = group::evaluate(&self.shared, runner, muting, at, fence).await;
        if matches!(result, Err(StateError::Fenced { .. })) {
            *stage.loaded.lock().await = None;
        }
        self.shared.meters.seconds.with_label_values(&name).observe(watch.elapsed().as_secs_f64());
        self.count(stage);
        result
    }

    /// Everything that may mute an alert of this group. Silences whose end is past are put away.
    async fn muting(&self, stage: &Stage, runner: &Runner, at: Timestamp, fence: Option<&Fence>) -> Result<Muting, StateError> {
        let found = a_few::<Silence>(&*self.shared.state, &self.shared.tenant, &["live"]).await?;
        let mut silences = Vec::new();
        for one in found {
            if one.entity.ends_at > at {
                silences.push(one.entity);
                continue;
            }
            let mut commit = Commit { fence: fence.cloned(), ..Commit::at(at) };
            commit.put(&Silence { over: true, ..one.entity }, Expect::Version(one.version))?;
            match self.shared.state.commit(commit).await {
                Ok(_) => {}
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error),
            }
        }
        let routing = self.shared.routing();
        let mut inhibition = Inhibition::new(&routing.inhibit_rules);
        if !routing.inhibit_rules.is_empty() {
            for other in stage.runners.iter().filter(|other| !std::ptr::eq(&***other, runner)) {
                firing(other.view().instances()).for_each(|alert| inhibition.begins(alert.fingerprint, &alert.labels));
            }
            self.shared.foreign().iter().for_each(|(fingerprint, labels)| inhibition.begins(*fingerprint, labels));
        }
        Ok(Muting { silences, inhibition, routing })
    }

    async fn ensure_loaded(&self, stage: &Stage, now: Timestamp, fence: Option<&Fence>) -> Result<(), StateError> {
        let mut loaded = stage.loaded.lock().await;
        let token = fence.map(|fence| fence.token);
        if *loaded == Some(token) {
            return Ok(());
        }
        let mut boards = board::load_all(&*self.shared.state, &self.shared.tenant, now).await?;
        for (key, written) in ended::written_before(stage) {
            boards.entry(key).or_default().written.extend(written);
        }
        for runner in &stage.runners {
            runner.fill(&mut boards).await;
        }
        let gone: Vec<Labels> = boards.values_mut().flat_map(|board| std::mem::take(&mut board.written)).collect();
        self.retire(boards, now, fence).await?;
        ended::mark(&self.shared, stage, gone, now).await;
        settle_where_changed(&self.shared, now, fence).await?;
        *loaded = Some(token);
        Ok(())
    }

    /// Resolves the alerts of rules that no longer exist.
    async fn retire(&self, boards: HashMap<RuleKey, RuleBoard>, now: Timestamp, fence: Option<&Fence>) -> Result<(), StateError> {
        let ours = |key: &RuleKey| key.source.starts_with("file:") || key.source == OWN_SOURCE || key.source == "state";
        for (key, board) in boards.into_iter().filter(|(key, _)| ours(key)) {
            let mut commit = Commit { fence: fence.cloned(), ..Commit::at(now) };
            for stored in board.stored.into_values() {
                let mut instance = stored.instance;
                let subject = Subject::alert(instance.alert.id, instance.alert.incident);
                match instance.alert.state {
                    AlertState::Pending { .. } => {
                        commit.delete(&instance, Expect::Version(stored.version));
                        commit.event(self.shared.event(now, subject, EventKind::AlertCancelled));
                    }
                    AlertState::Firing { active_at, fired_at, .. } => {
                        instance.alert.state = AlertState::Resolved { active_at, fired_at, resolved_at: now };
                        let text = format!("The rule {} of group {} no longer exists.", key.name, key.group);
                        commit.put(&instance, Expect::Version(stored.version))?;
                        commit.event(self.shared.event(now, subject.clone(), EventKind::Noted { text, details: BTreeMap::new() }));
                        commit.event(self.shared.event(now, subject, EventKind::AlertResolved { value: instance.alert.value }));
                    }
                    AlertState::Resolved { .. } => {}
                }
            }
            if let (Some(failing), Some(version)) = (board.state.failing, board.failing_version) {
                let record = FailingRule { tenant: self.shared.tenant.clone(), rule: key.clone(), failing };
                commit.delete(&record, Expect::Version(version));
            }
            if let (Some(since), Some(version)) = (board.silent_since, board.silent_version) {
                commit.delete(&SilentRule { tenant: self.shared.tenant.clone(), rule: key, since }, Expect::Version(version));
            }
            if !commit.is_empty() {
                self.shared.state.commit(commit).await?;
            }
        }
        Ok(())
    }

    fn count(&self, stage: &Stage) {
        let mut alerts: BTreeMap<(&'static str, &'static str), i64> = BTreeMap::new();
        for state in ["pending", "firing"] {
            for severity in ["info", "warning", "high", "critical"] {
                alerts.insert((state, severity), 0);
            }
        }
        let (mut failing, mut no_data) = (0, 0);
        for runner in &stage.runners {
            let view = runner.view();
            failing += view.rules.iter().filter(|rule| rule.health == Health::Failing).count();
            no_data += view.rules.iter().filter(|rule| rule.no_data).count();
            for instance in view.instances() {
                if let Some(count) = alerts.get_mut(&(instance.alert.state.name(), instance.alert.severity.as_str())) {
                    *count += 1;
                }
            }
        }
        for ((state, severity), count) in alerts {
            self.shared.meters.alerts.with_label_values(&[state, severity]).set(count);
        }
        self.shared.meters.failing.set(i64::try_from(failing).unwrap_or(i64::MAX));
        self.shared.meters.no_data.set(i64::try_from(no_data).unwrap_or(i64::MAX));
    }
}

/// What fires of these.
fn firing<'a>(instances: impl Iterator<Item = &'a Instance>) -> impl Iterator<Item = &'a Alert> {
    instances.map(|instance| &instance.alert).filter(|alert| alert.is_firing())
}

impl Stage {
    fn of(shared: &Shared, before: Option<Arc<Stage>>) -> Self {
        let rules: Arc<RuleSet> = shared.rules();
        let escalation = shared.config.own_escalation.as_deref();
        let mut runners: Vec<Arc<Runner>> = Vec::new();
        for group in &rules.groups {
            let interval = group.interval.unwrap_or(shared.config.evaluation_interval.0);
            let own = own::rule_failing(&group.source, &group.name, escalation);
            runners.push(Arc::new(Runner::new(group.clone(), interval, own, false)));
        }
        let check = Group {
            source: OWN_SOURCE.to_owned(),
            name: "ladders".to_owned(),
            interval: None,
            query_offset: None,
            limit: 0,
            rules: Vec::new(),
        };
        runners.push(Arc::new(Runner::new(check, LADDER_CHECK, own::ladder_overdue(escalation), true)));
        Stage { runners, loaded: tokio::sync::Mutex::new(None), before: Mutex::new(before) }
    }
}

impl Runner {
    fn new(group: Group, interval: Duration, own: AlertRule, checks_ladders: bool) -> Self {
        let rhythm = Rhythm::new(interval, &group.source, &group.name);
        let boards: Vec<RuleBoard> = vec![RuleBoard::default(); group.rules.len() + 1];
        let view = RwLock::new(Arc::new(GroupView::of(&group, interval, &own, &boards, None, 0.0)));
        let boards = tokio::sync::Mutex::new(boards);
        let exprs = group.rules.iter().filter_map(Rule::promql).map(ToOwned::to_owned).collect();
        Runner { group, interval, rhythm, exprs, own, checks_ladders, boards, view, last: AtomicI64::new(0) }
    }

    fn view(&self) -> Arc<GroupView> {
        match self.view.read() {
            Ok(view) => view.clone(),
            Err(poisoned) => poisoned.into_inner().clone(),
        }
    }

    fn publish(&self, boards: &[RuleBoard], at: Option<Timestamp>, seconds: f64) {
        let view = Arc::new(GroupView::of(&self.group, self.interval, &self.own, boards, at, seconds));
        match self.view.write() {
            Ok(mut slot) => *slot = view,
            Err(poisoned) => *poisoned.into_inner() = view,
        }
    }

    /// Takes its rules' states out of what was read.
    async fn fill(&self, read: &mut HashMap<RuleKey, RuleBoard>) {
        let mut boards = self.boards.lock().await;
        let keys = self.group.rules.iter().map(Rule::key).chain([&self.own.key]);
        *boards = keys.map(|key| read.remove(key).unwrap_or_default()).collect();
        self.publish(&boards, None, 0.0);
    }
}

#[cfg(test)]
mod tests;
