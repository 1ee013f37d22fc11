//! What can be wrong with the `scrape` part although it parses: one sentence each with its place. Pure.

use std::collections::BTreeSet;

use super::super::relabel::Rule;
use super::{Client, Config, Job, ScrapeProtocol, TlsVersion};

impl Client<'_> {
    pub(super) fn problems(&self) -> Vec<&'static str> {
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
        if self.tls.max_version.is_some_and(|most| most < TlsVersion::TLS12 || self.tls.min_version.is_some_and(|least| least > most)) {
            problems.push("tls_config: no version is left between min_version and max_version (TLS12 and TLS13 are spoken)");
        }
        problems
    }
}

impl Job {
    /// What is wrong with a job, without its place.
    pub(super) fn problems(&self, config: &Config) -> Vec<String> {
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
        if self.scrape_protocols.iter().all(|protocol| *protocol == ScrapeProtocol::PrometheusProto) {
            problems.push("scrape_protocols must name a text format: Watchfire does not read PrometheusProto".to_owned());
        }
        if self.fallback_scrape_protocol == Some(ScrapeProtocol::PrometheusProto) {
            problems.push("fallback_scrape_protocol must be a text format: Watchfire does not read PrometheusProto".to_owned());
        }
        problems.extend(self.source_problems());
        problems
    }

    /// What is wrong with rules and sources of targets.
    fn source_problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
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
    /// What is wrong with it, one sentence each with its place. Files of jobs are not read.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if self.concurrency == 0 {
            problems.push("scrape.concurrency is 0: set at least 1".to_owned());
        }
        let mut names = BTreeSet::new();
        for (at, job) in self.scrape_configs.iter().enumerate() {
            problems.extend(self.job_problems(&format!("scrape.scrape_configs[{at}]"), job, &mut names));
        }
        for file in &self.scrape_config_files {
            if file.rsplit_once('/').is_some_and(|(folder, _)| folder.contains('*')) {
                problems.push(format!("scrape.scrape_config_files: `{file}` may hold * only in its last part"));
            }
        }
        problems
    }

    /// What is wrong with a job at a place; `names` are those of the jobs before it.
    pub(super) fn job_problems<'j>(&self, place: &str, job: &'j Job, names: &mut BTreeSet<&'j str>) -> Vec<String> {
        let mut problems = Vec::new();
        if job.job_name.is_empty() {
            problems.push(format!("{place}: job_name is missing"));
        } else if !names.insert(&job.job_name) {
            problems.push(format!("{place}: the job_name `{}` exists twice", job.job_name));
        }
        problems.extend(job.problems(self).into_iter().map(|problem| format!("{place} `{}`: {problem}", job.job_name)));
        problems
    }
}
