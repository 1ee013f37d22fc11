//! `spans`: what the spans of the window come to, by labels: how many fit, which share of them fits more, or a quantile of their durations.
//! Sampled spans count as many as they stand for.

use std::collections::BTreeMap;

use model::time::Span;
use serde::{Deserialize, Serialize};

use super::text::{MINUTES, entries, example_trace, grouped, labels, one_of, presence};
use super::{Compiled, OneOrMany, shown, values};
use crate::rules::question::{Question, SqlQuestion};

/// What is written below `spans`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::rules) struct SpansYaml {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<OneOrMany>,
    /// `> 500ms`, all of them.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<OneOrMany>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, OneOrMany>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resource: BTreeMap<String, OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<OneOrMany>,
    /// The share of the spans above that fit this too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ratio: Option<ShareYaml>,
    /// This quantile of their durations, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub quantile: Option<f64>,
    /// Groups with fewer spans are left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<u64>,
}

/// What the counted share must fit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::rules) struct ShareYaml {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration: Option<OneOrMany>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, OneOrMany>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resource: BTreeMap<String, OneOrMany>,
}

const KINDS: [&str; 6] = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
const STATUSES: [&str; 3] = ["UNSET", "OK", "ERROR"];
const WEIGHT: &str = "greatest(sample_rate, 1)";

const BY: [(&str, &str, &str); 5] = [
    ("service", "service_name", "service"),
    ("operation", "span_name", "name"),
    ("kind", "span_kind", "kind"),
    ("status", "status_code", "status"),
    ("version", "service_version", "resource['service.version']"),
];

/// Words of an enumeration, in its own letters.
fn known(key: &str, written: Option<&OneOrMany>, words: &[&str]) -> Result<Vec<String>, String> {
    let one = |word: String| {
        let upper = word.to_ascii_uppercase();
        let all = || words.join(", ").to_ascii_lowercase();
        if words.contains(&upper.as_str()) { Ok(upper) } else { Err(format!("`{key}: {word}` is not known: use one of {}", all())) }
    };
    values(written).into_iter().map(one).collect()
}

/// `> 500ms` as a condition on nanoseconds.
fn duration(text: &str) -> Result<String, String> {
    let wrong = || format!("`duration: {text:?}` is not a comparison with a time: write for example \"> 500ms\"");
    let trimmed = text.trim();
    let operator = [">=", "<=", ">", "<"].into_iter().find(|operator| trimmed.starts_with(operator)).ok_or_else(wrong)?;
    let span: Span = trimmed[operator.len()..].trim().parse().map_err(|_| wrong())?;
    Ok(format!("duration {operator} {}", span.0.as_nanos()))
}

impl ShareYaml {
    fn conditions(&self) -> Result<Vec<String>, String> {
        let mut conditions = Vec::new();
        conditions.extend(one_of("name", &values(self.operation.as_ref())));
        conditions.extend(one_of("kind", &known("kind", self.kind.as_ref(), &KINDS)?));
        conditions.extend(one_of("status", &known("status", self.status.as_ref(), &STATUSES)?));
        for text in values(self.duration.as_ref()) {
            conditions.push(duration(&text)?);
        }
        conditions.extend(entries("attributes", &self.attributes));
        conditions.extend(entries("resource", &self.resource));
        Ok(conditions)
    }
}

impl SpansYaml {
    fn conditions(&self) -> Result<Vec<String>, String> {
        let SpansYaml { operation, kind, status, duration, attributes, resource, .. } = self.clone();
        let own = ShareYaml { operation, kind, status, duration, attributes, resource };
        let mut conditions = vec![MINUTES.to_owned()];
        conditions.extend(one_of("service", &values(self.service.as_ref())));
        conditions.extend(own.conditions()?);
        Ok(conditions)
    }
}

/// The question; `found_only` where the rule has no thresholds.
pub(in crate::rules) fn compile(yaml: &SpansYaml, window: Span, found_only: bool) -> Result<Compiled, String> {
    let conditions = yaml.conditions()?;
    let labels = labels(&values(yaml.by.as_ref()), &BY, &["attributes", "resource"])?;
    let measured = yaml.ratio.is_some() || yaml.quantile.is_some();
    if conditions.len() == 1 && !measured {
        return Err("names no condition: add at least one of service, operation, kind, status, duration, attributes, resource".to_owned());
    }
    let (value, trace, example) = match (&yaml.ratio, yaml.quantile) {
        (Some(_), Some(_)) => return Err("has both `ratio` and `quantile`: a rule has one value, write two rules".to_owned()),
        (Some(share), None) => {
            let share = share.conditions()?;
            if share.is_empty() {
                return Err("has an empty `ratio`: say which of the spans count, for example { status: error }".to_owned());
            }
            let share = share.join(" AND ");
            let value = format!("sumIf({WEIGHT}, {share}) / sum({WEIGHT})");
            (value, example_trace("ts", Some(&share)), format!("argMaxIf(concat(service, ' ', name), ts, {share})"))
        }
        (None, Some(quantile)) if (0.0..=1.0).contains(&quantile) => {
            let value = format!("toFloat64(quantileTDigestWeighted({quantile})(duration, {WEIGHT})) / 1e9");
            (value, example_trace("duration", None), "argMax(concat(service, ' ', name), duration)".to_owned())
        }
        (None, Some(quantile)) => return Err(format!("`quantile: {quantile}` must be from 0 to 1, for example 0.95")),
        (None, None) => (format!("sum({WEIGHT})"), example_trace("ts", None), "argMax(concat(service, ' ', name), ts)".to_owned()),
    };
    let minimum = yaml.minimum.unwrap_or(if measured { 1 } else { 0 });
    let having = (minimum > 0).then(|| format!("sum({WEIGHT}) >= {minimum}"));
    let measures = [("value", value), trace, ("example_span", example)];
    let statement = grouped("spans", &conditions, &labels, &measures, having.as_deref());
    let presence = Some(presence("spans", &values(yaml.service.as_ref())));
    let expr = shown("spans", yaml, window);
    let question = SqlQuestion { statement, window, presence, found_only };
    Ok(Compiled { question: Question::Sql(question), expr, needs_thresholds: measured })
}
