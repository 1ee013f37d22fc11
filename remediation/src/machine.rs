//! The state machine of a remediation run, as a pure function. In: a run, what happened, when. Out: the run afterwards and the events to
//! journal; what must happen next is read from the run (`RepairRun::next`). An input that does not fit the state is a typed error.
//!
//! ```text
//! planned --guards--> acting(r) --> settling(r) --cleared--> verified
//!    |                   |              | still true at the deadline
//!    v                   v              v
//! refused, dry run,   (failed) ----> undoing(r) --> acting(r+1) ... handed over
//! not needed
//! ```
//! Where a plan wants approval: planned --guards--> awaiting approval --yes--> planned --guards, asked again--> acting. Nobody says yes:
//! refused.

use model::alert::{Acknowledgement, Verdict};
use model::event::{Actor, EventKind};
use model::repair::RepairOutcome;
use model::time::{Span, Timestamp};

use crate::guard::Ruling;
use crate::perform::{Outcome, Performed};
use crate::run::{RepairRun, RunState, Seen, Then};

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum Input {
    /// The guards ruled.
    Guarded(Ruling),
    /// A person says yes.
    Approved {
        /// Who.
        by: Actor,
    },
    /// Nobody said yes in time.
    Expired,
    /// The alert is over: seen right before an act, or while it waits for a yes.
    AlertOver,
    /// Right before the act, something forbade it.
    Blocked {
        /// What.
        reason: String,
    },
    /// The rung's action was carried out.
    Acted(Performed),
    /// The alert's expression was evaluated.
    Checked(Verdict),
    /// The rung's undo was carried out.
    Undone(Performed),
    /// Somebody wants it to stop.
    Stop {
        /// Who and why.
        reason: String,
    },
}

impl Input {
    fn word(&self) -> &'static str {
        match self {
            Input::Guarded(_) => "a ruling of the guards",
            Input::Approved { .. } => "an approval",
            Input::Expired => "the end of its wait for approval",
            Input::AlertOver => "the end of its alert",
            Input::Blocked { .. } => "a veto",
            Input::Acted(_) => "the end of an act",
            Input::Checked(_) => "a check",
            Input::Undone(_) => "the end of an undo",
            Input::Stop { .. } => "a stop",
        }
    }
}

/// The run afterwards and what to journal.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The run.
    pub run: RepairRun,
    /// The events, in order.
    pub events: Vec<EventKind>,
}

/// An input that the run's state does not take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the run is {state} and takes no {input}")]
pub struct IllegalInput {
    /// Where the run stands.
    pub state: &'static str,
    /// What came.
    pub input: &'static str,
}

/// Steps a run.
pub fn decide(run: &RepairRun, input: &Input, now: Timestamp) -> Result<Decision, IllegalInput> {
    let stepper = Stepper { run: run.clone(), events: Vec::new(), now };
    let illegal = || Err(IllegalInput { state: model::state::Entity::status(run), input: input.word() });
    match (&run.state, input) {
        (RunState::Planned, Input::Guarded(ruling)) => Ok(stepper.guarded(ruling)),
        (RunState::Planned, Input::Stop { reason }) => Ok(stepper.hand_over(format!("{reason}; nothing was done"))),
        (RunState::Awaiting { .. }, Input::Approved { by }) => Ok(stepper.approved(by)),
        (RunState::Awaiting { .. }, Input::Expired) => {
            let reason = format!("approval: nobody said yes within {}", run.plan.approval_timeout);
            Ok(stepper.finish(RepairOutcome::Refused { reason }))
        }
        (RunState::Awaiting { .. }, Input::AlertOver) => Ok(stepper.finish(RepairOutcome::NotNeeded)),
        (RunState::Awaiting { .. }, Input::Stop { reason }) => Ok(stepper.hand_over(format!("{reason}; nothing was done"))),
        (RunState::Acting { rung }, Input::AlertOver) => Ok(stepper.alert_over(*rung)),
        (RunState::Acting { .. }, Input::Blocked { reason }) => Ok(stepper.hand_over(reason.clone())),
        (RunState::Acting { rung }, Input::Acted(performed)) => Ok(stepper.acted(*rung, performed)),
        (RunState::Settling { rung, check, deadline, seen, .. }, Input::Checked(verdict)) => {
            Ok(stepper.checked(&Look { rung: *rung, check: *check, deadline: *deadline, seen: *seen }, verdict))
        }
        (RunState::Settling { rung, .. }, Input::Stop { reason }) => {
            let name = run.rung_name(*rung);
            Ok(stepper.hand_over(format!("{reason}; rung {name} acted and stays as it is")))
        }
        (RunState::Undoing { rung, then }, Input::Undone(performed)) => Ok(stepper.undone(*rung, then, performed)),
        (RunState::Acting { .. } | RunState::Undoing { .. }, Input::Stop { reason }) => Ok(stepper.stop_later(reason)),
        (_, Input::Approved { .. } | Input::Expired)
        | (RunState::Planned, Input::AlertOver | Input::Blocked { .. } | Input::Acted(_) | Input::Checked(_) | Input::Undone(_))
        | (RunState::Awaiting { .. }, Input::Guarded(_) | Input::Blocked { .. } | Input::Acted(_) | Input::Checked(_) | Input::Undone(_))
        | (RunState::Acting { .. }, Input::Guarded(_) | Input::Checked(_) | Input::Undone(_))
        | (RunState::Settling { .. }, Input::Guarded(_) | Input::AlertOver | Input::Blocked { .. } | Input::Acted(_) | Input::Undone(_))
        | (RunState::Undoing { .. }, Input::Guarded(_) | Input::AlertOver | Input::Blocked { .. } | Input::Acted(_) | Input::Checked(_))
        | (RunState::Finished { .. }, _) => illegal(),
    }
}

