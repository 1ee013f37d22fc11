//! Files with jobs beside those of the configuration itself: Prometheus's `scrape_config_files`, or a `prometheus.yml` as it is.
//! Of a whole `prometheus.yml` the jobs count and the pace of its `global` part; what Watchfire has settings of its own for is
//! passed over. Reads files. Fails: with one sentence a problem, each with the file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use model::time::Span;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::super::discovery::matches;
use super::{Config, Job};

/// A file of jobs.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct JobsFile {
    global: Global,
    scrape_configs: Vec<Job>,
    #[serde(rename = "alerting")]
    _alerting: IgnoredAny,
    #[serde(rename = "rule_files")]
    _rule_files: IgnoredAny,
    #[serde(rename = "remote_write")]
    _remote_write: IgnoredAny,
    #[serde(rename = "remote_read")]
    _remote_read: IgnoredAny,
    #[serde(rename = "storage")]
    _storage: IgnoredAny,
    #[serde(rename = "tracing")]
    _tracing: IgnoredAny,
    #[serde(rename = "otlp")]
    _otlp: IgnoredAny,
    #[serde(rename = "runtime")]
    _runtime: IgnoredAny,
}

/// Its `global` part.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Global {
    scrape_interval: Option<Span>,
    scrape_timeout: Option<Span>,
    #[serde(rename = "evaluation_interval")]
    _evaluation_interval: IgnoredAny,
    #[serde(rename = "rule_query_offset")]
    _rule_query_offset: IgnoredAny,
    #[serde(rename = "external_labels")]
    _external_labels: IgnoredAny,
    #[serde(rename = "query_log_file")]
    _query_log_file: IgnoredAny,
}

impl Global {
    /// Prometheus's own defaults.
    fn pace(&self) -> (Span, Span) {
        let interval = self.scrape_interval.unwrap_or(Span::secs(60));
        (interval, self.scrape_timeout.unwrap_or(Span::secs(10).min(interval)))
    }
}

/// The jobs in a text, each with its pace.
fn jobs(text: &str) -> Result<Vec<Job>, String> {
    if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
        return Ok(Vec::new());
    }
    // Lines of the text may hold secrets, so none is shown.
    let file: JobsFile = serde_saphyr::from_str(text).map_err(|error| error.without_snippet().to_string())?;
    let (interval, timeout) = file.global.pace();
    let with_pace = |job: Job| {
        let own = job.scrape_interval.unwrap_or(interval);
        Job { scrape_interval: Some(own), scrape_timeout: Some(job.scrape_timeout.unwrap_or(timeout.min(own))), ..job }
    };
    Ok(file.scrape_configs.into_iter().map(with_pace).collect())
}

/// The files behind a pattern, in order, each relative as the pattern is.
fn find(pattern: &str, beside: &Path) -> Vec<PathBuf> {
    let path = Path::new(pattern);
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    if !name.contains('*') {
        return vec![path.to_owned()];
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let entries = std::fs::read_dir(beside.join(folder)).ok().into_iter().flatten().flatten();
    let matching = entries.filter(|entry| matches(&name, &entry.file_name().to_string_lossy()));
    let mut found: Vec<PathBuf> = matching.map(|entry| folder.join(entry.file_name())).collect();
    found.sort();
    found
}

/// A job of a file in a folder: its relative paths are in that folder.
fn moved(mut job: Job, folder: &Path) -> Job {
    let join = |path: &mut String| *path = folder.join(&*path).to_string_lossy().into_owned();
    let files = job.file_sd_configs.iter_mut().flat_map(|discovery| &mut discovery.files);
    files.for_each(join);
    let mut secrets = vec![(&mut job.basic_auth, &mut job.authorization, &mut job.bearer_token_file, &mut job.tls_config)];
    secrets.extend(job.http_sd_configs.iter_mut().map(|discovery| {
        (&mut discovery.basic_auth, &mut discovery.authorization, &mut discovery.bearer_token_file, &mut discovery.tls_config)
    }));
    for (basic, authorization, bearer, tls) in secrets {
        let basic = basic.as_mut().and_then(|basic| basic.password_file.as_mut());
        let authorization = authorization.as_mut().and_then(|authorization| authorization.credentials_file.as_mut());
        let tls = [&mut tls.ca_file, &mut tls.cert_file, &mut tls.key_file].into_iter().flatten();
        basic.into_iter().chain(authorization).chain(bearer.as_mut()).chain(tls).for_each(join);
    }
    job
}

impl Config {
    /// The files that `scrape_config_files` names; relative ones are `beside` the configuration file. Looks at folders.
    pub fn files(&self, beside: &Path) -> Vec<PathBuf> {
        self.scrape_config_files.iter().flat_map(|pattern| find(pattern, beside)).map(|path| beside.join(path)).collect()
    }

    /// The same with the jobs of its files, all checked. Reads files.
    pub fn with_files(&self, beside: &Path) -> Result<Config, Vec<String>> {
        let (mut whole, mut problems, mut places) = (self.clone(), self.problems(), Vec::new());
        for relative in self.scrape_config_files.iter().flat_map(|pattern| find(pattern, beside)) {
            let (path, folder) = (beside.join(&relative), relative.parent().unwrap_or(Path::new("")));
            let read = std::fs::read_to_string(&path).map_err(|error| format!("the file cannot be read: {error}"));
            match read.and_then(|text| jobs(&text)) {
                Ok(jobs) => {
                    places.extend((0..jobs.len()).map(|at| format!("{}: scrape_configs[{at}]", path.display())));
                    whole.scrape_configs.extend(jobs.into_iter().map(|job| moved(job, folder)));
                }
                Err(problem) => problems.push(format!("{}: {problem}", path.display())),
            }
        }
        let own = self.scrape_configs.len();
        let mut names: BTreeSet<&str> = self.scrape_configs.iter().map(|job| job.job_name.as_str()).collect();
        for (place, job) in places.iter().zip(whole.scrape_configs.iter().skip(own)) {
            problems.extend(self.job_problems(place, job, &mut names));
        }
        if problems.is_empty() { Ok(whole) } else { Err(problems) }
    }
}
