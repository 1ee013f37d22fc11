//! The loops against real HTTP targets of this machine, with a recording sink.

mod reload;
pub(crate) mod simulation;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode};
use model::access::Permission;
use model::state::Fence;
use prometheus::Registry;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::*;
use crate::tests::fixtures::{Rig, Row};
use crate::tests::services::{bytes, with_principal};

/// What a target answers.
#[derive(Clone, Debug)]
enum Answer {
    Text(&'static str),
    Bytes(&'static str, Option<&'static str>, Vec<u8>),
    Status(u16),
    Redirect(String),
    /// Never.
    Silence,
}

/// A target that answers as told, and remembers what it was asked.
#[derive(Clone)]
struct Exporter {
    address: String,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<AtomicUsize>,
    last: Arc<Mutex<(String, HeaderMap)>>,
}

impl Exporter {
    async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let exporter = Exporter { address, answer: Arc::new(Mutex::new(answer)), asked: Arc::default(), last: Arc::default() };
        let router = axum::Router::new().fallback(respond).with_state(exporter.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        exporter
    }
    fn says(&self, answer: Answer) {
        *self.answer.lock().unwrap() = answer;
    }
    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
    fn header(&self, name: &str) -> String {
        self.last.lock().unwrap().1.get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
    }
}

async fn respond(State(exporter): State<Exporter>, request: Request) -> Response {
    *exporter.last.lock().unwrap() = (request.uri().to_string(), request.headers().clone());
    exporter.asked.fetch_add(1, Ordering::SeqCst);
    let answer = exporter.answer.lock().unwrap().clone();
    match answer {
        Answer::Text(text) => text.into_response(),
        Answer::Bytes(kind, encoding, bytes) => {
            let mut answer = Response::builder().header("content-type", kind);
            if let Some(encoding) = encoding {
                answer = answer.header("content-encoding", encoding);
            }
            answer.body(Body::from(bytes)).unwrap()
        }
        Answer::Status(status) => StatusCode::from_u16(status).unwrap().into_response(),
        Answer::Redirect(to) => Response::builder().status(302).header("location", to).body(Body::empty()).unwrap(),
        Answer::Silence => std::future::pending().await,
    }
}

/// A scraper at work.
struct World {
    rig: Rig,
    scraper: Scraper,
    lead: watch::Sender<Option<Fence>>,
    stop: CancellationToken,
    task: JoinHandle<()>,
    folder: tempfile::TempDir,
}

fn fence() -> Fence {
    Fence { lease: "leader".into(), token: 1 }
}

impl World {
    async fn start(config: &str) -> Self {
        World::with(crate::Config::default(), tempfile::tempdir().unwrap(), config).await
    }
    async fn with(intake: crate::Config, folder: tempfile::TempDir, config: &str) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let config: Config = serde_saphyr::from_str(config).unwrap();
        let rig = Rig::new(intake);
        let scraper = Scraper::new(&config, folder.path(), "node", rig.collector.clone(), &rig.registry).unwrap();
        let (lead, fence_of) = watch::channel(Some(fence()));
        let stop = CancellationToken::new();
        let task = tokio::spawn(scraper.clone().run(fence_of, stop.clone()));
        World { rig, scraper, lead, stop, task, folder }
    }
    fn points(&self, metric: &str) -> Vec<Row> {
        self.rig.sink.rows("points").into_iter().filter(|row| row["metric"] == metric).collect()
    }
    fn values(&self, metric: &str) -> Vec<String> {
        self.points(metric).into_iter().map(|row| if row["flags"] == "1" { "stale".into() } else { row["value"].clone() }).collect()
    }
    async fn state(&self, job: &str, wanted: impl Fn(&TargetState) -> bool) -> TargetState {
        until("the target's state", || {
            self.scraper.targets().into_iter().find(|(name, ..)| name == job).map(|(.., state)| state).filter(&wanted)
        })
        .await
    }
    async fn get(&self, path: &str, permission: Permission) -> (StatusCode, serde_json::Value) {
        let request = http::Request::builder().uri(path).body(Body::empty()).unwrap();
        let answer = with_principal(self.scraper.router(), permission).oneshot(request).await.unwrap();
        (answer.status(), serde_json::from_slice(&bytes(answer).await).unwrap())
    }
    async fn stop(self) -> Rig {
        self.stop.cancel();
        self.task.await.unwrap();
        self.rig
    }
}

