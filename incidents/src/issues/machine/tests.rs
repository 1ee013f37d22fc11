//! Every move from every state, and what is remembered.

use model::event::Actor;
use model::ids::IssueId;
use proptest::prelude::*;

use super::*;
use crate::issues::sighting::sightings;
use crate::issues::tests::{arrival, issue};

fn ana() -> Actor {
    Actor::User { id: "ana".into() }
}

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

fn states() -> Vec<IssueState> {
    let ignored = |until| IssueState::Ignored { at: at(200), by: ana(), until };
    vec![
        IssueState::Open,
        IssueState::Regressed { at: at(200), release: None },
        IssueState::Resolved { at: at(200), by: ana(), in_release: None },
        ignored(IgnoreUntil::Forever),
        ignored(IgnoreUntil::Time { at: at(300) }),
        ignored(IgnoreUntil::Events { count: 5 }),
        ignored(IgnoreUntil::Users { count: 5 }),
        IssueState::Merged { at: at(200), into: IssueId::derived(at(1), "9"), into_number: 9 },
    ]
}

/// The word of what follows, `-` for nothing, `!` for a refusal.
fn outcome(state: &IssueState, input: &Input<'_>) -> String {
    let issue = Issue { state: state.clone(), ..issue(1, 7, 100) };
    match decide(&issue, input, at(1_000)) {
        Ok(changes) => changes.iter().map(IssueChange::word).next().unwrap_or("-").to_owned(),
        Err(refused) => {
            assert!(refused.to_string().starts_with("issue 1 cannot be "), "{refused}");
            "!".to_owned()
        }
    }
}

