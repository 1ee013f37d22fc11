//! Rules about anomalies on a simulated world: an hour is a season, every minute is learned from.

use std::sync::atomic::AtomicI64;

use async_trait::async_trait;
use model::alert::Verdict;
use model::query::Answer;
use model::severity::Severity;

use super::*;
use crate::evaluate::Health;
use crate::machine::Instance;
use crate::testing::{World, labels};

const RULES: &str = r#"
groups:
  - name: g
    rules:
      - alert: Odd
        anomaly: { expr: traffic, seasons: [1h], history: 6h, minimum: 5% }
        labels: { severity: high }
        annotations: { figures: "{{ $labels.job }}: {{ printf \"%.0f\" $value }} instead of {{ printf \"%.0f\" $expected }}, {{ gt $value $upper }} {{ lt $value $lower }}" }
      - alert: Graded
        anomaly: { expr: traffic, seasons: [1h], history: 6h, direction: above }
        thresholds: { warning: "> 1.5", critical: "> 10" }
"#;

/// What traffic is: a wave of an hour with noise, changed since some seconds to so many percent; nothing before `begins` (seconds).
struct Traffic {
    changes: Arc<Mutex<Vec<(i64, i64)>>>,
    begins: Arc<AtomicI64>,
}

impl Traffic {
    fn of(world: &World) -> Self {
        let traffic = Traffic { changes: Arc::default(), begins: Arc::default() };
        let (changes, begins) = (traffic.changes.clone(), traffic.begins.clone());
        world.set_curve("traffic", move |at| {
            let second = at.millis() / 1_000;
            let noise = (random(second) % 1_000) as f64 / 100.0 - 5.0;
            let usual = 200.0 + 100.0 * (std::f64::consts::TAU * second as f64 / 3_600.0).sin() + noise;
            let percent = lock(&changes).iter().rev().find(|(since, _)| second > *since).map_or(100, |(_, percent)| *percent);
            let there = second >= begins.load(Ordering::SeqCst);
            let value = usual * percent as f64 / 100.0;
            there.then(|| (labels(&[("__name__", "traffic"), ("job", "api")]), value)).into_iter().collect()
        });
        traffic
    }
    /// From now on.
    fn set(&self, world: &World, percent: i64) {
        lock(&self.changes).push((world.now().millis() / 1_000, percent));
    }
}

/// Numbers that look random.
fn random(number: i64) -> u64 {
    [("n", number.to_string())].into_iter().collect::<Labels>().fingerprint()
}

async fn minutes(world: &World, count: u64) {
    for _ in 0..count {
        world.clock.advance(Duration::from_secs(60));
        world.tick().await;
    }
}

async fn open(world: &World, name: &str) -> Vec<Instance> {
    let mut all = world.alerts().await;
    all.retain(|one| one.alert.is_firing() && one.alert.labels.get("alertname") == Some(name));
    all
}

fn bands(world: &World) -> Vec<(Labels, u64)> {
    let mut bands: Vec<(Labels, u64)> = world
        .take_written()
        .into_iter()
        .filter(|(labels, _)| labels.get(METRIC_NAME).is_some_and(|name| name.starts_with("watchfire_anomaly_")))
        .map(|(labels, sample)| (labels, sample.value.to_bits()))
        .collect();
    bands.sort();
    bands
}

#[tokio::test]
async fn usual_hours_are_silent_and_what_is_not_usual_is_told_at_once() {
    let mut world = World::new("", RULES);
    let traffic = Traffic::of(&world);
    minutes(&world, 600).await;
    assert_eq!(world.alerts().await, Vec::new(), "ten usual hours");
    world.take_written();
    world.tick().await;
    let before = bands(&world);
    assert_eq!(before.len(), 6, "{before:?}");
    let upper = labels(&[("job", "api"), ("rule", "Odd"), ("rule_group", "g"), ("rule_source", "file:a.yaml")]);
    assert!(before.iter().any(|(labels, _)| *labels == upper.clone().with(METRIC_NAME, "watchfire_anomaly_upper")), "{before:?}");

    // A restart learns the same from the history.
    world.restart();
    world.tick().await;
    assert_eq!(bands(&world), before);

    traffic.set(&world, 200);
    minutes(&world, 1).await;
    let odd = open(&world, "Odd").await;
    assert_eq!(odd.len(), 1, "told at the first evaluation");
    let (alert, annotations) = (&odd[0].alert, &odd[0].alert.annotations);
    assert!(annotations["figures"].starts_with("api: ") && annotations["figures"].ends_with(", true false"), "{annotations:?}");
    assert!(
        annotations["summary"].contains(" is above the ") && annotations["summary"].contains("99.9 % of what is usual"),
        "{annotations:?}"
    );
    for name in ["expected", "lower", "upper"] {
        assert!(annotations[name].parse::<f64>().is_ok(), "{annotations:?}");
    }
    assert_eq!((alert.severity, alert.expr.as_str()), (Severity::High, "traffic"));
    let graded = open(&world, "Graded").await;
    assert!(graded.len() == 1 && graded[0].alert.severity >= Severity::Warning, "{graded:?}");

    // A probe asks the same.
    let verdict = world.alerting.probe().probe(alert, world.now()).await;
    assert!(matches!(verdict, Verdict::Active { severity: Severity::High, .. }), "{verdict:?}");

    // Less is told by the rule for both sides only.
    traffic.set(&world, 10);
    // What only moved is written once a minute.
    minutes(&world, 2).await;
    let odd = open(&world, "Odd").await;
    assert!(odd[0].alert.annotations["summary"].contains(" is below the "), "{odd:?}");
    assert!(open(&world, "Graded").await.is_empty());
    traffic.set(&world, 100);
    minutes(&world, 1).await;
    assert!(open(&world, "Odd").await.is_empty());
}

