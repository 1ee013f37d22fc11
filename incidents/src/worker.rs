//! The worker of queue `incident`: resolves after the hold, writes clocks as series, archives channels, drafts postmortems, reminds of
//! reviews. In: one claimed row. Out: its outcome, committed. A store that does not answer means the row is tried again.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::alert::Alert;
use model::drive::{Worker, done};
use model::event::{Actor, EventKind};
use model::evidence::{EvidenceQuery, EvidenceSource, VersionQuery};
use model::ids::{IncidentId, PostmortemId};
use model::incident::{Incident, IncidentStatus};
use model::json::Json;
use model::labels::{Labels, METRIC_NAME};
use model::message::{Attachment, Delivery, Message};
use model::query::SeriesSample;
use model::sink::SeriesSink;
use model::state::{Commit, Expect, Fence, JournalQuery, StateError, StateStore, TRIES, Versioned, load};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::{Queue, Work, WorkChange, WorkQuery, WorkState, backoff};

use crate::deployments::{self, Window};
use crate::follower::{alerts_cleared, is_quiet};
use crate::job::{Clock, Job};
use crate::lifecycle::decide;
use crate::meters::Meters;
use crate::postmortem::draft::{Changes, Facts, Found, draft};
use crate::postmortem::{Postmortem, PostmortemStatus, files, invitation, render};
use crate::timeline;
use crate::writer::{Change, Writer, body_error};

/// How long a clock is offered to a telemetry store that does not take it.
const CLOCK_PATIENCE: Duration = Duration::from_secs(24 * 3600);
/// How long after the last look the channel is looked at again while posts wait.
const ARCHIVE_PAUSE: Duration = Duration::from_secs(2);
/// After so many looks the channel is archived even if posts wait.
const ARCHIVE_LOOKS: u32 = 1_800;
/// How long before the start versions are looked for in the spans: reading their resources is dear.
const VERSIONS_BEFORE: Duration = Duration::from_secs(2 * 3600);
/// How many changes of each kind a postmortem shows: the latest.
const MOST_CHANGES: usize = 25;

/// Carries out jobs.
pub struct IncidentWorker {
    pub(crate) writer: Writer,
    pub(crate) meters: Meters,
    pub(crate) evidence: Arc<dyn EvidenceSource>,
    pub(crate) series: Arc<dyn SeriesSink>,
    pub(crate) data_dir: PathBuf,
}

/// One row with what is needed to finish it.
struct Task<'a> {
    row: &'a Work,
    state: &'a dyn StateStore,
    fence: Option<&'a Fence>,
    now: Timestamp,
}

impl Task<'_> {
    fn tenant(&self) -> &TenantId {
        &self.row.tenant
    }
    async fn incident(&self, id: IncidentId) -> Result<Option<Versioned<Incident>>, StateError> {
        load(self.state, self.tenant(), &id.to_string()).await
    }
    async fn commit(&self, mut commit: Commit) -> Result<(), StateError> {
        commit.fence = self.fence.cloned();
        self.state.commit(commit).await.map(|_| ())
    }
    /// Finishes the row, with whatever else changes.
    async fn finish(&self, also: Commit) -> Result<(), StateError> {
        let mut commit = done(self.row, self.now);
        commit.merge(also);
        self.commit(commit).await
    }
    async fn again(&self, after: Duration, error: String) -> Result<(), StateError> {
        let mut commit = Commit::at(self.now);
        let due_at = self.now.plus(after);
        let change = WorkChange::Retry { id: self.row.id, lease: self.row.lease, due_at, error, progress: None };
        commit.change(self.tenant(), change);
        self.commit(commit).await
    }
    async fn give_up(&self, error: String) -> Result<(), StateError> {
        let mut commit = Commit::at(self.now);
        commit.change(self.tenant(), WorkChange::Dead { id: self.row.id, lease: self.row.lease, error });
        self.commit(commit).await
    }
}

#[async_trait]
impl Worker for IncidentWorker {
    fn queue(&self) -> Queue {
        Queue::Incident
    }

    fn lease(&self) -> Duration {
        Duration::from_secs(120)
    }

