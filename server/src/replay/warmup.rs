//! How long before the shown span rules have to run: `for`, and the windows over what other rules of the replay record, which nobody has
//! recorded then. In: rules. Out: a duration. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use alerting::RuleSet;
use alerting::rules::Rule;
use model::labels::{METRIC_NAME, MatchOp};
use model::query::QueryOptions;
use store::promql::plan::{Plan, Selector};
use store::promql::{parse, reaches};

/// The metrics that rules write themselves.
pub fn recorded(rules: &RuleSet) -> BTreeSet<String> {
    let metrics = rules.groups.iter().flat_map(|group| &group.rules).filter_map(|rule| match rule {
        Rule::Record(rule) => Some(rule.metric.clone()),
        Rule::Alert(_) => None,
    });
    metrics.chain(["ALERTS".to_owned(), "ALERTS_FOR_STATE".to_owned()]).collect()
}

/// Whether an expression reads nothing but these metrics.
pub fn reads_only(plan: &Plan, metrics: &BTreeSet<String>) -> bool {
    let own = |selector: &Selector| metric(selector).is_some_and(|metric| metrics.contains(metric));
    !plan.selectors.is_empty() && plan.selectors.iter().all(own)
}

/// How long before the span its rules have to run.
pub fn warmup(rules: &RuleSet) -> Duration {
    let mut walk = Walk { own: recorded(rules), rules, known: BTreeMap::new() };
    let alerts = rules.groups.iter().flat_map(|group| &group.rules).filter_map(|rule| match rule {
        Rule::Alert(alert) => Some(alert.hold + walk.rule(rule)),
        Rule::Record(_) => None,
    });
    alerts.max().unwrap_or_default()
}

fn metric(selector: &Selector) -> Option<&str> {
    let named = selector.matchers.iter().find(|one| one.name == METRIC_NAME && one.op == MatchOp::Equal);
    named.map(|one| one.value.as_str())
}

struct Walk<'a> {
    own: BTreeSet<String>,
    rules: &'a RuleSet,
    /// How far back what a metric is made of lies; zero while it is looked for: a rule may read itself.
    known: BTreeMap<String, Duration>,
}

impl Walk<'_> {
    fn rule(&mut self, rule: &Rule) -> Duration {
        let Some(plan) = rule.promql().and_then(|expr| parse::parse(expr).ok()).filter(|plan| reads_only(plan, &self.own)) else {
            return Duration::ZERO;
        };
        let back = reaches(&plan, &QueryOptions::default()).unwrap_or_default();
        plan.selectors
            .iter()
            .zip(back)
            .map(|(selector, back)| back + metric(selector).map_or(Duration::ZERO, |name| self.metric(name)))
            .max()
            .unwrap_or_default()
    }

    fn metric(&mut self, name: &str) -> Duration {
        if let Some(known) = self.known.get(name) {
            return *known;
        }
        self.known.insert(name.to_owned(), Duration::ZERO);
        let rules = self.rules;
        let sources =
            rules.groups.iter().flat_map(|group| &group.rules).filter(|rule| matches!(rule, Rule::Record(rule) if rule.metric == name));
        let longest = sources.map(|rule| self.rule(rule)).max().unwrap_or_default();
        self.known.insert(name.to_owned(), longest);
        longest
    }
}
