//! One evaluation of one group: its rules in order, each seeing what the earlier ones of the same cycle wrote, then the group's own
//! rule about those that keep failing. Fails with the state store only.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use model::ids::AlertId;
use model::labels::{Labels, METRIC_NAME};
use model::query::{Overlay, SeriesSample, Together};
use model::state::{Fence, StateError, TRIES};
use model::time::{Stopwatch, Timestamp};

use super::ask::{self, Moment};
use super::board::RuleBoard;
use super::{Runner, everything, firing, own, series, unusual, write};
use crate::ladder::LadderRun;
use crate::machine::{self, Instance, Outcome, Setting};
use crate::rules::{AlertRule, NoData, RecordRule, Rule};
use crate::shared::Shared;
use crate::silence::Muting;

/// What one evaluation carries along.
struct Cycle<'a> {
    shared: &'a Shared,
    at: Timestamp,
    /// The moment that is asked about: `at` minus the query offset.
    asked: Timestamp,
    fence: Option<&'a Fence>,
    interval: Duration,
    limit: usize,
    muting: Muting,
    overlay: Overlay,
    /// What its rules ask, so that what several of them need is read once.
    together: Arc<Together>,
    samples: Vec<(Labels, SeriesSample)>,
}

/// Evaluates a group.
pub(super) async fn evaluate(
    shared: &Shared,
    runner: &Runner,
    muting: Muting,
    at: Timestamp,
    fence: Option<&Fence>,
) -> Result<(), StateError> {
    let watch = Stopwatch::start();
    let mut boards = runner.boards.lock().await;
    let offset = runner.group.query_offset.unwrap_or(shared.config.query_offset.0);
    let mut cycle = Cycle {
        shared,
        at,
        asked: at.minus(offset),
        fence,
        interval: runner.interval,
        limit: limit(runner.group.limit, shared.config.max_alerts_per_rule),
        muting,
        overlay: Overlay::default(),
        together: Arc::new(Together::new(Arc::clone(&runner.exprs))),
        samples: Vec::new(),
    };
    for board in boards.iter() {
        cycle.begin(board.state.instances.values());
    }
    let name = [runner.group.name.as_str()];
    let mut result = Ok(());
    for (rule, board) in runner.group.rules.iter().zip(boards.iter_mut()) {
        shared.meters.evaluations.with_label_values(&name).inc();
        let watch = Stopwatch::start();
        let done = match rule {
            Rule::Alert(rule) => cycle.alert(rule, board).await,
            Rule::Record(rule) => cycle.record(rule, board).await,
        };
        board.seconds = watch.elapsed().as_secs_f64();
        board.evaluated_at = Some(at);
        if board.error.is_some() {
            shared.meters.failures.with_label_values(&name).inc();
        }
        match done {
            Ok(()) => {}
            Err(error @ StateError::Fenced { .. }) => return Err(error),
            Err(error) => result = Err(error),
        }
    }
    if let Err(error) = cycle.own(runner, &mut boards).await {
        result = Err(error);
    }
    cycle.store(runner).await;
    runner.publish(&boards, Some(at), watch.elapsed().as_secs_f64());
    result
}

/// The stricter of the group's limit (0: none) and the configured one.
fn limit(group: usize, configured: usize) -> usize {
    if group == 0 { configured } else { group.min(configured) }
}

