//! Sentry's intake as a whole: what envelopes become, refusals, resends, limits; and one table of crashes that arrive both ways.

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use base64::Engine;
use http::StatusCode;
use model::access::{LateKey, Permission};
use model::fingerprint::{EventMatch, FingerprintRule, Rules};
use model::sink::Refusal;
use model::time::Span as Pause;
use tower::ServiceExt;

use super::bad_input::{deflate, gzip, zstd};
use super::fixtures::*;
use super::services::{bytes, post, with_principal};
use crate::{Config, SentryConfig, SentryRateLimit};

pub(super) const ENVELOPE: &str = "/api/1/envelope/";
const ID: &str = "9ec79c33ec9942ab8353589fcb2e04dc";
/// The second in which all requests arrive.
const SECOND: u64 = NOW / 1_000_000_000;

/// An envelope of items of some types.
fn envelope_of(header: &str, items: &[(&str, &str)]) -> String {
    let items = items.iter().map(|(kind, payload)| format!("{{\"type\":\"{kind}\",\"length\":{}}}\n{payload}\n", payload.len()));
    format!("{header}\n{}", items.collect::<String>())
}

pub(super) fn error_event() -> String {
    format!(
        r#"{{"event_id":"{ID}","timestamp":{SECOND}.25,"platform":"python","level":"error","release":"2.4.1","environment":"prod","server_name":"web-1",
        "transaction":"POST /order","logger":"shop","user":{{"id":"u7","ip_address":"{{{{auto}}}}"}},"tags":{{"region":"eu","watchfire.title":"x"}},
        "extra":{{"cart":{{"items":[1,2]}}}},"sdk":{{"name":"sentry.python","version":"2.75.0"}},"modules":{{"a":"1"}},"_meta":{{"x":[]}},
        "request":{{"url":"https://shop.example/order","method":"POST","headers":[["a","b"]]}},
        "contexts":{{"trace":{{"trace_id":"0102030405060708090a0b0c0d0e0f10","span_id":"0102030405060708"}},"runtime":{{"name":"CPython","version":"3.11"}}}},
        "breadcrumbs":{{"values":[{{"message":"m","data":{{"deep":[[[]]]}}}}]}},
        "exception":{{"values":[{{"type":"KeyError","module":null,"value":"'a'","stacktrace":{{"frames":[{{"function":"load","abs_path":"/srv/shop/cache.py","lineno":8}}]}}}},
          {{"type":"PayError","module":"shop.errors","value":"order 17 failed","mechanism":{{"type":"flask","handled":false}},
          "stacktrace":{{"frames":[{{"function":"wsgi_app","abs_path":"/srv/venv/lib/python3.11/site-packages/flask/app.py","lineno":1473,"in_app":false}},
            {{"function":"pay","module":"shop.app","filename":"shop/app.py","abs_path":"/srv/shop/app.py","lineno":3,"context_line":"    raise PayError(order)","in_app":true,"vars":{{"order":"17"}}}}]}}}}]}}}}"#
    )
}

