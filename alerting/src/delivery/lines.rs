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
    /// With the number under which the row was added.
    places: HashMap<WorkId, (Option<Place>, u64)>,
    added: u64,
}

impl Lines {
    /// How many rows were ever added: to be asked before the pending rows are read, for [`Lines::keep`].
    pub fn added(&self) -> u64 {
        self.added
    }

    /// How many rows it has.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Forgets what is no longer pending, but for what was added since then: whoever read the pending rows may not have seen it. Gives the
    /// pending rows that it does not know.
    pub fn keep(&mut self, pending: &[WorkId], added: u64) -> Vec<WorkId> {
        let pending: HashSet<WorkId> = pending.iter().copied().collect();
        let gone = self.places.iter().filter(|(id, (_, number))| !pending.contains(id) && *number <= added);
        let gone: Vec<WorkId> = gone.map(|(id, _)| *id).collect();
        gone.into_iter().for_each(|id| self.remove(id));
        pending.into_iter().filter(|id| !self.knows(*id)).collect()
    }

    /// Takes a pending row into the picture; it has no place where its body is no delivery.
    pub fn add(&mut self, row: &Work, place: Option<Place>) {
        self.remove(row.id);
        self.added += 1;
        if let Some(place) = &place {
            self.open.entry(place.line.clone()).or_default().insert(place.turn.clone(), (row.id, row.due_at));
        }
        self.places.insert(row.id, (place, self.added));
    }

    /// The row is due at another time.
    pub fn put_off(&mut self, id: WorkId, due: Timestamp) {
        let Some((Some(place), _)) = self.places.get(&id) else { return };
        if let Some(row) = self.open.get_mut(&place.line).and_then(|open| open.get_mut(&place.turn)) {
            row.1 = due;
        }
    }

    /// Whether the row was there when the picture was taken.
    pub fn knows(&self, id: WorkId) -> bool {
        self.places.contains_key(&id)
    }

    /// Whether anything of the line is open.
    pub fn is_open(&self, line: &Line) -> bool {
        self.open.contains_key(line)
    }

    /// The first open row before this place that is not in `batch`, and when it is due.
    pub fn before(&self, place: &Place, batch: &HashSet<WorkId>) -> Option<(WorkId, Timestamp)> {
        let open = self.open.get(&place.line)?;
        open.range(..place.turn.clone()).map(|(_, row)| *row).find(|(id, _)| !batch.contains(id))
    }

    /// The row is finished.
    pub fn remove(&mut self, id: WorkId) {
        let Some((Some(place), _)) = self.places.remove(&id) else { return };
        if let Some(open) = self.open.get_mut(&place.line) {
            open.remove(&place.turn);
            if open.is_empty() {
                self.open.remove(&place.line);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use model::json::Json;
    use model::work::{Lane, NewWork, Queue};
    use serde_json::Value;

    use super::*;

    fn row(key: &str, at: Timestamp) -> (Work, Place) {
        let body: Json = Value::Null.into();
        let new = NewWork { queue: Queue::Delivery, key: key.into(), lane: Lane::Page, subject: Default::default(), due_at: at, body };
        let work = new.row(&TenantId::default(), at);
        let line = Line { tenant: TenantId::default(), receiver: "hook".into(), thing: "page/1".into() };
        let turn = Turn { written: at, rank: 0, id: NotificationId::derived(at, key) };
        (work, Place { line, turn })
    }

    #[test]
    fn a_row_that_is_added_twice_is_open_once() {
        let mut lines = Lines::default();
        let at = Timestamp::from_nanos(1_800_000_000_000_000_123);
        let (work, place) = row("a", at);
        // As who wrote it knows it, and as it is read.
        let read = Place { turn: Turn { written: work.created_at, ..place.turn.clone() }, ..place.clone() };
        assert_ne!(place, read);
        lines.add(&work, Some(place.clone()));
        lines.add(&work, Some(read));
        assert!(lines.is_open(&place.line) && lines.len() == 1);
        lines.remove(work.id);
        assert!(!lines.is_open(&place.line), "no ghost holds up the line");
    }

    #[test]
    fn what_was_added_since_the_pending_rows_were_read_is_kept() {
        let mut lines = Lines::default();
        let (old, new) = (row("old", Timestamp::from_secs(1)), row("new", Timestamp::from_secs(2)));
        lines.add(&old.0, Some(old.1));
        let added = lines.added();
        lines.add(&new.0, Some(new.1.clone()));
        assert_eq!(lines.keep(&[], added), []);
        assert!(lines.knows(new.0.id) && !lines.knows(old.0.id));
    }
}
