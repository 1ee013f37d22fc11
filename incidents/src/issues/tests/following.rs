//! The follower: one issue per kind, once, whatever happens in between.

use model::error_events::Arrival;
use model::issue::{IgnoreUntil, Issue, IssueState};
use model::state::{Commit, Expect, Records};
use model::tenant::TenantId;
use model::time::Span;

use super::super::forget::every_issue;
use super::super::machine::{Input, apply, decide};
use super::*;

impl World {
    /// A person's command.
    async fn say(&self, number: u64, input: Input<'_>) {
        let found: Versioned<Issue> = by_key(&*self.state, &TenantId::default(), &number.to_string()).await.unwrap().unwrap();
        let (mut issue, now) = (found.entity, self.now().await);
        for change in decide(&issue, &input, now).unwrap() {
            apply(&mut issue, &change, now, &model::event::Actor::User { id: "ana".into() });
        }
        let mut commit = Commit::at(now);
        commit.put(&issue, Expect::Version(found.version)).unwrap();
        self.state.commit(commit).await.unwrap();
    }
    async fn status(&self, number: u64) -> &'static str {
        self.issue(number).await.state.as_str()
    }
}

#[tokio::test]
async fn the_same_crash_by_two_ways_is_one_issue() {
    let world = World::new(Config::default());
    world.event(7, "1.0", "u1").await;
    let now = world.now().await;
    world.store(Arrival { service: "4711".into(), stored: now, first_seen: now, last_seen: now, ..arrival(0, 7, 0) }, "u2");
    world.event(8, "", "u1").await;
    let other = TenantId::new("other").unwrap();
    world.store(Arrival { tenant: other.clone(), stored: now, ..arrival(0, 7, 0) }, "");
    world.follow().await.unwrap();
    let one = world.issue(1).await;
    assert_eq!((one.title.as_str(), one.culprit.as_str()), ("E7: card <num>", "charge (shop/pay.py)"));
    assert_eq!(one.services, ["4711", "checkout"]);
    assert_eq!(
        one.grouped_by,
        "grouped by the exception's type `E7`, the message `card <num>` and the innermost call charge (shop/pay.py)"
    );
    assert_eq!((one.first_release.as_deref(), one.last_release()), (Some("1.0"), Some("1.0")));
    assert_eq!(world.issue(2).await.kind, "E8");
    assert_eq!(every_issue(&*world.state, None, &[]).await.unwrap().len(), 3);
    let theirs = every_issue(&*world.state, Some(&other), &[]).await.unwrap();
    assert_eq!(theirs.iter().map(|one| one.entity.number).collect::<Vec<_>>(), [1], "every tenant counts for itself");
    assert_eq!(world.table.sum(&["watchfire_error_events_total", r#"issue="1""#]), 3, "two of ours, one of theirs");
    assert_eq!(world.table.sum(&["watchfire_error_issues_total", r#"change="new""#]), 3);
}

#[tokio::test]
async fn a_resolved_issue_comes_back_with_an_event_from_after() {
    let world = World::new(Config::default());
    world.event(7, "", "").await;
    world.follow().await.unwrap();
    world.pass(60);
    world.say(1, Input::Resolve { in_release: None }).await;
    let resolved = world.now().await;
    // Told late, of before; and told before, by a clock that is ahead: no regression.
    world.pass(5);
    let before = resolved.minus(Duration::from_secs(3));
    world.store(Arrival { stored: world.now().await, first_seen: before, last_seen: before, ..arrival(0, 7, 0) }, "");
    let ahead = resolved.plus(Duration::from_secs(600));
    world.store(Arrival { stored: before, first_seen: ahead, last_seen: ahead, ..arrival(0, 7, 0) }, "");
    world.follow().await.unwrap();
    assert_eq!(world.status(1).await, "resolved");
    world.pass(5);
    world.event(7, "", "").await;
    world.follow().await.unwrap();
    let issue = world.issue(1).await;
    assert_eq!((issue.state.as_str(), issue.regressions), ("regressed", 1));
    assert_eq!(world.table.sum(&[r#"change="regressed""#, r#"service="checkout""#]), 1);
    assert_eq!(world.table.sum(&[r#"status="resolved""#]), 2);
    assert_eq!(world.journal(), ["1 opened", "1 regressed"]);
}

#[tokio::test]
async fn resolved_in_a_release_only_newer_ones_bring_it_back() {
    let world = World::new(Config::default());
    for release in ["1.3.0", "abc"] {
        world.event(7, release, "").await;
    }
    world.follow().await.unwrap();
    world.pass(60);
    world.say(1, Input::Resolve { in_release: Some("1.4.0".into()) }).await;
    for (release, status) in [("1.3.0", "resolved"), ("1.3.9", "resolved"), ("abc", "resolved"), ("1.4.1", "regressed")] {
        world.pass(90);
        world.event(7, release, "").await;
        world.follow().await.unwrap();
        assert_eq!(world.status(1).await, status, "{release}");
    }
    let now = world.now().await;
    assert_eq!(world.issue(1).await.state, IssueState::Regressed { at: now, release: Some("1.4.1".into()) });
}

#[tokio::test]
async fn what_is_ignored_for_a_while_comes_back_by_its_condition() {
    let world = World::new(Config::default());
    world.event(7, "", "u0").await;
    world.follow().await.unwrap();
    world.pass(1);
    let events = |_| IgnoreUntil::Events { count: 3 };
    let users = |_| IgnoreUntil::Users { count: 4 };
    let time = |now: Timestamp| IgnoreUntil::Time { at: now.plus(Duration::from_secs(60)) };
    type Until = fn(Timestamp) -> IgnoreUntil;
    let conditions: [(Until, u32, u32); 3] = [(events, 3, 1), (users, 4, 4), (time, 3, 1)];
    for (until, events, users) in conditions {
        let until = until(world.now().await);
        world.say(1, Input::Ignore { until }).await;
        for n in 0..events {
            assert_eq!(world.status(1).await, "ignored", "{until:?} after {n}");
            world.event(7, "", &format!("u{}", n % users)).await;
            world.follow().await.unwrap();
            world.pass(40);
        }
        assert_eq!(world.status(1).await, "open", "{until:?}");
    }
    world.say(1, Input::Ignore { until: IgnoreUntil::Forever }).await;
    for _ in 0..20 {
        world.event(7, "", "u").await;
    }
    world.follow().await.unwrap();
    assert_eq!(world.status(1).await, "ignored");
    assert_eq!(world.table.sum(&["watchfire_error_events_total", r#"status="ignored""#]), 20 + 2 + 3 + 2);
    assert_eq!(world.journal(), ["1 opened", "1 unignored", "1 unignored", "1 unignored"]);
}

/// Killed in every commit in turn, in every combination with a second kill: the same issues, the same counts, each change once.
#[tokio::test]
async fn a_killed_process_loses_nothing_and_counts_nothing_twice() {
    for first in 0..9 {
        for second in 0..5 {
            let mut world = World::new(Config::default());
            for (round, prints) in [&[7, 8, 7][..], &[7, 9][..], &[8][..]].into_iter().enumerate() {
                for print in prints {
                    world.event(*print, &format!("1.{round}"), "").await;
                }
                if round == 0 {
                    world.state.crash_after(first);
                }
                let mut next = Some(second);
                while world.follow().await.is_err() {
                    assert!(world.state.revive());
                    world.restart();
                    if let Some(commits) = next.take() {
                        world.state.crash_after(commits);
                    }
                }
                world.pass(30);
            }
            world.state.revive();
            world.follow().await.unwrap();
            let mut journal = world.journal();
            journal.sort();
            assert_eq!(journal, ["1 opened", "2 opened", "3 opened"], "killed after {first} and {second}");
            assert_eq!(world.table.sum(&["watchfire_error_events_total"]), 6, "killed after {first} and {second}");
            assert_eq!(world.table.sum(&["watchfire_error_issues_total"]), 3, "killed after {first} and {second}");
        }
    }
}

#[tokio::test]
async fn a_telemetry_store_that_is_away_delays_and_loses_nothing() {
    let world = World::new(Config::default());
    world.event(7, "", "").await;
    *world.table.dead.lock().unwrap() = true;
    assert!(matches!(world.follow().await, Err(FollowError::Query(_))));
    *world.table.dead.lock().unwrap() = false;
    world.follow().await.unwrap();
    // What becomes visible late, though it was stored before what is done.
    world.pass(100);
    world.event(8, "", "").await;
    world.follow().await.unwrap();
    let late = world.now().await.minus(Duration::from_secs(90));
    world.store(Arrival { stored: late, first_seen: late, last_seen: late, ..arrival(0, 9, 0) }, "");
    world.follow().await.unwrap();
    assert_eq!(world.journal(), ["1 opened", "2 opened", "3 opened"]);
}

/// People merge and unmerge while events come: every event counts once, under the issue that has its kind at that moment.
#[tokio::test]
async fn merging_under_way_loses_nothing() {
    let world = World::new(Config::default());
    for print in [7, 8] {
        world.event(print, "", "").await;
    }
    world.follow().await.unwrap();
    // The record that says whose the kind is was read before the merge, the issues after it: played by an owner that is stale.
    let (one, two) = (world.issue(1).await, world.issue(2).await);
    let mut stale = Commit::at(world.now().await);
    stale.put(&super::super::forget::owner(&one, Fingerprint(8)), Expect::Any).unwrap();
    world.state.commit(stale).await.unwrap();
    world.pass(60);
    world.event(8, "", "").await;
    world.event(7, "", "").await;
    world.follow().await.unwrap();
    assert_eq!((world.issue(1).await.groups.len(), world.issue(2).await), (1, two), "it goes on, and mixes nothing up");
    assert_eq!(world.table.sum(&["watchfire_error_events_total"]), 3, "what fits nowhere is left out, the rest is counted");
}

#[tokio::test]
async fn at_rest_little_is_remembered_and_nothing_is_done_again() {
    let world = World::new(Config::default());
    for print in 0..50 {
        world.event(print, "", "").await;
        world.pass(1);
    }
    world.follow().await.unwrap();
    let place = async || {
        let found: Option<Versioned<super::super::cursor::Place>> =
            model::state::load(&*world.state, &TenantId::default(), "error_arrivals").await.unwrap();
        found.unwrap().entity
    };
    assert_eq!(place().await.done.len(), 50);
    for _ in 0..3 {
        world.pass(600);
        world.follow().await.unwrap();
    }
    assert_eq!(place().await.done.len(), 1);
    world.event(3, "", "").await;
    world.follow().await.unwrap();
    assert_eq!(world.table.sum(&["watchfire_error_events_total"]), 51);
}

#[tokio::test]
async fn many_arrivals_are_handled_in_batches() {
    let world = World::new(Config::default());
    for n in 0..1_300 {
        world.event(n, "", "").await;
    }
    let (follower, now) = (world.issues.follower(), world.now().await);
    let mut batches = Vec::new();
    loop {
        match follower.advance(&*world.state, None, now).await.unwrap() {
            0 => break,
            handled => batches.push(handled),
        }
    }
    assert_eq!(batches, [500, 500, 300]);
    assert_eq!(every_issue(&*world.state, None, &[]).await.unwrap().len(), 1_300);
    assert_eq!(world.table.sum(&["watchfire_error_events_total"]), 1_300);
}

#[tokio::test]
async fn issues_are_forgotten_when_old_or_too_many() {
    let config = Config { max_issues: 100, forget_after: Span::secs(86_400 * 10), ..Config::default() };
    let world = World::new(config);
    for print in [1, 2] {
        world.event(print, "", "").await;
    }
    world.follow().await.unwrap();
    world.pass(86_400 * 8);
    world.event(2, "", "").await;
    world.follow().await.unwrap();
    world.pass(86_400 * 3);
    world.follow().await.unwrap();
    assert_eq!(world.journal(), ["1 opened", "2 opened", "1 forgotten"]);
    world.event(1, "", "").await;
    world.follow().await.unwrap();
    assert_eq!(world.issue(3).await.kind, "E1", "it is new again");

    for n in 100..300 {
        world.pass(1);
        world.event(n, "", "").await;
        world.follow().await.unwrap();
    }
    world.pass(3_600);
    world.follow().await.unwrap();
    let left = every_issue(&*world.state, None, &[]).await.unwrap();
    let least = left.iter().map(|one| one.entity.number).min().unwrap();
    assert!((90..=100).contains(&left.len()), "{}", left.len());
    assert!(least > 100, "those that were seen last stay: {least}");
}
