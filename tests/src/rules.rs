//! Rules beside Debian's Prometheus: the same rule files and the same samples in both, in one run; evaluations a CPU second, of Watchfire its
//! server and its engine together, storing and intake included. Prometheus evaluates what Watchfire does: no alert fires.

use std::fmt::Write;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::intake::Load;
use crate::process::Watchfire;
use crate::promql::{Prometheus, now_millis};
use crate::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use crate::usage::{child_of, process};

/// Counters, and pods with a histogram of ten buckets.
const SERIES: u64 = 1_000;
const PODS: u64 = 100;
const BOUNDS: [&str; 10] = ["0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5", "+Inf"];
/// Between samples and between evaluations.
const INTERVAL: Duration = Duration::from_secs(5);
/// Rules in a group.
const GROUP: u64 = 100;

/// What the rules ask.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// One series against a number.
    Simple,
    /// A quantile of the rate of a histogram over five minutes.
    Histogram,
}

impl Kind {
    fn expr(self, number: u64) -> String {
        match self {
            Kind::Simple => format!("rule_x{{series=\"{}\"}} > {}", number % SERIES, 1_000_000_000 + number),
            Kind::Histogram => {
                let pod = number % PODS;
                format!("histogram_quantile(0.99, sum by (le) (rate(rule_h_bucket{{pod=\"{pod}\"}}[5m]))) > {}", 1_000 + number)
            }
        }
    }
    fn rules(self, count: u64) -> String {
        let mut text = "groups:\n".to_owned();
        for number in 0..count {
            if number.is_multiple_of(GROUP) {
                let _ = writeln!(text, "- name: g{}\n  interval: 5s\n  rules:", number / GROUP);
            }
            let _ = writeln!(text, "  - alert: A{number}\n    expr: '{}'", self.expr(number));
        }
        text
    }
}

/// Everything once, at a moment.
fn write(at: i64) -> Vec<u8> {
    let value = (at / 5_000) as f64;
    let mut timeseries: Vec<TimeSeries> = (0..SERIES)
        .map(|number| TimeSeries {
            labels: vec![Label::new("__name__", "rule_x"), Label::new("series", number.to_string())],
            samples: vec![Sample { value: value + number as f64, timestamp: at }],
        })
        .collect();
    for number in 0..PODS * 10 {
        let (pod, bound) = (number / 10, number % 10);
        timeseries.push(TimeSeries {
            labels: vec![
                Label::new("__name__", "rule_h_bucket"),
                Label::new("le", BOUNDS[bound as usize]),
                Label::new("pod", pod.to_string()),
            ],
            samples: vec![Sample { value: value * (bound + 1) as f64, timestamp: at }],
        });
    }
    WriteRequest { timeseries }.body()
}

async fn send(client: &reqwest::Client, bases: &[String], at: i64) {
    let body = write(at);
    for base in bases {
        let request = client.post(format!("{base}/api/v1/write")).header("content-encoding", "snappy").body(body.clone());
        let answer = request.send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }
}

/// The sum of a metric of an exposition.
async fn total(client: &reqwest::Client, base: &str, metric: &str) -> f64 {
    let text = client.get(format!("{base}/metrics")).send().await.unwrap().text().await.unwrap();
    let of = |line: &str| {
        let rest = line.strip_prefix(metric)?;
        if rest.starts_with(['{', ' ']) { rest.rsplit(' ').next()?.parse::<f64>().ok() } else { None }
    };
    text.lines().filter_map(of).sum()
}

