//! Measures what the README and the notes claim, on the machine at hand: `cargo run --release -p tests --bin measure -- all`,
//! or one of `start`, `idle`, `page RUNS`, `rate SECONDS`, `half`, `sentry`, `storage`, `promql`, `rules`, `busy`, `alertmanager`, `kills N`; and, not with all,
//! `pressure SECONDS`, `long MINUTES RATE`. Prints figures; asserts only what must hold on any machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // a tool for developers: fails by panicking

use std::num::ParseIntError;
use std::path::Path;
use std::str::FromStr;
use std::time::{Duration, Instant};

use server::load::Signal;
use tests::catchers::Catchers;
use tests::process::Watchfire;
use tests::send;
use tests::usage::{child_of, process};
use tests::wait::wait_for;

/// A number among the arguments, or the usual one.
fn number<T: FromStr<Err = ParseIntError>>(arguments: &[String], at: usize, usual: T) -> T {
    arguments.get(at).map_or(usual, |text| text.parse().unwrap())
}

fn executable() -> String {
    let here = std::env::current_exe().unwrap();
    here.with_file_name("watchfire").to_str().unwrap().to_owned()
}

#[tokio::main]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let what = arguments.first().map_or("all", String::as_str);
    let executable = executable();
    println!("measuring {executable}");
    if matches!(what, "all" | "start" | "idle") {
        start_and_idle(&executable).await;
    }
    if matches!(what, "all" | "page") {
        page(&executable, number(&arguments, 1, 100)).await;
    }
    if matches!(what, "all" | "rate") {
        rate(&executable, Duration::from_secs(number(&arguments, 1, 12))).await;
    }
    if matches!(what, "all" | "half") {
        tests::intake::half(&executable).await;
    }
    if matches!(what, "all" | "sentry") {
        tests::intake::envelopes(&executable, Duration::from_secs(15)).await;
    }
    if matches!(what, "all" | "storage") {
        tests::intake::storage(&executable).await;
    }
    if what == "pressure" {
        tests::intake::pressure(&executable, Duration::from_secs(number(&arguments, 1, 300))).await;
    }
    if what == "long" {
        tests::intake::long(&executable, Duration::from_secs(60 * number(&arguments, 1, 60)), number(&arguments, 2, 70_000)).await;
    }
    if matches!(what, "all" | "promql") {
        let rounds = number(&arguments, 1, 3);
        // Another executable may be measured instead: what it was before a change; or other settings of `storage.queries`.
        let config = arguments.get(3).map_or(String::new(), |settings| format!("storage: {{ queries: {settings} }}\n"));
        let counters = number(&arguments, 4, tests::promql::COUNTERS);
        tests::promql::compare_all(arguments.get(2).unwrap_or(&executable), rounds, &config, counters).await;
    }
    if matches!(what, "all" | "rules") {
        let count = number(&arguments, 1, 10_000);
        for kind in [tests::rules::Kind::Simple, tests::rules::Kind::Histogram] {
            tests::rules::compare(&executable, kind, count, Duration::from_secs(30)).await;
        }
    }
    if matches!(what, "all" | "busy") {
        let (count, rows) = (number(&arguments, 1, 10_000), number(&arguments, 2, 20_000));
        tests::rules::under_load(&executable, count, rows, Duration::from_secs(60)).await;
    }
    if matches!(what, "all" | "alertmanager") {
        let small = arguments.get(1).is_some_and(|text| text == "small");
        let size = if small { tests::alertmanager::Size::SMALL } else { tests::alertmanager::Size::FULL };
        tests::alertmanager::compare(&executable, size).await;
    }
    if matches!(what, "all" | "kills") {
        let rounds = number(&arguments, 1, 50);
        let start = Instant::now();
        let told = tests::crash::rounds(&executable, rounds, 20_261_121).await;
        println!("kills: {rounds} rounds, {:?}: {told}", start.elapsed());
    }
}

async fn start_and_idle(executable: &str) {
    let mut world = Watchfire::prepare(executable, "", &[]);
    for name in ["first (empty data folder, migrations run)", "second", "third"] {
        let start = Instant::now();
        world.start().await;
        println!("start to ready, {name}: {:?}", start.elapsed());
        if name == "third" {
            tokio::time::sleep(Duration::from_secs(15)).await;
            let (server, engine) = (process(world.pid()), process(child_of(world.pid())));
            println!("idle after 15 s: server {} MiB, engine {} MiB", server.0 / 1024, engine.0 / 1024);
            tokio::time::sleep(Duration::from_secs(10)).await;
            let (later_server, later_engine) = (process(world.pid()), process(child_of(world.pid())));
            println!("idle CPU over 10 s: server {:.2} s, engine {:.2} s", later_server.1 - server.1, later_engine.1 - engine.1);
        }
        let start = Instant::now();
        world.stop().await;
        println!("stop: {:?}", start.elapsed());
    }
}

