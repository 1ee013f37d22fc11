//! Routing: Alertmanager's tree, groups, hours and planned maintenance. In: journal events and due work rows. Out: commits with groups,
//! their members, outbox rows and the row of the next look, all or nothing. The tree decides for every alert whose rule names no ladder.
//!
//! A route names receivers, which hear of groups of alerts, or a ladder, which climbs as every ladder does ([`crate::ladder`] asks
//! [`Routing::ladders`]). Everything that waits (group_wait, group_interval, repeat_interval, the end of muted hours) is a work row.

pub mod config;
mod follower;
pub mod group;
pub mod intervals;
mod looking;
mod notice;
pub mod settle;
pub mod tree;
pub(crate) mod worker;

use std::collections::BTreeSet;

use model::alert::Alert;
use model::labels::Labels;
use model::time::{Span, Timestamp};

use crate::config::Config;
use crate::on_call::Roster;
use crate::silence::{InhibitRule, Mute};

pub use config::{MaintenanceConfig, RouteConfig};
pub(crate) use follower::Placing;
pub use follower::RouteFollower;
use group::AlertGroup;
pub use intervals::NamedIntervals;
pub use settle::SettledTree;
pub use tree::{Calendar, Closed, Hours, Route};

/// The tree, what it refers to and what mutes alerts, ready to be asked. All of it may change while Watchfire runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Routing {
    /// The tree; none: rules name ladders, and the default receivers hear of the rest.
    pub root: Option<Route>,
    /// A few letters that stand for what in it decides where an alert goes and who hears of it; empty where there is none.
    pub digest: String,
    /// Named time intervals, as configured.
    pub time_intervals: Vec<NamedIntervals>,
    /// The same, read.
    pub calendar: Calendar,
    /// Recurring maintenance windows.
    pub maintenance: Vec<MaintenanceConfig>,
    /// Which alerts mute which others.
    pub inhibit_rules: Vec<InhibitRule>,
    /// People, and whose turn it is.
    pub roster: Roster,
    /// After so long without news an alert that somebody sent without an end is over.
    pub resolve_timeout: Span,
}

/// A ladder that the tree wants for an alert.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutedLadder {
    /// Its name.
    pub name: String,
    /// When it may climb.
    pub hours: Hours,
}

impl Routing {
    /// From the configuration, which has been checked.
    pub fn of(config: &Config) -> Self {
        let root = config.route.as_ref().map(Route::root);
        Routing {
            digest: settle::digest(root.as_ref(), &config.time_intervals),
            root,
            time_intervals: config.time_intervals.clone(),
            calendar: Calendar::of(&config.time_intervals),
            maintenance: config.maintenance.clone(),
            inhibit_rules: config.inhibit_rules.clone(),
            roster: Roster::of(config),
            resolve_timeout: config.resolve_timeout,
        }
    }

    /// The same, which knows the receivers too ([`Roster::knowing`]).
    #[must_use]
    pub fn knowing(mut self, receivers: impl IntoIterator<Item = String>) -> Self {
        self.roster = self.roster.knowing(receivers);
        self
    }

    /// The routes that take an alert; none where its rule names a ladder, or where there is no tree.
    pub fn routes(&self, alert: &Alert) -> Vec<&Route> {
        match (&self.root, &alert.escalation) {
            (Some(root), None) => root.take(&alert.labels),
            (Some(_), Some(_)) | (None, _) => Vec::new(),
        }
    }

    /// Whether this is a group of such an alert.
    pub(crate) fn belongs(&self, alert: &Alert, group: &AlertGroup) -> bool {
        let same = |route: &&Route| route.id == group.route && route.group_labels(&alert.labels) == group.labels;
        self.routes(alert).iter().any(same)
    }

    /// The ladders that the tree wants for an alert, each once.
    pub fn ladders(&self, alert: &Alert) -> Vec<RoutedLadder> {
        let mut seen = BTreeSet::new();
        let routes = self.routes(alert).into_iter();
        let named = routes.filter_map(|route| Some(RoutedLadder { name: route.escalation.clone()?, hours: route.hours.clone() }));
        named.filter(|ladder| seen.insert(ladder.name.clone())).collect()
    }

    /// The recurring maintenance window in which an alert stands.
    pub fn maintained(&self, labels: &Labels, now: Timestamp) -> Option<Mute> {
        let windows = self.maintenance.iter().filter(|window| window.matchers.match_all(labels));
        windows.into_iter().find_map(|window| {
            let (_, until) = self.calendar.within(&window.time_intervals, now)?;
            Some(Mute::Window { name: window.name.clone(), until })
        })
    }
}

#[cfg(test)]
mod tests;
