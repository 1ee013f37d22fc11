//! The settings of processing: the `pipeline` part of the YAML file. Fails: unknown keys are refused while parsing; what cannot work is
//! named by [`super::Pipeline::new`], with its place and the fix.

use std::collections::BTreeMap;

use model::secret::Secret;
use model::time::Span;
use model::units::ByteCount;
use serde::{Deserialize, Serialize};

use super::redact::Kind;
pub use super::text::{Constant, OneOrMany, TextMatch};

/// Settings of processing. Every key has a default.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Rules, applied to each record in this order, before everything else. Default: none.
    pub rules: Vec<RuleConfig>,
    /// The key of hashes, at least 16 characters; needed where a rule or a kind of redaction hashes. Default: none.
    pub hash_key: Option<Secret>,
    /// Redaction of secrets.
    pub redaction: RedactionConfig,
    /// Head sampling.
    pub sampling: SamplingConfig,
    /// Tail sampling of spans.
    pub tail_sampling: TailSamplingConfig,
    /// How many series a metric may have.
    pub cardinality: CardinalityConfig,
    /// How much a tenant may send.
    pub rate_limits: RateLimitsConfig,
    /// Templates of log records.
    pub patterns: PatternsConfig,
}

#[cfg(test)]
impl Config {
    /// With everything on that looks at every record.
    pub(crate) fn busy() -> Self {
        let mut config = Config::default();
        (config.redaction.enabled, config.patterns.enabled) = (true, true);
        config
    }
}

/// What a rule does with the records that match.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RuleConfig {
    /// Names the rule in metrics and in `watchfire pipeline test`. Default: `rule <number>`.
    pub name: Option<String>,
    /// Which records. Default: all.
    pub r#match: MatchConfig,
    /// Whose attributes the edits change. Default: the record's.
    pub on: Place,
    /// Nothing is stored of the record, and no series counts it.
    pub drop: bool,
    /// Later rules do not drop the record.
    pub keep: bool,
    /// The new name of the span, metric or log event.
    pub set_name: Option<String>,
    /// Attributes that get another key.
    pub rename: BTreeMap<String, String>,
    /// Attributes that get this value.
    pub set: BTreeMap<String, Constant>,
    /// Attributes that get this value where they are absent.
    pub add: BTreeMap<String, Constant>,
    /// Attributes whose value becomes its keyed hash.
    pub hash: Vec<String>,
    /// Attributes that go; globs.
    pub delete: Vec<String>,
}

/// Whose attributes are meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Of the span, log record or metric point.
    #[default]
    Record,
    /// Of the resource.
    Resource,
    /// Of the instrumentation scope.
    Scope,
}

/// Which records are meant: all that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MatchConfig {
    /// Spans, log records, metric points.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<OneOrMany<Signal>>,
    /// `service.name` of the resource.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<TextMatch>,
    /// Attributes of the resource: all of these.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resource: BTreeMap<String, TextMatch>,
    /// The name of the instrumentation scope.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<TextMatch>,
    /// The name of the span, metric (as sent) or log event.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<TextMatch>,
    /// The body of a log record.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<TextMatch>,
    /// Attributes of the record: all of these.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, TextMatch>,
    /// Log records at least this severe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_severity: Option<Severity>,
    /// Log records at most this severe; those without a severity too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_severity: Option<Severity>,
    /// The status of a span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<OneOrMany<Status>>,
    /// The kind of a span.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<OneOrMany<SpanKind>>,
    /// Spans that took at least this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub min_duration: Option<Span>,
    /// Spans that took at most this long.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_duration: Option<Span>,
    /// One of these must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<MatchConfig>,
    /// All of these must hold.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub all: Vec<MatchConfig>,
    /// This must not hold.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub not: Option<Box<MatchConfig>>,
}

/// What a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// A span.
    Span,
    /// A log record.
    Log,
    /// A metric point.
    Metric,
}

/// The status of a span.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Not set.
    Unset,
    /// Said to be good.
    Ok,
    /// Failed.
    Error,
}

/// The kind of a span, as OTLP numbers them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SpanKind {
    /// Not said.
    Unspecified,
    /// Within a service.
    Internal,
    /// Of a request that came.
    Server,
    /// Of a request that went.
    Client,
    /// Of a message that went.
    Producer,
    /// Of a message that came.
    Consumer,
}

/// How severe a log record is, by the ranges of OpenTelemetry's severity numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// 1 to 4.
    Trace,
    /// 5 to 8.
    Debug,
    /// 9 to 12.
    Info,
    /// 13 to 16.
    #[serde(alias = "warning")]
    Warn,
    /// 17 to 20.
    Error,
    /// 21 to 24.
    Fatal,
}

impl Severity {
    /// The first number of its range.
    pub(crate) fn first(self) -> u8 {
        self as u8 * 4 + 1
    }
}

