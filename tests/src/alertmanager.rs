//! Alerts beside Debian's Alertmanager: the same alerts to both, in turns in one run, and a webhook that both tell. Prints a table
//! with ratios. Memory of Watchfire is its server's; its engine's stands beside it. Watchfire does more with each alert: it writes it, its
//! journal and its outbox to disk before it answers, opens incidents, and forgets nothing in a restart.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::routing::post;
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::process::{Watchfire, free_port};
use crate::programs::Program;
use crate::usage::{child_of, process};
use crate::wait::wait_for;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Seconds of alerts one after the other, 100 a second.
    pub seconds: u64,
    /// Requests of 1,000 alerts each that are only taken in.
    pub batches: u64,
    /// Alerts that are delivered, each by itself.
    pub delivered: u64,
    /// Ladders whose second step is due within the same second.
    pub ladders: u64,
    /// Open alerts at the restart.
    pub open: u64,
}

impl Size {
    /// What the issue asks for.
    pub const FULL: Size = Size { seconds: 20, batches: 50, delivered: 10_000, ladders: 1_000, open: 100_000 };
    /// To see that it works.
    pub const SMALL: Size = Size { seconds: 2, batches: 2, delivered: 200, ladders: 50, open: 2_000 };
}

/// A second.
const RATE: u64 = 100;
/// How often the two change places while alerts come one after the other.
const TURNS: u64 = 2;
/// And while they are delivered.
const ROUNDS: u64 = 3;
/// Alerts a request.
const BATCH: u64 = 1_000;
/// From a ladder's start to the step that is measured.
const LADDER: Duration = Duration::from_secs(30);

type Told = Arc<Mutex<HashMap<String, Vec<(u64, Instant)>>>>;

/// The webhook: when each alert (by its label `n`) came to each path.
#[derive(Clone)]
struct Hook {
    address: SocketAddr,
    told: Told,
}

