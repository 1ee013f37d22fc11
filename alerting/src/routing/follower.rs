//! The follower `routes`: alerts that fire join the groups of the routes that take them; ends and silences make their groups look again;
//! whoever heard that an alert fires hears that somebody has it.
//! Reads state, returns one commit per event. Fails with the state store only.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::alert::Alert;
use model::drive::Follower;
use model::event::{Event, EventKind, Recorded};
use model::ids::{AlertId, IncidentId};
use model::incident::Incident;
use model::labels::Labels;
use model::state::{Commit, Expect, Put, StateError, StateStore, Versioned, by_ids, load};
use model::time::Timestamp;

use super::Routing;
use super::group::{AlertGroup, Member, Pending, fresh, tick};
use super::looking::{Kept, Looking, Seat};
use super::notice::{Taking, tell_taken};
use super::settle::{announcement, settle_placed};
use super::tree::Route;
use super::worker::{Job, members, row};
use crate::delivery::Handing;
use crate::external;
use crate::shared::Shared;

/// Puts alerts into groups.
pub struct RouteFollower {
    shared: Arc<Shared>,
}

impl RouteFollower {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        RouteFollower { shared }
    }
}

#[async_trait]
impl Follower for RouteFollower {
    fn name(&self) -> &'static str {
        "routes"
    }

    async fn follow(&self, event: &Recorded, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
        let event = &event.event;
        let mut placing = Placing::new(&self.shared, state, now).in_turn();
        if event.tenant != self.shared.tenant {
            return Ok(placing.commit);
        }
        let mut moves = true;
        match (&event.kind, event.subject.alert) {
            // It joined its groups in the commit that told of it.
            (EventKind::AlertFired { rule, .. }, _) if external::is_foreign(rule) => moves = false,
            (kind @ (EventKind::AlertFired { .. } | EventKind::AlertUnmuted), Some(id)) => {
                if let Some(alert) = placing.alert(&id.to_string()).await?.filter(Alert::is_firing) {
                    placing.place(&alert, *kind == EventKind::AlertUnmuted).await?;
                }
            }
            (EventKind::AlertResolved { .. }, Some(id)) => {
                if let Some(alert) = placing.alert(&id.to_string()).await? {
                    let routing = Arc::clone(&placing.routing);
                    placing.touch(&alert, routing.routes(&alert)).await?;
                }
            }
            (EventKind::AlertSeverityChanged { from, to, .. }, Some(id)) => {
                if let Some(alert) = placing.alert(&id.to_string()).await?.filter(Alert::is_firing) {
                    placing.moved(&alert, from.as_str(), to.as_str()).await?;
                }
            }
            (EventKind::AlertAcknowledged, Some(id)) => placing.taken(&[id], event).await?,
            (EventKind::AlertUnacknowledged { .. }, Some(id)) => placing.given_back(&[id]).await?,
            (EventKind::IncidentAcknowledged, _) => {
                let alerts = placing.alerts_of(event.subject.incident).await?;
                placing.taken(&alerts, event).await?;
            }
            (EventKind::IncidentUnacknowledged | EventKind::IncidentEscalated { .. }, _) => {
                let alerts = placing.alerts_of(event.subject.incident).await?;
                placing.given_back(&alerts).await?;
            }
            // Nothing else moves a group.
            (_, _) => moves = false,
        }
        let mut commit = placing.finish()?;
        if moves {
            commit.merge(announcement(&self.shared, state, now).await?);
        }
        external::sweep_after(&self.shared, &event.kind, &mut commit, now)?;
        Ok(commit)
    }
}

/// A decision in the making. Groups are read once and written at the end, so that many alerts may join one in the same commit.
pub(crate) struct Placing<'a> {
    shared: &'a Shared,
    routing: Arc<Routing>,
    state: &'a dyn StateStore,
    now: Timestamp,
    pub(crate) commit: Commit,
    groups: BTreeMap<String, Held>,
    /// Whether it waits, before it reads its first group, until nobody decides alone.
    in_turn: bool,
    /// Whether a new group that does not wait is looked at in this commit: all that fired together is in it.
    together: bool,
    /// How long a new group waits at least.
    wait: Duration,
    hands_over: bool,
    /// Whether a new group is looked at in this commit that does not wait.
    at_once: bool,
    /// Where the first notices of new groups may be handed over.
    handing: Option<Handing>,
}

