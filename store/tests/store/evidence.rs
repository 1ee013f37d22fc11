//! Evidence out of a real engine: a small outage, told by spans, error events and logs.

use model::evidence::{EvidenceQuery, EvidenceSource, VersionQuery};
use model::tenant::TenantId;
use model::time::{Clock, SystemClock, Timestamp};
use store::evidence::ClickHouseEvidence;

use crate::fixture::TestEngine;

/// 20 minutes from the top of a minute, an hour ago, so that nothing expires.
fn start() -> Timestamp {
    Timestamp::from_secs(SystemClock.now().millis() / 60_000 * 60 - 3_600)
}

fn at(minutes: f64) -> String {
    format!("fromUnixTimestamp64Nano({})", start_nanos() + (minutes * 60e9) as i64)
}

fn start_nanos() -> i64 {
    thread_local! { static START: i64 = start().nanos(); }
    START.with(|start| *start)
}

async fn insert(engine: &TestEngine, rows: &str) {
    engine.clickhouse.execute(&format!("INSERT INTO {rows}")).await.unwrap();
}

const SPAN: &str = "spans (tenant, ts, trace_id, span_id, service, name, kind, duration, status, sample_rate, attributes, retention_days)";

/// `count` spans; `trace` is the first byte of their trace ids, the count within the last.
fn spans(minute: f64, count: u32, what: &str, trace: &str) -> String {
    format!(
        "{SPAN} SELECT 'acme', {}, unhex('{trace}' || repeat('00', 14) || leftPad(hex(number + 1), 2, '0')), unhex(repeat('01', 8)), {what}, 30 FROM numbers({count})",
        at(minute)
    )
}

async fn outage() -> TestEngine {
    let engine = TestEngine::with_schema().await;
    let ok = "'checkout', 'POST /pay', 'SERVER', 100000000, 'OK', 0, map()";
    // Before: 40 good requests and 1 bad one. During: 10 good ones, 20 bad and slow ones of 4 people; `mail` falls silent.
    insert(&engine, &spans(-5.0, 40, ok, "a0")).await;
    insert(&engine, &spans(-4.0, 1, "'checkout', 'POST /pay', 'SERVER', 100000000, 'ERROR', 1, map()", "a1")).await;
    insert(&engine, &spans(1.0, 10, ok, "a2")).await;
    let person = "map(number % 2 = 0 ? 'enduser.id' : 'user.id', 'u' || toString(number % 4))";
    insert(&engine, &spans(2.0, 20, &format!("'checkout', 'POST /pay', 'SERVER', 2000000000 + number, 'ERROR', 1, {person}"), "a3")).await;
    insert(&engine, &spans(-3.0, 7, "'mail', 'send', 'CONSUMER', 50000000, 'OK', 1, map()", "a4")).await;
    // A sampled service: 3 spans stand for 30 requests. Its slowest is in a trace of checkout's.
    insert(&engine, &spans(3.0, 3, "'stock', 'GET /stock', 'SERVER', 3000000000, 'OK', 10, map()", "a3")).await;
    // What does not count: inner spans, other times, other tenants.
    insert(&engine, &spans(2.0, 5, "'checkout', 'SELECT', 'CLIENT', 9000000000, 'ERROR', 1, map()", "a5")).await;
    insert(&engine, &spans(20.0, 5, ok, "a6")).await;
    insert(&engine, &spans(-20.5, 5, ok, "a7")).await;
    insert(&engine, &spans(2.0, 5, "'checkout', 'POST /pay', 'SERVER', 8000000000, 'ERROR', 1, map()", "a8").replace("'acme'", "'other'"))
        .await;
    let event = |print: u64, minute: f64, count: u32, value: &str, trace: &str| {
        format!(
            "error_events (tenant, project, fingerprint, ts, event_id, type, value, stack, trace_id, retention_days) SELECT 'acme', 'checkout', {print}, \
                 {} + toIntervalSecond(number), toUUID('00000000-0000-0000-0000-{print:08}' || leftPad(toString(number), 4, '0')), 'E{print}', {value}, \
                 'at pay', {trace}, 30 FROM numbers({count})",
            at(minute)
        )
    };
    // Group 10 grew by 6 (and one of its events came twice), 20 shrank, 30 is only from before.
    insert(&engine, &event(10, 1.0, 6, "'card ' || toString(number)", "unhex(repeat('0b', 16))")).await;
    insert(&engine, &event(10, 1.0, 1, "'card 0'", "unhex(repeat('0b', 16))")).await;
    insert(&engine, &event(20, 2.0, 3, "'old'", "toFixedString('', 16)")).await;
    insert(&engine, &event(20, -2.0, 8, "'old'", "toFixedString('', 16)").replace("00000000-0000-", "00000000-0001-")).await;
    insert(&engine, &event(30, -2.0, 8, "'gone'", "toFixedString('', 16)")).await;
    // Of those that say that it is down every third is stored.
    for (severity, rate, count, body, minute) in
        [(17, 3, 3, "it's down", 1.0), (21, 0, 2, "out of memory", 2.0), (13, 1, 50, "slow", 2.0), (17, 1, 99, "early", -1.0)]
    {
        insert(
            &engine,
            &format!(
                "logs (tenant, ts, service, severity_number, sample_rate, body, retention_days) SELECT 'acme', {}, 'checkout', {severity}, \
                 {rate}, '{}', 30 FROM numbers({count})",
                at(minute),
                body.replace('\'', "\\'")
            ),
        )
        .await;
    }
    // The cause, further down: another service's error and log record in a failed trace of checkout's, and elsewhere.
    let traces = [
        ("unhex('a3' || repeat('00', 14) || '01')", 41_u64, "pool of db1 is empty"),
        ("unhex('c0' || repeat('00', 14) || '01')", 42, "unrelated"),
    ];
    for (trace, print, words) in traces {
        insert(&engine, &event(print, 6.0, 2, &format!("'{words}'"), trace).replace("'checkout'", "'db'")).await;
        let columns = "tenant, ts, service, severity_number, trace_id, body, retention_days";
        let rows = format!(
            "logs ({columns}) SELECT 'acme', {}, 'db', 17, {trace}, '{words} ' || toString(number * 7), 30 FROM numbers(5)",
            at(6.0)
        );
        insert(&engine, &rows).await;
    }
    engine
}

