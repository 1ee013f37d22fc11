//! The `scrape` part of the YAML file, shaped as Prometheus's `scrape_configs`. Fails: unknown keys are refused while parsing,
//! values that cannot work by [`Config::problems`].

use std::collections::{BTreeMap, BTreeSet};

use model::secret::Secret;
use model::tenant::TenantId;
use model::time::Span;
use model::units::ByteCount;
use serde::{Deserialize, Serialize};

use super::relabel::{RelabelConfig, Rule};

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
    /// The jobs. Default none.
    pub scrape_configs: Vec<Job>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            scrape_interval: Span::secs(60),
            scrape_timeout: Span::secs(10),
            concurrency: 1_000,
            tenant: TenantId::default(),
            scrape_configs: Vec::new(),
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
    pub body_size_limit: ByteCount,
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
}

macro_rules! client {
    ($($of:ty),*) => {$(
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
                }
            }
        }
    )*};
}

client!(Job, HttpDiscovery);

impl Client<'_> {
    fn problems(&self) -> Vec<&'static str> {
        let mut problems = Vec::new();
        let ways =
            [self.basic_auth.is_some(), self.authorization.is_some(), !self.bearer_token.is_empty(), self.bearer_token_file.is_some()];
        if ways.iter().filter(|way| **way).count() > 1 {
            problems.push("set only one of basic_auth, authorization, bearer_token and bearer_token_file");
        }
        if self.basic_auth.is_some_and(|basic| !basic.password.is_empty() && basic.password_file.is_some()) {
            problems.push("basic_auth: set password or password_file, not both");
        }
        if self.authorization.is_some_and(|auth| !auth.credentials.is_empty() && auth.credentials_file.is_some()) {
            problems.push("authorization: set credentials or credentials_file, not both");
        }
        if self.authorization.is_some_and(|auth| auth.r#type.trim().is_empty() || auth.r#type.eq_ignore_ascii_case("basic")) {
            problems.push("authorization.type cannot be empty or Basic: use basic_auth for that");
        }
        if self.tls.cert_file.is_some() != self.tls.key_file.is_some() {
            problems.push("tls_config: cert_file and key_file belong together");
        }
        problems
    }
}

impl Job {
    /// Interval and timeout; a timeout that is not set is never longer than the interval.
    pub(super) fn pace(&self, config: &Config) -> (Span, Span) {
        let interval = self.scrape_interval.unwrap_or(config.scrape_interval);
        (interval, self.scrape_timeout.unwrap_or(config.scrape_timeout.min(interval)))
    }

    fn problems(&self, config: &Config) -> Vec<String> {
        let mut problems: Vec<String> = self.client().problems().into_iter().map(str::to_owned).collect();
        let (interval, timeout) = self.pace(config);
        if interval.0.is_zero() || timeout.0.is_zero() {
            problems.push("scrape_interval and scrape_timeout must be longer than 0".to_owned());
        }
        if timeout > interval {
            problems.push(format!("scrape_timeout ({timeout}) is longer than scrape_interval ({interval})"));
        }
        if !matches!(self.scheme.as_str(), "http" | "https") {
            problems.push(format!("scheme is `{}`: set http or https", self.scheme));
        }
        if !self.metrics_path.starts_with('/') {
            problems.push(format!("metrics_path `{}` must begin with /", self.metrics_path));
        }
        for (key, rules) in [("relabel_configs", &self.relabel_configs), ("metric_relabel_configs", &self.metric_relabel_configs)] {
            let wrong = rules.iter().enumerate().filter_map(|(at, rule)| Some((at, Rule::new(rule).err()?)));
            problems.extend(wrong.map(|(at, problem)| format!("{key}[{at}]: {problem}")));
        }
        for target in self.static_configs.iter().flat_map(|group| &group.targets).filter(|target| target.contains('/')) {
            problems.push(format!("static_configs: target `{target}` must be host:port, without a scheme or path"));
        }
        for file in self.file_sd_configs.iter().flat_map(|discovery| &discovery.files) {
            let folder = file.rsplit_once('/').map_or("", |(folder, _)| folder);
            if ![".json", ".yml", ".yaml"].iter().any(|end| file.ends_with(end)) || folder.contains('*') {
                problems.push(format!("file_sd_configs: `{file}` must end in .json, .yml or .yaml, with * only in its last part"));
            }
        }
        for discovery in &self.http_sd_configs {
            let known = url::Url::parse(&discovery.url).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
            if !known {
                problems.push(format!("http_sd_configs: `{}` is not an http or https URL", discovery.url));
            }
            if discovery.refresh_interval.0.is_zero() {
                problems.push("http_sd_configs: refresh_interval must be longer than 0".to_owned());
            }
            problems.extend(discovery.client().problems().into_iter().map(|problem| format!("http_sd_configs: {problem}")));
        }
        problems
    }
}

