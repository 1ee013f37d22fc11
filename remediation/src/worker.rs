//! The worker of queue `remediation`: one row is one step of one run. In: a claimed row. Out: the step carried out and the run stepped, in
//! one commit with the row's end. Before an act the row notes that it begins, so that after a crash a request is sent again under
//! the same key and a command is not run twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::alert::{Alert, AlertProbe, Verdict};
use model::drive::{Worker, done};
use model::incident::Incident;
use model::state::{Commit, Expect, Fence, StateError, StateStore, TRIES, Versioned, all, load};
use model::time::Timestamp;
use model::work::{Queue, Work, WorkChange};

use crate::config::{Action, Config, Live};
use crate::guard::{self, Before, Ruling};
use crate::machine::{Input, decide};
use crate::meters::Meters;
use crate::perform::{Hands, Order, Outcome, Performed, with_secrets};
use crate::run::{Gate, RepairRun, Step};
use crate::writer::{Job, Writer};

/// How long the guards wait before they are asked again.
const GUARD_PAUSE: Duration = Duration::from_millis(250);

/// Carries out steps.
pub struct RepairWorker {
    pub(crate) config: Live,
    pub(crate) writer: Writer,
    pub(crate) meters: Meters,
    pub(crate) probe: Arc<dyn AlertProbe>,
    pub(crate) hands: Arc<dyn Hands>,
    pub(crate) keyless: Arc<AtomicBool>,
}

/// One row with what is needed to finish it.
struct Task<'a> {
    row: &'a Work,
    step: Step,
    state: &'a dyn StateStore,
    fence: Option<&'a Fence>,
    now: Timestamp,
}

/// What the run's alert and incident are now.
struct Surroundings {
    alert: Option<Alert>,
    incident: Option<Incident>,
}

impl Task<'_> {
    async fn commit(&self, mut commit: Commit) -> Result<(), StateError> {
        commit.fence = self.fence.cloned();
        self.state.commit(commit).await.map(|_| ())
    }
    async fn run(&self, run: &RepairRun) -> Result<Option<Versioned<RepairRun>>, StateError> {
        load(self.state, &self.row.tenant, &run.id.to_string()).await
    }
    async fn change(&self, change: WorkChange) -> Result<(), StateError> {
        let mut commit = Commit::at(self.now);
        commit.change(&self.row.tenant, change);
        self.commit(commit).await
    }
    /// Nothing is left to do here.
    async fn drop_row(&self) -> Result<(), StateError> {
        self.commit(done(self.row, self.now)).await
    }
    /// Notes that the act begins now.
    async fn begin(&self) -> Result<(), StateError> {
        let progress = serde_json::json!({"acting_since": self.now});
        self.change(WorkChange::Progress { id: self.row.id, lease: self.row.lease, progress }).await
    }
    async fn again(&self, reason: String) -> Result<(), StateError> {
        let due_at = self.now.plus(GUARD_PAUSE);
        self.change(WorkChange::Retry { id: self.row.id, lease: self.row.lease, due_at, error: reason, progress: None }).await
    }
    async fn surroundings(&self, run: &RepairRun) -> Result<Surroundings, StateError> {
        let tenant = &self.row.tenant;
        let alert = load::<Alert>(self.state, tenant, &run.alert.to_string()).await?.map(|found| found.entity);
        let known = run.incident.or(alert.as_ref().and_then(|alert| alert.incident));
        let incident = match known {
            Some(id) => load::<Incident>(self.state, tenant, &id.to_string()).await?,
            None => all(self.state, Some(tenant), &["open", "acknowledged"], 0)
                .await?
                .into_iter()
                .find(|found: &Versioned<Incident>| found.entity.alerts.contains(&run.alert)),
        };
        Ok(Surroundings { alert, incident: incident.map(|found| found.entity) })
    }
}

#[async_trait]
impl Worker for RepairWorker {
    fn queue(&self) -> Queue {
        Queue::Remediation
    }

    /// Longer than the longest action: what a crash interrupts is taken up again when it runs out.
    fn lease(&self) -> Duration {
        let config = self.config.get();
        let rungs = config.remediations.iter().flat_map(|plan| &plan.rungs);
        let actions = rungs.flat_map(|rung| std::iter::once(&rung.action).chain(&rung.undo));
        actions.map(Action::timeout).max().unwrap_or_default() + Duration::from_secs(15)
    }

