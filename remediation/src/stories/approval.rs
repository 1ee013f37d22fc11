//! Runs that wait for a person's yes, and runs that a person starts.

use model::access::Permission;
use model::alert::{Alert, AlertState};
use model::event::{EventKind, Subject};
use model::repair::RepairOutcome;
use model::time::Span;
use model::units::Value as Number;
use serde_json::json;

use super::api::ask;
use super::world::{START, World, two_rungs};
use crate::Config;

fn with_approval() -> Config {
    let mut config = two_rungs();
    config.remediations[0].approval = true;
    config.remediations[0].approval_timeout = Span::secs(600);
    config
}

async fn waiting(world: &World) -> String {
    let (_, listed) = ask(world, "GET", "?status=awaiting_approval", "", Permission::Read, "default").await;
    listed["runs"][0]["id"].as_str().unwrap_or_else(|| panic!("{listed}")).to_owned()
}

/// A world whose repair has waited for a yes for a minute: its alert and the run.
async fn asked() -> (World, Alert, String) {
    let world = World::new(with_approval());
    let alert = world.alert("checkout");
    world.fire(&alert).await.unwrap();
    world.pass(60).await.unwrap();
    let id = waiting(&world).await;
    (world, alert, id)
}

#[tokio::test]
async fn nothing_is_done_without_a_yes() {
    let world = World::new(with_approval());
    world.fire(&world.alert("checkout")).await.unwrap();
    world.pass(599).await.unwrap();
    let id = waiting(&world).await;
    assert!(world.acts().is_empty() && world.tags() == ["repair_awaits_approval"]);
    let path = format!("/{id}/approve");
    assert_eq!(ask(&world, "POST", &path, "", Permission::Read, "default").await.0, 403);
    assert_eq!(ask(&world, "POST", &path, "", Permission::Respond, "other").await.0, 404);
    world.pass(2).await.unwrap();
    assert_eq!(world.outcome().await, RepairOutcome::Refused { reason: "approval: nobody said yes within 10m".into() });
    let (status, answer) = ask(&world, "POST", &path, "", Permission::Respond, "default").await;
    assert_eq!((status, answer["error"].as_str()), (409, Some("the run is refused: it waits for nobody's yes")));
    assert!(world.acts().is_empty());
}

#[tokio::test]
async fn a_yes_asks_the_guards_once_more_and_then_it_acts() {
    let (world, _, id) = asked().await;
    let (status, answer) = ask(&world, "POST", &format!("/{id}/approve"), "", Permission::Respond, "default").await;
    assert_eq!((status, answer["run"]["approved_by"]["id"].as_str()), (200, Some("ana")), "{answer}");
    world.pass(300).await.unwrap();
    assert_eq!(world.outcome().await, RepairOutcome::Verified { rung: "scale".into() });
    assert_eq!(world.tags()[..2], ["repair_awaits_approval", "repair_started"]);
    let journal = world.state.journal();
    let yes = journal.iter().find(|one| matches!(one.event.kind, EventKind::RepairApproved { .. })).unwrap();
    assert_eq!(yes.event.actor.to_string(), "ana");

    // What has changed since it was asked for counts: the alert is silenced now.
    let (world, alert, id) = asked().await;
    world.change(alert.id, |alert| alert.muted = true).await;
    assert_eq!(ask(&world, "POST", &format!("/{id}/approve"), "", Permission::Respond, "default").await.0, 200);
    world.pass(60).await.unwrap();
    let RepairOutcome::Refused { reason } = world.outcome().await else { panic!("refused") };
    assert!(reason.starts_with("silence:") && world.acts().is_empty(), "{reason}");
}

