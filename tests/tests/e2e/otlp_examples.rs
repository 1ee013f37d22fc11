//! The example files of the OTLP specification (a trace, log records, an event, metrics), as the crate `opentelemetry-proto` has them: only
//! their times, which are of 2018, and the name of the service are others. As they are written, as JSON in a looser way, and as protobuf
//! they are stored alike. So is what the examples leave out: dropped counts on every level, summaries, integers.

use std::path::PathBuf;
use std::process::Command;

use model::time::{Clock, SystemClock};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tests::process::Watchfire;
use tests::wait::wait_for;

/// As the examples have them.
const TRACE: &str = "5b8efff798038103d269b633813fc60c";
const SPAN: &str = "eee19b7ec3c1b174";
/// Where the times of the examples begin, in nanoseconds since 1970.
const BEGIN: u64 = 1_544_712_660_000_000_000;

/// What the program prints.
fn printed(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// The folder of the examples: cargo says where the crate is. It is asked about this platform alone, because it has not downloaded what only
/// others need.
fn examples() -> PathBuf {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let version = printed("rustc", &["-vV"]);
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
    let asked = ["metadata", "--format-version", "1", "--offline", "--filter-platform", host, "--manifest-path", manifest];
    let metadata: Value = serde_json::from_str(&printed(&cargo, &asked)).unwrap();
    let package = metadata["packages"].as_array().unwrap().iter().find(|package| package["name"] == "opentelemetry-proto").unwrap();
    let folder = PathBuf::from(package["manifest_path"].as_str().unwrap()).parent().unwrap().join("src/proto/opentelemetry-proto/examples");
    assert!(folder.is_dir(), "{} is not there", folder.display());
    folder
}

/// An example as it is written, of another service and as if it began at `now`.
fn example(file: &str, service: &str, now: u64) -> String {
    let text = std::fs::read_to_string(examples().join(file)).unwrap();
    let words: Vec<String> = text
        .split('"')
        .map(|word| match word.parse::<u64>() {
            Ok(time) if time >= BEGIN => (time - BEGIN + now).to_string(),
            _ if word == "my.service" => service.to_owned(),
            _ => word.to_owned(),
        })
        .collect();
    let moved = words.join("\"");
    assert!(moved.contains(service) && !moved.contains("\"15447126"), "{moved}");
    moved
}

fn trace(service: &str, now: u64) -> String {
    example("trace.json", service, now)
}

fn logs(service: &str, now: u64) -> String {
    example("logs.json", service, now)
}

fn events(service: &str, now: u64) -> String {
    example("events.json", service, now)
}

fn metrics(service: &str, now: u64) -> String {
    example("metrics.json", service, now)
}

/// The first of the innermost objects: a span, a log record or a metric.
fn first<'v>(request: &'v mut Value, names: [&str; 3]) -> &'v mut Value {
    &mut request[names[0]][0][names[1]][0][names[2]][0]
}

/// Says that attributes of the resource and of the scope were dropped.
fn drop_outside(request: &mut Value, names: [&str; 2]) {
    request[names[0]][0]["resource"]["droppedAttributesCount"] = json!(2);
    request[names[0]][0][names[1]][0]["scope"]["droppedAttributesCount"] = json!(3);
}

/// The example of a trace with events and links, and with dropped counts wherever there can be one.
fn lossy_trace(service: &str, now: u64) -> String {
    let mut request: Value = serde_json::from_str(&trace(service, now)).unwrap();
    drop_outside(&mut request, ["resourceSpans", "scopeSpans"]);
    let span = first(&mut request, ["resourceSpans", "scopeSpans", "spans"]);
    let event = |name: &str, dropped: u32| json!({ "timeUnixNano": now.to_string(), "name": name, "droppedAttributesCount": dropped });
    let link = |dropped: u32| json!({ "traceId": TRACE, "spanId": SPAN, "droppedAttributesCount": dropped });
    span["events"] = json!([event("one", 8), event("two", 0), event("three", u32::MAX)]);
    span["links"] = json!([link(9), link(0)]);
    for (at, count) in ["droppedAttributesCount", "droppedEventsCount", "droppedLinksCount"].into_iter().enumerate() {
        span[count] = json!(4 + at);
    }
    request.to_string()
}

/// The example of a log record with dropped counts.
fn lossy_logs(service: &str, now: u64) -> String {
    let mut request: Value = serde_json::from_str(&logs(service, now)).unwrap();
    drop_outside(&mut request, ["resourceLogs", "scopeLogs"]);
    first(&mut request, ["resourceLogs", "scopeLogs", "logRecords"])["droppedAttributesCount"] = json!(7);
    request.to_string()
}

