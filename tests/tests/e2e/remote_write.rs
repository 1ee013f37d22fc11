//! Debian's Prometheus writes what it scrapes to Watchfire, and both then answer the same: samples of itself, and of a target with
//! exemplars, native histograms and a series that ends.

use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use model::time::{Clock, SystemClock};
use prost::Message;
use serde_json::{Value, json};
use tests::process::{Watchfire, free_port};
use tests::wait::wait_for;

/// Prometheus's own exposition format, of its published proto: the only one that has native histograms.
mod exposition {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct MetricFamily {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub help: String,
        /// 0: a counter, 1: a gauge, 4: a histogram.
        #[prost(int32, optional, tag = "3")]
        pub kind: Option<i32>,
        #[prost(message, repeated, tag = "4")]
        pub metric: Vec<Metric>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Metric {
        #[prost(message, repeated, tag = "1")]
        pub label: Vec<LabelPair>,
        #[prost(message, optional, tag = "2")]
        pub gauge: Option<Gauge>,
        #[prost(message, optional, tag = "3")]
        pub counter: Option<Counter>,
        #[prost(message, optional, tag = "7")]
        pub histogram: Option<Histogram>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct LabelPair {
        #[prost(string, tag = "1")]
        pub name: String,
        #[prost(string, tag = "2")]
        pub value: String,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Gauge {
        #[prost(double, tag = "1")]
        pub value: f64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Counter {
        #[prost(double, tag = "1")]
        pub value: f64,
        #[prost(message, optional, tag = "2")]
        pub exemplar: Option<Exemplar>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub label: Vec<LabelPair>,
        #[prost(double, tag = "2")]
        pub value: f64,
        #[prost(message, optional, tag = "3")]
        pub timestamp: Option<Timestamp>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Timestamp {
        #[prost(int64, tag = "1")]
        pub seconds: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Histogram {
        #[prost(uint64, tag = "1")]
        pub sample_count: u64,
        #[prost(double, tag = "2")]
        pub sample_sum: f64,
        #[prost(sint32, tag = "5")]
        pub schema: i32,
        #[prost(double, tag = "6")]
        pub zero_threshold: f64,
        #[prost(uint64, tag = "7")]
        pub zero_count: u64,
        #[prost(message, repeated, tag = "9")]
        pub negative_span: Vec<BucketSpan>,
        #[prost(sint64, repeated, packed = "false", tag = "10")]
        pub negative_delta: Vec<i64>,
        #[prost(message, repeated, tag = "12")]
        pub positive_span: Vec<BucketSpan>,
        #[prost(sint64, repeated, packed = "false", tag = "13")]
        pub positive_delta: Vec<i64>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct BucketSpan {
        #[prost(sint32, tag = "1")]
        pub offset: i32,
        #[prost(uint32, tag = "2")]
        pub length: u32,
    }
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

/// A counter with an exemplar, a native histogram, and a gauge that is there until it is said to be over.
async fn target(State(over): State<Arc<AtomicBool>>) -> Response {
    use exposition::{BucketSpan, Counter, Exemplar, Gauge, Histogram, LabelPair, Metric, MetricFamily, Timestamp};
    let seconds = SystemClock.now().millis() / 1_000;
    let label = |name: &str, value: &str| LabelPair { name: name.into(), value: value.into() };
    let family =
        |name: &str, kind, metric| MetricFamily { name: name.into(), help: format!("A {name}."), kind: Some(kind), metric: vec![metric] };
    let exemplar =
        Exemplar { label: vec![label("trace_id", TRACE), label("user", "ana")], value: 0.5, timestamp: Some(Timestamp { seconds }) };
    let counter = Counter { value: 5.0 + (seconds % 1_000) as f64, exemplar: Some(exemplar) };
    // 2 in the zero bucket; 1, 3, 2 and, after a gap, 4 in the positive ones; 1 and 2 in the negative ones.
    let histogram = Histogram {
        sample_count: 15,
        sample_sum: 12.5,
        schema: 1,
        zero_threshold: 0.001,
        zero_count: 2,
        negative_span: vec![BucketSpan { offset: 0, length: 2 }],
        negative_delta: vec![1, 1],
        positive_span: vec![BucketSpan { offset: -1, length: 3 }, BucketSpan { offset: 2, length: 1 }],
        positive_delta: vec![1, 2, -1, 2],
    };
    let mut families = vec![
        family("jobs_total", 0, Metric { label: vec![label("kind", "a")], counter: Some(counter), ..Metric::default() }),
        family("sizes", 4, Metric { label: vec![label("kind", "b")], histogram: Some(histogram), ..Metric::default() }),
    ];
    if !over.load(Ordering::SeqCst) {
        families.push(family("passing", 1, Metric { gauge: Some(Gauge { value: 7.0 }), ..Metric::default() }));
    }
    let body: Vec<u8> = families.iter().flat_map(Message::encode_length_delimited_to_vec).collect();
    let kind = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";
    ([("content-type", kind)], body).into_response()
}

/// The exemplars of a series, without their times.
async fn exemplars(base: &str, series: &str) -> Option<Vec<Value>> {
    let now = SystemClock.now().millis() / 1_000;
    let asked = [("query", series.to_owned()), ("start", (now - 600).to_string()), ("end", (now + 60).to_string())];
    let answer = reqwest::Client::new().get(format!("{base}/api/v1/query_exemplars")).query(&asked).send().await.ok()?;
    let answer: Value = answer.json().await.ok()?;
    let found = answer["data"][0]["exemplars"].as_array()?.iter().map(|one| json!([one["labels"], one["value"]]));
    Some(found.collect()).filter(|found: &Vec<Value>| !found.is_empty())
}

/// Whether two answers are the same but for the last digit of numbers: bounds of buckets are powers of two that each computes in its way.
fn alike(one: &Value, other: &Value) -> bool {
    let number = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok());
    match (one, other) {
        (Value::Array(one), Value::Array(other)) => one.len() == other.len() && one.iter().zip(other).all(|(one, other)| alike(one, other)),
        (Value::Object(one), Value::Object(other)) => {
            one.len() == other.len() && one.iter().all(|(name, value)| other.get(name).is_some_and(|other| alike(value, other)))
        }
        _ => match (number(one), number(other)) {
            (Some(one), Some(other)) => (one - other).abs() <= 1e-12 * other.abs(),
            _ => one == other,
        },
    }
}

/// Ends with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether the program is there. Without it and without `CI=true` the test says so and ends.
fn has_prometheus() -> bool {
    let found = Command::new("prometheus").arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok();
    assert!(found || std::env::var("CI").is_err(), "prometheus is missing: apt install prometheus");
    if !found {
        println!("SKIPPED: needs prometheus (apt install prometheus)");
    }
    found
}

async fn query(base: &str, expr: &str) -> Option<Value> {
    let answer = reqwest::Client::new().get(format!("{base}/api/v1/query")).query(&[("query", expr)]).send().await.ok()?;
    let json: Value = answer.json().await.ok()?;
    (json["status"] == "success").then(|| json["data"]["result"].clone())
}

/// Time and value of the samples of the one series that is found.
fn samples(result: &Value) -> Vec<(String, String)> {
    let values = result[0]["values"].as_array().cloned().unwrap_or_default();
    values.iter().map(|pair| (pair[0].to_string(), pair[1].as_str().unwrap_or_default().to_owned())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_prometheus_writes_is_what_watchfire_answers() {
    if !has_prometheus() {
        return;
    }
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    world.start().await;
    let own = format!("http://{}", world.http);
    let (port, over) = (free_port(), Arc::new(AtomicBool::new(false)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let beside = listener.local_addr().unwrap();
    let router = axum::Router::new().fallback(target).with_state(Arc::clone(&over));
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let config = format!(
        "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: self\n    static_configs: [{{ targets: [\"127.0.0.1:{port}\"] }}]\n  \
         - job_name: target\n    static_configs: [{{ targets: [\"{beside}\"] }}]\n\
         remote_write:\n  - url: {own}/api/v1/write\n    queue_config: {{ batch_send_deadline: 200ms }}\n    \
         metadata_config: {{ send_interval: 2s }}\n    send_exemplars: true\n    send_native_histograms: true\n"
    );
    let file = world.folder().join("prometheus.yml");
    std::fs::write(&file, config).unwrap();
    let _prometheus = Prometheus(
        Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", world.folder().join("tsdb").display()))
            .arg(format!("--web.listen-address=127.0.0.1:{port}"))
            .arg("--enable-feature=exemplar-storage,native-histograms")
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap(),
    );
    let theirs = format!("http://127.0.0.1:{port}");

    // Every series of the target, and as many of them.
    let count = "count({job=\"self\"})";
    wait_for("as many series on both sides", async || {
        let (one, other) = (query(&own, count).await?, query(&theirs, count).await?);
        let value = |result: &Value| result[0]["value"][1].as_str().and_then(|text| text.parse::<f64>().ok());
        (value(&one)? > 300.0 && value(&one) == value(&other)).then_some(())
    })
    .await;
    // The same samples at the same milliseconds: those that Watchfire has are those of Prometheus, none between them is missing.
    for series in ["prometheus_tsdb_head_samples_appended_total", "go_memstats_alloc_bytes", "up"] {
        let selector = format!("{series}{{job=\"self\"}}[30s]");
        let mine = wait_for("five samples", async || {
            let found = samples(&query(&own, &selector).await?);
            (found.len() >= 5).then_some(found)
        })
        .await;
        let all = samples(&query(&theirs, &selector.replace("[30s]", "[10m]")).await.unwrap());
        let start = all.iter().position(|sample| *sample == mine[0]).unwrap_or_else(|| panic!("{selector}: {mine:?} in {all:?}"));
        // Prometheus has what it wrote, and was asked later: each of ours is there, and none between them is missing.
        assert!(all.len() - start >= mine.len(), "{selector}: {mine:?} in {all:?}");
        assert_eq!(mine, all[start..start + mine.len()], "{selector}");
    }
    // What a metric is came with the metadata.
    wait_for("the metadata", async || {
        let json: Value = reqwest::get(format!("{own}/api/v1/metadata")).await.ok()?.json().await.ok()?;
        (json["data"]["prometheus_tsdb_head_samples_appended_total"][0]["type"] == "counter").then_some(())
    })
    .await;

    // Native histograms: bucket for bucket, and what is computed of them.
    for expr in [
        "sizes{job=\"target\"}",
        "histogram_count(sizes)",
        "histogram_sum(sizes)",
        // Between bounds of buckets this Prometheus interpolates otherwise than those of today.
        "histogram_fraction(-1, 1, sizes)",
    ] {
        let value = |result: &Value| {
            let one = &result[0];
            let found = if one["histogram"].is_null() { one["value"][1].clone() } else { one["histogram"][1].clone() };
            (!found.is_null()).then_some(found)
        };
        let ask = async |base: &str| query(base, expr).await.and_then(|result| value(&result));
        let found = wait_for(expr, async || ask(&own).await).await;
        let wanted = wait_for(expr, async || ask(&theirs).await).await;
        assert!(alike(&found, &wanted), "{expr}: {found} and {wanted}");
    }
    assert_eq!(query(&own, "histogram_count(sizes)").await.unwrap()[0]["value"][1], "15");

    // Exemplars: those that Prometheus keeps, with the trace that they were made in.
    let of = "jobs_total{job=\"target\"}";
    let found = wait_for("exemplars", async || exemplars(&own, of).await.filter(|found| found.len() >= 2)).await;
    let wanted = exemplars(&theirs, of).await.unwrap();
    assert!(found.iter().all(|one| *one == wanted[0]), "{found:?} {wanted:?}");
    assert_eq!(found[0], json!([{ "trace_id": TRACE, "user": "ana" }, "0.5"]));
    wait_for("the trace as a column", async || {
        let sql = format!("SELECT count() FROM exemplars WHERE metric = 'jobs_total' AND lower(hex(trace_id)) = '{TRACE}'");
        (world.count(&sql).await >= 2).then_some(())
    })
    .await;

    // A series that is over is over here too, at once and not after the lookback of five minutes.
    let passing = "passing{job=\"target\"}";
    let is_there = async |base: &str| query(base, passing).await.map(|result| result.as_array().is_some_and(|list| !list.is_empty()));
    wait_for("the gauge", async || is_there(&own).await.filter(|there| *there)).await;
    over.store(true, Ordering::SeqCst);
    wait_for("the gauge to be over there", async || is_there(&theirs).await.filter(|there| !*there)).await;
    wait_for("the gauge to be over here", async || is_there(&own).await.filter(|there| !*there)).await;
    assert!(!samples(&query(&own, &format!("{passing}[10m]")).await.unwrap()).is_empty(), "what it was is still there");
}

/// The messages of remote write 2.0, of its published proto.
mod second {
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        #[prost(string, repeated, tag = "4")]
        pub symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub timeseries: Vec<TimeSeries>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct TimeSeries {
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
        #[prost(message, repeated, tag = "3")]
        pub histograms: Vec<Histogram>,
        #[prost(message, repeated, tag = "4")]
        pub exemplars: Vec<Exemplar>,
        #[prost(message, optional, tag = "5")]
        pub metadata: Option<Metadata>,
        #[prost(int64, tag = "6")]
        pub created_timestamp: i64,
    }
    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub struct Sample {
        #[prost(double, tag = "1")]
        pub value: f64,
        #[prost(int64, tag = "2")]
        pub timestamp: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Exemplar {
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        #[prost(double, tag = "2")]
        pub value: f64,
        #[prost(int64, tag = "3")]
        pub timestamp: i64,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Metadata {
        /// 1: a counter, 2: a gauge, 3: a histogram.
        #[prost(int32, tag = "1")]
        pub kind: i32,
        #[prost(uint32, tag = "3")]
        pub help_ref: u32,
        #[prost(uint32, tag = "4")]
        pub unit_ref: u32,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Histogram {
        #[prost(uint64, optional, tag = "1")]
        pub count_int: Option<u64>,
        #[prost(double, tag = "3")]
        pub sum: f64,
        #[prost(sint32, tag = "4")]
        pub schema: i32,
        #[prost(double, tag = "5")]
        pub zero_threshold: f64,
        #[prost(uint64, optional, tag = "6")]
        pub zero_count_int: Option<u64>,
        #[prost(message, repeated, tag = "11")]
        pub positive_spans: Vec<super::exposition::BucketSpan>,
        #[prost(sint64, repeated, tag = "12")]
        pub positive_deltas: Vec<i64>,
        #[prost(int64, tag = "15")]
        pub timestamp: i64,
        #[prost(double, repeated, tag = "16")]
        pub custom_values: Vec<f64>,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_second_version_says_what_was_written_and_keeps_when_it_was_created() {
    use second::{Exemplar, Histogram, Metadata, Request, Sample, TimeSeries};
    let mut world = Watchfire::prepare(crate::WATCHFIRE, "", &[]);
    world.start().await;
    let now = SystemClock.now().millis();
    let created = now - 3_600_000;
    let symbols =
        ["", "__name__", "orders_total", "shop", "west", "trace_id", TRACE, "sizes", "Orders.", "orders", "orders_level", "waits"];
    let metadata = |kind| Some(Metadata { kind, help_ref: 8, unit_ref: 9 });
    let sample = |value, timestamp| Sample { value, timestamp };
    let histogram = Histogram {
        count_int: Some(6),
        sum: 4.5,
        zero_threshold: 0.001,
        zero_count_int: Some(1),
        positive_spans: vec![exposition::BucketSpan { offset: 0, length: 2 }],
        positive_deltas: vec![2, 1],
        timestamp: now,
        ..Histogram::default()
    };
    // Bounds of its own: two up to 5, four up to 10, two above.
    let custom = Histogram {
        count_int: Some(8),
        sum: 60.0,
        schema: -53,
        positive_spans: vec![exposition::BucketSpan { offset: 0, length: 3 }],
        positive_deltas: vec![2, 2, -2],
        timestamp: now,
        custom_values: vec![5.0, 10.0],
        ..Histogram::default()
    };
    let counter = TimeSeries {
        labels_refs: vec![1, 2, 3, 4],
        samples: vec![sample(5.0, now - 15_000), sample(9.0, now)],
        exemplars: vec![Exemplar { labels_refs: vec![5, 6], value: 0.5, timestamp: now }],
        metadata: metadata(1),
        created_timestamp: created,
        ..TimeSeries::default()
    };
    let native = TimeSeries {
        labels_refs: vec![1, 7, 3, 4],
        histograms: vec![histogram],
        metadata: metadata(3),
        created_timestamp: created,
        ..TimeSeries::default()
    };
    let own = TimeSeries { labels_refs: vec![1, 11, 3, 4], histograms: vec![custom], metadata: metadata(3), ..TimeSeries::default() };
    // One sample of a year ago cannot be stored: what is said to be written are the others.
    let old = vec![sample(1.0, now - 365 * 86_400_000), sample(2.0, now)];
    let level = TimeSeries { labels_refs: vec![1, 10, 3, 4], samples: old, metadata: metadata(2), ..TimeSeries::default() };
    let request = Request { symbols: symbols.map(str::to_owned).to_vec(), timeseries: vec![counter, native, own, level] };
    let body = snap::raw::Encoder::new().compress_vec(&request.encode_to_vec()).unwrap();
    let client = reqwest::Client::new();
    let post = async |body: Vec<u8>| {
        let sent = client.post(format!("http://{}/api/v1/write", world.http)).body(body).header("content-encoding", "snappy");
        let answer = sent.header("content-type", "application/x-protobuf;proto=io.prometheus.write.v2.Request").send().await.unwrap();
        let written = ["Samples", "Histograms", "Exemplars"].map(|what| {
            let header = answer.headers().get(format!("X-Prometheus-Remote-Write-{what}-Written"));
            header.map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
        });
        (answer.status().as_u16(), written)
    };
    assert_eq!(post(body).await, (400, ["3", "2", "1"].map(str::to_owned)));
    assert_eq!(post(b"\x7f".to_vec()).await, (400, ["0", "0", "0"].map(str::to_owned)), "nothing is written, and it is said so");

    wait_for("the rows", async || {
        (world.count("SELECT count() FROM points WHERE metric IN ('orders_total', 'orders_level')").await == 3).then_some(())
    })
    .await;
    for table in ["points WHERE metric = 'orders_total'", "exp_histograms WHERE metric = 'sizes'"] {
        let sql = format!("SELECT count() FROM {table} AND toUnixTimestamp64Milli(start_ts) = {created}");
        wait_for(&sql, async || (world.count(&sql).await == if table.starts_with("points") { 2 } else { 1 }).then_some(())).await;
    }
    for (expr, value) in [
        ("orders_total{shop=\"west\"}", 9.0),
        ("histogram_count(sizes)", 6.0),
        ("histogram_sum(sizes)", 4.5),
        ("histogram_count(waits)", 8.0),
        ("histogram_quantile(0.5, waits)", 7.5),
        ("histogram_fraction(0, 5, waits)", 0.25),
        ("orders_level", 2.0),
    ] {
        assert_eq!(wait_for(expr, async || world.promql(expr).await).await, value, "{expr}");
    }
    let own = format!("http://{}", world.http);
    let found = wait_for("the exemplar", async || exemplars(&own, "orders_total").await).await;
    assert_eq!(found, [json!([{ "trace_id": TRACE }, "0.5"])]);
    let described = world.get("/api/v1/metadata").await["data"]["orders_total"][0].clone();
    assert_eq!(described, json!({ "type": "counter", "help": "Orders.", "unit": "orders" }));
}
