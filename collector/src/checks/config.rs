//! The `checks` part of the YAML file. Fails: unknown keys are refused while parsing, values that cannot work by [`Config::problems`].

use std::collections::{BTreeMap, BTreeSet};

use model::secret::Secret;
use model::tenant::TenantId;
use model::time::Span;
use serde::{Deserialize, Serialize};

/// Health checks: what is asked, how often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How often, where a check does not say. Default 1m.
    pub interval: Span,
    /// How long an answer may take, where a check does not say; later is down. Default 10s.
    pub timeout: Span,
    /// Checks at the same time; what waits longer than its timeout for its turn is down. Default 100.
    pub concurrency: usize,
    /// Whose the series are. Default `default`.
    pub tenant: TenantId,
    /// The checks. Default none.
    pub checks: Vec<Check>,
}

impl Default for Config {
    fn default() -> Self {
        Config { interval: Span::secs(60), timeout: Span::secs(10), concurrency: 100, tenant: TenantId::default(), checks: Vec::new() }
    }
}

/// One check: a name and exactly one of the kinds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Check {
    /// The label `check`.
    pub name: String,
    /// How often.
    pub interval: Option<Span>,
    /// How long an answer may take; later is down.
    pub timeout: Option<Span>,
    /// A good answer that takes longer is degraded.
    pub degraded_after: Option<Span>,
    /// Labels of its series.
    pub labels: BTreeMap<String, String>,
    /// A page.
    pub http: Option<HttpCheck>,
    /// A port that takes connections.
    pub tcp: Option<TcpCheck>,
    /// A certificate.
    pub tls: Option<TlsCheck>,
    /// A name.
    pub dns: Option<DnsCheck>,
    /// ClickHouse's HTTP interface.
    pub clickhouse: Option<ClickHouseCheck>,
    /// PostgreSQL.
    pub postgres: Option<PostgresCheck>,
    /// Redis.
    pub redis: Option<RedisCheck>,
}

/// A page that answers as it should.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpCheck {
    /// Which.
    pub url: String,
    /// Default GET.
    pub method: Option<String>,
    /// Sent with it.
    pub headers: BTreeMap<String, Secret>,
    /// Sent with it.
    pub body: Option<String>,
    /// Good statuses; default 200 to 299.
    pub status: Vec<u16>,
    /// A text that the answer holds.
    pub contains: Option<String>,
    /// An expression that the answer fits, in parts.
    pub matches: Option<String>,
    /// Default true.
    pub follow_redirects: Option<bool>,
    /// Take any certificate. Default false.
    pub insecure_skip_verify: bool,
}

/// A port.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TcpCheck {
    /// `host:port`.
    pub address: String,
}

/// A certificate that is valid for long enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsCheck {
    /// `host:port`.
    pub address: String,
    /// The name that it must be for; default the host.
    pub server_name: Option<String>,
    /// Less left than this is degraded. Default 14d.
    #[serde(default = "fortnight")]
    pub expires_within: Span,
}

fn fortnight() -> Span {
    Span::secs(14 * 86_400)
}

/// A name that resolves, by the resolver of this machine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DnsCheck {
    /// Which.
    pub name: String,
    /// Addresses that must be among the answers.
    #[serde(default)]
    pub expect: Vec<std::net::IpAddr>,
}

/// ClickHouse.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClickHouseCheck {
    /// Of its HTTP interface.
    pub url: String,
    /// The user.
    #[serde(default)]
    pub user: String,
    /// The password.
    #[serde(default)]
    pub password: Secret,
    /// Default `SELECT 1`.
    pub query: Option<String>,
}

/// PostgreSQL.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PostgresCheck {
    /// `postgres://user:password@host/database`.
    pub url: Secret,
    /// Default `SELECT 1`.
    pub query: Option<String>,
}

/// Redis, and what speaks like it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisCheck {
    /// `redis://user:password@host:6379`.
    pub url: Secret,
}

