//! Error events out of a real engine: what arrived, once each, and what it adds up to.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use model::columns::{Column, TableBlock};
use model::error_events::{ErrorArrivals, ErrorQuery, ErrorReads};
use model::fingerprint::Fingerprint;
use model::query::QueryError;
use model::tables::ERROR_EVENTS;
use model::tenant::TenantId;
use model::time::{Clock, SystemClock, Timestamp};
use store::errors::ClickHouseErrors;
use store::wal::BlockInsert;

use crate::fixture::TestEngine;

fn acme() -> TenantId {
    TenantId::new("acme").unwrap()
}

/// The top of an hour some hours ago, so that nothing expires and steps are known.
fn base() -> Timestamp {
    thread_local! { static START: i64 = SystemClock.now().millis() / 3_600_000 * 3_600 - 6 * 3_600; }
    Timestamp::from_secs(START.with(|start| *start))
}

fn at(minutes: i64) -> Timestamp {
    Timestamp::from_nanos(base().nanos() + minutes * 60_000_000_000)
}

/// `count` events, one a second from a minute on; `set` are columns beside.
async fn events(engine: &TestEngine, print: u64, minute: i64, count: u32, set: &[(&str, &str)]) {
    let mut columns: BTreeMap<&str, String> = BTreeMap::from([
        ("tenant", "'acme'".into()),
        ("project", "'checkout'".into()),
        ("fingerprint", print.to_string()),
        ("ts", format!("fromUnixTimestamp64Nano({}) + toIntervalSecond(number)", at(minute).nanos())),
        ("event_id", format!("toUUID('00000000-{print:04x}-{:04x}-0000-' || leftPad(toString(number), 12, '0'))", minute.unsigned_abs())),
        ("type", format!("'E{print}'")),
        ("retention_days", "30".into()),
    ]);
    columns.extend(set.iter().map(|(name, value)| (*name, (*value).to_owned())));
    let (names, values): (Vec<&str>, Vec<String>) = columns.into_iter().unzip();
    let sql = format!("INSERT INTO error_events ({}) SELECT {} FROM numbers({count})", names.join(", "), values.join(", "));
    engine.clickhouse.execute(&sql).await.unwrap();
}

fn query() -> ErrorQuery {
    ErrorQuery {
        tenant: acme(),
        start: base(),
        end: at(360),
        service: None,
        release: None,
        environment: None,
        fingerprints: Vec::new(),
        aliases: BTreeMap::new(),
    }
}

/// A batch of the log with one event.
fn block() -> TableBlock {
    let mut block = TableBlock::new(&ERROR_EVENTS);
    for (spec, column) in ERROR_EVENTS.columns.iter().zip(&mut block.columns) {
        match (spec.name, column) {
            ("tenant", Column::LowCardinality(rows)) => rows.push(b"acme"),
            ("project", Column::LowCardinality(rows)) => rows.push(b"checkout"),
            ("fingerprint", Column::UInt64(rows)) => rows.push(77),
            ("ts", Column::Int64(rows)) => rows.push(at(5).nanos()),
            ("received", Column::Int64(rows)) => rows.push(at(5).millis()),
            ("retention_days", Column::UInt16(rows)) => rows.push(30),
            (_, Column::LowCardinality(rows)) => rows.push(b""),
            (_, Column::String(rows)) => rows.push(b""),
            (_, Column::UInt8(rows)) => rows.push(0),
            (_, Column::Fixed { width, bytes }) => bytes.resize(bytes.len() + *width, 0),
            (_, Column::StringMap(maps)) => maps.push([]),
            (_, Column::Array { ends, items }) => ends.push(items.rows() as u64),
            (name, column) => panic!("{name}: {column:?}"),
        }
    }
    block
}

const FRAMES: [(&str, &str); 4] = [
    ("frames_function", "['recv', 'charge', 'charge', 'pay', 'main']"),
    ("frames_file", "['/usr/lib/ssl.py', 'shop/pay.py', 'shop/pay.py', 'shop/app.py', '']"),
    ("frames_line", "[1, 2, 2, 3, 4]"),
    ("frames_in_app", "[0, 1, 1, 1, 1]"),
];

