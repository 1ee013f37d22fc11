//! Starting, climbing, stopping, closing: each adds to a commit what it means. Reads state, writes nothing itself.

mod settle;
mod steps;
mod taken;

use model::alert::Alert;
use model::event::{EventKind, Subject};
use model::ids::{AlertId, LadderRunId};
use model::incident::{Incident, IncidentStatus};
use model::json::Json;
use model::labels::Labels;
use model::message::{LadderStep, PageAction};
use model::severity::Severity;
use model::state::{Commit, Expect, StateError, StateStore, Versioned, by_beginning, by_key, load};
use model::time::{Span, Timestamp};
use model::work::{Lane, NewWork, Queue, WorkChange};
use serde::{Deserialize, Serialize};

use super::notice::{Scene, Telling, tell};
use super::{LadderRun, LadderStatus, LadderSubject, StopReason, run_key};
use crate::evaluate::everything;
use crate::routing::{Hours, RoutedLadder};
use crate::rules::Ladder;
use crate::shared::Shared;
pub(crate) use settle::settle_rows;
pub(super) use taken::taken_by;

/// How many alerts a notice shows.
const SHOWN: usize = 20;
/// The statuses of runs that are not closed.
const UNCLOSED: [&str; 3] = ["running", "stopped", "exhausted"];
/// The name of the one-step ladder to the default receivers.
pub(super) const DEFAULT: &str = "default";

/// The body of a work row of queue `ladder`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "job", rename_all = "snake_case")]
pub(super) enum Job {
    /// Take a step.
    Step { run: LadderRunId, generation: u32, round: u32, step: u32 },
    /// No incident has appeared: start the ladder without one.
    Start { alert: AlertId },
    /// The tree has changed: begin what the alert wants by it and has never had.
    Settle { alert: AlertId },
    /// A step may be held back longer than the hours say now.
    Hours { run: LadderRunId },
    /// Somebody put an alert off, and the time is over: if that acknowledgement still holds, it ends.
    Wake { alert: AlertId, acknowledged_at: Timestamp },
}

/// The row that ends an acknowledgement at a moment.
pub(crate) fn wake_row(alert: AlertId, acknowledged_at: Timestamp, until: Timestamp) -> Result<NewWork, StateError> {
    let key = format!("wake/{alert}/{}/{}", acknowledged_at.micros(), until.micros());
    row(key, Subject::alert(alert, None), until, &Job::Wake { alert, acknowledged_at })
}

fn row(key: String, subject: Subject, due_at: Timestamp, job: &Job) -> Result<NewWork, StateError> {
    let body = Json::of(job).map_err(|source| StateError::Body { kind: "ladder job".to_owned(), id: key.clone(), source })?;
    Ok(NewWork { queue: Queue::Ladder, key, lane: Lane::Page, subject, due_at, body })
}

/// A decision in the making.
pub(super) struct Climb<'a> {
    pub shared: &'a Shared,
    pub state: &'a dyn StateStore,
    pub now: Timestamp,
    pub commit: Commit,
    /// It is about an alert that has just begun: nothing climbs for it yet.
    pub is_new: bool,
    /// A person wants it, whatever the hour: what they said.
    pub asked: Option<String>,
    /// The key of the row that is being carried out, which is done with this commit: it is not cancelled too.
    pub held: Option<String>,
}

/// A ladder that an alert wants, whether it is the default receivers' one, and when it may climb.
pub(super) struct Wanted {
    pub ladder: Ladder,
    pub route: bool,
    pub hours: Hours,
}

impl<'a> Climb<'a> {
    pub(super) fn new(shared: &'a Shared, state: &'a dyn StateStore, now: Timestamp) -> Self {
        Climb { shared, state, now, commit: Commit::at(now), is_new: false, asked: None, held: None }
    }