/// What a check needs to know of the run's state.
struct Look {
    rung: usize,
    check: u32,
    deadline: Timestamp,
    seen: Option<Seen>,
}

struct Stepper {
    run: RepairRun,
    events: Vec<EventKind>,
    now: Timestamp,
}

impl Stepper {
    fn done(self) -> Decision {
        Decision { run: self.run, events: self.events }
    }

    fn finish(mut self, outcome: RepairOutcome) -> Decision {
        let remediation = self.run.plan.name.clone();
        self.events.push(EventKind::RepairFinished { run: self.run.id, remediation, outcome: outcome.clone() });
        self.run.state = RunState::Finished { outcome, at: self.now };
        self.done()
    }

    fn hand_over(self, reason: String) -> Decision {
        self.finish(RepairOutcome::HandedOver { reason })
    }

    fn start(&mut self) {
        let rungs = self.run.plan.rungs.iter().map(|rung| rung.name.clone()).collect();
        self.events.push(EventKind::RepairStarted { run: self.run.id, remediation: self.run.plan.name.clone(), rungs });
    }

    fn guarded(mut self, ruling: &Ruling) -> Decision {
        match ruling {
            Ruling::Pass => {
                self.start();
                self.run.state = RunState::Acting { rung: 0 };
                self.done()
            }
            Ruling::Ask { would } => {
                let until = self.now.plus(self.run.plan.approval_timeout.0);
                let (run, remediation) = (self.run.id, self.run.plan.name.clone());
                self.events.push(EventKind::RepairAwaitsApproval { run, remediation, would: would.clone(), until });
                self.run.state = RunState::Awaiting { until };
                self.done()
            }
            Ruling::DryRun { would } => {
                self.start();
                self.events.extend(would.iter().map(|text| EventKind::Noted { text: text.clone(), details: Default::default() }));
                self.finish(RepairOutcome::DryRun)
            }
            Ruling::Refuse { reason } => self.finish(RepairOutcome::Refused { reason: reason.clone() }),
            Ruling::NotNeeded => self.finish(RepairOutcome::NotNeeded),
            Ruling::Wait { .. } => self.done(),
        }
    }

    /// The guards are asked once more: what they look at may be another now.
    fn approved(mut self, by: &Actor) -> Decision {
        self.run.approved = Some(Acknowledgement { at: self.now, by: by.clone() });
        self.run.state = RunState::Planned;
        self.done()
    }

    fn alert_over(self, rung: usize) -> Decision {
        if rung == 0 {
            return self.finish(RepairOutcome::NotNeeded);
        }
        let before = self.run.rung_name(rung - 1);
        self.hand_over(format!("the alert ended by itself after rung {before} had not helped; nothing more was done"))
    }

