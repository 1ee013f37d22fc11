//! What rules would have done over a history that is made up here.

use std::sync::Arc;
use std::time::Duration;

use alerting::RuleSet;
use model::event::Actor;
use model::issue::{Issue, IssueChange, IssueState, Move};
use model::query::{MetricQuery, QueryOptions};
use model::severity::Severity;
use model::tenant::TenantId;
use model::time::Timestamp;
use store::promql::PromQl;
use store::promql::memory::MemorySource;
use store::promql::source::{Samples, SeriesKind, Temporality};

use super::{Replay, Replayed, plot, replay};
use crate::ruletest::notation::{Point, labels, points};
use crate::simulate::NoRows;

const START: Timestamp = Timestamp::from_secs(1_800_000_000);

const RULES: &str = r#"
groups:
- name: g
  interval: 30s
  rules:
  - record: job:up:sum
    expr: sum by (job) (up)
  - alert: Down
    expr: job:up:sum == 0
    for: 2m
    keep_firing_for: 1m
    labels: { severity: warning }
    escalation: page
  - alert: Gone
    expr: absent(up{job="never"}) and on () vector(time()) > 1800001800
escalations:
- name: page
  steps: [{ after: 0s, notify: [pd] }, { after: 5m, notify: [sms] }]
"#;

/// An hour of a job that is down from minute 10 to minute 20.
fn history() -> Arc<dyn MetricQuery> {
    let source = MemorySource::new();
    let (mut times, mut values) = (Vec::new(), Vec::new());
    for (index, point) in (0i64..).zip(points("1x39 0x39 1x160").unwrap()) {
        let Point::Number(value) = point else { panic!("{point:?}") };
        times.push(START.millis() + index * 15_000);
        values.push(value);
    }
    let series = labels("up{job=\"api\"}").unwrap();
    source.add(&TenantId::default(), &series, SeriesKind::Gauge, Temporality::Cumulative, &Samples { times, values });
    Arc::new(PromQl::new(Arc::new(source)))
}

fn minutes(count: u64) -> Timestamp {
    START.plus(Duration::from_secs(60 * count))
}

async fn run(from: u64, to: u64) -> Replayed {
    run_over(RULES, history(), minutes(from), minutes(to)).await
}

async fn run_over(rules: &str, history: Arc<dyn MetricQuery>, from: Timestamp, to: Timestamp) -> Replayed {
    run_with(rules, history, Vec::new(), from, to).await
}

async fn run_with(rules: &str, history: Arc<dyn MetricQuery>, issues: Vec<Issue>, from: Timestamp, to: Timestamp) -> Replayed {
    let rules = RuleSet::load(vec![("a.yaml".to_owned(), rules.to_owned())]).unwrap();
    let config = crate::config::Config::default();
    let mut passed = Duration::ZERO;
    let setup = Replay { config: &config, rules, history, rows: Arc::new(NoRows), issues, from, to };
    let replayed = replay(setup, |now| {
        assert!(now >= passed);
        passed = now;
    });
    replayed.await.unwrap()
}

/// Seconds from the start of history, rounded down to the minute: ticks are shifted by the group's name.
fn minute(at: Timestamp) -> u64 {
    at.since(START).as_secs() / 60
}