pub(super) fn envelope(items: &[(&str, &str)]) -> String {
    envelope_of(&format!(r#"{{"event_id":"{ID}","sent_at":"2026-03-01T00:00:00Z"}}"#), items)
}

pub(super) async fn send(rig: &Rig, path: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> (StatusCode, http::HeaderMap, String) {
    let router = with_principal(rig.collector.sentry_router(), Permission::Ingest);
    let answer = router.oneshot(post(path, headers, body)).await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    (status, headers, String::from_utf8(bytes(answer).await).unwrap())
}

fn named() -> Config {
    Config { sentry: SentryConfig { projects: [(1, "shop".to_owned())].into(), ..SentryConfig::default() }, ..Config::default() }
}

#[tokio::test]
async fn an_error_becomes_an_error_event() {
    let rig = Rig::new(named());
    let (status, headers, body) = send(&rig, ENVELOPE, &[], envelope(&[("event", &error_event())])).await;
    assert_eq!((status, body.as_str()), (StatusCode::OK, format!(r#"{{"id":"{ID}"}}"#).as_str()));
    assert_eq!(headers["access-control-allow-origin"], "*");
    let rows = rig.sink.rows("error_events");
    assert_eq!(rows.len(), 1);
    let of = |column: &str| rows[0][column].as_str();
    assert_eq!((of("project"), of("source"), of("event_id")), ("shop", "sentry", ID));
    assert_eq!((of("type"), of("value"), of("normalized")), ("shop.errors.PayError", "order 17 failed", "order <num> failed"));
    assert_eq!((of("level"), of("release"), of("environment"), of("user")), ("error", "2.4.1", "prod", "u7"));
    assert_eq!((of("trace_id"), of("span_id")), ("0102030405060708090a0b0c0d0e0f10", "0102030405060708"));
    assert_eq!(of("ts"), (NOW + 250_000_000).to_string());
    assert_eq!(of("frames_function"), "[pay,wsgi_app]");
    assert_eq!(of("frames_in_app"), "[1,0]");
    assert!(
        of("stack").starts_with("shop.errors.PayError: order 17 failed\n    at pay (/srv/shop/app.py:3)\n        raise PayError(order)\n")
    );
    assert!(of("stack").contains("Caused by: KeyError: 'a'\n    at load (/srv/shop/cache.py:8)"));
    assert_eq!(
        of("tags"),
        "{extra.cart={\"items\":[1,2]},handled=no,logger=shop,mechanism=flask,method=POST,platform=python,region=eu,runtime=CPython 3.11,sdk=sentry.python 2.75.0,server_name=web-1,transaction=POST /order,url=https://shop.example/order}"
    );
    assert_eq!(rig.meter("watchfire_collector_requests_total", &[("protocol", "sentry"), ("signal", "envelope"), ("code", "200")]), 1.0);
    assert_eq!(rig.meter("watchfire_collector_sentry_items_total", &[("type", "event"), ("outcome", "read")]), 1.0);
}

#[tokio::test]
async fn store_takes_one_event_and_every_path_has_two_forms() {
    let rig = Rig::new(named());
    for (path, at) in [("/api/1/store/", 1), ("/api/1/store", 2), ("/api/2/envelope", 3)] {
        let event = error_event().replace(ID, &format!("{at:032x}"));
        let body = if path.contains("store") { event } else { envelope_of("{}", &[("event", &event)]) };
        let (status, _, body) = send(&rig, path, &[], body).await;
        assert_eq!((status, body), (StatusCode::OK, format!(r#"{{"id":"{at:032x}"}}"#)), "{path}");
    }
    let projects: Vec<String> = rig.sink.rows("error_events").iter().map(|row| row["project"].clone()).collect();
    assert_eq!(projects, ["shop", "shop", "project-2"]);
    let (status, _, body) = send(&rig, "/api/1/store/", &[], r#"{"message":"no id"}"#).await;
    assert!(status == StatusCode::OK && body.len() == r#"{"id":""}"#.len() + 32, "an id is made: {body}");
}

#[tokio::test]
async fn a_transaction_becomes_spans_with_their_series() {
    let rig = Rig::new(named());
    let transaction = format!(
        r#"{{"type":"transaction","event_id":"{ID}","transaction":"POST /order","start_timestamp":{start}.5,"timestamp":{SECOND},"release":"2.4.1","environment":"prod",
        "contexts":{{"trace":{{"trace_id":"0102030405060708090a0b0c0d0e0f10","span_id":"0102030405060708","op":"http.server","status":"internal_error","data":{{"http.route":"/order"}}}},"response":{{"status_code":500}}}},
        "tags":{{"region":"eu"}},"measurements":{{"lcp":{{"value":1.5,"unit":"second"}}}},
        "spans":[{{"span_id":"1112131415161718","parent_span_id":"0102030405060708","op":"db","description":"SELECT * FROM orders WHERE id = 7","start_timestamp":{start}.5,"timestamp":"2026-03-01T00:00:00Z","status":"ok","data":{{"db.system":"postgresql"}},"tags":[["shard","3"]]}},
          {{"span_id":"zz","op":"x"}}]}}"#,
        start = SECOND - 1
    );
    let header = format!(r#"{{"event_id":"{ID}","trace":{{"sample_rate":"0.25"}}}}"#);
    let (status, _, body) = send(&rig, ENVELOPE, &[], envelope_of(&header, &[("transaction", &transaction)])).await;
    assert_eq!((status, body), (StatusCode::OK, format!(r#"{{"id":"{ID}"}}"#)));
    let spans = rig.sink.rows("spans");
    let shown: Vec<[&str; 8]> = spans
        .iter()
        .map(|span| {
            ["service", "name", "kind", "status", "duration", "trace_id", "parent_span_id", "sample_rate"]
                .map(|column| span[column].as_str())
        })
        .collect();
    let trace = "0102030405060708090a0b0c0d0e0f10";
    assert_eq!(
        shown,
        [
            ["shop", "POST /order", "SERVER", "ERROR", "500000000", trace, "0000000000000000", "4"],
            ["shop", "SELECT", "CLIENT", "OK", "500000000", trace, "0102030405060708", "4"],
        ]
    );
    assert_eq!(spans[0]["resource"], "{deployment.environment.name=prod,service.name=shop,service.version=2.4.1}");
    assert_eq!(
        spans[0]["attributes"],
        "{http.response.status_code=500,http.route=/order,region=eu,sentry.measurements.lcp=1.5,sentry.op=http.server,sentry.status=internal_error}"
    );
    assert_eq!(
        spans[1]["attributes"],
        "{db.query.text=SELECT * FROM orders WHERE id = 7,db.system=postgresql,sentry.op=db,sentry.status=ok,shard=3}"
    );
    let calls: Vec<String> = rig.sink.rows("series").iter().map(|row| format!("{} {}", row["metric"], row["labels"])).collect();
    let server = "{service_name=shop,span_kind=SPAN_KIND_SERVER,span_name=POST /order,status_code=STATUS_CODE_ERROR}";
    assert!(calls.iter().any(|line| *line == format!("traces_span_metrics_calls_total {server}")), "{calls:#?}");
    assert_eq!(rig.meter("watchfire_collector_rejected_rows_total", &[("signal", "envelope"), ("reason", "bad_span_id")]), 1.0);
}

#[tokio::test]
async fn sessions_reports_and_check_ins_become_series_and_logs_logs() {
    let rig = Rig::new(named());
    let logs = format!(
        r#"{{"items":[{{"timestamp":{SECOND}.5,"trace_id":"0102030405060708090a0b0c0d0e0f10","level":"warn","body":"cart 7 is slow","attributes":{{
        "sentry.release":{{"value":"2.4.1","type":"string"}},"sentry.environment":{{"value":"prod","type":"string"}},"cart":{{"value":7,"type":"integer"}}}}}}]}}"#
    );
    let body = envelope(&[
        ("session", r#"{"init":true,"status":"exited","attrs":{"release":"2.4.1","environment":"prod"}}"#),
        ("sessions", r#"{"aggregates":[{"exited":2}],"attrs":{"release":"2.4.1","environment":"prod"}}"#),
        ("client_report", r#"{"discarded_events":[{"reason":"sample_rate","category":"transaction","quantity":3}]}"#),
        ("check_in", r#"{"check_in_id":"a","monitor_slug":"nightly","status":"ok","duration":12.5}"#),
        ("log", &logs),
        ("attachment", "\u{0}\nbinary\n"),
        ("replay_event", "{}"),
        ("something_new", "not JSON"),
    ]);
    let (status, _, text) = send(&rig, ENVELOPE, &[], body).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    let mut points: Vec<String> = rig
        .sink
        .rows("points")
        .iter()
        .map(|point| {
            let series = rig.sink.rows("series");
            let series = series.iter().find(|series| series["fingerprint"] == point["fingerprint"]).unwrap();
            format!("{}{} {} {}", series["metric"], series["labels"], series["temporality"], point["value"])
        })
        .collect();
    points.sort();
    assert_eq!(
        points,
        [
            "watchfire_checkin_duration_seconds{job=shop,monitor=nightly,service_name=shop,status=ok} unspecified 12.5",
            &format!("watchfire_checkin_timestamp_seconds{{job=shop,monitor=nightly,service_name=shop,status=ok}} unspecified {SECOND}"),
            "watchfire_checkin_total{job=shop,monitor=nightly,service_name=shop,status=ok} delta 1",
            "watchfire_sentry_discarded_events_total{category=transaction,job=shop,reason=sample_rate,service_name=shop} delta 3",
            "watchfire_sentry_sessions_total{environment=prod,job=shop,release=2.4.1,service_name=shop,status=exited} delta 3",
            "watchfire_sentry_sessions_total{environment=prod,job=shop,release=2.4.1,service_name=shop,status=started} delta 3",
        ]
    );
    let logs = rig.sink.rows("logs");
    assert_eq!((logs.len(), logs[0]["body"].as_str(), logs[0]["severity_number"].as_str()), (1, "cart 7 is slow", "13"));
    assert_eq!(logs[0]["resource"], "{deployment.environment.name=prod,service.name=shop,service.version=2.4.1}");
    assert_eq!(rig.meter("watchfire_collector_sentry_items_total", &[("outcome", "ignored")]), 3.0);
    assert_eq!(rig.meter("watchfire_collector_sentry_items_total", &[("type", "other")]), 1.0);
}

#[tokio::test]
async fn an_envelope_that_is_sent_again_is_stored_once() {
    let rig = Rig::new(named());
    let of = |sent_at: &str, event: &str| envelope_of(&format!(r#"{{"event_id":"{ID}","sent_at":"{sent_at}"}}"#), &[("event", event)]);
    let event = error_event();
    let other = event.replace("order 17", "order 18");
    let plain = of("2026-03-01T00:00:00Z", &event);
    for (path, encoding, body, stored) in [
        (ENVELOPE, "identity", plain.clone().into_bytes(), 1),
        (ENVELOPE, "identity", of("2026-03-01T00:09:00Z", &event).into_bytes(), 1),
        (ENVELOPE, "gzip", gzip(plain.as_bytes()), 1),
        (ENVELOPE, "deflate", deflate(plain.as_bytes()), 1),
        ("/api/1/envelope", "zstd", zstd(plain.as_bytes()), 1),
        ("/api/2/envelope/", "gzip", gzip(plain.as_bytes()), 2),
        (ENVELOPE, "identity", of("2026-03-01T00:00:00Z", &other).into_bytes(), 3),
    ] {
        let (status, _, text) = send(&rig, path, &[("content-encoding", encoding)], body).await;
        assert_eq!((status, text), (StatusCode::OK, format!(r#"{{"id":"{ID}"}}"#)), "{path} {encoding}");
        assert_eq!(rig.sink.rows("error_events").len(), stored, "{path} {encoding}");
    }
    let brotli =
        "G4UAgBwHbqzFThB800dIMgvfzy31F5Lsb7hrSdzfCUYRi0sdlr5QgA04Ae93nXjiYwEbY+erQVqQz+OeQM5dGeGUajlHjxat68pRvNWZvPjJ0IocSCwP8D6f/ZsB";
    let brotli = base64::engine::general_purpose::STANDARD.decode(brotli).unwrap();
    let (status, _, _) = send(&rig, ENVELOPE, &[("content-encoding", "br")], brotli).await;
    let rows = rig.sink.rows("error_events");
    assert_eq!((status, rows.len(), rows[3]["value"].as_str(), rows[3]["type"].as_str()), (StatusCode::OK, 4, "squeezed", "Message"));
}

#[tokio::test]
async fn a_clock_that_is_hours_wrong_is_put_right() {
    let rig = Rig::new(named());
    let yesterday = error_event().replace(&format!("{SECOND}.25"), &format!("{}.25", SECOND - 86_400));
    let header = |sent_at: &str| format!(r#"{{"event_id":"{ID}","sent_at":"{sent_at}"}}"#);
    for (sent_at, expected) in [
        ("2026-02-28T00:00:01Z", NOW - 1_000_000_000 + 250_000_000),
        ("2026-02-28T23:59:00Z", NOW - 86_400_000_000_000 + 250_000_000),
        ("soon", NOW - 86_400_000_000_000 + 250_000_000),
    ] {
        let event = yesterday.replace("order 17", sent_at);
        send(&rig, ENVELOPE, &[], envelope_of(&header(sent_at), &[("event", &event)])).await;
        assert_eq!(rig.sink.rows("error_events").last().unwrap()["ts"], expected.to_string(), "{sent_at}");
    }
    let ages_ago = error_event().replace(&format!("{SECOND}.25"), "7");
    send(&rig, ENVELOPE, &[], envelope_of("{}", &[("event", &ages_ago)])).await;
    assert_eq!(rig.sink.rows("error_events").last().unwrap()["ts"], NOW.to_string(), "no error is lost for its time");
}

#[tokio::test]
async fn the_fingerprint_of_the_sdk_and_the_rules_are_respected() {
    let rig = Rig::new(named());
    let mut at = 0;
    let mut print = async |fingerprint: &str, message: &str| {
        at += 1;
        let event = error_event().replace(ID, &format!("{at:032x}")).replace("order 17 failed", message);
        let event = event.replace("\"level\"", &format!("\"fingerprint\":{fingerprint},\"level\""));
        send(&rig, ENVELOPE, &[], envelope_of("{}", &[("event", &event)])).await;
        let row = rig.sink.rows("error_events").pop().unwrap();
        (row["fingerprint"].clone(), row["tags"].clone())
    };
    let computed = print("null", "a").await;
    assert!(!computed.1.contains("watchfire.grouped_by"));
    for leaves_it in ["[]", r#"["{{ default }}"]"#, r#"["{{default}}"]"#, "7", "[null]"] {
        assert_eq!(print(leaves_it, "a").await, computed, "{leaves_it}");
    }
    let (own, tags) = print(r#"["bank-down"]"#, "a").await;
    assert!(tags.contains("watchfire.grouped_by=grouped by the fingerprint that the SDK sent: bank-down"), "{tags}");
    assert_eq!(print(r#"["bank-down"]"#, "quite another message").await.0, own);
    let split = print(r#"["{{ default }}","{{ tags.region }}"]"#, "a").await.0;
    assert!(split != own && split != computed.0);
    assert_ne!(print(r#"["{{ default }}","{{ tags.region }}"]"#, "b").await.0, split);
    assert_eq!(
        print(r#"["{{ type }}","{{ transaction }}","{{ function }}"]"#, "a").await.0,
        print(r#"["shop.errors.PayError","POST /order","pay"]"#, "b").await.0
    );
    let rule = FingerprintRule {
        name: "payments".into(),
        matches: EventMatch { kind: Some("*PayError".into()), ..EventMatch::default() },
        fingerprint: vec!["pay".into()],
        title: Some("Payments of {{ service }}".into()),
    };
    rig.collector.set_error_rules(Rules::new(&[rule]).unwrap());
    let (by_rule, tags) = print(r#"["bank-down"]"#, "a").await;
    assert_ne!(by_rule, own);
    assert!(tags.contains("watchfire.grouped_by=grouped by the rule `payments`: pay,watchfire.title=Payments of shop}"), "{tags}");
}

#[tokio::test]
async fn the_key_may_stand_in_the_envelope_alone() {
    let rig = Rig::new(named());
    let with = |permission| {
        let late = LateKey::new(move |key| (key == "wf_good").then(|| principal(permission)));
        rig.collector.sentry_router().layer(from_fn(move |mut request: Request, next: Next| {
            request.extensions_mut().insert(late.clone());
            next.run(request)
        }))
    };
    let of = |dsn: &str| envelope_of(&format!(r#"{{"event_id":"{ID}","dsn":"{dsn}"}}"#), &[("event", &error_event())]);
    for (permission, dsn, status) in [
        (Permission::Ingest, "http://wf_bad@localhost/1", StatusCode::UNAUTHORIZED),
        (Permission::Ingest, "nonsense", StatusCode::UNAUTHORIZED),
        (Permission::Read, "http://wf_good@localhost/1", StatusCode::FORBIDDEN),
        (Permission::Ingest, "http://wf_good@localhost/1", StatusCode::OK),
    ] {
        let answer = with(permission).oneshot(post(ENVELOPE, &[("content-encoding", "gzip")], gzip(of(dsn).as_bytes()))).await.unwrap();
        assert_eq!(answer.status(), status, "{dsn}");
        assert!(status == StatusCode::OK || String::from_utf8(bytes(answer).await).unwrap().contains("\"detail\":"));
    }
    assert_eq!(rig.sink.rows("error_events").len(), 1);
    let nobody = rig.collector.sentry_router().oneshot(post(ENVELOPE, &[], of("http://wf_good@localhost/1"))).await.unwrap();
    assert_eq!(nobody.status(), StatusCode::UNAUTHORIZED, "without an access layer nobody gets in");
    assert!(String::from_utf8(bytes(nobody).await).unwrap().contains("keys create NAME --dsn PROJECT"));
}

#[tokio::test]
async fn browsers_may_ask_from_everywhere() {
    let rig = Rig::new(named());
    let ask = Request::builder().method("OPTIONS").uri("/api/1/envelope/?sentry_key=x").header("origin", "https://shop.example");
    let answer = rig.collector.sentry_router().oneshot(ask.body(Body::empty()).unwrap()).await.unwrap();
    assert_eq!((answer.status(), answer.headers()["access-control-allow-origin"].to_str().unwrap()), (StatusCode::OK, "*"));
    assert!(answer.headers()["access-control-allow-headers"].to_str().unwrap().contains("x-sentry-auth"));
    let get = Request::builder().uri(ENVELOPE).body(Body::empty()).unwrap();
    assert_eq!(rig.collector.sentry_router().oneshot(get).await.unwrap().status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn under_pressure_sdks_are_told_to_pause() {
    let rig = Rig::new(Config { hold: Pause::millis(1), ..named() });
    let full = || Refusal::LogFull { used: 9, cap: 8, retry_after: std::time::Duration::from_millis(2_500) };
    rig.sink.refuse(vec![full(), full()]);
    let body = envelope(&[("event", &error_event())]);
    let (status, headers, text) = send(&rig, ENVELOPE, &[], body.clone()).await;
    assert_eq!((status, headers["retry-after"].to_str().unwrap()), (StatusCode::TOO_MANY_REQUESTS, "3"), "{text}");
    assert_eq!(headers["x-sentry-rate-limits"], "3::organization");
    assert!(headers["access-control-expose-headers"].to_str().unwrap().contains("x-sentry-rate-limits"));
    rig.sink.refuse(vec![Refusal::Stopping]);
    assert_eq!(send(&rig, ENVELOPE, &[], body.clone()).await.0, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(send(&rig, ENVELOPE, &[], body).await.0, StatusCode::OK);
    assert_eq!(rig.sink.rows("error_events").len(), 1);
}

#[tokio::test]
async fn a_key_that_sends_too_much_waits_for_the_next_minute() {
    let rate_limit = SentryRateLimit { errors: Some(2), ..SentryRateLimit::default() };
    let rig = Rig::new(Config { sentry: SentryConfig { rate_limit, ..SentryConfig::default() }, ..Config::default() });
    for (at, expected) in [(1, 200), (2, 200), (3, 429)] {
        let event = error_event().replace(ID, &format!("{at:032x}"));
        let (status, headers, _) =
            send(&rig, ENVELOPE, &[("content-encoding", "gzip")], gzip(envelope(&[("event", &event)]).as_bytes())).await;
        assert_eq!(status.as_u16(), expected);
        if expected == 429 {
            assert_eq!(
                (headers["retry-after"].to_str().unwrap(), headers["x-sentry-rate-limits"].to_str().unwrap()),
                ("60", "60:error:key")
            );
        }
    }
    let (status, _, _) = send(&rig, ENVELOPE, &[], envelope(&[("session", "{}")])).await;
    assert_eq!(status, StatusCode::OK, "other kinds go on");
    let (status, _, _) = send(&rig, "/api/1/store/", &[], r#"{"message":"x"}"#).await;
    assert_eq!(status, StatusCode::TOO_MANY_REQUESTS);
}
