//! The same series in Debian's Prometheus (2.42) and here, the same questions to both, answers compared sample by sample. Samples
//! and steps are chosen so that no sample lies on the edge of a window: there Prometheus 2 and 3 differ, and we follow 3.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use model::labels::{Labels, METRIC_NAME};
use model::query::{Answer, MetricQuery, QueryError, QueryOptions, QueryValue, StepSamples};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::units::Value;
use serde_json::Value as Json;
use store::promql::PromQl;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::generate::{Made, ON_EDGES, Spacing, expressions, fill, made_up, series};
use super::harness::equal;

/// 2026-11-01T00:00:00Z.
const ORIGIN: i64 = 1_793_491_200_000;

/// A running Prometheus; killed when dropped.
struct Prometheus {
    child: Child,
    port: u16,
    _folder: Arc<tempfile::TempDir>,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn installed() -> bool {
    let there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if there("prometheus") && there("promtool") {
        return true;
    }
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "needs prometheus (apt install prometheus)");
    println!("SKIPPED: needs prometheus (apt install prometheus)");
    false
}

/// The series as OpenMetrics text.
fn open_metrics(all: &[Made]) -> String {
    let mut text = String::new();
    for made in all {
        let labels = made.labels.to_string().replace("\", ", "\",");
        for (at, value) in made.samples.times.iter().zip(&made.samples.values) {
            writeln!(text, "{labels} {} {}.{:03}", Value(*value), at / 1_000, at % 1_000).unwrap();
        }
    }
    text.push_str("# EOF\n");
    text
}

async fn start(all: &[Made], lookback: &str) -> Prometheus {
    let folder = Arc::new(tempfile::tempdir().unwrap());
    let path = |name: &str| folder.path().join(name);
    std::fs::write(path("metrics.om"), open_metrics(all)).unwrap();
    std::fs::write(path("prometheus.yml"), "{}\n").unwrap();
    let mut promtool = Command::new("promtool");
    promtool.args(["tsdb", "create-blocks-from", "openmetrics"]).args([path("metrics.om"), path("data")]);
    let blocks = promtool.output().unwrap();
    assert!(blocks.status.success(), "{}", String::from_utf8_lossy(&blocks.stderr));
    // Its port may be somebody else's by the time it listens: then it ends at once, and gets another.
    for _ in 0..5 {
        if let Some(ready) = serve(&folder, lookback).await {
            return ready;
        }
    }
    panic!("prometheus ended five times")
}

