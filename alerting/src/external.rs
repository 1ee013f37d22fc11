//! Alerts that others send: Prometheus through Alertmanager's API, tools through PagerDuty's events. In: a batch. Out: one commit with
//! records, journal events and groups. A sweep, a work row, resolves what is no longer sent and says what mutes the rest.
//!
//! The same labels from the same kind of sender are the same alert. Without news until its end an alert is over.

mod inbox;
mod pieces;
mod postable;
mod sweep;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use model::alert::{Acknowledgement, Alert, AlertState, RuleKey};
use model::event::{Actor, EventKind, Subject};
use model::ids::AlertId;
use model::labels::Labels;
use model::severity::Severity;
use model::state::{Commit, Expect, StateError, StateStore, TRIES, Versioned, by_keys};
use model::time::{Span, Timestamp};
use model::units::Value;
use serde::{Deserialize, Serialize};

use crate::anyway::Anyway;
use crate::delivery::Handing;
use crate::evaluate::{a_few, everything};
use crate::machine::{Foreign, Instance, Memory, fingerprint};
use crate::routing::Placing;
use crate::routing::worker::{Job, row};
use crate::shared::Shared;
use crate::silence::{Inhibition, Mute, Silence};

pub(crate) use inbox::{IntakeWorker, Refusal, Request, receive, settled};
pub(crate) use postable::PostableAlert;
pub(crate) use sweep::sweep;

/// Through which door an alert came: part of its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Door {
    /// Alertmanager's API.
    Alertmanager,
    /// PagerDuty's events.
    Pagerduty,
}

impl Door {
    /// The source in rule keys.
    pub fn source(self) -> &'static str {
        match self {
            Door::Alertmanager => "alertmanager",
            Door::Pagerduty => "pagerduty",
        }
    }
}

/// Whether a rule key is one of ours here.
pub(crate) fn is_foreign(key: &RuleKey) -> bool {
    [Door::Alertmanager, Door::Pagerduty].iter().any(|door| door.source() == key.source)
}

/// What is said of an alert.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum News {
    /// It fires since `starts_at`, until `ends_at` unless there is more news.
    Firing { starts_at: Timestamp, ends_at: Timestamp },
    /// It is over since then.
    Over { ends_at: Timestamp },
    /// Somebody has it.
    Acknowledged,
}

/// An alert as it was sent.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Sent {
    pub door: Door,
    /// What makes it the same alert: its labels, or the sender's key as a label.
    pub identity: Labels,
    pub labels: Labels,
    pub annotations: BTreeMap<String, String>,
    pub severity: Severity,
    pub generator_url: String,
    pub dedup_key: Option<String>,
    pub news: News,
    /// Who sent it.
    pub actor: Actor,
}

/// The severity that labels say: `severity`, in any of the words that people write; without one that is known, a warning.
pub(crate) fn severity(labels: &Labels) -> Severity {
    labels.get("severity").and_then(|word| word.parse().ok()).unwrap_or(Severity::Warning)
}

impl Sent {
    fn rule(&self) -> RuleKey {
        let name = self.labels.get("alertname").unwrap_or("alert").to_owned();
        let rule = |name| RuleKey { source: self.door.source().to_owned(), group: "received".to_owned(), name };
        match self.door {
            Door::Alertmanager => rule(name),
            // Its name may change while it fires; its key may not.
            Door::Pagerduty => rule("event".to_owned()),
        }
    }

    fn fingerprint(&self) -> u64 {
        fingerprint(&self.rule(), &self.identity)
    }
}

/// What there is of muting at one moment, for many alerts.
pub(crate) struct Surroundings {
    pub silences: Vec<Silence>,
    /// What fires and may mute others.
    inhibition: Inhibition,
    routing: Arc<crate::routing::Routing>,
}

impl Surroundings {
    /// Live silences and, where alerts may mute others, everything that fires.
    pub(crate) async fn read(shared: &Shared, state: &dyn StateStore, firing: Option<&[Alert]>) -> Result<Self, StateError> {
        let silences = live_silences(shared, state).await?;
        let routing = shared.routing();
        let mut inhibition = Inhibition::new(&routing.inhibit_rules);
        let mut begins = |alert: &Alert| inhibition.begins(alert.fingerprint, &alert.labels);
        match firing {
            _ if routing.inhibit_rules.is_empty() => {}
            Some(firing) => firing.iter().for_each(begins),
            None => everything::<Alert>(state, &shared.tenant, &["firing"]).await?.iter().for_each(|found| begins(&found.entity)),
        }
        Ok(Surroundings { silences, inhibition, routing })
    }

