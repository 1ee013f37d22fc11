//! Drives the followers of the journal while this node leads.

use std::sync::Arc;
use std::time::Duration;

use model::drive::{Follower, Step, step};
use model::state::Fence;

use super::{AGAIN, Loop, chain};

/// So long events are gathered before they are read: whoever reads each as it comes takes the processor from what is just being sent for it.
const GATHER: Duration = Duration::from_millis(2);

/// Lets the followers read the journal, in the order of the data flow.
pub async fn follow(context: Loop, followers: Vec<Arc<dyn Follower>>) {
    let mut listener = context.nudge.listener();
    let followers: Vec<&dyn Follower> = followers.iter().map(|follower| &**follower).collect();
    // Up to where all of them have read, as the leader with this fence.
    let mut read: Option<(Fence, u64)> = None;
    loop {
        if let Some(fence) = context.leading() {
            // Most nudges are about work; an unchanged journal costs one question instead of one per follower.
            let head = context.state.head().await.ok();
            let here = head.map(|head| (fence.clone(), head));
            if (here.is_none() || here != read) && round(&context, &followers, &fence).await {
                read = here;
            }
        } else {
            read = None;
        }
        if !context.pause(&mut listener, context.longest).await {
            break;
        }
        tokio::time::sleep(GATHER).await;
    }
}

/// Lets all of them read until there is nothing new. Whether they did.
async fn round(context: &Loop, followers: &[&dyn Follower], fence: &Fence) -> bool {
    loop {
        let Step { handled, failed } = match context.state.now().await {
            Ok(now) => step(followers, &*context.state, Some(fence), now, 256).await,
            Err(error) => Step { handled: 0, failed: vec![("journal", error)] },
        };
        for (follower, error) in &failed {
            tracing::error!(follower, error = %chain(error), "a follower could not go on; it tries again");
        }
        if !failed.is_empty() {
            tokio::time::sleep(AGAIN).await;
        }
        if handled == 0 || context.stop.is_cancelled() {
            return failed.is_empty();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use model::event::{Actor, Event, EventKind, Recorded, Subject};
    use model::ids::{EventId, SequentialIds};
    use model::state::{Commit, Records, StateError, StateStore};
    use model::tenant::TenantId;
    use model::testing::Memory;
    use model::time::{SimulatedClock, Timestamp};

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_772_000_000);

    /// Notes what it handled; something follows from every event whose text begins with its name.
    #[derive(Default)]
    struct Noting {
        name: &'static str,
        handled: Mutex<Vec<u64>>,
        fails: AtomicBool,
    }

    #[async_trait]
    impl Follower for Noting {
        fn name(&self) -> &'static str {
            self.name
        }
        async fn follow(&self, event: &Recorded, _: &dyn StateStore, now: Timestamp) -> Result<Commit, StateError> {
            if self.fails.load(Ordering::SeqCst) {
                return Err(StateError::Backend { doing: "failing", source: "on purpose".into() });
            }
            self.handled.lock().unwrap().push(event.seq);
            let mut commit = Commit::at(now);
            if matches!(&event.event.kind, EventKind::Noted { text, .. } if *text == self.name) {
                commit.event(noted("done"));
            }
            Ok(commit)
        }
    }

    fn noted(text: &str) -> Event {
        let kind = EventKind::Noted { text: text.to_owned(), details: Default::default() };
        let ids = IDS.get_or_init(SequentialIds::default);
        Event {
            id: EventId::new(NOW, ids),
            tenant: TenantId::default(),
            at: NOW,
            actor: Actor::system("test"),
            subject: Subject::default(),
            kind,
        }
    }

    static IDS: std::sync::OnceLock<SequentialIds> = std::sync::OnceLock::new();

    struct World {
        state: Arc<Memory>,
        followers: [Arc<Noting>; 3],
    }

    impl World {
        fn new() -> Self {
            let follower = |name| Arc::new(Noting { name, ..Noting::default() });
            World { state: Memory::new(Arc::new(SimulatedClock::new(NOW))), followers: ["one", "two", "three"].map(follower) }
        }
        async fn step(&self, fence: Option<&Fence>) -> Step {
            let followers = self.followers.each_ref().map(|follower| &**follower as &dyn Follower);
            step(&followers, &*self.state, fence, NOW, 4).await
        }
        async fn write(&self, texts: &[&str]) {
            let mut commit = Commit::at(NOW);
            texts.iter().for_each(|text| commit.event(noted(text)));
            self.state.commit(commit).await.unwrap();
        }
        fn handled(&self) -> [Vec<u64>; 3] {
            [0, 1, 2].map(|at| self.followers[at].handled.lock().unwrap().clone())
        }
        async fn read(&self, fence: Option<&Fence>) {
            while self.step(fence).await.handled > 0 {}
        }
    }

    #[tokio::test]
    async fn each_handles_each_event_once_and_places_without_consequence_are_one_commit() {
        let world = World::new();
        world.write(&["nobody", "two", "nobody"]).await;
        let before = world.state.commits();
        let step = world.step(None).await;
        assert_eq!((step.handled, step.failed.len()), (9, 0));
        // What follows for the second, and the places of all three.
        assert_eq!(world.state.commits() - before, 2);
        world.read(None).await;
        assert_eq!(world.handled(), [vec![1, 2, 3, 4], vec![1, 2, 3, 4], vec![1, 2, 3, 4]]);
        // Another process goes on where this one was.
        world.write(&["three"]).await;
        world.read(None).await;
        assert_eq!(world.handled(), [0, 1, 2].map(|_| vec![1, 2, 3, 4, 5, 6]));
    }

    #[tokio::test]
    async fn one_that_fails_holds_up_no_other_and_loses_nothing() {
        let world = World::new();
        world.followers[0].fails.store(true, Ordering::SeqCst);
        world.write(&["one", "two", "nobody", "nobody", "nobody"]).await;
        world.write(&["three", "nobody", "nobody", "nobody"]).await;
        for _ in 0..6 {
            let step = world.step(None).await;
            assert_eq!(step.failed.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["one"]);
        }
        let all: Vec<u64> = (1..=11).collect();
        assert_eq!(world.handled(), [vec![], all.clone(), all.clone()]);
        world.followers[0].fails.store(false, Ordering::SeqCst);
        world.read(None).await;
        assert_eq!(world.handled(), [0, 1, 2].map(|_| (1..=12).collect::<Vec<u64>>()));
    }

    #[tokio::test]
    async fn whoever_leads_next_goes_on_from_what_is_written_and_nothing_follows_twice() {
        let world = World::new();
        let first = world.state.lead(1);
        world.write(&["one", "nobody"]).await;
        world.read(Some(&first)).await;
        let second = world.state.lead(2);
        world.write(&["two", "nobody"]).await;
        // It does not know yet that it leads no more.
        let step = world.step(Some(&first)).await;
        assert!(step.failed.iter().all(|(_, error)| matches!(error, StateError::Fenced { .. })) && !step.failed.is_empty());
        world.read(Some(&second)).await;
        let third = world.state.lead(3);
        world.write(&["three"]).await;
        world.read(Some(&third)).await;
        world.read(Some(&third)).await;
        let done = |kind: &EventKind| matches!(kind, EventKind::Noted { text, .. } if text == "done");
        assert_eq!(world.state.kinds().iter().filter(|kind| done(kind)).count(), 3);
    }
}
