//! Two issues become one, and apart again: their fingerprints change hands, no event is rewritten. In: both issues. Out: both issues
//! afterwards and the changes to journal, or one sentence why not. Pure.

use model::event::Actor;
use model::issue::{Issue, IssueChange, IssueState};
use model::time::Timestamp;

use super::machine::{IllegalMove, apply};
use super::sighting::{NAMES, saw_release};

/// The most fingerprints of one issue.
pub const MOST_GROUPS: usize = 200;

/// The changes of both.
pub struct Moved {
    /// Of the one that others are merged into.
    pub whole: IssueChange,
    /// Of the one that is merged.
    pub part: IssueChange,
}

/// Makes `part` a part of `whole`, which keeps its state.
pub fn merge(whole: &mut Issue, part: &mut Issue, at: Timestamp, by: &Actor) -> Result<Moved, IllegalMove> {
    let refuse = |number, why: String| Err(IllegalMove { number, wanted: "merged", why });
    if whole.id == part.id {
        return refuse(part.number, "an issue is not merged into itself".to_owned());
    }
    for issue in [&*whole, &*part] {
        if let IssueState::Merged { into_number, .. } = issue.state {
            return refuse(issue.number, format!("it is part of issue {into_number} already; name that one, or unmerge it"));
        }
    }
    if whole.groups.len() + part.groups.len() > MOST_GROUPS {
        return refuse(part.number, format!("together they have more than {MOST_GROUPS} fingerprints; write a rule under errors.rules"));
    }
    let fingerprints = part.fingerprints().collect();
    whole.groups.append(&mut part.groups);
    for service in &part.services {
        if whole.services.len() < NAMES && !whole.services.contains(service) {
            whole.services.push(service.clone());
        }
    }
    for seen in &part.releases {
        saw_release(whole, seen);
    }
    let moved = Moved {
        whole: IssueChange::Absorbed { issue: part.id, number: part.number, fingerprints },
        part: IssueChange::Merged { into: whole.id, into_number: whole.number },
    };
    apply(whole, &moved.whole, at, by);
    apply(part, &moved.part, at, by);
    Ok(moved)
}

/// Makes `part` an issue of its own again, open, with the fingerprints that it brought along.
pub fn unmerge(whole: &mut Issue, part: &mut Issue, at: Timestamp, by: &Actor) -> Result<Moved, IllegalMove> {
    let refuse = |why: String| Err(IllegalMove { number: part.number, wanted: "unmerged", why });
    if let IssueState::Merged { into_number, .. } = whole.state {
        return refuse(format!("issue {} is itself part of issue {into_number}; unmerge that first", whole.number));
    }
    let Some(absorbed) = whole.absorbed.iter().find(|absorbed| absorbed.issue == part.id) else {
        return refuse(format!("it is not part of issue {}", whole.number));
    };
    let brought = absorbed.fingerprints.clone();
    let (back, stay) = std::mem::take(&mut whole.groups).into_iter().partition(|group| brought.contains(&group.fingerprint));
    (part.groups, whole.groups) = (back, stay);
    let moved = Moved {
        whole: IssueChange::Released { issue: part.id, number: part.number },
        part: IssueChange::Unmerged { from: whole.id, from_number: whole.number },
    };
    apply(whole, &moved.whole, at, by);
    apply(part, &moved.part, at, by);
    Ok(moved)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::issues::tests::issue;

    fn prints(issue: &Issue) -> Vec<u64> {
        issue.fingerprints().map(|print| print.0).collect()
    }

    #[test]
    fn fingerprints_change_hands_and_come_back() {
        let (at, ana) = (Timestamp::from_secs(500), Actor::User { id: "ana".into() });
        let (mut a, mut b, mut c) = (issue(1, 10, 100), issue(2, 20, 50), issue(3, 30, 200));
        let before = b.groups.clone();
        merge(&mut a, &mut b, at, &ana).unwrap();
        assert_eq!((prints(&a), prints(&b), b.state.as_str()), (vec![10, 20], vec![], "merged"));
        assert_eq!(a.first_seen(), Some(Timestamp::from_secs(50)), "both together");
        let words = merge(&mut c, &mut b, at, &ana).err().unwrap().to_string();
        assert_eq!(words, "issue 2 cannot be merged: it is part of issue 1 already; name that one, or unmerge it");
        assert!(merge(&mut b, &mut c, at, &ana).is_err(), "nor into it");

        // A part of a part: it comes back with what it had.
        merge(&mut c, &mut a, at, &ana).unwrap();
        assert_eq!((prints(&c), prints(&a)), (vec![30, 10, 20], vec![]));
        let words = unmerge(&mut a, &mut b, at, &ana).err().unwrap().to_string();
        assert!(words.contains("issue 1 is itself part of issue 3"), "{words}");
        assert!(unmerge(&mut c, &mut b, at, &ana).is_err(), "it is no part of its own");
        unmerge(&mut c, &mut a, at, &ana).unwrap();
        unmerge(&mut a, &mut b, at, &ana).unwrap();
        assert_eq!((prints(&a), prints(&b), prints(&c)), (vec![10], vec![20], vec![30]));
        assert_eq!((a.state.as_str(), b.state.as_str(), b.groups), ("open", "open", before));
        assert_eq!(a.first_seen(), Some(Timestamp::from_secs(100)), "and alone again");
        assert!(a.absorbed.is_empty() && c.absorbed.is_empty());
        let mut same = c.clone();
        assert!(merge(&mut c, &mut same, at, &ana).is_err());
    }

    #[test]
    fn an_issue_has_only_so_many_fingerprints() {
        let (at, ana) = (Timestamp::from_secs(500), Actor::User { id: "ana".into() });
        let mut whole = issue(1, 1, 100);
        for n in 2..=MOST_GROUPS as u64 {
            merge(&mut whole, &mut issue(n, n, 100), at, &ana).unwrap();
        }
        let words = merge(&mut whole, &mut issue(999, 999, 100), at, &ana).err().unwrap().to_string();
        assert!(words.contains("errors.rules"), "{words}");
        assert_eq!(whole.history.len(), 50);
    }
}