    /// What is just coming in counts as it will be.
    fn count_in<'k>(&mut self, known: impl Iterator<Item = &'k Known>) {
        for Known { before, after, .. } in known {
            if let Some(before) = before {
                self.inhibition.ends(before.alert.fingerprint, &before.alert.labels);
            }
            if after.alert.is_firing() {
                self.inhibition.begins(after.alert.fingerprint, &after.alert.labels);
            }
        }
    }
}

async fn live_silences(shared: &Shared, state: &dyn StateStore) -> Result<Vec<Silence>, StateError> {
    Ok(a_few::<Silence>(state, &shared.tenant, &["live"]).await?.into_iter().map(|found| found.entity).collect())
}

/// What mutes alerts.
pub(crate) struct Hush<'a> {
    silences: &'a [Silence],
    inhibition: &'a Inhibition,
    routing: Arc<crate::routing::Routing>,
}

impl<'a> Hush<'a> {
    pub(crate) fn of(surroundings: &'a Surroundings) -> Self {
        Hush { silences: &surroundings.silences, inhibition: &surroundings.inhibition, routing: surroundings.routing.clone() }
    }

    /// What mutes an alert: the first there is, by silences, recurring windows, other alerts.
    pub(crate) fn by(&self, fingerprint: u64, labels: &Labels, now: Timestamp) -> Option<Mute> {
        let silence = self.silences.iter().find(|silence| silence.mutes(labels, now)).map(Mute::from);
        silence
            .or_else(|| self.routing.maintained(labels, now))
            .or_else(|| self.inhibition.by(fingerprint, labels).map(|source| Mute::Inhibited { source: source.clone() }))
    }

    /// Every silence that mutes these labels.
    pub(crate) fn silences(&self, labels: &Labels, now: Timestamp) -> Vec<&'a Silence> {
        self.silences.iter().filter(|silence| silence.mutes(labels, now)).collect()
    }

    /// The labels of an alert that mutes this one.
    pub(crate) fn inhibited(&self, fingerprint: u64, labels: &Labels) -> Option<&'a Labels> {
        self.inhibition.by(fingerprint, labels)
    }
}

/// Takes a batch: all of it in one commit. Gives back how many alerts are new.
pub(crate) async fn take(shared: &Shared, batch: &[Sent], now: Timestamp) -> Result<usize, StateError> {
    let mut received = Received { at: now, whole: true, waited: false, hands_over: true };
    let mut alone = None;
    for attempt in 1.. {
        shared.turn.wait(attempt, &mut alone).await;
        let now = if attempt == 1 { now } else { shared.state.now().await? };
        let decided = decide(shared, &*shared.state, batch, received, now).await?;
        let fired = decided.fired;
        match decided.write(shared).await {
            Ok(()) => return Ok(fired),
            Err(error) if error.is_conflict() && attempt < TRIES => {}
            // Another node leads: it sends.
            Err(StateError::Fenced { .. }) if received.hands_over => received.hands_over = false,
            Err(error) => return Err(error),
        }
    }
    Ok(0)
}

/// What a batch comes to.
struct Decided {
    commit: Commit,
    /// How many alerts are new.
    fired: usize,
    /// What is sent as soon as the commit is made.
    handing: Option<Handing>,
}

impl Decided {
    /// Makes the commit and sends what is handed over.
    async fn write(self, shared: &Shared) -> Result<(), StateError> {
        let Decided { mut commit, handing, .. } = self;
        let state = shared.state.clone();
        let Some(handing) = handing else {
            return if commit.is_empty() { Ok(()) } else { state.commit(commit).await.map(drop) };
        };
        commit.fence = Some(handing.fence.clone());
        // Whoever sent the alerts may go away in between, and the notices must go out.
        let written = Anyway::new(async move {
            state.commit(commit).await?;
            handing.go(&state);
            Ok(())
        });
        written.await?;
        // The notices go first, then the answer.
        tokio::task::yield_now().await;
        Ok(())
    }
}

/// How a batch came.
#[derive(Clone, Copy, Debug)]
struct Received {
    /// When. It may have waited: what was received later counts more.
    at: Timestamp,
    /// Whether it is all that was sent together.
    whole: bool,
    /// Whether it may have waited: then there may be news that was received after it.
    waited: bool,
    /// Whether notices may be handed over.
    hands_over: bool,
}

