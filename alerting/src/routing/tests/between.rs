//! A look at a group and what happens to its members, decided side by side: whichever is committed first, the other is decided again, and
//! nobody who should be told is forgotten.

use std::sync::Arc;
use std::time::Duration;

use model::drive::{Follower, work_once};
use model::event::Recorded;
use model::state::{Commit, Records, all};
use model::time::Timestamp;
use model::work::Queue;

use super::super::group::AlertGroup;
use super::super::worker::look_at;
use super::{told, world};
use crate::testing::World;

const TREE: &str = "route: { receivers: [mail], group_by: [alertname], group_wait: 30s, group_interval: 1m, repeat_interval: 10h }";

/// What the follower decides about the newest event, not committed.
async fn decided(world: &World) -> Commit {
    let routes: Arc<dyn Follower> = world.alerting.followers().into_iter().find(|follower| follower.name() == "routes").unwrap();
    let event: Recorded = world.state.journal().pop().unwrap();
    routes.follow(&event, &*world.state, world.now()).await.unwrap()
}

/// The look at the only group, as it is decided at a moment.
async fn look(world: &World, at: Timestamp) -> Commit {
    let group = all::<AlertGroup>(&*world.state, None, &[], 0).await.unwrap().remove(0).entity;
    let key = group.pending.unwrap().key;
    look_at(&world.alerting.shared, &*world.state, &group.id, &key, at).await.unwrap()
}

/// The looks that are due, and nothing else.
async fn looks(world: &World) {
    let worker = world.alerting.workers().into_iter().find(|worker| worker.queue() == Queue::Alerting).unwrap();
    work_once(&*worker, &*world.state, None, world.now()).await.unwrap();
}

/// A group with one alert that nobody was told of yet; another alert fires, and the follower has not seen it.
async fn waiting() -> World {
    let world = world(TREE);
    world.set("slow", &[(&[("host", "a")], 1.0)]);
    world.tick().await;
    world.pass(14).await;
    world.clock.advance(Duration::from_secs(1));
    world.set("slow", &[(&[("host", "a")], 1.0), (&[("host", "b")], 1.0)]);
    world.evaluate().await.unwrap();
    world
}

#[tokio::test]
async fn an_alert_that_joins_is_decided_again_where_the_look_was_committed_meanwhile() {
    let world = waiting().await;
    let joins = decided(&world).await;
    world.clock.advance(Duration::from_secs(15));
    looks(&world).await;
    assert_eq!(told(&world), ["30s mail trigger 1+0"]);
    assert!(world.state.commit(joins).await.unwrap_err().is_conflict(), "the look that it counted on is over");
    world.settle().await.unwrap();
    world.pass(60).await;
    assert_eq!(told(&world)[1..], ["90s mail trigger 2+0"], "told at the next interval, not at the next repetition");
}

#[tokio::test]
async fn a_look_is_decided_again_where_an_alert_joined_meanwhile() {
    let world = waiting().await;
    let due = world.now().plus(Duration::from_secs(15));
    let look = look(&world, due).await;
    world.settle().await.unwrap();
    assert!(world.state.commit(look).await.unwrap_err().is_conflict(), "it does not know who joined");
    world.pass(15).await;
    assert_eq!(told(&world), ["30s mail trigger 2+0"]);
}

/// An alert is over while the look that knows it firing is being decided.
#[tokio::test]
async fn a_look_is_decided_again_where_an_alert_ended_meanwhile() {
    let world = world(TREE);
    world.set("slow", &[(&[("host", "a")], 1.0), (&[("host", "b")], 1.0)]);
    world.tick().await;
    world.pass(31).await;
    world.set("slow", &[(&[("host", "a")], 1.0), (&[("host", "b")], 1.0), (&[("host", "c")], 1.0)]);
    world.pass(44).await;
    assert_eq!(told(&world), ["30s mail trigger 2+0"], "`c` waits for the interval");
    let look = look(&world, world.now().plus(Duration::from_secs(15))).await;
    world.set("slow", &[(&[("host", "a")], 1.0), (&[("host", "c")], 1.0)]);
    world.evaluate().await.unwrap();
    world.settle().await.unwrap();
    assert!(world.state.commit(look).await.unwrap_err().is_conflict(), "it says that `b` fires");
    world.pass(15).await;
    assert_eq!(told(&world)[1..], ["90s mail trigger 2+1"]);
}

/// Somebody takes the alert that the group itself holds while a look that another one waits for is being decided.
#[tokio::test]
async fn a_look_is_decided_again_where_the_first_alert_was_taken_meanwhile() {
    let world = world(TREE);
    world.set("slow", &[(&[("host", "a")], 1.0)]);
    world.tick().await;
    world.pass(31).await;
    world.set("slow", &[(&[("host", "a")], 1.0), (&[("host", "b")], 1.0)]);
    world.pass(44).await;
    let look = look(&world, world.now().plus(Duration::from_secs(15))).await;
    world.take(true).await;
    assert_eq!(told(&world), ["30s mail trigger 1+0", "75s mail acknowledge 1+0"]);
    assert!(world.state.commit(look).await.unwrap_err().is_conflict(), "it would forget that they know who has it");
    world.pass(15).await;
    assert_eq!(told(&world)[2..], ["90s mail trigger 2+0"]);
    world.take(false).await;
    world.take(true).await;
    assert_eq!(told(&world)[3..], ["90s mail acknowledge 1+0"], "once each time that somebody takes it");
}