/// A group as it was read, and as it will be written.
struct Held {
    /// A new one where there was none.
    before: AlertGroup,
    expect: Expect,
    group: AlertGroup,
    /// The first members of a group that does not wait: it is looked at in the commit that makes it.
    seats: Vec<Seat>,
    /// Whether this commit counts on the look that is pending: then the group is written though it is as it was. That look must have been
    /// decided after this commit, or be decided again; and this one is, where the look was committed meanwhile.
    counts_on_look: bool,
}

impl Held {
    /// As it was read.
    fn read(found: Versioned<AlertGroup>) -> Self {
        Held { expect: Expect::Version(found.version), ..Held::with(found.entity) }
    }

    /// There is none yet.
    fn new(shared: &Shared, route: &Route, labels: Labels) -> Self {
        Held::with(AlertGroup::new(&shared.tenant, route, labels))
    }

    fn with(group: AlertGroup) -> Self {
        Held { before: group.clone(), expect: Expect::New, group, seats: Vec::new(), counts_on_look: false }
    }
}

/// The members of a group that somebody took.
struct Taken<'a> {
    route: &'a Route,
    labels: Labels,
    members: Vec<(Member, Kept, Alert)>,
}

/// Writes a member; its status is its group, so that a group's members are one query.
pub(super) fn put_member(commit: &mut Commit, member: &Member, expect: Expect) -> Result<(), StateError> {
    commit.put(member, expect)?;
    if let Some(Put { status, .. }) = commit.puts.last_mut() {
        status.clone_from(&member.group);
    }
    Ok(())
}

impl<'a> Placing<'a> {
    pub(crate) fn new(shared: &'a Shared, state: &'a dyn StateStore, now: Timestamp) -> Self {
        let (routing, commit) = (shared.routing(), Commit::at(now));
        Placing {
            shared,
            routing,
            state,
            now,
            commit,
            groups: BTreeMap::new(),
            in_turn: false,
            together: false,
            wait: Duration::ZERO,
            hands_over: false,
            at_once: false,
            handing: None,
        }
    }

    /// For who has not waited for its turn.
    fn in_turn(self) -> Self {
        Placing { in_turn: true, ..self }
    }

    /// For alerts all of which are placed in one commit: a new group that does not wait is looked at in it. What it tells may be handed
    /// over.
    pub(crate) fn together(self, hands_over: bool) -> Self {
        Placing { together: true, hands_over, ..self }
    }

    /// For alerts that are placed in several commits: a new group waits for the others.
    pub(crate) fn waiting(self, wait: Duration) -> Self {
        Placing { wait, ..self }
    }

    /// The commit, with every group that changed.
    pub(crate) fn finish(self) -> Result<Commit, StateError> {
        self.finish_handing().map(|(commit, _)| commit)
    }

    /// The same, with what is handed over once it is made.
    pub(crate) fn finish_handing(mut self) -> Result<(Commit, Option<Handing>), StateError> {
        for held in std::mem::take(&mut self.groups).into_values() {
            if !held.seats.is_empty() {
                self.first_look(held)?;
            } else if held.counts_on_look || held.before != held.group {
                self.commit.put(&held.group, held.expect)?;
            }
        }
        Ok((self.commit, self.handing.filter(|handing| !handing.is_empty())))
    }

    /// The look at a new group that does not wait.
    fn first_look(&mut self, held: Held) -> Result<(), StateError> {
        let routing = Arc::clone(&self.routing);
        let Some(route) = routing.root.as_ref().and_then(|root| root.find(&held.group.route)) else { return Ok(()) };
        let key = fresh(self.now, &*self.shared.ids);
        let Held { group, seats, expect, .. } = held;
        let handing = self.handing.as_mut();
        let looking = Looking { shared: self.shared, routing: &routing, route, group, seats, now: self.now, handing };
        let (commit, group) = looking.look(&key)?;
        self.commit.merge(commit);
        match group {
            Some(group) => self.commit.put(&group, expect),
            None => Ok(()),
        }
    }

