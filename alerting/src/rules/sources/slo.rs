//! `slos`: an objective becomes recording rules and alerting rules, by the burn rates of Google's SRE workbook (chapter 5): pages at 2 % of
//! the period's budget within 1 h and at 5 % within 6 h, a ticket at 10 % within 3 d, each with a short window of a twelfth. Pure.
//!
//! Bad and all events a second are recorded over 5 m at each evaluation; longer windows are averages of those, bad over all, so that they
//! are weighted by traffic and never read the raw series over days. An alert begins when both windows burn and a whole long window is
//! known; it goes on while the long window burns.

use std::collections::BTreeMap;
use std::time::Duration;

use model::time::Span;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::rules::file::EscalationYaml;

/// One objective.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::rules) struct SloYaml {
    /// The label `slo`.
    pub name: String,
    /// In percent: 99.9.
    pub objective: f64,
    /// The period of the budget; default 30d.
    pub window: Option<Span>,
    /// Good events a second, with all of them in `total`.
    pub good: Option<String>,
    /// Bad events a second, with all of them in `total`.
    pub errors: Option<String>,
    /// All events a second.
    pub total: Option<String>,
    /// Or the share of bad ones, from 0 to 1.
    pub error_ratio: Option<String>,
    /// How often; default 30s.
    pub interval: Option<Span>,
    /// Labels of its series and alerts.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    pub escalation: Option<EscalationYaml>,
    pub remediation: Option<String>,
}

/// Where the recorded rates come from.
const SHORTEST: &str = "5m";
/// The long window, its short one, the share of the budget, how bad.
const BURNS: [(&str, &str, u64, f64, &str); 3] =
    [("1h", "5m", 3_600, 0.02, "critical"), ("6h", "30m", 6 * 3_600, 0.05, "high"), ("3d", "6h", 3 * 86_400, 0.10, "warning")];
const PERIOD: Span = Span::secs(30 * 86_400);
const INTERVAL: Span = Span::secs(30);
/// How often the whole period is read.
const BUDGET_INTERVAL: &str = "5m";

/// Without what binary fractions leave behind.
fn rounded(number: f64) -> f64 {
    (number * 1e9).round() / 1e9
}

/// A group as it would stand in the file.
#[derive(Serialize)]
struct Written {
    groups: Vec<Value>,
}

impl SloYaml {
    /// Bad and all events a second.
    fn rates(&self) -> Result<(String, String), String> {
        let window = |text: &String| format!("({})", text.trim().replace("$window", SHORTEST));
        let none = |key: &Option<String>| key.as_ref().is_none_or(|text| text.trim().is_empty());
        match (&self.good, &self.errors, &self.total, &self.error_ratio) {
            // Without bad or good events their series may not exist: that is none of them.
            (Some(good), None, Some(total), None) if !none(&self.total) => {
                let (good, total) = (window(good), window(total));
                Ok((format!("{total} - ({good} or {total} * 0)"), total))
            }
            (None, Some(errors), Some(total), None) if !none(&self.total) => {
                let (errors, total) = (window(errors), window(total));
                Ok((format!("{errors} or {total} * 0"), total))
            }
            (None, None, None, Some(ratio)) => {
                let ratio = window(ratio);
                Ok((format!("{ratio} >= 0"), format!("({ratio} >= 0) * 0 + 1")))
            }
            _ => Err("needs `good` and `total`, or `errors` and `total`, or `error_ratio` alone".to_owned()),
        }
    }

    fn checked(&self) -> Result<(Duration, f64), String> {
        if self.name.is_empty() || self.name.contains(['"', '\\', '\n']) {
            return Err("needs a `name` without quotes and backslashes".to_owned());
        }
        if !(self.objective > 0.0 && self.objective < 100.0) {
            return Err(format!("`objective: {}` is in percent and must lie between 0 and 100, for example 99.9", self.objective));
        }
        let period = self.window.unwrap_or(PERIOD);
        if !(7..=90).contains(&(period.0.as_secs() / 86_400)) {
            return Err(format!("`window: {period}` must be from 7d to 90d: the longest burn rate is watched over 3d"));
        }
        if self.interval.is_some_and(|interval| interval.0.is_zero() || interval.0 > Duration::from_secs(150)) {
            return Err("`interval` must be more than 0 and at most 150s: the shortest window is 5m".to_owned());
        }
        for own in ["slo", "window", "severity", "alertname"] {
            if self.labels.contains_key(own) {
                return Err(format!("`labels` has `{own}`, which is set for you: remove it"));
            }
        }
        Ok((period.0, rounded((100.0 - self.objective) / 100.0)))
    }

