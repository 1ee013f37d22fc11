//! The configuration: one YAML file over documented defaults. Every key stands, with its default and its reason, in
//! `deploy/watchfire.yaml`; a test holds that file and these types together.

pub mod expand;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use alerting::channels::ReceiverConfig;
use model::secret::Secret;
use model::time::Span;
use model::units::ByteCount;
use serde::{Deserialize, Serialize};

/// The documented default file.
pub const DEFAULT_FILE: &str = include_str!("../../deploy/watchfire.yaml");

/// All of it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Addresses, folders, stopping.
    pub server: ServerConfig,
    /// Where data is kept.
    pub storage: StorageConfig,
    /// Intake.
    pub collector: collector::Config,
    /// What happens to records before they are stored.
    pub pipeline: collector::pipeline::Config,
    /// Targets that are asked for their metrics.
    pub scrape: collector::scrape::Config,
    /// Health checks.
    pub checks: collector::checks::Config,
    /// Rules and ladders.
    pub alerting: alerting::Config,
    /// Where notifications go.
    pub receivers: Vec<ReceiverConfig>,
    /// How they are sent.
    pub delivery: alerting::delivery::Config,
    /// Incidents and postmortems.
    pub incidents: incidents::Config,
    /// Error issues.
    pub errors: incidents::issues::Config,
    /// Repairs.
    pub remediation: remediation::Config,
    /// Boards of the console.
    pub dashboards: dashboards::boards::Config,
    /// Watchfire's own logs and spans.
    pub observe: ObserveConfig,
}

/// Addresses, folders, stopping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Everything over HTTP.
    pub listen: SocketAddr,
    /// OTLP over gRPC.
    pub otlp_grpc: SocketAddr,
    /// OTLP over HTTP.
    pub otlp_http: SocketAddr,
    /// Zipkin's spans on an address of their own; none: `listen` takes them all the same.
    pub zipkin: Option<SocketAddr>,
    /// Where telemetry, state, log segments and postmortems lie; none: a folder of the user's.
    pub data_dir: Option<PathBuf>,
    /// How links in notifications begin; none: `http://<listen>`.
    pub public_url: Option<String>,
    /// A file whose text becomes the first API key if none exists: for containers.
    pub first_key_file: Option<PathBuf>,
    /// How long stopping may take.
    pub shutdown_grace: Span,
    /// Whether changed files are taken up without a signal.
    pub reload_on_change: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        let loopback = |port| SocketAddr::from(([127, 0, 0, 1], port));
        ServerConfig {
            listen: loopback(7700),
            otlp_grpc: loopback(4317),
            otlp_http: loopback(4318),
            zipkin: None,
            data_dir: None,
            public_url: None,
            first_key_file: None,
            shutdown_grace: Span::secs(20),
            reload_on_change: true,
        }
    }
}

/// Where data is kept.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StorageConfig {
    /// Telemetry.
    pub clickhouse: ClickHouseConfig,
    /// State: none is SQLite in the data folder.
    pub postgres_url: Option<Secret>,
    /// The write-ahead log.
    pub wal: WalSettings,
    /// PromQL.
    pub queries: QuerySettings,
    /// How long done and cancelled work rows (deliveries, timers) are kept.
    pub finished_work: Span,
}

impl Default for StorageConfig {
    fn default() -> Self {
        StorageConfig {
            clickhouse: ClickHouseConfig::default(),
            postgres_url: None,
            wal: WalSettings::default(),
            queries: QuerySettings::default(),
            finished_work: Span::secs(30 * 86_400),
        }
    }
}

/// What PromQL may take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QuerySettings {
    /// What one question to the store may hold in the store's memory.
    pub memory: ByteCount,
    /// Answers of range queries, kept for when they are asked again; 0: none.
    pub cache: ByteCount,
    /// The newest samples, kept in memory; 0: none.
    pub head: ByteCount,
}

