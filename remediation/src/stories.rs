//! Stories on a simulated world: a repair that helps, one that does not, every guard, a person who stops it, a crash after each commit.

mod api;
mod approval;
mod random;
mod world;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use model::alert::AlertState;
use model::event::{Actor, EventKind};
use model::repair::RepairOutcome;
use model::time::Span;
use model::work::WorkState;

use crate::Config;
use crate::perform::Outcome;
use world::{World, two_rungs, with_commands};

#[tokio::test]
async fn a_rung_that_does_not_help_is_undone_and_the_next_one_is_verified() {
    let world = World::new(two_rungs());
    let alert = world.alert("checkout");
    let incident = world.fire(&alert).await.unwrap();
    world.pass(300).await.unwrap();
    assert_eq!(world.outcome().await, RepairOutcome::Verified { rung: "scale".into() });
    assert_eq!(world.acts(), ["POST http://svc/restart/checkout", "DELETE http://svc/unrestart", "POST http://svc/scale"]);
    assert_eq!(
        world.tags(),
        [
            "repair_started",
            "repair_acted",
            "repair_checked",
            "repair_checked",
            "repair_undone",
            "repair_acted",
            "repair_checked",
            "repair_finished"
        ]
    );
    let journal = world.state.journal();
    let own: Vec<_> = journal.iter().filter(|one| one.event.actor == Actor::system("remediation")).collect();
    assert!(own.iter().all(|one| one.event.subject.alert == Some(alert.id) && one.event.subject.incident == Some(incident.id)));
    let acted = own[1].event.at;
    let undone = own[4].event.at;
    assert_eq!(undone.since(acted).as_secs(), 30, "10 s to settle, 20 s to verify");
    assert!(!serde_json::to_string(&journal).unwrap().contains("s3cret"));
    let runs = world.runs().await;
    assert!(!serde_json::to_string(&runs).unwrap().contains("s3cret"), "secrets are not kept with the run");
    let text = prometheus::TextEncoder::new().encode_to_string(&world.registry.gather()).unwrap();
    for line in [
        r#"watchfire_remediation_runs_total{outcome="verified",remediation="heal"} 1"#,
        r#"watchfire_remediation_actions_total{action="http",phase="act",remediation="heal",result="ok"} 2"#,
        r#"watchfire_remediation_actions_total{action="http",phase="undo",remediation="heal",result="ok"} 1"#,
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[tokio::test]
async fn when_nothing_helps_everything_is_undone_and_people_have_it() {
    let world = World::new(two_rungs());
    *world.service.healed_by.lock().unwrap() = "nothing".into();
    world.fire(&world.alert("checkout")).await.unwrap();
    world.pass(300).await.unwrap();
    assert_eq!(world.outcome().await, RepairOutcome::HandedOver { reason: "no rung helped".into() });
    assert_eq!(world.acts().last().unwrap(), "POST http://svc/unscale");
}

#[tokio::test]
async fn a_failed_act_is_undone_at_once_and_one_that_was_not_sent_is_not() {
    for (outcome, acts) in [(Outcome::Failed, 3), (Outcome::NotSent, 2)] {
        let world = World::new(two_rungs());
        *world.service.fails.lock().unwrap() = Some(("svc/restart".into(), outcome));
        world.fire(&world.alert("checkout")).await.unwrap();
        world.pass(60).await.unwrap();
        assert_eq!(world.outcome().await, RepairOutcome::Verified { rung: "scale".into() });
        assert_eq!(world.acts().len(), acts, "{outcome:?}");
    }
}

#[tokio::test]
async fn what_cannot_be_evaluated_is_never_taken_as_cleared() {
    let world = World::new(two_rungs());
    *world.service.blind.lock().unwrap() = true;
    *world.service.broken.lock().unwrap() = false;
    world.fire(&world.alert("checkout")).await.unwrap();
    world.pass(300).await.unwrap();
    let RepairOutcome::HandedOver { reason } = world.outcome().await else { panic!("handed over") };
    assert!(reason.starts_with("whether rung restart helped is not known"), "{reason}");
    assert_eq!(world.acts(), ["POST http://svc/restart/checkout", "DELETE http://svc/unrestart"], "no second rung in the dark");
}

#[tokio::test]
async fn an_undo_that_fails_is_said_loudly_and_nothing_more_is_done() {
    let world = World::new(two_rungs());
    *world.service.fails.lock().unwrap() = Some(("unrestart".into(), Outcome::Failed));
    world.fire(&world.alert("checkout")).await.unwrap();
    world.pass(300).await.unwrap();
    let RepairOutcome::HandedOver { reason } = world.outcome().await else { panic!("handed over") };
    assert!(reason.starts_with("rung restart could not be undone, look at it now"), "{reason}");
    let journal = world.state.journal();
    assert!(journal.iter().any(|one| matches!(one.event.kind, EventKind::RepairUndone { ok: false, .. })));
    assert_eq!(world.acts().len(), 2);
}

#[tokio::test]
async fn an_alert_that_ends_first_needs_no_repair() {
    let world = World::new(two_rungs());
    let alert = world.alert("checkout");
    world.fire(&alert).await.unwrap();
    world
        .change(alert.id, |alert| {
            alert.state = AlertState::Resolved { active_at: world::START, fired_at: world::START, resolved_at: world::START }
        })
        .await;
    world.pass(60).await.unwrap();
    assert_eq!(world.outcome().await, RepairOutcome::NotNeeded);
    assert!(world.acts().is_empty() && world.tags() == ["repair_finished"]);
}

#[tokio::test]
async fn an_alert_that_nobody_can_evaluate_is_waited_for() {
    let world = World::new(two_rungs());
    let mut alert = world.alert("checkout");
    alert.unknown = true;
    world.fire(&alert).await.unwrap();
    world.pass(120).await.unwrap();
    assert!(world.acts().is_empty() && !world.runs().await[0].is_over());
    world.change(alert.id, |alert| alert.unknown = false).await;
    world.pass(1).await.unwrap();
    assert_eq!(world.acts().len(), 1);

    let world = World::new(two_rungs());
    alert.id = world.alert("checkout").id;
    world.fire(&alert).await.unwrap();
    world.pass(700).await.unwrap();
    assert!(matches!(world.outcome().await, RepairOutcome::Refused { reason } if reason.contains("waited 10m")));
}

/// Fires one alert in a changed world and returns why it was refused.
async fn refused(config: Config, prepare: impl AsyncFnOnce(&World, &mut model::alert::Alert)) -> String {
    let world = World::new(config);
    let mut alert = world.alert("checkout");
    prepare(&world, &mut alert).await;
    let before = world.acts().len();
    world.fire(&alert).await.unwrap();
    world.pass(30).await.unwrap();
    assert_eq!(world.acts().len(), before, "what is refused does nothing");
    match world.outcome().await {
        RepairOutcome::Refused { reason } => reason,
        other => panic!("not refused: {other:?}"),
    }
}

async fn repaired(world: &World, service: &str) {
    let alert = world.alert(service);
    world.fire(&alert).await.unwrap();
    world.pass(100).await.unwrap();
    let over = AlertState::Resolved { active_at: world::START, fired_at: world::START, resolved_at: world.now() };
    world.change(alert.id, |alert| alert.state = over).await;
    *world.service.broken.lock().unwrap() = true;
}

#[tokio::test]
async fn every_guard_says_no() {
    let reason = refused(two_rungs(), async |_, alert| alert.muted = true).await;
    assert!(reason.starts_with("silence:"), "{reason}");

    let reason = refused(two_rungs(), async |world, _| repaired(world, "checkout").await).await;
    assert!(reason.starts_with("cooldown: heal acted on"), "{reason}");

    let many = async |world: &World, _: &mut model::alert::Alert| {
        for service in ["a", "b", "c"] {
            repaired(world, service).await;
        }
    };
    let reason = refused(two_rungs(), many).await;
    assert!(reason.starts_with("max_runs: heal ran 3 times within 1h, 3 are allowed"), "{reason}");

    let at_work = async |world: &World, _: &mut model::alert::Alert| {
        for service in ["a", "b"] {
            world.fire(&world.alert(service)).await.unwrap();
            world.pass(1).await.unwrap();
        }
    };
    // The two at work act again later; only the third one is looked at.
    let world = World::new(two_rungs());
    let mut alert = world.alert("checkout");
    at_work(&world, &mut alert).await;
    world.fire(&alert).await.unwrap();
    world.settle().await.unwrap();
    let run = world.runs().await.into_iter().find(|run| run.alert == alert.id).unwrap();
    let reason = format!("{:?}", run.state);
    assert!(reason.contains("blast radius: 2 runs are at work, remediation.max_concurrent is 2"), "{reason}");

    let reason = refused(with_commands(), async |world, _| world.keyless.store(true, Ordering::SeqCst)).await;
    assert!(reason.starts_with("commands are off while no API key exists"), "{reason}");

    let mut config = two_rungs();
    let crate::config::Action::Http(action) = &mut config.remediations[0].rungs[1].action else { panic!() };
    action.url = "http://svc/{{labels.zone}}".into();
    let reason = refused(config, async |_, _| {}).await;
    assert!(reason.starts_with("rung scale: the template"), "{reason}");
}

#[tokio::test]
async fn the_same_target_is_never_worked_on_twice_at_once() {
    let mut config = two_rungs();
    config.max_concurrent = 10;
    let world = World::new(config);
    world.fire(&world.alert("checkout")).await.unwrap();
    world.pass(1).await.unwrap();
    let mut second = world.alert("checkout");
    second.fingerprint += 1; // another rule, the same service
    world.fire(&second).await.unwrap();
    world.pass(1).await.unwrap();
    let run = world.runs().await.into_iter().find(|run| run.alert == second.id).unwrap();
    assert!(format!("{:?}", run.state).contains("is at work on {service_name"), "{:?}", run.state);
}

#[tokio::test]
async fn an_unknown_remediation_is_refused_where_people_see_it() {
    let world = World::new(two_rungs());
    let mut alert = world.alert("checkout");
    alert.remediation = Some("helicopter".into());
    world.fire(&alert).await.unwrap();
    world.pass(5).await.unwrap();
    let journal = world.state.journal();
    let found = journal.iter().find_map(|one| match &one.event.kind {
        EventKind::RepairFinished { outcome: RepairOutcome::Refused { reason }, .. } => Some(reason.clone()),
        _ => None,
    });
    assert_eq!(found.as_deref(), Some("the configuration has no remediation named helicopter"));
}

#[tokio::test]
async fn a_dry_run_is_written_down_and_does_nothing() {
    let mut config = two_rungs();
    config.remediations[0].dry_run = true;
    let world = World::new(config);
    world.fire(&world.alert("checkout")).await.unwrap();
    world.pass(60).await.unwrap();
    assert_eq!(world.outcome().await, RepairOutcome::DryRun);
    assert!(world.acts().is_empty());
    assert!(
        serde_json::to_string(&world.state.journal()).unwrap().contains("dry run: rung restart would do POST http://svc/restart/checkout")
    );
}

#[tokio::test]
async fn a_person_who_ends_the_incident_stops_the_repair_and_watchfire_itself_does_not() {
    let ana = Actor::User { id: "ana".into() };
    let world = World::new(two_rungs());
    let incident = world.fire(&world.alert("checkout")).await.unwrap();
    world.pass(5).await.unwrap();
    world.resolve(&incident, ana).await.unwrap();
    world.pass(300).await.unwrap();
    let RepairOutcome::HandedOver { reason } = world.outcome().await else { panic!("handed over") };
    assert_eq!(reason, "ana ended the incident; rung restart acted and stays as it is");
    assert_eq!(world.acts().len(), 1);

    let world = World::new(two_rungs());
    *world.service.healed_by.lock().unwrap() = "restart".into();
    let incident = world.fire(&world.alert("checkout")).await.unwrap();
    world.pass(5).await.unwrap();
    world.resolve(&incident, Actor::system("incidents")).await.unwrap();
    world.pass(300).await.unwrap();
    assert_eq!(world.outcome().await, RepairOutcome::Verified { rung: "restart".into() });
}

#[tokio::test]
async fn a_stop_during_an_act_waits_for_its_end_and_loses_nothing() {
    let world = World::new(two_rungs());
    *world.service.stop_during_act.lock().unwrap() = true;
    world.fire(&world.alert("checkout")).await.unwrap();
    world.pass(300).await.unwrap();
    let RepairOutcome::HandedOver { reason } = world.outcome().await else { panic!("handed over") };
    assert_eq!(reason, "ana stopped it; rung restart had acted and stays as it is");
    assert_eq!(world.tags(), ["repair_started", "repair_acted", "repair_finished"]);
    assert_eq!(world.acts().len(), 1);
}

/// Ends the process after every single commit in turn, also between an act and its commit.
#[tokio::test]
async fn a_crash_after_any_commit_leaves_the_story_as_it_was() {
    for config in [two_rungs(), with_commands()] {
        let commands = !config.allow_commands.is_empty();
        let mut crashes = 0;
        for commits in 0..40 {
            let mut world = World::new(config.clone());
            world.fire(&world.alert("checkout")).await.unwrap();
            world.state.crash_after(commits);
            if world.pass(400).await.is_err() || world.state.revive() {
                crashes += 1;
            }
            world.restart();
            world.pass(800).await.unwrap();
            check_story(&world, commands, commits).await;
        }
        assert!(crashes >= 15, "the story has more commits than that: {crashes}");
    }
}

async fn check_story(world: &World, commands: bool, commits: usize) {
    let at = format!("crash after {commits} commits, commands: {commands}");
    let mut attempts: BTreeMap<String, usize> = BTreeMap::new();
    for (key, what) in world.service.acts.lock().unwrap().iter() {
        *attempts.entry(format!("{what} {}", key.rsplit_once('/').unwrap().0)).or_default() += 1;
    }
    let undo_unknown = matches!(world.outcome().await, RepairOutcome::HandedOver { reason } if reason.contains("could not be undone") && reason.contains("not run twice"));
    if !undo_unknown {
        assert_eq!(world.outcome().await, RepairOutcome::Verified { rung: "scale".into() }, "{at}");
    }
    assert!(commands || !undo_unknown, "{at}: only a command's undo can be lost");
    let text = serde_json::to_string(&world.state.journal()).unwrap();
    let mut repeated = 0;
    for (what, count) in &attempts {
        assert!(*count <= 2, "{at}: {what} {count} times");
        assert!(*count == 1 || what.contains("http://"), "{at}: {what} is a command and ran {count} times");
        repeated += count - 1;
    }
    assert!(repeated == 0 || text.contains("sent again under the same key"), "{at}: a resend is marked");
    for once in ["repair_started", "repair_finished"] {
        assert_eq!(world.tags().iter().filter(|tag| *tag == once).count(), 1, "{at}");
    }
    assert!(world.state.rows().iter().all(|row| row.state == WorkState::Done), "{at}");
    assert_eq!(world.runs().await.len(), 1, "{at}");
}

#[tokio::test]
async fn a_window_of_max_runs_slides() {
    let mut config = two_rungs();
    config.remediations[0].cooldown = Span::secs(0);
    let world = World::new(config);
    for _ in 0..3 {
        repaired(&world, "checkout").await;
        assert_eq!(world.outcome().await, RepairOutcome::Verified { rung: "scale".into() });
    }
    repaired(&world, "checkout").await;
    assert!(matches!(world.outcome().await, RepairOutcome::Refused { .. }));
    world.pass(3600).await.unwrap();
    repaired(&world, "checkout").await;
    assert_eq!(world.outcome().await, RepairOutcome::Verified { rung: "scale".into() });
}

#[tokio::test]
async fn an_incident_that_is_over_before_the_guards_look_gets_no_repair() {
    let world = World::new(two_rungs());
    let incident = world.fire(&world.alert("checkout")).await.unwrap();
    world.resolve(&incident, Actor::system("incidents")).await.unwrap();
    world.pass(60).await.unwrap();
    let reason = format!("incident {} is resolved", incident.number);
    assert_eq!(world.outcome().await, RepairOutcome::Refused { reason });
    assert!(world.acts().is_empty());
}

#[tokio::test]
async fn a_stop_between_the_guards_and_the_act_prevents_the_act() {
    let world = World::new(two_rungs());
    let incident = world.fire(&world.alert("checkout")).await.unwrap();
    for follower in world.remediation.followers() {
        model::drive::advance(&*follower, &*world.state, None, world.now(), 16).await.unwrap();
    }
    // The guards only.
    model::drive::work_once(&*world.remediation.workers()[0], &*world.state, None, world.now()).await.unwrap();
    assert_eq!(world.tags(), ["repair_started"]);
    world.resolve(&incident, Actor::User { id: "ana".into() }).await.unwrap();
    for follower in world.remediation.followers() {
        model::drive::advance(&*follower, &*world.state, None, world.now(), 16).await.unwrap();
    }
    world.pass(60).await.unwrap();
    assert_eq!(world.outcome().await, RepairOutcome::HandedOver { reason: "ana ended the incident".into() });
    assert!(world.acts().is_empty());
}

#[tokio::test]
async fn what_changes_between_the_rungs_counts_before_the_next_one() {
    for muted in [true, false] {
        let world = World::new(two_rungs());
        let alert = world.alert("checkout");
        world.fire(&alert).await.unwrap();
        world.pass(15).await.unwrap();
        let over = AlertState::Resolved { active_at: world::START, fired_at: world::START, resolved_at: world.now() };
        world
            .change(alert.id, |alert| {
                alert.muted = muted;
                alert.state = if muted { alert.state.clone() } else { over };
            })
            .await;
        world.pass(300).await.unwrap();
        let RepairOutcome::HandedOver { reason } = world.outcome().await else { panic!("handed over") };
        let wanted = if muted { "a silence or an inhibition mutes the alert now" } else { "the alert ended by itself after rung restart" };
        assert!(reason.starts_with(wanted), "{reason}");
        assert_eq!(world.acts(), ["POST http://svc/restart/checkout", "DELETE http://svc/unrestart"]);
    }
}

#[tokio::test]
async fn a_template_may_name_the_incident() {
    let mut config = two_rungs();
    let crate::config::Action::Http(action) = &mut config.remediations[0].rungs[0].action else { panic!() };
    action.url = "http://svc/restart?incident={{incident.number}}&run={{run}}".into();
    action.body = Some(r#"{"id": "{{incident.id}}", "alert": "{{alert.name}}"}"#.into());
    let world = World::new(config);
    world.fire(&world.alert("checkout")).await.unwrap();
    world.pass(5).await.unwrap();
    assert_eq!(world.acts(), ["POST http://svc/restart"], "the query is not shown");
}