/// How long new groups wait at least where what was sent together is taken in several commits.
pub(crate) const TOGETHER: std::time::Duration = std::time::Duration::from_secs(1);

/// What a batch changes, but for what is handed over. What it was decided by is covered by the versions that it names, but for the silences and
/// the clock ([`Deciding::holds`]), and for what has nothing decided ahead (`IntakeWorker::take_apart`): ends, alerts that mute others,
/// recurring maintenance, another routing.
struct Deciding<'a> {
    commit: Commit,
    /// Which are new.
    fired: Vec<AlertId>,
    placing: Placing<'a>,
    silences: Vec<Silence>,
    /// The earliest end among its alerts.
    soonest: Option<Timestamp>,
}

/// What a batch changes.
async fn decide(
    shared: &Shared,
    state: &dyn StateStore,
    batch: &[Sent],
    received: Received,
    now: Timestamp,
) -> Result<Decided, StateError> {
    begin_deciding(shared, state, batch, received, now).await?.finish().await
}

/// Lets others have a turn after some of the work for a large batch.
async fn breathe(batch: &[Sent]) {
    if batch.len() > inbox::FEW {
        tokio::task::yield_now().await;
    }
}

/// All that can be done before what came earlier is written.
async fn begin_deciding<'a>(
    shared: &'a Shared,
    state: &'a dyn StateStore,
    batch: &[Sent],
    received: Received,
    now: Timestamp,
) -> Result<Deciding<'a>, StateError> {
    let mut taking = Taking::read(shared, state, batch, received, now).await?;
    breathe(batch).await;
    for sent in batch {
        taking.one(sent);
    }
    breathe(batch).await;
    let soonest = taking.ends.iter().min().copied();
    let (commit, fired, silences) = taking.finish()?;
    breathe(batch).await;
    // Groups are joined in the same commit; the follower finds it done.
    let placing = Placing::new(shared, state, now);
    let mut placing = if received.whole { placing.together(received.hands_over) } else { placing.waiting(TOGETHER) };
    placing.look_up(&fired).await?;
    breathe(batch).await;
    for alert in &fired {
        placing.place_new(alert).await?;
    }
    Ok(Deciding { commit, fired: fired.iter().map(|alert| alert.id).collect(), placing, silences, soonest })
}

impl Deciding<'_> {
    /// Whether it would be decided just so now: it was decided a while ago.
    async fn holds(&self, shared: &Shared, state: &dyn StateStore, now: Timestamp) -> Result<bool, StateError> {
        // The row of a sweep that is due by now may be done.
        let swept_later = self.soonest.is_none_or(|end| Timestamp::from_secs(sweep_second(end, self.commit.at)) > now);
        let goes_on = |silence: &Silence| silence.state(self.commit.at) == silence.state(now);
        Ok(swept_later && self.silences.iter().all(goes_on) && live_silences(shared, state).await? == self.silences)
    }

    async fn finish(self) -> Result<Decided, StateError> {
        let Deciding { mut commit, fired, mut placing, .. } = self;
        let count = fired.len();
        placing.hand_over().await;
        placing.told_to_leader(fired).await?;
        let (placed, handing) = placing.finish_handing()?;
        commit.merge(placed);
        Ok(Decided { commit, fired: count, handing })
    }
}

/// A record that is being changed.
struct Known {
    before: Option<Instance>,
    expect: Expect,
    after: Instance,
}

/// A batch that is being decided.
struct Taking<'a> {
    shared: &'a Shared,
    now: Timestamp,
    received: Received,
    open: BTreeMap<u64, Versioned<Instance>>,
    known: BTreeMap<u64, Known>,
    surroundings: Surroundings,
    commit: Commit,
    fired: BTreeSet<u64>,
    ends: Vec<Timestamp>,
}

