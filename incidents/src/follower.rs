//! The follower that turns alerts into incidents. In: journal events, in order. Out: one commit each, with the incident's record, its
//! events and what follows. Fails only with the state store; a conflict makes the driver decide again on a fresh read.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};

use async_trait::async_trait;
use model::alert::Alert;
use model::deployment::Deployment;
use model::drive::Follower;
use model::event::{Actor, EventKind, Recorded};
use model::ids::{AlertId, DeploymentId, IncidentId, RemediationId};
use model::incident::{ChatChannel, Incident, IncidentClocks, IncidentStatus, holding, open_for};
use model::labels::Labels;
use model::repair::RepairOutcome;
use model::severity::Severity;
use model::state::{Commit, Expect, StateError, StateStore, Versioned, all, load};
use model::tenant::TenantId;
use model::time::Timestamp;

use crate::counter;
use crate::deployments::{self, Window};
use crate::groups;
use crate::job::Job;
use crate::lifecycle::{Command, decide};
use crate::meters::Meters;
use crate::timeline;
use crate::writer::{Change, Writer, body_error};

/// The longest title, in characters.
const LONGEST_TITLE: usize = 200;
/// How many of the latest deployments are marked when an incident opens.
const MARKED: usize = 5;

/// Opens, joins, settles and resolves incidents.
pub struct IncidentFollower {
    writer: Writer,
    meters: Meters,
    /// The tenants whose open incidents all have the record of their group.
    grouped: Mutex<BTreeSet<TenantId>>,
}

/// What an alert says when it opens an incident or joins one.
struct Arrival {
    alert: AlertId,
    labels: Labels,
    severity: Severity,
    title: String,
    started: Timestamp,
    detected: Timestamp,
}

/// One event with what is needed to decide on it.
struct Scene<'a> {
    event: &'a Recorded,
    state: &'a dyn StateStore,
    now: Timestamp,
}

impl Scene<'_> {
    fn tenant(&self) -> &TenantId {
        &self.event.event.tenant
    }

    /// The open incident that holds an alert.
    async fn holder(&self, alert: AlertId) -> Result<Option<Versioned<Incident>>, StateError> {
        let linked = self.alert().await?.filter(|record| record.id == alert).and_then(|record| record.incident);
        open_for(self.state, self.tenant(), alert, linked).await
    }

    async fn alert(&self) -> Result<Option<Alert>, StateError> {
        let Some(id) = self.event.event.subject.alert else { return Ok(None) };
        Ok(load::<Alert>(self.state, self.tenant(), &id.to_string()).await?.map(|found| found.entity))
    }

    /// The incident that the event is about: the open one that holds its alert, else the one that it names, else the last one that
    /// held its alert (somebody ended it while the alert went on).
    async fn incident(&self) -> Result<Option<Versioned<Incident>>, StateError> {
        let subject = &self.event.event.subject;
        if let Some(alert) = subject.alert
            && let Some(found) = self.holder(alert).await?
        {
            return Ok(Some(found));
        }
        match (subject.incident, subject.alert) {
            (Some(id), _) => load(self.state, self.tenant(), &id.to_string()).await,
            (None, Some(alert)) => Ok(holding(self.state, self.tenant(), alert).await?.into_iter().next()),
            (None, None) => Ok(None),
        }
    }
}

