//! Limits of series on the real program: what is over them is one visible series of its metric, whichever way it came, and the sender is
//! told of what is in none.

use model::time::{Clock, SystemClock};
use serde_json::{Value, json};
use tests::process::Watchfire;
use tests::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use tests::wait::wait_for;

const CONFIG: &str = "pipeline:\n  cardinality: { max_series_per_metric: 3, max_series_per_tenant: 5 }\n";
/// Metrics of a tenant without room that get an overflow series.
const OVERFLOW_METRICS: usize = 1_000;

/// A metric with so many points, each of a series of its own with the value 1.
fn metric(name: &str, kind: &str, temporality: u8, points: usize) -> Value {
    let now = SystemClock.now().nanos();
    let point = |id: usize| {
        let id = json!([{ "key": "id", "value": { "stringValue": id.to_string() } }]);
        json!({ "startTimeUnixNano": (now - 1_000_000_000).to_string(), "timeUnixNano": now.to_string(), "asInt": "1", "attributes": id })
    };
    let mut data = json!({ "dataPoints": (0..points).map(point).collect::<Vec<_>>() });
    if kind == "sum" {
        data["aggregationTemporality"] = json!(temporality);
        data["isMonotonic"] = json!(true);
    }
    json!({ "name": name, kind: data })
}

struct World {
    server: Watchfire,
    client: reqwest::Client,
}

impl World {
    /// Sends metrics; the points that are rejected, and why.
    async fn send(&self, metrics: Vec<Value>) -> (u64, String) {
        let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }] });
        let body = json!({ "resourceMetrics": [{ "resource": resource, "scopeMetrics": [{ "metrics": metrics }] }] });
        let answer = self.client.post(format!("http://{}/v1/metrics", self.server.otlp_http)).json(&body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200);
        let said: Value = answer.json().await.unwrap();
        let partial = &said["partialSuccess"];
        let rejected = partial["rejectedDataPoints"].to_string();
        (rejected.trim_matches('"').parse().unwrap_or(0), partial["errorMessage"].as_str().unwrap_or_default().to_owned())
    }
    async fn value(&self, expr: &str, expected: f64) {
        wait_for(&format!("{expr} to be {expected}"), async || {
            let found = self.server.promql(expr).await?;
            (found == expected).then_some(())
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn series_over_the_limits_are_one_of_their_metric_that_promql_shows() {
    let mut server = Watchfire::prepare(crate::WATCHFIRE, CONFIG, &[]);
    server.start().await;
    let world = World { server, client: reqwest::Client::new() };
    let none = (0, String::new());

    // A metric's own limit: three series of ten, the other seven add up in its overflow series.
    assert_eq!(world.send(vec![metric("orders", "sum", 1, 10)]).await, none);
    world.value("count(last_over_time(orders_total[10m]))", 4.0).await;
    world.value("sum(increase(orders_total{otel_metric_overflow=\"true\"}[10m]))", 7.0).await;
    world.value("sum(increase(orders_total[10m]))", 10.0).await;

    // The tenant's: two series of a gauge that Prometheus writes, then there is no room for any.
    let at = SystemClock.now().millis();
    let series = |id: usize| TimeSeries {
        labels: vec![Label::new("__name__", "load"), Label::new("id", id.to_string())],
        samples: vec![Sample { value: 7.0, timestamp: at }],
    };
    let body = WriteRequest { timeseries: (0..4).map(series).collect() }.body();
    let write = world.client.post(format!("http://{}/api/v1/write", world.server.http));
    let written =
        write.header("content-type", "application/x-protobuf").header("content-encoding", "snappy").body(body).send().await.unwrap();
    assert_eq!(written.status().as_u16(), 204, "{}", written.text().await.unwrap());
    world.value("count(load)", 3.0).await;
    world.value("load{otel_metric_overflow=\"true\"}", 7.0).await;

    // New metrics of a tenant without room have their overflow series and nothing else.
    assert_eq!(world.send(vec![metric("visits", "sum", 1, 6)]).await, none);
    world.value("count(last_over_time(visits_total[10m]))", 1.0).await;
    world.value("sum(increase(visits_total{otel_metric_overflow=\"true\"}[10m]))", 6.0).await;
    // Of cumulative points none is right for several series: the sender is told, and a zero shows that there are some.
    let (rejected, said) = world.send(vec![metric("steps", "sum", 2, 2)]).await;
    assert!(rejected == 2 && said.contains("pipeline.cardinality"), "{rejected} {said}");
    world.value("steps_total{otel_metric_overflow=\"true\"}", 0.0).await;

    // Names without end are not stored without end.
    let many = (0..OVERFLOW_METRICS + 100).map(|number| metric(&format!("extra.{number}"), "gauge", 0, 1)).collect();
    let (rejected, said) = world.send(many).await;
    assert!(rejected == 102 && said.contains("pipeline.cardinality"), "`visits` and `steps` are of the thousand: {rejected} {said}");
    world.value("count({otel_metric_overflow=\"true\", __name__=~\"extra_.+\"})", 998.0).await;
    // What has series goes on, and all of it is counted.
    assert_eq!(world.send(vec![metric("orders", "sum", 1, 10)]).await, none);
    world.value("sum(increase(orders_total{otel_metric_overflow=\"true\"}[10m]))", 14.0).await;
    let metrics = world.server.text("/metrics").await;
    let own = |series: &str| metrics.lines().find_map(|line| line.strip_prefix(series)?.trim().parse::<f64>().ok());
    assert_eq!(own("watchfire_pipeline_overflow_points_total "), Some((7 + 2 + 6 + 2 + 998 + 7) as f64));
    let reason = "watchfire_collector_rejected_rows_total{reason=\"too_many_series\",signal=\"metrics\"} ";
    assert_eq!(own(reason), Some(104.0), "{metrics}");
    assert!(world.server.log().contains("otel_metric_overflow"), "the log tells of it");
}
