//! The state machine as timelines: what holds at each second, what happens.

use model::ids::SequentialIds;
use proptest::prelude::*;

use super::reference::{Expected, replay};
use super::*;
use crate::rules::{Rule, RuleSet};

fn rule(rest: &str) -> AlertRule {
    let text = format!("groups:\n- name: g\n  rules:\n  - alert: A\n    expr: up\n{rest}");
    let set = RuleSet::load(vec![("a.yaml".to_owned(), text)]).unwrap_or_else(|errors| panic!("{errors:?}"));
    match &set.groups[0].rules[0] {
        Rule::Alert(rule) => (**rule).clone(),
        Rule::Record(_) => panic!("a recording rule"),
    }
}

const NEVER: Flapping = Flapping { changes: 0, evaluations: 20 };

struct Bench {
    rule: AlertRule,
    flapping: Flapping,
    state: RuleState,
    ids: SequentialIds,
    tenant: TenantId,
}

impl Bench {
    fn new(rest: &str) -> Self {
        Bench { rule: rule(rest), flapping: NEVER, state: RuleState::default(), ids: SequentialIds::default(), tenant: TenantId::default() }
    }
    fn step(&mut self, second: i64, outcome: &Outcome) -> Vec<Change> {
        let setting = Setting { tenant: &self.tenant, rule: &self.rule, flapping: self.flapping, interval: Duration::ZERO };
        let step = step(setting, &self.state, outcome, Timestamp::from_secs(second), &self.ids);
        self.state = step.state;
        step.changes.into_iter().map(|(change, _)| change).collect()
    }
    /// Evaluates with one label set of this severity, or none.
    fn at(&mut self, second: i64, level: Option<Severity>) -> Vec<Change> {
        let samples = level.into_iter().map(|severity| self.sample("x", severity)).collect();
        self.step(second, &Outcome::Samples(samples))
    }
    fn sample(&self, label: &str, severity: Severity) -> (u64, Active) {
        let labels: Labels = [("alertname", "A"), ("i", label)].into_iter().collect();
        let active = Active { labels, annotations: BTreeMap::new(), value: Value(1.0), severity, lingers: false };
        (fingerprint(&self.rule.key, &active.labels), active)
    }
    fn only(&self) -> &Alert {
        assert_eq!(self.state.instances.len(), 1);
        &self.state.instances.values().next().unwrap().alert
    }
}

use Change::{Cancelled, Fired, Pending, Resolved, SeverityChanged};
const WARN: Option<Severity> = Some(Severity::Warning);
const CRIT: Option<Severity> = Some(Severity::Critical);

#[test]
fn pending_then_firing_then_resolved_then_forgotten_and_a_return_is_a_new_alert() {
    let mut bench = Bench::new("    for: 20s\n");
    assert_eq!(bench.at(0, WARN), [Pending]);
    assert_eq!(bench.at(15, WARN), []);
    assert_eq!(bench.at(30, WARN), [Fired]);
    let first = bench.only().id;
    assert_eq!(bench.only().state.active_at(), Timestamp::from_secs(0));
    assert_eq!(bench.at(45, None), [Resolved]);
    assert_eq!(bench.at(60, WARN), [Pending]);
    assert_ne!(bench.only().id, first);
    assert_eq!(bench.at(75, None), [Cancelled]);
    assert!(bench.state.instances.is_empty());
    for (second, kept) in [(100, true), (130, true)] {
        bench.at(second, WARN);
        assert_eq!(bench.state.instances.len() == 1, kept);
    }
    assert_eq!(bench.at(145, None), [Resolved]);
    bench.at(145 + 900, None);
    assert_eq!(bench.state.instances.len(), 1, "kept for exactly 15 minutes");
    bench.at(145 + 901, None);
    assert!(bench.state.instances.is_empty());
}

#[test]
fn without_for_it_fires_at_once_and_with_a_short_one_at_the_second_evaluation() {
    let mut bench = Bench::new("");
    assert_eq!(bench.at(0, WARN), [Fired]);
    let mut bench = Bench::new("    for: 1s\n");
    assert_eq!(bench.at(0, WARN), [Pending]);
    assert_eq!(bench.at(15, WARN), [Fired]);
}

#[test]
fn keep_firing_for_bridges_gaps_and_starts_anew_after_each() {
    let mut bench = Bench::new("    keep_firing_for: 30s\n");
    assert_eq!(bench.at(0, WARN), [Fired]);
    assert_eq!(bench.at(15, None), []);
    assert_eq!(bench.at(30, None), []);
    assert_eq!(bench.at(40, WARN), []);
    assert_eq!(bench.at(50, None), []);
    assert_eq!(bench.at(79, None), []);
    assert_eq!(bench.at(80, None), [Resolved]);
}