#[async_trait]
impl Follower for IncidentFollower {
    fn name(&self) -> &'static str {
        "incidents"
    }

    async fn follow(&self, event: &Recorded, state: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
        let scene = Scene { event, state, now };
        match &event.event.kind {
            EventKind::AlertFired { labels, severity, summary, .. } => self.alert_fired(&scene, labels, *severity, summary).await,
            EventKind::AlertUnmuted => self.alert_unmuted(&scene).await,
            EventKind::AlertSeverityChanged { to, .. } => self.severity_changed(&scene, *to).await,
            EventKind::AlertResolved { .. } => self.alert_resolved(&scene).await,
            EventKind::AlertAcknowledged => self.alert_taken(&scene, IncidentStatus::Open, &Command::Acknowledge).await,
            EventKind::AlertUnacknowledged { .. } => self.alert_taken(&scene, IncidentStatus::Acknowledged, &Command::Unacknowledge).await,
            EventKind::RepairStarted { run, .. } => self.repair_started(&scene, *run).await,
            EventKind::RepairFinished { run, remediation, outcome } => self.repair_finished(&scene, *run, remediation, outcome).await,
            EventKind::ChatChannelOpened { receiver, channel, name } => {
                let channel = ChatChannel { receiver: receiver.clone(), id: channel.clone(), name: name.clone(), archived: false };
                self.chat_changed(&scene, |_| Some(channel)).await
            }
            EventKind::ChatChannelArchived { .. } => {
                self.chat_changed(&scene, |chat| chat.map(|chat| ChatChannel { archived: true, ..chat })).await
            }
            EventKind::LadderStepTaken { .. }
            | EventKind::LadderExhausted { .. }
            | EventKind::RepairRequested { .. }
            | EventKind::RepairAwaitsApproval { .. }
            | EventKind::RepairApproved { .. }
            | EventKind::RepairActed { .. }
            | EventKind::RepairChecked { .. }
            | EventKind::RepairUndone { .. } => self.tell(&scene).await,
            EventKind::IncidentOpened { .. }
            | EventKind::IncidentResolved { .. }
            | EventKind::IncidentCancelled { .. }
            | EventKind::IncidentClosed => {
                self.meters.refresh(state).await?;
                Ok(Commit::at(now))
            }
            EventKind::DeploymentRecorded { deployment, .. } => self.deployed(&scene, *deployment).await,
            EventKind::AlertPending { .. }
            | EventKind::AlertCancelled
            | EventKind::AlertMuted { .. }
            | EventKind::RuleUnknown { .. }
            | EventKind::RuleRecovered { .. }
            | EventKind::SilenceCreated { .. }
            | EventKind::SilenceExpired { .. }
            | EventKind::IncidentAlertAttached { .. }
            | EventKind::IncidentAcknowledged
            | EventKind::IncidentUnacknowledged
            | EventKind::IncidentMitigated { .. }
            | EventKind::IncidentNoted { .. }
            | EventKind::IncidentEscalated { .. }
            | EventKind::IncidentUpdated { .. }
            | EventKind::OnCallOverridden { .. }
            | EventKind::OnCallRestored { .. }
            | EventKind::LadderStarted { .. }
            | EventKind::LadderStopped { .. }
            | EventKind::NotificationSent { .. }
            | EventKind::NotificationRetried { .. }
            | EventKind::NotificationDead { .. }
            | EventKind::PostmortemDrafted { .. }
            | EventKind::ReviewScheduled { .. }
            | EventKind::ReviewDue
            | EventKind::KeyCreated { .. }
            | EventKind::KeyRevoked { .. }
            | EventKind::Issue { .. }
            | EventKind::DeploymentMarked { .. }
            | EventKind::Noted { .. } => Ok(Commit::at(now)),
        }
    }
}

impl IncidentFollower {
    /// From its parts.
    pub fn new(writer: Writer, meters: Meters) -> Self {
        IncidentFollower { writer, meters, grouped: Mutex::default() }
    }

    async fn alert_fired(&self, scene: &Scene<'_>, labels: &Labels, severity: Severity, summary: &str) -> Result<Commit, StateError> {
        if !severity.opens_incident() {
            return Ok(Commit::at(scene.now));
        }
        let record = scene.alert().await?;
        let muted = record.as_ref().is_some_and(|alert| alert.muted);
        let Some(alert) = scene.event.event.subject.alert.filter(|_| !muted) else {
            return Ok(Commit::at(scene.now));
        };
        let fired = scene.event.event.at;
        let arrival = Arrival {
            alert,
            labels: labels.clone(),
            severity,
            title: summary.to_owned(),
            started: record.as_ref().map_or(fired, |alert| alert.state.active_at()),
            detected: record.as_ref().and_then(|alert| alert.state.fired_at()).unwrap_or(fired),
        };
        self.arrive(scene, arrival).await
    }

    /// A silence ended while the alert goes on: it counts from now on.
    async fn alert_unmuted(&self, scene: &Scene<'_>) -> Result<Commit, StateError> {
        match scene.alert().await? {
            Some(alert) if alert.is_firing() && alert.severity.opens_incident() => {
                let arrival = Arrival::of(&alert, alert.severity, scene.event.event.at);
                self.arrive(scene, arrival).await
            }
            Some(_) | None => Ok(Commit::at(scene.now)),
        }
    }

