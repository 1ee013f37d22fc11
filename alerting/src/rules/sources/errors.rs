//! `errors`: error events of the window by kind: all of them, kinds that are new, kinds that suddenly come far more often; how many events or
//! how many users. Kinds whose issue somebody ignores are left out. Issues that were resolved and came back are read from the list of
//! issues, which decides that.

use model::time::Span;
use serde::{Deserialize, Serialize};

use super::text::{example_trace, grouped, labels, one_of};
use super::{Compiled, OneOrMany, shown, values};
use crate::rules::question::{IGNORED, Question, Regressed, SqlQuestion};

/// What is written below `errors`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(in crate::rules) struct ErrorsYaml {
    /// any, new, regressed, spiking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub is: Option<String>,
    /// events or users.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub release: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub environment: Option<OneOrMany>,
    #[serde(rename = "type")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<OneOrMany>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<OneOrMany>,
    /// Of `spiking`: so many times as many as before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub factor: Option<f64>,
    /// Of `spiking`: at least so many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum: Option<u64>,
    /// Of `spiking`: what "before" is.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub baseline: Option<Span>,
}

const BY: [(&str, &str, &str); 5] = [
    ("service", "service_name", "project"),
    ("release", "release", "release"),
    ("environment", "environment", "environment"),
    ("type", "type", "type"),
    ("issue", "fingerprint", "lower(leftPad(hex(fingerprint), 16, '0'))"),
];

const WITHIN: &str =
    "ts > {from} AND ts <= {to} AND toStartOfDay(ts, 'UTC') BETWEEN toStartOfDay({from}, 'UTC') AND toStartOfDay({to}, 'UTC')";
/// A kind is new if there was none of it for so long.
const MEMORY_DAYS: u32 = 30;

/// The same with a start that lies so many seconds before the window.
fn since(seconds: u64) -> String {
    let start = format!("({{from}} - toIntervalSecond({seconds}))");
    format!(
        "ts > {start} AND ts <= {{to}} AND toStartOfDay(ts, 'UTC') BETWEEN toStartOfDay({start}, 'UTC') AND toStartOfDay({{to}}, 'UTC')"
    )
}

fn filters(yaml: &ErrorsYaml) -> Vec<String> {
    let columns = [("project", &yaml.service), ("release", &yaml.release), ("environment", &yaml.environment), ("type", &yaml.kind)];
    let mut filters: Vec<String> = columns.into_iter().filter_map(|(column, written)| one_of(column, &values(written.as_ref()))).collect();
    filters.push(format!("fingerprint NOT IN ({IGNORED})"));
    filters
}

fn regressed(yaml: &ErrorsYaml, window: Span) -> Result<Compiled, String> {
    if yaml.environment.is_some() || yaml.by.is_some() || yaml.count.is_some() {
        return Err("with `is: regressed` takes `service`, `release` and `type` only: each issue that came back is one alert".to_owned());
    }
    let (services, releases, types) = (values(yaml.service.as_ref()), values(yaml.release.as_ref()), values(yaml.kind.as_ref()));
    let named = [("service", &services), ("release", &releases), ("type", &types)];
    let shown: Vec<String> = named.iter().filter_map(|(key, values)| one_of(key, values)).collect();
    let shown = if shown.is_empty() { String::new() } else { format!(" with {}", shown.join(" AND ")) };
    let expr = format!("error issues that came back within {window}{shown}");
    Ok(Compiled { question: Question::Regressed(Regressed { window, services, releases, types }), expr, needs_thresholds: false })
}

/// The question; `found_only` where the rule has no thresholds.
pub(in crate::rules) fn compile(yaml: &ErrorsYaml, window: Span, found_only: bool) -> Result<Compiled, String> {
    let is = yaml.is.as_deref().unwrap_or("any");
    if is != "spiking" && (yaml.factor.is_some() || yaml.minimum.is_some() || yaml.baseline.is_some()) {
        return Err("has `factor`, `minimum` or `baseline`, which belong to `is: spiking`: remove them".to_owned());
    }
    let counted = match yaml.count.as_deref().unwrap_or("events") {
        "events" => "uniqExactIf(event_id, ts > {from})".to_owned(),
        "users" => "uniqExactIf(user, ts > {from} AND notEmpty(user))".to_owned(),
        other => return Err(format!("`count: {other}` is not known: use events or users")),
    };
    let by = if yaml.by.is_some() { values(yaml.by.as_ref()) } else { vec!["service".to_owned(), "issue".to_owned()] };
    let labels = labels(&by, &BY, &["tags"])?;
    let mut conditions = filters(yaml);
    let mut having = None;
    match is {
        "any" => conditions.insert(0, WITHIN.to_owned()),
        "regressed" => return regressed(yaml, window),
        "new" => {
            let seen = format!("SELECT fingerprint FROM error_events WHERE {WITHIN}");
            let before = format!("({{from}} - toIntervalDay({MEMORY_DAYS}))");
            conditions.insert(0, WITHIN.to_owned());
            conditions.push(format!(
                "fingerprint NOT IN (SELECT fingerprint FROM error_events WHERE ts > {before} AND ts <= {{from}} \
                 AND toStartOfDay(ts, 'UTC') BETWEEN toStartOfDay({before}, 'UTC') AND toStartOfDay({{from}}, 'UTC') AND fingerprint IN ({seen}))"
            ));
        }
        "spiking" => {
            let baseline = yaml.baseline.map_or(window.0 * 12, |span| span.0);
            if baseline < window.0 {
                return Err("`baseline` must not be shorter than `window`: it is what the window is compared with".to_owned());
            }
            let (factor, minimum) = (yaml.factor.unwrap_or(5.0), yaml.minimum.unwrap_or(20));
            if !(factor.is_finite() && factor > 0.0) {
                return Err(format!("`factor: {factor}` must be a number above 0"));
            }
            conditions.insert(0, since(baseline.as_secs().max(1)));
            let windows = baseline.as_secs_f64() / window.0.as_secs_f64();
            let before = counted.replace("ts > {from}", "ts <= {from}");
            having = Some(format!("measured_value >= {minimum} AND measured_value > {factor} * ({before}) / {windows}"));
        }
        other => return Err(format!("`is: {other}` is not known: use any, new, regressed or spiking")),
    }
    let newest = |column: &str| format!("argMaxIf({column}, ts, ts > {{from}})");
    let measures = [
        ("value", counted),
        ("example_error", format!("leftUTF8(concat({}, ': ', {}), 500)", newest("toString(type)"), newest("value"))),
        ("example_release", newest("toString(release)")),
        ("example_fingerprint", format!("lower(leftPad(hex({}), 16, '0'))", newest("fingerprint"))),
        example_trace("ts", Some("ts > {from}")),
    ];
    let statement = grouped("error_events", &conditions, &labels, &measures, having.as_deref());
    let expr = shown("errors", yaml, window);
    // No errors are no lack of data.
    let question = SqlQuestion { statement, window, presence: None, found_only };
    Ok(Compiled { question: Question::Sql(question), expr, needs_thresholds: false })
}