#[test]
fn severity_rises_at_once_and_falls_after_for() {
    let thresholds = "    thresholds: { warning: \"> 1\", high: \"> 2\", critical: \"> 3\" }\n    for: 30s\n    escalation: { warning: chat, critical: page }\n";
    let mut bench = Bench::new(thresholds);
    bench.at(0, WARN);
    assert_eq!(bench.at(30, WARN), [Fired]);
    let id = bench.only().id;
    assert_eq!(bench.only().labels.get("severity"), Some("warning"));
    assert_eq!(bench.at(45, CRIT), [SeverityChanged { from: Severity::Warning }]);
    assert_eq!((bench.only().id, bench.only().escalation.as_deref()), (id, Some("page")));
    assert_eq!(bench.at(60, WARN), []);
    assert_eq!(bench.at(75, Some(Severity::High)), [], "not below high, and only 15 s below critical");
    assert_eq!(bench.at(90, WARN), [SeverityChanged { from: Severity::Critical }], "30 s below critical, but high only since 90 s");
    assert_eq!(bench.only().severity, Severity::High);
    assert_eq!(bench.at(105, WARN), []);
    assert_eq!(bench.at(120, WARN), [SeverityChanged { from: Severity::High }]);
    assert_eq!((bench.only().severity, bench.only().id), (Severity::Warning, id));
    assert_eq!(bench.at(135, None), [Resolved]);
}

#[test]
fn a_failing_query_holds_everything_and_tells_once() {
    let mut bench = Bench::new("    for: 20s\n");
    bench.at(0, WARN);
    bench.at(30, WARN);
    let failed = Outcome::Failed("engine down".to_owned());
    let setting = Setting { tenant: &bench.tenant, rule: &bench.rule, flapping: NEVER, interval: Duration::ZERO };
    let first = step(setting, &bench.state, &failed, Timestamp::from_secs(45), &bench.ids);
    assert_eq!(first.rule, Some(RuleChange::Unknown("engine down".to_owned())));
    assert!(first.changes.is_empty());
    let second = step(setting, &first.state, &failed, Timestamp::from_secs(60), &bench.ids);
    assert_eq!((second.rule, second.state.failing.as_ref().unwrap().failures), (None, 2));
    assert!(second.state.instances.values().all(|one| one.alert.unknown && one.alert.is_firing()));
    let samples = Outcome::Samples([bench.sample("x", Severity::Warning)].into());
    let back = step(setting, &second.state, &samples, Timestamp::from_secs(75), &bench.ids);
    assert_eq!(back.rule, Some(RuleChange::Recovered));
    assert!(back.changes.is_empty() && back.state.instances.values().all(|one| !one.alert.unknown));
}

#[test]
fn an_alert_that_comes_and_goes_is_held_open_until_it_settles() {
    let mut bench = Bench::new("");
    bench.flapping = Flapping { changes: 4, evaluations: 10 };
    let mut seen = Vec::new();
    for at in 0..10 {
        seen.extend(bench.at(at, if at % 2 == 0 { WARN } else { None }));
    }
    assert_eq!(seen, [Fired, Resolved, Fired, Change::FlappingBegan], "the fourth change is not told: it is held open");
    let later: Vec<(i64, Vec<Change>)> = (10..30).map(|at| (at, bench.at(at, None))).filter(|(_, changes)| !changes.is_empty()).collect();
    assert_eq!(later.len(), 1, "{later:?}");
    assert_eq!(later[0].1, [Change::FlappingEnded, Resolved]);
}

#[test]
fn between_threshold_and_recovery_what_fires_goes_on_and_nothing_begins() {
    let mut bench = Bench::new("    thresholds: { warning: \"> 5\" }\n    recovery: \"< 3\"\n    for: 10s\n    keep_firing_for: 30s\n");
    let between = |bench: &mut Bench, second: i64| {
        let (identity, sample) = bench.sample("x", Severity::Warning);
        let samples = [(identity, Active { lingers: true, ..sample })].into();
        bench.step(second, &Outcome::Samples(samples))
    };
    assert_eq!(between(&mut bench, 0), [], "nothing begins");
    assert_eq!(bench.at(10, WARN), [Pending]);
    assert_eq!(between(&mut bench, 20), [Cancelled], "it does not wait for `for` either");
    bench.at(30, WARN);
    assert_eq!(bench.at(40, WARN), [Fired]);
    for second in [50, 500, 5_000] {
        assert_eq!(between(&mut bench, second), [], "it is not over");
    }
    assert_eq!(bench.at(5_010, None), [], "kept by keep_firing_for");
    assert_eq!(between(&mut bench, 5_020), [], "it has recovered: this does not begin anew");
    assert_eq!(between(&mut bench, 5_040), [Resolved]);
}

