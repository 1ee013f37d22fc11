//! A Watchfire process on free ports with a data folder of its own: started, killed, started again.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

use crate::wait::wait_for;

/// A port that nobody listens on, neither TCP nor UDP; no two calls of a process give the same one. It is from below those that the
/// kernel gives to connections and to listeners on port 0 (from 32768, `ip_local_port_range`): between this answer and its use
/// nothing else takes it.
pub fn free_port() -> u16 {
    const PORTS: std::ops::Range<u16> = 10_000..32_000;
    static NEXT: OnceLock<AtomicU16> = OnceLock::new();
    let next = NEXT.get_or_init(|| AtomicU16::new(rand::random_range(PORTS)));
    (0..PORTS.len())
        .map(|_| PORTS.start + next.fetch_add(1, Ordering::Relaxed) % (PORTS.end - PORTS.start))
        .find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok() && UdpSocket::bind(("127.0.0.1", *port)).is_ok())
        .expect("a free port below 32000")
}

/// A Watchfire with its folder and its addresses; they stay the same over restarts.
pub struct Watchfire {
    executable: PathBuf,
    folder: tempfile::TempDir,
    child: Option<Child>,
    /// What the process finds in its environment besides.
    pub environment: Vec<(String, String)>,
    /// Everything over HTTP.
    pub http: SocketAddr,
    /// OTLP over gRPC.
    pub grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    client: reqwest::Client,
    key: Option<String>,
}

