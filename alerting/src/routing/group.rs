//! Groups of alerts and what they say when: Alertmanager's dispatcher and its notification log as one pure decision over rows. In: a
//! group, its members as they stand, the route, the moment. Out: what is told, what is forgotten, when to look again.

use model::ids::{AlertId, IdSource};
use model::labels::Labels;
use model::state::Entity;
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::{Deserialize, Serialize};

use super::tree::{Closed, Route};

/// The next look at a group: a work row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// When.
    pub at: Timestamp,
    /// The row's key.
    pub key: String,
}

/// A group of alerts of one route. State kind `alert_group`; it goes when nothing is left in it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AlertGroup {
    /// Its id: a hash of route and labels, in hex. The providers' key.
    pub id: String,
    /// Whose.
    pub tenant: TenantId,
    /// The route's place in the tree.
    pub route: String,
    /// What its alerts share.
    pub labels: Labels,
    /// When it was last looked at; notices are whole intervals later.
    pub flushed_at: Option<Timestamp>,
    /// When somebody was last told.
    pub told_at: Option<Timestamp>,
    /// Whether something fired when somebody was last told.
    pub told_firing: bool,
    /// Who was told: the route's receivers may change. `None`: not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub told_to: Option<Vec<String>>,
    /// Whether its route told no ends when it was last looked at: who heard of a route that is gone hears of none either.
    #[serde(default, skip_serializing_if = "is_false")]
    pub ends_untold: bool,
    /// The next look.
    pub pending: Option<Pending>,
    /// Since when it is known that nobody is told because of the route's hours: it is said once.
    #[serde(default)]
    pub closed_until: Option<Timestamp>,
    /// The alert that made the group, while it is in it: most groups never have another, and need no row for their members.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first: Option<Member>,
}

/// A name for a work row that no other has. Those of one moment stand together in the store's indexes, after all earlier ones: the names of
/// groups, which are hashes, would have each new row touch a page of its own.
pub fn fresh(now: Timestamp, ids: &dyn IdSource) -> String {
    format!("{:012x}{:016x}", now.millis(), ids.random() as u64)
}

impl AlertGroup {
    /// The id of the group of a route with these labels.
    pub fn id_of(route: &Route, labels: &Labels) -> String {
        format!("{:016x}", labels.clone().with("__route__", &route.id).fingerprint())
    }
    /// A new one.
    pub fn new(tenant: &TenantId, route: &Route, labels: Labels) -> Self {
        AlertGroup {
            id: Self::id_of(route, &labels),
            tenant: tenant.clone(),
            route: route.id.clone(),
            labels,
            flushed_at: None,
            told_at: None,
            told_firing: false,
            told_to: None,
            ends_untold: !route.send_resolved,
            pending: None,
            closed_until: None,
            first: None,
        }
    }
    /// Receivers of the route that were not told when the others were: they are its receivers only since then.
    pub fn newcomers(&self, route: &Route) -> Vec<String> {
        let told_to = self.told_to.as_ref();
        told_to.map_or_else(Vec::new, |told_to| route.receivers.iter().filter(|name| !told_to.contains(name)).cloned().collect())
    }
    /// Receivers of the route that were told.
    pub fn hearers(&self, route: &Route) -> Vec<String> {
        let heard = |name: &&String| self.told_to.as_ref().is_none_or(|told_to| told_to.contains(name));
        route.receivers.iter().filter(heard).cloned().collect()
    }
    /// Who was told and hears nothing more: the route has other receivers now, or there is no such route.
    pub fn left_out(&self, route: Option<&Route>) -> Vec<String> {
        let hears = |name: &String| route.is_some_and(|route| route.receivers.contains(name));
        self.told_to.iter().flatten().filter(|name| !hears(name)).cloned().collect()
    }
    /// Alertmanager's `groupKey`.
    pub fn key_text(&self) -> String {
        format!("{}:{}", self.route, self.labels)
    }
}

impl Entity for AlertGroup {
    const KIND: &'static str = "alert_group";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.id.clone()
    }
    /// None: it is always asked for by name.
    fn status(&self) -> &'static str {
        ""
    }
}

/// An alert in a group: the first is kept in the group, each other in a record of its own. State kind `group_member`; its status in the
/// store is the group's id, so that a group's members are one query and a new one touches no other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Member {
    /// Whose.
    pub tenant: TenantId,
    /// Of which group.
    pub group: String,
    /// Which alert.
    pub alert: AlertId,
    /// Whether the last notice said that it fires.
    #[serde(default, skip_serializing_if = "is_false")]
    pub told: bool,
    /// Whether the last notice said that it is over.
    #[serde(default, skip_serializing_if = "is_false")]
    pub told_over: bool,
    /// Whether somebody heard that it fires and has not heard of its end.
    #[serde(default, skip_serializing_if = "is_false")]
    pub owed: bool,
    /// Whether those who heard that it fires heard that somebody has it.
    #[serde(default, skip_serializing_if = "is_false")]
    pub told_taken: bool,
}

fn is_false(word: &bool) -> bool {
    !word
}

impl Member {
    /// Not told of yet.
    pub fn new(tenant: &TenantId, group: &str, alert: AlertId) -> Self {
        Member { tenant: tenant.clone(), group: group.to_owned(), alert, told: false, told_over: false, owed: false, told_taken: false }
    }
    /// The record's id.
    pub fn record_id(&self) -> String {
        format!("{}/{}", self.alert, self.group)
    }
}

