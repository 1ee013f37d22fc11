//! Calls and the keypad: what is read out leads back to a route that believes Twilio's signature only.

use std::collections::BTreeMap;

use axum::body::{Body, to_bytes};
use axum::http::Request;
use base64::Engine;
use model::alert::{Alert, AlertState, RuleKey};
use model::drive::Nudge;
use model::ids::AlertId;
use model::state::load;
use model::units::Value;
use ring::hmac;
use tower::ServiceExt;

use super::*;
use crate::channels::catcher::http::Catcher;
use crate::delivery::voice;
use crate::machine::{Instance, Memory as Remembered};

const BASE: &str = "https://watchfire.example.org";

fn alert_id() -> AlertId {
    AlertId::derived(START, "the alert")
}

const FIRING: AlertState = AlertState::Firing { active_at: START, fired_at: START, keep_firing_since: None };

async fn fire(world: &World) {
    put(world, alert_id(), FIRING, None).await;
}

async fn put(world: &World, id: AlertId, state: AlertState, incident: Option<IncidentId>) {
    let alert = Alert {
        id,
        tenant: TenantId::default(),
        rule: RuleKey { source: "file:a".to_owned(), group: "g".to_owned(), name: "Down".to_owned() },
        fingerprint: id.uuid().as_u128() as u64,
        labels: Labels::empty().with("alertname", "Down"),
        annotations: BTreeMap::new(),
        severity: Severity::Critical,
        state,
        value: Value(1.0),
        expr: String::new(),
        escalation: None,
        remediation: None,
        acknowledged: None,
        incident,
        unknown: false,
        muted: false,
        generator_url: String::new(),
    };
    let mut commit = Commit::at(START);
    commit.put(&Instance { alert, memory: Remembered::default() }, Expect::New).unwrap();
    world.state.commit(commit).await.unwrap();
}

fn sign(url: &str, form: &BTreeMap<&str, &str>) -> String {
    let text = form.iter().fold(url.to_owned(), |text, (name, value)| format!("{text}{name}{value}"));
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, b"TWILIOSECRET");
    base64::engine::general_purpose::STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

async fn press(router: &axum::Router, path: &str, digit: &str, signature: Option<&str>) -> (u16, String) {
    let form: BTreeMap<&str, &str> = [("CallSid", "CA1"), ("Digits", digit), ("To", "+15550002222")].into();
    let right = sign(&format!("{BASE}{path}"), &form);
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&form).finish();
    let request = Request::post(path).header("x-twilio-signature", signature.unwrap_or(&right)).body(Body::from(body)).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    (status, String::from_utf8(to_bytes(response.into_body(), 1 << 16).await.unwrap().to_vec()).unwrap())
}

#[tokio::test]
async fn a_one_on_the_keypad_acknowledges_and_only_twilio_is_believed() {
    let mut world = World::new();
    fire(&world).await;
    let catcher = Catcher::start(|_| (201, serde_json::json!({"sid": "CA1"}))).await;
    let receivers = format!(
        "[{{name: 'on call', type: twilio_voice, account_sid: AC1, auth_token: TWILIOSECRET, from: '+15550001111', to: ['+15550002222', '+15550003333'], url: '{}', callback_url: '{BASE}/'}}, {{name: mute, type: twilio_voice, account_sid: AC1, auth_token: TWILIOSECRET, from: '+1', to: ['+15550002222']}}]",
        catcher.url
    );
    let worker = world.worker(&receivers);
    let mut delivery = world.delivery("on call", Message::Notice(Box::new(notice(PageAction::Trigger, "inc_1"))));
    delivery.subject = Subject::alert(alert_id(), None);
    queue(&world.state, delivery, Lane::Page).await;
    world.round(&worker).await;
    let calls = catcher.requests();
    assert_eq!(calls.iter().map(|call| call.form()["To"].clone()).collect::<Vec<_>>(), ["+15550002222", "+15550003333"]);
    let twiml = calls[0].form()["Twiml"].clone();
    let action = twiml.split("action=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
    let path = action.strip_prefix(BASE).unwrap().to_owned();
    assert_eq!(path, format!("/hooks/twilio/on%20call/{}", alert_id()));

    let ids = Arc::new(SequentialIds::default());
    let router = voice::router(worker, world.state.clone(), ids, Nudge::default(), TenantId::default());
    let taken =
        async || load::<Alert>(&*world.state, &TenantId::default(), &alert_id().to_string()).await.unwrap().unwrap().entity.acknowledged;
    for (path, signature) in [
        (path.clone(), Some("AAAAAAAAAAAAAAAAAAAAAAAAAAA=")),
        (path.clone(), Some("")),
        (path.replace("on%20call", "nobody"), None),
        (path.replace("on%20call", "mute"), None),
        (path.replace("alr_", "inc_"), None),
    ] {
        assert_eq!(press(&router, &path, "1", signature).await, (403, String::new()), "{path} {signature:?}");
    }
    assert!(press(&router, &path, "2", None).await.1.contains("Nothing is acknowledged"));
    assert_eq!(taken().await, None);
    let (status, said) = press(&router, &path, "1", None).await;
    assert!(status == 200 && said.contains("<Say>Acknowledged"), "{said}");
    assert_eq!(taken().await.unwrap().by.to_string(), "keypad of on call");
    assert!(press(&router, &path, "1", None).await.1.contains("Somebody has it already"));
    let events: Vec<EventKind> = world.state.kinds().into_iter().filter(|kind| *kind == EventKind::AlertAcknowledged).collect();
    assert_eq!(events.len(), 1);
    assert!(!format!("{:?}", world.state.journal()).contains("1555"), "no number is journalled");
}

/// The alert that somebody is called about ends while the phone rings: what its incident still has is what pages on.
#[tokio::test]
async fn a_one_takes_what_still_fires_in_the_incident() {
    let mut world = World::new();
    let other = AlertId::derived(START, "another alert");
    let over = AlertState::Resolved { active_at: START, fired_at: START, resolved_at: START };
    put(&world, alert_id(), over, Some(incident_id())).await;
    put(&world, other, FIRING, Some(incident_id())).await;
    let mut commit = Commit::at(START);
    commit.put(&Incident { alerts: vec![alert_id(), other], firing: vec![other], ..incident() }, Expect::New).unwrap();
    world.state.commit(commit).await.unwrap();
    let receivers = format!(
        "[{{name: call, type: twilio_voice, account_sid: AC1, auth_token: TWILIOSECRET, from: '+1', to: ['+15550002222'], callback_url: '{BASE}'}}]"
    );
    let worker = world.worker(&receivers);
    let router = voice::router(worker, world.state.clone(), Arc::new(SequentialIds::default()), Nudge::default(), TenantId::default());
    let (_, said) = press(&router, &format!("/hooks/twilio/call/{}", alert_id()), "1", None).await;
    assert!(said.contains("<Say>Acknowledged"), "{said}");
    let taken = load::<Alert>(&*world.state, &TenantId::default(), &other.to_string()).await.unwrap().unwrap().entity.acknowledged;
    assert_eq!(taken.unwrap().by.to_string(), "keypad of call");
}