    /// One: gathering evidence may take most of the lease.
    fn batch(&self) -> usize {
        1
    }

    async fn work(&self, work: Work, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<(), StateError> {
        let task = Task { row: &work, state, fence, now };
        let job: Job = match work.body.read() {
            Ok(job) => job,
            Err(error) => return task.give_up(format!("the row's body is no job of incidents: {error}")).await,
        };
        let Some(found) = task.incident(job.incident()).await? else {
            return task.give_up(format!("{} does not exist", job.incident())).await;
        };
        match job {
            Job::Resolve { quiet_since, .. } => self.resolve(&task, found, quiet_since).await,
            Job::Clock { clock, .. } => self.clock(&task, &found.entity, clock).await,
            Job::Archive { .. } => self.archive(&task, &found.entity).await,
            Job::Postmortem { .. } => self.postmortem(&task, &found.entity).await,
            Job::Review { .. } => self.review(&task, &found.entity).await,
        }
    }
}

impl IncidentWorker {
    /// The hold is over: resolves, unless something happened since (that something then has its own row).
    async fn resolve(&self, task: &Task<'_>, mut found: Versioned<Incident>, quiet_since: u64) -> Result<(), StateError> {
        let since = JournalQuery { after: quiet_since, incident: Some(found.entity.id), ..JournalQuery::default() };
        let joined = |kind: &EventKind| matches!(kind, EventKind::IncidentAlertAttached { .. } | EventKind::RepairStarted { .. });
        if task.state.events(&since).await?.iter().any(|one| joined(&one.event.kind)) {
            return task.finish(Commit::at(task.now)).await;
        }
        for attempt in 1..=TRIES {
            let actor = Actor::system("incidents");
            let decision = match decide(&found.entity, &alerts_cleared(), task.now, &actor) {
                Ok(decision) if is_quiet(&found.entity) => decision,
                Ok(_) | Err(_) => return task.finish(Commit::at(task.now)).await,
            };
            let expect = Expect::Version(found.version);
            let change = Change { incident: &decision.incident, expect, actor: &actor, alert: None, now: task.now };
            let mut commit = Commit::at(task.now);
            self.writer.write(&mut commit, &change, decision.events)?;
            match task.finish(commit).await {
                Err(error) if error.is_conflict() && attempt < TRIES => match task.incident(found.entity.id).await? {
                    Some(fresh) => found = fresh,
                    None => return Ok(()),
                },
                outcome => return outcome,
            }
        }
        Ok(())
    }

    async fn clock(&self, task: &Task<'_>, incident: &Incident, clock: Clock) -> Result<(), StateError> {
        if let (Some(at), Some(seconds)) = (clock.stopped(incident), clock.seconds(incident)) {
            let number = incident.number.to_string();
            let service = incident.service().map(|service| ("service", service));
            let labels: Labels = [(METRIC_NAME, clock.metric()), ("incident", &number), ("severity", incident.severity.as_str())]
                .into_iter()
                .chain(service)
                .collect();
            let sample = SeriesSample { at: Timestamp::from_millis(at.millis()), value: seconds };
            if let Err(refusal) = self.series.write(task.tenant(), vec![(labels, sample)]).await {
                let text = format!("{} of incident {number} was not stored: {refusal}", clock.metric());
                if task.now.since(task.row.created_at) >= CLOCK_PATIENCE {
                    return task.give_up(text).await;
                }
                let pause = self.pause(task.row.attempts, Duration::from_secs(60)).max(refusal.retry_after());
                return task.again(pause, text).await;
            }
        }
        task.finish(Commit::at(task.now)).await?;
        if clock == Clock::Resolve {
            self.meters.resolved(incident);
        }
        Ok(())
    }

