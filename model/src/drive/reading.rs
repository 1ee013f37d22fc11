//! How followers read the journal: each event once, what it causes in one commit with the follower's place. Followers that stand at the same
//! place read one page together, and the places of those that had nothing to do are written in one commit: most events concern one or two.

use std::sync::Arc;

use tracing::Instrument;

use super::{Cursor, Follower};
use crate::event::Recorded;
use crate::state::{Commit, Expect, Fence, JournalQuery, StateError, StateStore, TRIES, Versioned, load};
use crate::tenant::TenantId;
use crate::time::Timestamp;

/// Followers with their places in the journal, in the order in which they read. One driver; another one beside it does no harm.
pub struct Readers {
    readers: Vec<Reader>,
    /// In whose name they read: where that changes, somebody else may have gone on from their places.
    fence: Option<Fence>,
}

/// What a step came to.
#[derive(Debug, Default)]
pub struct Step {
    /// How many events were read, each counted for each follower; 0 means that all are up to date, or failed.
    pub handled: usize,
    /// Who could not go on, and why. They try again at the next step; the others went on.
    pub failed: Vec<(&'static str, StateError)>,
}

struct Reader {
    follower: Arc<dyn Follower>,
    /// `None`: to be read from the store.
    place: Option<Place>,
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
    async fn read(name: &str, state: &dyn StateStore) -> Result<Self, StateError> {
        let written = load::<Cursor>(state, &TenantId::default(), name).await?;
        Ok(Place { seq: written.as_ref().map_or(0, |cursor| cursor.entity.seq), written })
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
                    place.written = load::<Cursor>(self.state, &TenantId::default(), name).await?;
                    if place.written.as_ref().map_or(0, |cursor| cursor.entity.seq) >= event.seq {
                        return Ok(None);
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Readers {
    /// Followers whose places are still to be read.
    pub fn new(followers: impl IntoIterator<Item = Arc<dyn Follower>>) -> Self {
        Readers { readers: followers.into_iter().map(|follower| Reader { follower, place: None }).collect(), fence: None }
    }

    /// Lets each follower handle up to `limit` events, one follower after the other.
    pub async fn step(&mut self, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp, limit: usize) -> Step {
        if self.fence.as_ref() != fence {
            self.fence = fence.cloned();
            self.readers.iter_mut().for_each(|reader| reader.place = None);
        }
        let reading = Reading { state, fence, now };
        let (mut step, mut last) = (Step::default(), None);
        for reader in &mut self.readers {
            match reader.step(&reading, &mut last, limit).await {
                Ok(handled) => step.handled += handled,
                Err(error) => step.failed.push((reader.follower.name(), error)),
            }
        }
        if let Err(error) = self.settle(&reading).await {
            step.failed.push(("journal", error));
        }
        step
    }

    /// Writes the places of those that had nothing to do, all in one commit.
    async fn settle(&mut self, reading: &Reading<'_>) -> Result<(), StateError> {
        let mut commit = Commit::default();
        let mut settled = Vec::new();
        for (at, reader) in self.readers.iter().enumerate() {
            if let Some(place) = reader.place.as_ref().filter(|place| place.is_quiet()) {
                settled.push((at, place.put(&mut commit, reader.follower.name(), place.seq)?));
            }
        }
        if settled.is_empty() {
            return Ok(());
        }
        derived(&mut commit, reading.fence, reading.now);
        let result = reading.state.commit(commit).await;
        for (at, place) in settled {
            self.readers[at].place = result.is_ok().then_some(place);
        }
        match result {
            // Another driver was here: its places are read.
            Err(error) if !error.is_conflict() => Err(error),
            _ => Ok(()),
        }
    }
}

impl Reader {
    /// `last`: the page that was read last, and after which event.
    async fn step(&mut self, reading: &Reading<'_>, last: &mut Option<(u64, Arc<[Recorded]>)>, limit: usize) -> Result<usize, StateError> {
        // Where this fails, the place is read again.
        let place = match self.place.take() {
            Some(place) => place,
            None => Place::read(self.follower.name(), reading.state).await?,
        };
        let page = match last {
            Some((after, page)) if *after == place.seq => Arc::clone(page),
            _ => {
                let page = reading.page(place.seq, limit).await?;
                *last = Some((place.seq, Arc::clone(&page)));
                page
            }
        };
        self.place = reading.follow(&*self.follower, place, &page).await?;
        Ok(page.len())
    }
}

/// Lets one follower handle up to `limit` events. Returns how many it handled; 0 means it is up to date.
pub async fn advance(
    follower: &dyn Follower,
    state: &dyn StateStore,
    fence: Option<&Fence>,
    now: Timestamp,
    limit: usize,
) -> Result<usize, StateError> {
    let reading = Reading { state, fence, now };
    let place = Place::read(follower.name(), state).await?;
    let page = reading.page(place.seq, limit).await?;
    if let Some(place) = reading.follow(follower, place, &page).await?.filter(Place::is_quiet) {
        let mut commit = Commit::default();
        place.put(&mut commit, follower.name(), place.seq)?;
        derived(&mut commit, fence, now);
        state.commit(commit).await?;
    }
    Ok(page.len())
}