impl<'a> Taking<'a> {
    async fn read(
        shared: &'a Shared,
        state: &'a dyn StateStore,
        batch: &[Sent],
        received: Received,
        now: Timestamp,
    ) -> Result<Self, StateError> {
        let fingerprints: BTreeSet<u64> = batch.iter().map(Sent::fingerprint).collect();
        let keys: Vec<String> = fingerprints.iter().map(|fingerprint| format!("{fingerprint:016x}")).collect();
        let found = by_keys::<Instance>(state, &shared.tenant, &keys).await?;
        let open: BTreeMap<u64, _> = found.into_iter().map(|found| (found.entity.alert.fingerprint, found)).collect();
        // Only who is new is muted here: of the others, and where none of these can be, nothing that fires need be read.
        let routing = shared.routing();
        let is_asked = |sent: &Sent| {
            matches!(sent.news, News::Firing { .. })
                && routing.inhibit_rules.iter().any(|rule| rule.is_target(&sent.labels))
                && !open.contains_key(&sent.fingerprint())
        };
        let firing: Option<&[Alert]> = if batch.iter().any(is_asked) { None } else { Some(&[]) };
        let surroundings = Surroundings::read(shared, state, firing).await?;
        let (commit, known) = (Commit::at(now), BTreeMap::new());
        Ok(Taking { shared, now, received, open, known, surroundings, commit, fired: BTreeSet::new(), ends: Vec::new() })
    }

    fn one(&mut self, sent: &Sent) {
        let fingerprint = sent.fingerprint();
        if !self.known.contains_key(&fingerprint) {
            let found = self.open.remove(&fingerprint);
            let fires = matches!(sent.news, News::Firing { .. });
            let known = match found {
                Some(Versioned { entity, version }) => {
                    Known { before: Some(entity.clone()), expect: Expect::Version(version), after: entity }
                }
                None if fires => Known { before: None, expect: Expect::New, after: self.begin(sent, fingerprint) },
                None => return, // the end of something that nobody knows
            };
            self.known.insert(fingerprint, known);
        }
        let (now, received) = (self.now, self.received);
        let Some(known) = self.known.get_mut(&fingerprint) else { return };
        let news = known.before.as_ref().and_then(|before| before.memory.foreign.as_ref());
        if received.waited && news.is_some_and(|news| news.updated_at > received.at) {
            return; // what was received after this counts
        }
        let alert = &mut known.after.alert;
        match &sent.news {
            News::Firing { starts_at, ends_at } => {
                let (active_at, fired_at) = (alert.state.active_at(), alert.state.fired_at().unwrap_or(now));
                // Intervals that overlap are one, from the earlier beginning.
                alert.state = AlertState::Firing {
                    active_at: active_at.min(*starts_at),
                    fired_at: fired_at.min(*starts_at),
                    keep_firing_since: None,
                };
                alert.annotations.clone_from(&sent.annotations);
                alert.labels.clone_from(&sent.labels);
                alert.generator_url.clone_from(&sent.generator_url);
                let from = std::mem::replace(&mut alert.severity, sent.severity);
                if from != sent.severity && known.before.is_some() {
                    let kind = EventKind::AlertSeverityChanged { from, to: sent.severity, value: alert.value, escalation: None };
                    let subject = Subject::alert(alert.id, alert.incident);
                    self.commit.event(self.shared.event(now, subject, kind));
                }
                let foreign = Foreign { ends_at: *ends_at, updated_at: received.at, dedup_key: sent.dedup_key.clone() };
                if known.after.memory.foreign.as_ref().is_none_or(|before| before.ends_at != *ends_at) {
                    self.ends.push(*ends_at);
                }
                known.after.memory.foreign = Some(foreign);
            }
            News::Over { ends_at } => known.after = over(&known.after, (*ends_at).min(now)),
            News::Acknowledged => {
                if alert.is_firing() && alert.acknowledged.is_none() {
                    alert.acknowledged = Some(Acknowledgement { at: now, by: sent.actor.clone() });
                    let mut event = self.shared.event(now, Subject::alert(alert.id, alert.incident), EventKind::AlertAcknowledged);
                    event.actor = sent.actor.clone();
                    self.commit.event(event);
                }
            }
        }
    }

    fn begin(&mut self, sent: &Sent, fingerprint: u64) -> Instance {
        let now = self.now;
        let starts_at = match sent.news {
            News::Firing { starts_at, .. } => starts_at,
            News::Over { .. } | News::Acknowledged => now,
        };
        self.fired.insert(fingerprint);
        let alert = Alert {
            id: AlertId::new(now, &*self.shared.ids),
            tenant: self.shared.tenant.clone(),
            rule: sent.rule(),
            fingerprint,
            labels: sent.labels.clone(),
            annotations: sent.annotations.clone(),
            severity: sent.severity,
            state: AlertState::Firing { active_at: starts_at, fired_at: starts_at, keep_firing_since: None },
            value: Value(1.0),
            expr: String::new(),
            escalation: None,
            remediation: None,
            acknowledged: None,
            incident: None,
            unknown: false,
            muted: false,
            generator_url: sent.generator_url.clone(),
        };
        Instance { alert, memory: Memory::default() }
    }