/// What becomes of a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// It stays.
    Keep,
    /// A mark stands for it.
    Mask,
    /// A mark with its keyed hash stands for it, so that equal ones can be joined.
    Hash,
}

/// Redaction of secrets in every text: attributes, bodies, names, messages, events, stacks.
///
/// Off by default, because every text must be looked at. Where it is on, credentials are masked, because a leaked one is worse than a
/// masked text that only looks like one and their formats hardly occur otherwise, and card numbers, which are only taken with a known
/// prefix, length and check digit. Mail addresses stay: they identify users in many systems, and masking them would join all users
/// into one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedactionConfig {
    /// Whether anything is redacted. Default false.
    pub enabled: bool,
    /// Mail addresses. Default keep.
    pub mail: Mode,
    /// Payment card numbers. Default mask.
    pub card: Mode,
    /// Bearer and basic credentials, `Authorization` headers. Default mask.
    pub authorization: Mode,
    /// Access key ids of AWS. Default mask.
    pub aws: Mode,
    /// Tokens of GitHub. Default mask.
    pub github: Mode,
    /// Tokens and incoming hooks of Slack. Default mask.
    pub slack: Mode,
    /// Secret keys of Stripe. Default mask.
    pub stripe: Mode,
    /// Keys of Google. Default mask.
    pub google: Mode,
    /// Keys of GitLab, npm, SendGrid, OpenAI, Anthropic, Hugging Face, DigitalOcean, Shopify. Default mask.
    pub api_key: Mode,
    /// JSON Web Tokens. Default mask.
    pub jwt: Mode,
    /// PEM blocks of private keys. Default mask.
    pub private_key: Mode,
    /// Passwords in URLs. Default mask.
    pub url_password: Mode,
    /// `password=...`, `"client_secret": "..."` and the like, and attributes by their key. Default mask.
    pub password: Mode,
    /// Attributes with one of these as key, or as the last words of it (`db_password`, `userPassword`), are secrets as a whole.
    pub attribute_keys: Vec<String>,
    /// Attributes that are never redacted; globs.
    pub keep_attributes: Vec<String>,
    /// Further secrets.
    pub custom: Vec<CustomRedaction>,
}

/// A secret that only its owner knows the look of.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CustomRedaction {
    /// Stands in marks and metrics.
    pub name: String,
    /// What it looks like.
    pub regex: String,
    /// What stands for it; `$1` is the first group. Default `[redacted:<name>]`.
    pub replacement: Option<String>,
}

/// Keys of attributes that hold secrets as a whole.
const ATTRIBUTE_KEYS: [&str; 24] = [
    "password",
    "passwd",
    "pwd",
    "passphrase",
    "secret",
    "client_secret",
    "secret_key",
    "secret_access_key",
    "aws_secret_access_key",
    "private_key",
    "api_key",
    "apikey",
    "x_api_key",
    "authorization",
    "proxy_authorization",
    "cookie",
    "set_cookie",
    "access_token",
    "refresh_token",
    "id_token",
    "auth_token",
    "session_token",
    "x_auth_token",
    "x_vault_token",
];

impl Default for RedactionConfig {
    fn default() -> Self {
        RedactionConfig {
            enabled: false,
            mail: Mode::Keep,
            card: Mode::Mask,
            authorization: Mode::Mask,
            aws: Mode::Mask,
            github: Mode::Mask,
            slack: Mode::Mask,
            stripe: Mode::Mask,
            google: Mode::Mask,
            api_key: Mode::Mask,
            jwt: Mode::Mask,
            private_key: Mode::Mask,
            url_password: Mode::Mask,
            password: Mode::Mask,
            attribute_keys: ATTRIBUTE_KEYS.map(str::to_owned).to_vec(),
            keep_attributes: Vec::new(),
            custom: Vec::new(),
        }
    }
}

impl RedactionConfig {
    /// What becomes of a kind.
    pub(crate) fn mode(&self, kind: Kind) -> Mode {
        match kind {
            Kind::Mail => self.mail,
            Kind::Card => self.card,
            Kind::Authorization => self.authorization,
            Kind::Aws => self.aws,
            Kind::Github => self.github,
            Kind::Slack => self.slack,
            Kind::Stripe => self.stripe,
            Kind::Google => self.google,
            Kind::ApiKey => self.api_key,
            Kind::Jwt => self.jwt,
            Kind::PrivateKey => self.private_key,
            Kind::UrlPassword => self.url_password,
            Kind::Password => self.password,
        }
    }
}

/// Head sampling: of the records that match, a share is stored. The first entry that matches decides; what matches none is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SamplingConfig {
    /// Spans: whole traces are kept or left out, the same ones by every collector. Default: none.
    pub spans: Vec<SampleConfig>,
    /// Log records: those of a trace are kept or left out together. Default: none.
    pub logs: Vec<SampleConfig>,
}

/// Which records, and how many of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SampleConfig {
    /// Which. Default: all.
    #[serde(default)]
    pub r#match: MatchConfig,
    /// The share that is stored, from 0 to 1.
    pub ratio: f64,
}

