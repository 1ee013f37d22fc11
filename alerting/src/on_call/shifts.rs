//! The turns of a schedule over a time, as they really come: layers, hours and overrides put together. Pure.

use std::time::Duration;

use model::time::Timestamp;

use super::{By, Override, Plan, Turns};
use crate::routing::Calendar;
use crate::routing::intervals::until;

/// The most shifts that are told at once.
const MOST: usize = 1_000;
/// The longest time over which they are told.
pub const LONGEST: Duration = Duration::from_secs(92 * 86_400);

/// Somebody, or nobody, from one moment to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shift {
    /// From, included.
    pub from: Timestamp,
    /// To, not included.
    pub to: Timestamp,
    /// Who, and by what; `None`: nobody.
    pub who: Option<(String, By)>,
}

/// Where nothing changes within sight, how far that is.
const SIGHT: Duration = Duration::from_secs(40 * 86_400);

/// The shifts of a schedule; the first one and the last one are cut at the edges. At most 1,000.
pub fn shifts(plan: &Plan, overrides: &[Override], calendar: &Calendar, from: Timestamp, to: Timestamp) -> Vec<Shift> {
    let mut shifts: Vec<Shift> = Vec::new();
    let mut edges: Vec<Edges> = plan.layers.iter().map(Edges::of).collect();
    let mut at = from;
    while at < to && shifts.len() < MOST {
        let who = plan.on_call(overrides, calendar, at);
        let layers = edges.iter_mut().filter_map(|edges| edges.next(calendar, at));
        let changed = overrides.iter().filter(|one| one.schedule == plan.name).flat_map(|one| [one.starts_at, one.ends_at]);
        let next = layers.chain(changed.filter(|edge| *edge > at)).min().unwrap_or(to).min(to);
        match shifts.last_mut().filter(|last| last.who == who) {
            Some(last) => last.to = next,
            None => shifts.push(Shift { from: at, to: next, who }),
        }
        at = next;
    }
    shifts
}

/// The moments at which a layer may name somebody else.
struct Edges<'a> {
    layer: &'a Turns,
    /// Until when its hours do not change: each is looked for once, minute by minute.
    hours: Option<Timestamp>,
}

impl<'a> Edges<'a> {
    fn of(layer: &'a Turns) -> Self {
        Edges { layer, hours: None }
    }

    /// The first one after a moment; moments only rise.
    fn next(&mut self, calendar: &Calendar, at: Timestamp) -> Option<Timestamp> {
        let turn = self.layer.rotation.next_change(at);
        if self.layer.within.is_empty() {
            return turn;
        }
        let known = self.hours.filter(|edge| *edge > at);
        let edge = known.unwrap_or_else(|| {
            let open = |at: Timestamp| self.layer.within.iter().any(|name| calendar.contains(name, at));
            let now = open(at);
            until(at, |at| open(at) == now).unwrap_or(at.plus(SIGHT))
        });
        self.hours = Some(edge);
        turn.into_iter().chain([edge]).min()
    }
}
