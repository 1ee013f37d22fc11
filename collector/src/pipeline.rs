//! Processing: what happens to records between decoding and the log. In this order: rules, redaction, series derived from spans and
//! templates of log records, head sampling; limits of series and rates beside it. In: the `pipeline` part of the configuration, checked
//! as a whole, and records that borrow from the request. Out: records, changed only where something applies. Fails: only while
//! compiling, with one sentence for each mistake.
//!
//! A request is processed by one [`Pipeline`] from beginning to end; a new one is put in its place between requests
//! ([`crate::Collector::set_pipeline`]). What must outlive that (active series, token buckets, templates) is not part of it.

pub(crate) mod cardinality;
pub(crate) mod condition;
mod config;
pub mod dry_run;
pub(crate) mod hash;
pub(crate) mod patterns;
pub(crate) mod rates;
mod record;
pub(crate) mod redact;
mod rules;
pub(crate) mod sampling;
pub(crate) mod stage;
mod tail;
#[cfg(test)]
mod tests;
mod text;
pub(crate) mod trace;

use std::sync::Arc;

use model::secret::Secret;
use model::tail::TailPolicy;
use xxhash_rust::xxh3::Xxh3;

use condition::{AroundLeaf, Compiler};
pub use config::{
    CardinalityConfig, Config, Constant, CustomRedaction, MatchConfig, MetricLimit, Mode, OneOrMany, PatternsConfig, Place, RareConfig,
    RateConfig, RateLimitsConfig, RedactionConfig, RuleConfig, SampleConfig, SamplingConfig, Severity, Signal, SpanKind, Status,
    TailSamplingConfig, TenantLimits, TextMatch,
};
use hash::Hasher;
use redact::Redactor;
use rules::Rule;
use sampling::Entry;
pub(crate) use text::Wording;
pub use trace::{Change, RecordTrace, Step};

/// A mistake in the configuration of processing: where, what, and what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("pipeline.{place}: {sentence}")]
pub struct Problem {
    place: String,
    sentence: String,
}

impl Problem {
    fn new(place: &str, sentence: impl Into<String>) -> Self {
        Problem { place: place.to_owned(), sentence: sentence.into() }
    }
}

/// A compiled [`Config`].
pub struct Pipeline {
    rules: Vec<Rule>,
    /// Indexes of the rules for each signal, for resources and for scopes.
    spans: Vec<usize>,
    logs: Vec<usize>,
    points: Vec<usize>,
    metric_names: Vec<usize>,
    resources: Vec<usize>,
    scopes: Vec<usize>,
    around: Vec<AroundLeaf>,
    hasher: Hasher,
    pub(crate) redactor: Option<Redactor>,
    span_samples: Vec<Entry>,
    log_samples: Vec<Entry>,
    pub(crate) cardinality: cardinality::Limits,
    pub(crate) rates: rates::RateLimits,
    pub(crate) tail: Option<Arc<TailPolicy>>,
    pub(crate) patterns: Option<PatternsConfig>,
    /// Of everything that decides what a series is called: series are remembered under it.
    pub(crate) generation: u64,
}

/// A key shorter than this could be tried out.
const LEAST_KEY: usize = 16;

impl Pipeline {
    /// Checks and compiles. Gives all mistakes at once.
    pub fn new(config: &Config) -> Result<Self, Vec<Problem>> {
        let mut compiler = Compiler::default();
        let rules: Vec<Rule> = config.rules.iter().enumerate().map(|(index, rule)| Rule::new(index, rule, &mut compiler)).collect();
        let span_samples = samples("spans", Signal::Span, &config.sampling.spans, &mut compiler);
        let log_samples = samples("logs", Signal::Log, &config.sampling.logs, &mut compiler);
        let Compiler { around, mut problems } = compiler;
        same_names(&rules, &mut problems);
        let none = Secret::default();
        let key = config.hash_key.as_ref().unwrap_or(&none);
        check_key(config, &rules, key, &mut problems);
        let hasher = Hasher::new(key);
        let redactor = Redactor::new(&config.redaction, hasher.clone(), &mut problems);
        let cardinality = cardinality::Limits::new(&config.cardinality, &mut problems);
        let rates = rates::RateLimits::new(&config.rate_limits, &mut problems);
        patterns::check(&config.patterns, &mut problems);
        let tail = tail::policy(&config.tail_sampling, &mut problems);
        if !problems.is_empty() {
            return Err(problems);
        }
        let of = |signal| move |rule: &Rule| rule.is_for(signal);
        let point = |rule: &Rule| rule.is_for(Signal::Metric) && rule.changes_points();
        let name = |rule: &Rule| rule.is_for(Signal::Metric) && rule.set_name.is_some();
        Ok(Pipeline {
            spans: which(&rules, of(Signal::Span)),
            logs: which(&rules, of(Signal::Log)),
            points: which(&rules, point),
            metric_names: which(&rules, name),
            resources: which(&rules, |rule| rule.on == Place::Resource),
            scopes: which(&rules, |rule| rule.on == Place::Scope),
            rules,
            around,
            generation: generation(config, &hasher),
            hasher,
            redactor,
            span_samples,
            log_samples,
            cardinality,
            rates,
            tail,
            patterns: config.patterns.enabled.then(|| config.patterns.clone()),
        })
    }

