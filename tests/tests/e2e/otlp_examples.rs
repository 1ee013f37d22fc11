//! Bodies of the shapes that the examples of the OTLP specification have (a trace, log records, events, metrics): as JSON, as JSON in
//! the looser way in which the examples are written, and as protobuf they are stored alike.

use model::time::{Clock, SystemClock};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::process::Watchfire;
use tests::wait::wait_for;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// A request's outermost objects: resource, scope and `records` of them.
fn request(resources: &str, scopes: &str, records: &str, service: &str, list: Value) -> Value {
    let scope = json!({ "name": "an.example", "version": "3.2.1", "attributes": [text("of.the.scope", "yes")] });
    let of_scope = json!({ "scope": scope, records: list });
    json!({ resources: [{ "resource": { "attributes": [text("service.name", service)] }, scopes: [of_scope] }] })
}

/// `examples/trace.json`: a server span with a parent.
fn trace(service: &str, now: u64) -> Value {
    let span = json!({
        "traceId": TRACE, "spanId": SPAN, "parentSpanId": "00f067aa0ba902b6", "name": "a server's span", "kind": 2,
        "startTimeUnixNano": (now - 1_000_000_000).to_string(), "endTimeUnixNano": now.to_string(),
        "attributes": [text("of.the.span", "a value")],
    });
    request("resourceSpans", "scopeSpans", "spans", service, json!([span]))
}

/// `examples/logs.json`: attributes of every type, a severity that is only a text.
fn logs(service: &str, now: u64) -> Value {
    let array = json!({ "values": [{ "stringValue": "several" }, { "stringValue": "texts" }] });
    let map = json!({ "values": [text("in.the.map", "a value")] });
    let record = json!({
        "timeUnixNano": now.to_string(), "observedTimeUnixNano": now.to_string(), "severityText": "Notice", "traceId": TRACE, "spanId": SPAN,
        "body": { "stringValue": "a log record" },
        "attributes": [
            text("a.text", "words"),
            { "key": "a.flag", "value": { "boolValue": true } },
            { "key": "an.int", "value": { "intValue": "12" } },
            { "key": "a.double", "value": { "doubleValue": 401.125 } },
            { "key": "an.array", "value": { "arrayValue": array } },
            { "key": "a.map", "value": { "kvlistValue": map } },
        ],
    });
    request("resourceLogs", "scopeLogs", "logRecords", service, json!([record]))
}

/// `examples/events.json`: a log record whose body is a map.
fn events(service: &str, now: u64) -> Value {
    let number = json!({ "key": "kind", "value": { "intValue": "0" } });
    let body = json!({ "values": [number, text("page", "https://shop.example/cart?id=7"), text("title", "A cart")] });
    let record = json!({
        "timeUnixNano": now.to_string(), "observedTimeUnixNano": now.to_string(), "severityNumber": 9,
        "attributes": [text("event.name", "page.seen")], "body": { "kvlistValue": body },
    });
    request("resourceLogs", "scopeLogs", "logRecords", service, json!([record]))
}

/// `examples/metrics.json`: a sum, a gauge, a histogram and an exponential one.
fn metrics(service: &str, now: u64) -> Value {
    let (start, at) = ((now - 60_000_000_000).to_string(), now.to_string());
    let labels = json!([text("of.the.point", "a value")]);
    let point = |more: Value| {
        let mut point = json!({ "startTimeUnixNano": start, "timeUnixNano": at, "attributes": labels });
        point.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!([point])
    };
    let buckets = json!({ "count": "3", "sum": 4.5, "min": 0.5, "max": 3, "bucketCounts": ["2", "1"], "explicitBounds": [1] });
    let exponential = json!({
        "count": "4", "sum": 11, "min": 0, "max": 6, "scale": 0, "zeroCount": "1", "zeroThreshold": 0,
        "positive": { "offset": 1, "bucketCounts": ["1", "2"] },
    });
    let list = json!([
        { "name": "an.example.sum", "unit": "1", "description": "A sum's",
          "sum": { "aggregationTemporality": 1, "isMonotonic": true, "dataPoints": point(json!({ "asDouble": 4 })) } },
        { "name": "an.example.gauge", "unit": "1", "description": "A gauge's", "gauge": { "dataPoints": point(json!({ "asDouble": 12 })) } },
        { "name": "an.example.histogram", "unit": "1", "description": "A histogram's",
          "histogram": { "aggregationTemporality": 1, "dataPoints": point(buckets) } },
        { "name": "an.example.exponential", "unit": "1", "description": "An exponential one's",
          "exponentialHistogram": { "aggregationTemporality": 1, "dataPoints": point(exponential) } },
    ]);
    request("resourceMetrics", "scopeMetrics", "metrics", service, list)
}