/// The kind of a check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind<'a> {
    /// A page.
    Http(&'a HttpCheck),
    /// A port.
    Tcp(&'a TcpCheck),
    /// A certificate.
    Tls(&'a TlsCheck),
    /// A name.
    Dns(&'a DnsCheck),
    /// ClickHouse.
    ClickHouse(&'a ClickHouseCheck),
    /// PostgreSQL.
    Postgres(&'a PostgresCheck),
    /// Redis.
    Redis(&'a RedisCheck),
}

impl Kind<'_> {
    /// The label `kind`.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Http(_) => "http",
            Kind::Tcp(_) => "tcp",
            Kind::Tls(_) => "tls",
            Kind::Dns(_) => "dns",
            Kind::ClickHouse(_) => "clickhouse",
            Kind::Postgres(_) => "postgres",
            Kind::Redis(_) => "redis",
        }
    }
}

impl Check {
    /// Its kinds: one, where all is well.
    pub fn kinds(&self) -> Vec<Kind<'_>> {
        let kinds = [
            self.http.as_ref().map(Kind::Http),
            self.tcp.as_ref().map(Kind::Tcp),
            self.tls.as_ref().map(Kind::Tls),
            self.dns.as_ref().map(Kind::Dns),
            self.clickhouse.as_ref().map(Kind::ClickHouse),
            self.postgres.as_ref().map(Kind::Postgres),
            self.redis.as_ref().map(Kind::Redis),
        ];
        kinds.into_iter().flatten().collect()
    }

    fn problems(&self, all: &Config) -> Vec<String> {
        let name = if self.name.is_empty() { "(no name)" } else { &self.name };
        let mut problems = Vec::new();
        if self.name.is_empty() {
            problems.push("a check has no name: add `name`".to_owned());
        }
        match self.kinds().as_slice() {
            [one] => problems.extend(kind_problem(*one)),
            [] => problems.push("asks nothing: add one of http, tcp, tls, dns, clickhouse, postgres, redis".to_owned()),
            [one, other, ..] => problems.push(format!("has both `{}` and `{}`: write two checks", one.word(), other.word())),
        }
        let (interval, timeout) = (self.interval.unwrap_or(all.interval), self.timeout.unwrap_or(all.timeout));
        if interval.0.as_millis() < 1_000 {
            problems.push(format!("`interval: {interval}` is shorter than 1s"));
        }
        if timeout.0.is_zero() || timeout > interval {
            problems.push(format!("`timeout: {timeout}` must be more than 0 and not longer than the interval of {interval}"));
        }
        if let Some(limit) = self.degraded_after.filter(|limit| *limit >= timeout) {
            problems.push(format!("`degraded_after: {limit}` must be shorter than the timeout of {timeout}, after which it is down"));
        }
        let own = ["check", "kind", "__name__"];
        let label = |label: &str| {
            label.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        for wrong in self.labels.keys().filter(|word| own.contains(&word.as_str()) || !label(word)) {
            problems.push(format!("`labels` has `{wrong}`: use letters, digits and _, and none of check, kind, __name__"));
        }
        problems.into_iter().map(|problem| format!("checks: check `{name}`: {problem}")).collect()
    }
}

/// `host:port`, in pieces.
pub(super) fn address(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    Some((host, port.parse().ok().filter(|port| *port != 0)?)).filter(|(host, _)| !host.is_empty())
}

fn kind_problem(kind: Kind<'_>) -> Option<String> {
    let web = |url: &str| url::Url::parse(url).is_ok_and(|url| ["http", "https"].contains(&url.scheme()) && url.has_host());
    let wrong_address = |text: &str| address(text).is_none().then(|| format!("`address: {text}` is not host:port"));
    match kind {
        Kind::Http(http) => {
            if !web(&http.url) {
                return Some(format!("`url: {}` is not an http or https URL", http.url));
            }
            if let Some(method) = http.method.as_ref().filter(|method| http::Method::from_bytes(method.as_bytes()).is_err()) {
                return Some(format!("`method: {method}` is not a method"));
            }
            if let Some(status) = http.status.iter().find(|status| !(100..600).contains(*status)) {
                return Some(format!("`status: {status}` is not a status from 100 to 599"));
            }
            if http.matches.as_ref().is_some_and(|text| regex::Regex::new(text).is_err()) {
                return Some("`matches` is not a regular expression".to_owned());
            }
            let bad = |(name, value): (&String, &Secret)| {
                http::HeaderName::from_bytes(name.as_bytes()).is_err() || http::HeaderValue::from_str(value.reveal()).is_err()
            };
            http.headers.iter().find(|header| bad(*header)).map(|(name, _)| format!("the header `{name}` cannot be sent"))
        }
        Kind::Tcp(tcp) => wrong_address(&tcp.address),
        Kind::Tls(tls) => wrong_address(&tls.address),
        Kind::Dns(dns) => dns.name.is_empty().then(|| "`name` of the name to look up is empty".to_owned()),
        Kind::ClickHouse(clickhouse) => (!web(&clickhouse.url)).then(|| "`url` is not an http or https URL".to_owned()),
        Kind::Postgres(postgres) => {
            let known = url::Url::parse(postgres.url.reveal()).is_ok_and(|url| ["postgres", "postgresql"].contains(&url.scheme()));
            (!known).then(|| "`url` is not postgres://user:password@host/database".to_owned())
        }
        Kind::Redis(redis) => {
            let known = url::Url::parse(redis.url.reveal()).is_ok_and(|url| ["redis", "rediss"].contains(&url.scheme()) && url.has_host());
            (!known).then(|| "`url` is not redis://user:password@host:6379 (or rediss:// for TLS)".to_owned())
        }
    }
}

impl Config {
    /// What is wrong, one sentence each.
    pub fn problems(&self) -> Vec<String> {
        let mut problems: Vec<String> = self.checks.iter().flat_map(|check| check.problems(self)).collect();
        let mut names = BTreeSet::new();
        for check in self.checks.iter().filter(|check| !names.insert(check.name.as_str())) {
            problems.push(format!("checks: check `{}` exists twice: rename one of them", check.name));
        }
        if self.concurrency == 0 {
            problems.push("checks.concurrency must be at least 1".to_owned());
        }
        problems
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problems(check: &str) -> String {
        let config: Config = serde_saphyr::from_str(&format!("checks: [{check}]")).unwrap_or_else(|error| panic!("{check}: {error}"));
        config.problems().join("\n")
    }

    #[test]
    fn mistakes_are_one_sentence_with_the_place() {
        assert_eq!(problems("{ name: a, http: { url: 'https://x/health', status: [200, 204] }, degraded_after: 1s }"), "");
        assert_eq!(problems("{ name: a, tcp: { address: '[::1]:80' } }, { name: b, redis: { url: 'redis://:pw@h:6379' } }"), "");
        for (check, part) in [
            ("{ name: a }", "check `a`: asks nothing"),
            ("{ tcp: { address: 'h:1' } }", "has no name"),
            ("{ name: a, tcp: { address: 'h:1' }, dns: { name: h } }", "has both `tcp` and `dns`"),
            ("{ name: a, tcp: { address: h } }", "is not host:port"),
            ("{ name: a, http: { url: 'ftp://x' } }", "is not an http or https URL"),
            ("{ name: a, http: { url: 'http://x', matches: '(' } }", "`matches` is not a regular expression"),
            ("{ name: a, http: { url: 'http://x', status: [99] } }", "`status: 99`"),
            ("{ name: a, http: { url: 'http://x', headers: { 'a b': c } } }", "header `a b`"),
            ("{ name: a, postgres: { url: 'mysql://x' } }", "is not postgres://"),
            ("{ name: a, redis: { url: 'h:6379' } }", "is not redis://"),
            ("{ name: a, tcp: { address: 'h:1' }, timeout: 2m }", "not longer than the interval"),
            ("{ name: a, tcp: { address: 'h:1' }, degraded_after: 10s }", "must be shorter than the timeout"),
            ("{ name: a, tcp: { address: 'h:1' }, interval: 10ms }", "shorter than 1s"),
            ("{ name: a, tcp: { address: 'h:1' }, labels: { check: x } }", "`labels` has `check`"),
            ("{ name: a, tcp: { address: 'h:1' } }, { name: a, tcp: { address: 'h:1' } }", "exists twice"),
        ] {
            assert!(problems(check).contains(part), "{check}: {}", problems(check));
        }
        assert!(serde_saphyr::from_str::<Config>("checks: [{ name: a, htttp: {} }]").is_err());
    }
}