/// Tail sampling: a trace's spans wait in the log, and are kept or dropped together once it is known what the trace is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TailSamplingConfig {
    /// Whether spans wait. Default false.
    pub enabled: bool,
    /// From a trace's first span to the decision; spans are seen that much later. Default 30s.
    pub wait: Span,
    /// Share of the traces that are kept for no other reason, from 0 to 1. Default 0.1.
    pub ratio: f64,
    /// Keep traces with a failed span. Default true.
    pub errors: bool,
    /// Keep traces with a span that took at least this long; `null`: none for that. Default 2s.
    pub slow: Option<Span>,
    /// The same for spans of services by name, instead of `slow`. Default: none.
    pub slow_by_service: BTreeMap<String, Span>,
    /// Keep rare traces.
    pub rare: RareConfig,
    /// How long a decision is remembered: spans that come later follow it, and after a start nothing is dropped for as long. Default 5m.
    pub remember: Span,
    /// Traces that wait, and decisions that are remembered, at most; past it decisions come early. Default 200000.
    pub max_traces: usize,
}

/// What is rare.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RareConfig {
    /// Of each operation (service and span name), so many traces are kept in each `per`. 0: none for that. Default 5.
    pub traces: u32,
    /// Default 1m.
    pub per: Span,
}

impl Default for RareConfig {
    fn default() -> Self {
        RareConfig { traces: 5, per: Span::secs(60) }
    }
}

impl Default for TailSamplingConfig {
    fn default() -> Self {
        TailSamplingConfig {
            enabled: false,
            wait: Span::secs(30),
            ratio: 0.1,
            errors: true,
            slow: Some(Span::secs(2)),
            slow_by_service: BTreeMap::new(),
            rare: RareConfig::default(),
            remember: Span::secs(300),
            max_traces: 200_000,
        }
    }
}

/// How many series may be active at a time. Further ones of a metric become one series with the label
/// `otel_metric_overflow="true"`: delta points add up there, gauges show their last value; of cumulative points only a zero is kept,
/// because no value would be right.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CardinalityConfig {
    /// Series of one metric of one tenant. 0: no limit. Default 100000.
    pub max_series_per_metric: usize,
    /// Series of one tenant; past it, further series of a metric and further metrics (1000 of them) are overflow series, and points of
    /// still other metrics are rejected. 0: no limit. Default 2000000.
    pub max_series_per_tenant: usize,
    /// A series counts as active for this long after it was last looked at, twice that at most. At least 2h. Default 2h.
    pub window: Span,
    /// Other limits for metrics by name (the Prometheus name; globs); the first that matches counts. Default: none.
    pub metrics: Vec<MetricLimit>,
}

/// The limit of some metrics.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricLimit {
    /// Which.
    pub metric: String,
    /// Most series. 0: no limit.
    pub max_series: usize,
}

impl Default for CardinalityConfig {
    fn default() -> Self {
        CardinalityConfig {
            max_series_per_metric: 100_000,
            max_series_per_tenant: 2_000_000,
            window: Span::secs(7_200),
            metrics: Vec::new(),
        }
    }
}

/// How much may be sent. What is over is refused as a whole, before anything of it is written: 429 or `RESOURCE_EXHAUSTED`, with the
/// time to wait.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimitsConfig {
    /// Of each tenant that is not named below.
    pub default: TenantLimits,
    /// Of tenants by name.
    pub tenants: BTreeMap<String, TenantLimits>,
}

/// The limits of a tenant, per signal. Default: none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TenantLimits {
    /// Spans.
    pub spans: RateConfig,
    /// Log records.
    pub logs: RateConfig,
    /// Metric points.
    pub metrics: RateConfig,
    /// Error events that are sent as such.
    pub errors: RateConfig,
}

/// A rate, and how much may come at once.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateConfig {
    /// Records each second. Default: no limit.
    pub records: Option<u64>,
    /// Bytes each second, after decompression. Default: no limit.
    pub bytes: Option<ByteCount>,
    /// How long a sender that was silent may send at any speed. Default 10s.
    pub burst: Span,
}

impl Default for RateConfig {
    fn default() -> Self {
        RateConfig { records: None, bytes: None, burst: Span::secs(10) }
    }
}

/// Templates of log records: what is the same in many bodies, counted per service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PatternsConfig {
    /// Whether templates are looked for. Default false.
    pub enabled: bool,
    /// Templates of one service; the one that was not seen for the longest gives way. Default 300.
    pub max_per_service: usize,
    /// Services that are remembered; the one that was not seen for the longest gives way. Default 500.
    pub max_services: usize,
    /// Share of words that a body and a template must have in common, from 0.1 to 1. Default 0.6.
    pub similarity: f64,
}

impl Default for PatternsConfig {
    fn default() -> Self {
        PatternsConfig { enabled: false, max_per_service: 300, max_services: 500, similarity: 0.6 }
    }
}
