//! The two systems behind one face: Watchfire, and Debian's Prometheus with Alertmanager. Both take remote writes and Alertmanager's alerts,
//! evaluate the same rule file every second, tell the same webhook by the same tree, and can be stopped, killed and started again.

use std::net::SocketAddr;
use std::path::Path;

use model::time::{Clock, SystemClock, Timestamp};
use serde_json::{Value, json};
use tests::process::{Watchfire, free_port};
use tests::programs::Program;
use tests::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use tests::wait::wait_for;

/// The bits of Prometheus's mark for a series that has ended.
const STALE: u64 = 0x7ff0_0000_0000_0002;

/// One of the two.
pub enum Stack {
    Watchfire(Box<Watchfire>),
    Peer(Box<Peer>),
}

/// Prometheus and Alertmanager.
pub struct Peer {
    folder: tempfile::TempDir,
    rules: SocketAddr,
    notifier: SocketAddr,
    prometheus: Program,
    alertmanager: Program,
}

impl Peer {
    fn prometheus(folder: &Path, address: SocketAddr) -> Program {
        let arguments = [
            format!("--config.file={}", folder.join("prometheus.yml").display()),
            format!("--storage.tsdb.path={}", folder.join("tsdb").display()),
            format!("--web.listen-address={address}"),
            "--web.enable-remote-write-receiver".to_owned(),
            // Alertmanager takes an alert for over after four times this.
            "--rules.alert.resend-delay=1s".to_owned(),
        ];
        Program::start("prometheus", &arguments)
    }
    fn alertmanager(folder: &Path, address: SocketAddr) -> Program {
        let arguments = [
            format!("--config.file={}", folder.join("alertmanager.yml").display()),
            format!("--storage.path={}", folder.join("alertmanager").display()),
            format!("--web.listen-address={address}"),
            "--cluster.listen-address=".to_owned(),
        ];
        Program::start("prometheus-alertmanager", &arguments)
    }
    async fn ready(&self) {
        for address in [self.rules, self.notifier] {
            let url = format!("http://{address}/-/ready");
            wait_for("the peer", async || reqwest::get(&url).await.ok()?.error_for_status().ok().map(drop)).await;
        }
    }
}

impl Stack {
    /// Watchfire with these rules; its tree tells the hook at once, and again after `interval`.
    pub async fn watchfire(hook: SocketAddr, interval: &str, rules: &str) -> Self {
        let config = format!(
            "alerting:\n  rules: rules\n  route: {{ receivers: [hook], group_by: [alertname], group_wait: 0s, group_interval: {interval}, repeat_interval: 1h }}\nreceivers:\n- {{ name: hook, type: webhook, url: 'http://{hook}/hook', timeout: 1m }}\n"
        );
        let mut world = Watchfire::prepare(crate::WATCHFIRE, &config, &[("rules.yaml", rules)]);
        world.start().await;
        Stack::Watchfire(Box::new(world))
    }

    /// Prometheus and Alertmanager with the same.
    pub async fn peer(hook: SocketAddr, interval: &str, rules: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let [rules_at, notifier] = [(); 2].map(|()| SocketAddr::from(([127, 0, 0, 1], free_port())));
        let tree = format!("receiver: hook, group_by: [alertname], group_wait: 0s, group_interval: {interval}, repeat_interval: 1h");
        let receivers = format!("[{{ name: hook, webhook_configs: [{{ url: 'http://{hook}/hook' }}] }}]");
        let manager = format!("route: {{ {tree} }}\nreceivers: {receivers}\n");
        std::fs::write(folder.path().join("alertmanager.yml"), manager).unwrap();
        std::fs::write(folder.path().join("rules.yml"), rules).unwrap();
        let config = format!(
            "global: {{ evaluation_interval: 1s }}\nrule_files: [rules.yml]\nalerting: {{ alertmanagers: [{{ static_configs: [{{ targets: ['{notifier}'] }}] }}] }}\n"
        );
        std::fs::write(folder.path().join("prometheus.yml"), config).unwrap();
        let (prometheus, alertmanager) = (Peer::prometheus(folder.path(), rules_at), Peer::alertmanager(folder.path(), notifier));
        let peer = Peer { folder, rules: rules_at, notifier, prometheus, alertmanager };
        peer.ready().await;
        Stack::Peer(Box::new(peer))
    }

