//! The `scrape` part of the YAML file, shaped as Prometheus's `scrape_configs`. Fails: unknown keys are refused while parsing,
//! values that cannot work by [`Config::problems`], files of jobs by [`Config::with_files`].

mod check;
mod files;

use std::collections::BTreeMap;

use model::secret::Secret;
use model::tenant::TenantId;
use model::time::Span;
use model::units::ByteCount;
use serde::{Deserialize, Deserializer, Serialize};

use super::relabel::RelabelConfig;

/// Scraping: which targets, how often, what of it is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often the targets of jobs are scraped that do not say. Default 1m.
    pub scrape_interval: Span,
    /// How long a scrape of such a job may take. Default 10s.
    pub scrape_timeout: Span,
    /// Connections to targets at the same time; what waits longer than its timeout for its turn has failed. Default 1000.
    pub concurrency: usize,
    /// Whose the series are. Default `default`.
    pub tenant: TenantId,
    /// Whether each scrape also tells its timeout, its sample limit and the size of its body. Default false.
    pub extra_scrape_metrics: bool,
    /// The jobs. Default none.
    pub scrape_configs: Vec<Job>,
    /// Files with more jobs: `scrape_configs` alone, or a whole `prometheus.yml`, of which only the jobs and their global pace
    /// count. The last part may hold `*`. Relative to the configuration file.
    pub scrape_config_files: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            scrape_interval: Span::secs(60),
            scrape_timeout: Span::secs(10),
            concurrency: 1_000,
            tenant: TenantId::default(),
            extra_scrape_metrics: false,
            scrape_configs: Vec::new(),
            scrape_config_files: Vec::new(),
        }
    }
}

/// One job: targets that are scraped alike.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Job {
    /// Its name, which becomes the label `job`.
    pub job_name: String,
    /// How often.
    pub scrape_interval: Option<Span>,
    /// How long a scrape may take; at most the interval.
    pub scrape_timeout: Option<Span>,
    /// The path. Default `/metrics`.
    pub metrics_path: String,
    /// `http` or `https`. Default `http`.
    pub scheme: String,
    /// Parameters of the URL.
    pub params: BTreeMap<String, Vec<String>>,
    /// Whether labels of the target's own win over those of the server; else they become `exported_<name>`. Default false.
    pub honor_labels: bool,
    /// Whether times that the target gives count. Default true.
    pub honor_timestamps: bool,
    /// Whether series with times of their own get staleness markers too. Default false.
    pub track_timestamps_staleness: bool,
    /// Targets.
    pub static_configs: Vec<TargetGroup>,
    /// Files of targets, read again when they change.
    pub file_sd_configs: Vec<FileDiscovery>,
    /// URLs of targets.
    pub http_sd_configs: Vec<HttpDiscovery>,
    /// What becomes of targets before they are scraped.
    pub relabel_configs: Vec<RelabelConfig>,
    /// What becomes of series before they are stored.
    pub metric_relabel_configs: Vec<RelabelConfig>,
    /// A scrape with more samples fails; 0 is no limit.
    pub sample_limit: u64,
    /// A scrape with a series of more labels fails; 0 is no limit.
    pub label_limit: u64,
    /// A scrape with a longer label name fails; 0 is no limit.
    pub label_name_length_limit: u64,
    /// A scrape with a longer label value fails; 0 is no limit.
    pub label_value_length_limit: u64,
    /// With more targets none of them is scraped; 0 is no limit.
    pub target_limit: u64,
    /// A larger body (uncompressed) fails; 0 leaves `collector.max_decoded_bytes`.
    #[serde(deserialize_with = "size")]
    pub body_size_limit: ByteCount,
    /// Dropped targets that are remembered and shown; 0 is no limit.
    pub keep_dropped_targets: u64,
    /// What targets are asked for, best first. Default OpenMetrics 1.0, then 0.0.1, then the text format 1.0, then 0.0.4.
    pub scrape_protocols: Vec<ScrapeProtocol>,
    /// What an answer is whose content type names no known format. Default the text format.
    pub fallback_scrape_protocol: Option<ScrapeProtocol>,
    /// Whether targets may compress their answers. Default true.
    pub enable_compression: bool,
    /// A name and password.
    pub basic_auth: Option<BasicAuth>,
    /// A token.
    pub authorization: Option<Authorization>,
    /// A bearer token; `authorization` says it better.
    pub bearer_token: Secret,
    /// A file with a bearer token, read at each request.
    pub bearer_token_file: Option<String>,
    /// TLS.
    pub tls_config: TlsConfig,
    /// Whether redirects are followed, ten at most. Default true.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be spoken. Default true.
    pub enable_http2: bool,
}

