//! The real hands against a real server and real programs.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::IntoResponse;
use model::labels::Labels;

use super::http::is_public;
use super::{Hands, Order, Outcome, Performed, RealHands, with_secrets};
use crate::config::Action;
use crate::template::Facts;

type Seen = Arc<Mutex<Vec<String>>>;

async fn catch(State(seen): State<Seen>, request: Request) -> impl IntoResponse {
    let headers = request.headers();
    let header = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or("-").to_owned();
    let (line, key, auth, media) =
        (format!("{} {}", request.method(), request.uri()), header("idempotency-key"), header("authorization"), header("content-type"));
    let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
    let text = format!("{line} key={key} auth={auth} media={media} body={}", String::from_utf8_lossy(&body));
    seen.lock().unwrap().push(text.clone());
    if line.contains("/slow") {
        std::future::pending::<()>().await;
    }
    let status = if line.contains("/broken") { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
    let long = if line.contains("/long") { "x".repeat(200_000) } else { String::new() };
    (status, format!("I saw {auth} {long}"))
}

async fn server() -> (SocketAddr, Seen) {
    let seen = Seen::default();
    let router = axum::Router::new().fallback(catch).with_state(seen.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, seen)
}

fn facts(service: &str) -> Facts {
    Facts {
        labels: [("service", service)].into_iter().collect::<Labels>(),
        annotations: BTreeMap::new(),
        alert: BTreeMap::new(),
        incident: BTreeMap::new(),
        run: "rem_1".into(),
    }
}

fn action(json: &str) -> Action {
    serde_json::from_str(json).unwrap()
}

async fn perform(private_refused: bool, json: &str, service: &str) -> Performed {
    // A second installation in the same test process is refused, and that is fine.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let hands = RealHands::new(private_refused).unwrap();
    hands.perform(Order { action: &action(json), facts: &facts(service), key: "rem_1/0/act" }).await
}

#[tokio::test]
async fn a_request_carries_its_key_and_secrets_and_shows_neither_query_nor_header() {
    let (address, seen) = server().await;
    let json = format!(
        r#"{{"type":"http","url":"http://{address}/s/{{{{labels.service}}}}?token=abc","headers":{{"authorization":"Bearer s3cret"}},"body":"{{\"service\":\"{{{{labels.service}}}}\"}}"}}"#
    );
    let done = perform(false, &json, "a b\"").await;
    assert_eq!(done.outcome, Outcome::Done, "{}", done.text);
    assert!(done.text.starts_with(&format!("POST http://{address}/s/a%20b%22 -> 200 in ")), "{}", done.text);
    assert!(done.text.ends_with("I saw <secret>") && !done.text.contains("token"), "{}", done.text);
    let wanted = r#"POST /s/a%20b%22?token=abc key=rem_1/0/act auth=Bearer s3cret media=application/json body={"service":"a b\""}"#;
    assert_eq!(*seen.lock().unwrap(), [wanted]);
}

#[tokio::test]
async fn failures_say_whether_anything_can_have_happened() {
    let (address, _) = server().await;
    let broken = perform(false, &format!(r#"{{"type":"http","url":"http://{address}/broken"}}"#), "a").await;
    assert_eq!(broken.outcome, Outcome::Failed);
    assert!(broken.text.contains("-> 500"), "{}", broken.text);
    let slow = perform(false, &format!(r#"{{"type":"http","url":"http://{address}/slow","timeout":"200ms"}}"#), "a").await;
    assert_eq!((slow.outcome, slow.text.contains("no answer within 200ms")), (Outcome::Failed, true), "{}", slow.text);
    let expected = perform(false, &format!(r#"{{"type":"http","url":"http://{address}/broken","expect_status":[500]}}"#), "a").await;
    assert_eq!(expected.outcome, Outcome::Done);
    let long = perform(false, &format!(r#"{{"type":"http","url":"http://{address}/long"}}"#), "a").await;
    assert!(long.outcome == Outcome::Done && long.text.len() < 500);
    let nobody = perform(false, r#"{"type":"http","url":"http://127.0.0.1:1/?token=abc"}"#, "a").await;
    assert_eq!((nobody.outcome, nobody.text.contains("token")), (Outcome::NotSent, false), "{}", nobody.text);
    let header =
        perform(false, &format!(r#"{{"type":"http","url":"http://{address}/","headers":{{"x":"{{{{labels.service}}}}"}}}}"#), "a\nb").await;
    assert_eq!((header.outcome, header.text.as_str()), (Outcome::NotSent, "header `x` cannot be filled in"));
}

#[tokio::test]
async fn private_addresses_are_refused_by_number_and_by_name() {
    let (address, seen) = server().await;
    for host in [address.to_string(), format!("localhost:{}", address.port()), format!("[::ffff:127.0.0.1]:{}", address.port())] {
        let refused = perform(true, &format!(r#"{{"type":"http","url":"http://{host}/"}}"#), "a").await;
        assert_eq!(refused.outcome, Outcome::NotSent, "{}", refused.text);
    }
    assert!(seen.lock().unwrap().is_empty());
    for (address, public) in [
        ("10.1.2.3", false),
        ("169.254.169.254", false),
        ("100.64.0.1", false),
        ("172.31.0.1", false),
        ("0.0.0.0", false),
        ("8.8.8.8", true),
        ("::1", false),
        ("fd00::1", false),
        ("fe80::1", false),
        ("::ffff:10.0.0.1", false),
        ("2002:0a00:0001::1", false),
        ("2606:4700::1111", true),
    ] {
        assert_eq!(is_public(address.parse::<IpAddr>().unwrap()), public, "{address}");
    }
}

#[tokio::test]
async fn a_command_gets_its_arguments_apart_and_an_empty_environment() {
    let json = r#"{"type":"command","program":"/bin/sh","args":["-c","printf '%s|' \"$0\" \"$TOKEN\" \"$HOME\" \"$WATCHFIRE_IDEMPOTENCY_KEY\"; exit 3","{{labels.service}}"],"env":{"TOKEN":"s3cret"}}"#;
    let done = perform(false, json, "a; touch /tmp/x $(id)").await;
    assert_eq!(done.outcome, Outcome::Failed);
    assert!(
        done.text.contains("exit code 3 in ") && done.text.ends_with(": a; touch /tmp/x $(id)|<secret>||rem_1/0/act|"),
        "{}",
        done.text
    );
    let fine =
        perform(false, r#"{"type":"command","program":"/bin/sh","args":["-c","head -c 1000000 /dev/zero | tr '\\0' x"]}"#, "a").await;
    assert!(fine.outcome == Outcome::Done && fine.text.len() < 1_500, "{}", fine.text.len());
}

#[tokio::test]
async fn a_command_that_hangs_is_killed_and_one_that_is_missing_was_not_started() {
    let hung = perform(false, r#"{"type":"command","program":"/bin/sleep","args":["600"],"timeout":"100ms"}"#, "a").await;
    assert_eq!((hung.outcome, hung.text.as_str()), (Outcome::Failed, "/bin/sleep 600: killed, it took longer than 100ms"));
    let missing = perform(false, r#"{"type":"command","program":"/nowhere/at/all"}"#, "a").await;
    assert_eq!(missing.outcome, Outcome::NotSent);
    let option = perform(false, r#"{"type":"command","program":"/bin/echo","args":["{{labels.service}}"]}"#, "--help").await;
    assert!(option.outcome == Outcome::NotSent && option.text.contains("becomes an option"), "{}", option.text);
}

#[test]
fn secrets_come_from_the_configuration_and_their_absence_is_said() {
    let configured = action(r#"{"type":"http","url":"http://a/","headers":{"authorization":"Bearer s3cret"}}"#);
    let planned: Action = serde_json::from_value(serde_json::to_value(&configured).unwrap()).unwrap();
    assert_ne!(planned, configured, "the plan keeps no value");
    assert_eq!(with_secrets(&planned, Some(&configured)).unwrap(), configured);
    let problem = with_secrets(&planned, None).unwrap_err();
    assert_eq!(problem, "the value of `authorization` is no longer in the configuration");
}
