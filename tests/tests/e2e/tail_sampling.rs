//! Tail sampling by the real server: killed while spans wait, no kept trace loses a span and none is stored twice; what is dropped is
//! still counted; slow and rare traces are kept; weights keep counts, rates and rules right.

use std::sync::atomic::{AtomicU64, Ordering};

use model::time::{Clock, SystemClock};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::Status;
use prost::Message;
use serde_json::Value;
use tests::process::Watchfire;
use tests::send::{post, spans};
use tests::wait::wait_for;

const CONFIG: &str = "pipeline:\n  tail_sampling: { enabled: true, wait: 3s, remember: 6s, ratio: 0, slow: null, rare: { traces: 0 } }\n";

/// One trace of two spans; the first may have failed.
fn trace(id: [u8; 16], failed: bool) -> ExportTraceServiceRequest {
    let mut request = spans("shop", 2, usize::from(failed));
    request.resource_spans[0].scope_spans[0].spans.iter_mut().for_each(|span| span.trace_id = id.to_vec());
    request
}

async fn decided(world: &Watchfire, decision: &str) -> f64 {
    world.own(&format!("watchfire_tail_sampling_traces_total{{decision=\"{decision}\"}} ")).await.unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_while_spans_wait_no_kept_trace_loses_one() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, CONFIG, &[]);
    world.start().await;
    let (client, url, sent) = (reqwest::Client::new(), format!("http://{}/v1/traces", world.otlp_http), AtomicU64::new(0));
    let send = async |id: [u8; 16], failed: bool| {
        assert_eq!(post(&client, &url, &trace(id, failed)).await, Some(200));
        sent.fetch_add(2, Ordering::SeqCst);
    };
    // Until it is sure of what it knows, nothing is dropped.
    let dropping = async |world: &Watchfire| {
        wait_for("traces to be dropped", async || {
            send(rand::random(), false).await;
            (decided(world, "dropped").await > 0.0).then_some(())
        })
        .await;
    };
    dropping(&world).await;

    let (failed, plain): (Vec<[u8; 16]>, Vec<[u8; 16]>) =
        ((0..20).map(|_| rand::random()).collect(), (0..20).map(|_| rand::random()).collect());
    for (failed, plain) in failed.iter().zip(&plain) {
        send(*failed, false).await;
        send(*failed, true).await;
        send(*plain, false).await;
    }
    // The last of them wait: three seconds are not over.
    let waiting = world.own("watchfire_tail_sampling_waiting_spans ").await;
    let stored = world.count("SELECT count() FROM spans WHERE status = 'ERROR'").await;
    world.kill();
    assert!(waiting.is_some_and(|waiting| waiting > 0.0), "spans wait when it is killed: {waiting:?}");
    assert!(stored < 20, "{stored} of 20 failed traces were stored when it was killed: none is left to be found in the log");
    world.start().await;
    // Late spans of traces that were in the log.
    for failed in &failed {
        send(*failed, false).await;
    }
    let hex = |id: &[u8; 16]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let list = failed.iter().map(|id| format!("'{}'", hex(id))).collect::<Vec<_>>().join(", ");
    let of_failed = format!("SELECT count() FROM spans WHERE lower(hex(trace_id)) IN ({list})");
    wait_for("every span of the failed traces", async || (world.count(&of_failed).await >= 120).then_some(())).await;
    assert_eq!(world.count(&of_failed).await, 120, "and none twice");
    assert_eq!(world.count(&format!("{of_failed} AND status = 'ERROR'")).await, 20);
    assert_eq!(world.count(&format!("{of_failed} AND sample_rate != 1")).await, 0);
    dropping(&world).await;
    wait_for("nothing to wait", async || world.own("watchfire_tail_sampling_waiting_spans ").await.filter(|count| *count == 0.0)).await;
    wait_for("the log to be sent", async || world.own("watchfire_wal_blocks ").await.filter(|count| *count == 0.0)).await;
    let stored = world.count("SELECT count() FROM spans").await;
    assert_eq!(world.count("SELECT uniqExact(span_id) FROM spans").await, stored);
    let sent = sent.load(Ordering::SeqCst);
    assert!(stored < sent, "{stored} of {sent} are stored");
    let calls = world.count("SELECT toUInt64(sum(value)) FROM points WHERE metric = 'traces_span_metrics_calls_total'").await;
    assert_eq!(calls, sent, "the derived series count each span, kept or not");
}

