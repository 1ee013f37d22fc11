//! `alert_rule_test`: which alerts fire at a moment. Pure.

use std::sync::Arc;

use alerting::evaluate::GroupView;
use alerting::rules::Rule;
use serde_saphyr::Spanned;

use super::diff::{self, Fired};
use super::file::AlertYaml;

/// What fires under this name; the same name may stand in many groups.
fn firing(views: &[Arc<GroupView>], name: &str) -> Vec<Fired> {
    let rules = views.iter().flat_map(|view| &view.rules).filter(|view| matches!(&view.rule, Rule::Alert(rule) if rule.name == name));
    let alerts = rules.flat_map(|view| &view.instances).map(|instance| &instance.alert).filter(|alert| alert.is_firing());
    alerts.map(|alert| (alert.labels.clone().into(), alert.annotations.clone())).collect()
}

/// Why the test fails, if it does.
pub(super) fn check(test: &Spanned<AlertYaml>, views: &[Arc<GroupView>]) -> Option<String> {
    let Some(name) = test.value.alertname.as_deref().filter(|name| !name.is_empty()) else {
        return Some("`alertname` is missing: name the alert\n".to_owned());
    };
    let expected = test.value.exp_alerts.iter().flatten().map(|alert| {
        let mut labels = alert.exp_labels.clone().unwrap_or_default();
        labels.insert("alertname".to_owned(), name.to_owned());
        (labels, alert.exp_annotations.clone().unwrap_or_default())
    });
    diff::alerts(&expected.collect::<Vec<_>>(), &firing(views, name))
}