    async fn severity_changed(&self, scene: &Scene<'_>, to: Severity) -> Result<Commit, StateError> {
        let Some(id) = scene.event.event.subject.alert else { return Ok(Commit::at(scene.now)) };
        if let Some(Versioned { entity: mut incident, version }) = scene.holder(id).await? {
            let mut commit = Commit::at(scene.now);
            self.writer.post_update(&mut commit, &incident, &scene.event.event, scene.now)?;
            if to > incident.severity {
                incident.severity = to;
                commit.put(&incident, Expect::Version(version))?;
            }
            return Ok(commit);
        }
        match scene.alert().await? {
            Some(alert) if to.opens_incident() && !alert.muted => {
                let arrival = Arrival::of(&alert, to, scene.event.event.at);
                self.arrive(scene, arrival).await
            }
            Some(_) | None => Ok(Commit::at(scene.now)),
        }
    }

    async fn arrive(&self, scene: &Scene<'_>, arrival: Arrival) -> Result<Commit, StateError> {
        if scene.holder(arrival.alert).await?.is_some() {
            return Ok(Commit::at(scene.now));
        }
        let mut commit = Commit::at(scene.now);
        let group = groups::group_of(&arrival.labels, &self.writer.config.group_by);
        let same = self.open_in(scene, &group, &mut commit).await?;
        commit.merge(match same {
            Some(found) => self.join(scene, arrival, found)?,
            None => self.open(scene, arrival, group).await?,
        });
        Ok(commit)
    }

    /// The open incident of a group. The first time each process makes sure that what is open has its record.
    async fn open_in(&self, scene: &Scene<'_>, group: &Labels, commit: &mut Commit) -> Result<Option<Versioned<Incident>>, StateError> {
        let tenant = scene.tenant();
        if self.grouped.lock().unwrap_or_else(PoisonError::into_inner).contains(tenant) {
            return groups::open_in(scene.state, tenant, group).await;
        }
        let older = groups::catch_up(scene.state, tenant, group, commit).await?;
        if older.missing == 0 {
            self.grouped.lock().unwrap_or_else(PoisonError::into_inner).insert(tenant.clone());
        }
        Ok(older.of_group)
    }

    fn join(&self, scene: &Scene<'_>, arrival: Arrival, found: Versioned<Incident>) -> Result<Commit, StateError> {
        let Versioned { entity: mut incident, version } = found;
        incident.alerts.push(arrival.alert);
        incident.firing.push(arrival.alert);
        incident.severity = incident.severity.max(arrival.severity);
        incident.clocks.started = incident.clocks.started.min(arrival.started);
        let event = EventKind::IncidentAlertAttached { severity: incident.severity };
        self.commit(scene, &incident, Expect::Version(version), Some(arrival.alert), vec![event])
    }

    async fn open(&self, scene: &Scene<'_>, arrival: Arrival, group: Labels) -> Result<Commit, StateError> {
        let mut commit = Commit::at(scene.now);
        let number = counter::take(scene.state, scene.tenant(), &mut commit).await?;
        let cause = format!("{}/{}", arrival.alert, scene.event.seq);
        let incident = Incident {
            id: IncidentId::derived(arrival.detected, &cause),
            tenant: scene.tenant().clone(),
            number,
            title: arrival.title.chars().take(LONGEST_TITLE).collect(),
            severity: arrival.severity,
            status: IncidentStatus::Open,
            group,
            alerts: vec![arrival.alert],
            firing: vec![arrival.alert],
            clocks: IncidentClocks {
                started: arrival.started,
                detected: arrival.detected,
                acknowledged: None,
                mitigated: None,
                resolved: None,
                closed: None,
                cancelled: None,
            },
            acknowledged: None,
            resolved_by: None,
            chat: None,
            repair: None,
            last_update: None,
        };
        let mut events = vec![EventKind::IncidentOpened { number, title: incident.title.clone(), severity: incident.severity }];
        events.extend(self.just_deployed(scene, &incident, &arrival.labels).await?);
        groups::opens(scene.state, &incident, &mut commit).await?;
        commit.merge(self.commit(scene, &incident, Expect::New, Some(arrival.alert), events)?);
        Ok(commit)
    }

