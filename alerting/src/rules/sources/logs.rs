//! `logs`: how many log records of the window fit, by labels. Words are looked for as whole words, whatever their case, by the index of
//! the body; records that stand for several (sampling) count as many.

use std::collections::BTreeMap;

use model::time::Span;
use serde::{Deserialize, Serialize};

use super::text::{MINUTES, entries, example_trace, grouped, labels, literal, one_of, presence};
use super::{Compiled, OneOrMany, shown, values};
use crate::rules::question::{Question, SqlQuestion};

/// What is written below `logs`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::rules) struct LogsYaml {
    /// All words of each text.
    #[serde(rename = "match")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub matches: Option<OneOrMany>,
    /// None of these texts with all its words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude: Option<OneOrMany>,
    /// RE2, somewhere in the body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
    /// This level or worse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub severity: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<OneOrMany>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub attributes: BTreeMap<String, OneOrMany>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub resource: BTreeMap<String, OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<OneOrMany>,
}

/// OpenTelemetry's numbers.
const LEVELS: [(&str, u8); 7] = [("trace", 1), ("debug", 5), ("info", 9), ("warn", 13), ("warning", 13), ("error", 17), ("fatal", 21)];

const BY: [(&str, &str, &str); 3] = [
    ("service", "service_name", "service"),
    (
        "level",
        "level",
        "multiIf(severity_number >= 21, 'fatal', severity_number >= 17, 'error', severity_number >= 13, 'warn', \
         severity_number >= 9, 'info', severity_number >= 5, 'debug', severity_number >= 1, 'trace', '')",
    ),
    ("event_name", "event_name", "event_name"),
];

/// The words of a text as the index of the body has them: runs of letters and digits, and whatever is not ASCII.
fn words(text: &str) -> Vec<String> {
    let word = |c: char| !c.is_ascii() || c.is_ascii_alphanumeric();
    text.split(|c| !word(c)).filter(|word| !word.is_empty()).map(str::to_ascii_lowercase).collect()
}

fn has_words(text: &str, key: &str) -> Result<String, String> {
    let words = words(text);
    if words.is_empty() {
        return Err(format!("`{key}: {text:?}` has no word in it: write words, or use `regex`"));
    }
    let tests: Vec<String> = words.iter().map(|word| format!("hasToken(lower(body), {})", literal(word))).collect();
    Ok(tests.join(" AND "))
}

fn conditions(yaml: &LogsYaml) -> Result<Vec<String>, String> {
    let mut conditions = vec![MINUTES.to_owned()];
    for text in values(yaml.matches.as_ref()) {
        conditions.push(has_words(&text, "match")?);
    }
    for text in values(yaml.exclude.as_ref()) {
        conditions.push(format!("NOT ({})", has_words(&text, "exclude")?));
    }
    if let Some(regex) = &yaml.regex {
        regex::Regex::new(regex).map_err(|error| {
            let reason = error.to_string();
            format!("`regex` is not a regular expression: {}", reason.lines().last().unwrap_or_default().trim())
        })?;
        conditions.push(format!("match(body, {})", literal(regex)));
    }
    if let Some(word) = &yaml.severity {
        let level = LEVELS.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, number)| number);
        let level = level
            .ok_or_else(|| format!("`severity: {word}` is not a level of log records: use trace, debug, info, warn, error or fatal"))?;
        conditions.push(format!("severity_number >= {level}"));
    }
    conditions.extend(one_of("service", &values(yaml.service.as_ref())));
    conditions.extend(entries("attributes", &yaml.attributes));
    conditions.extend(entries("resource", &yaml.resource));
    Ok(conditions)
}

/// The question; `found_only` where the rule has no thresholds.
pub(in crate::rules) fn compile(yaml: &LogsYaml, window: Span, found_only: bool) -> Result<Compiled, String> {
    let conditions = conditions(yaml)?;
    if conditions.len() == 1 {
        return Err("names no condition: add at least one of match, regex, severity, service, attributes, resource".to_owned());
    }
    let labels = labels(&values(yaml.by.as_ref()), &BY, &["attributes", "resource"])?;
    let measures = [
        ("value", "sum(greatest(sample_rate, 1))".to_owned()),
        ("example_log", "leftUTF8(argMax(body, ts), 500)".to_owned()),
        example_trace("ts", None),
    ];
    let statement = grouped("logs", &conditions, &labels, &measures, None);
    let presence = Some(presence("logs", &values(yaml.service.as_ref())));
    let expr = shown("logs", yaml, window);
    Ok(Compiled { question: Question::Sql(SqlQuestion { statement, window, presence, found_only }), expr, needs_thresholds: false })
}