/// From the moment the request with the first bad spans is sent to the PagerDuty request.
async fn page(executable: &str, runs: usize) {
    let catchers = Catchers::start().await;
    let config = format!(
        "alerting:\n  rules: rules\n  escalations:\n    - name: critical\n      steps: [{{ after: 0s, notify: [pagerduty] }}]\n    - name: medium\n      steps: [{{ after: 0s, notify: [pagerduty] }}]\nreceivers:\n  - {{ name: pagerduty, type: pagerduty, routing_key: k, url: \"http://{}\" }}\n",
        catchers.address
    );
    let rules = include_str!("../../../deploy/rules/services.yaml");
    let mut world = Watchfire::prepare(executable, &config, &[("services.yaml", rules)]);
    world.start().await;
    let client = reqwest::Client::new();
    let url = format!("http://{}/v1/traces", world.otlp_http);
    let mut seconds = Vec::new();
    for run in 0..runs {
        let service = format!("service-{run}");
        assert_eq!(send::post(&client, &url, &send::spans(&service, 200, 0)).await, Some(200));
        tokio::time::sleep(Duration::from_millis(1_500 + (run as u64 * 137) % 1_000)).await;
        let start = Instant::now();
        assert_eq!(send::post(&client, &url, &send::spans(&service, 100, 100)).await, Some(200));
        let at = wait_for("the page", async || {
            let pages = catchers.pagerduty("trigger");
            pages.iter().find(|page| page.body["payload"]["summary"].as_str().unwrap_or("").contains(&service)).map(|page| page.at)
        })
        .await;
        seconds.push(at.duration_since(start).as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let at = |share: f64| seconds[((seconds.len() as f64 * share).ceil() as usize).clamp(1, seconds.len()) - 1];
    println!("first bad span -> PagerDuty request, {runs} runs: p50 {:.2} s, p99 {:.2} s, least {:.2} s", at(0.5), at(0.99), seconds[0]);
}

/// One measurement: microseconds of CPU a record, merges that the load caused included.
struct Cost {
    stored_per_second: f64,
    record_bytes: f64,
    server: f64,
    engine: f64,
    /// The engine alone with the blocks of as many requests joined as the log joins.
    joined: f64,
    /// The engine alone with the blocks of each request inserted as they came.
    single: f64,
    /// Rotel, with the same requests.
    rotel: f64,
}

impl Cost {
    /// What part of the rows per CPU-second that the engine makes alone is left with the server in front of it, in percent.
    fn left(&self, alone: f64) -> f64 {
        alone * 100.0 / (self.server + self.engine)
    }
}

/// The engine's CPU for `batches` of so many requests, merges included, in microseconds a record.
async fn alone(executable: &str, signal: Signal, batches: u64, requests: u64) -> f64 {
    let inserts = tests::alone::prepare(signal, batches, requests).await;
    let mut world = Watchfire::prepare(executable, "", &[]);
    world.start().await;
    let engine = child_of(world.pid());
    let start = process(engine).1;
    tests::alone::insert(&world, &inserts, 0).await;
    tests::alone::settle(&world).await;
    let used = process(engine).1 - start;
    world.stop().await;
    used * 1e6 / (batches * requests * 1_000) as f64
}

/// How many requests are inserted each by itself.
const SINGLE: u64 = 300;

/// The load, and then about as many of the very same blocks by the engine alone, each with an empty data folder.
async fn cost(executable: &str, rotel: Option<&Path>, signal: Signal, name: &str, length: Duration) -> Cost {
    let mut world = Watchfire::prepare(executable, "", &[]);
    world.start().await;
    let (server, engine) = (world.pid(), child_of(world.pid()));
    let before = (process(server).1, process(engine).1);
    let report = tests::intake::Load::start(&world, name, length, &["--no-verify"]).succeeded();
    let sent = Instant::now();
    tests::intake::drained(&world).await;
    let drained = sent.elapsed().as_secs_f64();
    tests::alone::settle(&world).await;
    let after = (process(server).1, process(engine).1);
    // Counted afterwards: what that takes is not what rows cost.
    let stored = tests::alone::count(&world, signal).await;
    world.stop().await;
    let of = |pointer: &str| report.pointer(pointer).and_then(serde_json::Value::as_f64).unwrap();
    let records = of("/acknowledged");
    assert_eq!(stored as f64, records, "every record that was acknowledged is stored once");

    let batches = (records / 100_000.0).round().max(1.0) as u64;
    let joined = alone(executable, signal, batches, 100).await;
    let single = alone(executable, signal, SINGLE, 1).await;
    let rotel = match rotel {
        Some(program) => tests::rotel::cost(executable, program, name, length).await,
        None => f64::NAN,
    };
    Cost {
        stored_per_second: records / (of("/seconds/sending") + drained),
        record_bytes: of("/record_bytes"),
        server: (after.0 - before.0) * 1e6 / records,
        engine: (after.1 - before.1) * 1e6 / records,
        joined,
        single,
        rotel,
    }
}

/// For each signal, everything, then the engine alone, then Rotel, in one run: rows a second, and CPU by process; medians of three.
async fn rate(executable: &str, length: Duration) {
    let rotel = tests::rotel::program();
    println!(
        "signal       bytes  stored/s  server us  Rotel us  ratio  engine us  engine alone us, blocks joined / as sent  left of its rows per CPU-second"
    );
    for (signal, name) in [(Signal::Spans, "spans"), (Signal::Logs, "logs"), (Signal::Metrics, "metrics")] {
        let mut costs = Vec::new();
        for _ in 0..3 {
            costs.push(cost(executable, rotel.as_deref(), signal, name, length).await);
        }
        let median = |of: fn(&Cost) -> f64| {
            let mut list: Vec<f64> = costs.iter().map(of).collect();
            list.sort_by(f64::total_cmp);
            list[list.len() / 2]
        };
        println!(
            "{name:<12} {:>5.0} {:>9.0} {:>10.2} {:>9.2} {:>6.2} {:>10.2} {:>30.2} / {:<7.2} {:>20.0} % / {:.0} %",
            median(|cost| cost.record_bytes),
            median(|cost| cost.stored_per_second),
            median(|cost| cost.server),
            median(|cost| cost.rotel),
            median(|cost| cost.server / cost.rotel),
            median(|cost| cost.engine),
            median(|cost| cost.joined),
            median(|cost| cost.single),
            median(|cost| cost.left(cost.joined)),
            median(|cost| cost.left(cost.single))
        );
    }
}