/// Prometheus over the blocks in a folder; `None` where it ended at once.
async fn serve(folder: &Arc<tempfile::TempDir>, lookback: &str) -> Option<Prometheus> {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let path = |name: &str| folder.path().join(name);
    let option = |name: &str, value: &Path| format!("--{name}={}", value.display());
    let child = Command::new("prometheus")
        .arg(option("config.file", &path("prometheus.yml")))
        .arg(option("storage.tsdb.path", &path("data")))
        .arg("--storage.tsdb.retention.time=100y")
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .arg(format!("--query.lookback-delta={lookback}"))
        .arg("--enable-feature=promql-per-step-stats")
        .arg("--log.level=error")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut prometheus = Prometheus { child, port, _folder: Arc::clone(folder) };
    for _ in 0..600 {
        if prometheus.get("/-/ready").await.is_some_and(|(status, _)| status == 200) {
            return Some(prometheus);
        }
        if prometheus.child.try_wait().unwrap().is_some() {
            return None;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("prometheus is not ready");
}

impl Prometheus {
    /// Status and body of a GET; HTTP/1.0, so that the body comes in one piece.
    async fn get(&self, path: &str) -> Option<(u16, String)> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await.ok()?;
        stream.write_all(format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n").as_bytes()).await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        let (head, body) = text.split_once("\r\n\r\n")?;
        Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
    }

    /// An answer as it is.
    async fn json(&self, path: &str, parameters: &[(&str, String)]) -> Json {
        let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(parameters).finish();
        let (_, body) = self.get(&format!("/api/v1/{path}?{query}")).await.expect("prometheus does not answer");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"))
    }

    /// Series with their samples, or the error's text.
    async fn ask(&self, path: &str, parameters: &[(&str, String)]) -> Result<Found, String> {
        let json = self.json(path, parameters).await;
        if json["status"] != "success" {
            return Err(json["error"].to_string());
        }
        let sample = |pair: &Json| {
            let value: Value = pair[1].as_str().unwrap().parse().unwrap();
            ((pair[0].as_f64().unwrap() * 1_000.0).round() as i64, value.0)
        };
        let result = &json["data"]["result"];
        let mut found = Found::new();
        match json["data"]["resultType"].as_str().unwrap() {
            "scalar" => {
                found.insert("{}".to_owned(), vec![sample(result)]);
            }
            kind => {
                for series in result.as_array().unwrap() {
                    let labels: Labels = series["metric"]
                        .as_object()
                        .unwrap()
                        .iter()
                        .map(|(name, value)| (name.clone(), value.as_str().unwrap().to_owned()))
                        .collect();
                    let samples = match kind {
                        "vector" => vec![sample(&series["value"])],
                        _ => series["values"].as_array().unwrap().iter().map(sample).collect(),
                    };
                    found.insert(labels.to_string(), samples);
                }
            }
        }
        Ok(found)
    }
}

/// Series as text with their samples in milliseconds.
type Found = BTreeMap<String, Vec<(i64, f64)>>;

fn ours(value: QueryValue) -> Found {
    let one = |at: Timestamp, value: f64| (at.millis(), value);
    match value {
        QueryValue::Scalar(sample) => [("{}".to_owned(), vec![one(sample.at, sample.value)])].into(),
        QueryValue::Vector(all) => all.into_iter().map(|(labels, s)| (labels.to_string(), vec![one(s.at, s.value)])).collect(),
        QueryValue::Matrix(all) => {
            all.into_iter().map(|series| (series.labels.to_string(), series.samples.iter().map(|s| one(s.at, s.value)).collect())).collect()
        }
        QueryValue::Text(..) => Found::new(),
    }
}

/// The first difference, if there is one.
fn difference(ours: &Result<Found, String>, theirs: &Result<Found, String>, tolerance: f64) -> Option<String> {
    let (ours, theirs) = match (ours, theirs) {
        (Ok(ours), Ok(theirs)) => (ours, theirs),
        (Err(_), Err(_)) => return None,
        (Ok(_), Err(theirs)) => return Some(format!("they fail: {theirs}")),
        (Err(ours), Ok(_)) => return Some(format!("we fail: {ours}")),
    };
    for (labels, samples) in theirs {
        let Some(here) = ours.get(labels) else { return Some(format!("we lack {labels}")) };
        if here.len() != samples.len() {
            return Some(format!("{labels}: {} samples here, {} there", here.len(), samples.len()));
        }
        let off = here.iter().zip(samples).find(|(a, b)| a.0 != b.0 || !equal(a.1, b.1, tolerance));
        if let Some((here, there)) = off {
            return Some(format!("{labels}: {here:?} here, {there:?} there"));
        }
    }
    ours.keys().find(|labels| !theirs.contains_key(*labels)).map(|labels| format!("they lack {labels}"))
}

fn seconds(millis: i64) -> String {
    format!("{}.{:03}", millis / 1_000, millis % 1_000)
}

/// Both sides with the same series, and what became of the comparisons.
struct Comparison {
    prometheus: Prometheus,
    promql: PromQl,
    tolerance: f64,
    compared: usize,
    samples: usize,
    differences: Vec<String>,
}

impl Comparison {
    async fn new(seed: u64, spacing: Spacing, lookback: &str, tolerance: f64) -> Self {
        let prometheus = start(&series(seed, ORIGIN, spacing), lookback).await;
        let promql = PromQl::new(Arc::new(fill(seed, ORIGIN, spacing)));
        Comparison { prometheus, promql, tolerance, compared: 0, samples: 0, differences: Vec::new() }
    }

    fn note(&mut self, what: String, here: Result<Answer, QueryError>, there: Result<Found, String>) {
        let here = here.map(|answer| ours(answer.value)).map_err(|error| error.to_string());
        self.compared += 1;
        self.samples += there.as_ref().map_or(0, |found| found.values().map(Vec::len).sum());
        self.differences.extend(difference(&here, &there, self.tolerance).map(|off| format!("{what}: {off}")));
    }

    /// Asks us `expr` and them `other`, both at `at` milliseconds after the origin.
    async fn instant(&mut self, expr: &str, other: &str, at: i64) {
        let (tenant, options) = (TenantId::default(), QueryOptions::default());
        let here = self.promql.instant(&tenant, expr, Timestamp::from_millis(ORIGIN + at), &options).await;
        let there = self.prometheus.ask("query", &[("query", other.to_owned()), ("time", seconds(ORIGIN + at))]).await;
        self.note(format!("{expr} at +{at} ms"), here, there);
    }

    async fn range(&mut self, expr: &str, other: &str, (start, end, step): (i64, i64, u64)) {
        let (tenant, options) = (TenantId::default(), QueryOptions::default());
        let (start, end) = (ORIGIN + start, ORIGIN + end);
        let (from, to) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
        let here = self.promql.range(&tenant, expr, from, to, Duration::from_millis(step), &options).await;
        let parameters = [("query", other.to_owned()), ("start", seconds(start)), ("end", seconds(end)), ("step", seconds(step as i64))];
        let there = self.prometheus.ask("query_range", &parameters).await;
        self.note(format!("{expr} by {step} ms"), here, there);
    }

    fn finish(self, seed: u64, at_least: usize) {
        println!("seed {seed}: {} answers with {} samples compared, {} differ", self.compared, self.samples, self.differences.len());
        assert!(self.samples > at_least, "only {} samples compared", self.samples);
        let shown = self.differences[..self.differences.len().min(40)].join("\n");
        assert!(self.differences.is_empty(), "seed {seed}: {} of {} answers differ:\n{shown}", self.differences.len(), self.compared);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_those_of_prometheus() {
    if !installed() {
        return;
    }
    for seed in [1, 7, 42] {
        let mut comparison = Comparison::new(seed, Spacing::Jittered, "5m", 1e-6).await;
        for expr in expressions(ORIGIN) {
            for at in [0, 333_050, 901_050, 1_500_050, 2_040_050] {
                comparison.instant(&expr, &expr, at).await;
            }
            for span in [(50, 2_400_050, 60_000), (900_050, 1_200_050, 7_000), (10_050, 1_790_050, 333_000)] {
                comparison.range(&expr, &expr, span).await;
            }
        }
        comparison.finish(seed, 25_000);
    }
}

/// The expression with ranges one millisecond shorter: Prometheus 2 counts the left edge in, 3 and we do not.
fn shortened(expr: &str) -> String {
    let range = regex::Regex::new(r"\[(\d+)m\b").unwrap();
    let shorter = |found: &regex::Captures<'_>| format!("[{}ms", found[1].parse::<i64>().unwrap() * 60_000 - 1);
    range.replace_all(expr, shorter).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn windows_are_left_open_on_the_grid_too() {
    if !installed() {
        return;
    }
    assert_eq!(shortened("rate(x[5m])[10m:1m]"), "rate(x[299999ms])[599999ms:1m]");
    for seed in [2, 5] {
        // What extrapolation makes of a millisecond: up to 1/15,000 where two samples stand alone. One sample more or less is far more.
        let mut comparison = Comparison::new(seed, Spacing::Sharp, "299999ms", 1e-4).await;
        for expr in ON_EDGES {
            let other = shortened(expr);
            for at in [300_000, 900_000, 1_500_000, 2_040_000] {
                comparison.instant(expr, &other, at).await;
            }
            for span in [(0, 2_400_000, 60_000), (900_000, 1_200_000, 15_000)] {
                comparison.range(expr, &other, span).await;
            }
        }
        comparison.finish(seed, 5_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn made_up_expressions_are_answered_as_prometheus_answers_them() {
    if !installed() {
        return;
    }
    for seed in [4, 9] {
        let mut comparison = Comparison::new(seed, Spacing::Dense, "299999ms", 1e-5).await;
        for expr in made_up(seed, 400, ORIGIN) {
            let other = shortened(&expr);
            comparison.instant(&expr, &other, 1_500_000).await;
            // No window reaches past the last samples: there a millisecond is more of what extrapolation adds.
            comparison.range(&expr, &other, (1_050_000, 1_650_000, 30_000)).await;
        }
        comparison.finish(seed, 20_000);
    }
}

/// Expressions whose steps look at different numbers of samples.
const COUNTED: &[&str] = &[
    "requests_total",
    "temperature{job=\"api\"} offset 3m",
    "sum by (job) (rate(requests_total[5m]))",
    "temperature > 20 and on (job) limit",
    "max_over_time(temperature[7m]) / max_over_time(temperature[2m])",
    "max_over_time(rate(requests_total[1m])[5m:37s])",
    "quantile_over_time(0.5, temperature[4m])",
    "timestamp(limit)",
    "absent_over_time(temperature{instance=\"1\"}[5m])",
    "histogram_quantile(0.9, rate(latency_seconds_bucket[5m]))",
    "time() + scalar(nothing)",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_samples_of_each_step_are_counted_as_prometheus_counts_them() {
    if !installed() {
        return;
    }
    let comparison = Comparison::new(3, Spacing::Jittered, "5m", 1e-6).await;
    let (start, end, step) = (ORIGIN + 50, ORIGIN + 2_400_050, 60_000);
    let mut counted = 0;
    for expr in COUNTED {
        let parameters = [("query", *expr), ("start", &seconds(start)), ("end", &seconds(end)), ("step", "60"), ("stats", "all")];
        let there = comparison.prometheus.json("query_range", &parameters.map(|(name, value)| (name, value.to_owned()))).await;
        let there = &there["data"]["stats"]["samples"]["totalQueryableSamplesPerStep"];
        let there: Vec<u64> = there.as_array().unwrap().iter().map(|pair| pair[1].as_u64().unwrap()).collect();
        let steps = Arc::new(StepSamples::default());
        let options = QueryOptions { step_samples: Some(steps.clone()), ..QueryOptions::default() };
        let (from, to) = (Timestamp::from_millis(start), Timestamp::from_millis(end));
        comparison.promql.range(&TenantId::default(), expr, from, to, Duration::from_millis(step), &options).await.unwrap();
        let here: Vec<u64> = steps.all().into_iter().map(|(_, samples)| samples).collect();
        assert_eq!(here, there, "{expr}");
        counted += here.iter().sum::<u64>();
    }
    assert!(counted > 10_000, "{counted}");
}

#[test]
fn open_metrics_text_has_names_labels_and_times() {
    let text = open_metrics(&series(1, ORIGIN, Spacing::Jittered)[..1]);
    assert!(text.starts_with("requests_total{instance=\"0\",job=\"api\"} "), "{text}");
    assert!(text.lines().all(|line| line == "# EOF" || line.ends_with("3")), "{text}");
    assert!(series(1, ORIGIN, Spacing::Jittered).iter().all(|made| made.labels.get(METRIC_NAME).is_some()));
}