impl Default for QuerySettings {
    fn default() -> Self {
        QuerySettings { memory: ByteCount(1 << 30), cache: ByteCount(64 << 20), head: ByteCount(256 << 20) }
    }
}

/// The write-ahead log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WalSettings {
    /// Intake is refused (503 with Retry-After) while the log holds more than this.
    pub max_bytes: ByteCount,
    /// Intake is refused while the disk has less than this left.
    pub disk_reserve: ByteCount,
    /// A segment is closed once it is larger than this, or than a quarter of `max_bytes`.
    pub segment_bytes: ByteCount,
    /// Intake is refused while this many encoded bytes wait for the disk.
    pub waiting_bytes: ByteCount,
    /// How long a request's hash is remembered, so that a resend is stored once.
    pub request_window: Span,
    /// Rows are sent to ClickHouse when there are this many,
    pub batch_rows: u64,
    /// or this many bytes,
    pub batch_bytes: ByteCount,
    /// or when the first has waited this long.
    pub batch_linger: Span,
}

impl Default for WalSettings {
    fn default() -> Self {
        const MIB: u64 = 1 << 20;
        WalSettings {
            max_bytes: ByteCount(8192 * MIB),
            disk_reserve: ByteCount(1024 * MIB),
            segment_bytes: ByteCount(64 * MIB),
            waiting_bytes: ByteCount(256 * MIB),
            request_window: Span::secs(600),
            batch_rows: 100_000,
            batch_bytes: ByteCount(32 * MIB),
            batch_linger: Span::secs(1),
        }
    }
}

impl WalSettings {
    /// The log's own configuration, for a folder and a node.
    pub fn for_node(&self, dir: PathBuf, node: &str) -> store::wal::WalConfig {
        let defaults = store::wal::WalConfig::new(dir, node);
        store::wal::WalConfig {
            // The open segment counts however much of it is stored: it must not fill a small log alone.
            segment_bytes: self.segment_bytes.0.min(self.max_bytes.0 / 4),
            max_bytes: self.max_bytes.0,
            disk_reserve_bytes: self.disk_reserve.0,
            waiting_bytes: self.waiting_bytes.0,
            request_window: self.request_window.0,
            batch: store::wal::BatchLimits { rows: self.batch_rows, bytes: self.batch_bytes.0, linger: self.batch_linger.0 },
            ..defaults
        }
    }
}

/// Telemetry: the embedded engine, or a server.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClickHouseConfig {
    /// A ClickHouse server's HTTP address; none is the embedded engine.
    pub url: Option<String>,
    /// Its user.
    pub user: String,
    /// Its password.
    pub password: Secret,
    /// The database.
    pub database: String,
    /// The engine's library; none is the per-user cache, filled once through npm.
    pub engine_lib: Option<PathBuf>,
    /// What the embedded engine may use.
    pub engine_memory: ByteCount,
    /// Where the embedded engine serves ClickHouse's HTTP interface to clients with an API key that may read; none: nowhere.
    pub sql_listen: Option<SocketAddr>,
}

impl ClickHouseConfig {
    /// Less than this, and the engine cannot merge what it stores.
    const LEAST_MEMORY: u64 = 512 << 20;

    fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.url.is_some() && self.sql_listen.is_some() {
            problems.push("storage.clickhouse: `sql_listen` is the embedded engine's; with `url` let clients connect to that server, and leave it out".to_owned());
        }
        if self.engine_memory.0 < Self::LEAST_MEMORY {
            problems.push("storage.clickhouse.engine_memory: less than 512MiB is too little for the engine".to_owned());
        }
        problems
    }
}

impl Default for ClickHouseConfig {
    fn default() -> Self {
        ClickHouseConfig {
            url: None,
            user: "default".to_owned(),
            password: Secret::default(),
            database: "watchfire".to_owned(),
            engine_lib: None,
            engine_memory: ByteCount(4 << 30),
            sql_listen: None,
        }
    }
}

