//! Series of rules that are gone: they end when the rules do, with a staleness marker, instead of being seen for the whole lookback. In: the
//! stages before, what the store knows. Out: markers. Fails never: what cannot be written ends by itself.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, PoisonError};

use model::alert::RuleKey;
use model::labels::{Labels, METRIC_NAME};
use model::query::SeriesSample;
use model::time::Timestamp;

use super::Stage;
use super::series::STALE;
use crate::rules::Rule;
use crate::shared::Shared;

fn take(stage: &Stage) -> Option<Arc<Stage>> {
    stage.before.lock().unwrap_or_else(PoisonError::into_inner).take()
}

/// What the stage after this one has to look at: this one, unless it never evaluated anything.
pub(super) fn last(stage: Arc<Stage>) -> Option<Arc<Stage>> {
    let idle = stage.loaded.try_lock().is_ok_and(|loaded| loaded.is_none());
    if idle { take(&stage) } else { Some(stage) }
}

/// The series that rules wrote before this stage took over, by rule. Nobody waits for a group that is still being evaluated: its series
/// end by themselves.
pub(super) fn written_before(stage: &Stage) -> HashMap<RuleKey, BTreeSet<Labels>> {
    let mut written: HashMap<RuleKey, BTreeSet<Labels>> = HashMap::new();
    let before = take(stage);
    for runner in before.iter().flat_map(|stage| &stage.runners) {
        let Ok(boards) = runner.boards.try_lock() else { continue };
        let keys = runner.group.rules.iter().map(Rule::key).chain([&runner.own.key]);
        for (key, board) in keys.zip(boards.iter()).filter(|(_, board)| !board.written.is_empty()) {
            written.entry(key.clone()).or_default().extend(board.written.iter().cloned());
        }
    }
    written
}

/// The recorded metric or the alert that a series is about.
fn about(labels: &Labels) -> Option<&str> {
    match labels.get(METRIC_NAME) {
        Some("ALERTS" | "ALERTS_FOR_STATE") => labels.get("alertname"),
        name => name,
    }
}

/// Ends series of rules that are gone. A rule that only moved goes on with them: where one of the same name is left, nothing is marked.
pub(super) async fn mark(shared: &Shared, stage: &Stage, gone: Vec<Labels>, at: Timestamp) {
    let name = |rule: &Rule| match rule {
        Rule::Alert(rule) => rule.name.clone(),
        Rule::Record(rule) => rule.metric.clone(),
    };
    let left: HashSet<String> = stage.runners.iter().flat_map(|runner| &runner.group.rules).map(name).collect();
    // The first tick of the new rules may lie before the last one of the old ones.
    let at = shared.clock.now().max(at);
    let at = Timestamp::from_millis(at.millis());
    let gone = gone.into_iter().filter(|labels| about(labels).is_some_and(|name| !left.contains(name)));
    let samples: Vec<(Labels, SeriesSample)> = gone.map(|labels| (labels, SeriesSample { at, value: STALE })).collect();
    let count = samples.len();
    if count > 0
        && let Err(error) = shared.series.write(&shared.tenant, samples).await
    {
        tracing::warn!(
            error = &error as &dyn std::error::Error,
            series = count,
            "the end of series of rules that are gone could not be written"
        );
    }
}
