//! The settings of tail sampling as the log takes them. Fails: names what cannot work. Pure.

use std::sync::Arc;
use std::time::Duration;

use model::tail::TailPolicy;

use super::Problem;
use super::config::TailSamplingConfig;

/// Spans are not seen before, so nobody wants to wait longer; the log must hold what waits.
const LONGEST_WAIT: Duration = Duration::from_secs(600);

/// Checks the settings; none where tail sampling is off.
pub(super) fn policy(config: &TailSamplingConfig, problems: &mut Vec<Problem>) -> Option<Arc<TailPolicy>> {
    let mut wrong = |holds: bool, sentence: &str| {
        if !holds {
            problems.push(Problem::new("tail_sampling", sentence));
        }
    };
    wrong((0.0..=1.0).contains(&config.ratio), &format!("`ratio` is {}: write a share from 0 to 1", config.ratio));
    wrong(config.wait.0 > Duration::ZERO && config.wait.0 <= LONGEST_WAIT, "`wait` must be above 0s and at most 10m");
    wrong(config.remember.0 >= config.wait.0, "`remember` is below `wait`: spans that come late would not follow the decision");
    wrong(config.max_traces > 0, "`max_traces` is 0: write how many traces may wait");
    wrong(config.rare.traces == 0 || config.rare.per.0 > Duration::ZERO, "`rare.per` is 0s: write in which time an operation is rare");
    config.enabled.then(|| {
        Arc::new(TailPolicy {
            wait: config.wait.0,
            remember: config.remember.0,
            ratio: config.ratio,
            errors: config.errors,
            slow: config.slow.map(|slow| slow.0),
            slow_by_service: config.slow_by_service.iter().map(|(service, slow)| (service.clone(), slow.0)).collect(),
            rare: (config.rare.traces > 0).then_some((config.rare.traces, config.rare.per.0)),
            max_traces: config.max_traces,
        })
    })
}