/// Watchfire's own logs and spans.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ObserveConfig {
    /// What is logged: `info`, or directives such as `info,store=debug`.
    pub log: String,
    /// `text` or `json`.
    pub log_format: LogFormat,
    /// Own spans: `off`, `self`, or the URL of an OTLP/gRPC endpoint.
    pub spans: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one JSON object a line.
    Json,
}

impl Default for ObserveConfig {
    fn default() -> Self {
        ObserveConfig { log: "info".to_owned(), log_format: LogFormat::Text, spans: "off".to_owned() }
    }
}

/// A configuration that cannot be used: one sentence each.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: the file cannot be read: {source}")]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A `${...}` cannot be filled in.
    #[error("{path}: {problem}")]
    Expand {
        /// Which file.
        path: PathBuf,
        /// Line and fix.
        problem: String,
    },
    /// It does not parse.
    #[error("{path}: {problem}")]
    Parse {
        /// Which file.
        path: PathBuf,
        /// Line, field and fix.
        problem: String,
    },
    /// It parses and makes no sense.
    #[error("{path}: {}", problems.join("; "))]
    Check {
        /// Which file.
        path: PathBuf,
        /// One sentence each.
        problems: Vec<String>,
    },
}

/// Reads a file; without one, the defaults.
pub fn read(path: Option<&Path>, environment: &dyn Fn(&str) -> Option<String>) -> Result<Config, ConfigError> {
    let Some(path) = path else { return Ok(Config::default()) };
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    let read_file = |file: &str| std::fs::read_to_string(file).map_err(|error| error.to_string());
    let text = expand::expand(&text, environment, &read_file).map_err(|problem| ConfigError::Expand { path: path.to_owned(), problem })?;
    let config = parse(&text).map_err(|problem| ConfigError::Parse { path: path.to_owned(), problem })?;
    let problems = config.problems();
    if problems.is_empty() { Ok(config) } else { Err(ConfigError::Check { path: path.to_owned(), problems }) }
}

/// Parses a text whose placeholders are filled in. The error names line, column and field; it shows no line of the text, because the
/// lines around a mistake may hold secrets.
pub fn parse(text: &str) -> Result<Config, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Config::default());
    }
    serde_saphyr::from_str(text).map_err(|error| {
        let said = error.without_snippet().to_string();
        let line = said.lines().next().unwrap_or_default();
        let place = line.rfind(" at line ").map_or("", |at| &line[at..]);
        format!("{}{place}", alerting::rules::yaml_mistake(&said))
    })
}