/// What no example has: a summary, and gauges and sums of integers.
fn more_metrics(service: &str, now: u64) -> String {
    let mut request: Value = serde_json::from_str(&metrics(service, now)).unwrap();
    drop_outside(&mut request, ["resourceMetrics", "scopeMetrics"]);
    let (start, at) = ((now - 1_000_000_000).to_string(), now.to_string());
    let integer = |number: &str| json!([{ "startTimeUnixNano": start, "timeUnixNano": at, "asInt": number }]);
    let quantile = |quantile: f64, value: f64| json!({ "quantile": quantile, "value": value });
    let quantiles = json!([quantile(0.5, 0.2), quantile(0.99, 1.75), quantile(1.0, 4.0)]);
    let summary = json!([{ "startTimeUnixNano": start, "timeUnixNano": at, "count": "17", "sum": 8.5, "quantileValues": quantiles }]);
    request["resourceMetrics"][0]["scopeMetrics"][0]["metrics"] = json!([
        { "name": "workers", "unit": "", "gauge": { "dataPoints": integer("-9007199254740991") } },
        { "name": "jobs", "unit": "", "sum": { "aggregationTemporality": 2, "isMonotonic": true, "dataPoints": integer("12") } },
        { "name": "wait", "unit": "s", "description": "Waiting.", "summary": { "dataPoints": summary } },
    ]);
    request.to_string()
}

