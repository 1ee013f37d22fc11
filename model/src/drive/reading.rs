//! How followers read the journal: each event once, what it causes in one commit with the follower's place. Followers that stand at the same
//! place read one page together, and the places of those that had nothing to do are written in one commit: most events concern one or two.

use std::sync::Arc;

use tracing::Instrument;

use super::{Cursor, Follower};
use crate::event::Recorded;
use crate::state::{Commit, Expect, Fence, JournalQuery, StateError, StateStore, TRIES, Versioned, by_ids, load};
use crate::tenant::TenantId;
use crate::time::Timestamp;

/// What a step came to.
#[derive(Debug, Default)]
pub struct Step {
    /// How many events were read, each counted for each follower; 0 means that all are up to date, or failed.
    pub handled: usize,
    /// Who could not go on, and why. They try again at the next step; the others went on.
    pub failed: Vec<(&'static str, StateError)>,
}

/// Where a follower stands.
#[derive(Clone, Debug)]
struct Place {
    /// The number of the last event that it handled.
    seq: u64,
    /// Its cursor as the store has it.
    written: Option<Versioned<Cursor>>,
}

impl Place {
    fn of(written: Option<Versioned<Cursor>>) -> Self {
        Place { seq: written.as_ref().map_or(0, |cursor| cursor.entity.seq), written }
    }

    /// Whether there were events without consequence since the last commit.
    fn is_quiet(&self) -> bool {
        self.seq > self.written.as_ref().map_or(0, |cursor| cursor.entity.seq)
    }

    /// Adds the cursor to a commit; the place as it is once that is written.
    fn put(&self, commit: &mut Commit, name: &str, seq: u64) -> Result<Place, StateError> {
        let entity = Cursor { name: name.to_owned(), seq, tenant: TenantId::default() };
        let (expect, version) = match &self.written {
            Some(cursor) => (Expect::Version(cursor.version), cursor.version + 1),
            None => (Expect::New, 1),
        };
        commit.put(&entity, expect)?;
        Ok(Place { seq, written: Some(Versioned { entity, version }) })
    }
}

/// Its place in the journal is part of the commit: what is lost together is followed again.
fn derived(commit: &mut Commit, fence: Option<&Fence>, now: Timestamp) {
    commit.at = now;
    commit.fence = fence.cloned();
    commit.derived = true;
}

/// What a step of every follower shares.
struct Reading<'a> {
    state: &'a dyn StateStore,
    fence: Option<&'a Fence>,
    now: Timestamp,
}

impl Reading<'_> {
    async fn page(&self, after: u64, limit: usize) -> Result<Arc<[Recorded]>, StateError> {
        Ok(self.state.events(&JournalQuery { after, limit, ..JournalQuery::default() }).await?.into())
    }

    /// Handles up to `limit` events after a place; how many they were, and the place then. `last`: the page that was read last, and after
    /// which event.
    async fn some(
        &self,
        follower: &dyn Follower,
        place: Place,
        last: &mut Option<(u64, Arc<[Recorded]>)>,
        limit: usize,
    ) -> Result<(usize, Option<Place>), StateError> {
        let page = match last {
            Some((after, page)) if *after == place.seq => Arc::clone(page),
            _ => {
                let page = self.page(place.seq, limit).await?;
                *last = Some((place.seq, Arc::clone(&page)));
                page
            }
        };
        Ok((page.len(), self.follow(follower, place, &page).await?))
    }

    /// Writes the places of those for whom nothing followed, all in one commit.
    async fn settle(&self, quiet: &[(&'static str, Place)]) -> Result<(), StateError> {
        if quiet.is_empty() {
            return Ok(());
        }
        let mut commit = Commit::default();
        for (name, place) in quiet {
            place.put(&mut commit, name, place.seq)?;
        }
        derived(&mut commit, self.fence, self.now);
        match self.state.commit(commit).await {
            // Another driver was here: its places count.
            Err(error) if !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }

    /// Handles the events of a page. `None` where another driver was here.
    async fn follow(&self, follower: &dyn Follower, mut place: Place, page: &[Recorded]) -> Result<Option<Place>, StateError> {
        for event in page {
            match self.one(follower, place, event).await? {
                Some(next) => place = next,
                None => return Ok(None),
            }
        }
        Ok(Some(place))
    }

    async fn one(&self, follower: &dyn Follower, mut place: Place, event: &Recorded) -> Result<Option<Place>, StateError> {
        let name = follower.name();
        for attempt in 1.. {
            let span = tracing::info_span!("follow", otel.name = name, seq = event.seq, kind = event.event.kind.tag());
            let mut commit = follower.follow(event, self.state, self.now).instrument(span).await?;
            if commit.is_empty() {
                place.seq = event.seq;
                return Ok(Some(place));
            }
            derived(&mut commit, self.fence, self.now);
            let next = place.put(&mut commit, name, event.seq)?;
            match self.state.commit(commit).await {
                Ok(_) => return Ok(Some(next)),
                Err(error) if error.is_conflict() && attempt < TRIES => {
                    let found = load::<Cursor>(self.state, &TenantId::default(), name).await?;
                    // Else something that it decided about was changed meanwhile: it decides again.
                    if found.map(|found| found.version) != place.written.as_ref().map(|cursor| cursor.version) {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

/// Lets each follower handle up to `limit` events, one follower after the other. Their places are read each time: what the database lost when
/// its machine lost power is followed again, though this process went on. Another driver beside this one does no harm.
pub async fn step(followers: &[&dyn Follower], state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp, limit: usize) -> Step {
    let reading = Reading { state, fence, now };
    let mut step = Step::default();
    let names: Vec<String> = followers.iter().map(|follower| follower.name().to_owned()).collect();
    let mut cursors = match by_ids::<Cursor>(state, &TenantId::default(), &names).await {
        Ok(cursors) => cursors,
        Err(error) => {
            step.failed.push(("journal", error));
            return step;
        }
    };
    let (mut last, mut quiet) = (None, Vec::new());
    for follower in followers {
        let at = cursors.iter().position(|cursor| cursor.entity.name == follower.name());
        let place = Place::of(at.map(|at| cursors.swap_remove(at)));
        match reading.some(*follower, place, &mut last, limit).await {
            Ok((handled, place)) => {
                step.handled += handled;
                quiet.extend(place.filter(Place::is_quiet).map(|place| (follower.name(), place)));
            }
            Err(error) => step.failed.push((follower.name(), error)),
        }
    }
    if let Err(error) = reading.settle(&quiet).await {
        step.failed.push(("journal", error));
    }
    step
}

/// A [`step`] of one follower. Returns how many events it handled; 0 means it is up to date.
pub async fn advance(
    follower: &dyn Follower,
    state: &dyn StateStore,
    fence: Option<&Fence>,
    now: Timestamp,
    limit: usize,
) -> Result<usize, StateError> {
    let Step { handled, failed } = step(&[follower], state, fence, now, limit).await;
    failed.into_iter().next().map_or(Ok(handled), |(_, error)| Err(error))
}
