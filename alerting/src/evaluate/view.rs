//! What readers see of a group between evaluations: a copy, so that no reader ever waits for an evaluation.

use std::time::Duration;

use model::time::Timestamp;

use super::board::RuleBoard;
use crate::machine::Instance;
use crate::rules::{AlertRule, Group, Rule};

/// Prometheus's rule health.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Not evaluated yet.
    Unknown,
    /// The last evaluation went well.
    Ok,
    /// The last evaluation failed.
    Failing,
}

impl Health {
    /// Prometheus's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Health::Unknown => "unknown",
            Health::Ok => "ok",
            Health::Failing => "err",
        }
    }
}

/// A group.
#[derive(Clone, Debug)]
pub struct GroupView {
    /// Its source (`file:...`).
    pub source: String,
    /// Its name.
    pub name: String,
    /// How often it is evaluated.
    pub interval: Duration,
    /// The most alerts of one rule; 0: no limit.
    pub limit: usize,
    /// Its last evaluation.
    pub evaluated_at: Option<Timestamp>,
    /// How long that took.
    pub seconds: f64,
    /// Its rules.
    pub rules: Vec<RuleView>,
    /// Alerts about the group itself.
    own: RuleView,
}

/// A rule.
#[derive(Clone, Debug)]
pub struct RuleView {
    /// The rule.
    pub rule: Rule,
    /// Its alerts: pending, firing, lately resolved.
    pub instances: Vec<Instance>,
    /// How the last evaluation went.
    pub health: Health,
    /// Why it failed.
    pub last_error: Option<String>,
    /// When it was.
    pub evaluated_at: Option<Timestamp>,
    /// How long it took.
    pub seconds: f64,
    /// Whether its selectors matched no series at all, or none that can be judged.
    pub no_data: bool,
    /// Why, where it is not that nothing has come.
    pub no_data_reason: Option<String>,
}

impl RuleView {
    fn of(rule: &Rule, board: &RuleBoard) -> Self {
        let health = match (&board.evaluated_at, &board.error) {
            (_, Some(_)) => Health::Failing,
            (None, None) => Health::Unknown,
            (Some(_), None) => Health::Ok,
        };
        RuleView {
            rule: rule.clone(),
            instances: board.state.instances.values().cloned().collect(),
            health,
            last_error: board.error.clone(),
            evaluated_at: board.evaluated_at,
            seconds: board.seconds,
            no_data: board.evaluated_at.is_some() && board.error.is_none() && !board.matched,
            no_data_reason: board.silent_because.clone(),
        }
    }
}

impl GroupView {
    pub(super) fn of(
        group: &Group,
        interval: Duration,
        own: &AlertRule,
        boards: &[RuleBoard],
        evaluated_at: Option<Timestamp>,
        seconds: f64,
    ) -> Self {
        let unread = RuleBoard::default();
        GroupView {
            source: group.source.clone(),
            name: group.name.clone(),
            interval,
            limit: group.limit,
            evaluated_at,
            seconds,
            rules: group.rules.iter().zip(boards).map(|(rule, board)| RuleView::of(rule, board)).collect(),
            own: RuleView::of(&Rule::Alert(Box::new(own.clone())), boards.last().unwrap_or(&unread)),
        }
    }

    /// Its alerts, those about the group itself included.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        self.rules.iter().chain([&self.own]).flat_map(|rule| &rule.instances)
    }
}