/// Both with `count` rules of a kind for so long; prints evaluations a CPU second, and what was missed.
pub async fn compare(executable: &str, kind: Kind, count: u64, time: Duration) {
    let rules = kind.rules(count);
    let mut world = Watchfire::prepare(executable, "alerting: { rules: rules }\n", &[("many.yaml", &rules)]);
    world.start().await;
    let prometheus = Prometheus::start(&[("many.yaml", &rules)]).await;
    let bases = [prometheus.base.clone(), format!("http://{}", world.http)];
    let client = reqwest::Client::new();
    // Six minutes of samples, so that windows are full.
    let now = now_millis();
    for back in (1..72).rev() {
        send(&client, &bases, now - back * INTERVAL.as_millis() as i64).await;
    }
    tokio::time::sleep(INTERVAL * 3).await;
    let metrics = [
        ["prometheus_rule_evaluations_total", "prometheus_rule_group_iterations_missed_total", "prometheus_rule_evaluation_failures_total"],
        ["watchfire_rule_evaluations_total", "watchfire_rule_group_iterations_missed_total", "watchfire_rule_evaluation_failures_total"],
    ];
    let pids = [vec![prometheus.pid()], vec![world.pid(), child_of(world.pid())]];
    let cpu = |pids: &[u32]| pids.iter().map(|pid| process(*pid).1).sum::<f64>();
    let mut before = Vec::new();
    for (base, (metrics, pids)) in bases.iter().zip(metrics.iter().zip(&pids)) {
        before.push((total(&client, base, metrics[0]).await, total(&client, base, metrics[1]).await, cpu(pids)));
    }
    let begun = Instant::now();
    while begun.elapsed() < time {
        send(&client, &bases, now_millis()).await;
        tokio::time::sleep(INTERVAL).await;
    }
    let mut rates = Vec::new();
    for (at, (base, (metrics, pids))) in bases.iter().zip(metrics.iter().zip(&pids)).enumerate() {
        let evaluations = total(&client, base, metrics[0]).await - before[at].0;
        let missed = total(&client, base, metrics[1]).await - before[at].1;
        let failed = total(&client, base, metrics[2]).await;
        let seconds = cpu(pids) - before[at].2;
        println!(
            "{kind:?} {}: {evaluations} evaluations, {missed} missed, {failed} failed, {seconds:.2} CPU s, {:.0} a CPU second",
            ["prometheus", "watchfire"][at],
            evaluations / seconds
        );
        rates.push(evaluations / seconds);
    }
    println!("{kind:?}: {:.2}x", rates[1] / rates[0]);
    world.stop().await;
}

/// So many rules, half of each kind, every five seconds, while rows come in at a rate (half spans, half log lines): how many ticks were
/// missed, how late an evaluation was at most, and what it took.
pub async fn under_load(executable: &str, count: u64, rows: u64, time: Duration) {
    let (simple, histogram) = (Kind::Simple.rules(count / 2), Kind::Histogram.rules(count / 2).replace("name: g", "name: h"));
    let files = [("simple.yaml", simple.as_str()), ("histogram.yaml", histogram.as_str())];
    let mut world = Watchfire::prepare(executable, "alerting: { rules: rules }\n", &files);
    world.start().await;
    let (base, client) = (format!("http://{}", world.http), reqwest::Client::new());
    let bases = [base.clone()];
    let now = now_millis();
    for back in (1..72).rev() {
        send(&client, &bases, now - back * INTERVAL.as_millis() as i64).await;
    }
    let rate = (rows / 2).to_string();
    let loads: Vec<Load> = ["spans", "logs"].map(|signal| Load::start(&world, signal, time + INTERVAL * 2, &["--rate", &rate])).into();
    tokio::time::sleep(INTERVAL * 2).await;
    let names =
        ["evaluations_total", "group_iterations_missed_total", "evaluation_failures_total"].map(|name| format!("watchfire_rule_{name}"));
    let cpu = |pid: u32| process(pid).1;
    let (mut before, pids) = (Vec::new(), [world.pid(), child_of(world.pid())]);
    for name in &names {
        before.push(total(&client, &base, name).await);
    }
    let (begun, used) = (Instant::now(), pids.map(cpu));
    while begun.elapsed() < time {
        send(&client, &bases, now_millis()).await;
        tokio::time::sleep(INTERVAL).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    let mut since = Vec::new();
    for (name, before) in names.iter().zip(&before) {
        since.push(total(&client, &base, name).await - before);
    }
    let used: Vec<f64> = pids.iter().zip(used).map(|(pid, before)| (cpu(*pid) - before) / seconds).collect();
    let stored: f64 = loads.into_iter().map(|load| load.succeeded().pointer("/stored").and_then(Value::as_f64).unwrap_or(0.0)).sum();
    println!(
        "{count} rules every 5 s while {rows} rows/s come in, {seconds:.0} s: {} evaluations ({:.0}/s), {} ticks missed, {} failed; {stored} rows stored; \
         CPU server {:.2}, engine {:.2}",
        since[0],
        since[0] / seconds,
        since[1],
        since[2],
        used[0],
        used[1]
    );
    world.stop().await;
}
