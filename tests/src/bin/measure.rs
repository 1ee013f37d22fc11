//! Measures what the README and the notes claim, on the machine at hand: `cargo run --release -p tests --bin measure -- all`,
//! or one of `start`, `idle`, `page`, `rate`, `kills N`. Prints figures; asserts only what must hold on any machine.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // a tool for developers: fails by panicking

use std::time::{Duration, Instant};

use prost::Message as _;
use tests::catchers::Catchers;
use tests::process::Watchfire;
use tests::send;
use tests::wait::wait_for;

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
        page(&executable, 20).await;
    }
    if matches!(what, "all" | "rate") {
        rate(&executable, Duration::from_secs(20)).await;
    }
    if matches!(what, "all" | "kills") {
        let rounds = arguments.get(1).map_or(50, |text| text.parse().unwrap());
        let start = Instant::now();
        let told = tests::crash::rounds(&executable, rounds, 20_261_121).await;
        println!("kills: {rounds} rounds, {:?}: {told}", start.elapsed());
    }
}

/// Kilobytes resident and CPU ticks of a process.
fn process(pid: u32) -> (u64, f64) {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.split_whitespace().next());
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let after = stat.rsplit(')').next().unwrap_or("");
    let fields: Vec<&str> = after.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    (resident.and_then(|text| text.parse().ok()).unwrap_or(0), (ticks(11) + ticks(12)) / 100.0)
}

fn child_of(pid: u32) -> u32 {
    let output = std::process::Command::new("ps").args(["-o", "pid=", "--ppid", &pid.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().split_whitespace().next().unwrap().parse().unwrap()
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

/// Rows acknowledged and stored at saturation, with CPU by process. The sender posts pre-encoded requests of 1,000 distinct spans.
async fn rate(executable: &str, length: Duration) {
    let mut world = Watchfire::prepare(executable, "", &[]);
    world.start().await;
    let url = format!("http://{}/v1/traces", world.otlp_http);
    let bodies: Vec<Vec<u8>> = (0..400).map(|_| send::spans("load", 1_000, 10).encode_to_vec()).collect();
    let engine = child_of(world.pid());
    let before = (process(world.pid()), process(engine), process(std::process::id()));
    let start = Instant::now();
    let mut senders = Vec::new();
    let bodies = std::sync::Arc::new(bodies);
    let next = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    for _ in 0..4 {
        let (url, bodies, next) = (url.clone(), bodies.clone(), next.clone());
        senders.push(tokio::spawn(async move {
            let client = reqwest::Client::new();
            let (mut acknowledged, mut refused) = (0u64, 0u64);
            while start.elapsed() < length {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                // Distinct bytes each time: the trace id of the first span is replaced by a number.
                let mut body = bodies[at % bodies.len()].clone();
                if let Some(place) = find(&body, b"POST /order") {
                    body[place..place + 11].copy_from_slice(format!("P{:010}", at % 20).as_bytes());
                    let round = (at / bodies.len()) as u32;
                    if let Some(id) = find(&body, &[0x0A, 16]) {
                        body[id + 2..id + 6].copy_from_slice(&round.to_be_bytes());
                    }
                }
                let answer = client.post(&url).header("content-type", "application/x-protobuf").body(body).send().await;
                match answer {
                    Ok(answer) if answer.status().is_success() => acknowledged += 1_000,
                    Ok(_) | Err(_) => refused += 1,
                }
            }
            (acknowledged, refused)
        }));
    }
    let (mut acknowledged, mut refused) = (0, 0);
    for sender in senders {
        let (more, no) = sender.await.unwrap();
        acknowledged += more;
        refused += no;
    }
    let sending = start.elapsed();
    wait_for("the queue to drain", async || {
        (world.count("SELECT count() FROM spans WHERE service = 'load'").await >= acknowledged).then_some(())
    })
    .await;
    let drained = start.elapsed();
    let stored = world.count("SELECT count() FROM spans WHERE service = 'load'").await;
    let after = (process(world.pid()), process(engine), process(std::process::id()));
    let micros = |before: f64, after: f64| (after - before) * 1e6 / acknowledged as f64;
    println!(
        "rate: {:.0} spans/s acknowledged, {:.0} spans/s stored (queue drained), {refused} requests refused, stored = acknowledged: {}",
        acknowledged as f64 / sending.as_secs_f64(),
        stored as f64 / drained.as_secs_f64(),
        stored == acknowledged
    );
    println!(
        "CPU a span: server {:.2} us, engine {:.2} us, sender {:.2} us; server resident {} MiB, engine {} MiB",
        micros(before.0.1, after.0.1),
        micros(before.1.1, after.1.1),
        micros(before.2.1, after.2.1),
        after.0.0 / 1024,
        after.1.0 / 1024
    );
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}
