//! Random inputs to the state machine under named invariants.

use std::time::Duration;

use model::alert::Verdict;
use model::event::EventKind;
use model::repair::RepairOutcome;
use model::severity::Severity;
use model::units::Value;
use proptest::prelude::*;

use super::world::{START, World, two_rungs};
use crate::guard::Ruling;
use crate::machine::{Input, decide};
use crate::perform::{Outcome, Performed};
use crate::run::{RepairRun, RunState};

fn performed() -> impl Strategy<Value = Performed> {
    let outcome =
        prop_oneof![4 => Just(Outcome::Done), 1 => Just(Outcome::Failed), 1 => Just(Outcome::NotSent), 1 => Just(Outcome::Unknown)];
    outcome.prop_map(|outcome| Performed { outcome, text: "x".into() })
}

fn input() -> impl Strategy<Value = Input> {
    let reason = || "x".to_owned();
    prop_oneof![
        2 => Just(Input::Guarded(Ruling::Pass)),
        1 => Just(Input::Guarded(Ruling::Refuse { reason: reason() })),
        1 => Just(Input::AlertOver),
        1 => Just(Input::Blocked { reason: reason() }),
        6 => performed().prop_map(Input::Acted),
        6 => performed().prop_map(Input::Undone),
        2 => Just(Input::Checked(Verdict::Cleared)),
        6 => Just(Input::Checked(Verdict::Active { value: Value(1.0), severity: Severity::High })),
        3 => Just(Input::Checked(Verdict::Unknown { reason: reason() })),
        1 => Just(Input::Stop { reason: reason() }),
    ]
}

/// What must hold for the whole history of a run.
fn invariants(run: &RepairRun, events: &[EventKind]) -> Result<(), TestCaseError> {
    let finished = events.iter().filter(|event| matches!(event, EventKind::RepairFinished { .. })).count();
    prop_assert_eq!(finished, usize::from(run.is_over()), "finished_once_and_last");
    prop_assert!(!run.is_over() || matches!(events.last(), Some(EventKind::RepairFinished { .. })), "finished_once_and_last");
    let acts: Vec<&String> =
        events.iter().filter_map(|event| if let EventKind::RepairActed { rung, .. } = event { Some(rung) } else { None }).collect();
    prop_assert!(acts.windows(2).all(|pair| pair[0] != pair[1]) && acts.len() <= run.plan.rungs.len(), "each_rung_acts_once");
    let cleared = events.iter().any(|event| matches!(event, EventKind::RepairChecked { cleared: true, .. }));
    let verified = matches!(run.state, RunState::Finished { outcome: RepairOutcome::Verified { .. }, .. });
    prop_assert_eq!(verified, cleared, "verified_only_by_the_expression");
    prop_assert!(acts.is_empty() || matches!(events.first(), Some(EventKind::RepairStarted { .. })), "nothing_acts_before_the_guards");
    let harmless = matches!(
        run.state,
        RunState::Finished { outcome: RepairOutcome::Refused { .. } | RepairOutcome::NotNeeded | RepairOutcome::DryRun, .. }
    );
    prop_assert!(!harmless || acts.is_empty(), "what_is_called_harmless_did_nothing");
    Ok(())
}

proptest! {
    #[test]
    fn any_inputs_keep_the_invariants(inputs in prop::collection::vec((input(), 0..30u64), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut run = runtime.block_on(async {
            let world = World::new(two_rungs());
            world.fire(&world.alert("checkout")).await.unwrap();
            for follower in world.remediation.followers() {
                model::drive::advance(&*follower, &*world.state, None, world.now(), 16).await.unwrap();
            }
            world.runs().await.pop().unwrap()
        });
        let (mut events, mut now) = (Vec::new(), START);
        for (input, seconds) in inputs {
            now = now.plus(Duration::from_secs(seconds));
            let before = run.clone();
            if let Ok(decision) = decide(&run, &input, now) {
                prop_assert!(!before.is_over(), "nothing_moves_after_the_end");
                if let (RunState::Undoing { rung, .. }, RunState::Acting { rung: next }) = (&before.state, &decision.run.state) {
                    prop_assert_eq!(rung + 1, *next, "rungs_in_order");
                    let undone = matches!(decision.events.first(), Some(EventKind::RepairUndone { ok: true, .. }));
                    prop_assert!(undone, "the_next_rung_only_after_a_good_undo");
                }
                prop_assert!(decision.run.stop.is_none() || !matches!((&before.state, &decision.run.state), (RunState::Undoing { .. }, RunState::Acting { .. })), "a_stop_is_a_stop");
                events.extend(decision.events);
                run = decision.run;
            }
            prop_assert_eq!(run.next(now).is_none(), run.is_over(), "a_run_that_is_not_over_has_a_next_step");
            invariants(&run, &events)?;
        }
    }
}
