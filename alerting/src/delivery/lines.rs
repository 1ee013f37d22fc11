//! Lines: which deliveries must go out one after the other, and which of them are not done yet. Pure. A resolve must not overtake its
//! trigger, a post not its channel. A dead or cancelled row holds up nobody.

use std::collections::{BTreeMap, HashMap, HashSet};

use model::ids::{NotificationId, WorkId};
use model::message::{Delivery, Message, PageAction};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::work::Work;

/// Deliveries to one receiver about one thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Line {
    /// Whose.
    pub tenant: TenantId,
    /// To whom.
    pub receiver: String,
    /// About what.
    pub thing: String,
}

/// The order within a line: when it was written; at the same moment, what it does.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Turn {
    written: Timestamp,
    rank: u8,
    id: NotificationId,
}

/// A row's line and its turn in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Which line.
    pub line: Line,
    /// Where in it.
    pub turn: Turn,
}

impl Place {
    /// `None` where the row's body is no delivery.
    pub fn read(row: &Work) -> Option<Self> {
        row.body.read().ok().map(|delivery| Place::of(row, &delivery))
    }

    /// Of a row with this body.
    pub fn of(row: &Work, delivery: &Delivery) -> Self {
        let (thing, rank) = match &delivery.message {
            Message::Notice(notice) => (format!("page/{}", notice.dedup_key), action_rank(notice.action)),
            Message::ChatOpen { incident, .. } => (format!("chat/{incident}"), 0),
            Message::ChatPost { incident, .. } => (format!("chat/{incident}"), 1),
            Message::ChatArchive { incident } => (format!("chat/{incident}"), 2),
            Message::Document { .. } => (format!("document/{}", delivery.id), 0),
        };
        let line = Line { tenant: row.tenant.clone(), receiver: delivery.receiver.clone(), thing };
        Place { line, turn: Turn { written: row.created_at, rank, id: delivery.id } }
    }
}

fn action_rank(action: PageAction) -> u8 {
    match action {
        PageAction::Trigger => 0,
        PageAction::Acknowledge => 1,
        PageAction::Resolve => 2,
    }
}

/// All pending rows, by line. A picture of the moment at which it was taken: rows written since are not known, rows finished since are
/// taken out by [`Lines::remove`] or, where another node did, by the next picture. A row that it knows is not read again.
#[derive(Debug, Default)]
pub struct Lines {
    open: HashMap<Line, BTreeMap<Turn, (WorkId, Timestamp)>>,
    places: HashMap<WorkId, Option<Place>>,
}

impl Lines {
    /// Forgets what is no longer pending; gives the pending rows that it does not know.
    pub fn keep(&mut self, pending: &[WorkId]) -> Vec<WorkId> {
        let pending: HashSet<WorkId> = pending.iter().copied().collect();
        let gone: Vec<WorkId> = self.places.keys().filter(|id| !pending.contains(id)).copied().collect();
        gone.into_iter().for_each(|id| self.remove(id));
        pending.into_iter().filter(|id| !self.knows(*id)).collect()
    }

    /// Takes a pending row into the picture; it has no place where its body is no delivery.
    pub fn add(&mut self, row: &Work, place: Option<Place>) {
        if let Some(place) = &place {
            self.open.entry(place.line.clone()).or_default().insert(place.turn.clone(), (row.id, row.due_at));
        }
        self.places.insert(row.id, place);
    }

    /// The row is due at another time.
    pub fn put_off(&mut self, id: WorkId, due: Timestamp) {
        let Some(Some(place)) = self.places.get(&id) else { return };
        if let Some(row) = self.open.get_mut(&place.line).and_then(|open| open.get_mut(&place.turn)) {
            row.1 = due;
        }
    }

    /// Whether the row was there when the picture was taken.
    pub fn knows(&self, id: WorkId) -> bool {
        self.places.contains_key(&id)
    }

    /// The first open row before this place that is not in `batch`, and when it is due.
    pub fn before(&self, place: &Place, batch: &HashSet<WorkId>) -> Option<(WorkId, Timestamp)> {
        let open = self.open.get(&place.line)?;
        open.range(..place.turn.clone()).map(|(_, row)| *row).find(|(id, _)| !batch.contains(id))
    }

    /// The row is finished.
    pub fn remove(&mut self, id: WorkId) {
        let Some(Some(place)) = self.places.remove(&id) else { return };
        if let Some(open) = self.open.get_mut(&place.line) {
            open.remove(&place.turn);
            if open.is_empty() {
                self.open.remove(&place.line);
            }
        }
    }
}