impl Default for Job {
    fn default() -> Self {
        Job {
            job_name: String::new(),
            scrape_interval: None,
            scrape_timeout: None,
            metrics_path: "/metrics".to_owned(),
            scheme: "http".to_owned(),
            params: BTreeMap::new(),
            honor_labels: false,
            honor_timestamps: true,
            track_timestamps_staleness: false,
            static_configs: Vec::new(),
            file_sd_configs: Vec::new(),
            http_sd_configs: Vec::new(),
            relabel_configs: Vec::new(),
            metric_relabel_configs: Vec::new(),
            sample_limit: 0,
            label_limit: 0,
            label_name_length_limit: 0,
            label_value_length_limit: 0,
            target_limit: 0,
            body_size_limit: ByteCount(0),
            keep_dropped_targets: 0,
            scrape_protocols: ScrapeProtocol::BEST_FIRST.to_vec(),
            fallback_scrape_protocol: None,
            enable_compression: true,
            basic_auth: None,
            authorization: None,
            bearer_token: Secret::default(),
            bearer_token_file: None,
            tls_config: TlsConfig::default(),
            follow_redirects: true,
            enable_http2: true,
        }
    }
}

/// A size as Prometheus writes it, where a KB is 1024 bytes, or as Watchfire does.
fn size<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ByteCount, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Written {
        Number(u64),
        Text(String),
    }
    match Written::deserialize(deserializer)? {
        Written::Number(bytes) => Ok(ByteCount(bytes)),
        Written::Text(text) => {
            let one = |unit: &str, own: &str| text.strip_suffix(unit).map(|digits| format!("{}{own}", digits.trim_end()));
            let own = one("KB", "KiB").or_else(|| one("MB", "MiB")).or_else(|| one("GB", "GiB"));
            own.unwrap_or(text).parse().map_err(serde::de::Error::custom)
        }
    }
}

/// A format that targets may be asked for, by Prometheus's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ScrapeProtocol {
    /// Protobuf, which Watchfire does not read; as one of several it is left out.
    PrometheusProto,
    /// The text format 0.0.4.
    #[serde(rename = "PrometheusText0.0.4")]
    PrometheusText0_0_4,
    /// The text format 1.0.0, with names in quotes.
    #[serde(rename = "PrometheusText1.0.0")]
    PrometheusText1_0_0,
    /// OpenMetrics 0.0.1.
    #[serde(rename = "OpenMetricsText0.0.1")]
    OpenMetricsText0_0_1,
    /// OpenMetrics 1.0.0.
    #[serde(rename = "OpenMetricsText1.0.0")]
    OpenMetricsText1_0_0,
}

impl ScrapeProtocol {
    /// What is asked for where nobody says.
    const BEST_FIRST: [ScrapeProtocol; 4] = [
        ScrapeProtocol::OpenMetricsText1_0_0,
        ScrapeProtocol::OpenMetricsText0_0_1,
        ScrapeProtocol::PrometheusText1_0_0,
        ScrapeProtocol::PrometheusText0_0_4,
    ];
}

/// Targets with the labels that they have in common.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TargetGroup {
    /// `host:port` each.
    #[serde(default)]
    pub targets: Vec<String>,
    /// Their labels.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Files with lists of [`TargetGroup`] in YAML or JSON.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileDiscovery {
    /// Paths that end in `.json`, `.yml` or `.yaml`; the last part may hold `*`. Relative to the configuration file.
    pub files: Vec<String>,
    /// They are read again after this time also where they do not seem to have changed. Default 5m.
    #[serde(default = "five_minutes")]
    pub refresh_interval: Span,
}

fn five_minutes() -> Span {
    Span::secs(300)
}

