//! A value beside what was expected of it: which are told, with what figures and words; and the series that show what was expected. Pure.

use std::collections::BTreeMap;

use model::alert::RuleKey;
use model::labels::{Labels, METRIC_NAME};
use model::query::SeriesSample;

use super::forecasts::Held;
use super::rows::Element;
use crate::anomaly::Band;
use crate::rules::Anomaly;
use crate::template::humanize;

/// A series with what was expected of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Foreseen {
    /// Its labels.
    pub labels: Labels,
    /// What was expected at this moment.
    pub band: Band,
}

/// Why a value is told.
fn why(asked: &Anomaly, value: f64, band: &Band, held: Option<Held>) -> String {
    let side = if value > band.expected { "above" } else { "below" };
    let held = held.map(|Held { since, until }| format!("; unusual since {since}, counts as usual from {until} on if it stays so"));
    format!(
        "{} is {side} the {} expected at this time ({} to {} with {} % of what is usual, learned from {} of history){}",
        humanize(value),
        humanize(band.expected),
        humanize(band.lower),
        humanize(band.upper),
        // Without the noise of binary fractions.
        (asked.level * 1e8).round() / 1e6,
        asked.history,
        held.unwrap_or_default()
    )
}

/// The values that are told. `all`: with thresholds, which decide by the score; without, what lies outside of its interval.
pub(crate) fn told(
    asked: &Anomaly,
    samples: Vec<(Labels, SeriesSample)>,
    expected: impl Fn(&Labels) -> Option<(Band, Option<Held>)>,
    all: bool,
) -> (Vec<Element>, Vec<Foreseen>) {
    let (mut elements, mut foreseen) = (Vec::new(), Vec::new());
    for (labels, sample) in samples {
        let Some((band, held)) = expected(&labels) else { continue };
        foreseen.push(Foreseen { labels: labels.clone(), band });
        if !sample.value.is_finite() {
            continue;
        }
        let score = asked.score(sample.value, &band);
        if score > 1.0 || all {
            let figures = [("expected", band.expected), ("lower", band.lower), ("upper", band.upper)];
            let mut evidence: BTreeMap<String, String> =
                figures.iter().map(|(name, figure)| ((*name).to_owned(), humanize(*figure))).collect();
            let why = why(asked, sample.value, &band, held);
            evidence.insert("summary".to_owned(), why.clone());
            evidence.insert("anomaly".to_owned(), why);
            elements.push(Element {
                labels,
                value: sample.value,
                evidence,
                fingerprint: None,
                score: Some(score),
                figures: figures.into(),
            });
        }
    }
    (elements, foreseen)
}

/// The series of a rule that show what was expected: `watchfire_anomaly_expected`, `_lower`, `_upper`, so that boards can draw them beside
/// the values.
pub(crate) fn series(rule: &RuleKey, foreseen: &[Foreseen]) -> BTreeMap<Labels, f64> {
    let mut series = BTreeMap::new();
    for Foreseen { labels, band } in foreseen {
        let labels = labels.clone().with("rule", &rule.name).with("rule_group", &rule.group).with("rule_source", &rule.source);
        for (name, value) in [("expected", band.expected), ("lower", band.lower), ("upper", band.upper)] {
            series.insert(labels.clone().with(METRIC_NAME, &format!("watchfire_anomaly_{name}")), value);
        }
    }
    series
}
