//! Random histories under named invariants.

use model::event::{Actor, EventKind, Subject, UpdatePhase};
use model::ids::{AlertId, RemediationId};
use model::incident::{Incident, IncidentStatus};
use model::repair::RepairOutcome;
use model::severity::Severity;
use model::state::{Commit, Expect, Records};
use model::time::Timestamp;
use proptest::prelude::*;

use super::world::{START, World};
use crate::Config;
use crate::lifecycle::{Command, decide};

/// What must hold for every incident at every moment.
fn invariants(incident: &Incident) -> Result<(), TestCaseError> {
    let clocks = incident.clocks;
    prop_assert!(clocks.started <= clocks.detected, "detection_follows_start");
    for at in [clocks.acknowledged, clocks.mitigated, clocks.resolved, clocks.closed, clocks.cancelled].into_iter().flatten() {
        prop_assert!(at >= clocks.detected, "nothing_precedes_detection");
    }
    let ended = matches!(incident.status, IncidentStatus::Resolved | IncidentStatus::Closed);
    prop_assert_eq!(clocks.resolved.is_some(), ended, "the resolved clock stops exactly when it resolves");
    prop_assert_eq!(incident.resolved_by.is_some(), ended, "whoever resolved it is known");
    prop_assert_eq!(clocks.closed.is_some(), incident.status == IncidentStatus::Closed, "closed_clock_iff_closed");
    prop_assert_eq!(clocks.cancelled.is_some(), incident.status == IncidentStatus::Cancelled, "cancelled_clock_iff_cancelled");
    prop_assert!(incident.status != IncidentStatus::Acknowledged || incident.acknowledged.is_some(), "acknowledged_by_somebody");
    prop_assert!(incident.status != IncidentStatus::Open || incident.acknowledged.is_none(), "open_means_nobody_has_it");
    prop_assert!(incident.firing.iter().all(|alert| incident.alerts.contains(alert)), "firing_is_part_of_alerts");
    Ok(())
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        Just(Command::Acknowledge),
        Just(Command::Unacknowledge),
        Just(Command::Escalate { reason: "x".into() }),
        Just(Command::Update { phase: UpdatePhase::Monitoring, text: "x".into() }),
        Just(Command::Mitigate { how: "x".into() }),
        Just(Command::Resolve { reason: "x".into() }),
        Just(Command::Close),
        Just(Command::Cancel { reason: "x".into() }),
        Just(Command::Note { text: "x".into() }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Fire(u8, bool),
    Clear(usize),
    Command(usize, Command),
    Repair(usize),
    RepairEnds(bool),
    Pass(u16),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..3u8, any::<bool>()).prop_map(|(service, critical)| Step::Fire(service, critical)),
        3 => (0..8usize).prop_map(Step::Clear),
        2 => (0..4usize, command()).prop_map(|(at, command)| Step::Command(at, command)),
        1 => (0..8usize).prop_map(Step::Repair),
        1 => any::<bool>().prop_map(Step::RepairEnds),
        2 => (0..120u16).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

async fn give(world: &World, at: usize, command: &Command) {
    let incidents = world.all().await;
    let Some(incident) = incidents.get(at) else { return };
    let found = model::state::load::<Incident>(&*world.state, &incident.tenant, &incident.id.to_string()).await.unwrap().unwrap();
    let actor = Actor::User { id: "ana".into() };
    let Ok(decision) = decide(&found.entity, command, world.now(), &actor) else { return };
    let mut commit = Commit::at(world.now());
    commit.put(&decision.incident, Expect::Version(found.version)).unwrap();
    for kind in decision.events {
        commit.event(world.event(Subject::incident(incident.id), kind));
    }
    world.state.commit(commit).await.unwrap();
}

async fn history(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let folder = tempfile::tempdir().unwrap();
    let mut world = World::new(Config { chat_receiver: Some("slack".into()), ..Config::default() }, folder.path());
    let mut firing: Vec<AlertId> = Vec::new();
    let mut run: Option<(RemediationId, AlertId)> = None;
    for (turn, step) in steps.into_iter().enumerate() {
        match step {
            Step::Fire(service, critical) => {
                let severity = if critical { Severity::Critical } else { Severity::High };
                firing.push(world.fire(&format!("A{turn}"), &format!("s{service}"), severity).await);
            }
            Step::Clear(at) if at < firing.len() => world.clear(firing.remove(at)).await.unwrap(),
            Step::Command(at, command) => give(&world, at, &command).await,
            Step::Repair(at) if at < firing.len() && run.is_none() => {
                let id = RemediationId::derived(world.now(), &turn.to_string());
                run = Some((id, firing[at]));
                let kind = EventKind::RepairStarted { run: id, remediation: "r".into(), rungs: vec![] };
                world.say(Subject::alert(firing[at], None), kind).await.unwrap();
            }
            Step::RepairEnds(verified) => {
                if let Some((id, alert)) = run.take() {
                    let helped = RepairOutcome::Verified { rung: "r".into() };
                    let outcome = if verified { helped } else { RepairOutcome::HandedOver { reason: "x".into() } };
                    let kind = EventKind::RepairFinished { run: id, remediation: "r".into(), outcome };
                    let holder =
                        world.all().await.into_iter().find(|incident| incident.alerts.contains(&alert)).map(|incident| incident.id);
                    world.say(Subject::alert(alert, holder), kind).await.unwrap();
                }
            }
            Step::Pass(seconds) => world.pass(u64::from(seconds)).await.unwrap(),
            Step::Restart => world.restart(),
            Step::Clear(_) | Step::Repair(_) => {}
        }
        world.settle().await.unwrap();
        let incidents = world.all().await;
        for (place, incident) in incidents.iter().enumerate() {
            invariants(incident)?;
            prop_assert_eq!(incident.number, place as u64 + 1, "numbers run without a gap");
            prop_assert!(
                !incident.status.is_open() || !incident.firing.is_empty() || incident.repair.is_some(),
                "open_means_something_keeps_it_open"
            );
            for alert in &incident.firing {
                prop_assert!(firing.contains(alert), "firing_alerts_do_fire");
            }
        }
        for alert in &firing {
            prop_assert!(incidents.iter().any(|incident| incident.alerts.contains(alert)), "no_severe_alert_without_incident");
        }
        let open: Vec<_> = incidents.iter().filter(|incident| incident.status.is_open()).map(|incident| &incident.group).collect();
        prop_assert!(open.iter().enumerate().all(|(at, group)| !open[..at].contains(group)), "one_open_incident_per_group");
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_commands_keeps_the_invariants(commands in prop::collection::vec((command(), 0..600u32), 0..30)) {
        let folder = tempfile::tempdir().unwrap();
        let world = World::new(Config::default(), folder.path());
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let mut incident = runtime.block_on(async {
            world.fire("Down", "cart", Severity::High).await;
            world.settle().await.unwrap();
            world.incident(1).await
        });
        let mut now: Timestamp = START;
        for (command, seconds) in commands {
            now = now.plus(std::time::Duration::from_secs(seconds.into()));
            let before = incident.status;
            match decide(&incident, &command, now, &Actor::User { id: "ana".into() }) {
                Ok(decision) => {
                    let over = matches!(before, IncidentStatus::Closed | IncidentStatus::Cancelled);
                    prop_assert!(!over || matches!(command, Command::Note { .. }), "nothing_moves_after_the_end");
                    prop_assert_eq!(decision.events.len(), 1, "every move is journaled");
                    incident = decision.incident;
                }
                Err(error) => prop_assert!(error.to_string().starts_with("incident 1 cannot be "), "{}", error),
            }
            invariants(&incident)?;
        }
    }

    #[test]
    fn any_history_keeps_the_invariants(steps in prop::collection::vec(step(), 1..40)) {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(history(steps))?;
    }
}