const WEIGHING: &str = "alerting:\n  rules: rules\npipeline:\n  \
    tail_sampling: { enabled: true, wait: 1s, remember: 2s, ratio: 0.25, slow: 500ms, slow_by_service: { batch: 10s }, rare: { traces: 3, per: 1h } }\n  \
    sampling: { logs: [{ match: { max_severity: info }, ratio: 0.25 }] }\n";

/// Each has a level that is reached by what came, and one that only what is stored, without weights or without what was dropped, would
/// miss or reach.
const RULES: &str = r#"
groups:
- name: weighted
  interval: 1s
  rules:
  - alert: ManySpans
    spans: { service: weighted, by: service }
    thresholds: { info: "> 7000", high: "> 9000" }
    window: 10m
  - alert: ShareOfFailures
    spans: { service: weighted, by: service, ratio: { status: error } }
    thresholds: { info: "> 0.04", high: "> 0.06" }
    window: 10m
  - alert: ManyLogs
    logs: { service: weighted, by: service }
    thresholds: { info: "> 3800", high: "> 4200" }
    window: 10m
"#;

/// Ids that are spread evenly, and the same in each run: what is drawn by them is drawn alike.
fn spread(service: &str, number: u128) -> Vec<u8> {
    let salt = service.bytes().fold(0u128, |sum, byte| sum * 31 + u128::from(byte));
    (number + 1 + (salt << 20)).wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835).to_be_bytes().to_vec()
}

/// Traces of two spans each, of which every tenth has a failed one where `failing`.
fn traces(service: &str, name: &str, numbers: std::ops::Range<u128>, millis: u64, failing: bool) -> ExportTraceServiceRequest {
    let mut request = spans(service, 2 * numbers.clone().count(), 0);
    let all = request.resource_spans[0].scope_spans[0].spans.chunks_exact_mut(2);
    for (number, pair) in numbers.zip(all) {
        for span in &mut *pair {
            span.trace_id = spread(service, number);
            span.name = name.to_owned();
            span.start_time_unix_nano = span.end_time_unix_nano - millis * 1_000_000;
        }
        if failing && number % 10 == 0 {
            pair[0].status = Some(Status { code: 2, message: String::new() });
        }
    }
    request
}

fn records(count: u128) -> ExportLogsServiceRequest {
    let now = SystemClock.now().nanos().unsigned_abs();
    let record = |number| LogRecord {
        time_unix_nano: now,
        severity_number: 9,
        trace_id: spread("logs", number),
        span_id: vec![7; 8],
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: (0..count).map(record).collect(), ..ScopeLogs::default() }];
    let resource = spans("weighted", 0, 0).resource_spans[0].resource.clone();
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }] }
}