    async fn alert(&self, id: &str) -> Result<Option<Alert>, StateError> {
        Ok(load::<Alert>(self.state, &self.shared.tenant, id).await?.map(|found| found.entity))
    }

    /// The alert in the group that these labels have in the route, where it is in it.
    async fn member(&mut self, route: &Route, labels: &Labels, alert: AlertId) -> Result<Option<(Member, Kept)>, StateError> {
        let (shared, state) = (self.shared, self.state);
        let group = &self.held(route, labels.clone()).await?.group;
        if let Some(first) = group.first.as_ref().filter(|first| first.alert == alert) {
            return Ok(Some((first.clone(), Kept::InGroup)));
        }
        let id = Member::new(&shared.tenant, &group.id, alert).record_id();
        let found = load::<Member>(state, &shared.tenant, &id).await?;
        Ok(found.map(|found| (found.entity, Kept::Record(Expect::Version(found.version)))))
    }

    /// Writes a member whose group was read.
    fn keep(&mut self, member: Member, kept: Kept) -> Result<(), StateError> {
        match kept {
            Kept::Record(expect) => put_member(&mut self.commit, &member, expect)?,
            Kept::InGroup => {
                if let Some(held) = self.groups.get_mut(&member.group) {
                    held.group.first = Some(member);
                }
            }
        }
        Ok(())
    }

    /// The group, read or new.
    async fn held(&mut self, route: &Route, labels: Labels) -> Result<&mut Held, StateError> {
        let id = AlertGroup::id_of(route, &labels);
        if !self.groups.contains_key(&id) {
            if std::mem::take(&mut self.in_turn) {
                self.shared.turn.pass().await;
            }
            if let Some(found) = load::<AlertGroup>(self.state, &self.shared.tenant, &id).await? {
                self.groups.insert(id.clone(), Held::read(found));
            }
        }
        Ok(self.groups.entry(id).or_insert_with(|| Held::new(self.shared, route, labels)))
    }

    /// An alert joins a group that it was not in.
    async fn join(&mut self, route: &Route, labels: Labels, alert: &Alert) -> Result<(), StateError> {
        let at_once = self.together && route.group_wait.is_zero();
        let tenant = &self.shared.tenant;
        let held = self.held(route, labels.clone()).await?;
        let member = Member::new(tenant, &held.group.id, alert.id);
        let is_first = held.expect == Expect::New && held.group.first.is_none() && held.seats.is_empty();
        let kept = if is_first { Kept::InGroup } else { Kept::Record(Expect::New) };
        if at_once && held.expect == Expect::New {
            held.seats.push(Seat { member, kept, alert: alert.clone() });
            return Ok(());
        }
        self.keep(member, kept)?;
        self.look_soon(route, labels, alert.state.fired_at().unwrap_or(self.now)).await
    }

    /// Reads the groups that these alerts join, all at once.
    pub(crate) async fn look_up(&mut self, alerts: &[Alert]) -> Result<(), StateError> {
        let routing = Arc::clone(&self.routing);
        let mut wanted: BTreeMap<String, (&Route, Labels)> = BTreeMap::new();
        for alert in alerts {
            for route in routing.routes(alert).into_iter().filter(|route| !route.receivers.is_empty()) {
                let labels = route.group_labels(&alert.labels);
                wanted.entry(AlertGroup::id_of(route, &labels)).or_insert((route, labels));
            }
        }
        let ids: Vec<String> = wanted.keys().cloned().collect();
        for found in by_ids::<AlertGroup>(self.state, &self.shared.tenant, &ids).await? {
            wanted.remove(&found.entity.id);
            self.groups.insert(found.entity.id.clone(), Held::read(found));
        }
        self.at_once |= wanted.values().any(|(route, _)| route.group_wait.is_zero());
        for (id, (route, labels)) in wanted {
            self.groups.insert(id, Held::new(self.shared, route, labels));
        }
        Ok(())
    }