#[test]
fn the_memory_survives_the_record_and_others_read_the_alert_in_it() {
    let mut bench = Bench::new("    thresholds: { warning: \"> 1\", critical: \"> 3\" }\n    for: 30s\n    keep_firing_for: 1m\n");
    bench.at(0, CRIT);
    bench.at(30, CRIT);
    bench.at(40, WARN);
    bench.at(50, None);
    let instance = bench.state.instances.values().next().unwrap().clone();
    assert!(!instance.memory.below_since.is_empty());
    let body = serde_json::to_value(&instance).unwrap();
    assert_eq!(serde_json::from_value::<Instance>(body.clone()).unwrap(), instance);
    assert_eq!(serde_json::from_value::<Alert>(body).unwrap(), instance.alert);
    let plain = serde_json::to_value(&instance.alert).unwrap();
    assert_eq!(serde_json::from_value::<Instance>(plain).unwrap().memory, Memory::default());
}

proptest! {
    /// Against the naive reference: same state after every evaluation, for any rhythm.
    #[test]
    fn it_is_prometheus_machine(gaps in prop::collection::vec((1i64..40, any::<bool>()), 1..60), hold in 0u64..90, keep in 0u64..90) {
        let mut bench = Bench::new(&format!("    for: {hold}s\n    keep_firing_for: {keep}s\n"));
        let (mut history, mut now) = (Vec::new(), 0);
        for (gap, active) in gaps {
            now += gap;
            history.push((Timestamp::from_secs(now), active));
            bench.at(now, active.then_some(Severity::Warning));
            let expected = replay(&history, Duration::from_secs(hold), Duration::from_secs(keep));
            let got = match bench.state.instances.values().next().map(|one| &one.alert.state) {
                None => Expected::Inactive,
                Some(AlertState::Pending { active_at }) => Expected::Pending { active_at: *active_at },
                Some(AlertState::Firing { active_at, .. }) => Expected::Firing { active_at: *active_at },
                Some(AlertState::Resolved { .. }) => Expected::Resolved,
            };
            // A resolved alert may have been forgotten, and a pending one that vanished may follow a resolved one.
            let same = got == expected || matches!((expected, got), (Expected::Resolved, Expected::Inactive) | (Expected::Inactive, Expected::Resolved));
            prop_assert!(same, "{:?}: {:?} instead of {:?}", history, got, expected);
        }
    }

    /// Whatever happens: every Fired is followed by exactly one Resolved before the next Fired, a severity never falls early, and
    /// failures change nothing.
    #[test]
    fn changes_alternate(levels in prop::collection::vec(0u8..6, 1..80), hold in 0u64..60) {
        let mut bench = Bench::new(&format!("    thresholds: {{ info: \"> 0\", warning: \"> 1\", high: \"> 2\", critical: \"> 3\" }}\n    for: {hold}s\n"));
        let ladder = [Severity::Info, Severity::Warning, Severity::High, Severity::Critical];
        let (mut firing, mut seen): (bool, Vec<(i64, Severity)>) = (false, Vec::new());
        for (at, level) in levels.into_iter().enumerate() {
            let now = at as i64 * 15;
            if level == 5 {
                let before = bench.state.instances.clone();
                prop_assert!(bench.step(now, &Outcome::Failed("x".to_owned())).is_empty());
                for (fingerprint, one) in &bench.state.instances {
                    prop_assert_eq!(&before[fingerprint].alert.state, &one.alert.state);
                }
                continue;
            }
            let level = level.checked_sub(1).map(|level| ladder[usize::from(level)]);
            match level {
                Some(level) => seen.push((now, level)),
                None => seen.clear(),
            }
            for change in bench.at(now, level) {
                match change {
                    Fired => { prop_assert!(!firing); firing = true; }
                    Resolved => { prop_assert!(firing); firing = false; }
                    SeverityChanged { .. } | Pending | Cancelled | Change::FlappingBegan | Change::FlappingEnded => {}
                }
            }
            if let (true, Some(level)) = (firing, level) {
                let severity = bench.only().severity;
                prop_assert!(severity >= level, "never below the present level");
                // The evaluations at the end that lie below it: the first of them is younger than `for`.
                let below = seen.iter().rev().take_while(|(_, seen)| *seen < severity).last();
                prop_assert!(below.is_none_or(|(since, _)| ((now - since) as u64) < hold), "{severity} is not kept longer than `for`");
            }
        }
    }
}