impl Watchfire {
    /// Prepares a folder; `config` is the YAML without the section `server`, `rules` are files for its `rules/` folder.
    pub fn prepare(executable: &str, config: &str, rules: &[(&str, &str)]) -> Self {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let folder = tempfile::tempdir().unwrap();
        let address = || SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (http, grpc, otlp_http) = (address(), address(), address());
        let server = format!("server:\n  listen: {http}\n  otlp_grpc: {grpc}\n  otlp_http: {otlp_http}\n");
        std::fs::write(folder.path().join("watchfire.yaml"), format!("{server}{config}")).unwrap();
        std::fs::create_dir(folder.path().join("rules")).unwrap();
        for (name, text) in rules {
            std::fs::write(folder.path().join("rules").join(name), text).unwrap();
        }
        Watchfire {
            executable: executable.into(),
            folder,
            child: None,
            environment: Vec::new(),
            http,
            grpc,
            otlp_http,
            client: reqwest::Client::new(),
            key: None,
        }
    }
    /// A command of the same binary with this configuration and data folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.executable);
        command
            .envs(self.environment.iter().cloned())
            .args(arguments)
            .arg("--config")
            .arg(self.folder.path().join("watchfire.yaml"))
            .arg("--data-dir")
            .arg(self.data())
            .arg("--server")
            .arg(format!("http://{}", self.http))
            .current_dir(self.folder.path());
        command
    }
    /// Writes another text in the place of one that stands in the configuration, for the next start.
    pub fn reconfigure(&self, from: &str, to: &str) {
        let path = self.folder.path().join("watchfire.yaml");
        let before = std::fs::read_to_string(&path).unwrap();
        assert!(before.contains(from), "{before} has no {from}");
        std::fs::write(path, before.replace(from, to)).unwrap();
    }
    /// The data folder.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }
    /// The folder with configuration, rules and data.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }
    /// Starts the process and waits until every part is well.
    pub async fn start(&mut self) {
        self.launch();
        self.ready().await;
    }
    /// Starts the process.
    pub fn launch(&mut self) {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        let child = self.command(&["serve"]).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        self.child = Some(child);
    }
    /// Waits until every part is well.
    pub async fn ready(&mut self) {
        let url = format!("http://{}/-/ready", self.http);
        for _ in 0..1200 {
            if let Some(status) = self.child.as_mut().unwrap().try_wait().unwrap() {
                panic!("watchfire ended with {status} before it was ready:\n{}", self.log());
            }
            if self.client.get(&url).send().await.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        panic!("watchfire was not ready within a minute:\n{}", self.log());
    }
    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }
    /// `kill -9`.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }
    /// SIGTERM, and its exit code.
    pub async fn stop(&mut self) -> Option<i32> {
        let mut child = self.child.take().unwrap();
        Command::new("kill").arg(child.id().to_string()).status().unwrap();
        wait_for("watchfire to stop", async || child.try_wait().unwrap()).await.code()
    }
    /// What it wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }
    /// Makes an API key and uses it from now on; returns once the server asks for it.
    pub async fn make_key(&mut self) -> String {
        let made = self.command(&["keys", "create", "test", "--json"]).output().unwrap();
        let made: Value = serde_json::from_slice(&made.stdout).unwrap_or_else(|_| panic!("{made:?}"));
        let key = made["key"].as_str().unwrap().to_owned();
        let status = format!("http://{}/api/watchfire/v1/status", self.http);
        wait_for("the server to ask for a key", async || {
            (self.client.get(&status).send().await.ok()?.status().as_u16() == 401).then_some(())
        })
        .await;
        // There may have been a key before: then it asks already, and does not know this one yet.
        wait_for("the server to know the key", async || {
            self.client.get(&status).bearer_auth(&key).send().await.ok()?.status().is_success().then_some(())
        })
        .await;
        self.key = Some(key.clone());
        key
    }
    fn request(&self, method: reqwest::Method, url: String) -> reqwest::RequestBuilder {
        let request = self.client.request(method, url);
        match &self.key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
    /// GET, as JSON.
    pub async fn get(&self, path: &str) -> Value {
        let answer = self.request(reqwest::Method::GET, format!("http://{}{path}", self.http)).send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("GET {path}: {status} {error}: {text}"))
    }
    /// GET, as text.
    pub async fn text(&self, path: &str) -> String {
        self.request(reqwest::Method::GET, format!("http://{}{path}", self.http)).send().await.unwrap().text().await.unwrap()
    }
    /// A number out of its own metrics: of the first series that begins so, labels and the space before the number included.
    pub async fn own(&self, series: &str) -> Option<f64> {
        self.text("/metrics").await.lines().find_map(|line| line.strip_prefix(series)?.trim().parse().ok())
    }
    /// POST of JSON.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        let answer = self.request(reqwest::Method::POST, format!("http://{}{path}", self.http)).json(body).send().await.unwrap();
        answer.json().await.unwrap_or(Value::Null)
    }
    /// The answer to an SQL question, as `JSONCompact`.
    pub async fn sql(&self, sql: &str) -> String {
        let url = format!("http://{}/api/watchfire/v1/sql?format=JSONCompact", self.http);
        self.request(reqwest::Method::POST, url).body(sql.to_owned()).send().await.unwrap().text().await.unwrap()
    }
    /// One number out of an SQL question; waits where the store is away for a moment (its engine was just killed).
    pub async fn count(&self, sql: &str) -> u64 {
        let url = format!("http://{}/api/watchfire/v1/sql?format=JSONCompact", self.http);
        wait_for(sql, async || {
            let text = self.request(reqwest::Method::POST, url.clone()).body(sql.to_owned()).send().await.ok()?.text().await.ok()?;
            let json: Value = serde_json::from_str(&text).unwrap_or_else(|_| panic!("{sql}: {text}"));
            if json["errorType"] == "unavailable" {
                return None;
            }
            let cell = &json["data"][0][0];
            Some(cell.as_str().map_or_else(|| cell.as_u64().unwrap_or_else(|| panic!("{sql}: {text}")), |digits| digits.parse().unwrap()))
        })
        .await
    }
    /// The first value of an instant PromQL query.
    pub async fn promql(&self, expr: &str) -> Option<f64> {
        let url = format!("http://{}/api/v1/query", self.http);
        let json: Value = self.request(reqwest::Method::GET, url).query(&[("query", expr)]).send().await.ok()?.json().await.ok()?;
        json["data"]["result"][0]["value"][1].as_str()?.parse().ok()
    }
}

impl Drop for Watchfire {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            eprintln!("--- watchfire's log ---\n{}", self.log());
        }
    }
}