/// As the examples are written: 64-bit integers are numbers, ids in capitals, the map of a body is a bare list.
fn loosened(value: &Value) -> Value {
    let number = |value: &Value| value.as_str().map_or_else(|| loosened(value), |text| json!(text.parse::<u64>().unwrap()));
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let looser = match name.as_str() {
                    "traceId" | "spanId" | "parentSpanId" => json!(value.as_str().unwrap().to_uppercase()),
                    "bucketCounts" => value.as_array().unwrap().iter().map(number).collect(),
                    "kvlistValue" => loosened(&value["values"]),
                    "intValue" | "count" | "zeroCount" => number(value),
                    name if name.ends_with("TimeUnixNano") || name == "timeUnixNano" => number(value),
                    _ => loosened(value),
                };
                (name.clone(), looser)
            })
            .collect(),
        Value::Array(items) => items.iter().map(loosened).collect(),
        other => other.clone(),
    }
}

/// The same in protobuf, by the reader of JSON of somebody else.
fn protobuf<T: Message + DeserializeOwned>(json: Value) -> Vec<u8> {
    serde_json::from_value::<T>(json).unwrap().encode_to_vec()
}

struct World {
    server: Watchfire,
    client: reqwest::Client,
    now: u64,
}

/// A path, a body for a service, and how to make protobuf of it.
type Example = (&'static str, fn(&str, u64) -> Value, fn(Value) -> Vec<u8>);

impl World {
    async fn send(&self, path: &str, content_type: &str, body: Vec<u8>) {
        let url = format!("http://{}/v1/{path}", self.server.otlp_http);
        let answer = self.client.post(url).header("content-type", content_type).body(body).send().await.unwrap();
        let (status, body) = (answer.status().as_u16(), answer.bytes().await.unwrap());
        let whole = if content_type == "application/json" { &b"{}"[..] } else { b"" };
        assert_eq!((status, &body[..]), (200, whole), "{path}: {}", String::from_utf8_lossy(&body));
    }
    /// Sends an example in three ways; the services that it was sent as.
    async fn send_all(&self, name: &str, (path, body, protobuf): Example) -> [String; 3] {
        let services = ["strict", "loose", "protobuf"].map(|way| format!("{name}.{way}"));
        let json = |value: Value| value.to_string().into_bytes();
        self.send(path, "application/json", json(body(&services[0], self.now))).await;
        self.send(path, "application/json", json(loosened(&body(&services[1], self.now)))).await;
        self.send(path, "application/x-protobuf", protobuf(body(&services[2], self.now))).await;
        services
    }
    async fn rows(&self, sql: &str) -> Vec<Value> {
        let url = format!("http://{}/api/watchfire/v1/sql?format=JSONEachRow", self.server.http);
        let bytes = self.client.post(url).body(sql.to_owned()).send().await.unwrap().bytes().await.unwrap();
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{sql}: {text}"))).collect()
    }
    /// The rows of a table that each service has, once they are there; they are the same for all of them.
    async fn same(&self, services: &[String; 3], table: &str, except: &str, of: fn(&str) -> String) -> Vec<Value> {
        let mut all = Vec::new();
        for service in services {
            let sql = format!("SELECT * EXCEPT (tenant, {except}) FROM {table} WHERE {} ORDER BY ALL", of(service));
            all.push(wait_for(&sql, async || Some(self.rows(&sql).await).filter(|rows| !rows.is_empty())).await);
        }
        assert_eq!(all[0], all[1], "{table}: numbers as numbers");
        assert_eq!(all[0], all[2], "{table}: protobuf");
        all.remove(0)
    }
}

fn of_service(service: &str) -> String {
    format!("service = '{service}'")
}

fn of_job(service: &str) -> String {
    format!("metric != 'target_info' AND fingerprint IN (SELECT fingerprint FROM series WHERE labels['job'] = '{service}')")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_specification_are_stored_alike_in_every_form() {
    let mut server = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    server.start().await;
    let now = u64::try_from(SystemClock.now().nanos()).unwrap();
    let world = World { server, client: reqwest::Client::new(), now };

    let services = world.send_all("trace", ("traces", trace, protobuf::<ExportTraceServiceRequest>)).await;
    let spans = world.same(&services, "spans", "received, service, resource", of_service).await;
    assert_eq!(spans.len(), 1);
    assert_eq!((&spans[0]["name"], &spans[0]["kind"]), (&json!("a server's span"), &json!("SERVER")));
    assert_eq!(spans[0]["duration"].to_string().trim_matches('"'), "1000000000");
    assert_eq!(spans[0]["scope_attributes"], json!({ "of.the.scope": "yes" }));
    let ids = format!(
        "SELECT count() FROM spans WHERE lower(hex(trace_id)) = '{TRACE}' AND lower(hex(span_id)) = '{SPAN}' AND toUnixTimestamp64Nano(ts) = {}",
        now - 1_000_000_000
    );
    assert_eq!(world.server.count(&ids).await, 3);

    let services = world.send_all("logs", ("logs", logs, protobuf::<ExportLogsServiceRequest>)).await;
    let records = world.same(&services, "logs", "received, service, resource", of_service).await;
    assert_eq!((records.len(), &records[0]["body"], &records[0]["severity_text"]), (1, &json!("a log record"), &json!("Notice")));
    let attributes = json!({
        "a.text": "words", "a.flag": "true", "an.int": "12", "a.double": "401.125", "an.array": "[\"several\",\"texts\"]",
        "a.map": "{\"in.the.map\":\"a value\"}",
    });
    assert_eq!(records[0]["attributes"], attributes);

    let services = world.send_all("events", ("logs", events, protobuf::<ExportLogsServiceRequest>)).await;
    let records = world.same(&services, "logs", "received, service, resource", of_service).await;
    let body = r#"{"kind":0,"page":"https://shop.example/cart?id=7","title":"A cart"}"#;
    assert_eq!((records.len(), &records[0]["body"], &records[0]["severity_number"]), (1, &json!(body), &json!(9)));

    let services = world.send_all("metrics", ("metrics", metrics, protobuf::<ExportMetricsServiceRequest>)).await;
    let points = world.same(&services, "points", "fingerprint", of_job).await;
    let values: Vec<_> = points.iter().map(|row| (row["metric"].as_str().unwrap(), row["value"].as_f64().unwrap())).collect();
    assert_eq!(values, [("an_example_gauge_ratio", 12.0), ("an_example_sum_total", 4.0)]);
    let histograms = world.same(&services, "histograms", "fingerprint", of_job).await;
    assert_eq!((&histograms[0]["counts"], &histograms[0]["bounds"], &histograms[0]["max"]), (&json!([2, 1]), &json!([1]), &json!(3)));
    let exponential = world.same(&services, "exp_histograms", "fingerprint", of_job).await;
    let cells = (&exponential[0]["positive_offset"], &exponential[0]["positive_counts"], &exponential[0]["zero_count"]);
    assert_eq!(cells, (&json!(1), &json!([1, 2]), &json!(1)));
    let series = world.same(&services, "series", "fingerprint, labels, resource, first_seen, last_seen", of_job).await;
    let kinds: Vec<_> = series.iter().map(|row| (row["kind"].as_str().unwrap(), row["temporality"].as_str().unwrap())).collect();
    for kind in [("gauge", "unspecified"), ("sum", "delta"), ("histogram", "delta"), ("exp_histogram", "delta")] {
        assert!(kinds.contains(&kind), "{series:?}");
    }
}
