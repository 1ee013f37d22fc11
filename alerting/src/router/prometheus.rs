//! Prometheus's answers: `/api/v1/rules` and `/api/v1/alerts`, values as strings in Go's `%e`.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::{Extension, Json};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use model::access::{Permission, Principal};
use model::alert::AlertState;
use model::labels::{Labels, Matcher};
use model::time::Timestamp;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Api, ApiError};
use crate::evaluate::{GroupView, RuleView};
use crate::machine::Instance;
use crate::matchers;
use crate::rules::{AlertRule, Rule};
use crate::template::format_e_shortest;

/// Prometheus's zero time, for what never happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

/// The parameters of `/api/v1/rules`, in order; `rule_name[]`, `rule_group[]`, `file[]` and `match[]` may repeat.
pub(super) type Wanted = Vec<(String, String)>;

/// Whether a name is among those that a parameter asks for; all are where it is absent.
fn asked_for(wanted: &Wanted, parameter: &str, name: &str) -> bool {
    let mut values = wanted.iter().filter(|(key, _)| key == parameter).map(|(_, value)| value).peekable();
    values.peek().is_none() || values.any(|value| value == name)
}

fn moment(at: Option<Timestamp>) -> String {
    at.map_or_else(|| NEVER.to_owned(), |at| at.to_string())
}

fn is_open(instance: &&Instance) -> bool {
    instance.alert.state.resolved_at().is_none()
}

fn alert(instance: &Instance) -> Value {
    let alert = &instance.alert;
    let mut view = json!({
        "labels": alert.labels,
        "annotations": alert.annotations,
        "state": alert.state.name(),
        "activeAt": alert.state.active_at(),
        "value": format_e_shortest(alert.value.0),
    });
    if let (AlertState::Firing { keep_firing_since: Some(since), .. }, Some(fields)) = (&alert.state, view.as_object_mut()) {
        fields.insert("keepFiringSince".to_owned(), json!(since));
    }
    view
}

/// `/api/v1/alerts`
pub(super) async fn alerts(State(api): State<Arc<Api>>, Extension(principal): Extension<Principal>) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let open = if principal.tenant == api.shared.tenant { api.evaluator.open_alerts().await? } else { Vec::new() };
    let alerts: Vec<Value> = open.iter().map(alert).collect();
    Ok(Json(json!({"status": "success", "data": {"alerts": alerts}})))
}

/// `/api/v1/rules`
pub(super) async fn rules(
    State(api): State<Arc<Api>>,
    Extension(principal): Extension<Principal>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Value>, ApiError> {
    principal.require(Permission::Read)?;
    let first = |name: &str| wanted.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
    let (alerting, recording) = match first("type").map(str::to_lowercase).as_deref() {
        None | Some("") => (true, true),
        Some("alert") => (true, false),
        Some("record") => (false, true),
        Some(other) => return Err(ApiError::bad_data(format!("not supported value {other:?} of `type`: use alert or record"))),
    };
    let with_alerts = first("exclude_alerts") != Some("true");
    let sets = matcher_sets(&wanted)?;
    let page = Page::of(first("group_limit"), first("group_next_token"))?;
    let views = if principal.tenant == api.shared.tenant { api.evaluator.views() } else { Vec::new() };
    let by_name = wanted.iter().any(|(key, _)| key == "rule_name[]");
    let of_group = |group: &&GroupView| asked_for(&wanted, "rule_group[]", &group.name) && asked_for(&wanted, "file[]", file(group));
    let of_rule = |view: &&RuleView| match &view.rule {
        Rule::Alert(rule) => alerting && asked_for(&wanted, "rule_name[]", &rule.name),
        Rule::Record(rule) => recording && asked_for(&wanted, "rule_name[]", &rule.metric),
    };
    let shown = |group: &&GroupView| {
        let matching = group.rules.iter().filter(of_rule).filter(|view| matches_any(&sets, &view.rule));
        let rules: Vec<Value> = matching.map(|rule| self::rule(rule, with_alerts)).collect();
        // A group without any of the named rules is left out.
        (!rules.is_empty() || !by_name && sets.is_empty()).then_some(rules)
    };
    let mut found: Vec<&GroupView> = views.iter().map(Arc::as_ref).filter(of_group).collect();
    if page.limit.is_some() {
        found.sort_by_cached_key(|group| token(group));
    }
    let begins = page.begins(&found)?;
    let mut all = found.into_iter().skip(begins).filter_map(|group| Some((group, shown(&group)?)));
    let groups: Vec<Value> = all.by_ref().take(page.limit.unwrap_or(usize::MAX)).map(|(group, rules)| group_view(group, rules)).collect();
    let mut data = json!({"groups": groups});
    if let (Some((next, _)), Some(fields)) = (all.next(), data.as_object_mut()) {
        fields.insert("groupNextToken".to_owned(), json!(token(next)));
    }
    Ok(Json(json!({"status": "success", "data": data})))
}

/// The selectors of `match[]`: a rule is shown that one of them matches, all where there is none.
fn matcher_sets(wanted: &Wanted) -> Result<Vec<Vec<Matcher>>, ApiError> {
    let texts = wanted.iter().filter(|(key, _)| key == "match[]").map(|(_, text)| text);
    texts.map(|text| matchers::read(text).map_err(|error| ApiError::bad_data(format!("invalid parameter \"match[]\": {error}")))).collect()
}

/// Whether one of the selectors matches the labels that a rule gives. A templated label says nothing before it is expanded.
fn matches_any(sets: &[Vec<Matcher>], rule: &Rule) -> bool {
    let labels: Labels = match rule {
        Rule::Alert(rule) => {
            let plain = rule.labels.iter().filter(|(_, value)| !value.text().contains("{{"));
            plain.map(|(name, value)| (name.as_str(), value.text())).collect()
        }
        Rule::Record(rule) => rule.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
    };
    sets.is_empty() || sets.iter().any(|set| set.iter().all(|matcher| matcher.matches(&labels)))
}

/// Which groups of a long list are shown: Prometheus's `group_limit` and `group_next_token`.
struct Page<'q> {
    limit: Option<usize>,
    begins_at: Option<&'q str>,
}