#[tokio::test]
async fn an_incident_is_not_learned_while_it_goes_on_and_what_lasts_is_usual_in_the_end() {
    let mut world = World::new("", RULES);
    let traffic = Traffic::of(&world);
    minutes(&world, 5).await;
    traffic.set(&world, 50);
    for minute in 0..40 {
        minutes(&world, 1).await;
        assert_eq!(open(&world, "Odd").await.len(), 1, "after {minute} minutes");
        if minute == 30 {
            world.tick().await;
            world.take_written();
            world.tick().await;
            let before = bands(&world);
            world.restart();
            world.tick().await;
            assert_eq!(bands(&world), before, "a restart holds the same");
        }
    }
    let odd = open(&world, "Odd").await;
    let said = &odd[0].alert.annotations["summary"];
    assert!(said.contains("; unusual since ") && said.ends_with(" on if it stays so"), "{said}");
    traffic.set(&world, 100);
    minutes(&world, 1).await;
    assert!(open(&world, "Odd").await.is_empty(), "its end is usual at once");
    // For an eighth of six hours.
    minutes(&world, 10).await;
    traffic.set(&world, 200);
    minutes(&world, 43).await;
    assert_eq!(open(&world, "Odd").await.len(), 1);
    minutes(&world, 10).await;
    assert!(open(&world, "Odd").await.is_empty(), "{:?}", open(&world, "Odd").await);
}

#[tokio::test]
async fn too_little_history_is_no_data_with_the_reason_and_never_an_alert() {
    let world = World::new("no_data_after: 10m", RULES);
    let traffic = Traffic::of(&world);
    let start = world.now().millis() / 1_000;
    traffic.begins.store(start - 3_600, Ordering::SeqCst);
    for (factor, after) in [(100, 5), (1_000, 5), (1, 5)] {
        traffic.set(&world, factor);
        minutes(&world, after).await;
    }
    let rule = world.alerting.evaluator().views()[0].rules[0].clone();
    assert!(rule.no_data && rule.health == Health::Ok, "{rule:?}");
    let reason = rule.no_data_reason.unwrap();
    assert!(reason.contains("of 1 series none can be learned yet") && reason.contains("is too short: 2h are needed"), "{reason}");
    let told = open(&world, "WatchfireRuleNoData").await;
    assert!(told[0].alert.annotations["summary"].contains("for Odd, Graded: Odd: no forecast"), "{told:?}");
    assert_eq!(world.alerts().await.len(), 1, "nothing else was ever told");
    // Two hours of history are enough.
    traffic.set(&world, 100);
    minutes(&world, 60).await;
    assert!(open(&world, "WatchfireRuleNoData").await.is_empty());
    assert!(!world.alerting.evaluator().views()[0].rules[0].no_data);
}

#[tokio::test]
async fn an_open_alert_that_cannot_be_judged_any_more_is_held() {
    let mut world = World::new("failing_for: 30s", RULES);
    let traffic = Traffic::of(&world);
    minutes(&world, 5).await;
    traffic.set(&world, 300);
    minutes(&world, 1).await;
    assert_eq!(open(&world, "Odd").await.len(), 1);
    // The history is lost.
    traffic.set(&world, 100);
    traffic.begins.store(world.now().millis() / 1_000, Ordering::SeqCst);
    world.restart();
    minutes(&world, 5).await;
    let odd = open(&world, "Odd").await;
    assert!(odd.len() == 1 && odd[0].alert.unknown, "{odd:?}");
    let failing = open(&world, "WatchfireRuleFailing").await;
    assert!(failing.iter().any(|one| one.alert.annotations["summary"].contains("there is no data: no forecast")), "{failing:?}");
}