impl Hook {
    async fn start() -> Self {
        let told = Told::default();
        let router = Router::new().route("/{name}", post(told_of)).with_state(told.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Hook { address, told }
    }
    fn count(&self, name: &str) -> usize {
        self.told.lock().unwrap().get(name).map_or(0, Vec::len)
    }
    fn take(&self, name: &str) -> Vec<(u64, Instant)> {
        self.told.lock().unwrap().remove(name).unwrap_or_default()
    }
    async fn wait(&self, name: &str, count: u64) {
        // A slow machine may need longer than a test waits; what counts is that it goes on.
        let (mut last, mut since) = (0, Instant::now());
        while (self.count(name) as u64) < count {
            if self.count(name) > last {
                (last, since) = (self.count(name), Instant::now());
            }
            assert!(since.elapsed() < Duration::from_secs(60), "{name}: {last} of {count} came, and no more for a minute");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

async fn told_of(State(told): State<Told>, Path(name): Path<String>, Json(body): Json<Value>) -> &'static str {
    let at = Instant::now();
    let numbers = body["alerts"].as_array().into_iter().flatten().filter(|alert| alert["status"] == "firing");
    let numbers: Vec<(u64, Instant)> = numbers.filter_map(|alert| Some((alert["labels"]["n"].as_str()?.parse().ok()?, at))).collect();
    told.lock().unwrap().entry(name).or_default().extend(numbers);
    "ok"
}

/// Either program.
struct Side {
    name: &'static str,
    base: String,
    pid: u32,
}

/// Debian's Alertmanager, with its folder.
struct Alertmanager {
    _program: Program,
    _folder: tempfile::TempDir,
}

impl Alertmanager {
    async fn start(hook: SocketAddr) -> (Self, Side) {
        let folder = tempfile::tempdir().unwrap();
        let config = format!(
            "route:\n  receiver: hook\n  group_by: ['...']\n  group_wait: 0s\n  group_interval: 5m\n  repeat_interval: 4h\n  routes:\n  \
             - {{ matchers: [quiet=yes], receiver: hook, group_by: [quiet], group_wait: 1h, group_interval: 1h }}\n\
             receivers:\n- name: hook\n  webhook_configs: [{{ url: 'http://{hook}/alertmanager', max_alerts: 0 }}]\n"
        );
        std::fs::write(folder.path().join("alertmanager.yml"), config).unwrap();
        let address = format!("127.0.0.1:{}", free_port());
        let arguments = [
            format!("--config.file={}", folder.path().join("alertmanager.yml").display()),
            format!("--storage.path={}", folder.path().join("data").display()),
            format!("--web.listen-address={address}"),
            "--cluster.listen-address=".to_owned(),
            "--log.level=error".to_owned(),
        ];
        let program = Program::start("prometheus-alertmanager", &arguments);
        let base = format!("http://{address}");
        wait_for("alertmanager", async || {
            reqwest::get(format!("{base}/-/ready")).await.ok().filter(|answer| answer.status().is_success()).map(drop)
        })
        .await;
        let side = Side { name: "alertmanager", base, pid: program.pid() };
        (Alertmanager { _program: program, _folder: folder }, side)
    }
}

fn config(hook: SocketAddr) -> String {
    let receiver = |name: &str| {
        format!("- {{ name: {name}, type: webhook, url: 'http://{hook}/{name}', rate_limit: {{ per_second: 100000, burst: 100000 }} }}\n")
    };
    format!(
        "alerting:\n  route:\n    receivers: [watchfire]\n    group_by: ['...']\n    group_wait: 0s\n    group_interval: 5m\n    repeat_interval: 4h\n    routes:\n    \
         - {{ matchers: [quiet=yes], receivers: [watchfire], group_by: [quiet], group_wait: 1h, group_interval: 1h }}\n    \
         - {{ matchers: [often=yes], group_interval: 1s }}\n    \
         - {{ matchers: [ladder=yes], escalation: two }}\n  escalations:\n  - name: two\n    steps: [{{ after: 0s, notify: [first] }}, {{ after: {}s, notify: [second] }}]\n\
         receivers:\n{}{}{}",
        LADDER.as_secs(),
        receiver("watchfire"),
        receiver("first"),
        receiver("second")
    )
}

/// Alerts with these numbers; each is a service of its own.
fn alerts(kind: &str, more: &str, numbers: std::ops::Range<u64>) -> Value {
    let one = |number: u64| {
        let mut labels = json!({"alertname": kind, "n": number.to_string(), "service": format!("{kind}-{number}"), "severity": "warning"});
        if !more.is_empty() {
            labels[more] = json!("yes");
        }
        json!({"labels": labels, "annotations": {"summary": format!("{kind} {number} is not as it should be")}, "generatorURL": "http://prometheus.example/graph"})
    };
    numbers.map(one).collect()
}

async fn send(client: &reqwest::Client, base: &str, body: &Value) {
    let answer = client.post(format!("{base}/api/v2/alerts")).json(body).send().await.unwrap();
    assert!(answer.status().is_success(), "{}: {}", answer.status(), answer.text().await.unwrap());
}

fn quantile(sorted: &[f64], share: f64) -> f64 {
    sorted[((sorted.len() as f64 * share).ceil() as usize).clamp(1, sorted.len()) - 1]
}

/// One alert every hundredth of a second, the first of them with this number; milliseconds from the request's beginning to the webhook's.
async fn latency(client: &reqwest::Client, side: &Side, hook: &Hook, first: u64, seconds: u64) -> Vec<f64> {
    let count = RATE * seconds;
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / RATE as u32);
    let mut sent = HashMap::new();
    let mut requests = tokio::task::JoinSet::new();
    for number in first..first + count {
        ticks.tick().await;
        sent.insert(number, Instant::now());
        let (client, base, body) = (client.clone(), side.base.clone(), alerts("Single", "", number..number + 1));
        requests.spawn(async move { send(&client, &base, &body).await });
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    hook.wait(side.name, count).await;
    let told = hook.take(side.name);
    assert_eq!(told.len() as u64, count, "{}: some alerts came twice", side.name);
    told.iter().map(|(number, at)| at.duration_since(sent[number]).as_secs_f64() * 1e3).collect()
}

/// The median and the slowest hundredth, of both in turns.
async fn latencies(client: &reqwest::Client, sides: [&Side; 2], hook: &Hook, seconds: u64) -> [(f64, f64); 2] {
    let mut millis = [Vec::new(), Vec::new()];
    for turn in 0..TURNS {
        for (side, millis) in sides.iter().zip(&mut millis) {
            millis.extend(latency(client, side, hook, turn * seconds * RATE, seconds / TURNS).await);
        }
    }
    millis.map(|mut millis| {
        millis.sort_by(f64::total_cmp);
        (quantile(&millis, 0.5), quantile(&millis, 0.99))
    })
}

/// Alerts a second, taken in 1,000 a request, four requests at once: as they are answered, and as they are open. Alertmanager answers when
/// they are; Watchfire when they are on the disk.
async fn ingest(client: &reqwest::Client, side: &Side, batches: u64) -> (f64, f64) {
    let bodies: Vec<Value> = (0..batches).map(|batch| alerts("Taken", "quiet", batch * BATCH..(batch + 1) * BATCH)).collect();
    let begun = Instant::now();
    let mut requests = tokio::task::JoinSet::new();
    for body in bodies {
        if requests.len() >= 4 {
            requests.join_next().await.unwrap().unwrap();
        }
        let (client, base) = (client.clone(), side.base.clone());
        requests.spawn(async move { send(&client, &base, &body).await });
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    let rate = |begun: Instant| (batches * BATCH) as f64 / begun.elapsed().as_secs_f64();
    let answered = rate(begun);
    wait_for("all of them to be open", async || {
        let metrics = client.get(format!("{}/metrics", side.base)).send().await.ok()?.text().await.ok()?;
        let count = |outcome: &str| {
            let name = format!("watchfire_alert_requests_total{{outcome=\"{outcome}\"}} ");
            metrics.lines().find_map(|line| line.strip_prefix(name.as_str())?.parse::<f64>().ok())
        };
        (side.name != "watchfire" || count("taken_apart") == Some(count("waiting")?)).then_some(())
    })
    .await;
    (answered, rate(begun))
}

/// What it takes until alerts are told, each by itself.
struct Telling {
    seconds: f64,
    /// CPU-seconds of the server until a second later.
    cpu: f64,
    /// MiB of it when the last one is told.
    memory: f64,
}

async fn delivered(client: &reqwest::Client, side: &Side, hook: &Hook, kind: &str, count: u64) -> Telling {
    let (begun, before) = (Instant::now(), process(side.pid).1);
    for from in (0..count).step_by(BATCH as usize) {
        send(client, &side.base, &alerts(kind, "", from..(from + BATCH).min(count))).await;
    }
    hook.wait(side.name, count).await;
    let (seconds, memory) = (begun.elapsed().as_secs_f64(), process(side.pid).0 as f64 / 1024.0);
    // What it still writes down is its own, and not the other's.
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(hook.take(side.name).len() as u64, count, "{}: some alerts came twice", side.name);
    Telling { seconds, cpu: process(side.pid).1 - before, memory }
}

/// Both in turns: the medians, and the memory after the first turn, before any alert but these and those of the other measurements came.
async fn tellings(client: &reqwest::Client, sides: [&Side; 2], hook: &Hook, count: u64) -> [Telling; 2] {
    let mut all = [Vec::new(), Vec::new()];
    for turn in 0..ROUNDS {
        for (side, all) in sides.iter().zip(&mut all) {
            all.push(delivered(client, side, hook, &format!("Delivered{turn}"), count).await);
        }
    }
    all.map(|all| {
        let median = |of: fn(&Telling) -> f64| {
            let mut values: Vec<f64> = all.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            quantile(&values, 0.5)
        };
        Telling { seconds: median(|one| one.seconds), cpu: median(|one| one.cpu), memory: all[0].memory }
    })
}

/// Ladders that began together: seconds from when the second step is due to the first and to the last request.
async fn ladders(client: &reqwest::Client, side: &Side, hook: &Hook, count: u64) -> (f64, f64) {
    let begun = Instant::now();
    send(client, &side.base, &alerts("Climbs", "ladder", 0..count)).await;
    let taken = Instant::now();
    hook.wait("first", count).await;
    hook.wait("second", count).await;
    let told = hook.take("second");
    assert_eq!(told.len() as u64, count, "some steps were taken twice");
    let (least, most) = (told.iter().map(|(_, at)| *at).min().unwrap(), told.iter().map(|(_, at)| *at).max().unwrap());
    assert!(least >= begun + LADDER, "no step is taken early");
    let due = taken + LADDER;
    (least.saturating_duration_since(due).as_secs_f64(), most.saturating_duration_since(due).as_secs_f64())
}

/// The fingerprints of what is open.
async fn open(world: &Watchfire) -> BTreeSet<String> {
    let alerts: Vec<Value> = serde_json::from_str(&world.text("/api/v2/alerts").await).unwrap();
    alerts.iter().map(|alert| alert["fingerprint"].as_str().unwrap().to_owned()).collect()
}

/// `kill -9` with so many open alerts: seconds until it is ready again. Of some of them people were told, in groups that may be told of every
/// second: what is told again comes while somebody listens. Their sender sends them again, as senders do.
async fn restart(client: &reqwest::Client, world: &mut Watchfire, hook: &Hook, count: u64) -> f64 {
    let told = (count / 100).min(BATCH);
    hook.take("watchfire");
    send(client, &format!("http://{}", world.http), &alerts("Open", "often", 0..told)).await;
    hook.wait("watchfire", told).await;
    for from in (0..count).step_by(BATCH as usize) {
        send(client, &format!("http://{}", world.http), &alerts("Open", "quiet", from..(from + BATCH).min(count))).await;
    }
    let all = |hook: &Hook| hook.count("watchfire") + hook.count("first") + hook.count("second");
    let (before, heard) = (open(world).await, all(hook));
    assert!(before.len() as u64 >= count + told);
    world.kill();
    let begun = Instant::now();
    world.start().await;
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(open(world).await, before, "alerts were lost");
    send(client, &format!("http://{}", world.http), &alerts("Open", "often", 0..told)).await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(all(hook), heard, "alerts were told again");
    // Somebody listens.
    send(client, &format!("http://{}", world.http), &alerts("Open", "often", told..told + 1)).await;
    hook.wait("watchfire", told + 1).await;
    seconds
}

/// A line of the table. `bar`: the ratio that must hold, at most or at least.
fn line(what: &str, ours: f64, theirs: f64, unit: &str, bar: Option<(&str, f64)>) {
    let ratio = ours / theirs;
    let verdict = bar.map_or(String::new(), |(word, limit)| {
        let holds = if word == "<=" { ratio <= limit } else { ratio >= limit };
        format!("{word} {limit:.2}x {}", if holds { "yes" } else { "NO" })
    });
    println!("{what:<44} {ours:>12.2} {theirs:>12.2} {unit:<9} {ratio:>7.2}x  {verdict}");
}

/// All of it.
pub async fn compare(executable: &str, size: Size) {
    let hook = Hook::start().await;
    let mut world = Watchfire::prepare(executable, &config(hook.address), &[]);
    world.start().await;
    let (_alertmanager, theirs) = Alertmanager::start(hook.address).await;
    let ours = Side { name: "watchfire", base: format!("http://{}", world.http), pid: world.pid() };
    let client = reqwest::Client::new();
    println!("{:<44} {:>12} {:>12}", "", "watchfire", "alertmanager");
    let idle = (process(ours.pid).0 as f64 / 1024.0, process(theirs.pid).0 as f64 / 1024.0);
    line("idle memory (server)", idle.0, idle.1, "MiB", None);

    let [b, a] = latencies(&client, [&theirs, &ours], &hook, size.seconds).await;
    line(&format!("alert -> webhook, {RATE}/s, p50"), a.0, b.0, "ms", Some(("<=", 2.0)));
    line(&format!("alert -> webhook, {RATE}/s, p99"), a.1, b.1, "ms", Some(("<=", 2.0)));

    let (b, a) = (ingest(&client, &theirs, size.batches).await, ingest(&client, &ours, size.batches).await);
    line(&format!("taken in, {BATCH} a request"), a.0, b.0, "alerts/s", Some((">=", 1.0)));
    line("the same, until all are open", a.1, b.0, "alerts/s", None);

    let [b, a] = tellings(&client, [&theirs, &ours], &hook, size.delivered).await;
    line(&format!("{} alerts told, each by itself", size.delivered), a.seconds, b.seconds, "s", Some(("<=", 1.0)));
    line("CPU for that (server)", a.cpu, b.cpu, "s", None);
    line("memory then (server)", a.memory, b.memory, "MiB", Some(("<=", 1.0 / 3.0)));
    println!("{:<44} {:>12.2} {:>12} MiB", "memory then (engine)", process(child_of(world.pid())).0 as f64 / 1024.0, "-");

    let (first, last) = ladders(&client, &ours, &hook, size.ladders).await;
    let verdict = if last <= 1.0 { "yes" } else { "NO" };
    println!(
        "{:<44} {last:>12.2} {:>12} s         <= 1 s {verdict} (the first after {first:.2} s)",
        format!("{} ladder steps, the last after", size.ladders),
        "-"
    );

    let seconds = restart(&client, &mut world, &hook, size.open).await;
    let verdict = if seconds <= 2.0 { "yes" } else { "NO" };
    println!(
        "{:<44} {seconds:>12.2} {:>12} s         <= 2 s {verdict}, nothing lost or told again",
        format!("kill -9 to ready, {} more open alerts", size.open),
        "forgets"
    );
    world.stop().await;
}