#[tokio::test]
async fn an_outage_is_told_in_numbers() {
    let engine = outage().await;
    let source = ClickHouseEvidence::new(engine.clickhouse.client());
    let from = Timestamp::from_nanos(start_nanos());
    let end = from.plus(std::time::Duration::from_secs(1_200));
    let query = EvidenceQuery { tenant: TenantId::new("acme").unwrap(), start: from, end, services: Vec::new(), limit: 5 };
    let found = source.evidence(&query).await.unwrap();

    let impact: Vec<_> =
        found.impact.iter().map(|i| (i.service.as_str(), i.requests, i.errors, i.users, i.requests_before, i.errors_before)).collect();
    assert_eq!(impact, [("checkout", 30, 20, 4, 41, 1), ("mail", 0, 0, 0, 7, 0), ("stock", 30, 0, 0, 0, 0)]);
    assert!((1.9..=2.1).contains(&found.impact[0].p95_seconds.0) && (found.impact[0].p95_seconds_before.0 - 0.1).abs() < 0.01, "{found:?}");
    assert!(found.impact[1].p95_seconds.0.is_nan(), "no request, no percentile");

    let errors: Vec<_> =
        found.errors.iter().map(|e| (e.fingerprint.as_str(), e.count, e.count_before, e.kind.as_str(), e.message.as_str())).collect();
    assert_eq!(errors[0], ("000000000000000a", 6, 0, "E10", "card 5"));
    assert_eq!(errors[1..3], [("0000000000000029", 2, 0, "E41", "pool of db1 is empty"), ("000000000000002a", 2, 0, "E42", "unrelated")]);
    assert_eq!(errors[3..], [("0000000000000014", 3, 8, "E20", "old")]);
    assert_eq!((found.errors[0].trace_id.as_str(), found.errors[0].stack.as_str()), ("0b".repeat(16).as_str(), "at pay"));
    assert_eq!(found.errors[3].trace_id, "", "no trace is known");
    let seconds = |at: Timestamp| at.since(from).as_secs();
    assert_eq!((seconds(found.errors[0].first_seen), seconds(found.errors[0].last_seen)), (60, 65));

    let traces: Vec<_> = found.slow_traces.iter().map(|t| (t.service.as_str(), t.name.as_str(), t.seconds.0, t.failed)).collect();
    assert_eq!(traces[..3], [("stock", "GET /stock", 3.0, false); 3]);
    assert_eq!((traces.len(), traces[3].0, traces[3].3), (5, "checkout", true));
    let mut ids: Vec<&str> = found.slow_traces.iter().map(|t| t.trace_id.as_str()).collect();
    assert!(ids.iter().all(|id| id.starts_with("a300") && id.len() == 32), "{ids:?}");
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 5, "a trace is named once");
    assert_eq!(found.slow_traces[0].at, from.plus(std::time::Duration::from_secs(180)));

    let logs: Vec<_> = found.logs.iter().map(|l| (l.severity.as_str(), l.body.as_str(), l.count)).collect();
    let db = |words| ("error", words, 5);
    assert_eq!(logs, [("error", "it's down", 9), db("pool of db1 is empty 0"), db("unrelated 0"), ("fatal", "out of memory", 2)]);

    // Of one service: what is its own, and what stands in its failed traces.
    let own = source.evidence(&EvidenceQuery { services: vec!["checkout".into()], ..query.clone() }).await.unwrap();
    assert_eq!(own.impact.iter().map(|i| i.service.as_str()).collect::<Vec<_>>(), ["checkout"]);
    let errors: Vec<_> = own.errors.iter().map(|e| (e.service.as_str(), e.kind.as_str(), e.message.as_str())).collect();
    assert_eq!(errors, [("checkout", "E10", "card 5"), ("db", "E41", "pool of db1 is empty"), ("checkout", "E20", "old")]);
    let logs: Vec<_> = own.logs.iter().map(|l| (l.service.as_str(), l.count)).collect();
    assert_eq!(logs, [("checkout", 9), ("db", 5), ("checkout", 2)]);

    // `stock` stands in a failed trace of checkout's; `mail` stands in none, and where nobody is named all are meant.
    assert_eq!((own.touched.as_slice(), found.touched.len()), (["checkout".to_owned(), "stock".to_owned()].as_slice(), 0));

    let narrow = EvidenceQuery { services: vec!["stock".into(), "it's ?".into()], limit: 1, ..query.clone() };
    let narrow = source.evidence(&narrow).await.unwrap();
    assert_eq!((narrow.impact.len(), narrow.errors.len(), narrow.slow_traces.len(), narrow.logs.len()), (1, 0, 1, 0));
    let nobody = EvidenceQuery { tenant: TenantId::new("nobody").unwrap(), ..query.clone() };
    assert_eq!(source.evidence(&nobody).await.unwrap(), Default::default());
    let backwards = EvidenceQuery { end: from, ..query };
    assert_eq!(source.evidence(&backwards).await.unwrap(), Default::default());
}