#[tokio::test]
async fn too_many_series_and_a_failing_history_fail_the_rule() {
    let rules = RULES.replace("minimum: 5%", "max_series: 1");
    let world = World::new("", &rules);
    world.set_curve("traffic", |_| ["a", "b"].map(|job| (labels(&[("job", job)]), 1.0)).to_vec());
    world.tick().await;
    let error = |world: &World| world.alerting.evaluator().views()[0].rules[0].last_error.clone().unwrap_or_default();
    assert!(error(&world).contains("2 series are more than `max_series: 1`"), "{}", error(&world));
    world.set("traffic", &[(&[("job", "a")], 1.0)]);
    world.tick().await;
    let expected = "the forecast cannot be learned: the history has more than `max_series: 1` series";
    assert!(error(&world).contains(expected), "{}", error(&world));
    let world = World::new("", &rules);
    world.set("traffic", &[(&[("job", "a")], 1.0)]);
    world.tick().await;
    assert!(error(&world).contains("the forecast cannot be learned: rules ask no ranges"), "{}", error(&world));
}

/// Answers only when it is let.
struct Slow(Semaphore);

#[async_trait]
impl MetricQuery for Slow {
    async fn instant(&self, _: &TenantId, _: &str, _: Timestamp, _: &QueryOptions) -> Result<Answer, QueryError> {
        Err(QueryError::BadData("not asked".to_owned()))
    }
    async fn range(
        &self,
        _: &TenantId,
        _: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        _: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let turn = self.0.acquire().await.map_err(|error| QueryError::Execution(error.to_string()))?;
        turn.forget();
        let count = end.since(start).as_secs() / step.as_secs();
        let samples =
            (0..=count).map(|at| model::query::SeriesSample { at: start.plus(step * at as u32), value: (at % 60) as f64 }).collect();
        let series = vec![model::query::Series { labels: Labels::empty(), samples }];
        let (histograms, warnings, infos) = Default::default();
        Ok(Answer { value: QueryValue::Matrix(series), histograms, samples_read: 0, warnings, infos, matched_any_series: true })
    }
    fn check(&self, _: &str) -> Result<(), QueryError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn other_rules_do_not_wait_for_one_that_learns() {
    let slow = Arc::new(Slow(Semaphore::new(0)));
    let metrics: Arc<dyn MetricQuery> = slow.clone();
    let rules = RuleSet::load(vec![("a.yaml".to_owned(), RULES.to_owned())]).unwrap();
    let Question::Anomaly(asked) = rules.groups[0].rules[0].question().clone() else { panic!() };
    let forecasts = Forecasts::default();
    forecasts.hurry();
    let (tenant, at) = (TenantId::default(), Timestamp::from_secs(1_800_000_000));
    let of = async |at: Timestamp| forecasts.of(&metrics, &tenant, "traffic", &asked, at, Duration::from_secs(3_600)).await;
    for _ in 0..3 {
        let reason = of(at).await.unwrap_err();
        assert_eq!(reason, "the forecast is being learned from the history");
    }
    slow.0.add_permits(1);
    let learned = loop {
        if let Ok(learned) = of(at).await {
            break learned;
        }
    };
    assert!(learned.band(&Labels::empty(), at.plus(Duration::from_secs(60))).is_some());
    assert_eq!(slow.0.available_permits(), 0, "asked once, however many waited");
    // While it cannot learn anew, what it knows goes on for as long as it reaches.
    let (later, much_later) = (at.plus(asked.refit.0 * 2), at.plus(asked.refit.0 * 4));
    assert!(Arc::ptr_eq(&of(later).await.unwrap(), &learned));
    assert!(of(much_later).await.is_err());
    // Other rules, and it is forgotten.
    forecasts.keep(&rules);
    assert_eq!(lock(&forecasts.places).len(), 1);
    forecasts.keep(&RuleSet::default());
    assert_eq!(lock(&forecasts.places).len(), 0);
}

#[tokio::test]
async fn a_long_history_is_asked_in_pieces_and_what_ended_before_is_left_out() {
    let world = World::new("", RULES);
    let at = world.now();
    let old = at.minus(Duration::from_secs(3_000 * 60));
    world.set_curve("n", move |at| {
        let one = (labels(&[("__name__", "n"), ("job", "a")]), at.millis() as f64 / 60_000.0);
        if at < old { vec![one, (labels(&[("job", "gone")]), 1.0)] } else { vec![one] }
    });
    let mut asked = match RuleSet::load(vec![("a.yaml".to_owned(), RULES.to_owned())]).unwrap().groups[0].rules[0].question() {
        Question::Anomaly(asked) => asked.clone(),
        Question::PromQl | Question::Sql(_) | Question::Regressed(_) => panic!(),
    };
    asked.history = Span::secs(4_500 * 60);
    let (metrics, tenant) = (world.metrics.clone(), TenantId::default());
    let histories = ask(&Task { metrics, tenant, expr: "n".to_owned(), asked, at, timeout: Duration::from_secs(9) }).await.unwrap();
    assert_eq!(histories.len(), 1, "{:?}", histories.keys());
    let minute = at.millis() as f64 / 60_000.0;
    let expected: Vec<f64> = (0..4_500).rev().map(|back| minute - f64::from(back)).collect();
    assert_eq!(histories[&labels(&[("job", "a")])], expected);
}