#[tokio::test]
async fn arrivals_come_in_the_order_of_storing_and_once() {
    let engine = TestEngine::with_schema().await;
    let errors = ClickHouseErrors::new(engine.clickhouse.client());
    events(&engine, 1, 60, 3, &[&FRAMES[..], &[("release", "'1.0'"), ("normalized", "'card <num>'")]].concat()).await;
    // Hours older, stored later: the next arrival all the same, with the words that a rule gave it.
    let tags = "map('watchfire.title', 'Cards', 'watchfire.grouped_by', 'grouped by the rule `cards`', 'a', 'b')";
    events(&engine, 2, -600, 1, &[("project", "'mail'"), ("tags", tags), ("tenant", "'other'")]).await;
    let found = errors.arrivals(Timestamp::EPOCH, 100).await.unwrap();
    let seen: Vec<_> =
        found.iter().map(|a| (a.tenant.as_str(), a.fingerprint.0, a.service.as_str(), a.release.as_str(), a.events)).collect();
    assert_eq!(seen, [("acme", 1, "checkout", "1.0", 3), ("other", 2, "mail", "", 1)]);
    assert_eq!((found[0].first_seen, found[0].last_seen), (at(60), at(60).plus(Duration::from_secs(2))));
    assert!(found[0].stored <= found[1].stored && found[0].id != found[1].id);

    let mut details = errors.details(Timestamp::EPOCH, &[found[0].id, found[1].id]).await.unwrap();
    assert_eq!(details.len(), 2);
    details.sort_by_key(|detail| detail.id != found[0].id);
    assert_eq!((details[0].kind.as_str(), details[0].message.as_str(), details[0].title.as_str()), ("E1", "card <num>", ""));
    assert_eq!(details[0].calls, ["charge (shop/pay.py)", "pay (shop/app.py)", "main"], "the application's, each once");
    assert_eq!((details[1].title.as_str(), details[1].grouped_by.as_str()), ("Cards", "grouped by the rule `cards`"));
    assert!(details[1].calls.is_empty());

    assert_eq!(errors.arrivals(Timestamp::EPOCH, 1).await.unwrap(), found[..1]);
    let after = errors.arrivals(found[1].stored.plus(Duration::from_millis(1)), 100).await.unwrap();
    assert!(after.is_empty(), "{after:?}");

    // A batch of the log that is sent again under its token arrives once.
    let (mut plain, mut bytes) = (Vec::new(), Vec::new());
    store::native::encode(&block(), &mut plain).unwrap();
    store::native::packed::pack(&plain, &mut bytes).unwrap();
    for _ in 0..2 {
        engine.clickhouse.insert(&ERROR_EVENTS, "node/1/error_events/1", Bytes::from(bytes.clone())).await.unwrap();
    }
    let replayed = errors.arrivals(Timestamp::EPOCH, 100).await.unwrap();
    assert_eq!(replayed.iter().filter(|arrival| arrival.fingerprint.0 == 77).count(), 1, "{replayed:?}");
}

#[tokio::test]
async fn events_from_before_the_table_of_arrivals_arrive_with_its_migration() {
    use store::clickhouse::migrations::{TELEMETRY, migrate};
    let mut engine = TestEngine::start().await;
    engine.clickhouse.execute("CREATE DATABASE watchfire").await.unwrap();
    engine.clickhouse = engine.clickhouse.database("watchfire");
    migrate(&engine.clickhouse, &TELEMETRY[..3]).await.unwrap();
    events(&engine, 9, 60, 4, &[]).await;
    migrate(&engine.clickhouse, TELEMETRY).await.unwrap();
    events(&engine, 9, 70, 1, &[]).await;
    let found = ClickHouseErrors::new(engine.clickhouse.client()).arrivals(Timestamp::EPOCH, 100).await.unwrap();
    assert_eq!(found.iter().map(|arrival| arrival.events).collect::<Vec<_>>(), [4, 1]);
}

async fn some_events() -> TestEngine {
    let engine = TestEngine::with_schema().await;
    let person = ("user", "'u' || toString(number % 3)");
    let early = [person, ("release", "'1.0'"), ("environment", "'prod'"), ("source", "'otel_log'")];
    events(&engine, 1, 10, 6, &early).await;
    // Sent twice: counts once.
    events(&engine, 1, 10, 2, &early).await;
    let latest = [person, ("release", "'1.1'"), ("environment", "'test'"), ("project", "'mail'"), ("source", "'sentry'")];
    let words = [("value", "'it''s 7'"), ("tags", "map('shop', 'eu', 'watchfire.title', 'T')"), ("trace_id", "unhex(repeat('ab', 16))")];
    events(&engine, 1, 130, 1, &[&latest[..], &words[..], &FRAMES[..]].concat()).await;
    events(&engine, 2, 20, 2, &[("user", "'u0'")]).await;
    events(&engine, 2, 400, 5, &[]).await;
    events(&engine, 3, 30, 9, &[("tenant", "'other'")]).await;
    engine
}