#[tokio::test]
async fn versions_that_appear_in_the_spans_are_told() {
    let engine = TestEngine::with_schema().await;
    let from = Timestamp::from_nanos(start_nanos());
    let ran = |tenant: &str, service: &str, resource: &str, minutes: std::ops::Range<i32>| {
        format!(
            "spans (tenant, ts, trace_id, span_id, service, name, kind, resource, retention_days) SELECT '{tenant}', {} + toIntervalMinute(number), \
             unhex(repeat('01', 16)), unhex(repeat('01', 8)), '{service}', 'GET /', 'SERVER', map({resource}), 30 FROM numbers({})",
            at(f64::from(minutes.start)),
            minutes.len()
        )
    };
    let of = |version: &str| format!("'service.version', '{version}', 'deployment.environment.name', 'production'");
    for (tenant, service, resource, minutes) in [
        ("acme", "checkout", of("1.4.1"), -40..12),
        ("acme", "checkout", of("1.4.2"), 9..20),
        // Elsewhere 1.4.2 has run for long; the older name of the attribute counts too.
        ("acme", "checkout", of("1.4.2").replace(".environment.name", ".environment").replace("production", "staging"), -40..20),
        ("acme", "mail", of("7"), -40..-5),
        ("acme", "mail", of("8"), -5..20),
        ("acme", "stock", of("3"), 5..20),
        ("acme", "plain", "'host.name', 'a'".to_owned(), -40..20),
        ("other", "checkout", of("9"), 15..20),
    ] {
        insert(&engine, &ran(tenant, service, &resource, minutes)).await;
    }
    let source = ClickHouseEvidence::new(engine.clickhouse.client());
    let minutes = |minutes: u64| std::time::Duration::from_secs(minutes * 60);
    let query = VersionQuery {
        tenant: TenantId::new("acme").unwrap(),
        from: from.minus(minutes(10)),
        to: from.plus(minutes(20)),
        services: Vec::new(),
        limit: 10,
    };
    let told = async |query: &VersionQuery| {
        let found = source.versions(query).await.unwrap();
        let line =
            |c: &model::evidence::VersionChange| format!("{} {}>{} {} {}", c.service, c.previous, c.version, c.environment, c.first_seen);
        found.iter().map(line).collect::<Vec<_>>()
    };
    let mail = format!("mail 7>8 production {}", from.minus(minutes(5)));
    let checkout = format!("checkout 1.4.1>1.4.2 production {}", from.plus(minutes(9)));
    let both = [mail, checkout];
    assert_eq!(told(&query).await, both);
    assert_eq!(told(&VersionQuery { limit: 1, ..query.clone() }).await, both[1..], "the latest");
    assert_eq!(told(&VersionQuery { services: vec!["checkout".into()], ..query.clone() }).await, both[1..]);
    assert_eq!(told(&VersionQuery { to: from, services: vec!["checkout".into()], ..query }).await, [""; 0]);
}
