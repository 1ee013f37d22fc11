//! Targets: what discovered addresses become after relabelling. In: a job and groups of addresses. Out: targets with their
//! labels, URL and pace, and what was dropped. Fails: a target that cannot be scraped is named, the others stay. Pure.

use std::collections::{BTreeMap, BTreeSet};

use model::labels::Labels;
use model::time::Span;
use url::Url;

use super::config::{Job, TargetGroup};
use super::relabel::{Rule, relabel};

/// Where a target is.
pub(crate) const ADDRESS: &str = "__address__";
const SCHEME: &str = "__scheme__";
const PATH: &str = "__metrics_path__";
const INTERVAL: &str = "__scrape_interval__";
const TIMEOUT: &str = "__scrape_timeout__";
const PARAMETER: &str = "__param_";
const META: &str = "__meta_";
const JOB: &str = "job";
const INSTANCE: &str = "instance";

/// Something to scrape.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Target {
    /// Labels of its series.
    pub(crate) labels: Labels,
    /// What was known of it before relabelling.
    pub(crate) discovered: Labels,
    /// What is asked.
    pub(crate) url: Url,
    /// How often.
    pub(crate) interval: Span,
    /// How long a scrape may take.
    pub(crate) timeout: Span,
    /// Of labels, URL and pace, hashed: another value is another target.
    pub(crate) key: u64,
}

/// A target that cannot be scraped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("target `{address}`: {problem}")]
pub(crate) struct TargetError {
    address: String,
    problem: String,
}

/// What became of the groups of a job.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Resolved {
    /// To be scraped, each once.
    pub(crate) targets: Vec<Target>,
    /// Dropped by relabelling, as they were discovered.
    pub(crate) dropped: Vec<Labels>,
    /// Those that cannot be scraped.
    pub(crate) errors: Vec<TargetError>,
}

/// Resolves the groups of a job with its pace: interval and timeout.
pub(crate) fn resolve<'g>(job: &Job, pace: (Span, Span), rules: &[Rule], groups: impl IntoIterator<Item = &'g TargetGroup>) -> Resolved {
    let (mut resolved, mut seen) = (Resolved::default(), BTreeSet::new());
    for group in groups {
        for address in &group.targets {
            let discovered = discovered(job, pace, group, address);
            match relabel(rules, discovered.clone()) {
                Some(labels) if !labels.is_empty() => match target(job, discovered, labels) {
                    Ok(target) if seen.insert(target.key) => resolved.targets.push(target),
                    Ok(_) => {}
                    Err(problem) => resolved.errors.push(TargetError { address: address.clone(), problem }),
                },
                Some(_) | None => resolved.dropped.push(discovered),
            }
        }
    }
    resolved
}

/// What is known before relabelling: labels of the group win over those of the job.
fn discovered(job: &Job, (interval, timeout): (Span, Span), group: &TargetGroup, address: &str) -> Labels {
    let mut labels: Labels = job
        .params
        .iter()
        .filter_map(|(name, values)| Some((format!("{PARAMETER}{name}"), values.first()?.clone())))
        .chain([
            (JOB.to_owned(), job.job_name.clone()),
            (PATH.to_owned(), job.metrics_path.clone()),
            (SCHEME.to_owned(), job.scheme.clone()),
            (INTERVAL.to_owned(), interval.to_string()),
            (TIMEOUT.to_owned(), timeout.to_string()),
        ])
        .collect();
    for (name, value) in group.labels.iter().filter(|(_, value)| !value.is_empty()) {
        labels.set(name, value);
    }
    labels.with(ADDRESS, address)
}

fn target(job: &Job, discovered: Labels, labels: Labels) -> Result<Target, String> {
    let get = |name: &str| labels.get(name).unwrap_or("");
    let pace = |name: &str| get(name).parse::<Span>().map_err(|error| format!("{name}: {error}"));
    let (interval, timeout) = (pace(INTERVAL)?, pace(TIMEOUT)?);
    if interval.0.is_zero() || timeout.0.is_zero() || timeout > interval {
        return Err(format!("the timeout ({timeout}) must be longer than 0 and no longer than the interval ({interval})"));
    }
    let url = url(job, &labels)?;
    let address = get(ADDRESS).to_owned();
    let mut public = labels.filtered(|name| !name.starts_with("__"));
    if public.get(INSTANCE).is_none() {
        public.set(INSTANCE, &address);
    }
    let identity = labels.filtered(|name| !name.starts_with(META)).with("", url.as_str());
    Ok(Target { labels: public, discovered, url, interval, timeout, key: identity.fingerprint() })
}