impl Cycle<'_> {
    fn moment(&self) -> Moment<'_> {
        Moment { at: self.asked, now: self.at, overlay: &self.overlay, together: Some(&self.together), limit: self.limit }
    }

    /// What of these fires may mute others.
    fn begin<'i>(&mut self, instances: impl Iterator<Item = &'i Instance>) {
        firing(instances).for_each(|alert| self.muting.inhibition.begins(alert.fingerprint, &alert.labels));
    }

    /// None of these mutes others any more.
    fn end<'i>(&mut self, instances: impl Iterator<Item = &'i Instance>) {
        instances.for_each(|instance| self.muting.inhibition.ends(instance.alert.fingerprint, &instance.alert.labels));
    }

    async fn alert(&mut self, rule: &AlertRule, board: &mut RuleBoard) -> Result<(), StateError> {
        let asked = ask::alert(self.shared, rule, self.moment()).await;
        board.matched = asked.matched;
        let found_nothing = !asked.matched && asked.outcome.is_ok();
        let reason = asked.reason.clone();
        let expected = unusual::series(&rule.key, &asked.foreseen);
        let mut outcome = asked.into_outcome();
        let open = || board.state.instances.values().any(|instance| instance.alert.state.resolved_at().is_none());
        if found_nothing && (rule.no_data == NoData::Error || (reason.is_some() && open())) {
            // What cannot be judged any more is not over.
            let reason = reason.clone().unwrap_or_else(|| "nothing that it asks about has come".to_owned());
            outcome = Outcome::Failed(format!("there is no data: {reason}"));
        }
        let silent = found_nothing && rule.no_data == NoData::Alert;
        board.silent_since = silent.then(|| board.silent_since.unwrap_or(self.at));
        board.silent_because = reason.filter(|_| found_nothing);
        board.error = match &outcome {
            Outcome::Failed(error) => Some(error.clone()),
            Outcome::Samples(_) => None,
        };
        let done = self.step(rule, board, &outcome).await;
        let mut written = series::of_alerts(&board.state.instances);
        written.extend(expected);
        self.write(board, written);
        done
    }

    /// Steps the machine and commits what changed; where somebody else was first, reads again and decides again.
    async fn step(&mut self, rule: &AlertRule, board: &mut RuleBoard, outcome: &Outcome) -> Result<(), StateError> {
        let setting = Setting { tenant: &self.shared.tenant, rule, flapping: self.shared.config.flapping, interval: self.interval };
        for attempt in 1..=TRIES {
            let mut step = machine::step(setting, &board.state, outcome, self.at, &*self.shared.ids);
            self.end(board.state.instances.values());
            self.begin(step.state.instances.values());
            let muted = write::mute(&mut step, &self.muting, self.at);
            let mut written = write::commit(self.shared, rule, board, &step, &muted, self.at)?;
            if !written.commit.is_empty() {
                written.commit.fence = self.fence.cloned();
                match self.shared.state.commit(written.commit).await {
                    Ok(_) => {}
                    Err(error) if error.is_conflict() && attempt < TRIES => {
                        self.end(step.state.instances.values());
                        let fingerprints: Vec<u64> = step.state.instances.keys().copied().collect();
                        let (state, tenant) = (&*self.shared.state, &self.shared.tenant);
                        board.reload(state, tenant, &rule.key, fingerprints.into_iter(), self.at).await?;
                        continue;
                    }
                    Err(error) => return Err(error),
                }
            }
            written.forgotten.iter().for_each(|id| drop(board.stored.remove(id)));
            board.stored.extend(written.stored.into_iter().map(|stored| (stored.instance.alert.id, stored)));
            let kept: HashSet<AlertId> = step.state.instances.values().map(|instance| instance.alert.id).collect();
            board.stored.retain(|id, _| kept.contains(id));
            board.failing_version = written.failing_version;
            board.silent_version = written.silent_version;
            board.state = step.state;
            return Ok(());
        }
        Ok(())
    }

    /// A recording rule has no alerts, but it may fail: the machine keeps that too.
    async fn record(&mut self, rule: &RecordRule, board: &mut RuleBoard) -> Result<(), StateError> {
        let asked = ask::record(self.shared, rule, self.moment()).await;
        board.matched = asked.matched;
        let outcome = match asked.outcome {
            Ok(series) => {
                board.error = None;
                self.write(board, series);
                Outcome::Samples(BTreeMap::new())
            }
            Err(error) => {
                board.error = Some(error.clone());
                Outcome::Failed(error)
            }
        };
        self.step(&own::bare(rule.key.clone(), &rule.expr), board, &outcome).await
    }

    fn write(&mut self, board: &mut RuleBoard, series: BTreeMap<Labels, f64>) {
        let samples = series::samples(&series, &board.written, self.asked);
        board.written = series.into_keys().collect();
        self.overlay.extend(series::overlay(&samples));
        self.samples.extend(samples);
    }

    /// The group's own rule.
    async fn own(&mut self, runner: &Runner, boards: &mut [RuleBoard]) -> Result<(), StateError> {
        let Some((board, rules)) = boards.split_last_mut() else { return Ok(()) };
        let outcome = if runner.checks_ladders {
            let runs = everything::<LadderRun>(&*self.shared.state, &self.shared.tenant, &["running"]).await?;
            let runs: Vec<LadderRun> = runs.into_iter().map(|run| run.entity).collect();
            let (outcome, latest) = own::overdue_ladders(&runner.own, &runs, self.shared.config.ladder_overdue.0, self.at);
            self.shared.meters.overdue.set(latest.as_secs_f64());
            outcome
        } else {
            let failing = runner.group.rules.iter().zip(rules.iter());
            let failing = failing.filter_map(|(rule, board)| Some((rule.key(), board.state.failing.as_ref()?)));
            let config = &self.shared.config;
            let told = |failing: &machine::Failing| {
                failing.failures >= config.failing_after && self.at.since(failing.since) >= config.failing_for.0
            };
            let failing = failing.filter(|(_, failing)| told(failing));
            let patience = config.no_data_after.0;
            let silent = runner.group.rules.iter().zip(rules.iter()).filter_map(|(rule, board)| {
                Some(own::Silent { rule: rule.key(), since: board.silent_since?, because: board.silent_because.as_deref() })
            });
            let silent = silent.filter(|silent| !patience.is_zero() && self.at.since(silent.since) >= patience);
            own::troubled_rules(&runner.own, failing, silent.collect())
        };
        board.evaluated_at = Some(self.at);
        let done = self.step(&runner.own, board, &outcome).await;
        self.write(board, series::of_alerts(&board.state.instances));
        done
    }

    /// Writes the samples of the whole group. What the store refuses is counted and left out: the next cycle writes again.
    async fn store(self, runner: &Runner) {
        let count = self.samples.len() as u64;
        if count == 0 {
            return;
        }
        debug_assert!(self.samples.iter().all(|(labels, _)| labels.get(METRIC_NAME).is_some()));
        if let Err(error) = self.shared.series.write(&self.shared.tenant, self.samples).await {
            self.shared.meters.refused.with_label_values(&[runner.group.name.as_str()]).inc_by(count);
            tracing::warn!(group = %runner.group.name, error = &error as &dyn std::error::Error, samples = count, "samples of rules were refused");
        }
    }
}