#[test]
fn every_move_from_every_state() {
    let (early, late) = (sightings(&[arrival(1, 7, 150)]).remove(0), sightings(&[arrival(1, 7, 400)]).remove(0));
    let until = |until| Input::Ignore { until };
    let counted = |events, users| Input::Counted(EventCounts { events, users });
    // open, regressed, resolved, ignored forever, until a time, until events, until users, merged
    let table: [(Input<'_>, [&str; 8]); 12] = [
        (Input::Seen(&early), ["-", "-", "-", "-", "-", "-", "-", "-"]),
        (Input::Seen(&late), ["-", "-", "regressed", "-", "unignored", "-", "-", "-"]),
        (counted(4, 4), ["-", "-", "-", "-", "-", "-", "-", "-"]),
        (counted(5, 4), ["-", "-", "-", "-", "-", "unignored", "-", "-"]),
        (counted(4, 5), ["-", "-", "-", "-", "-", "-", "unignored", "-"]),
        (Input::Resolve { in_release: None }, ["resolved", "resolved", "!", "resolved", "resolved", "resolved", "resolved", "!"]),
        (Input::Unresolve, ["!", "!", "reopened", "reopened", "reopened", "reopened", "reopened", "!"]),
        (until(IgnoreUntil::Forever), ["ignored", "ignored", "!", "ignored", "ignored", "ignored", "ignored", "!"]),
        (until(IgnoreUntil::Time { at: at(1_000) }), ["!"; 8]),
        (until(IgnoreUntil::Events { count: 0 }), ["!"; 8]),
        (Input::Assign { to: Some("bob".into()) }, ["assigned"; 8]),
        (Input::Assign { to: None }, ["-"; 8]),
    ];
    for (input, expected) in &table {
        for (state, expected) in states().iter().zip(expected) {
            let merged = matches!((state, input), (IssueState::Merged { .. }, Input::Assign { .. }));
            let expected = if merged { "!" } else { expected };
            assert_eq!(outcome(state, input), expected, "{state:?} {input:?}");
        }
    }
}

#[test]
fn a_regression_names_the_newest_release_that_shows_it() {
    let mut known = issue(1, 7, 100);
    apply(&mut known, &IssueChange::Resolved { in_release: Some("2.0".into()) }, at(200), &ana());
    let of = |release: &str, secs| model::error_events::Arrival { release: release.into(), ..arrival(1, 7, secs) };
    let seen = sightings(&[of("1.9", 500), of("2.1", 300), of("2.0", 400)]).remove(0);
    assert_eq!(decide(&known, &Input::Seen(&seen), at(600)), Ok(vec![IssueChange::Regressed { release: Some("2.0".into()) }]));
    let old = sightings(&[of("1.9", 500)]).remove(0);
    assert_eq!(decide(&known, &Input::Seen(&old), at(600)), Ok(vec![]));
    let unnamed = sightings(&[of("", 500)]).remove(0);
    assert_eq!(decide(&known, &Input::Seen(&unnamed), at(600)), Ok(vec![IssueChange::Regressed { release: None }]));
}

#[test]
fn records_survive_json() {
    for state in states() {
        let mut one = Issue { state, ..issue(1, 7, 100) };
        apply(&mut one, &IssueChange::Ignored { until: IgnoreUntil::Time { at: at(900) } }, at(300), &ana());
        let text = serde_json::to_string(&one).unwrap();
        assert_eq!(serde_json::from_str::<Issue>(&text).unwrap(), one, "{text}");
    }
}

fn any_input() -> impl Strategy<Value = u8> {
    0u8..9
}

proptest! {
    /// Whatever people do and whatever is seen: a change is only what `decide` allows, and a state says when it began.
    #[test]
    fn a_life_never_contradicts_itself(inputs in prop::collection::vec((any_input(), 1i64..100), 0..60)) {
        let (mut one, mut now) = (issue(1, 7, 100), 1_000);
        for (input, pause) in inputs {
            now += pause;
            let seen = sightings(&[arrival(1, 7, now)]).remove(0);
            let input = match input {
                0 => Input::Resolve { in_release: None },
                1 => Input::Unresolve,
                2 => Input::Ignore { until: IgnoreUntil::Time { at: at(now + 50) } },
                3 => Input::Ignore { until: IgnoreUntil::Events { count: 2 } },
                4 => Input::Assign { to: Some("bob".into()) },
                5 => Input::Counted(EventCounts { events: 2, users: 0 }),
                _ => Input::Seen(&seen),
            };
            let before = one.clone();
            let Ok(changes) = decide(&one, &input, at(now)) else { continue };
            prop_assert!(changes.len() <= 1);
            changes.iter().for_each(|change| apply(&mut one, change, at(now), &ana()));
            prop_assert_eq!(changes.is_empty(), before == one);
            if matches!(input, Input::Seen(_)) && !before.state.is_open() {
                let stays = matches!(&before.state, IssueState::Ignored { until, .. } if *until != IgnoreUntil::Forever);
                prop_assert!(one.state.is_open() || stays, "{:?} -> {:?}", before.state, one.state);
            }
            prop_assert!(one.history.len() <= HISTORY);
        }
    }
}

#[test]
fn an_issue_remembers_what_it_was() {
    let mut known = issue(1, 10, 0);
    let by = Actor::system("test");
    let moves = [
        (10, IssueChange::Resolved { in_release: None }),
        (20, IssueChange::Regressed { release: Some("1.4".into()) }),
        (30, IssueChange::Ignored { until: IgnoreUntil::Forever }),
        (40, IssueChange::Unignored { reason: String::new() }),
    ];
    known.regressions = 2;
    let mut were = Vec::new();
    for (secs, change) in &moves {
        apply(&mut known, change, at(*secs), &by);
        were.push((at(*secs), known.clone()));
    }
    assert_eq!(known.regressions, 3);
    assert_eq!(past(&known), were);
    // Of one that has forgotten its beginning, from what it remembers on.
    known.history.remove(0);
    let later: Vec<(Timestamp, IssueState, u32)> = past(&known).into_iter().map(|(at, was)| (at, was.state, was.regressions)).collect();
    let wanted: Vec<(Timestamp, IssueState, u32)> = were.into_iter().skip(1).map(|(at, was)| (at, was.state, was.regressions)).collect();
    assert_eq!(later, wanted);
}