impl Config {
    /// What is wrong with it, one sentence each with its place.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.concurrency == 0 {
            problems.push("scrape.concurrency is 0: set at least 1".to_owned());
        }
        let mut names = BTreeSet::new();
        for (at, job) in self.scrape_configs.iter().enumerate() {
            let place = format!("scrape.scrape_configs[{at}]");
            if job.job_name.is_empty() {
                problems.push(format!("{place}: job_name is missing"));
            } else if !names.insert(&job.job_name) {
                problems.push(format!("{place}: the job_name `{}` exists twice", job.job_name));
            }
            problems.extend(job.problems(self).into_iter().map(|problem| format!("{place} `{}`: {problem}", job.job_name)));
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        serde_saphyr::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn a_section_of_prometheus_is_understood() {
        let config = parse(
            r#"
scrape_interval: 15s
scrape_configs:
- job_name: node
  scrape_timeout: 5s
  honor_labels: true
  params: { module: [http_2xx] }
  basic_auth: { username: me, password: hunter22 }
  static_configs:
  - targets: ['localhost:9100', 'other:9100']
    labels: { env: prod }
  file_sd_configs:
  - files: ['targets/*.yml']
  http_sd_configs:
  - url: http://sd.example/targets
    refresh_interval: 30s
  relabel_configs:
  - source_labels: [__address__]
    regex: '(.*):\d+'
    target_label: host
    replacement: '${1}'
  metric_relabel_configs:
  - { action: drop, source_labels: [__name__], regex: 'go_.*' }
  sample_limit: 1000
  body_size_limit: 10MiB
  tls_config: { insecure_skip_verify: true }
"#,
        )
        .unwrap();
        assert_eq!(config.problems(), Vec::<String>::new());
        let job = &config.scrape_configs[0];
        assert_eq!(job.pace(&config), (Span::secs(15), Span::secs(5)));
        assert!(job.honor_timestamps && job.follow_redirects);
        assert_eq!(job.file_sd_configs[0].refresh_interval, Span::secs(300));
        assert!(!serde_json::to_string(&config).unwrap().contains("hunter22"));
        let mut quick = Job { job_name: "q".into(), scrape_interval: Some(Span::secs(1)), ..Job::default() };
        assert_eq!(quick.pace(&config), (Span::secs(1), Span::secs(1)), "a timeout nobody set is not longer than the interval");
        quick.scrape_timeout = Some(Span::secs(2));
        assert!(quick.problems(&config)[0].contains("longer than scrape_interval"));
    }

    #[test]
    fn what_cannot_work_is_named() {
        for (text, said) in [
            ("scrape_configs: [{}]", "scrape.scrape_configs[0]: job_name is missing"),
            ("scrape_configs: [{ job_name: a }, { job_name: a }]", "the job_name `a` exists twice"),
            ("concurrency: 0", "scrape.concurrency is 0"),
            ("scrape_configs: [{ job_name: a, scheme: ftp }]", "set http or https"),
            ("scrape_configs: [{ job_name: a, metrics_path: m }]", "must begin with /"),
            ("scrape_configs: [{ job_name: a, static_configs: [{ targets: ['http://x/'] }] }]", "must be host:port"),
            ("scrape_configs: [{ job_name: a, file_sd_configs: [{ files: [a.txt] }] }]", "must end in .json"),
            ("scrape_configs: [{ job_name: a, file_sd_configs: [{ files: ['*/a.yml'] }] }]", "only in its last part"),
            ("scrape_configs: [{ job_name: a, http_sd_configs: [{ url: nowhere }] }]", "is not an http or https URL"),
            ("scrape_configs: [{ job_name: a, bearer_token: x, basic_auth: {} }]", "only one of"),
            ("scrape_configs: [{ job_name: a, authorization: { type: Basic } }]", "use basic_auth"),
            ("scrape_configs: [{ job_name: a, authorization: { credentials: x, credentials_file: y } }]", "not both"),
            ("scrape_configs: [{ job_name: a, tls_config: { cert_file: x } }]", "belong together"),
            ("scrape_configs: [{ job_name: a, scrape_interval: 0s }]", "longer than 0"),
            ("scrape_configs: [{ job_name: a, relabel_configs: [{ regex: '(' }] }]", "relabel_configs[0]: "),
        ] {
            let problems = parse(text).unwrap().problems();
            assert!(problems.iter().any(|problem| problem.contains(said)), "{text}: {problems:?}");
        }
        for (text, said) in [
            ("scrape_configs: [{ job_name: a, kubernetes_sd_configs: [] }]", "kubernetes_sd_configs"),
            ("scrape_configs: [{ job_name: a, relabel_configs: [{ action: hashmob }] }]", "hashmob"),
            ("tenant: Not A Tenant", "tenant name"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
        }
    }
}