#[tokio::test]
async fn a_run_that_waits_is_not_needed_once_its_alert_is_over_and_can_be_stopped() {
    let world = World::new(with_approval());
    let alert = world.alert("checkout");
    world.fire(&alert).await.unwrap();
    world.pass(60).await.unwrap();
    let over = AlertState::Resolved { active_at: START, fired_at: START, resolved_at: START };
    world.change(alert.id, |alert| alert.state = over).await;
    world.say(Subject::alert(alert.id, None), EventKind::AlertResolved { value: Number(0.0) }).await.unwrap();
    assert_eq!(world.outcome().await, RepairOutcome::NotNeeded);

    let (world, _, id) = asked().await;
    assert_eq!(ask(&world, "POST", &format!("/{id}/stop"), "", Permission::Respond, "default").await.0, 200);
    assert_eq!(world.outcome().await, RepairOutcome::HandedOver { reason: "ana stopped it; nothing was done".into() });
    world.pass(900).await.unwrap();
    assert!(world.acts().is_empty());
}

#[tokio::test]
async fn a_person_starts_one_for_an_incident_and_the_guards_hold() {
    let world = World::new(with_approval());
    let mut alert = world.alert("checkout");
    alert.remediation = None;
    world.fire(&alert).await.unwrap();
    world.pass(5).await.unwrap();
    assert!(world.tags().is_empty(), "no alert asked for it");
    let (_, plans) = ask(&world, "GET", "/plans", "", Permission::Read, "default").await;
    assert_eq!(plans["plans"][0], json!({"name": "heal", "approval": true, "dry_run": false, "rungs": ["restart", "scale"]}));

    let wanted = r#"{"remediation": "heal", "incident": "42"}"#;
    assert_eq!(ask(&world, "POST", "", wanted, Permission::Read, "default").await.0, 403);
    let (status, answer) = ask(&world, "POST", "", wanted, Permission::Respond, "default").await;
    assert_eq!((status, answer["run"]["approved_by"]["id"].as_str()), (201, Some("ana")), "{answer}");
    world.pass(300).await.unwrap();
    assert_eq!(world.outcome().await, RepairOutcome::Verified { rung: "scale".into() });
    let kinds: Vec<_> = world.runs().await[0].history.iter().map(|past| past.event.tag()).collect();
    assert_eq!(kinds[..2], ["repair_requested", "repair_started"]);

    let (status, again) = ask(&world, "POST", "", wanted, Permission::Respond, "default").await;
    assert_eq!(status, 201);
    world.pass(5).await.unwrap();
    let path = format!("/{}", again["run"]["id"].as_str().unwrap());
    let (_, again) = ask(&world, "GET", &path, "", Permission::Read, "default").await;
    assert_eq!(again["run"]["status"], "refused", "the cooldown holds for people too: {again}");
}

#[tokio::test]
async fn what_cannot_be_started_is_told() {
    let world = World::new(with_approval());
    let alert = world.alert("checkout");
    world.fire(&alert).await.unwrap();
    world.pass(5).await.unwrap();
    world.change(alert.id, |alert| alert.state = AlertState::Resolved { active_at: START, fired_at: START, resolved_at: START }).await;
    let named = format!(r#"{{"remediation": "heal", "alert": "{}"}}"#, alert.id);
    for (body, status, word) in [
        ("{}", 400, "not JSON such as"),
        (r#"{"remediation": "x", "incident": "42"}"#, 404, "there is no remediation `x`: use heal"),
        (r#"{"remediation": "heal"}"#, 400, "either `alert` or `incident`"),
        (r#"{"remediation": "heal", "incident": "7"}"#, 404, "there is no incident 7"),
        (r#"{"remediation": "heal", "alert": "seven"}"#, 400, "not an id"),
        (named.as_str(), 409, "only a firing alert is repaired"),
        (r#"{"remediation": "heal", "incident": "42"}"#, 409, "nothing to repair"),
    ] {
        let (got, answer) = ask(&world, "POST", "", body, Permission::Respond, "default").await;
        assert!(got == status && answer["error"].as_str().unwrap().contains(word), "{body}: {got} {answer}");
    }
}