#[tokio::test]
async fn events_add_up_by_kind_and_merged_kinds_count_people_once() {
    let engine = some_events().await;
    let errors = ClickHouseErrors::new(engine.clickhouse.client());
    let found = errors.summaries(&query(), 100).await.unwrap();
    let line: Vec<_> = found.iter().map(|s| (s.fingerprint.0, s.counts.events, s.counts.users)).collect();
    assert_eq!(line, [(1, 7, 3), (2, 2, 1)], "last seen first; other tenants and times do not count");
    assert_eq!((found[0].first_seen, found[0].last_seen), (at(10), at(130)));
    assert_eq!((found[0].services.join(","), found[0].releases.join(",")), ("checkout,mail".into(), "1.0,1.1".into()));
    assert_eq!(found[0].environments, ["prod", "test"]);
    assert_eq!((found[1].releases.len(), errors.summaries(&query(), 1).await.unwrap().len()), (0, 1));

    let merged = ErrorQuery { aliases: BTreeMap::from([(Fingerprint(2), Fingerprint(1))]), ..query() };
    let one = errors.summaries(&merged, 100).await.unwrap();
    assert_eq!(one.iter().map(|s| (s.fingerprint.0, s.counts.events, s.counts.users)).collect::<Vec<_>>(), [(1, 9, 3)]);
    let trend = errors.trends(&merged, 3_600).await.unwrap();
    assert_eq!(trend.iter().map(|t| (t.fingerprint.0, t.events.clone())).collect::<Vec<_>>(), [(1, vec![8, 0, 1, 0, 0, 0])]);
    let trends = errors.trends(&ErrorQuery { fingerprints: vec![Fingerprint(2)], ..query() }, 3_600).await.unwrap();
    assert_eq!(trends.iter().map(|t| (t.fingerprint.0, t.events.clone())).collect::<Vec<_>>(), [(2, vec![2, 0, 0, 0, 0, 0])]);

    for (name, filtered, events) in [
        ("service", ErrorQuery { service: Some("mail".into()), ..query() }, 1),
        ("release", ErrorQuery { release: Some("1.0".into()), ..query() }, 6),
        ("environment", ErrorQuery { environment: Some("prod".into()), ..query() }, 6),
        ("hostile", ErrorQuery { service: Some("it's ? \\".into()), ..query() }, 0),
    ] {
        let found = errors.summaries(&filtered, 100).await.unwrap();
        assert_eq!(found.iter().map(|s| s.counts.events).sum::<u64>(), events, "{name}");
    }
    let counts = errors.counts(&acme(), &[Fingerprint(1), Fingerprint(2)], at(15)).await.unwrap();
    assert_eq!((counts.events, counts.users), (8, 1), "without an end, so the late ones too; nobody is no user");
    assert_eq!(errors.counts(&acme(), &[], at(0)).await.unwrap(), Default::default());
}

#[tokio::test]
async fn one_kind_is_told_by_its_facets_and_its_newest_event() {
    let engine = some_events().await;
    let errors = ClickHouseErrors::new(engine.clickhouse.client());
    let one = ErrorQuery { fingerprints: vec![Fingerprint(1)], ..query() };
    let facets = errors.facets(&one).await.unwrap();
    let lines: Vec<String> = facets.iter().map(|f| format!("{} {} {}", f.name, f.value, f.events)).collect();
    let expected = [
        "environment prod 6",
        "environment test 1",
        "release 1.0 6",
        "release 1.1 1",
        "service checkout 6",
        "service mail 1",
        "source otel_log 6",
        "source sentry 1",
        "tag:shop eu 1",
    ];
    assert_eq!(lines, expected, "one that was sent twice counts once");
    let latest = errors.latest(&one).await.unwrap().unwrap();
    assert_eq!((latest.at, latest.service.as_str(), latest.message.as_str(), latest.kind.as_str()), (at(130), "mail", "it's 7", "E1"));
    assert_eq!((latest.source.as_str(), latest.trace_id.as_str(), latest.span_id.as_str()), ("sentry", "ab".repeat(16).as_str(), ""));
    assert_eq!((latest.release.as_str(), latest.environment.as_str(), latest.user.as_str()), ("1.1", "test", "u0"));
    let frames: Vec<_> = latest.frames.iter().map(|f| (f.function.as_str(), f.line, f.in_app)).collect();
    assert_eq!(frames, [("recv", 1, false), ("charge", 2, true), ("charge", 2, true), ("pay", 3, true), ("main", 4, true)]);
    assert_eq!(latest.tags["shop"], "eu");
    assert_eq!(errors.latest(&ErrorQuery { fingerprints: vec![Fingerprint(4)], ..query() }).await.unwrap(), None);
    let backwards = ErrorQuery { end: base(), ..query() };
    assert!(errors.trends(&backwards, 60).await.unwrap().is_empty());
    engine.supervisor.stop().await;
    assert!(matches!(errors.latest(&one).await.unwrap_err(), QueryError::Unavailable(_)));
}