/// A URL that answers with a JSON list of [`TargetGroup`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpDiscovery {
    /// The URL.
    pub url: String,
    /// How often it is asked. Default 1m.
    pub refresh_interval: Span,
    /// A name and password.
    pub basic_auth: Option<BasicAuth>,
    /// A token.
    pub authorization: Option<Authorization>,
    /// A bearer token; `authorization` says it better.
    pub bearer_token: Secret,
    /// A file with a bearer token, read at each request.
    pub bearer_token_file: Option<String>,
    /// TLS.
    pub tls_config: TlsConfig,
    /// Whether redirects are followed, ten at most. Default true.
    pub follow_redirects: bool,
    /// Whether HTTP/2 may be spoken. Default true.
    pub enable_http2: bool,
}

impl Default for HttpDiscovery {
    fn default() -> Self {
        HttpDiscovery {
            url: String::new(),
            refresh_interval: Span::secs(60),
            basic_auth: None,
            authorization: None,
            bearer_token: Secret::default(),
            bearer_token_file: None,
            tls_config: TlsConfig::default(),
            follow_redirects: true,
            enable_http2: true,
        }
    }
}

/// A name and password for HTTP's basic authentication.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BasicAuth {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
    /// A file with the password, read at each request.
    pub password_file: Option<String>,
}

/// The header `Authorization`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Authorization {
    /// Its first word. Default `Bearer`.
    pub r#type: String,
    /// The rest.
    pub credentials: Secret,
    /// A file with the rest, read at each request.
    pub credentials_file: Option<String>,
}

impl Default for Authorization {
    fn default() -> Self {
        Authorization { r#type: "Bearer".to_owned(), credentials: Secret::default(), credentials_file: None }
    }
}

/// TLS towards targets.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsConfig {
    /// A PEM file of the authorities to trust instead of the system's.
    pub ca_file: Option<String>,
    /// A PEM file with our certificate.
    pub cert_file: Option<String>,
    /// A PEM file with its key.
    pub key_file: Option<String>,
    /// Whether any certificate is good. Default false.
    pub insecure_skip_verify: bool,
    /// The oldest version that is spoken. Default TLS12; nothing older is ever spoken.
    pub min_version: Option<TlsVersion>,
    /// The newest version that is spoken.
    pub max_version: Option<TlsVersion>,
}

/// A version of TLS, by Prometheus's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum TlsVersion {
    /// 1.0: as 1.2 for the oldest, refused for the newest.
    TLS10,
    /// 1.1: the same.
    TLS11,
    /// 1.2.
    TLS12,
    /// 1.3.
    TLS13,
}

/// How to connect, of a job or a discovery.
#[derive(Clone, Copy, Debug)]
pub(super) struct Client<'c> {
    pub(super) basic_auth: Option<&'c BasicAuth>,
    pub(super) authorization: Option<&'c Authorization>,
    pub(super) bearer_token: &'c Secret,
    pub(super) bearer_token_file: Option<&'c str>,
    pub(super) tls: &'c TlsConfig,
    pub(super) follow_redirects: bool,
    pub(super) enable_http2: bool,
    pub(super) compression: bool,
}

macro_rules! client {
    ($($of:ty, $compression:ident);*) => {$(
        impl $of {
            /// How to connect.
            pub(super) fn client(&self) -> Client<'_> {
                Client {
                    basic_auth: self.basic_auth.as_ref(),
                    authorization: self.authorization.as_ref(),
                    bearer_token: &self.bearer_token,
                    bearer_token_file: self.bearer_token_file.as_deref(),
                    tls: &self.tls_config,
                    follow_redirects: self.follow_redirects,
                    enable_http2: self.enable_http2,
                    compression: $compression(self),
                }
            }
        }
    )*};
}

fn as_job(job: &Job) -> bool {
    job.enable_compression
}

fn never(_: &HttpDiscovery) -> bool {
    false
}

client!(Job, as_job; HttpDiscovery, never);

impl Job {
    /// Interval and timeout; a timeout that is not set is never longer than the interval.
    pub(super) fn pace(&self, config: &Config) -> (Span, Span) {
        let interval = self.scrape_interval.unwrap_or(config.scrape_interval);
        (interval, self.scrape_timeout.unwrap_or(config.scrape_timeout.min(interval)))
    }
}

#[cfg(test)]
mod tests;
