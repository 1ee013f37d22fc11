//! The metrics of alerting: `watchfire_rule*`, `watchfire_alert*`, `watchfire_ladder*` in the server's registry.

use prometheus::core::Collector;
use prometheus::{Gauge, HistogramOpts, HistogramVec, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// Cheap to clone.
#[derive(Clone, Debug)]
pub struct Meters {
    /// Evaluations of rules, by group.
    pub evaluations: IntCounterVec,
    /// Failed ones.
    pub failures: IntCounterVec,
    /// How long a group takes.
    pub seconds: HistogramVec,
    /// Evaluations that should have been and were not.
    pub missed: IntCounterVec,
    /// Rules whose query fails now.
    pub failing: IntGauge,
    /// Rules whose selectors match no series now.
    pub no_data: IntGauge,
    /// Alerts by state and severity.
    pub alerts: IntGaugeVec,
    /// Ladder steps taken.
    pub steps: IntCounterVec,
    /// How late the latest open ladder step is.
    pub overdue: Gauge,
    /// Samples of recording rules and `ALERTS` that the store refused.
    pub refused: IntCounterVec,
    /// Requests of Alertmanager's API, by what became of them: `taken` at once, `waiting` to be taken apart, `taken_apart`, `refused`.
    pub requests: IntCounterVec,
}

fn add<C: Collector + Clone + 'static>(registry: &Registry, metric: Result<C, prometheus::Error>) -> Result<C, prometheus::Error> {
    let metric = metric?;
    registry.register(Box::new(metric.clone()))?;
    Ok(metric)
}

impl Meters {
    /// Registers them. Fails if the registry has them already.
    pub fn new(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| add(registry, IntCounterVec::new(Opts::new(name, help), labels));
        let buckets = vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let seconds =
            HistogramOpts::new("watchfire_rule_group_seconds", "Seconds that one evaluation of a rule group took.").buckets(buckets);
        let alerts = Opts::new("watchfire_alerts", "Alerts that are pending or firing.");
        Ok(Meters {
            evaluations: counter("watchfire_rule_evaluations_total", "Evaluations of rules.", &["rule_group"])?,
            failures: counter("watchfire_rule_evaluation_failures_total", "Evaluations of rules that failed.", &["rule_group"])?,
            seconds: add(registry, HistogramVec::new(seconds, &["rule_group"]))?,
            missed: counter(
                "watchfire_rule_group_iterations_missed_total",
                "Evaluations left out because one took too long.",
                &["rule_group"],
            )?,
            failing: add(registry, IntGauge::new("watchfire_rules_failing", "Rules whose query fails now."))?,
            no_data: add(registry, IntGauge::new("watchfire_rules_no_data", "Rules whose selectors match no series now."))?,
            alerts: add(registry, IntGaugeVec::new(alerts, &["state", "severity"]))?,
            steps: counter("watchfire_ladder_steps_total", "Steps of escalation ladders taken.", &["ladder"])?,
            overdue: add(registry, Gauge::new("watchfire_ladder_overdue_seconds", "How late the latest open ladder step is."))?,
            refused: counter("watchfire_rule_samples_refused_total", "Samples of rules that the store refused.", &["rule_group"])?,
            requests: counter("watchfire_alert_requests_total", "Requests with alerts of others, by what became of them.", &["outcome"])?,
        })
    }
}