    /// Which ladders: the one the rule names; without one, those of the routing tree, or where there is no tree, the default receivers. A
    /// ladder that no longer exists is told, and the receivers that hear of the rest hear of this.
    pub(super) fn wanted(&self, alert: &Alert, escalation: Option<&str>) -> Vec<Wanted> {
        let named = match escalation {
            Some(name) => vec![RoutedLadder { name: name.to_owned(), hours: Hours::default() }],
            None => self.shared.routing().ladders(alert),
        };
        let mut wanted = Vec::new();
        let mut missing = false;
        for RoutedLadder { name, hours } in named {
            match self.shared.ladder(&name) {
                Some(ladder) => wanted.push(Wanted { ladder, route: false, hours }),
                None => {
                    tracing::error!(ladder = name, "an alert wants a ladder that does not exist; the default receivers are told");
                    missing = true;
                }
            }
        }
        let routing = self.shared.routing();
        let notify = match &routing.root {
            None if escalation.is_none() || missing => self.shared.config.default_receivers.clone(),
            Some(root) if missing => root.receivers.clone(),
            None | Some(_) => Vec::new(),
        };
        if !notify.is_empty() {
            let step = LadderStep { after: Span::secs(0), notify };
            let ladder = Ladder { name: DEFAULT.to_owned(), steps: vec![step], repeat: 0 };
            wanted.push(Wanted { ladder, route: true, hours: Hours::default() });
        }
        wanted
    }

    /// Whether an alert with these labels may want a ladder: without a look at the alert.
    pub(super) fn wants(&self, labels: &Labels, escalation: Option<&str>) -> bool {
        let routing = self.shared.routing();
        match &routing.root {
            Some(root) if escalation.is_none() => root.take(labels).iter().any(|route| route.escalation.is_some()),
            Some(_) | None => true,
        }
    }

    pub(super) async fn alert(&self, id: AlertId) -> Result<Option<Alert>, StateError> {
        Ok(load::<Alert>(self.state, &self.shared.tenant, &id.to_string()).await?.map(|found| found.entity))
    }

    /// Runs about this that are not closed.
    pub(super) async fn runs_about(&self, subject: LadderSubject) -> Result<Vec<Versioned<LadderRun>>, StateError> {
        by_beginning(self.state, &self.shared.tenant, run_key(&subject, ""), &UNCLOSED).await
    }

    /// All runs that are not closed.
    pub(super) async fn runs(&self) -> Result<Vec<Versioned<LadderRun>>, StateError> {
        everything::<LadderRun>(self.state, &self.shared.tenant, &UNCLOSED).await
    }

    /// What a run is about, as it stands now; `None` where its record is gone.
    pub(super) async fn scene(&self, subject: &LadderSubject) -> Result<Option<Scene>, StateError> {
        let tenant = &self.shared.tenant;
        match subject {
            LadderSubject::Alert { id } => Ok(self.alert(*id).await?.map(|alert| Scene {
                open: alert.is_firing(),
                acknowledged: alert.acknowledged.is_some(),
                muted: alert.muted,
                severity: alert.severity,
                title: alert.summary(),
                number: None,
                group: Labels::empty(),
                alerts: vec![alert],
                beyond: Vec::new(),
                total: 1,
            })),
            LadderSubject::Incident { id } => {
                let Some(found) = load::<Incident>(self.state, tenant, &id.to_string()).await? else { return Ok(None) };
                let incident = found.entity;
                let rest = incident.alerts.iter().filter(|id| !incident.firing.contains(id));
                let mut alerts = Vec::new();
                for id in incident.firing.iter().chain(rest).take(SHOWN) {
                    alerts.extend(self.alert(*id).await?);
                }
                let beyond = incident.firing.get(SHOWN..).unwrap_or_default().to_vec();
                let unmuted = |alert: &Alert| alert.is_firing() && !alert.muted;
                if !alerts.iter().any(unmuted)
                    && let Some(found) = self.newest(&beyond, unmuted).await?
                {
                    alerts.insert(0, found);
                }
                let firing = || alerts.iter().filter(|alert| alert.is_firing());
                Ok(Some(Scene {
                    open: incident.status.is_open(),
                    acknowledged: incident.status == IncidentStatus::Acknowledged,
                    muted: firing().count() > 0 && firing().all(|alert| alert.muted),
                    severity: incident.severity,
                    title: incident.title,
                    number: Some(incident.number),
                    group: incident.group,
                    total: incident.alerts.len(),
                    alerts,
                    beyond,
                }))
            }
        }
    }