#[tokio::test]
async fn alerts_and_pages_come_when_they_would_have() {
    let replayed = run(5, 50).await;
    assert_eq!(replayed.failures, Default::default());
    let down = replayed.alerts.iter().find(|one| one.name == "Down").unwrap();
    assert_eq!(down.labels.to_string(), "{alertname=\"Down\", job=\"api\", severity=\"warning\"}");
    assert_eq!((minute(down.pending), minute(down.fired.unwrap()), minute(down.ended.unwrap())), (10, 12, 21));
    assert_eq!(down.fired.unwrap().since(down.pending), Duration::from_secs(120));
    let gone = replayed.alerts.iter().find(|one| one.name == "Gone").unwrap();
    assert_eq!((minute(gone.fired.unwrap()), gone.ended), (30, None));
    let pages: Vec<String> = replayed.pages.iter().map(|page| format!("{} {} {}", minute(page.at), page.receiver, page.kind)).collect();
    assert_eq!(pages, ["12 pd trigger", "17 sms trigger", "21 pd resolve", "21 sms resolve"]);
    let lines = plot(&replayed.alerts, minutes(5), minutes(50), 45);
    assert_eq!(lines[0].0, "Down");
    assert!(lines[0].1.starts_with(".....--###") && lines[0].1.ends_with("........") && lines[0].1.len() == 45, "{}", lines[0].1);
    assert!(lines[1].1.ends_with("####################"), "{}", lines[1].1);
}

#[tokio::test]
async fn what_was_pending_before_the_beginning_fires_in_time() {
    let replayed = run(11, 15).await;
    let down = &replayed.alerts[0];
    assert_eq!((minute(down.pending), minute(down.fired.unwrap())), (10, 12));
    let nothing = run(1, 9).await;
    assert_eq!((nothing.alerts, nothing.pages), (Vec::new(), Vec::new()));
}

/// The rules first run at minute 11 (`for` and two lookbacks before the span): `Down` is pending since minute 10 then.
#[tokio::test]
async fn what_began_before_anybody_looked_is_not_shown_as_new() {
    let replayed = run(18, 50).await;
    let [down, gone] = &replayed.alerts[..] else { panic!("{:?}", replayed.alerts) };
    assert_eq!((down.name.as_str(), down.began_before, minute(down.pending), minute(down.ended.unwrap())), ("Down", true, 11, 21));
    assert_eq!((gone.name.as_str(), gone.began_before, minute(gone.pending)), ("Gone", false, 30));
    let pages: Vec<String> =
        replayed.pages.iter().map(|page| format!("{} {} {} {}", minute(page.at), page.receiver, page.kind, page.began_before)).collect();
    assert_eq!(pages, ["18 sms trigger true", "21 pd resolve false", "21 sms resolve false"]);
    assert!(plot(&replayed.alerts, minutes(18), minutes(50), 32)[0].1.starts_with("<##"), "{:?}", replayed.alerts);
    let known = run(5, 50).await;
    assert!(known.alerts.iter().all(|one| !one.began_before) && known.pages.iter().all(|page| !page.began_before), "{known:?}");
}

/// Three days of requests, of which all fail in the last two hours. The rules of an objective read three days of what they record.
#[tokio::test]
async fn windows_over_what_rules_record_are_full_where_the_span_begins() {
    const RULES: &str =
        "slos: [{ name: web, objective: 99, interval: 150s, good: 'sum(rate(good[$window]))', total: 'sum(rate(all[$window]))' }]";
    let source = MemorySource::new();
    let (days, failing) = (4 * 24 * 60, 2 * 60);
    for (name, stops) in [("all", days), ("good", days - failing)] {
        let times = (0..days).map(|minute| START.millis() + minute * 60_000).collect();
        let values = (0..days).map(|minute| (minute.min(stops) * 600) as f64).collect();
        source.add(&TenantId::default(), &labels(name).unwrap(), SeriesKind::Counter, Temporality::Cumulative, &Samples { times, values });
    }
    let end = START.plus(Duration::from_secs(60 * days.unsigned_abs()));
    let from = end.minus(Duration::from_secs(60 * 180));
    let replayed = run_over(RULES, Arc::new(PromQl::new(Arc::new(source))), from, end).await;
    assert_eq!(replayed.failures, Default::default());
    let fired: Vec<(Severity, u64)> =
        replayed.alerts.iter().filter_map(|one| Some((one.severity, one.fired?.since(from).as_secs() / 60))).collect();
    // All fails from minute 60 on, and the rates of 5m follow within 5: 14.4% of an hour, 6% of six hours, 1% of three days are bad.
    assert_eq!(fired, [(Severity::Critical, 71), (Severity::High, 84), (Severity::Warning, 106)], "{:?}", replayed.alerts);
    assert!(replayed.alerts.iter().all(|one| !one.began_before), "{:?}", replayed.alerts);
}