    /// Lets the first notices of new groups be handed over, where that may be. After the groups were read: what an earlier group of the same
    /// name still has to tell was written before it went.
    pub(crate) async fn hand_over(&mut self) {
        if self.hands_over && self.at_once {
            self.handing = self.shared.outbox.begin(self.state).await;
        }
    }

    /// Where this node does not lead, the leader's tree may be another one: it hears of what was placed.
    pub(crate) async fn told_to_leader(&mut self, alerts: Vec<AlertId>) -> Result<(), StateError> {
        if alerts.is_empty() || self.shared.outbox.leads() {
            return Ok(());
        }
        settle_placed(self.shared, &mut self.commit, alerts, self.groups.keys().cloned().collect()).await
    }

    /// Puts an alert that was never seen before into its groups.
    pub(crate) async fn place_new(&mut self, alert: &Alert) -> Result<(), StateError> {
        let routing = Arc::clone(&self.routing);
        for route in routing.routes(alert).into_iter().filter(|route| !route.receivers.is_empty()) {
            self.join(route, route.group_labels(&alert.labels), alert).await?;
        }
        Ok(())
    }

    /// Puts an alert that fires into its groups. One that is there already makes them look again only where `again` says so.
    pub(crate) async fn place(&mut self, alert: &Alert, again: bool) -> Result<(), StateError> {
        let routing = Arc::clone(&self.routing);
        for route in routing.routes(alert).into_iter().filter(|route| !route.receivers.is_empty()) {
            let labels = route.group_labels(&alert.labels);
            if self.member(route, &labels, alert.id).await?.is_none() {
                self.join(route, labels, alert).await?;
            } else if again {
                self.look_soon(route, labels, alert.state.fired_at().unwrap_or(self.now)).await?;
            }
        }
        Ok(())
    }

    async fn alerts_of(&self, incident: Option<IncidentId>) -> Result<Vec<AlertId>, StateError> {
        let Some(id) = incident else { return Ok(Vec::new()) };
        let found = load::<Incident>(self.state, &self.shared.tenant, &id.to_string()).await?;
        Ok(found.map(|found| found.entity.alerts).unwrap_or_default())
    }

    /// Somebody has these alerts: of each group, whoever heard that some of them fire is told, once. In muted hours nobody is.
    async fn taken(&mut self, ids: &[AlertId], event: &Event) -> Result<(), StateError> {
        let (routing, now) = (Arc::clone(&self.routing), self.now);
        let mut groups: BTreeMap<String, Taken<'_>> = BTreeMap::new();
        for id in ids {
            let Some(alert) = self.alert(&id.to_string()).await?.filter(Alert::is_firing) else { continue };
            for route in routing.routes(&alert).into_iter().filter(|route| routing.calendar.closed(&route.hours, now).is_none()) {
                let labels = route.group_labels(&alert.labels);
                let Some((member, kept)) = self.member(route, &labels, alert.id).await? else { continue };
                if member.owed && !member.told_taken {
                    let taken = groups.entry(member.group.clone()).or_insert_with(|| Taken { route, labels, members: Vec::new() });
                    taken.members.push((member, kept, alert.clone()));
                }
            }
        }
        for Taken { route, labels, members } in groups.into_values() {
            let shared = self.shared;
            let group = self.held(route, labels).await?.group.clone();
            let unanswered = self.unanswered(&group, ids).await?;
            let taking = Taking { taken: members.iter().map(|(_, _, alert)| alert).collect(), unanswered, by: event.actor.to_string() };
            tell_taken(shared, &mut self.commit, &group, route, &taking, &format!("taken-{}", event.id), now)?;
            for (member, kept, _) in members {
                self.keep(Member { told_taken: true, ..member }, kept)?;
            }
        }
        Ok(())
    }

    /// How many members of a group fire, unmuted, that nobody has, these ones aside.
    async fn unanswered(&self, group: &AlertGroup, taken: &[AlertId]) -> Result<usize, StateError> {
        let mut count = 0;
        let others = members(self.shared, self.state, &group.id).await?.into_iter().map(|found| found.entity);
        for member in group.first.clone().into_iter().chain(others) {
            if taken.contains(&member.alert) {
                continue;
            }
            let alert = self.alert(&member.alert.to_string()).await?;
            count += usize::from(alert.is_some_and(|alert| alert.is_firing() && !alert.muted && alert.acknowledged.is_none()));
        }
        Ok(count)
    }

