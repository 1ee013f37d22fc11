//! What rules would have done over a history that is made up here.

use std::sync::Arc;
use std::time::Duration;

use alerting::RuleSet;
use model::query::{MetricQuery, QueryOptions};
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
    let rules = RuleSet::load(vec![("a.yaml".to_owned(), RULES.to_owned())]).unwrap();
    let config = crate::config::Config::default();
    let mut passed = Duration::ZERO;
    let setup = Replay { config: &config, rules, history: history(), rows: Arc::new(NoRows), from: minutes(from), to: minutes(to) };
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
    let setup = Replay { config: &config, rules, history: Arc::new(Dead), rows: Arc::new(NoRows), from: minutes(0), to: minutes(2) };
    let replayed = replay(setup, drop).await.unwrap();
    assert!(replayed.failures["job:up:sum"].1.contains("gone"), "{replayed:?}");
    assert!(replayed.alerts.iter().all(|one| one.name == "WatchfireRuleFailing") && replayed.pages.is_empty(), "{replayed:?}");
}