    /// Rule groups as text of a rule file.
    pub(in crate::rules) fn expand(&self) -> Result<String, String> {
        let (period, budget) = self.checked()?;
        let (bad, all) = self.rates()?;
        let name = &self.name;
        let interval = self.interval.unwrap_or(INTERVAL);
        let mut labels = self.labels.clone();
        labels.insert("slo".to_owned(), name.clone());
        let of = |metric: &str| format!("{metric}{{slo=\"{name}\"}}");
        let record = |metric: &str, expr: String, window: Option<&str>| {
            let mut labels = labels.clone();
            labels.extend(window.map(|window| ("window".to_owned(), window.to_owned())));
            json!({"record": metric, "expr": expr, "labels": labels})
        };
        let (bad_metric, all_metric) = (of("slo:bad_events:rate5m"), of("slo:events:rate5m"));
        let burn = |window: &str| {
            let ratio = if window == SHORTEST {
                format!("{bad_metric} / {all_metric}")
            } else {
                format!("avg_over_time({bad_metric}[{window}]) / avg_over_time({all_metric}[{window}])")
            };
            record("slo:burn_rate", format!("({ratio}) / {budget}"), Some(window))
        };
        let mut rules = vec![
            record("slo:events:rate5m", all, None),
            record("slo:bad_events:rate5m", bad, None),
            record(
                "slo:history_seconds",
                format!("last_over_time({}[1d]) + {} or {all_metric} * 0", of("slo:history_seconds"), interval.0.as_secs_f64()),
                None,
            ),
        ];
        rules.extend(["5m", "30m", "1h", "6h", "3d"].map(burn));
        rules.extend(BURNS.map(|burn| self.alert(burn, period)));
        let budget_left = format!("1 - avg_over_time({bad_metric}[{0}]) / avg_over_time({all_metric}[{0}]) / {budget}", Span(period));
        let budget = vec![
            record("slo:error_budget_remaining:ratio", budget_left, None),
            record("slo:objective:ratio", format!("{all_metric} * 0 + {}", rounded(self.objective / 100.0)), None),
        ];
        let written = Written {
            groups: vec![
                json!({"name": format!("slo:{name}"), "interval": interval, "rules": rules}),
                json!({"name": format!("slo:{name}:budget"), "interval": BUDGET_INTERVAL, "rules": budget}),
            ],
        };
        serde_json::to_string(&written).map_err(|error| error.to_string())
    }

    /// An alert of one burn rate.
    fn alert(&self, (long, short, seconds, share, severity): (&str, &str, u64, f64, &str), period: Duration) -> Value {
        let limit = share * period.as_secs_f64() / seconds as f64;
        let limit = rounded(limit);
        let name = &self.name;
        let burn = |window: &str| format!("slo:burn_rate{{slo=\"{name}\",window=\"{window}\"}} > {limit}");
        let expr = format!(
            "{long} and ignoring (window) ({short}) and ignoring (window) (slo:history_seconds{{slo=\"{name}\"}} >= {seconds}) \
             or {long} and ignoring (alertname, alertstate, severity) \
             ALERTS{{alertname=\"SloBudgetBurn\",alertstate=\"firing\",slo=\"{name}\",window=\"{window}\",severity=\"{severity}\"}}",
            long = burn(long),
            short = burn(short),
            window = long,
        );
        let summary = format!(
            "{name} burns its error budget {{{{ $value | humanize }}}} times as fast as {}% over {} allows (over {long} and {short})",
            self.objective,
            Span(period),
        );
        let mut annotations = BTreeMap::from([("summary".to_owned(), summary)]);
        annotations.extend(self.annotations.clone());
        let mut rule =
            json!({"alert": "SloBudgetBurn", "expr": expr, "labels": {"severity": severity}, "annotations": annotations, "no_data": "ok"});
        if let Some(fields) = rule.as_object_mut() {
            fields.extend(self.escalation.as_ref().map(|escalation| ("escalation".to_owned(), json!(escalation))));
            fields.extend(self.remediation.as_ref().map(|remediation| ("remediation".to_owned(), json!(remediation))));
        }
        rule
    }
}
