//! The series that rules write: recorded ones, `ALERTS` and `ALERTS_FOR_STATE`, and a staleness marker for each that ended. Pure.

use std::collections::{BTreeMap, BTreeSet};

use model::alert::AlertState;
use model::labels::{Labels, METRIC_NAME};
use model::query::{Series, SeriesSample};
use model::time::Timestamp;

use crate::machine::Instances;

/// Prometheus's staleness marker.
pub(crate) const STALE: f64 = f64::from_bits(0x7ff0_0000_0000_0002);

/// `ALERTS` = 1 and `ALERTS_FOR_STATE` = ActiveAt in seconds, for every pending and firing alert.
pub(super) fn of_alerts(instances: &Instances) -> BTreeMap<Labels, f64> {
    let mut series = BTreeMap::new();
    for instance in instances.values() {
        let alert = &instance.alert;
        let (word, active_at) = match alert.state {
            AlertState::Pending { active_at } => ("pending", active_at),
            AlertState::Firing { active_at, .. } => ("firing", active_at),
            AlertState::Resolved { .. } => continue,
        };
        series.insert(alert.labels.clone().with(METRIC_NAME, "ALERTS").with("alertstate", word), 1.0);
        series.insert(alert.labels.clone().with(METRIC_NAME, "ALERTS_FOR_STATE"), active_at.millis().div_euclid(1_000) as f64);
    }
    series
}

/// What to write at a moment: the present values, and a marker for every series that was written before and is gone.
pub(super) fn samples(now: &BTreeMap<Labels, f64>, before: &BTreeSet<Labels>, at: Timestamp) -> Vec<(Labels, SeriesSample)> {
    let ended = before.iter().filter(|labels| !now.contains_key(*labels)).map(|labels| (labels.clone(), STALE));
    now.iter()
        .map(|(labels, value)| (labels.clone(), *value))
        .chain(ended)
        .map(|(labels, value)| (labels, SeriesSample { at, value }))
        .collect()
}

/// The same samples as series for the rules that follow in this cycle.
pub(super) fn overlay(samples: &[(Labels, SeriesSample)]) -> impl Iterator<Item = Series> + '_ {
    samples.iter().map(|(labels, sample)| Series { labels: labels.clone(), samples: vec![*sample] })
}