/// In a looser way: 64-bit integers are numbers, ids in small letters, the map of a body is a bare list.
fn loosened(value: &Value) -> Value {
    let number = |value: &Value| value.as_str().map_or_else(|| loosened(value), |text| json!(text.parse::<i64>().unwrap()));
    match value {
        Value::Object(fields) => fields
            .iter()
            .map(|(name, value)| {
                let looser = match name.as_str() {
                    "traceId" | "spanId" | "parentSpanId" => json!(value.as_str().unwrap().to_lowercase()),
                    "bucketCounts" => value.as_array().unwrap().iter().map(number).collect(),
                    "kvlistValue" => loosened(&value["values"]),
                    "intValue" | "asInt" | "count" | "zeroCount" => number(value),
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
fn protobuf<T: Message + DeserializeOwned>(json: &str) -> Vec<u8> {
    serde_json::from_str::<T>(json).unwrap().encode_to_vec()
}

struct World {
    server: Watchfire,
    client: reqwest::Client,
    now: u64,
}

/// A path, a body for a service, and how to make protobuf of it.
type Example = (&'static str, fn(&str, u64) -> String, fn(&str) -> Vec<u8>);

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
        let services = ["as-written", "loose", "protobuf"].map(|way| format!("{name}.{way}"));
        let loose = loosened(&serde_json::from_str(&body(&services[1], self.now)).unwrap());
        self.send(path, "application/json", body(&services[0], self.now).into_bytes()).await;
        self.send(path, "application/json", loose.to_string().into_bytes()).await;
        self.send(path, "application/x-protobuf", protobuf(&body(&services[2], self.now))).await;
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

async fn world() -> World {
    let mut server = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    server.start().await;
    let now = u64::try_from(SystemClock.now().nanos()).unwrap() - 2_000_000_000;
    World { server, client: reqwest::Client::new(), now }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_examples_of_the_specification_are_stored_alike_in_every_form() {
    let world = world().await;
    let services = world.send_all("trace", ("traces", trace, protobuf::<ExportTraceServiceRequest>)).await;
    let spans = world.same(&services, "spans", "received, service, resource", of_service).await;
    assert_eq!(spans.len(), 1);
    assert_eq!((&spans[0]["name"], &spans[0]["kind"]), (&json!("I'm a server span"), &json!("SERVER")));
    assert_eq!(spans[0]["duration"].to_string().trim_matches('"'), "1000000000");
    assert_eq!(spans[0]["scope_attributes"], json!({ "my.scope.attribute": "some scope attribute" }));
    assert_eq!(spans[0]["attributes"], json!({ "my.span.attr": "some value" }));
    let ids = format!(
        "SELECT count() FROM spans WHERE lower(hex(trace_id)) = '{TRACE}' AND lower(hex(span_id)) = '{SPAN}' \
         AND lower(hex(parent_span_id)) = 'eee19b7ec3c1b173' AND toUnixTimestamp64Nano(ts) = {}",
        world.now
    );
    assert_eq!(world.server.count(&ids).await, 3);

    let services = world.send_all("logs", ("logs", logs, protobuf::<ExportLogsServiceRequest>)).await;
    let records = world.same(&services, "logs", "received, service, resource", of_service).await;
    assert_eq!(
        (records.len(), &records[0]["body"], &records[0]["severity_text"]),
        (1, &json!("Example log record"), &json!("Information"))
    );
    let attributes = json!({
        "string.attribute": "some string", "boolean.attribute": "true", "int.attribute": "10", "double.attribute": "637.704",
        "array.attribute": "[\"many\",\"values\"]", "map.attribute": "{\"some.map.key\":\"some value\"}",
    });
    assert_eq!(records[0]["attributes"], attributes);

    let services = world.send_all("events", ("logs", events, protobuf::<ExportLogsServiceRequest>)).await;
    let records = world.same(&services, "logs", "received, service, resource", of_service).await;
    let body = r#"{"type":0,"url":"https://www.guidgenerator.com/online-guid-generator.aspx","referrer":"https://wwww.google.com","title":"Free Online GUID Generator"}"#;
    assert_eq!((records.len(), &records[0]["body"], &records[0]["severity_number"]), (1, &json!(body), &json!(9)));
    assert_eq!(records[0]["event_name"], json!("browser.page_view"));

    let services = world.send_all("metrics", ("metrics", metrics, protobuf::<ExportMetricsServiceRequest>)).await;
    let points = world.same(&services, "points", "fingerprint", of_job).await;
    let values: Vec<_> = points.iter().map(|row| (row["metric"].as_str().unwrap(), row["value"].as_f64().unwrap())).collect();
    assert_eq!(values, [("my_counter_total", 5.0), ("my_gauge_ratio", 10.0)]);
    let histograms = world.same(&services, "histograms", "fingerprint", of_job).await;
    assert_eq!((&histograms[0]["counts"], &histograms[0]["bounds"], &histograms[0]["max"]), (&json!([1, 1]), &json!([1]), &json!(2)));
    let exponential = world.same(&services, "exp_histograms", "fingerprint", of_job).await;
    let cells = (&exponential[0]["positive_offset"], &exponential[0]["positive_counts"], &exponential[0]["zero_count"]);
    assert_eq!(cells, (&json!(1), &json!([0, 2]), &json!(1)));
    let series = world.same(&services, "series", "fingerprint, labels, resource, first_seen, last_seen", of_job).await;
    let kinds: Vec<_> = series.iter().map(|row| (row["kind"].as_str().unwrap(), row["temporality"].as_str().unwrap())).collect();
    for kind in [("gauge", "unspecified"), ("sum", "delta"), ("histogram", "delta"), ("exp_histogram", "delta")] {
        assert!(kinds.contains(&kind), "{series:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropped_counts_summaries_and_integers_are_stored_alike_in_every_form() {
    let world = world().await;
    let services = world.send_all("trace", ("traces", lossy_trace, protobuf::<ExportTraceServiceRequest>)).await;
    let spans = world.same(&services, "spans", "received, service, resource", of_service).await;
    let dropped = |row: &Value, of: &str| row[format!("{of}dropped_attributes")].clone();
    let of_span = ["", "event_", "link_", "resource_", "scope_"].map(|of| dropped(&spans[0], of));
    assert_eq!(of_span, [json!(4), json!([8, 0, u32::MAX]), json!([9, 0]), json!(2), json!(3)]);
    assert_eq!((&spans[0]["dropped_events"], &spans[0]["dropped_links"]), (&json!(5), &json!(6)));

    let services = world.send_all("logs", ("logs", lossy_logs, protobuf::<ExportLogsServiceRequest>)).await;
    let records = world.same(&services, "logs", "received, service, resource", of_service).await;
    assert_eq!(["", "resource_", "scope_"].map(|of| dropped(&records[0], of)), [json!(7), json!(2), json!(3)]);

    let services = world.send_all("metrics", ("metrics", more_metrics, protobuf::<ExportMetricsServiceRequest>)).await;
    let points = world.same(&services, "points", "fingerprint", of_job).await;
    let values: Vec<_> = points.iter().map(|row| (row["metric"].as_str().unwrap(), row["value"].as_f64().unwrap())).collect();
    assert_eq!(values, [("jobs_total", 12.0), ("workers", -9_007_199_254_740_991.0)]);
    let summaries = world.same(&services, "summaries", "fingerprint", of_job).await;
    let number = |row: &Value, name: &str| row[name].to_string().trim_matches('"').parse::<f64>().unwrap();
    assert_eq!((summaries.len(), number(&summaries[0], "count"), number(&summaries[0], "sum")), (1, 17.0, 8.5));
    assert_eq!((&summaries[0]["quantiles"], &summaries[0]["values"]), (&json!([0.5, 0.99, 1]), &json!([0.2, 1.75, 4])));
    let series = world.same(&services, "series", "fingerprint, labels, resource, first_seen, last_seen", of_job).await;
    assert!(series.iter().all(|row| dropped(row, "resource_") == 2 && dropped(row, "scope_") == 3), "{series:?}");
    // Prometheus's form of a summary.
    let job = &services[2];
    for (expr, value) in [
        (format!("wait_seconds{{job=\"{job}\", quantile=\"0.99\"}}"), 1.75),
        (format!("wait_seconds_count{{job=\"{job}\"}}"), 17.0),
        (format!("wait_seconds_sum{{job=\"{job}\"}}"), 8.5),
        (format!("workers{{job=\"{job}\"}}"), -9_007_199_254_740_991.0),
    ] {
        assert_eq!(wait_for(&expr, async || world.server.promql(&expr).await).await, value, "{expr}");
    }
}
