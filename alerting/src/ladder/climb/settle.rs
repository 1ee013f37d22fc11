//! After the routing tree has changed: ladders that it wants begin, and what climbs keeps to the hours that it has. In: an alert. Out: work
//! rows, one commit each.

use model::alert::Alert;
use model::event::Subject;
use model::ids::{AlertId, LadderRunId};
use model::state::{Expect, StateError, StateStore, Versioned, by_key, load};
use model::time::Timestamp;
use model::work::NewWork;

use super::super::notice::Scene;
use super::super::{LadderRun, LadderStatus, LadderSubject, StopReason, run_key};
use super::{Climb, Job, Wanted, row};
use crate::routing::group::fresh;
use crate::routing::{Hours, RoutedLadder};
use crate::shared::Shared;

/// The rows that let the ladders of an alert be as the tree wants them, which has changed: one that it never had begins, one that climbs does
/// so in the hours of its route. None where all are.
pub(crate) async fn settle_rows(
    shared: &Shared,
    state: &dyn StateStore,
    alert: &Alert,
    now: Timestamp,
) -> Result<Vec<NewWork>, StateError> {
    if !alert.is_firing() || alert.muted || alert.acknowledged.is_some() || alert.escalation.is_some() {
        return Ok(Vec::new()); // nobody is paged for it, or the tree has no say
    }
    let climb = Climb::new(shared, state, now);
    let (mut begins, mut rows) = (false, Vec::new());
    for wanted in climb.wanted(alert, None) {
        let mut had = false;
        for subject in subjects(alert) {
            if let Some(run) = by_key::<LadderRun>(state, &shared.tenant, &run_key(&subject, &wanted.ladder.name)).await? {
                had |= run.entity.status != (LadderStatus::Stopped { reason: StopReason::Superseded });
                if climb.waits_too_long(&run.entity, &wanted.hours) {
                    rows.push(climb.hours_row(&run.entity)?);
                }
            }
        }
        begins |= !had;
    }
    if begins {
        let key = format!("settle/{}/{}", alert.id, fresh(now, &*shared.ids));
        rows.push(row(key, Subject::alert(alert.id, alert.incident), now, &Job::Settle { alert: alert.id })?);
    }
    Ok(rows)
}

/// What the ladders of an alert may be about.
fn subjects(alert: &Alert) -> Vec<LadderSubject> {
    let incident = alert.incident.map(|id| LadderSubject::Incident { id });
    incident.into_iter().chain([LadderSubject::Alert { id: alert.id }]).collect()
}

impl Climb<'_> {
    /// What climbed for an alert climbs again; should the tree have changed while it did not, what that wants begins too, in a commit of its
    /// own, at `due`.
    pub(in super::super) async fn catch_up(&mut self, alert: &Alert, due: Timestamp) -> Result<(), StateError> {
        for row in settle_rows(self.shared, self.state, alert, self.now).await? {
            self.commit.schedule(&self.shared.tenant, NewWork { due_at: due, ..row });
        }
        Ok(())
    }

    /// The tree has changed: begins what an alert wants now.
    pub(in super::super) async fn settle(&mut self, id: AlertId) -> Result<(), StateError> {
        match self.alert(id).await? {
            Some(alert) => {
                // Its incident may be on its way: one ladder for all that fires there.
                let wait = self.shared.config.incident_wait.0;
                let awaited = alert.state.fired_at().is_some_and(|fired| self.now < fired.plus(wait));
                self.start(&alert, alert.severity, alert.escalation.as_deref(), awaited).await
            }
            None => Ok(()),
        }
    }

    /// The row that looks at the hours of a run.
    pub(super) fn hours_row(&self, run: &LadderRun) -> Result<NewWork, StateError> {
        let key = format!("hours/{}/{}", run.id, fresh(self.now, &*self.shared.ids));
        row(key, run.subject.subject(), self.now, &Job::Hours { run: run.id })
    }

    /// The tree has changed, or something else wants the same ladder: a step that is held back waits no longer than the hours say now.
    pub(in super::super) async fn keep_hours(&mut self, id: LadderRunId) -> Result<(), StateError> {
        let Some(found) = load::<LadderRun>(self.state, &self.shared.tenant, &id.to_string()).await? else { return Ok(()) };
        let Versioned { entity: mut run, version } = found;
        let climbs = |scene: &Scene| scene.open && !scene.acknowledged && !scene.muted;
        let Some(scene) = self.scene(&run.subject).await?.filter(climbs) else { return Ok(()) };
        if self.waits_too_long(&run, &self.hours(&run, &scene).await?) {
            self.cancel(run.work_key());
            run.release(self.now);
            self.climb(&mut run, &scene).await?;
            self.commit.put(&run, Expect::Version(version))?;
        }
        Ok(())
    }

    /// Something else wants a ladder that may be held back: it is looked at in a commit of its own, this one may write it already.
    pub(super) fn wants_it_too(&mut self, run: &LadderRun, wanted: &[Wanted]) -> Result<(), StateError> {
        let sooner = |wanted: &Wanted| wanted.ladder.name == run.ladder.name && self.waits_too_long(run, &wanted.hours);
        if wanted.iter().any(sooner) {
            let row = self.hours_row(run)?;
            self.commit.schedule(&self.shared.tenant, row);
        }
        Ok(())
    }

    /// Whether the next step is held back longer than these hours would.
    fn waits_too_long(&self, run: &LadderRun, hours: &Hours) -> bool {
        run.status == LadderStatus::Running && run.held_until.is_some_and(|until| self.opens(hours) < until)
    }

    fn opens(&self, hours: &Hours) -> Timestamp {
        self.shared.routing().calendar.closed(hours, self.now).map_or(self.now, |closed| closed.until)
    }

    /// The hours in which a ladder climbs: those that the tree has for it now, of several alerts' the ones that are open first. Where nothing
    /// wants it any more, those in which it began.
    pub(super) async fn hours(&self, run: &LadderRun, scene: &Scene) -> Result<Hours, StateError> {
        let first = scene.alerts.iter().filter_map(|alert| self.hours_of(run, alert)).min_by_key(|hours| self.opens(hours));
        let mut soonest = first.unwrap_or_else(|| run.hours.clone());
        for id in scene.beyond.iter().rev() {
            if self.opens(&soonest) <= self.now {
                break;
            }
            let hours = self.alert(*id).await?.and_then(|alert| self.hours_of(run, &alert));
            soonest = hours.into_iter().chain([soonest]).min_by_key(|hours| self.opens(hours)).unwrap_or_default();
        }
        Ok(soonest)
    }

    /// The hours in which an alert wants the ladder of a run; `None` where it does not want it.
    fn hours_of(&self, run: &LadderRun, alert: &Alert) -> Option<Hours> {
        if !alert.is_firing() || alert.muted {
            return None;
        }
        let wanted = match &alert.escalation {
            Some(name) => vec![RoutedLadder { name: name.clone(), hours: Hours::default() }],
            None => self.shared.routing().ladders(alert),
        };
        wanted.into_iter().filter(|wanted| wanted.name == run.ladder.name).map(|wanted| wanted.hours).min_by_key(|hours| self.opens(hours))
    }
}