    /// Where rules are evaluated.
    fn rules_at(&self) -> SocketAddr {
        match self {
            Stack::Watchfire(world) => world.http,
            Stack::Peer(peer) => peer.rules,
        }
    }
    /// Where alerts are taken.
    fn notifier_at(&self) -> SocketAddr {
        match self {
            Stack::Watchfire(world) => world.http,
            Stack::Peer(peer) => peer.notifier,
        }
    }

    /// SIGTERM to what notifies.
    pub async fn stop_notifier(&mut self) {
        match self {
            Stack::Watchfire(world) => drop(world.stop().await),
            Stack::Peer(peer) => peer.alertmanager.stop().await,
        }
    }
    /// `kill -9` of what notifies.
    pub fn kill_notifier(&mut self) {
        match self {
            Stack::Watchfire(world) => world.kill(),
            Stack::Peer(peer) => peer.alertmanager.kill(),
        }
    }
    /// What notifies starts again.
    pub async fn start_notifier(&mut self) {
        match self {
            Stack::Watchfire(world) => world.start().await,
            Stack::Peer(peer) => {
                peer.alertmanager = Peer::alertmanager(peer.folder.path(), peer.notifier);
                peer.ready().await;
            }
        }
    }
    /// What evaluates is stopped with SIGTERM and starts again. Returns the moment between.
    pub async fn restart_rules(&mut self) -> Timestamp {
        match self {
            Stack::Watchfire(world) => {
                world.stop().await;
                let between = SystemClock.now();
                world.start().await;
                between
            }
            Stack::Peer(peer) => {
                peer.prometheus.stop().await;
                let between = SystemClock.now();
                peer.prometheus = Peer::prometheus(peer.folder.path(), peer.rules);
                peer.ready().await;
                between
            }
        }
    }

    /// An alert of somebody else begins, or is over: told once, as Alertmanager's API takes it.
    pub async fn send(&self, name: &str, over: bool) {
        let now = SystemClock.now();
        let mut alert = json!({"labels": {"alertname": name, "severity": "warning"}});
        if over {
            alert["endsAt"] = now.rfc3339().into();
        } else {
            alert["endsAt"] = now.plus(std::time::Duration::from_secs(3_600)).rfc3339().into();
        }
        let url = format!("http://{}/api/v2/alerts", self.notifier_at());
        let answer = reqwest::Client::new().post(url).json(&json!([alert])).send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// A sample of a series with the label `n`, now; `None`: the series ends.
    pub async fn write(&self, metric: &str, n: &str, value: Option<f64>) {
        let sample = Sample { value: value.unwrap_or(f64::from_bits(STALE)), timestamp: SystemClock.now().millis() };
        let labels = vec![Label::new("__name__", metric), Label::new("n", n)];
        let body = WriteRequest { timeseries: vec![TimeSeries { labels, samples: vec![sample] }] }.body();
        let client = reqwest::Client::new();
        let request = client.post(format!("http://{}/api/v1/write", self.rules_at())).body(body);
        let request = request.header("content-encoding", "snappy").header("content-type", "application/x-protobuf");
        let answer = request.header("x-prometheus-remote-write-version", "0.1.0").send().await.unwrap();
        assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
    }

    /// A rule as `/api/v1/rules` shows it; `None` while nobody answers or it is not there yet.
    pub async fn rule(&self, name: &str) -> Option<Rule> {
        let url = format!("http://{}/api/v1/rules", self.rules_at());
        let answer: Value = reqwest::get(url).await.ok()?.json().await.ok()?;
        let groups = answer["data"]["groups"].as_array()?;
        let rule = groups.iter().flat_map(|group| group["rules"].as_array().into_iter().flatten()).find(|rule| rule["name"] == name)?;
        Some(Rule {
            state: rule["state"].as_str()?.to_owned(),
            healthy: rule["health"] == "ok",
            evaluated: rule["lastEvaluation"].as_str()?.parse().ok()?,
        })
    }

    /// Waits until all that was written to be said has been said, as far as the system can tell.
    pub async fn said_all(&self) {
        if let Stack::Watchfire(world) = self {
            wait_for("every delivery to be done", async || {
                let waiting = world.get("/api/watchfire/v1/deliveries?state=pending").await;
                waiting["deliveries"].as_array()?.is_empty().then_some(())
            })
            .await;
        }
    }
}

/// How a rule stands.
#[derive(Clone, Debug)]
pub struct Rule {
    /// `inactive`, `pending` or `firing`.
    pub state: String,
    /// Whether its last evaluation went well.
    pub healthy: bool,
    /// When that was.
    pub evaluated: Timestamp,
}
