//! Tail sampling by the real server: killed while spans wait, no kept trace loses a span and none is stored twice; what is dropped is
//! still counted.

use std::sync::atomic::{AtomicU64, Ordering};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
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
            let metrics = world.text("/metrics").await;
            let dropped = "watchfire_tail_sampling_traces_total{decision=\"dropped\"} ";
            metrics.lines().find_map(|line| line.strip_prefix(dropped)?.parse::<f64>().ok()).filter(|count| *count > 0.0)
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
    // All of them wait: three seconds are not over.
    let waiting = world.count("SELECT count() FROM spans WHERE status = 'STATUS_CODE_ERROR'").await;
    world.kill();
    world.start().await;
    // Late spans of traces that were in the log.
    for failed in &failed {
        send(*failed, false).await;
    }
    assert!(waiting < 20, "some were not decided when it was killed");
    let hex = |id: &[u8; 16]| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let list = failed.iter().map(|id| format!("'{}'", hex(id))).collect::<Vec<_>>().join(", ");
    let of_failed = format!("SELECT count() FROM spans WHERE lower(hex(trace_id)) IN ({list})");
    wait_for("every span of the failed traces", async || (world.count(&of_failed).await >= 120).then_some(())).await;
    assert_eq!(world.count(&of_failed).await, 120, "and none twice");
    assert_eq!(world.count(&format!("{of_failed} AND sample_rate != 1")).await, 0);
    dropping(&world).await;
    wait_for("nothing to wait", async || {
        let metrics = world.text("/metrics").await;
        metrics.contains("watchfire_tail_sampling_waiting_spans 0").then_some(())
    })
    .await;
    wait_for("the log to be sent", async || world.text("/metrics").await.contains("watchfire_wal_blocks 0").then_some(())).await;
    let stored = world.count("SELECT count() FROM spans").await;
    assert_eq!(world.count("SELECT uniqExact(span_id) FROM spans").await, stored);
    let sent = sent.load(Ordering::SeqCst);
    assert!(stored < sent, "{stored} of {sent} are stored");
    let calls = world.count("SELECT toUInt64(sum(value)) FROM points WHERE metric = 'traces_span_metrics_calls_total'").await;
    assert_eq!(calls, sent, "the derived series count each span, kept or not");
}
