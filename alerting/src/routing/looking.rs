//! A look at a group, written down: notices, members, the group, the next look. In: the group with its members and their alerts as they
//! stand. Out: the commit's changes. Pure; the decision itself is [`look`]'s.

use model::alert::Alert;
use model::event::{EventKind, Subject};
use model::state::{Commit, Expect, StateError};
use model::time::Timestamp;

use super::Routing;
use super::follower::{put_member, schedule_look};
use super::group::{AlertGroup, Decision, Member, Standing, look};
use super::notice::{SHOWN, Telling, tell, tell_elsewhere};
use super::tree::{Closed, Route};
use crate::delivery::Handing;
use crate::shared::Shared;

/// How many alerts are journalled when a route's hours keep them back.
const NOTED: usize = 50;

/// Where a member is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kept {
    /// In its group, whose first member it is.
    InGroup,
    /// In a record of its own, which the store has like this.
    Record(Expect),
}

/// A member with its alert.
pub(super) struct Seat {
    pub member: Member,
    pub kept: Kept,
    pub alert: Alert,
}

/// A look that is being written down.
pub(super) struct Looking<'a> {
    pub shared: &'a Shared,
    pub routing: &'a Routing,
    pub route: &'a Route,
    pub group: AlertGroup,
    pub seats: Vec<Seat>,
    pub now: Timestamp,
    /// Where what is told may be handed over.
    pub handing: Option<&'a mut Handing>,
}

impl Looking<'_> {
    /// The changes, and the group as it is afterwards; `None` where nothing is left in it. `key` is fresh for every look.
    pub(super) fn look(mut self, key: &str) -> Result<(Commit, Option<AlertGroup>), StateError> {
        let mut commit = Commit::at(self.now);
        let rows: Vec<(Member, Standing)> = self.seats.iter().map(|seat| (seat.member.clone(), self.standing(&seat.alert))).collect();
        let closed = self.routing.calendar.closed(&self.route.hours, self.now);
        if closed.is_none() {
            self.tell_left_out(key, &mut commit)?;
        }
        let decision = look(&self.group, &rows, self.route, closed, self.now);
        self.carry_out(&decision, key, &mut commit)?;
        (self.group.flushed_at, self.group.ends_untold) = (Some(self.now), !self.route.send_resolved);
        if decision.forget.len() == self.seats.len() {
            return Ok((commit, None));
        }
        schedule_look(self.shared, &mut commit, &mut self.group, decision.next_at)?;
        Ok((commit, Some(self.group)))
    }

    fn standing(&self, alert: &Alert) -> Standing {
        if alert.is_firing() && self.routing.belongs(alert, &self.group) {
            Standing::Firing { muted: alert.muted, acknowledged: alert.acknowledged.is_some() }
        } else {
            Standing::Over
        }
    }

    fn carry_out(&mut self, decision: &Decision, key: &str, commit: &mut Commit) -> Result<(), StateError> {
        match &decision.closed {
            Some(closed) => self.note_closed(closed, commit),
            None => self.group.closed_until = None,
        }
        if let Some(told) = &decision.tell {
            let pick = |places: &[usize]| places.iter().filter_map(|at| self.seats.get(*at)).map(|seat| &seat.alert).collect();
            let mut firing = told.firing.clone();
            if firing.len() > SHOWN {
                firing.sort_by_key(|at| self.seats[*at].member.told); // what is new is among those that are shown
            }
            let telling = Telling { firing: pick(&firing), over: pick(&told.over), why: told.why, route: &self.route.name, to: &told.to };
            tell(self.shared, commit, &self.group, &telling, key, self.now, self.handing.as_deref_mut())?;
            if !told.firing.is_empty() && (self.group.told_to.is_some() || told.to == self.route.receivers) {
                let heard = self.group.told_to.take().unwrap_or_default();
                let now_too = told.to.iter().filter(|name| !heard.contains(name)).cloned().collect::<Vec<_>>();
                self.group.told_to = Some(heard.into_iter().chain(now_too).collect());
            }
        }
        let told = decision.tell.as_ref().filter(|told| !told.catches_up);
        if let Some(told) = told {
            (self.group.told_at, self.group.told_firing) = (Some(self.now), !told.firing.is_empty());
        }
        for (at, Seat { member, kept, .. }) in self.seats.iter().enumerate() {
            if decision.forget.contains(&at) {
                match kept {
                    Kept::InGroup => self.group.first = None,
                    Kept::Record(Expect::New) => {}
                    Kept::Record(expect) => commit.delete(member, *expect),
                }
                continue;
            }
            let mut after = member.clone();
            if let Some(told) = told {
                (after.told, after.told_over) = (told.firing.contains(&at), told.over.contains(&at));
                after.owed = after.told || (after.owed && !after.told_over);
                after.told_taken &= after.owed;
            }
            match kept {
                Kept::InGroup => self.group.first = Some(after),
                Kept::Record(expect) if after != *member || *expect == Expect::New => put_member(commit, &after, *expect)?,
                Kept::Record(_) => {}
            }
        }
        Ok(())
    }

    /// For whom the route has no longer among its receivers, all that they heard of is over.
    fn tell_left_out(&mut self, key: &str, commit: &mut Commit) -> Result<(), StateError> {
        let left_out = self.group.left_out(Some(self.route));
        if left_out.is_empty() {
            return Ok(());
        }
        if self.route.send_resolved {
            let owed = self.seats.iter().filter(|seat| seat.member.owed).map(|seat| &seat.alert).collect();
            tell_elsewhere(self.shared, commit, &self.group, &self.route.name, owed, left_out, key, self.now)?;
        }
        let receivers = &self.route.receivers;
        self.group.told_to.iter_mut().for_each(|told_to| told_to.retain(|name| receivers.contains(name)));
        Ok(())
    }

    /// Why nobody is told, once for each time that the hours are closed.
    fn note_closed(&mut self, closed: &Closed, commit: &mut Commit) {
        if self.group.closed_until == Some(closed.until) {
            return;
        }
        self.group.closed_until = Some(closed.until);
        for alert in self.seats.iter().map(|seat| &seat.alert).filter(|alert| alert.is_firing()).take(NOTED) {
            let text = format!("route {} tells nobody: {}", self.route.name, closed.words());
            let details = [
                ("suppressed_by".to_owned(), closed.by.clone()),
                ("until".to_owned(), closed.until.to_string()),
                ("receivers".to_owned(), self.route.receivers.join(", ")),
            ];
            let kind = EventKind::Noted { text, details: details.into() };
            commit.event(self.shared.event(self.now, Subject::alert(alert.id, alert.incident), kind));
        }
    }
}