    fn batch(&self) -> usize {
        1
    }

    async fn work(&self, work: Work, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<(), StateError> {
        let dead = |error: String| WorkChange::Dead { id: work.id, lease: work.lease, error };
        let job: Job = match work.body.read() {
            Ok(job) => job,
            Err(error) => {
                let task = Task { row: &work, step: Step::Expire, state, fence, now };
                return task.change(dead(format!("the row's body is no step of a run: {error}"))).await;
            }
        };
        let task = Task { row: &work, step: job.step, state, fence, now };
        let Some(found) = load::<RepairRun>(state, &work.tenant, &job.run.to_string()).await? else {
            return task.change(dead(format!("{} does not exist", job.run))).await;
        };
        if found.entity.next(now).map(|(step, _)| step) != Some(job.step) {
            return task.drop_row().await; // the run went another way: somebody stopped it
        }
        match job.step {
            Step::Guard { .. } => self.guard(&task, found).await,
            Step::Expire => self.step(&task, found.entity, &Input::Expired, now).await,
            Step::Act { rung } => self.act(&task, found.entity, rung).await,
            Step::Check { .. } => self.check(&task, found.entity).await,
            Step::Undo { rung } => self.undo(&task, found.entity, rung).await,
        }
    }
}

impl RepairWorker {
    /// Asks the guards. A yes changes the tenant's gate, so that two runs are never let through on the same look.
    async fn guard(&self, task: &Task<'_>, mut found: Versioned<RepairRun>) -> Result<(), StateError> {
        let tenant = &task.row.tenant;
        for attempt in 1..=TRIES {
            let gate = load::<Gate>(task.state, tenant, tenant.as_str()).await?;
            let runs: Vec<RepairRun> =
                all::<RepairRun>(task.state, Some(tenant), &[], 0).await?.into_iter().map(|one| one.entity).collect();
            let (config, around) = (self.config.get(), task.surroundings(&found.entity).await?);
            let mut run = found.entity.clone();
            if let Some(incident) = &around.incident {
                run.incident = Some(incident.id);
                run.facts.incident =
                    [("id".to_owned(), incident.id.to_string()), ("number".to_owned(), incident.number.to_string())].into();
            }
            let ruling = guard::rule(&run, &self.scene(&config, &around, &runs, task.now));
            if let Ruling::Wait { reason } = ruling {
                return task.again(reason).await;
            }
            let mut commit = done(task.row, task.now);
            let (passed, expect) = gate.map_or((0, Expect::New), |gate| (gate.entity.passed, Expect::Version(gate.version)));
            commit.put(&Gate { tenant: tenant.clone(), passed: passed + 1 }, expect)?;
            let Ok(decision) = decide(&run, &Input::Guarded(ruling), task.now) else { return task.drop_row().await };
            let run = self.writer.write(&mut commit, decision, Expect::Version(found.version), task.now)?;
            match task.commit(commit).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_conflict() && attempt < TRIES => match task.run(&run).await? {
                    Some(fresh) if !fresh.entity.is_over() => found = fresh,
                    Some(_) | None => return task.drop_row().await,
                },
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn scene<'a>(&self, config: &'a Config, around: &'a Surroundings, runs: &'a [RepairRun], now: Timestamp) -> guard::Scene<'a> {
        let keyless = self.keyless.load(Ordering::SeqCst);
        guard::Scene { config, alert: around.alert.as_ref(), incident: around.incident.as_ref(), runs, keyless, now }
    }

    async fn act(&self, task: &Task<'_>, run: RepairRun, rung: usize) -> Result<(), StateError> {
        let action = run.rung(rung).map(|rung| rung.action.clone());
        let resumed = task.row.progress.is_some();
        if !resumed {
            let (config, around) = (self.config.get(), task.surroundings(&run).await?);
            match guard::before(&run, action.as_ref(), &self.scene(&config, &around, &[], task.now)) {
                Before::Act => task.begin().await?,
                Before::AlertOver => return self.step(task, run, &Input::AlertOver, task.now).await,
                Before::Blocked { reason } => return self.step(task, run, &Input::Blocked { reason }, task.now).await,
            }
        }
        let Some(action) = action else { return task.drop_row().await };
        let performed = self.perform(&run, &action, task.step, resumed).await;
        self.meters.performed(&run, &action, "act", &performed);
        let now = task.state.now().await?;
        self.step(task, run, &Input::Acted(performed), now).await
    }