    /// The newest of these that is so.
    pub(super) async fn newest(&self, ids: &[AlertId], is_so: impl Fn(&Alert) -> bool) -> Result<Option<Alert>, StateError> {
        for id in ids.iter().rev() {
            if let Some(found) = self.alert(*id).await?.filter(&is_so) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The wait for an incident is over: starts what the alert wants, unless its incident came and started it. Whatever else happened
    /// meanwhile (an end, a silence, somebody took it) is seen in the alert.
    pub(super) async fn start_now(&mut self, id: AlertId) -> Result<(), StateError> {
        let Some(alert) = self.alert(id).await? else { return Ok(()) };
        if let Some(incident) = alert.incident
            && let Some(found) = load::<Incident>(self.state, &self.shared.tenant, &incident.to_string()).await?
            && found.entity.status.is_open()
        {
            return Ok(());
        }
        self.start(&alert, alert.severity, alert.escalation.as_deref(), false).await
    }

    /// Somebody gave an alert back: what climbed for it climbs again. Where a ladder that it wants now has never begun, because it came or
    /// got worse while somebody had it, that one begins.
    pub(super) async fn given_back(&mut self, id: AlertId) -> Result<(), StateError> {
        let runs = self.runs_about(LadderSubject::Alert { id }).await?;
        if let Some(alert) = self.alert(id).await?.filter(Alert::is_firing) {
            if self.is_taken_with_its_incident(&alert).await? {
                return Ok(());
            }
            let wanted = self.wanted(&alert, alert.escalation.as_deref());
            let begun = |wanted: &Wanted| runs.iter().any(|run| run.entity.ladder.name == wanted.ladder.name);
            let worse = runs.iter().all(|run| run.entity.severity < alert.severity);
            if worse && !wanted.iter().any(begun) {
                return self.start(&alert, alert.severity, alert.escalation.as_deref(), true).await;
            }
        }
        for run in runs {
            if run.entity.status == (LadderStatus::Stopped { reason: StopReason::Acknowledged }) {
                self.again(run, true).await?;
            }
        }
        match self.alert(id).await? {
            Some(alert) => self.catch_up(&alert, self.now).await,
            None => Ok(()),
        }
    }

    /// Starts what an alert wants: for its incident if one is open, else for itself; where an incident is expected, after a
    /// short wait.
    pub(super) async fn start(
        &mut self,
        alert: &Alert,
        severity: Severity,
        escalation: Option<&str>,
        wait: bool,
    ) -> Result<(), StateError> {
        if !alert.is_firing() || alert.muted || alert.acknowledged.is_some() {
            return Ok(());
        }
        let wanted = self.wanted(alert, escalation);
        if wanted.is_empty() {
            return Ok(());
        }
        if !severity.opens_incident() {
            let taken = self.is_taken_with_its_incident(alert).await?;
            return if taken { Ok(()) } else { self.start_for_alert(alert, severity, wanted).await };
        }
        match self.incident_of(alert.id).await? {
            Some(incident) => self.start_for_incident(&incident, alert, severity, wanted).await,
            None if wait => self.schedule_start(alert),
            None => self.start_for_alert(alert, severity, wanted).await,
        }
    }

    /// A row of its own for every beginning: keys stay taken when their row is done or cancelled, and an alert may begin again (given back,
    /// unmuted, worse) before its incident has come.
    fn schedule_start(&mut self, alert: &Alert) -> Result<(), StateError> {
        let key = format!("start/{}/{}/{}", alert.id, alert.severity, self.now.micros());
        let due_at = self.now.plus(self.shared.config.incident_wait.0);
        self.schedule(key, Subject::alert(alert.id, alert.incident), due_at, &Job::Start { alert: alert.id })
    }

    fn cancel(&mut self, key: String) {
        if self.held.as_ref() != Some(&key) {
            self.commit.change(&self.shared.tenant, WorkChange::Cancel { queue: Queue::Ladder, key });
        }
    }

    fn schedule(&mut self, key: String, subject: Subject, due_at: Timestamp, job: &Job) -> Result<(), StateError> {
        self.commit.schedule(&self.shared.tenant, row(key, subject, due_at, job)?);
        Ok(())
    }

    async fn start_for_alert(&mut self, alert: &Alert, severity: Severity, wanted: Vec<Wanted>) -> Result<(), StateError> {
        let subject = LadderSubject::Alert { id: alert.id };
        let runs = if self.is_new { Vec::new() } else { self.runs_about(subject).await? };
        for run in runs {
            self.wants_it_too(&run.entity, &wanted)?;
            if run.entity.severity < severity && !wanted.iter().any(|wanted| wanted.ladder.name == run.entity.ladder.name) {
                self.stop(run, StopReason::Superseded)?;
            }
        }
        for wanted in wanted {
            self.begin(subject, severity, wanted, alert.fingerprint_hex(), LadderStatus::Running).await?;
        }
        Ok(())
    }

    /// Once per incident and ladder, and only for an alert that is at least as severe as what climbs already. A run that was started
    /// for the alert before its incident appeared becomes the incident's.
    pub(super) async fn start_for_incident(
        &mut self,
        incident: &Incident,
        alert: &Alert,
        severity: Severity,
        wanted: Vec<Wanted>,
    ) -> Result<(), StateError> {
        let subject = LadderSubject::Incident { id: incident.id };
        let (mut adopted, mut highest) = (Vec::new(), None);
        for run in self.runs_about(subject).await? {
            self.wants_it_too(&run.entity, &wanted)?;
            highest = highest.max(Some(run.entity.severity));
        }
        for run in self.runs_about(LadderSubject::Alert { id: alert.id }).await? {
            let name = run.entity.ladder.name.clone();
            if !wanted.iter().any(|wanted| wanted.ladder.name == name) {
                self.stop(run, StopReason::Superseded)?;
            } else if self.adopt(run, subject, taken_by(incident)).await? {
                adopted.push(name);
            }
        }
        if highest.is_some_and(|highest| highest > severity) {
            return Ok(());
        }
        let status = if incident.status == IncidentStatus::Acknowledged {
            LadderStatus::Stopped { reason: StopReason::Acknowledged }
        } else {
            LadderStatus::Running
        };
        for wanted in wanted.into_iter().filter(|wanted| !adopted.contains(&wanted.ladder.name)) {
            self.begin(subject, severity, wanted, incident.id.to_string(), status).await?;
        }
        Ok(())
    }

    /// `taken`: who has the incident; then the run waits until that is given back.
    async fn adopt(&mut self, run: Versioned<LadderRun>, subject: LadderSubject, taken: Option<String>) -> Result<bool, StateError> {
        let Versioned { entity: mut run, version } = run;
        if by_key::<LadderRun>(self.state, &self.shared.tenant, &run_key(&subject, &run.ladder.name)).await?.is_some() {
            self.stop(Versioned { entity: run, version }, StopReason::Superseded)?;
            return Ok(false);
        }
        run.subject = subject;
        if run.status == (LadderStatus::Stopped { reason: StopReason::Superseded }) && taken.is_none() {
            // It gave way to another one, and is wanted again.
            return self.again(Versioned { entity: run, version }, true).await.map(|()| true);
        }
        let waits = run.status == (LadderStatus::Stopped { reason: StopReason::Acknowledged });
        match taken.filter(|_| !waits) {
            Some(by) => self.acknowledge(Versioned { entity: run, version }, &by).await?,
            None => self.commit.put(&run, Expect::Version(version))?,
        }
        Ok(true)
    }

    async fn begin(
        &mut self,
        subject: LadderSubject,
        severity: Severity,
        wanted: Wanted,
        dedup_key: String,
        status: LadderStatus,
    ) -> Result<(), StateError> {
        let key = run_key(&subject, &wanted.ladder.name);
        if let Some(run) = by_key::<LadderRun>(self.state, &self.shared.tenant, &key).await? {
            let superseded = run.entity.status == (LadderStatus::Stopped { reason: StopReason::Superseded });
            // It gave way to another one, and is wanted again.
            return if superseded && status == LadderStatus::Running { self.again(run, true).await } else { Ok(()) };
        }
        let Some(scene) = self.scene(&subject).await? else { return Ok(()) };
        let mut run = LadderRun {
            id: LadderRunId::derived(self.now, &key),
            tenant: self.shared.tenant.clone(),
            subject,
            ladder: wanted.ladder,
            route: wanted.route,
            hours: wanted.hours,
            severity,
            title: scene.title.clone(),
            dedup_key,
            status,
            generation: 0,
            round: 0,
            step: 0,
            started_at: self.now,
            round_started: self.now,
            next_at: None,
            held_until: None,
            notified: Vec::new(),
        };
        if status == LadderStatus::Running {
            let kind = EventKind::LadderStarted { run: run.id, ladder: run.ladder.name.clone() };
            self.tell_journal(&run, kind);
            run.begin(self.now);
            self.climb(&mut run, &scene).await?;
        }
        self.commit.put(&run, Expect::New)
    }

    fn tell_journal(&mut self, run: &LadderRun, kind: EventKind) {
        self.commit.event(self.shared.event(self.now, run.subject.subject(), kind));
    }

    /// Lets a run stand still. One that stands still already only changes its reason.
    pub(super) fn stop(&mut self, run: Versioned<LadderRun>, reason: StopReason) -> Result<(), StateError> {
        let Versioned { entity: mut run, version } = run;
        self.halt(&mut run, LadderStatus::Stopped { reason }, reason.as_str());
        self.commit.put(&run, Expect::Version(version))
    }

    fn halt(&mut self, run: &mut LadderRun, status: LadderStatus, reason: &str) {
        if run.status == LadderStatus::Running {
            self.cancel(run.work_key());
            let kind = EventKind::LadderStopped { run: run.id, ladder: run.ladder.name.clone(), reason: reason.to_owned() };
            self.tell_journal(run, kind);
        }
        run.stop(status);
    }

    /// Somebody has it: the run stands still, and whoever was triggered is told.
    pub(super) async fn acknowledge(&mut self, run: Versioned<LadderRun>, by: &str) -> Result<(), StateError> {
        let Versioned { entity: mut run, version } = run;
        let acknowledged = LadderStatus::Stopped { reason: StopReason::Acknowledged };
        if run.status == acknowledged {
            return Ok(());
        }
        self.halt(&mut run, acknowledged, StopReason::Acknowledged.as_str());
        self.tell_notified(&run, PageAction::Acknowledge, format!("acknowledged by {by}")).await?;
        self.commit.put(&run, Expect::Version(version))
    }

    /// It is over: whoever was triggered is told.
    pub(super) async fn close(&mut self, run: Versioned<LadderRun>, reason: &str) -> Result<(), StateError> {
        let Versioned { entity: mut run, version } = run;
        self.halt(&mut run, LadderStatus::Closed, "resolved");
        self.tell_notified(&run, PageAction::Resolve, reason.to_owned()).await?;
        self.commit.put(&run, Expect::Version(version))
    }

    async fn tell_notified(&mut self, run: &LadderRun, action: PageAction, reason: String) -> Result<(), StateError> {
        let Some(scene) = self.scene(&run.subject).await?.filter(|_| !run.notified.is_empty()) else { return Ok(()) };
        let word = model::event::page_action_word(action);
        let telling = Telling { action, receivers: &run.notified, reason, key: format!("{}/{}/{word}", run.id, run.generation) };
        tell(self.shared, &mut self.commit, run, &scene, telling, self.now)
    }

    /// Something fires in an incident that nothing mutes: what stands still there because all was muted goes on; what climbs is written as it
    /// is, because its next step may be taking all for muted.
    pub(super) async fn goes_on(&mut self, run: Versioned<LadderRun>) -> Result<(), StateError> {
        match run.entity.status {
            LadderStatus::Stopped { reason: StopReason::Muted } => self.again(run, false).await,
            LadderStatus::Running => {
                if run.entity.held_until.is_some() {
                    let row = self.hours_row(&run.entity)?;
                    self.commit.schedule(&self.shared.tenant, row);
                }
                self.commit.put(&run.entity, Expect::Version(run.version))
            }
            LadderStatus::Stopped { .. } | LadderStatus::Exhausted | LadderStatus::Closed => Ok(()),
        }
    }

    /// Climbs again: from the first step after somebody gave it back, where it stood after a silence.
    pub(super) async fn again(&mut self, run: Versioned<LadderRun>, from_start: bool) -> Result<(), StateError> {
        let Versioned { entity: mut run, version } = run;
        let Some(scene) = self.scene(&run.subject).await?.filter(|scene| scene.open && !scene.acknowledged) else { return Ok(()) };
        if self.joins_what_is_taken(&run.subject, &scene).await?.is_some() {
            return Ok(());
        }
        if scene.muted {
            // Given back under a silence: from now on that is what it waits for, and its end lets it climb.
            if from_start {
                (run.round, run.step) = (0, 0);
                run.stop(LadderStatus::Stopped { reason: StopReason::Muted });
                self.commit.put(&run, Expect::Version(version))?;
            }
            return Ok(());
        }
        run.resume(self.now);
        if from_start {
            run.begin(self.now);
        }
        self.tell_journal(&run, EventKind::LadderStarted { run: run.id, ladder: run.ladder.name.clone() });
        self.climb(&mut run, &scene).await?;
        self.commit.put(&run, Expect::Version(version))
    }
}

/// Whether a run is about this alert.
pub(super) fn about_alert(run: &LadderRun, alert: AlertId) -> bool {
    run.subject == LadderSubject::Alert { id: alert }
}
