//! The order of messages: a resolve must not overtake its trigger. Pure.

use model::ids::WorkId;
use model::message::{Delivery, Message, PageAction};
use model::time::Timestamp;
use model::work::Work;

/// Whether a message may go now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Now.
    Go,
    /// An earlier one is still on its way.
    Wait,
}

/// A message's place among those with the same key to the same receiver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    receiver: String,
    key: String,
    rank: u8,
    place: (Timestamp, WorkId),
}

impl Order {
    /// Of a notice (by its dedup key) or of a chat message (by its incident); documents have no order.
    pub fn of(work: &Work, delivery: &Delivery) -> Option<Order> {
        let (key, rank) = match &delivery.message {
            Message::Notice(notice) => (
                notice.dedup_key.clone(),
                match notice.action {
                    PageAction::Trigger => 0,
                    PageAction::Acknowledge => 1,
                    PageAction::Resolve => 2,
                },
            ),
            Message::ChatOpen { incident, .. } => (format!("chat {incident}"), 0),
            Message::ChatPost { incident, .. } => (format!("chat {incident}"), 1),
            Message::ChatArchive { incident } => (format!("chat {incident}"), 2),
            Message::Document { .. } => return None,
        };
        Some(Order { receiver: delivery.receiver.clone(), key, rank, place: (work.created_at, work.id) })
    }

    /// Whether it may go, given the other pending ones. Dead letters do not hold anything up: they are not pending.
    pub fn among(&self, pending: impl IntoIterator<Item = Order>) -> Verdict {
        let earlier = |other: &Order| {
            other.receiver == self.receiver
                && other.key == self.key
                && (other.place.0 < self.place.0 || (other.place.0 == self.place.0 && other.rank < self.rank))
        };
        if pending.into_iter().any(|other| earlier(&other) && other.rank <= self.rank && self.rank > 0) {
            Verdict::Wait
        } else {
            Verdict::Go
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(key: &str, rank: u8, at: i64) -> Order {
        let at = Timestamp::from_secs(at);
        Order { receiver: "pd".into(), key: key.into(), rank, place: (at, WorkId::derived(at, key)) }
    }

    #[test]
    fn a_resolve_waits_for_its_trigger_and_nothing_else() {
        assert_eq!(order("a", 2, 5).among([order("a", 0, 1)]), Verdict::Wait);
        assert_eq!(order("a", 2, 5).among([order("b", 0, 1)]), Verdict::Go);
        assert_eq!(order("a", 2, 5).among([order("a", 0, 9)]), Verdict::Go, "a later trigger is another story");
        assert_eq!(order("a", 0, 1).among([order("a", 2, 5)]), Verdict::Go);
        assert_eq!(order("a", 2, 5).among([order("a", 0, 5)]), Verdict::Wait, "written in one commit");
    }
}
