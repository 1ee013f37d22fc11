//! Watchfire's own alerts, raised through the same machine: a rule that keeps failing, a ladder step that is overdue. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use model::alert::RuleKey;
use model::labels::Labels;
use model::severity::Severity;
use model::time::{Span, Timestamp};
use model::units::Value;

use crate::ladder::LadderRun;
use crate::machine::{Active, Failing, Outcome, fingerprint};
use crate::rules::{AlertRule, Escalation, NoData, Place, Question};

/// The source of our own rules.
pub(crate) const SOURCE: &str = "watchfire";

fn rule(group: String, name: &str, expr: &str, escalation: Option<&str>) -> AlertRule {
    // What is only for information climbs no ladder.
    let escalation = escalation.map_or(Escalation::None, |name| Escalation::PerSeverity([(Severity::Warning, name.to_owned())].into()));
    AlertRule { escalation, ..bare(RuleKey { source: SOURCE.to_owned(), group, name: name.to_owned() }, expr) }
}

/// A rule with nothing but a name and an expression.
pub(super) fn bare(key: RuleKey, expr: &str) -> AlertRule {
    AlertRule {
        name: key.name.clone(),
        key,
        question: Question::PromQl,
        expr: expr.to_owned(),
        no_data: NoData::Ok,
        hold: Duration::ZERO,
        keep_firing_for: Duration::ZERO,
        labels: BTreeMap::new(),
        annotations: BTreeMap::new(),
        thresholds: None,
        recovery: None,
        escalation: Escalation::None,
        remediation: None,
        place: Place::default(),
    }
}

/// The rule that fires for each rule of a group that keeps failing.
pub(super) fn rule_failing(source: &str, group: &str, escalation: Option<&str>) -> AlertRule {
    rule(format!("{source}/{group}"), "WatchfireRuleFailing", "watchfire_rules_failing > 0", escalation)
}

/// The rule that fires when a ladder step is late.
pub(super) fn ladder_overdue(escalation: Option<&str>) -> AlertRule {
    rule("ladders".to_owned(), "WatchfireLadderOverdue", "watchfire_ladder_overdue_seconds > 0", escalation)
}

fn one(rule: &AlertRule, labels: Labels, severity: Severity, value: f64, summary: String) -> (u64, Active) {
    let labels = labels.with("alertname", &rule.name).with("severity", severity.as_str());
    let annotations = [("summary".to_owned(), summary)].into();
    (fingerprint(&rule.key, &labels), Active { labels, annotations, value: Value(value), severity, lingers: false })
}

/// How many rules without data a notice names.
const NAMED: usize = 5;

/// A rule that has found nothing to look at.
#[derive(Clone, Copy, Debug)]
pub(super) struct Silent<'a> {
    pub rule: &'a RuleKey,
    pub since: Timestamp,
    /// Why, where it is not that nothing has come.
    pub because: Option<&'a str>,
}

/// One alert for the rules of a group that have found nothing to look at for long enough.
fn silent_rules(own: &AlertRule, rules: &[Silent<'_>]) -> Option<(u64, Active)> {
    let (first, since) = (rules.first()?.rule, rules.iter().map(|silent| silent.since).min()?);
    let named: Vec<&str> = rules.iter().take(NAMED).map(|silent| silent.rule.name.as_str()).collect();
    let more = if rules.len() > NAMED { format!(" and {} more", rules.len() - NAMED) } else { String::new() };
    let because = match rules.iter().find_map(|silent| Some((silent.rule, silent.because?))) {
        Some((rule, because)) => format!("{}: {because}", rule.name),
        None => "nothing that they ask about has come".to_owned(),
    };
    let summary = format!(
        "group {} has no data since {since} for {}{more}: {because}, so they cannot fire; correct them, or say `no_data: ok` where that is \
         as it should be",
        first.group,
        named.join(", ")
    );
    let labels: Labels = [("rule_source", &first.source), ("rule_group", &first.group)].into_iter().collect();
    let labels = labels.with("alertname", "WatchfireRuleNoData").with("severity", Severity::Info.as_str());
    let annotations = [("summary".to_owned(), summary)].into();
    let active = Active { labels, annotations, value: Value(rules.len() as f64), severity: Severity::Info, lingers: false };
    Some((fingerprint(&own.key, &active.labels), active))
}

/// An alert for each rule of a group that has failed for long enough, and one for those that have no data.
pub(super) fn troubled_rules<'a>(
    own: &AlertRule,
    rules: impl Iterator<Item = (&'a RuleKey, &'a Failing)>,
    silent: Vec<Silent<'a>>,
) -> Outcome {
    let told = rules.map(|(key, failing)| {
        let labels: Labels = [("rule_source", &key.source), ("rule_group", &key.group), ("rule", &key.name)].into_iter().collect();
        let summary = format!(
            "rule {} of group {} cannot be evaluated since {}: {}; its alerts are held as they are",
            key.name, key.group, failing.since, failing.error
        );
        one(own, labels, Severity::Warning, f64::from(failing.failures), summary)
    });
    Outcome::Samples(told.chain(silent_rules(own, &silent)).collect())
}

/// Which running ladders have a step that is later than `limit`, and how late the latest one is.
pub(super) fn overdue_ladders(own: &AlertRule, runs: &[LadderRun], limit: Duration, now: Timestamp) -> (Outcome, Duration) {
    let late: Vec<(&LadderRun, Duration)> = runs.iter().filter_map(|run| Some((run, now.since(run.next_at?)))).collect();
    let told = late.iter().filter(|(_, late)| *late > limit).map(|(run, late)| {
        let labels: Labels = [("ladder", run.ladder.name.clone()), ("ladder_run", run.id.to_string())].into_iter().collect();
        let seconds = Span::secs(late.as_secs());
        let summary = format!("the next step of ladder {} for {} is {seconds} late: nobody is being paged", run.ladder.name, run.title);
        one(own, labels, Severity::High, late.as_secs_f64(), summary)
    });
    (Outcome::Samples(told.collect()), late.iter().map(|(_, late)| *late).max().unwrap_or_default())
}