impl<'q> Page<'q> {
    fn of(limit: Option<&str>, begins_at: Option<&'q str>) -> Result<Self, ApiError> {
        let limit = match limit {
            None | Some("") => None,
            Some(text) => Some(
                text.parse::<usize>()
                    .ok()
                    .filter(|limit| *limit > 0)
                    .ok_or_else(|| ApiError::bad_data(format!("invalid parameter \"group_limit\": {text:?} is no positive number")))?,
            ),
        };
        let begins_at = begins_at.filter(|token| !token.is_empty());
        if begins_at.is_some() && limit.is_none() {
            return Err(ApiError::bad_data("group_limit needs to be present in order to paginate over the groups"));
        }
        Ok(Page { limit, begins_at })
    }

    fn begins(&self, groups: &[&GroupView]) -> Result<usize, ApiError> {
        let Some(wanted) = self.begins_at else { return Ok(0) };
        groups.iter().position(|group| token(group) == wanted).ok_or_else(|| {
            ApiError::bad_data("invalid group_next_token: no group has it any more; were rule groups changed? Begin again without it")
        })
    }
}

/// What names a group in `groupNextToken`.
fn token(group: &GroupView) -> String {
    URL_SAFE_NO_PAD.encode(&Sha256::digest(format!("{};{}", file(group), group.name))[..15])
}

fn file(group: &GroupView) -> &str {
    group.source.strip_prefix("file:").unwrap_or(&group.source)
}

fn group_view(group: &GroupView, rules: Vec<Value>) -> Value {
    json!({
        "name": group.name,
        "file": file(group),
        "rules": rules,
        "interval": group.interval.as_secs_f64(),
        "limit": group.limit,
        "evaluationTime": group.seconds,
        "lastEvaluation": moment(group.evaluated_at),
    })
}

fn rule(view: &RuleView, with_alerts: bool) -> Value {
    let mut fields = Map::new();
    match &view.rule {
        Rule::Alert(rule) => alert_rule(&mut fields, rule, view, with_alerts),
        Rule::Record(rule) => {
            fields.insert("name".to_owned(), json!(rule.metric));
            fields.insert("query".to_owned(), json!(rule.expr));
            fields.insert("labels".to_owned(), json!(rule.labels));
            fields.insert("type".to_owned(), json!("recording"));
        }
    }
    fields.insert("health".to_owned(), json!(view.health.as_str()));
    if let Some(error) = &view.last_error {
        fields.insert("lastError".to_owned(), json!(error));
    }
    if view.no_data {
        // Ours: no selector of the expression matched any series.
        fields.insert("noData".to_owned(), json!(true));
    }
    if let Some(reason) = &view.no_data_reason {
        fields.insert("noDataReason".to_owned(), json!(reason));
    }
    fields.insert("evaluationTime".to_owned(), json!(view.seconds));
    fields.insert("lastEvaluation".to_owned(), json!(moment(view.evaluated_at)));
    Value::Object(fields)
}

fn alert_rule(fields: &mut Map<String, Value>, rule: &AlertRule, view: &RuleView, with_alerts: bool) {
    let open = || view.instances.iter().filter(is_open);
    let state = match (open().any(|instance| instance.alert.is_firing()), open().next()) {
        (true, _) => "firing",
        (false, Some(_)) => "pending",
        (false, None) => "inactive",
    };
    let texts = |templates: &std::collections::BTreeMap<String, crate::template::Template>| -> Map<String, Value> {
        templates.iter().map(|(name, template)| (name.clone(), json!(template.text()))).collect()
    };
    let alerts: Vec<Value> = if with_alerts { open().map(alert).collect() } else { Vec::new() };
    for (name, value) in [
        ("state", json!(state)),
        ("name", json!(rule.name)),
        ("query", json!(rule.expr)),
        ("duration", json!(rule.hold.as_secs_f64())),
        ("keepFiringFor", json!(rule.keep_firing_for.as_secs_f64())),
        ("labels", json!(texts(&rule.labels))),
        ("annotations", json!(texts(&rule.annotations))),
        ("alerts", json!(alerts)),
        ("type", json!("alerting")),
        // Ours: what asks, and where that stands.
        ("question", json!(rule.question.word())),
        ("source", json!(rule.key.source)),
    ] {
        fields.insert(name.to_owned(), value);
    }
    if let Some(thresholds) = &rule.thresholds {
        fields.insert("thresholds".to_owned(), json!(thresholds));
    }
    if let Some(recovery) = &rule.recovery {
        fields.insert("recovery".to_owned(), json!(recovery));
    }
}