/// What is asked: scheme, address, path and parameters, each as relabelling left it.
fn url(job: &Job, labels: &Labels) -> Result<Url, String> {
    let get = |name: &str| labels.get(name).unwrap_or("");
    let (scheme, address, path) = (get(SCHEME), get(ADDRESS), get(PATH));
    if address.is_empty() {
        return Err("it has no address".to_owned());
    }
    if !matches!(scheme, "http" | "https") {
        return Err(format!("the scheme is `{scheme}`: it must be http or https"));
    }
    let base = format!("{scheme}://{address}");
    let plain = !address.contains(['/', '?', '#', '@', '\\']);
    let mut url = Url::parse(&base).ok().filter(|_| plain).ok_or("the address is not host:port")?;
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    url.set_path(path);
    url.set_query(query);
    let mut parameters: BTreeMap<&str, Vec<&str>> =
        job.params.iter().map(|(name, values)| (name.as_str(), values.iter().map(String::as_str).collect())).collect();
    for (name, value) in labels.iter().filter_map(|(name, value)| Some((name.strip_prefix(PARAMETER)?, value))) {
        let values = parameters.entry(name).or_default();
        match values.first_mut() {
            Some(first) => *first = value,
            None => values.push(value),
        }
    }
    let pairs: Vec<(&str, &str)> = parameters.iter().flat_map(|(name, values)| values.iter().map(|value| (*name, *value))).collect();
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(job: &str, groups: &str) -> Resolved {
        let job: Job = serde_saphyr::from_str(job).unwrap();
        let groups: Vec<TargetGroup> = serde_saphyr::from_str(groups).unwrap();
        let rules = Rule::list(&job.relabel_configs).unwrap();
        resolve(&job, job.pace(&crate::scrape::Config::default()), &rules, &groups)
    }

    fn shown(labels: &Labels) -> String {
        labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn an_address_becomes_a_target() {
        let found = run("{ job_name: node }", "[{ targets: ['a:9100', 'b:9100', 'a:9100'], labels: { env: prod, __hidden: x } }]");
        assert_eq!(found.targets.len(), 2, "the same target twice is one");
        let first = &found.targets[0];
        assert_eq!(shown(&first.labels), "env=prod instance=a:9100 job=node");
        assert_eq!(first.url.as_str(), "http://a:9100/metrics");
        assert_eq!((first.interval, first.timeout), (Span::secs(60), Span::secs(10)));
        assert_eq!(
            shown(&first.discovered),
            "__address__=a:9100 __hidden=x __metrics_path__=/metrics __scheme__=http __scrape_interval__=1m __scrape_timeout__=10s env=prod job=node"
        );
        assert_eq!(
            run("{ job_name: node }", "[{ targets: ['[::1]:9100', 'plain'] }]").targets[0].url.as_str(),
            "http://[::1]:9100/metrics"
        );
    }

    #[test]
    fn relabelling_decides_where_and_how_often() {
        let job = r#"
job_name: blackbox
scheme: https
params: { module: [http_2xx, second], debug: ["true"] }
relabel_configs:
- { source_labels: [__address__], target_label: __param_target }
- { source_labels: [__param_target], target_label: instance }
- { target_label: __address__, replacement: 'prober:9115' }
- { target_label: __metrics_path__, replacement: '/probe?x=1' }
- { source_labels: [__meta_kind], regex: slow, target_label: __scrape_interval__, replacement: 5m }
- { source_labels: [env], regex: dev, action: drop }
"#;
        let groups = "[{ targets: [example.com], labels: { __meta_kind: slow } }, { targets: [dev.example.com], labels: { env: dev } }]";
        let found = run(job, groups);
        assert_eq!((found.targets.len(), found.dropped.len(), found.errors.len()), (1, 1, 0));
        let target = &found.targets[0];
        assert_eq!(target.url.as_str(), "https://prober:9115/probe?x=1&debug=true&module=http_2xx&module=second&target=example.com");
        assert_eq!(shown(&target.labels), "instance=example.com job=blackbox");
        assert_eq!(target.interval, Span::secs(300));
        assert_eq!(found.dropped[0].get(ADDRESS), Some("dev.example.com"));
    }

    #[test]
    fn what_cannot_be_scraped_is_named_and_the_rest_stays() {
        for (label, value, said) in [
            (ADDRESS, "", "has no address"),
            (ADDRESS, "a/b", "is not host:port"),
            (ADDRESS, "a b", "is not host:port"),
            (ADDRESS, "user:secret@host", "is not host:port"),
            (SCHEME, "file", "must be http or https"),
            (INTERVAL, "often", "is not a duration"),
            (TIMEOUT, "2m", "no longer than the interval"),
        ] {
            let job = format!(
                "{{ job_name: j, relabel_configs: [{{ source_labels: [__address__], regex: 'bad:1', target_label: {label}, replacement: '{value}' }}] }}"
            );
            let found = run(&job, "[{ targets: ['bad:1', 'good:1'] }]");
            assert_eq!(found.targets.len(), 1, "{label}={value}");
            assert!(found.errors[0].to_string().contains(said), "{label}={value}: {}", found.errors[0]);
        }
    }
}