    /// Archives the channel when nothing waits to be posted there any more.
    async fn archive(&self, task: &Task<'_>, incident: &Incident) -> Result<(), StateError> {
        let query = WorkQuery {
            tenant: Some(task.tenant().clone()),
            queue: Some(Queue::Delivery),
            state: Some(WorkState::Pending),
            incident: Some(incident.id),
            limit: 10_000,
            ..WorkQuery::default()
        };
        let waits = task.state.list(&query).await?.iter().any(|row| is_chat(&row.body));
        if waits && task.row.attempts < ARCHIVE_LOOKS {
            return task.again(ARCHIVE_PAUSE, "posts wait to be sent before the channel is archived".to_owned()).await;
        }
        let mut commit = Commit::at(task.now);
        if incident.chat.as_ref().is_some_and(|chat| !chat.archived) {
            let message = Message::ChatArchive { incident: incident.id };
            self.writer.deliver(&mut commit, incident, message, task.now).map_err(|source| body_error(incident, source))?;
        }
        task.finish(commit).await
    }

    async fn postmortem(&self, task: &Task<'_>, incident: &Incident) -> Result<(), StateError> {
        let events = timeline::collect(task.state, incident).await?;
        let mut alerts = Vec::new();
        for id in &incident.alerts {
            alerts.extend(load::<Alert>(task.state, task.tenant(), &id.to_string()).await?.map(|found| found.entity));
        }
        let wanted = self.evidence_query(incident, &alerts, task.now);
        let found = match self.evidence.evidence(&wanted).await {
            Ok(evidence) => Found::Evidence(Box::new(evidence)),
            Err(error) if task.row.attempts < self.writer.config.evidence_attempts => {
                let pause = self.pause(task.row.attempts, Duration::from_secs(120));
                return task.again(pause, format!("no evidence yet: {error}")).await;
            }
            Err(error) => Found::Missing { attempts: task.row.attempts, reason: error.to_string() },
        };
        let complete = matches!(found, Found::Evidence(_));
        let changes = self.changes(task, &wanted, &found).await?;
        let facts = Facts { incident, events: &events, alerts: &alerts, found: &found, changes: &changes, now: task.now };
        let commit = self.drafted(task, incident, &facts).await?;
        task.finish(commit).await?;
        self.meters.postmortems.with_label_values(&[if complete { "complete" } else { "partial" }]).inc();
        Ok(())
    }

    /// What went out in the services of the incident and in those that took part in their failures. The spans are asked once: what
    /// the records say is worth a draft without them.
    async fn changes(&self, task: &Task<'_>, wanted: &EvidenceQuery, found: &Found) -> Result<Changes, StateError> {
        let EvidenceQuery { tenant, start, end, mut services, .. } = wanted.clone();
        if let Found::Evidence(evidence) = found
            && !services.is_empty()
        {
            services.extend(evidence.touched.iter().cloned());
            services.sort();
            services.dedup();
        }
        let before = self.writer.config.changes_before;
        let query = VersionQuery {
            tenant: tenant.clone(),
            from: start.minus(before.0.min(VERSIONS_BEFORE)),
            to: end,
            services: services.clone(),
            limit: MOST_CHANGES,
        };
        let (versions, missing) = match self.evidence.versions(&query).await {
            Ok(versions) => (versions, None),
            Err(error) => (Vec::new(), Some(error.to_string())),
        };
        let window = Window { tenant, services, environment: None, from: start.minus(before.0), to: end, limit: MOST_CHANGES };
        Ok(Changes { before, deployments: deployments::within(task.state, &window).await?, versions, missing })
    }

    async fn drafted(&self, task: &Task<'_>, incident: &Incident, facts: &Facts<'_>) -> Result<Commit, StateError> {
        let config = &self.writer.config;
        let review_at = task.now.plus(config.review_after.0);
        let markdown = render::markdown(&draft(facts, review_at), config.templates_dir.as_deref());
        let mut postmortem = Postmortem {
            id: PostmortemId::derived(incident.clocks.detected, &incident.id.to_string()),
            tenant: incident.tenant.clone(),
            incident: incident.id,
            number: incident.number,
            title: incident.title.clone(),
            markdown,
            created_at: task.now,
            status: PostmortemStatus::Draft,
            path: None,
            review_at,
            review_length: config.review_length,
        };
        let calendar = invitation::calendar(&postmortem, config);
        match files::write(&self.data_dir, &postmortem, &calendar).await {
            Ok(path) => postmortem.path = Some(path.display().to_string()),
            Err(error) => tracing::warn!(incident = incident.number, %error, "the postmortem is kept, but its file could not be written"),
        }
        let actor = Actor::system("incidents");
        let change = Change { incident, expect: Expect::Any, actor: &actor, alert: None, now: task.now };
        let mut commit = Commit::at(task.now);
        commit.put(&postmortem, Expect::Any)?;
        commit.event(self.writer.event(&change, EventKind::PostmortemDrafted { postmortem: postmortem.id, path: postmortem.path.clone() }));
        commit.event(self.writer.event(&change, EventKind::ReviewScheduled { starts_at: review_at }));
        let row = Job::Review { incident: incident.id }.at(review_at).map_err(|source| body_error(incident, source))?;
        commit.schedule(task.tenant(), row);
        self.send_documents(&mut commit, incident, &postmortem, "Invitation", task.now)?;
        Ok(commit)
    }