/// Asks until there is an answer; the bound only ends a hopeless wait.
async fn until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    for _ in 0..6_000 {
        if let Some(answer) = ask() {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("waited in vain for {what}");
}

fn job(name: &str, address: &str, more: &str) -> String {
    format!("- job_name: {name}\n  scrape_interval: 50ms\n  scrape_timeout: 50ms\n  static_configs: [{{ targets: ['{address}'] }}]\n{more}")
}

fn slow(name: &str, address: &str, more: &str) -> String {
    job(name, address, more).replace("scrape_interval: 50ms\n  scrape_timeout: 50ms", "scrape_interval: 10s\n  scrape_timeout: 10s")
}

#[tokio::test]
async fn targets_are_scraped_each_as_one_batch_and_what_is_gone_is_stale() {
    let exporter = Exporter::start(Answer::Text("a 1\nb 2\n")).await;
    let world = World::start(&format!("scrape_configs:\n{}", job("node", &exporter.address, ""))).await;
    until("two scrapes", || (world.points("a").len() >= 2).then_some(())).await;
    exporter.says(Answer::Text("a 1\n"));
    until("b to be stale", || (world.values("b").last()? == "stale").then_some(())).await;
    exporter.says(Answer::Status(500));
    until("the target to be down", || (world.values("up").last()? == "0").then_some(())).await;
    assert_eq!(world.values("a").last().unwrap(), "stale");
    let down = world.state("node", |state| state.health == Health::Down).await;
    assert_eq!(down.last_error, "the answer has the status 500 Internal Server Error");
    exporter.says(Answer::Text("a 3\n"));
    until("the target to be up", || (world.values("a").last()? == "3").then_some(())).await;
    assert!(exporter.header("accept").contains("application/openmetrics-text"));
    assert_eq!(exporter.header("x-prometheus-scrape-timeout-seconds"), "0.05");
    let rig = world.stop().await;
    for batch in rig.sink.batches.lock().unwrap().iter() {
        let points = crate::tests::fixtures::rows(&batch.blocks, "points");
        assert_eq!(points.iter().filter(|row| row["metric"] == "up").count(), 1, "a batch is a scrape");
        assert_eq!(points.iter().map(|row| row["ts"].as_str()).collect::<BTreeSet<_>>().len(), 1);
    }
    let before = exporter.asked();
    assert!(rig.sink.rows("points").iter().rfind(|row| row["metric"] == "a").unwrap()["flags"] == "0", "stopping marks nothing stale");
    tokio::task::yield_now().await;
    assert_eq!(exporter.asked(), before, "nothing is asked after the end");
}

#[tokio::test]
async fn one_target_that_hangs_is_in_nobodys_way() {
    let (hanging, good) = (Exporter::start(Answer::Silence).await, Exporter::start(Answer::Text("a 1\n")).await);
    let config = format!("scrape_configs:\n{}{}", slow("hanging", &hanging.address, ""), job("good", &good.address, ""));
    // The hanging one waits for its place in ten seconds; so that it hangs at once, it is asked every second instead.
    let world = World::start(&config.replace("10s", "1s")).await;
    until("the hanging one to be asked", || (hanging.asked() > 0).then_some(())).await;
    let before = good.asked();
    until("the good one to be asked on", || (good.asked() >= before + 5).then_some(())).await;
    let state = world.state("hanging", |state| state.health == Health::Down).await;
    assert_eq!(state.last_error, "no whole answer within 1s (scrape_timeout)");
    assert_eq!(world.state("good", |state| state.health == Health::Up).await.last_error, "");
    world.stop().await;
}

fn gzip(body: &[u8]) -> Vec<u8> {
    use std::io::Write;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(body).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn bad_answers_are_down_with_a_sentence() {
    let text = "text/plain";
    let whole = gzip(b"a 1\n");
    for (name, answer, more, said) in [
        ("status", Answer::Status(503), "", "the answer has the status 503"),
        ("login page", Answer::Bytes("text/html", None, b"<html>".to_vec()), "", "line 1: a metric name was expected, at `<html>`"),
        ("not UTF-8", Answer::Bytes(text, None, b"a{b=\"\xff\"} 1\n".to_vec()), "", "the answer is not UTF-8"),
        ("half gzip", Answer::Bytes(text, Some("gzip"), whole[..whole.len() - 6].to_vec()), "", "not a complete gzip stream"),
        ("bomb", Answer::Bytes(text, Some("gzip"), gzip(&vec![b'\n'; 4 << 20])), "", "larger than 1MiB after decompression"),
        ("large", Answer::Bytes(text, None, vec![b'\n'; 2 << 20]), "", "the answer is larger than 1MiB"),
        ("body_size_limit", Answer::Text("a 1\nb 1\n"), "  body_size_limit: 5B\n", "the answer is larger than 5B"),
        ("rot13", Answer::Bytes(text, Some("rot13"), b"a 1\n".to_vec()), "", "content encoding is `rot13`"),
        ("protobuf", Answer::Bytes("application/vnd.google.protobuf", None, Vec::new()), "", "content type is `application/vnd"),
        ("open end", Answer::Bytes("application/openmetrics-text", None, b"a 1\n".to_vec()), "", "without `# EOF`"),
        ("limit", Answer::Text("a 1\nb 1\n"), "  sample_limit: 1\n", "more than 1 samples"),
        ("labels", Answer::Text("a{b=\"c\"} 1\n"), "  label_limit: 3\n", "more than label_limit (3)"),
        ("too many targets", Answer::Text("a 1\n"), "  target_limit: 1\n  http_sd_configs: []\n", ""),
        ("redirects", Answer::Redirect("/again".to_owned()), "", "redirect"),
        ("no redirects", Answer::Redirect("/again".to_owned()), "  follow_redirects: false\n", "status 302"),
        ("no file", Answer::Text("a 1\n"), "  bearer_token_file: missing\n", "the file cannot be read"),
        ("a bad secret", Answer::Text("a 1\n"), "  authorization: { credentials: \"hun\\nter22\" }\n", "cannot hold"),
    ] {
        let exporter = Exporter::start(answer).await;
        let intake = crate::Config {
            max_decoded_bytes: model::units::ByteCount(1 << 20),
            max_wire_bytes: model::units::ByteCount(1 << 20),
            ..crate::Config::default()
        };
        let config = format!("scrape_configs:\n{}", job("j", &exporter.address, more).replace("50ms", "200ms"));
        let world = World::with(intake, tempfile::tempdir().unwrap(), &config).await;
        if said.is_empty() {
            world.state("j", |state| state.health == Health::Up).await;
        } else {
            let state = world.state("j", |state| state.health == Health::Down).await;
            assert!(state.last_error.contains(said) && !state.last_error.contains("ter22"), "{name}: {}", state.last_error);
            assert!(world.values("up").iter().all(|up| up == "0") && world.values("a").is_empty(), "{name}");
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn nobody_there_is_down_too() {
    let world = World::start(&format!("scrape_configs:\n{}", job("j", "127.0.0.1:1", "  params: { token: [hunter22] }\n"))).await;
    let state = world.state("j", |state| state.health == Health::Down).await;
    assert!(state.last_error.contains("refused") && !state.last_error.contains("hunter22"), "{}", state.last_error);
    world.stop().await;
}

#[tokio::test]
async fn a_refusal_of_the_log_is_told_and_passes() {
    let exporter = Exporter::start(Answer::Text("a 1\n")).await;
    let world = World::start(&format!("scrape_configs:\n{}", job("j", &exporter.address, ""))).await;
    world.rig.sink.refuse((0..3).map(|_| model::sink::Refusal::Stopping).collect());
    let state = world.state("j", |state| state.health == Health::Down).await;
    assert_eq!(state.last_error, "the samples could not be stored: the server is stopping");
    world.state("j", |state| state.health == Health::Up).await;
    world.stop().await;
}

#[tokio::test]
async fn secrets_are_sent_as_configured() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("token"), "from-a-file\n").unwrap();
    let (basic, bearer, file) = (
        Exporter::start(Answer::Text("a 1\n")).await,
        Exporter::start(Answer::Text("a 1\n")).await,
        Exporter::start(Answer::Text("a 1\n")).await,
    );
    let config = [
        job("basic", &basic.address, "  basic_auth: { username: me, password: hunter22 }\n"),
        job("bearer", &bearer.address, "  authorization: { type: Token, credentials: secret }\n  params: { a: ['b c'] }\n"),
        job("file", &file.address, "  bearer_token_file: token\n  metrics_path: /deep/metrics\n"),
    ];
    let world = World::with(crate::Config::default(), folder, &format!("scrape_configs:\n{}", config.concat())).await;
    until("all to be asked", || [&basic, &bearer, &file].iter().all(|exporter| exporter.asked() > 0).then_some(())).await;
    assert_eq!(basic.header("authorization"), "Basic bWU6aHVudGVyMjI=");
    assert_eq!(bearer.header("authorization"), "Token secret");
    assert_eq!(bearer.last.lock().unwrap().0, "/metrics?a=b+c");
    assert_eq!(file.header("authorization"), "Bearer from-a-file");
    assert_eq!(file.last.lock().unwrap().0, "/deep/metrics");
    std::fs::write(world.folder.path().join("token"), "another").unwrap();
    until("the new token", || (file.header("authorization") == "Bearer another").then_some(())).await;
    world.stop().await;
}

#[tokio::test]
async fn files_and_urls_of_targets_are_followed() {
    let (one, two) = (Exporter::start(Answer::Text("a 1\n")).await, Exporter::start(Answer::Text("a 2\n")).await);
    let list = format!("[{{\"targets\": [\"{}\"], \"labels\": {{\"from\": \"url\"}}}}]", two.address);
    let listing = Exporter::start(Answer::Bytes("application/json", None, list.into_bytes())).await;
    let folder = tempfile::tempdir().unwrap();
    let write = |text: String| std::fs::write(folder.path().join("targets.yml"), text).unwrap();
    write(format!("- targets: ['{}']\n  labels: {{ from: file }}\n", one.address));
    let more = format!(
        "  file_sd_configs: [{{ files: ['*.yml'], refresh_interval: 50ms }}]\n  http_sd_configs: [{{ url: 'http://{}/x', refresh_interval: 50ms }}]\n  relabel_configs: [{{ source_labels: [from], regex: dropped, action: drop }}]\n",
        listing.address
    );
    let config = format!("scrape_configs:\n- job_name: sd\n  scrape_interval: 50ms\n{more}");
    let world = World::with(
        crate::Config::default(),
        tempfile::tempdir().unwrap(),
        &config.replace("*.yml", &format!("{}/*.yml", folder.path().display())),
    )
    .await;
    let series = |from: &str, value: &str| {
        let labels = format!("from={from}");
        let described = world.rig.sink.rows("series");
        let known =
            described.iter().filter(|row| row["metric"] == "a" && row["labels"].contains(&labels)).map(|row| row["fingerprint"].clone());
        let known: Vec<String> = known.collect();
        world
            .points("a")
            .iter()
            .rfind(|row| known.contains(&row["fingerprint"]))
            .filter(|row| if value == "stale" { row["flags"] == "1" } else { row["value"] == value })
            .cloned()
    };
    until("both targets", || series("file", "1").and(series("url", "2"))).await;
    // The file loses its target: after two intervals its series are stale.
    write("[]\n".to_owned());
    until("the file's series to be stale", || series("file", "stale")).await;
    let asked = one.asked();
    // It comes back, while a broken list leaves the other one alone.
    listing.says(Answer::Text("broken"));
    write(format!("- targets: ['{}']\n  labels: {{ from: file }}\n- targets: ['x:1']\n  labels: {{ from: dropped }}\n", one.address));
    until("the file's series again", || series("file", "1")).await;
    assert!(one.asked() > asked);
    let before = two.asked();
    until("the other one to go on", || (two.asked() > before + 2).then_some(())).await;
    let (_, json) = world.get("/api/v1/targets?state=dropped", Permission::Read).await;
    assert_eq!(json["data"]["droppedTargets"][0]["discoveredLabels"]["__address__"], "x:1");
    assert_eq!(json["data"]["droppedTargetCounts"]["sd"], 1);
    world.stop().await;
}

#[tokio::test]
async fn only_the_leader_scrapes() {
    let exporter = Exporter::start(Answer::Text("a 1\n")).await;
    let world = World::start(&format!("scrape_configs:\n{}", job("j", &exporter.address, ""))).await;
    until("a scrape", || (exporter.asked() > 0).then_some(())).await;
    world.lead.send_replace(None);
    until("the targets to go", || world.scraper.targets().is_empty().then_some(())).await;
    let asked = exporter.asked();
    world.lead.send_replace(Some(fence()));
    until("scrapes again", || (exporter.asked() > asked).then_some(())).await;
    world.stop().await;
}

#[tokio::test]
async fn the_state_of_targets_is_told_in_prometheus_words() {
    let exporter = Exporter::start(Answer::Text("a 1\n")).await;
    let config = format!("scrape_configs:\n{}- job_name: empty\n", job("j", &exporter.address, "").replace("50ms", "100ms"));
    let world = World::start(&config).await;
    world.state("j", |state| state.health == Health::Up).await;
    let (status, json) = world.get("/api/v1/targets", Permission::Read).await;
    assert_eq!((status, &json["status"]), (StatusCode::OK, &serde_json::json!("success")));
    let target = &json["data"]["activeTargets"][0];
    for (key, value) in [
        ("scrapePool", "j"),
        ("scrapeUrl", &format!("http://{}/metrics", exporter.address)),
        ("lastError", ""),
        ("health", "up"),
        ("scrapeInterval", "100ms"),
        ("scrapeTimeout", "100ms"),
    ] {
        assert_eq!(target[key], value, "{key}");
    }
    assert_eq!(target["labels"], serde_json::json!({"instance": exporter.address, "job": "j"}));
    assert_eq!(target["discoveredLabels"]["__scheme__"], "http");
    let (_, pools) = world.get("/api/v1/scrape_pools", Permission::Read).await;
    assert_eq!(pools["data"]["scrapePools"], serde_json::json!(["empty", "j"]));
    let (_, none) = world.get("/api/v1/targets?scrapePool=empty&state=active", Permission::Read).await;
    assert_eq!(none["data"]["activeTargets"], serde_json::json!([]));
    assert_eq!(world.get("/api/v1/targets?state=odd", Permission::Read).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(world.get("/api/v1/targets", Permission::Ingest).await.0, StatusCode::FORBIDDEN);
    world.stop().await;
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("empty.pem"), "nothing").unwrap();
    for (config, said) in [
        ("scrape_configs: [{ job_name: '' }]", "job_name is missing"),
        ("scrape_configs: [{ job_name: a, tls_config: { ca_file: missing.pem } }]", "job `a`"),
        ("scrape_configs: [{ job_name: a, tls_config: { cert_file: empty.pem, key_file: empty.pem } }]", "job `a`"),
    ] {
        let config: Config = serde_saphyr::from_str(config).unwrap();
        let rig = Rig::new(crate::Config::default());
        let error = Scraper::new(&config, folder.path(), "n", rig.collector, &Registry::new()).err().unwrap();
        assert!(error.to_string().contains(said), "{error}");
    }
}