    /// What went out in the services of a new incident shortly before it: the first thing that people ask for.
    async fn just_deployed(&self, scene: &Scene<'_>, incident: &Incident, labels: &Labels) -> Result<Vec<EventKind>, StateError> {
        let services = deployments::services([labels, &incident.group]);
        if services.is_empty() {
            return Ok(Vec::new());
        }
        let window = Window {
            tenant: scene.tenant().clone(),
            services,
            environment: None,
            from: incident.clocks.started.minus(self.writer.config.changes_before.0),
            to: scene.now,
            limit: MARKED,
        };
        let found = deployments::within(scene.state, &window).await?;
        Ok(found.iter().rev().map(deployments::mark).collect())
    }

    /// Marks a deployment in every open incident of its service, once.
    async fn deployed(&self, scene: &Scene<'_>, id: DeploymentId) -> Result<Commit, StateError> {
        let mut commit = Commit::at(scene.now);
        let Some(found) = load::<Deployment>(scene.state, scene.tenant(), &id.to_string()).await? else { return Ok(commit) };
        let deployment = found.entity;
        let open = all::<Incident>(scene.state, Some(scene.tenant()), &["open", "acknowledged"], 0).await?;
        for Versioned { entity: incident, version } in open {
            let early = incident.clocks.started.minus(self.writer.config.changes_before.0);
            let its_own = deployments::services_of(scene.state, &incident).await?.contains(&deployment.service);
            if !its_own || deployment.at < early || is_marked(scene.state, &incident, id).await? {
                continue;
            }
            commit.merge(self.commit(scene, &incident, Expect::Version(version), None, vec![deployments::mark(&deployment)])?);
        }
        Ok(commit)
    }

    async fn alert_resolved(&self, scene: &Scene<'_>) -> Result<Commit, StateError> {
        let Some(id) = scene.event.event.subject.alert else { return Ok(Commit::at(scene.now)) };
        let Some(Versioned { entity: mut incident, version }) = scene.incident().await? else { return Ok(Commit::at(scene.now)) };
        let before = incident.firing.len();
        incident.firing.retain(|alert| *alert != id);
        if incident.firing.len() == before {
            return Ok(Commit::at(scene.now));
        }
        self.quiet(scene, incident, version, Vec::new())
    }

    /// Somebody took one of its alerts, or gave it back: the same happens to the incident.
    async fn alert_taken(&self, scene: &Scene<'_>, from: IncidentStatus, command: &Command) -> Result<Commit, StateError> {
        match scene.incident().await? {
            Some(Versioned { entity, version }) if entity.status == from => {
                let actor = &scene.event.event.actor;
                let Ok(decision) = decide(&entity, command, scene.now, actor) else { return Ok(Commit::at(scene.now)) };
                let alert = scene.event.event.subject.alert;
                let change = Change { incident: &decision.incident, expect: Expect::Version(version), actor, alert, now: scene.now };
                let mut commit = Commit::at(scene.now);
                self.writer.write(&mut commit, &change, decision.events)?;
                Ok(commit)
            }
            Some(_) | None => Ok(Commit::at(scene.now)),
        }
    }

    async fn repair_started(&self, scene: &Scene<'_>, run: RemediationId) -> Result<Commit, StateError> {
        let Some(Versioned { entity: mut incident, version }) = scene.incident().await? else { return Ok(Commit::at(scene.now)) };
        if !incident.status.is_open() {
            return Ok(Commit::at(scene.now));
        }
        incident.repair = Some(run);
        let mut commit = self.commit(scene, &incident, Expect::Version(version), None, Vec::new())?;
        self.writer.post_update(&mut commit, &incident, &scene.event.event, scene.now)?;
        Ok(commit)
    }