    /// One that changes nothing.
    pub fn off() -> Self {
        Pipeline {
            rules: Vec::new(),
            spans: Vec::new(),
            logs: Vec::new(),
            points: Vec::new(),
            metric_names: Vec::new(),
            resources: Vec::new(),
            scopes: Vec::new(),
            around: Vec::new(),
            generation: 0,
            hasher: Hasher::new(&Secret::default()),
            redactor: None,
            span_samples: Vec::new(),
            log_samples: Vec::new(),
            cardinality: cardinality::Limits::off(),
            rates: rates::RateLimits::default(),
            tail: None,
            patterns: None,
        }
    }

    /// Whether no record is ever changed or left out.
    fn idle(&self) -> bool {
        self.rules.is_empty() && self.redactor.is_none() && self.span_samples.is_empty() && self.log_samples.is_empty()
    }

    /// How long spans wait for the decision about their trace; none where they do not.
    pub fn tail_wait(&self) -> Option<std::time::Duration> {
        self.tail.as_ref().map(|policy| policy.wait)
    }

    /// Names of the rules, in order: what `dropped` counts stand for.
    pub(crate) fn rule_name(&self, index: usize) -> &str {
        self.rules.get(index).map_or("", |rule| rule.name.as_str())
    }
}

impl std::fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pipeline").field("rules", &self.rules.len()).field("generation", &self.generation).finish_non_exhaustive()
    }
}

fn which(rules: &[Rule], wanted: impl Fn(&Rule) -> bool) -> Vec<usize> {
    rules.iter().enumerate().filter(|(_, rule)| wanted(rule)).map(|(index, _)| index).collect()
}

fn samples(list: &str, signal: Signal, entries: &[SampleConfig], compiler: &mut Compiler) -> Vec<Entry> {
    let mut compiled = Vec::new();
    for (index, entry) in entries.iter().enumerate() {
        let place = format!("sampling.{list}[{index}]");
        if !(0.0..=1.0).contains(&entry.ratio) {
            compiler.problems.push(Problem::new(&place, format!("`ratio` is {}: write a share from 0 to 1", entry.ratio)));
        }
        let condition = compiler.condition(&format!("{place}.match"), &entry.r#match);
        if !condition.may_hold(signal) {
            compiler.problems.push(Problem::new(&place, format!("can never match one of the {list}: remove it, or change its match")));
        }
        compiled.push(Entry { condition, ratio: entry.ratio });
    }
    compiled
}

/// Rules are told apart by their names in metrics.
fn same_names(rules: &[Rule], problems: &mut Vec<Problem>) {
    for (index, rule) in rules.iter().enumerate() {
        if rules[..index].iter().any(|before| before.name == rule.name) {
            problems.push(Problem::new(&format!("rules[{index}]"), format!("the name `{}` exists twice: give it another one", rule.name)));
        }
    }
}

fn check_key(config: &Config, rules: &[Rule], key: &Secret, problems: &mut Vec<Problem>) {
    let redaction = redact::KINDS.iter().find(|kind| config.redaction.enabled && config.redaction.mode(**kind) == Mode::Hash);
    let user = rules.iter().find(|rule| rule.hashes()).map(|rule| format!("rule `{}`", rule.name));
    let user = user.or(redaction.map(|kind| format!("redaction.{}", kind.label())));
    match (key.is_empty(), user) {
        (true, Some(user)) => problems.push(Problem::new(
            "hash_key",
            format!("is not set, and {user} hashes: set a secret, for example `hash_key: ${{file:/etc/watchfire/hash_key}}`"),
        )),
        (false, _) if key.reveal().chars().count() < LEAST_KEY => {
            problems.push(Problem::new(
                "hash_key",
                format!("is shorter than {LEAST_KEY} characters, so hashes could be tried out: make it longer"),
            ));
        }
        (true | false, _) => {}
    }
}

/// Of the whole configuration: another one may call the same series otherwise.
fn generation(config: &Config, hasher: &Hasher) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(serde_json::to_string(config).unwrap_or_default().as_bytes());
    hash.update(hasher.hash("").as_bytes());
    hash.digest()
}

/// Holds the pipeline that new requests are processed by.
pub(crate) struct Current(std::sync::RwLock<Arc<Pipeline>>);

impl Current {
    /// Starts with this one.
    pub(crate) fn new(pipeline: Arc<Pipeline>) -> Self {
        Current(std::sync::RwLock::new(pipeline))
    }
    /// The one for a request.
    pub(crate) fn get(&self) -> Arc<Pipeline> {
        Arc::clone(&self.0.read().unwrap_or_else(std::sync::PoisonError::into_inner))
    }
    /// Another one from now on; requests that are at work end with theirs.
    pub(crate) fn set(&self, pipeline: Arc<Pipeline>) {
        *self.0.write().unwrap_or_else(std::sync::PoisonError::into_inner) = pipeline;
    }
}
