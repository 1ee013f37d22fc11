//! Where a large batch is cut into pieces that are taken one after the other. No group has alerts on both sides of a cut, so that each is
//! told of all that was sent together, and the first notices go out while the other alerts are still being written. Pure.

use std::collections::HashMap;

use super::Sent;
use crate::routing::Routing;

/// So many alerts a piece has at least, where the groups allow it. Each piece writes the pages of indexes that have no order once more: with
/// 250 a storm takes 5 % more CPU and 10 MiB less, with 1,000 it is the other way round (`measure alertmanager`).
const PIECE: usize = 500;
/// So many are taken in one commit at most.
const SOME: usize = 1_000;

/// Some alerts of a batch, from the end of the piece before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Piece {
    /// The place after its last alert.
    pub end: usize,
    /// Whether its groups have no alerts in other pieces.
    pub whole: bool,
}

/// The pieces of a batch, in order; the last one ends where the batch does.
pub(super) fn pieces(routing: &Routing, batch: &[Sent]) -> Vec<Piece> {
    // What mutes others is written together with them.
    if batch.len() <= PIECE || !routing.inhibit_rules.is_empty() {
        return bounded(vec![batch.len()]);
    }
    bounded(cuts(&groups(routing, batch), batch.len()))
}

/// Which groups each alert joins: its place, and a hash of the group.
fn groups(routing: &Routing, batch: &[Sent]) -> Vec<(usize, u64)> {
    let routes = |sent: &Sent| routing.root.as_ref().map(|root| root.take(&sent.labels)).unwrap_or_default();
    let hashes = batch.iter().enumerate().flat_map(|(at, sent)| {
        let told = routes(sent).into_iter().filter(|route| !route.receivers.is_empty());
        told.map(move |route| (at, route.group_hash(&sent.labels)))
    });
    hashes.collect()
}

/// The ends of pieces that no group crosses.
fn cuts(groups: &[(usize, u64)], alerts: usize) -> Vec<usize> {
    let last: HashMap<u64, usize> = groups.iter().map(|(at, group)| (*group, *at)).collect();
    let mut groups = groups.iter().peekable();
    let (mut begin, mut reach, mut ends) = (0, 0, Vec::new());
    for at in 0..alerts {
        while let Some((_, group)) = groups.next_if(|(place, _)| *place <= at) {
            reach = reach.max(last.get(group).copied().unwrap_or(at));
        }
        let end = at + 1;
        // What is left over makes no piece of its own.
        if reach <= at && end - begin >= PIECE && (end == alerts || alerts - end >= PIECE) {
            ends.push(end);
            begin = end;
        }
    }
    if ends.last() != Some(&alerts) {
        ends.push(alerts);
    }
    ends
}

/// The same where no piece is too large: a larger one is cut through its groups.
fn bounded(ends: Vec<usize>) -> Vec<Piece> {
    let mut begin = 0;
    let mut pieces = Vec::new();
    for end in ends {
        let whole = end - begin <= SOME;
        while end - begin > SOME {
            begin += SOME;
            pieces.push(Piece { end: begin, whole });
        }
        pieces.push(Piece { end, whole });
        begin = end;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(groups: &[u64]) -> Vec<Piece> {
        bounded(cuts(&groups.iter().copied().enumerate().collect::<Vec<_>>(), groups.len()))
    }

    fn whole(end: usize) -> Piece {
        Piece { end, whole: true }
    }

    #[test]
    fn alerts_of_groups_of_their_own_are_taken_a_few_at_a_time() {
        let own: Vec<u64> = (0..1_000).collect();
        assert_eq!(of(&own), [500, 1_000].map(whole));
        // The last piece takes what is left over.
        assert_eq!(of(&own[..999]), [whole(999)]);
        assert_eq!(of(&own[..300]), [whole(300)]);
        assert_eq!(of(&[]), [whole(0)]);
    }

    #[test]
    fn no_group_is_cut_unless_it_is_too_large() {
        assert_eq!(of(&[7; 1_000]), [whole(1_000)]);
        let mut groups: Vec<u64> = (0..1_101).collect();
        groups[600] = 100;
        assert_eq!(of(&groups), [601, 1_101].map(whole));
        let part = |end| Piece { end, whole: false };
        assert_eq!(of(&[7; 2_100]), [1_000, 2_000, 2_100].map(part));
        // Beside one that is too large the others are whole.
        let groups: Vec<u64> = (0..600).chain([1_000; 1_500]).collect();
        assert_eq!(of(&groups), [whole(500), part(1_500), part(2_100)]);
    }

    proptest! {
        #[test]
        fn every_alert_is_in_one_piece_and_whole_pieces_share_no_group(
            groups in proptest::collection::vec(0u64..700, 0..3_000),
        ) {
            let pieces = of(&groups);
            prop_assert_eq!(pieces.last().map(|piece| piece.end), Some(groups.len()));
            let mut begin = 0;
            for piece in pieces {
                prop_assert!(piece.end > begin || groups.is_empty());
                prop_assert!(piece.end - begin <= SOME);
                let (inside, outside) = (&groups[begin..piece.end], groups[..begin].iter().chain(&groups[piece.end..]));
                if piece.whole {
                    let inside: std::collections::HashSet<_> = inside.iter().collect();
                    prop_assert!(!outside.into_iter().any(|group| inside.contains(group)));
                }
                begin = piece.end;
            }
        }
    }
}