    /// Mutes what is new, writes, and says what happened.
    fn finish(mut self) -> Result<(Commit, Vec<Alert>, Vec<Silence>), StateError> {
        self.surroundings.count_in(self.known.values());
        let hush = Hush::of(&self.surroundings);
        let mut commit = std::mem::take(&mut self.commit);
        commit.at = self.now;
        let mut told = Vec::new();
        for (fingerprint, known) in &mut self.known {
            let alert = &mut known.after.alert;
            let subject = Subject::alert(alert.id, alert.incident);
            if self.fired.contains(fingerprint) && alert.is_firing() {
                told.push(self.shared.event(self.now, subject.clone(), fired(alert)));
                if let Some(mute) = hush.by(*fingerprint, &alert.labels, self.now) {
                    alert.muted = true;
                    told.push(self.shared.event(self.now, subject.clone(), EventKind::AlertMuted { by: mute.to_string() }));
                }
            }
            if known.before.as_ref().is_some_and(|before| before.alert.is_firing()) && !alert.is_firing() {
                told.push(self.shared.event(self.now, subject, EventKind::AlertResolved { value: alert.value }));
            }
        }
        for known in self.known.values() {
            if known.before.is_none() && !known.after.alert.is_firing() {
                continue; // it began and ended in one batch
            }
            if known.before.as_ref() != Some(&known.after) {
                commit.put(&known.after, known.expect)?;
            }
        }
        // What fires comes before what was said of it.
        told.append(&mut commit.events);
        commit.events = told;
        for at in std::mem::take(&mut self.ends) {
            schedule_sweep(self.shared, &mut commit, at, self.now)?;
        }
        let fired = self.fired.iter().filter_map(|fingerprint| self.known.remove(fingerprint)).map(|known| known.after.alert);
        Ok((commit, fired.filter(Alert::is_firing).collect(), self.surroundings.silences))
    }
}

/// The event of a new alert.
fn fired(alert: &Alert) -> EventKind {
    EventKind::AlertFired {
        rule: alert.rule.clone(),
        labels: alert.labels.clone(),
        severity: alert.severity,
        value: alert.value,
        summary: alert.summary(),
        escalation: None,
        remediation: None,
    }
}

/// The same alert, over since then.
fn over(instance: &Instance, at: Timestamp) -> Instance {
    let mut instance = instance.clone();
    if let AlertState::Firing { active_at, fired_at, .. } = instance.alert.state {
        instance.alert.state = AlertState::Resolved { active_at, fired_at, resolved_at: at.max(fired_at) };
    }
    instance
}

/// A sweep at a moment: at most one a second. The row's key is its second, and that lies ahead, so that no row of it is done yet.
pub(crate) fn schedule_sweep(shared: &Shared, commit: &mut Commit, at: Timestamp, now: Timestamp) -> Result<(), StateError> {
    let second = sweep_second(at, now);
    let due_at = Timestamp::from_secs(second);
    commit.schedule(&shared.tenant, row(format!("sweep/{second}"), due_at, &Job::Sweep)?);
    Ok(())
}

fn sweep_second(at: Timestamp, now: Timestamp) -> i64 {
    at.max(now).nanos().div_euclid(1_000_000_000) + 1
}

/// What an event means for alerts of others: silences begin and end, and what fires may mute.
pub(crate) fn sweep_after(shared: &Shared, kind: &EventKind, commit: &mut Commit, now: Timestamp) -> Result<(), StateError> {
    let mutes = !shared.routing().inhibit_rules.is_empty();
    match kind {
        EventKind::SilenceCreated { ends_at, .. } => {
            schedule_sweep(shared, commit, now, now)?;
            schedule_sweep(shared, commit, *ends_at, now)
        }
        EventKind::SilenceExpired { .. } => schedule_sweep(shared, commit, now, now),
        EventKind::AlertFired { .. } | EventKind::AlertResolved { .. } if mutes => schedule_sweep(shared, commit, now, now),
        _ => Ok(()),
    }
}

/// How long an alert without an end is believed in.
pub(crate) fn until(now: Timestamp, timeout: Span) -> Timestamp {
    now.plus(timeout.0)
}
