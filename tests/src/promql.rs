//! PromQL beside Debian's Prometheus: the same samples in both (1,000 counters, or as many as asked for, and 200 buckets over a day at 15 s, by the same remote writes), the same dashboard-like questions over HTTP to both in one run, answers compared, wall time and CPU; at the end what a sample takes on the disk of each.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use store::clickhouse::ClickHouse;

use crate::process::{Watchfire, free_port};
use crate::programs::Program;
use crate::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use crate::usage::{child_of, process};
use crate::wait::wait_for;

/// Counters, where nothing else is asked for.
pub const COUNTERS: u64 = 1_000;
/// Pods with a histogram of [`BOUNDS`].
const PODS: u64 = 20;
const BOUNDS: [&str; 10] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
/// Milliseconds between samples.
const STEP: i64 = 15_000;
/// A day, and a quarter of an hour that lies ahead while the questions are asked.
const SAMPLES: u64 = 5_760 + 60;

/// What a question is an example of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Small,
    Heavy,
    Refresh,
}

/// A question: class, expression, seconds back from now, step in seconds.
type Question = (Class, &'static str, i64, i64);

const HOUR: i64 = 3_600;
const DAY: i64 = 86_400 - 2 * HOUR;

const QUESTIONS: [Question; 24] = [
    (Class::Small, "x_total{series=\"7\"}", HOUR, 15),
    (Class::Small, "rate(x_total{series=\"7\"}[5m])", HOUR, 15),
    (Class::Small, "max_over_time(x_total{series=\"7\"}[10m])", HOUR, 15),
    (Class::Small, "x_total{job=\"job-3\"}", HOUR, 15),
    (Class::Small, "count(x_total{job=\"job-3\"})", HOUR, 60),
    (Class::Small, "sum(rate(x_total{job=\"job-3\"}[5m]))", HOUR, 15),
    (Class::Small, "topk(5, rate(x_total{job=\"job-3\"}[5m]))", HOUR, 60),
    (Class::Small, "sum(rate(x_total{job=\"job-3\"}[5m])) / sum(rate(x_total{job=\"job-4\"}[5m]))", HOUR, 15),
    (Class::Small, "histogram_quantile(0.95, sum by (le) (rate(h_bucket{pod=\"3\"}[5m])))", HOUR, 15),
    (Class::Small, "sum by (job) (rate(x_total[5m]))", HOUR, 15),
    (Class::Small, "avg by (zone) (x_total)", HOUR, 15),
    (Class::Small, "sum(rate(x_total{job=\"job-3\"}[5m]))", 6 * HOUR, 60),
    (Class::Heavy, "sum by (job) (rate(x_total[5m]))", DAY, 60),
    (Class::Heavy, "sum by (zone) (increase(x_total[1h]))", DAY, 300),
    (Class::Heavy, "max by (job) (quantile_over_time(0.9, x_total[1h]))", DAY, 300),
    (Class::Heavy, "avg by (zone) (x_total)", DAY, 60),
    (Class::Heavy, "histogram_quantile(0.99, sum by (le, job) (rate(h_bucket[5m])))", DAY, 60),
    (Class::Heavy, "max by (job) (max_over_time(x_total[30m]))", DAY, 60),
    (Class::Heavy, "topk(5, rate(x_total[5m]))", DAY, 300),
    (Class::Heavy, "sum(rate(x_total{zone=~\"a|b\"}[5m])) / sum(rate(x_total[5m]))", DAY, 60),
    (Class::Heavy, "count(x_total)", DAY, 60),
    (Class::Heavy, "stddev by (job) (avg_over_time(x_total[15m]))", DAY, 120),
    (Class::Heavy, "sum by (job) (irate(x_total[5m]))", DAY, 60),
    (Class::Heavy, "quantile(0.95, rate(x_total[5m]))", DAY, 60),
];

/// Panels of one dashboard, asked at the same moment: all of them read the same.
const PANELS: [&str; 6] = [
    "sum by (job) (rate(x_total[5m]))",
    "sum by (zone) (rate(x_total[5m]))",
    "topk(5, rate(x_total[5m]))",
    "quantile(0.95, rate(x_total[5m]))",
    "max by (job) (rate(x_total[5m]))",
    "count(rate(x_total[5m]) > 1)",
];

/// The counter's value at a sample.
fn counter(series: u64, at: u64) -> f64 {
    ((at * (1 + series % 7)) % (9_000 + series * 13) * 10 + (series * 7_919 + at * 104_729) % 10) as f64
}

fn bucket(pod: u64, bound: u64, at: u64) -> f64 {
    (at * 10 * (bound + 1) * (1 + pod % 3) + (at * 31 + pod) % 5 * (bound + 1)) as f64
}

pub(crate) fn now_millis() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

/// How many samples there are of so many counters and of the histograms.
fn samples_of(counters: u64) -> u64 {
    SAMPLES * (counters + PODS * 10)
}

/// The bodies of remote writes that hold everything; `origin` is the time of the first sample.
fn writes(counters: u64, origin: i64) -> impl Iterator<Item = Vec<u8>> {
    (0..SAMPLES).step_by(20).map(move |chunk| {
        let samples = |value: &dyn Fn(u64) -> f64| -> Vec<Sample> {
            (chunk..(chunk + 20).min(SAMPLES)).map(|at| Sample { value: value(at), timestamp: origin + STEP * at as i64 }).collect()
        };
        let mut timeseries = Vec::new();
        for number in 0..counters {
            let labels = vec![
                Label::new("__name__", "x_total"),
                Label::new("job", format!("job-{}", number % 10)),
                Label::new("series", number.to_string()),
                Label::new("zone", ["a", "b", "c"][(number % 3) as usize]),
            ];
            timeseries.push(TimeSeries { labels, samples: samples(&|at| counter(number, at)) });
        }
        for number in 0..PODS * 10 {
            let (pod, bound) = (number / 10, number % 10);
            let labels = vec![
                Label::new("__name__", "h_bucket"),
                Label::new("job", format!("job-{}", pod % 4)),
                Label::new("le", BOUNDS[bound as usize]),
                Label::new("pod", pod.to_string()),
            ];
            timeseries.push(TimeSeries { labels, samples: samples(&|at| bucket(pod, bound, at)) });
        }
        WriteRequest { timeseries }.body()
    })
}

/// Writes everything into both, and waits until ClickHouse has it.
async fn fill(bases: [&str; 2], world: &Watchfire, counters: u64, origin: i64) {
    let client = reqwest::Client::new();
    for body in writes(counters, origin) {
        for base in bases {
            wait_for("a remote write to be taken", async || {
                let request = client.post(format!("{base}/api/v1/write")).header("content-encoding", "snappy").body(body.clone());
                let answer = request.send().await.unwrap();
                let busy = matches!(answer.status().as_u16(), 429 | 503);
                assert!(busy || answer.status().is_success(), "{}", answer.text().await.unwrap());
                (!busy).then_some(())
            })
            .await;
        }
    }
    let engine = ClickHouse::unix(&world.data().join("engine.sock")).database("watchfire");
    wait_for("ClickHouse to have all samples", async || {
        let question = "SELECT count() FROM points WHERE metric IN ('x_total', 'h_bucket')";
        let stored = engine.client().query(question).fetch_one::<u64>().await.ok()?;
        (stored == samples_of(counters)).then_some(())
    })
    .await;
    crate::alone::settle(world).await;
}

/// A Prometheus that takes remote writes.
pub(crate) struct Prometheus {
    program: Program,
    pub(crate) base: String,
    folder: tempfile::TempDir,
}

impl Prometheus {
    /// With these rule files.
    pub(crate) async fn start(rules: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in rules {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let files: Vec<&str> = rules.iter().map(|(name, _)| *name).collect();
        std::fs::write(folder.path().join("prometheus.yml"), format!("rule_files: [{}]\n", files.join(", "))).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let arguments = [
            format!("--config.file={}", folder.path().join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", folder.path().join("data").display()),
            format!("--web.listen-address={address}"),
            "--web.enable-remote-write-receiver".to_owned(),
            "--web.enable-admin-api".to_owned(),
            "--log.level=error".to_owned(),
        ];
        let program = Program::start("prometheus", &arguments);
        let base = format!("http://{address}");
        wait_for("prometheus", async || {
            reqwest::get(format!("{base}/-/ready")).await.ok().filter(|answer| answer.status().is_success()).map(drop)
        })
        .await;
        Prometheus { program, base, folder }
    }

    /// Bytes and samples of all that it holds, as blocks.
    async fn blocks(&self) -> (u64, u64) {
        let answer = reqwest::Client::new().post(format!("{}/api/v1/admin/tsdb/snapshot", self.base)).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        let snapshot = self.folder.path().join("data/snapshots").join(answer["data"]["name"].as_str().unwrap());
        let (mut bytes, mut samples) = (0, 0);
        for block in std::fs::read_dir(snapshot).unwrap() {
            let block = block.unwrap().path();
            let meta: Value = serde_json::from_slice(&std::fs::read(block.join("meta.json")).unwrap()).unwrap();
            samples += meta["stats"]["numSamples"].as_u64().unwrap();
            bytes += std::fs::metadata(block.join("index")).unwrap().len();
            for chunks in std::fs::read_dir(block.join("chunks")).unwrap() {
                bytes += chunks.unwrap().metadata().unwrap().len();
            }
        }
        (bytes, samples)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.program.pid()
    }
}

/// One answer and how long it took.
async fn ask(client: &reqwest::Client, base: &str, expr: &str, (start, end, step): (i64, i64, i64)) -> (Duration, bytes::Bytes) {
    let seconds = |millis: i64| format!("{}.{:03}", millis / 1_000, millis % 1_000);
    let query = [("query", expr.to_owned()), ("start", seconds(start)), ("end", seconds(end)), ("step", step.to_string())];
    let url = format!("{base}/api/v1/query_range");
    let start = Instant::now();
    let answer = client.get(url).query(&query).send().await.unwrap().bytes().await.unwrap();
    (start.elapsed(), answer)
}

/// How many samples both answers have; panics where they differ.
fn compare(expr: &str, here: &[u8], there: &[u8]) -> usize {
    let read = |bytes: &[u8]| -> Vec<(String, Vec<(i64, f64)>)> {
        let json: Value = serde_json::from_slice(bytes).unwrap();
        assert_eq!(json["status"], "success", "{expr}: {json}");
        let sample =
            |pair: &Value| ((pair[0].as_f64().unwrap() * 1e3).round() as i64, pair[1].as_str().unwrap().parse().unwrap_or(f64::NAN));
        let series = |one: &Value| (one["metric"].to_string(), one["values"].as_array().unwrap().iter().map(sample).collect());
        let mut all: Vec<_> = json["data"]["result"].as_array().unwrap().iter().map(series).collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    };
    let (here, there) = (read(here), read(there));
    assert_eq!(here.len(), there.len(), "{expr}: other series");
    let mut samples = 0;
    for (a, b) in here.iter().zip(&there) {
        assert_eq!((&a.0, a.1.len()), (&b.0, b.1.len()), "{expr}");
        for (x, y) in a.1.iter().zip(&b.1) {
            let close = x.1 == y.1 || (x.1.is_nan() && y.1.is_nan()) || (x.1 - y.1).abs() <= 1e-6 * x.1.abs().max(y.1.abs());
            assert!(x.0 == y.0 && close, "{expr} {}: {x:?} here, {y:?} there", a.0);
        }
        samples += a.1.len();
    }
    samples
}

/// One line of the table: milliseconds of wall and of CPU, theirs and ours.
struct Line {
    class: Class,
    wall: (f64, f64),
    cpu: (f64, f64),
}

/// Waits until answers are kept: for a minute after samples of the past came in, more of them may be on their way.
async fn until_final(client: &reqwest::Client, base: &str) {
    let from_cache = async || {
        let text = client.get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
        text.lines().find(|line| line.starts_with("watchfire_promql_cache_steps_total{from=\"cache\"}")).map(str::to_owned)
    };
    let (before, begun) = (from_cache().await, Instant::now());
    while from_cache().await == before {
        assert!(begun.elapsed() < Duration::from_secs(180), "no answer is kept");
        let now = now_millis() / 60_000 * 60_000;
        for later in [0, 60_000] {
            ask(client, base, "sum by (zone) (x_total)", (now - DAY * 1_000 + later, now + later, 60)).await;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

fn median(mut all: Vec<f64>) -> f64 {
    all.sort_by(f64::total_cmp);
    all[all.len() / 2]
}

/// Fills both and prints the table; `rounds` runs of each question, the median counts. `config` is added to Watchfire's.
pub async fn compare_all(executable: &str, rounds: usize, config: &str, counters: u64) {
    let mut world = Watchfire::prepare(executable, config, &[]);
    world.start().await;
    let prometheus = Prometheus::start(&[]).await;
    let origin = (now_millis() / STEP - 5_760) * STEP + 7_003;
    let begun = Instant::now();
    let own = format!("http://{}", world.http);
    fill([&prometheus.base, &own], &world, counters, origin).await;
    println!("{} samples in both after {:?}", samples_of(counters), begun.elapsed());
    let client = reqwest::Client::new();
    let (server, engine) = (world.pid(), child_of(world.pid()));
    let cpu_here = || (process(server).1 + process(engine).1) * 1e3;
    let cpu_there = || process(prometheus.pid()).1 * 1e3;
    println!("class    prometheus ms  watchfire ms   times  | CPU ms theirs  ours | samples  query");
    let mut lines = Vec::new();
    for refresh in [false, true] {
        if refresh {
            until_final(&client, &own).await;
        }
        for (class, expr, back, step) in QUESTIONS {
            let class = if refresh { Class::Refresh } else { class };
            let (mut theirs, mut ours) = (Vec::new(), Vec::new());
            let (mut cpu, mut samples) = ((0.0, 0.0), 0);
            for round in 0..rounds as i64 {
                // Every round has another phase, so that no answer is known from the one before, except for what a refresh asks again.
                let aligned = now_millis() / (step * 1_000) * step * 1_000 - round * 1_000 - if refresh { 500 } else { 0 };
                let mut span = (aligned - back * 1_000, aligned, step);
                if refresh {
                    for base in [&prometheus.base, &own] {
                        ask(&client, base, expr, span).await;
                    }
                    span = (span.0 + step * 1_000, span.1 + step * 1_000, step);
                }
                let before = (cpu_there(), cpu_here());
                let there = ask(&client, &prometheus.base, expr, span).await;
                let here = ask(&client, &own, expr, span).await;
                let after = (cpu_there(), cpu_here());
                cpu = (cpu.0 + after.0 - before.0, cpu.1 + after.1 - before.1);
                theirs.push(there.0.as_secs_f64() * 1e3);
                ours.push(here.0.as_secs_f64() * 1e3);
                samples = compare(expr, &here.1, &there.1);
            }
            let line = Line { class, wall: (median(theirs), median(ours)), cpu: (cpu.0 / rounds as f64, cpu.1 / rounds as f64) };
            println!(
                "{:<8} {:>13.1} {:>13.1} {:>6.2}x  | {:>13.0} {:>5.0} | {samples:>7}  {expr} {}m by {step}s",
                format!("{class:?}"),
                line.wall.0,
                line.wall.1,
                line.wall.0 / line.wall.1,
                line.cpu.0,
                line.cpu.1,
                back / 60
            );
            lines.push(line);
        }
    }
    for class in [Class::Small, Class::Heavy, Class::Refresh] {
        let of: Vec<&Line> = lines.iter().filter(|line| line.class == class).collect();
        let sum = |pick: fn(&Line) -> f64| of.iter().map(|line| pick(line)).sum::<f64>();
        let geometric = (of.iter().map(|line| (line.wall.0 / line.wall.1).ln()).sum::<f64>() / of.len() as f64).exp();
        let least = of.iter().map(|line| line.wall.0 / line.wall.1).fold(f64::INFINITY, f64::min);
        println!(
            "{class:?}: {} queries, geometric mean {geometric:.2}x, least {least:.2}x, all together {:.2}x (CPU {:.2}x)",
            of.len(),
            sum(|line| line.wall.0) / sum(|line| line.wall.1),
            sum(|line| line.cpu.0) / sum(|line| line.cpu.1)
        );
    }
    dashboard(&client, [&prometheus.base, &own], [&cpu_there, &cpu_here], rounds).await;
    let memory = |pid: u32| process(pid).0 / 1024;
    println!("memory: prometheus {} MiB, watchfire {} MiB and its engine {} MiB", memory(prometheus.pid()), memory(server), memory(engine));
    disk(&world, &prometheus).await;
    world.stop().await;
}

/// The panels of a dashboard that is opened: all at once, over a day at 60 s, each round at another phase.
async fn dashboard(client: &reqwest::Client, bases: [&str; 2], cpu: [&dyn Fn() -> f64; 2], rounds: usize) {
    let (mut wall, mut used) = ([Vec::new(), Vec::new()], [0.0; 2]);
    for round in 0..rounds as i64 {
        let aligned = now_millis() / 60_000 * 60_000 - round * 1_000 - 250;
        let span = (aligned - DAY * 1_000, aligned, 60);
        let mut answers = Vec::new();
        for at in 0..2 {
            let (before, begun) = (cpu[at](), Instant::now());
            let mut panels = tokio::task::JoinSet::new();
            for (number, expr) in PANELS.into_iter().enumerate() {
                let (client, base) = (client.clone(), bases[at].to_owned());
                panels.spawn(async move { (number, ask(&client, &base, expr, span).await.1) });
            }
            let mut all = panels.join_all().await;
            all.sort_by_key(|(number, _)| *number);
            answers.push(all);
            wall[at].push(begun.elapsed().as_secs_f64() * 1e3);
            used[at] += (cpu[at]() - before) / rounds as f64;
        }
        for (expr, (there, here)) in PANELS.iter().zip(answers[0].iter().zip(&answers[1])) {
            compare(expr, &here.1, &there.1);
        }
    }
    let [theirs, ours] = wall.map(median);
    let text = client.get(format!("{}/metrics", bases[1])).send().await.unwrap().text().await.unwrap();
    let joined = text.lines().find_map(|line| line.strip_prefix("watchfire_promql_scans_total{from=\"joined\"} ")).unwrap_or("0");
    println!(
        "dashboard of {} panels at once: prometheus {theirs:.0} ms, watchfire {ours:.0} ms, {:.2}x (CPU {:.0} and {:.0} ms); {joined} selectors joined a scan in {rounds} rounds",
        PANELS.len(),
        theirs / ours,
        used[0],
        used[1]
    );
}

/// What a sample takes on disk: Prometheus's blocks (a snapshot, so that the newest hours are in one as well) with their index, beside
/// the tables of samples and series, as merged so far and as merged in the end.
async fn disk(world: &Watchfire, prometheus: &Prometheus) {
    let (bytes, samples) = prometheus.blocks().await;
    println!("disk: prometheus {:.3} bytes a sample ({bytes} for {samples})", bytes as f64 / samples as f64);
    let engine = ClickHouse::unix(&world.data().join("engine.sock")).database("watchfire");
    for state in ["as merged so far", "merged"] {
        let parts = "SELECT sum(bytes_on_disk), sumIf(rows, table = 'points') FROM system.parts WHERE active AND database = 'watchfire' AND table IN ('points', 'series')";
        let (bytes, samples): (u64, u64) = engine.client().query(parts).fetch_one().await.unwrap();
        println!("disk: watchfire, {state}, {:.3} bytes a sample ({bytes} for {samples})", bytes as f64 / samples as f64);
        for table in ["points", "series"] {
            engine.client().query(&format!("OPTIMIZE TABLE {table} FINAL")).execute().await.unwrap();
        }
    }
}
