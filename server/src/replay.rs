//! Replays rules over stored history: when each would have fired, and whom it would have paged. In: rules, configuration, a span of time,
//! PromQL over the history. Out: alerts with their times, messages. Each group is evaluated at the very ticks at which the server
//! would, by the real state machine and ladders; nobody acknowledges. Fails where history cannot be asked.
//!
//! What rules record here is kept in memory: an expression that reads nothing else is evaluated over that, any other over the store.

mod history;
mod outcome;
mod plot;
mod warmup;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use alerting::RuleSet;
use alerting::evaluate::Rhythm;
use alerting::rules::{Group, IGNORED, Question};
use model::issue::Issue;
use model::labels::Labels;
use model::query::{MetricQuery, RowQuery};
use model::severity::Severity;
use model::time::{Span, Timestamp};
use serde::Serialize;
use store::promql::memory::MemorySource;

use crate::config::Config;
use crate::simulate::{Known, PastIssues, Setup, Simulation, Sink};

use outcome::{First, outcome};

pub use history::{Answers, HttpHistory, HttpRows, http_issues};
pub use plot::plot;

/// More evaluations than this are refused: they would run for hours.
const MOST_TICKS: u128 = 5_000_000;

/// What is replayed.
pub struct Replay<'a> {
    /// Ladders, receivers, incidents, remediations.
    pub config: &'a Config,
    /// The rules, checked.
    pub rules: RuleSet,
    /// The history.
    pub history: Arc<dyn MetricQuery>,
    /// The same for SQL.
    pub rows: Arc<dyn RowQuery>,
    /// The error issues as they are now, with what they remember; where rules [read them](reads_issues).
    pub issues: Vec<Issue>,
    /// From here on alerts are shown; rules run [earlier](evaluations), so that `for` is over where it was.
    pub from: Timestamp,
    /// Up to here, inclusive.
    pub to: Timestamp,
}

/// An alert that would have been.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Raised {
    /// The rule's name.
    pub name: String,
    /// Its labels.
    pub labels: Labels,
    /// How bad, when it fired.
    pub severity: Severity,
    /// When its expression became true.
    pub pending: Timestamp,
    /// It was there at the first evaluation already: it became true no later than `pending`, and fired no later than `fired`.
    pub began_before: bool,
    /// When it fired, if it did.
    pub fired: Option<Timestamp>,
    /// When it was over; none: it still was there at the end.
    pub ended: Option<Timestamp>,
}

/// A message that would have left.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Paged {
    /// When.
    pub at: Timestamp,
    /// To whom.
    pub receiver: String,
    /// trigger, acknowledge, resolve, ...
    pub kind: &'static str,
    /// The names of its alerts.
    pub alerts: Vec<String>,
    /// Which ladder.
    pub ladder: Option<String>,
    /// Which step, from 1.
    pub step: Option<u32>,
    /// All of its alerts [began before](Raised::began_before), so that it left no later than `at`, or never: whoever was told then is not
    /// told anew. Not set on the news that they are over.
    pub began_before: bool,
}

/// What a replay comes to.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Replayed {
    /// Alerts, in order of their beginning. Those that never fired are among them.
    pub alerts: Vec<Raised>,
    /// Messages, in order.
    pub pages: Vec<Paged>,
    /// How often each rule could not be evaluated, with its last reason.
    pub failures: BTreeMap<String, (u64, String)>,
    /// How many evaluations of groups there were.
    pub evaluations: u64,
}

fn rhythms(rules: &RuleSet, config: &Config) -> Vec<(Rhythm, Duration)> {
    let rhythm = |group: &Group| {
        let every = group.interval.unwrap_or(config.alerting.evaluation_interval.0);
        (Rhythm::new(every, &group.source, &group.name), every)
    };
    rules.groups.iter().map(rhythm).collect()
}

/// How many evaluations of groups a replay takes: those of the span, and those before it that `for` and the windows over what the rules record
/// themselves need.
pub fn evaluations(rules: &RuleSet, config: &Config, from: Timestamp, to: Timestamp) -> u128 {
    let span = to.since(from.minus(warmup::warmup(rules))).as_nanos();
    rhythms(rules, config).iter().map(|(_, every)| span / every.as_nanos().max(1)).sum()
}

/// Whether rules ask for error issues, or leave ignored ones out.
pub fn reads_issues(rules: &RuleSet) -> bool {
    let reads = |question: &Question| match question {
        Question::Regressed(_) => true,
        Question::Sql(sql) => sql.statement.contains(IGNORED),
        Question::PromQl | Question::Anomaly(_) => false,
    };
    rules.groups.iter().flat_map(|group| &group.rules).any(|rule| reads(rule.question()))
}

/// Lets the time pass; `progress` hears how much of it has.
pub async fn replay(setup: Replay<'_>, mut progress: impl FnMut(Duration)) -> anyhow::Result<Replayed> {
    let Replay { config, rules, history, rows, issues, from, to } = setup;
    let mut config = config.clone();
    // What the history never had is no news now.
    config.alerting.no_data_after = Span::default();
    let config = &config;
    anyhow::ensure!(from < to, "--from must be before --to");
    let begin = from.minus(warmup::warmup(&rules));
    let rhythms = rhythms(&rules, config);
    let ticks = evaluations(&rules, config, from, to);
    anyhow::ensure!(ticks <= MOST_TICKS, "{ticks} evaluations are more than {MOST_TICKS}: choose a shorter span or fewer rules");
    let mut next: Vec<Timestamp> = rhythms.iter().map(|(rhythm, _)| rhythm.next(begin.minus(Duration::from_millis(1)))).collect();
    let names = rules.groups.iter().map(|group| (group.source.clone(), group.name.clone()));
    let first: First = names.zip(next.iter().copied()).collect();
    let source = Arc::new(MemorySource::new());
    let known = Arc::new(Known::new(source.clone()));
    let own = warmup::recorded(&rules);
    let steps =
        rules.groups.iter().zip(&rhythms).flat_map(|(group, (_, every))| group.rules.iter().map(|rule| (rule.expr().to_owned(), *every)));
    let answers = Answers::new(history, known.clone(), own, steps.collect(), to);
    let mut simulation = Simulation::new(Setup {
        config,
        rules,
        metrics: Arc::new(answers),
        rows,
        series: Arc::new(Sink(source)),
        script: Vec::new(),
        start: begin,
        known: Some(known),
        issues: PastIssues::of(&issues),
    })?;
    let mut replayed = Replayed::default();
    while let Some(tick) = next.iter().min().copied().filter(|tick| *tick <= to) {
        // What is due at the tick itself comes after the rules.
        simulation.pass_to(tick.minus(Duration::from_millis(1)).max(simulation.now())).await?;
        for group in 0..next.len() {
            if next[group] == tick {
                simulation.evaluate(group, tick).await?;
                next[group] = rhythms[group].0.next(tick);
                replayed.evaluations += 1;
                failures(&simulation, group, &mut replayed);
            }
        }
        simulation.settle().await?;
        progress(tick.since(begin).min(to.since(begin)));
    }
    simulation.pass_to(to.max(simulation.now())).await?;
    (replayed.alerts, replayed.pages) = outcome(&simulation, &first, from).await?;
    Ok(replayed)
}

fn failures(simulation: &Simulation, group: usize, replayed: &mut Replayed) {
    for view in simulation.views().get(group).iter().flat_map(|view| &view.rules) {
        if let Some(error) = &view.last_error {
            let entry = replayed.failures.entry(view.rule.key().name.clone()).or_default();
            *entry = (entry.0 + 1, error.clone());
        }
    }
}

#[cfg(test)]
mod tests;
