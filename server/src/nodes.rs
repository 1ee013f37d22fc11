//! What the logs of other nodes hold that ClickHouse has not, where several share a PostgreSQL: each tells of itself four times a second, in a
//! record, and rules over rows wait for the slowest that lives. In: the own log, the records. Out: how far the others are behind.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use model::state::{Commit, Entity, Expect, StateError, StateStore, all};
use model::tenant::TenantId;
use model::time::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use store::promql::arrivals::Lag;
use tokio_util::sync::CancellationToken;

/// How often a node tells, and hears.
const EVERY: Duration = Duration::from_millis(250);
/// A node that has told nothing for so long counts no more: what its log holds comes when it does, and alerts cannot wait for that.
const LIVES: Duration = Duration::from_secs(10);
/// The record of a node that has told nothing for so long goes.
const FORGOTTEN: Duration = Duration::from_secs(24 * 3_600);

/// What a node says of its log. State kind `node_log`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct NodeLog {
    tenant: TenantId,
    name: String,
    /// When it said so, by the state's clock.
    at: Timestamp,
    /// All that it had received until then is in ClickHouse.
    stored_until: Timestamp,
}

impl Entity for NodeLog {
    const KIND: &'static str = "node_log";
    fn tenant(&self) -> &TenantId {
        &self.tenant
    }
    fn id(&self) -> String {
        self.name.clone()
    }
    fn status(&self) -> &'static str {
        "live"
    }
}

/// How far the slowest of the others is behind. `None`: there are no others.
fn slowest<'a>(nodes: impl Iterator<Item = &'a NodeLog>, own: &str, now: Timestamp) -> Option<Duration> {
    let others = nodes.filter(|node| node.name != own && now.since(node.at) < LIVES);
    others.map(|node| now.since(node.stored_until)).max()
}

/// What was heard of the others.
pub struct Others {
    clock: Arc<dyn Clock>,
    /// How far they were behind, and when that was heard.
    heard: Mutex<Option<(Duration, Timestamp)>>,
}

impl fmt::Debug for Others {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Others").field("heard", &self.heard).finish_non_exhaustive()
    }
}

impl Others {
    /// Nothing yet.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Others { clock, heard: Mutex::default() }
    }

    /// How long ago what the slowest of them has stored was received, at least.
    pub fn behind(&self) -> Option<Duration> {
        let (behind, at) = (*self.heard.lock().unwrap_or_else(PoisonError::into_inner))?;
        Some(behind + self.clock.now().since(at))
    }

    /// `at`: before it was asked.
    fn hear(&self, behind: Option<Duration>, at: Timestamp) {
        *self.heard.lock().unwrap_or_else(PoisonError::into_inner) = behind.map(|behind| (behind, at));
    }
}

/// A node among others.
pub struct Node {
    /// Its name.
    pub name: String,
    /// How far its own log is behind.
    pub lag: Lag,
    /// Where it tells and hears.
    pub state: Arc<dyn StateStore>,
    /// What it hears.
    pub others: Arc<Others>,
}

impl Node {
    /// Tells and hears until it is stopped. What fails is tried again.
    pub async fn run(self, stop: CancellationToken) {
        while stop.run_until_cancelled(tokio::time::sleep(EVERY)).await.is_some() {
            if let Err(error) = self.once().await {
                tracing::debug!(%error, "the other nodes cannot be heard now");
            }
        }
        // Whoever has nothing left need not be waited for.
        if (self.lag)().is_none()
            && let Err(error) = self.leave().await
        {
            tracing::debug!(%error, "the other nodes wait for this one for some seconds");
        }
    }

    async fn leave(&self) -> Result<(), StateError> {
        let now = self.state.now().await?;
        let mut commit = Commit::at(now);
        commit.derived = true;
        commit.delete(&self.own(now), Expect::Any);
        self.state.commit(commit).await.map(drop)
    }

    fn own(&self, now: Timestamp) -> NodeLog {
        let stored_until = now.minus((self.lag)().unwrap_or_default());
        NodeLog { tenant: TenantId::default(), name: self.name.clone(), at: now, stored_until }
    }

    async fn once(&self) -> Result<(), StateError> {
        let asked_at = self.others.clock.now();
        let now = self.state.now().await?;
        let own = self.own(now);
        let found = all::<NodeLog>(&*self.state, None, &["live"], 0).await?;
        let mut commit = Commit::at(now);
        commit.derived = true;
        commit.put(&own, Expect::Any)?;
        for gone in found.iter().filter(|node| now.since(node.entity.at) > FORGOTTEN) {
            commit.delete(&gone.entity, Expect::Any);
        }
        self.state.commit(commit).await?;
        self.others.hear(slowest(found.iter().map(|node| &node.entity), &self.name, now), asked_at);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use model::time::SimulatedClock;
    use store::state::MemoryState;

    use super::*;

    const NOW: Timestamp = Timestamp::from_secs(1_800_000_000);

    fn node(name: &str, state: &Arc<MemoryState>, clock: &Arc<SimulatedClock>, behind: Option<u64>) -> Node {
        let lag: Lag = Box::new(move || behind.map(Duration::from_secs));
        Node { name: name.to_owned(), lag, state: state.clone(), others: Arc::new(Others::new(clock.clone())) }
    }

    #[tokio::test]
    async fn the_slowest_of_the_living_counts() {
        let clock = Arc::new(SimulatedClock::new(NOW));
        let state = Arc::new(MemoryState::new(clock.clone()));
        let nodes = [node("a", &state, &clock, None), node("b", &state, &clock, Some(3)), node("c", &state, &clock, Some(40))];
        nodes[0].once().await.unwrap();
        assert_eq!(nodes[0].others.behind(), None, "it is alone, and not behind itself");
        for node in &nodes {
            node.once().await.unwrap();
        }
        nodes[0].once().await.unwrap();
        assert_eq!(nodes[0].others.behind(), Some(Duration::from_secs(40)));
        clock.advance(Duration::from_secs(2));
        assert_eq!(nodes[0].others.behind(), Some(Duration::from_secs(42)), "until there is news");
        clock.advance(Duration::from_secs(9));
        nodes[1].once().await.unwrap();
        nodes[0].once().await.unwrap();
        assert_eq!(nodes[0].others.behind(), Some(Duration::from_secs(3)), "who says nothing is not waited for");
        clock.advance(FORGOTTEN);
        nodes[0].once().await.unwrap();
        let left = all::<NodeLog>(&*state, None, &[], 0).await.unwrap();
        assert_eq!(left.iter().map(|node| node.entity.name.as_str()).collect::<Vec<_>>(), ["b", "a"], "c has gone");
        let [a, ..] = nodes;
        let stop = CancellationToken::new();
        stop.cancel();
        a.run(stop).await;
        let left = all::<NodeLog>(&*state, None, &[], 0).await.unwrap();
        assert_eq!(left.iter().map(|node| node.entity.name.as_str()).collect::<Vec<_>>(), ["b"], "a left in order");
    }
}