impl Config {
    /// What is wrong with it, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let receivers: BTreeSet<String> = self.receivers.iter().map(|receiver| receiver.name().to_owned()).collect();
        let mut problems = alerting::channels::check_receivers(&self.receivers);
        problems.extend(self.delivery.problems().into_iter().map(|problem| format!("delivery: {problem}")));
        problems.extend(self.alerting.check(&receivers));
        problems.extend(self.incidents.check());
        problems.extend(self.errors.check());
        problems.extend(self.remediation.check());
        problems.extend(self.collector.check().err().map(|error| format!("collector: {error}")));
        problems.extend(collector::pipeline::Pipeline::new(&self.pipeline).err().into_iter().flatten().map(|problem| problem.to_string()));
        problems.extend(self.scrape.problems());
        problems.extend(self.checks.problems());
        problems.extend(crate::observe::Spans::parse(&self.observe.spans).err());
        problems.extend(self.storage.clickhouse.problems());
        if self.storage.finished_work < Span::secs(86_400) {
            let kept = self.storage.finished_work;
            problems.push(format!("storage.finished_work is {kept}: use at least 1d, or what was done could be done once more"));
        }
        let named = self.incidents.chat_receiver.iter().chain(&self.incidents.review_receivers).chain(&self.incidents.update_receivers);
        for name in named.filter(|name| !receivers.contains(*name)) {
            problems.push(format!("incidents: `{name}` is not configured under `receivers`"));
        }
        let deaf = |name: &&String| self.receivers.iter().any(|one| one.name() == name.as_str() && !one.takes_documents());
        for name in self.incidents.update_receivers.iter().filter(deaf) {
            let said = "takes pages only, no letters: use mail, slack, slack_webhook, msteams, discord, telegram or ntfy";
            problems.push(format!("incidents.update_receivers: the receiver `{name}` {said}"));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documented_file_is_the_default() {
        let documented = parse(DEFAULT_FILE).unwrap();
        assert_eq!(serde_json::to_value(&documented).unwrap(), serde_json::to_value(Config::default()).unwrap());
    }

    #[test]
    fn every_key_stands_in_the_documented_file() {
        fn keys(value: &serde_json::Value, found: &mut Vec<String>) {
            for (key, inner) in value.as_object().into_iter().flatten() {
                found.push(key.clone());
                keys(inner, found);
            }
        }
        let mut found = Vec::new();
        keys(&serde_json::to_value(Config::default()).unwrap(), &mut found);
        for key in found {
            assert!(DEFAULT_FILE.contains(&format!("{key}:")), "deploy/watchfire.yaml does not document `{key}`");
        }
    }

    #[test]
    fn a_mistake_in_a_receiver_is_named_and_its_secrets_are_not_shown() {
        for (text, said) in [
            ("- { name: a, type: pagerduty, routing_key: hunter22, token: x }", "has the key `token`"),
            ("- name: a\n  type: pagerduty\n  routing_kee: hunter22", "unknown field `routing_kee`"),
            ("- { name: a, type: pagerdoody, routing_key: hunter22 }", "unknown variant `pagerdoody`"),
            ("- { name: a, type: mail, password: hunter22 }", "needs the key `host`"),
        ] {
            let error = parse(&format!("receivers:\n{text}\n")).unwrap_err();
            assert!(error.contains(said) && error.contains("line ") && !error.contains("hunter22"), "{error}");
        }
    }

    #[test]
    fn receivers_and_delivery_are_checked() {
        let text = "receivers:\n- { name: a, type: pagerduty, routing_key: hunter22, url: \"http://example.com\" }\n- { name: a, type: slack_webhook, url: nowhere }\ndelivery: { lease: 0s, retry_cap: 1ms }\n";
        let problems = parse(text).unwrap().problems();
        for said in [
            "receivers[0] `a`: url would send a secret unencrypted",
            "receivers[1] `a`: url is not a URL",
            "receivers[1]: the name `a` exists twice",
            "delivery: lease is 0",
            "delivery: retry_cap is smaller than retry_base",
        ] {
            assert!(problems.iter().any(|problem| problem.contains(said)), "{said} in {problems:?}");
        }
        assert!(!format!("{problems:?}").contains("hunter22"));
    }

    #[test]
    fn letters_go_only_where_letters_are_taken() {
        let text = "receivers:\n- { name: pd, type: pagerduty, routing_key: x }\n- { name: ops, type: slack_webhook, url: \"https://example.com/x\" }\n\
                    incidents: { update_receivers: [ops, pd], review_receivers: [gone] }\n";
        let problems = parse(text).unwrap().problems();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(
            problems[0].contains("`gone` is not configured")
                && problems[1].contains("update_receivers: the receiver `pd` takes pages only")
        );
    }

    #[test]
    fn what_the_engine_cannot_do_is_said() {
        let problems = |text: &str| parse(&format!("storage:\n  clickhouse: {text}\n")).unwrap().problems();
        assert!(problems("{ sql_listen: 127.0.0.1:8123, engine_memory: 512MiB }").is_empty());
        assert!(problems("{ sql_listen: 127.0.0.1:8123, url: http://db:8123 }")[0].contains("leave it out"));
        assert!(problems("{ engine_memory: 64MiB }")[0].contains("too little"));
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line() {
        let error = parse("server:\n  lisen: 127.0.0.1:1\n").unwrap_err();
        assert!(error.contains("lisen") && error.contains("line 2"), "{error}");
    }
}