    async fn repair_finished(
        &self,
        scene: &Scene<'_>,
        run: RemediationId,
        remediation: &str,
        outcome: &RepairOutcome,
    ) -> Result<Commit, StateError> {
        let Some(Versioned { entity: mut incident, version }) = scene.incident().await? else { return Ok(Commit::at(scene.now)) };
        let mut commit = Commit::at(scene.now);
        self.writer.post_update(&mut commit, &incident, &scene.event.event, scene.now)?;
        if incident.repair != Some(run) {
            return Ok(commit);
        }
        incident.repair = None;
        let mut events = Vec::new();
        if let RepairOutcome::Verified { rung } = outcome
            && incident.status.is_open()
            && incident.clocks.mitigated.is_none()
        {
            incident.clocks.mitigated = Some(scene.event.event.at);
            events.push(EventKind::IncidentMitigated { how: format!("remediation {remediation}, rung {rung}, verified") });
        }
        commit.merge(self.quiet(scene, incident, version, events)?);
        Ok(commit)
    }

    async fn chat_changed(
        &self,
        scene: &Scene<'_>,
        change: impl FnOnce(Option<ChatChannel>) -> Option<ChatChannel> + Send,
    ) -> Result<Commit, StateError> {
        let mut commit = Commit::at(scene.now);
        if let Some(Versioned { entity: mut incident, version }) = scene.incident().await? {
            incident.chat = change(incident.chat.take());
            commit.put(&incident, Expect::Version(version))?;
        }
        Ok(commit)
    }

    async fn tell(&self, scene: &Scene<'_>) -> Result<Commit, StateError> {
        let mut commit = Commit::at(scene.now);
        if self.writer.config.chat_receiver.is_some()
            && let Some(found) = scene.incident().await?
        {
            self.writer.post_update(&mut commit, &found.entity, &scene.event.event, scene.now)?;
        }
        Ok(commit)
    }

    /// Writes the incident and, if nothing fires and no repair is at work, resolves it now or after the hold.
    fn quiet(&self, scene: &Scene<'_>, incident: Incident, version: u64, mut events: Vec<EventKind>) -> Result<Commit, StateError> {
        let alert = scene.event.event.subject.alert;
        let expect = Expect::Version(version);
        let hold = self.writer.config.resolve_after.0;
        if !is_quiet(&incident) {
            return self.commit(scene, &incident, expect, alert, events);
        }
        if !hold.is_zero() {
            let mut commit = self.commit(scene, &incident, expect, alert, events)?;
            let job = Job::Resolve { incident: incident.id, quiet_since: scene.event.seq };
            let row = job.at(scene.now.plus(hold)).map_err(|source| body_error(&incident, source))?;
            commit.schedule(&incident.tenant, row);
            return Ok(commit);
        }
        let Ok(decision) = decide(&incident, &alerts_cleared(), scene.now, &Actor::system("incidents")) else {
            return self.commit(scene, &incident, expect, alert, events);
        };
        events.extend(decision.events);
        self.commit(scene, &decision.incident, expect, alert, events)
    }

    fn commit(
        &self,
        scene: &Scene<'_>,
        incident: &Incident,
        expect: Expect,
        alert: Option<AlertId>,
        events: Vec<EventKind>,
    ) -> Result<Commit, StateError> {
        let mut commit = Commit::at(scene.now);
        let actor = Actor::system("incidents");
        self.writer.write(&mut commit, &Change { incident, expect, actor: &actor, alert, now: scene.now }, events)?;
        Ok(commit)
    }
}

impl Arrival {
    /// An alert that fires already and counts from `since` on.
    fn of(alert: &Alert, severity: Severity, since: Timestamp) -> Self {
        Arrival {
            alert: alert.id,
            labels: alert.labels.clone(),
            severity,
            title: alert.summary(),
            started: alert.state.active_at(),
            detected: since,
        }
    }
}

/// Whether the incident's timeline holds the deployment already: an incident that opens marks what was recorded just before.
async fn is_marked(state: &dyn StateStore, incident: &Incident, id: DeploymentId) -> Result<bool, StateError> {
    let events = timeline::collect(state, incident).await?;
    Ok(events.iter().any(|one| matches!(&one.event.kind, EventKind::DeploymentMarked { deployment, .. } if *deployment == id)))
}

/// Whether nothing keeps the incident open but the incident itself.
pub fn is_quiet(incident: &Incident) -> bool {
    incident.status.is_open() && incident.firing.is_empty() && incident.repair.is_none()
}

/// The command by which an incident resolves without anybody.
pub fn alerts_cleared() -> Command {
    Command::Resolve { reason: "alerts cleared".to_owned() }
}
