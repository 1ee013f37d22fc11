//! Taking steps: whom one reaches at this moment, what they are told, when the next one is due; and a call for help, which takes it now.

use model::event::EventKind;
use model::message::PageAction;
use model::state::{Expect, StateError, Versioned};

use super::super::notice::{Scene, Telling, step_reason, tell};
use super::super::{LadderRun, LadderStatus, StopReason, TakenStep};
use super::{Climb, Job};
use crate::on_call::{self, Reached};

/// What became of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Somebody was told, or no step was left.
    Taken,
    /// Nobody is on call for it.
    ReachedNobody,
}

impl Climb<'_> {
    /// Takes the steps that are due and schedules the next one.
    pub(in super::super) async fn climb(&mut self, run: &mut LadderRun, scene: &Scene) -> Result<(), StateError> {
        let due = run.next_at.is_some_and(|next| next <= self.now);
        if due {
            run.hours = self.hours(run, scene).await?;
        }
        if due
            && self.asked.is_none()
            && let Some(closed) = self.shared.routing().calendar.closed(&run.hours, self.now)
        {
            run.wait_until(closed.until);
            let text = format!("ladder {} waits: {}", run.ladder.name, closed.words());
            let details = [("suppressed_by".to_owned(), closed.by), ("until".to_owned(), closed.until.to_string())];
            self.tell_journal(run, EventKind::Noted { text, details: details.into() });
        }
        // A step that reaches nobody does not cost its time: the next one is taken at once.
        let mut skipped = false;
        while run.next_at.is_some_and(|next| next <= self.now) && self.step(run, scene, skipped).await? == Step::ReachedNobody {
            run.hurry(self.now);
            skipped = true;
        }
        let Some(next) = run.next_at else { return Ok(()) };
        let job = Job::Step { run: run.id, generation: run.generation, round: run.round, step: run.step };
        self.schedule(run.work_key(), run.subject.subject(), next, &job)
    }

    async fn step(&mut self, run: &mut LadderRun, scene: &Scene, skipped: bool) -> Result<Step, StateError> {
        let Some(step) = run.ladder.steps.get(run.step as usize).cloned() else {
            run.take(self.now, &[]);
            self.tell_journal(run, EventKind::LadderExhausted { run: run.id, ladder: run.ladder.name.clone() });
            return Ok(Step::Taken);
        };
        let routing = self.shared.routing();
        let roster = &routing.roster;
        let overrides = if roster.asks_schedules(&step.notify) {
            roster.usable(on_call::live_overrides(self.state, &self.shared.tenant, self.now).await?)
        } else {
            Vec::new()
        };
        let mut reached = roster.reach(&step.notify, &overrides, &routing.calendar, self.now);
        let last = run.step as usize + 1 == run.ladder.steps.len();
        let missing = reached.nobody.iter().map(|name| (name, format!("nobody is on call on {name}")));
        let gone = reached.gone.iter().map(|name| (name, format!("{name} is no receiver, user, team or schedule any more")));
        for (name, what) in missing.chain(gone).collect::<Vec<_>>() {
            let then = if !reached.receivers.is_empty() {
                "the others of this step are told"
            } else if last {
                "it is the last step, so everybody of its schedules is told, else the default receivers"
            } else {
                "the next step is taken now"
            };
            let text = format!("ladder {}, step {}: {what}; {then}", run.ladder.name, run.step + 1);
            let details = [("schedule".to_owned(), name.clone())].into();
            self.tell_journal(run, EventKind::Noted { text, details });
        }
        if reached.receivers.is_empty() {
            if !last {
                run.take(self.now, &[]);
                return Ok(Step::ReachedNobody);
            }
            reached = roster.everybody(&step.notify);
            if reached.receivers.is_empty() {
                let root = routing.root.iter().flat_map(|root| root.receivers.clone());
                reached.receivers = self.shared.config.default_receivers.iter().cloned().chain(root).collect();
            }
        }
        if let Some(taken) = run.take(self.now, &reached.receivers) {
            let place = || format!("{}, step {} of {}", run.ladder.name, taken.step + 1, run.ladder.steps.len());
            let reason = match &self.asked {
                Some(asked) => format!("{}: {asked}", place()),
                None if skipped => format!("{}: nobody is on call for the step before", place()),
                None => step_reason(run, &taken),
            };
            self.tell_step(run, scene, &taken, reason, reached)?;
        }
        Ok(Step::Taken)
    }

    fn tell_step(&mut self, run: &LadderRun, scene: &Scene, taken: &TakenStep, reason: String, reached: Reached) -> Result<(), StateError> {
        let reason = if reached.people.is_empty() { reason } else { format!("{reason} ({})", reached.people.join(", ")) };
        let telling = Telling {
            action: PageAction::Trigger,
            receivers: &reached.receivers,
            reason,
            key: format!("{}/{}/{}/{}", run.id, run.generation, taken.round, taken.step),
        };
        tell(self.shared, &mut self.commit, run, scene, telling, self.now)?;
        let kind = EventKind::LadderStepTaken {
            run: run.id,
            ladder: run.ladder.name.clone(),
            step: taken.step,
            round: taken.round,
            notify: reached.receivers,
            people: reached.people,
        };
        self.tell_journal(run, kind);
        Ok(())
    }

    /// Somebody called for help: the step that is next is taken now. False where this run can reach nobody: it is muted, or over.
    pub(in super::super) async fn further(&mut self, run: Versioned<LadderRun>) -> Result<bool, StateError> {
        let Versioned { entity: mut run, version } = run;
        let may = match run.status {
            LadderStatus::Running | LadderStatus::Exhausted | LadderStatus::Stopped { reason: StopReason::Acknowledged } => true,
            LadderStatus::Stopped { reason: StopReason::Muted | StopReason::Superseded } | LadderStatus::Closed => false,
        };
        let scene = self.scene(&run.subject).await?.filter(|scene| may && scene.open && !scene.acknowledged);
        let Some(scene) = scene else { return Ok(false) };
        if scene.muted {
            // Nobody has it any more: from now on the silence is what it waits for, and its end lets it climb.
            if run.status == (LadderStatus::Stopped { reason: StopReason::Acknowledged }) {
                run.stop(LadderStatus::Stopped { reason: StopReason::Muted });
                self.commit.put(&run, Expect::Version(version))?;
            }
            return Ok(false);
        }
        let running = run.status == LadderStatus::Running;
        if running {
            self.cancel(run.work_key());
        }
        let stood = (run.round, run.step);
        run.hurry(self.now);
        if !running || (run.round, run.step) < stood {
            self.tell_journal(&run, EventKind::LadderStarted { run: run.id, ladder: run.ladder.name.clone() });
        }
        self.climb(&mut run, &scene).await?;
        self.commit.put(&run, Expect::Version(version))?;
        Ok(true)
    }
}