    async fn check(&self, task: &Task<'_>, run: RepairRun) -> Result<(), StateError> {
        let alert = load::<Alert>(task.state, &task.row.tenant, &run.alert.to_string()).await?.map(|found| found.entity);
        let verdict = match alert.as_ref().or(run.snapshot.as_ref()) {
            Some(alert) => self.probe.probe(alert, task.now).await,
            None => Verdict::Unknown { reason: "the alert's record cannot be found".to_owned() },
        };
        self.step(task, run, &Input::Checked(verdict), task.now).await
    }

    async fn undo(&self, task: &Task<'_>, run: RepairRun, rung: usize) -> Result<(), StateError> {
        let Some(action) = run.rung(rung).and_then(|rung| rung.undo.clone()) else { return task.drop_row().await };
        let resumed = task.row.progress.is_some();
        if !resumed {
            task.begin().await?;
        }
        let forbidden = guard::forbidden_action(&action, &self.config.get(), self.keyless.load(Ordering::SeqCst));
        let performed = match forbidden {
            Some(reason) => Performed::not_sent(reason),
            None => self.perform(&run, &action, task.step, resumed).await,
        };
        self.meters.performed(&run, &action, "undo", &performed);
        if performed.outcome != Outcome::Done {
            tracing::error!(run = %run.id, remediation = run.plan.name, result = performed.text, "a repair could not be undone: people must look now");
        }
        let now = task.state.now().await?;
        self.step(task, run, &Input::Undone(performed), now).await
    }

    async fn perform(&self, run: &RepairRun, planned: &Action, step: Step, resumed: bool) -> Performed {
        let again = resumed.then_some("sent again under the same key, because the process had ended before the answer was written down");
        match (planned, resumed) {
            (Action::Command(command), true) => {
                let text = format!(
                    "{}: the process ended while it ran; whether it finished is not known, and it is not run twice",
                    command.program
                );
                return Performed { outcome: Outcome::Unknown, text };
            }
            (Action::Command(_), false) | (Action::Http(_), _) => {}
        }
        let key = format!("{}/{}", run.id, step.key());
        let configured = self.configured(run, step);
        let performed = match with_secrets(planned, configured.as_ref()) {
            Ok(action) => self.hands.perform(Order { action: &action, facts: &run.facts, key: &key }).await,
            Err(problem) => Performed::not_sent(problem),
        };
        match again {
            Some(again) => Performed { text: format!("{} ({again})", performed.text), ..performed },
            None => performed,
        }
    }

    /// The action as it is configured now: its secrets are not kept with the run.
    fn configured(&self, run: &RepairRun, step: Step) -> Option<Action> {
        let config = self.config.get();
        let named = |rung: usize| {
            let name = &run.rung(rung)?.name;
            config.plan(&run.plan.name)?.rungs.iter().find(|rung| rung.name == *name)
        };
        match step {
            Step::Act { rung } => named(rung).map(|rung| rung.action.clone()),
            Step::Undo { rung } => named(rung)?.undo.clone(),
            Step::Guard { .. } | Step::Expire | Step::Check { .. } => None,
        }
    }

    /// Steps the run and finishes the row. Somebody who stops the run meanwhile changes the record: the outcome of the act is then
    /// decided on the fresh one, and never lost.
    async fn step(&self, task: &Task<'_>, run: RepairRun, input: &Input, now: Timestamp) -> Result<(), StateError> {
        for attempt in 1..=TRIES {
            let Some(found) = task.run(&run).await? else { return task.drop_row().await };
            let Ok(decision) = decide(&found.entity, input, now) else { return task.drop_row().await };
            let mut commit = done(task.row, now);
            self.writer.write(&mut commit, decision, Expect::Version(found.version), now)?;
            match task.commit(commit).await {
                Ok(()) => return Ok(()),
                Err(error) if error.is_conflict() && attempt < TRIES => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