impl Entity for Member {
    const KIND: &'static str = "group_member";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.record_id()
    }
    fn status(&self) -> &'static str {
        "member"
    }
}

/// How a member stands now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It fires.
    Firing {
        /// A silence, an inhibition or a maintenance window mutes it.
        muted: bool,
        /// Somebody has it.
        acknowledged: bool,
    },
    /// It is over, or it left this group.
    Over,
}

/// What to do at a look.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// What is told: places of members, firing ones first; `None`: nothing. Empty where only ends would be told and the route tells none:
    /// then it counts as told.
    pub tell: Option<Told>,
    /// Why what would be told is not, where the route's hours are the reason.
    pub closed: Option<Closed>,
    /// Places of members that are forgotten.
    pub forget: Vec<usize>,
    /// When to look again.
    pub next_at: Option<Timestamp>,
}

/// The content of a notice, as places in the list of members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Told {
    /// What fires.
    pub firing: Vec<usize>,
    /// What is over.
    pub over: Vec<usize>,
    /// Why now: `new alerts`, `resolved`, `repeated`.
    pub why: &'static str,
    /// To whom.
    pub to: Vec<String>,
    /// Whether it only tells new receivers what the others know already.
    pub catches_up: bool,
}

/// The first whole interval after the last look that is not before `at`.
pub fn tick(flushed_at: Timestamp, route: &Route, at: Timestamp) -> Timestamp {
    let every = route.group_interval.as_nanos().max(1);
    let passed = at.since(flushed_at).as_nanos();
    let ticks = passed.div_ceil(every).max(1);
    flushed_at.plus(std::time::Duration::from_nanos(u64::try_from(ticks * every).unwrap_or(u64::MAX)))
}

/// A look at a group (Alertmanager: flush, mute stages, deduplication).
pub fn look(group: &AlertGroup, members: &[(Member, Standing)], route: &Route, closed: Option<Closed>, now: Timestamp) -> Decision {
    let places = |fits: &dyn Fn(&Member, Standing) -> bool| -> Vec<usize> {
        members.iter().enumerate().filter(|(_, (member, standing))| fits(member, *standing)).map(|(at, _)| at).collect()
    };
    let firing = places(&|_, standing| matches!(standing, Standing::Firing { muted: false, .. }));
    let over = places(&|_, standing| standing == Standing::Over);
    let wanted = wanted(group, members, &firing, &over, route, now);
    let held = closed.filter(|_| wanted.is_some());
    let told = wanted.filter(|_| held.is_none()).map(|why| {
        let catches_up = why == Why::CatchesUp;
        let to = match why {
            Why::CatchesUp => group.newcomers(route),
            // Who never heard of a beginning hears of no end; nor is he told then of what somebody has.
            Why::Resolved if !unanswered(members, &firing) => group.hearers(route),
            _ => route.receivers.clone(),
        };
        let over = if route.send_resolved && !catches_up { over.clone() } else { Vec::new() };
        Told { firing: firing.clone(), over, why: why.as_str(), to, catches_up }
    });
    // What is over goes, told or not, as in Alertmanager; what is owed to somebody stays until the hours allow it.
    let forget: Vec<usize> = over.iter().copied().filter(|at| held.is_none() || !members[*at].0.owed).collect();
    let repeats = unanswered(members, &firing);
    let told_at = if told.as_ref().is_some_and(|told| !told.catches_up) { Some(now) } else { group.told_at };
    let again = told_at.filter(|_| repeats).map(|told_at| told_at.plus(route.repeat_interval));
    let next_at = held.as_ref().map(|closed| closed.until).or(again).map(|at| tick(now, route, at.max(now)));
    Decision { tell: told, closed: held, forget, next_at }
}

/// Whether nobody has some of these.
fn unanswered(members: &[(Member, Standing)], firing: &[usize]) -> bool {
    firing.iter().any(|at| matches!(members[*at].1, Standing::Firing { acknowledged: false, .. }))
}

/// Why something is to be told.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Why {
    New,
    Resolved,
    Repeated,
    CatchesUp,
}

impl Why {
    fn as_str(self) -> &'static str {
        match self {
            Why::New => "new alerts",
            Why::Resolved => "resolved",
            Why::Repeated => "repeated",
            Why::CatchesUp => "the route leads here now",
        }
    }
}

/// Alertmanager's `needsUpdate`: whether, and why.
fn wanted(
    group: &AlertGroup,
    members: &[(Member, Standing)],
    firing: &[usize],
    over: &[usize],
    route: &Route,
    now: Timestamp,
) -> Option<Why> {
    let Some(told_at) = group.told_at else { return (!firing.is_empty()).then_some(Why::New) };
    if firing.iter().any(|at| !members[*at].0.told) {
        return Some(Why::New);
    }
    if firing.is_empty() {
        // What is muted still fires: the end of the others is told, and only of those somebody heard of.
        let owed = over.iter().any(|at| members[*at].0.owed);
        return (owed || (group.told_firing && !over.is_empty())).then_some(Why::Resolved);
    }
    if route.send_resolved && over.iter().any(|at| !members[*at].0.told_over) {
        return Some(Why::Resolved);
    }
    let unanswered = unanswered(members, firing);
    if unanswered && now >= told_at.plus(route.repeat_interval) {
        return Some(Why::Repeated);
    }
    // In Alertmanager, too, each receiver has a log of its own.
    (unanswered && !group.newcomers(route).is_empty()).then_some(Why::CatchesUp)
}

#[cfg(test)]
mod tests;