#[tokio::test]
async fn a_history_that_does_not_answer_is_told() {
    struct Dead;
    #[async_trait::async_trait]
    impl MetricQuery for Dead {
        async fn instant(
            &self,
            _: &TenantId,
            _: &str,
            _: Timestamp,
            _: &QueryOptions,
        ) -> Result<model::query::Answer, model::query::QueryError> {
            Err(model::query::QueryError::Unavailable("gone".to_owned()))
        }
        async fn range(
            &self,
            _: &TenantId,
            _: &str,
            _: Timestamp,
            _: Timestamp,
            _: Duration,
            _: &QueryOptions,
        ) -> Result<model::query::Answer, model::query::QueryError> {
            Err(model::query::QueryError::Unavailable("gone".to_owned()))
        }
        fn check(&self, _: &str) -> Result<(), model::query::QueryError> {
            Ok(())
        }
    }
    let rules = RuleSet::load(vec![("a.yaml".to_owned(), RULES.to_owned())]).unwrap();
    let config = crate::config::Config::default();
    let setup = Replay {
        config: &config,
        rules,
        history: Arc::new(Dead),
        rows: Arc::new(NoRows),
        issues: Vec::new(),
        from: minutes(0),
        to: minutes(2),
    };
    let replayed = replay(setup, drop).await.unwrap();
    assert!(replayed.failures["job:up:sum"].1.contains("gone"), "{replayed:?}");
    assert!(replayed.alerts.iter().all(|one| one.name == "WatchfireRuleFailing") && replayed.pages.is_empty(), "{replayed:?}");
}

/// An issue that was resolved and came back twice; the record says the last of it only, and remembers the rest.
#[tokio::test]
async fn issues_are_what_they_were_at_each_moment() {
    let change = |minute: u64, change: IssueChange| Move { at: minutes(minute), by: Actor::system("test"), change };
    let issue = Issue {
        id: model::ids::IssueId::derived(START, "1"),
        tenant: TenantId::default(),
        number: 7,
        title: "KeyError: price".to_owned(),
        kind: "KeyError".to_owned(),
        message: String::new(),
        culprit: String::new(),
        grouped_by: String::new(),
        state: IssueState::Open,
        assignee: None,
        services: vec!["shop".to_owned()],
        first_release: None,
        releases: Vec::new(),
        groups: Vec::new(),
        absorbed: Vec::new(),
        regressions: 4,
        history: vec![
            change(5, IssueChange::Resolved { in_release: None }),
            change(12, IssueChange::Regressed { release: Some("1.4".to_owned()) }),
            change(15, IssueChange::Resolved { in_release: None }),
            change(40, IssueChange::Regressed { release: Some("1.5".to_owned()) }),
            change(55, IssueChange::Resolved { in_release: None }),
        ],
    };
    let rules = "groups:\n- name: g\n  interval: 30s\n  rules:\n  - { alert: Back, errors: { is: regressed }, window: 10m, annotations: { summary: '{{ $value }}' } }\n";
    let replayed = run_with(rules, history(), vec![issue], minutes(0), minutes(60)).await;
    assert!(replayed.failures.is_empty(), "{:?}", replayed.failures);
    let spans: Vec<(u64, u64)> = replayed.alerts.iter().map(|one| (minute(one.fired.unwrap()), minute(one.ended.unwrap()))).collect();
    assert_eq!(spans, [(12, 15), (40, 50)], "until it is resolved again, and for ten minutes at most");
    assert_eq!(replayed.alerts[0].labels.get("issue"), Some("7"));
}