    fn acted(mut self, rung: usize, performed: &Performed) -> Decision {
        self.run.acted_at = Some(self.now);
        let name = self.run.rung_name(rung);
        let ok = performed.outcome == Outcome::Done;
        self.events.push(EventKind::RepairActed { run: self.run.id, rung: name.clone(), result: performed.text.clone(), ok });
        if let Some(stop) = self.run.stop.clone() {
            return self.hand_over(format!("{stop}; rung {name} had acted and stays as it is"));
        }
        match performed.outcome {
            Outcome::Done | Outcome::Unknown => self.settle(rung),
            Outcome::Failed => self.leave(rung, Then::NextRung),
            Outcome::NotSent => self.go_on(rung, Then::NextRung),
        }
    }

    fn settle(mut self, rung: usize) -> Decision {
        let Some(settings) = self.run.rung(rung).cloned() else {
            return self.hand_over(format!("the plan has no rung {rung}"));
        };
        let check_at = self.now.plus(settings.settle.0);
        let deadline = check_at.plus(settings.verify_timeout.0);
        self.run.state = RunState::Settling { rung, check: 0, check_at, deadline, seen: None };
        self.done()
    }

    fn checked(mut self, look: &Look, verdict: &Verdict) -> Decision {
        let late = self.now >= look.deadline;
        let (seen, detail) = match verdict {
            Verdict::Cleared => {
                self.check_event(look.rung, true, "the alert's own expression is no longer true for it".to_owned());
                let rung = self.run.rung_name(look.rung);
                return self.finish(RepairOutcome::Verified { rung });
            }
            Verdict::Active { value, severity } => (Seen::Active, format!("still true, value {value} ({severity})")),
            Verdict::Unknown { reason } => (Seen::Unknown, format!("nobody knows: {reason}")),
        };
        // One line for the first check, for each change and for the last one; not one for each look.
        if late || look.seen != Some(seen) {
            self.check_event(look.rung, false, detail.clone());
        }
        if !late {
            let every = self.run.rung(look.rung).map_or(Span::secs(10), |rung| rung.check_every);
            let check_at = self.now.plus(every.0).min(look.deadline);
            let check = look.check + 1;
            self.run.state = RunState::Settling { rung: look.rung, check, check_at, deadline: look.deadline, seen: Some(seen) };
            return self.done();
        }
        let name = self.run.rung_name(look.rung);
        match seen {
            Seen::Active => self.leave(look.rung, Then::NextRung),
            Seen::Unknown => self.leave(look.rung, Then::HandOver { reason: format!("whether rung {name} helped is not known: {detail}") }),
        }
    }

    fn check_event(&mut self, rung: usize, cleared: bool, detail: String) {
        let rung = self.run.rung_name(rung);
        self.events.push(EventKind::RepairChecked { run: self.run.id, rung, cleared, detail });
    }

    /// Undoes the rung if it can be undone, then goes on.
    fn leave(mut self, rung: usize, then: Then) -> Decision {
        if self.run.rung(rung).is_some_and(|rung| rung.undo.is_some()) {
            self.run.state = RunState::Undoing { rung, then };
            return self.done();
        }
        self.go_on(rung, then)
    }

    fn go_on(mut self, rung: usize, then: Then) -> Decision {
        match then {
            Then::HandOver { reason } => self.hand_over(reason),
            Then::NextRung if rung + 1 < self.run.plan.rungs.len() => {
                self.run.state = RunState::Acting { rung: rung + 1 };
                self.done()
            }
            Then::NextRung => self.hand_over("no rung helped".to_owned()),
        }
    }

    fn undone(mut self, rung: usize, then: &Then, performed: &Performed) -> Decision {
        let name = self.run.rung_name(rung);
        let ok = performed.outcome == Outcome::Done;
        self.events.push(EventKind::RepairUndone { run: self.run.id, rung: name.clone(), result: performed.text.clone(), ok });
        if !ok {
            return self.hand_over(format!("rung {name} could not be undone, look at it now: {}", performed.text));
        }
        match (self.run.stop.clone(), then) {
            (Some(stop), _) => self.hand_over(format!("{stop}; rung {name} had been undone")),
            (None, then) => self.go_on(rung, then.clone()),
        }
    }

    fn stop_later(mut self, reason: &str) -> Decision {
        if self.run.stop.is_none() {
            self.run.stop = Some(reason.to_owned());
        }
        self.done()
    }
}