    /// The meeting begins: reminds of it, unless the aftermath is done already.
    async fn review(&self, task: &Task<'_>, incident: &Incident) -> Result<(), StateError> {
        let found = load_postmortem(task.state, task.tenant(), incident).await?;
        let Some(postmortem) = found.filter(|_| incident.status != IncidentStatus::Closed) else {
            return task.finish(Commit::at(task.now)).await;
        };
        let actor = Actor::system("incidents");
        let change = Change { incident, expect: Expect::Any, actor: &actor, alert: None, now: task.now };
        let mut commit = Commit::at(task.now);
        commit.event(self.writer.event(&change, EventKind::ReviewDue));
        self.send_documents(&mut commit, incident, &postmortem, "Reminder", task.now)?;
        task.finish(commit).await
    }

    fn send_documents(
        &self,
        commit: &mut Commit,
        incident: &Incident,
        postmortem: &Postmortem,
        word: &str,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let config = &self.writer.config;
        let name = |ending: &str| format!("incident-{}{ending}", incident.number);
        for receiver in &config.review_receivers {
            let message = Message::Document {
                title: format!("{word}: review of incident {}: {}", incident.number, incident.title),
                text: invitation::letter(postmortem, self.writer.url(incident).as_deref()),
                attachments: vec![
                    Attachment {
                        name: name(".ics"),
                        media_type: "text/calendar; method=REQUEST; charset=utf-8".to_owned(),
                        content: invitation::calendar(postmortem, config),
                    },
                    Attachment {
                        name: name(".md"),
                        media_type: "text/markdown; charset=utf-8".to_owned(),
                        content: postmortem.markdown.clone(),
                    },
                ],
            };
            self.writer.deliver_to(commit, incident, receiver, message, now).map_err(|source| body_error(incident, source))?;
        }
        Ok(())
    }

    fn evidence_query(&self, incident: &Incident, alerts: &[Alert], now: Timestamp) -> EvidenceQuery {
        let services = deployments::services(alerts.iter().map(|alert| &alert.labels).chain(std::iter::once(&incident.group)));
        EvidenceQuery {
            tenant: incident.tenant.clone(),
            start: incident.clocks.started,
            end: incident.clocks.resolved.unwrap_or(now),
            services,
            limit: self.writer.config.evidence_items,
        }
    }

    fn pause(&self, attempt: u32, cap: Duration) -> Duration {
        let random = (self.writer.ids.random() >> 75) as f64 / (1u64 << 53) as f64;
        backoff(attempt, Duration::from_secs(2), cap, random)
    }
}

/// Whether a delivery goes into a chat channel and must come before its end.
fn is_chat(body: &Json) -> bool {
    body.read::<Delivery>().is_ok_and(|delivery| matches!(delivery.message, Message::ChatOpen { .. } | Message::ChatPost { .. }))
}

/// The incident's postmortem, if it is drafted.
pub async fn load_postmortem(
    state: &(impl model::state::Records + ?Sized),
    tenant: &TenantId,
    incident: &Incident,
) -> Result<Option<Postmortem>, StateError> {
    let found = model::state::by_key::<Postmortem>(state, tenant, &incident.id.to_string()).await?;
    Ok(found.map(|found| found.entity))
}