async fn firing(world: &Watchfire, name: &str) -> Value {
    wait_for(name, async || {
        let alerts = world.get("/api/watchfire/v1/alerts?state=firing").await;
        alerts["alerts"].as_array()?.iter().find(|alert| alert["labels"]["alertname"] == name).cloned()
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_rare_traces_are_kept_and_weights_keep_counts_rates_and_rules_right() {
    let mut world = Watchfire::prepare(crate::WATCHFIRE, WEIGHING, &[("weighted.yaml", RULES)]);
    world.start().await;
    let (client, url) = (reqwest::Client::new(), format!("http://{}/v1/traces", world.otlp_http));
    let send = async |request: &ExportTraceServiceRequest| assert_eq!(post(&client, &url, request).await, Some(200));
    wait_for("traces to be dropped", async || {
        send(&trace(rand::random(), false)).await;
        (decided(&world, "dropped").await > 0.0).then_some(())
    })
    .await;

    for part in 0..8 {
        send(&traces("weighted", "GET /", part * 500..(part + 1) * 500, 20, true)).await;
    }
    send(&traces("lazy", "GET /", 0..8, 600, false)).await;
    send(&traces("batch", "GET /", 0..40, 600, false)).await;
    send(&traces("rarely", "DELETE /cart", 0..24, 20, false)).await;
    let logs = format!("http://{}/v1/logs", world.otlp_http);
    let sent =
        client.post(logs).header("content-type", "application/x-protobuf").body(records(4_000).encode_to_vec()).send().await.unwrap();
    assert_eq!(sent.status().as_u16(), 200);
    wait_for("nothing to wait", async || world.own("watchfire_tail_sampling_waiting_spans ").await.filter(|count| *count == 0.0)).await;
    wait_for("the log to be sent", async || world.own("watchfire_wal_blocks ").await.filter(|count| *count == 0.0)).await;

    // Why traces are kept.
    let count = async |what: &str, of: &str| world.count(&format!("SELECT {what} FROM spans WHERE {of}")).await;
    assert_eq!(decided(&world, "slow").await, 8.0, "those of `batch` may take ten seconds");
    assert_eq!(count("count()", "service = 'lazy' AND sample_rate = 1").await, 16, "every span of every slow trace");
    assert_eq!(count("uniqExact(trace_id)", "service = 'rarely' AND sample_rate = 1").await, 3, "the first three of an operation");
    assert!(count("uniqExact(trace_id)", "service = 'rarely'").await < 24, "more of it are not rare");
    assert!(count("uniqExact(trace_id)", "service = 'batch'").await < 40);
    assert_eq!(count("uniqExact(trace_id)", "service = 'weighted' AND status = 'ERROR'").await, 400, "every failed trace");
    let cut = "SELECT count() FROM (SELECT trace_id FROM spans WHERE service = 'weighted' GROUP BY trace_id HAVING count() != 2 OR uniqExact(sample_rate) != 1)";
    assert_eq!(world.count(cut).await, 0, "traces are kept whole, with one weight");

    // What came is told by the weights, although two thirds are not stored.
    let stored = count("count()", "service = 'weighted'").await;
    assert!((2_000..3_500).contains(&stored), "{stored} of 8000 are stored");
    let weights = count("sum(sample_rate)", "service = 'weighted'").await;
    assert!(weights.abs_diff(8_000) < 480, "the weights add up to {weights}, not to 8000");
    assert_eq!(count("uniqExact(sample_rate)", "service = 'weighted' AND sample_rate IN (1, 4)").await, 2);
    let logs = world.count("SELECT count() FROM logs").await;
    let weights = world.count("SELECT sum(sample_rate) FROM logs").await;
    assert!((800..1_200).contains(&logs) && weights.abs_diff(4_000) < 160, "{logs} log records stand for {weights}, not for 4000");

    // The derived series count each span, to the last one.
    let of = |more: &str| format!("{{service_name=\"weighted\"{more}}}[10m]");
    let calls = "traces_span_metrics_calls_total";
    for (expr, value) in [
        (format!("sum(increase({calls}{}))", of("")), 8_000.0),
        (format!("sum(rate({calls}{})) * 600", of("")), 8_000.0),
        (format!("sum(increase({calls}{}))", of(", status_code=\"STATUS_CODE_ERROR\"")), 400.0),
        (format!("sum(rate({calls}{})) / sum(rate({calls}{}))", of(", status_code=\"STATUS_CODE_ERROR\""), of("")), 0.05),
        (format!("sum(increase(traces_span_metrics_duration_seconds_count{}))", of("")), 8_000.0),
    ] {
        let found = wait_for(&expr, async || world.promql(&expr).await).await;
        assert!((found - value).abs() < 1e-6 * value, "{expr}: {found}, not {value}");
    }

    // So do rules over spans and logs.
    for name in ["ManySpans", "ShareOfFailures", "ManyLogs"] {
        let alert = firing(&world, name).await;
        assert_eq!(alert["labels"]["severity"], "info", "{alert}");
    }
}