    /// Nobody has these alerts any more: what is repeated is repeated again, and the next who takes them is told of.
    async fn given_back(&mut self, ids: &[AlertId]) -> Result<(), StateError> {
        let routing = Arc::clone(&self.routing);
        for id in ids {
            let Some(alert) = self.alert(&id.to_string()).await?.filter(Alert::is_firing) else { continue };
            for route in routing.routes(&alert) {
                let labels = route.group_labels(&alert.labels);
                let Some((member, kept)) = self.member(route, &labels, alert.id).await? else { continue };
                if member.told_taken {
                    self.keep(Member { told_taken: false, ..member }, kept)?;
                }
                self.look_soon(route, labels, self.now).await?;
            }
        }
        Ok(())
    }

    /// Lets the groups of these routes look again, where the alert is in them.
    async fn touch(&mut self, alert: &Alert, routes: Vec<&Route>) -> Result<(), StateError> {
        for route in routes {
            let labels = route.group_labels(&alert.labels);
            if self.member(route, &labels, alert.id).await?.is_some() {
                self.look_soon(route, labels, self.now).await?;
            }
        }
        Ok(())
    }

    /// Sees to it that the group is looked at when its wait or its interval is over. Alertmanager: what is older than the wait does not
    /// wait.
    async fn look_soon(&mut self, route: &Route, labels: Labels, since: Timestamp) -> Result<(), StateError> {
        let (shared, now, soonest) = (self.shared, self.now, self.now.plus(self.wait));
        let Held { group, counts_on_look, .. } = self.held(route, labels).await?;
        let at = match group.flushed_at {
            Some(flushed_at) => tick(flushed_at, route, now),
            None if since.plus(route.group_wait) < now => soonest,
            None => soonest.max(now.plus(route.group_wait)),
        };
        if group.pending.as_ref().is_some_and(|pending| pending.at <= at) {
            *counts_on_look = true;
            return Ok(());
        }
        let mut changed = group.clone();
        let mut commit = Commit::at(now);
        schedule_look(shared, &mut commit, &mut changed, Some(at))?;
        *group = changed;
        self.commit.merge(commit);
        Ok(())
    }

    /// Its label `severity` changed: it may belong elsewhere now, and where it was it is over.
    async fn moved(&mut self, alert: &Alert, from: &str, to: &str) -> Result<(), StateError> {
        if alert.labels.get("severity") == Some(to) {
            let routing = Arc::clone(&self.routing);
            let was = Alert { labels: alert.labels.clone().with("severity", from), ..alert.clone() };
            let id = |route: &Route, alert: &Alert| AlertGroup::id_of(route, &route.group_labels(&alert.labels));
            let now: Vec<String> = routing.routes(alert).into_iter().map(|route| id(route, alert)).collect();
            let left = routing.routes(&was).into_iter().filter(|route| !now.contains(&id(route, &was))).collect();
            self.touch(&was, left).await?;
        }
        // A look may be taking it for gone.
        self.place(alert, true).await
    }
}

/// Sets the moment of the next look; the row of the one before is cancelled.
pub(super) fn schedule_look(shared: &Shared, commit: &mut Commit, group: &mut AlertGroup, at: Option<Timestamp>) -> Result<(), StateError> {
    if let Some(before) = group.pending.take() {
        commit.change(&shared.tenant, model::work::WorkChange::Cancel { queue: model::work::Queue::Alerting, key: before.key });
    }
    if let Some(at) = at {
        // A key of its own for every row: keys stay taken when their row is done.
        let key = format!("group/{}", fresh(commit.at, &*shared.ids));
        commit.schedule(&shared.tenant, row(key.clone(), at, &Job::Look { group: group.id.clone() })?);
        group.pending = Some(Pending { at, key });
    }
    Ok(())
}
