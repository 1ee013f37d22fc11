//! Follows the table of arrivals: what is new opens issues, reopens resolved ones and ends what was ignored only for a while. In:
//! arrivals, in the order of storing. Out: one commit for each batch, with the place in the table; then the batch's counts as series.
//! Fails with its ports; then the place has not moved and the next round does the same again.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use model::error_events::{Arrival, ArrivalDetail, ErrorArrivals};
use model::event::Actor;
use model::fingerprint::Fingerprint;
use model::ids::{IdSource, IssueId};
use model::issue::{FingerprintOwner, Group, Issue, IssueChange, IssueState};
use model::query::{QueryError, SeriesSample};
use model::sink::{DeltaSink, Refusal, RequestHash};
use model::state::{Commit, Expect, Fence, StateError, StateStore, TRIES, Versioned, load};
use model::tenant::TenantId;
use model::time::Timestamp;

use super::config::Config;
use super::cursor::{Counters, Delta, Place};
use super::forget::{event, forget, owner};
use super::machine::{self, Input, apply, decide};
use super::meters::Meters;
use super::series::Tally;
use super::sighting::{Sighting, observe, sightings};

/// Arrivals in one commit.
const BATCH: usize = 500;
/// How often is looked for issues to forget.
const SWEEP: Duration = Duration::from_secs(3_600);
/// How long nothing must have come until nothing can come late.
const QUIET: Duration = Duration::from_secs(600);
/// How soon, while there are too many.
const CROWDED_SWEEP: Duration = Duration::from_secs(60);
/// The longest title, in characters.
const LONGEST_TITLE: usize = 200;

/// Why a round came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The state store.
    #[error("the state of issues could not be read or written")]
    State(#[from] StateError),
    /// The telemetry store.
    #[error("new error events could not be read")]
    Query(#[from] QueryError),
    /// The log.
    #[error("the counts of error events could not be written")]
    Series(#[from] Refusal),
}

/// Keeps the issues.
pub struct IssueFollower {
    config: Config,
    arrivals: Arc<dyn ErrorArrivals>,
    series: Arc<dyn DeltaSink>,
    ids: Arc<dyn IdSource>,
    meters: Meters,
    /// When issues are forgotten next, in microseconds. Lost with the process: then it is now.
    next_sweep: AtomicI64,
    /// Since when nothing came, in microseconds; the least number where something just did.
    quiet_since: AtomicI64,
}

/// What one decision is made on.
struct View<'a> {
    state: &'a dyn StateStore,
    now: Timestamp,
    /// Whether it is the last try: then what does not fit is left out.
    last: bool,
}

/// An issue as it was read, or a new one, while a batch is decided.
struct Draft {
    issue: Issue,
    expect: Expect,
    changed: bool,
}

/// What a batch comes to.
struct Outcome {
    commit: Commit,
    changes: Vec<IssueChange>,
    crowded: bool,
}

impl IssueFollower {
    /// Over its ports.
    pub fn new(
        config: Config,
        arrivals: Arc<dyn ErrorArrivals>,
        series: Arc<dyn DeltaSink>,
        ids: Arc<dyn IdSource>,
        meters: Meters,
    ) -> Self {
        IssueFollower { config, arrivals, series, ids, meters, next_sweep: AtomicI64::new(i64::MIN), quiet_since: AtomicI64::new(i64::MIN) }
    }

    /// How often to look.
    pub fn interval(&self) -> Duration {
        self.config.poll_interval.0
    }

    /// Handles one batch of arrivals. Returns how many; 0 means that it is up to date.
    pub async fn advance(&self, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<usize, FollowError> {
        self.sweep(state, fence, now).await?;
        for attempt in 1.. {
            let place = self.place(state).await?;
            let place = self.send(state, fence, place, now).await?;
            let read = self.arrivals.arrivals(place.entity.from, place.entity.done.len() + BATCH).await?;
            let fresh = place.entity.fresh(&read, BATCH);
            let Some(oldest) = fresh.iter().map(|arrival| arrival.stored).min() else {
                self.rest(state, fence, place, now).await?;
                return Ok(0);
            };
            let view = View { state, now, last: attempt >= TRIES };
            let outcome = match self.decide(&view, &place, &read, &fresh).await {
                Err(FollowError::State(error)) if error.is_conflict() && !view.last => continue,
                decided => decided?,
            };
            match state.commit(Commit { fence: fence.cloned(), ..outcome.commit }).await {
                Ok(_) => {
                    self.quiet_since.store(i64::MIN, Ordering::SeqCst);
                    outcome.changes.iter().for_each(|change| self.meters.changed(change));
                    self.meters.handled(fresh.len(), now.since(oldest).as_secs());
                    if outcome.crowded {
                        self.next_sweep.fetch_min(now.plus(CROWDED_SWEEP).micros(), Ordering::SeqCst);
                    }
                    return Ok(fresh.len());
                }
                Err(error) if error.is_conflict() && attempt < TRIES => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(0)
    }

    /// Lets go of old issues, when it is time.
    async fn sweep(&self, state: &dyn StateStore, fence: Option<&Fence>, now: Timestamp) -> Result<(), StateError> {
        if now.micros() < self.next_sweep.load(Ordering::SeqCst) {
            return Ok(());
        }
        match forget(state, &self.config, &*self.ids, fence, now).await {
            Ok(gone) => {
                let change = IssueChange::Forgotten { reason: String::new() };
                (0..gone).for_each(|_| self.meters.changed(&change));
                self.next_sweep.store(now.plus(SWEEP).micros(), Ordering::SeqCst);
                Ok(())
            }
            // Somebody changed one of them at this moment: there is no hurry.
            Err(error) if error.is_conflict() => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn place(&self, state: &dyn StateStore) -> Result<Versioned<Place>, StateError> {
        let found = load::<Place>(state, &TenantId::default(), "error_arrivals").await?;
        Ok(found.unwrap_or_else(|| Versioned { entity: Place::start(self.ids.random()), version: 0 }))
    }

    /// Writes the counts of the batch before, which was committed with them. They are named by the batch: a batch that is written
    /// again after a crash is stored once.
    async fn send(
        &self,
        state: &dyn StateStore,
        fence: Option<&Fence>,
        place: Versioned<Place>,
        now: Timestamp,
    ) -> Result<Versioned<Place>, FollowError> {
        let Versioned { entity: mut at, version } = place;
        if at.unsent.is_empty() {
            return Ok(Versioned { entity: at, version });
        }
        let mut by_tenant: BTreeMap<TenantId, Vec<Delta>> = BTreeMap::new();
        for delta in std::mem::take(&mut at.unsent) {
            by_tenant.entry(delta.tenant.clone()).or_default().push(delta);
        }
        for (tenant, deltas) in by_tenant {
            let sample = |delta: Delta| (delta.labels, SeriesSample { at: delta.at, value: delta.count as f64 });
            let request = RequestHash::of("issues", format!("{}/{}", at.lineage, at.batch).as_bytes());
            self.series.add(&tenant, deltas.into_iter().map(sample).collect(), request).await?;
        }
        let mut commit = Commit { fence: fence.cloned(), ..Commit::at(now) };
        commit.put(&at, Expect::Version(version))?;
        state.commit(commit).await?;
        Ok(Versioned { entity: at, version: version + 1 })
    }

    /// When nothing came for a while, nothing can come late any more: the ids of what is done are let go, so that the next rounds
    /// read nothing again.
    async fn rest(&self, state: &dyn StateStore, fence: Option<&Fence>, place: Versioned<Place>, now: Timestamp) -> Result<(), StateError> {
        let since = self.quiet_since.load(Ordering::SeqCst);
        if since == i64::MIN {
            self.quiet_since.store(now.micros(), Ordering::SeqCst);
            return Ok(());
        }
        let Some(rested) = place.entity.rested() else { return Ok(()) };
        if now.since(Timestamp::from_micros(since)) < QUIET {
            return Ok(());
        }
        let mut commit = Commit { fence: fence.cloned(), ..Commit::at(now) };
        commit.put(&rested, Expect::Version(place.version))?;
        state.commit(commit).await.map(drop)
    }

    /// What follows from a batch. Reads, writes nothing.
    async fn decide(&self, view: &View<'_>, place: &Versioned<Place>, read: &[Arrival], fresh: &[Arrival]) -> Result<Outcome, FollowError> {
        let View { state, now, .. } = *view;
        let seen = sightings(fresh);
        let mut batch = Batch { now, state, drafts: BTreeMap::new(), counters: Counters::default(), commit: Commit::at(now) };
        let mut owners = Vec::with_capacity(seen.len());
        for sighting in &seen {
            owners.push(load::<FingerprintOwner>(state, &sighting.tenant, &sighting.fingerprint.to_string()).await?);
        }
        let unknown: Vec<u64> = seen.iter().zip(&owners).filter(|(_, owner)| owner.is_none()).map(|(one, _)| one.newest).collect();
        let details = self.arrivals.details(place.entity.from, &unknown).await?;
        let mut details: HashMap<u64, ArrivalDetail> = details.into_iter().map(|detail| (detail.id, detail)).collect();
        let (mut tally, mut changes) = (Tally::default(), Vec::new());
        for (sighting, owner) in seen.iter().zip(owners) {
            let (id, followed) = match owner {
                Some(owner) => match self.again(&mut batch, sighting, owner.entity.issue).await? {
                    Some(followed) => (owner.entity.issue, followed),
                    // It was merged or unmerged between two reads: all is read again.
                    None if !view.last => return Err(moved(sighting).into()),
                    None => {
                        tracing::error!(fingerprint = %sighting.fingerprint, issue = %owner.entity.issue, "a fingerprint belongs to an issue that does not have it: its events open nothing");
                        continue;
                    }
                },
                None => batch.open(sighting, details.remove(&sighting.newest).unwrap_or_default()).await?,
            };
            if let Some(draft) = batch.drafts.get(&id) {
                tally.add(&draft.issue, sighting, &followed);
                for change in &followed {
                    batch.commit.event(event(&draft.issue, change.clone(), &Actor::system("issues"), now, &*self.ids));
                }
            }
            changes.extend(followed);
        }
        let crowded = batch.counters.most() > self.config.max_issues as u64;
        let mut commit = batch.finish()?;
        let expect = if place.version == 0 { Expect::New } else { Expect::Version(place.version) };
        commit.put(&place.entity.after(read, fresh, tally.deltas(now)), expect)?;
        Ok(Outcome { commit, changes, crowded })
    }

    /// A fingerprint that an issue has. `None` where the issue does not have it.
    async fn again(&self, batch: &mut Batch<'_>, seen: &Sighting, id: IssueId) -> Result<Option<Vec<IssueChange>>, FollowError> {
        let now = batch.now;
        let found = batch.draft(&seen.tenant, id).await?;
        let Some(draft) = found.filter(|draft| draft.issue.fingerprints().any(|print| print == seen.fingerprint)) else {
            return Ok(None);
        };
        let mut followed = decide(&draft.issue, &Input::Seen(seen), now).unwrap_or_default();
        if followed.is_empty()
            && let Some((_, since)) = machine::asks_for_counts(&draft.issue)
        {
            let prints: Vec<Fingerprint> = draft.issue.fingerprints().collect();
            let counts = self.arrivals.counts(&seen.tenant, &prints, since).await?;
            followed = decide(&draft.issue, &Input::Counted(counts), now).unwrap_or_default();
        }
        // The releases that it knew decide; then it learns of this one.
        draft.changed |= observe(&mut draft.issue, seen) || !followed.is_empty();
        followed.iter().for_each(|change| apply(&mut draft.issue, change, now, &Actor::system("issues")));
        Ok(Some(followed))
    }
}

/// A batch while it is decided: several of its sightings may be of one issue.
struct Batch<'a> {
    now: Timestamp,
    state: &'a dyn StateStore,
    drafts: BTreeMap<IssueId, Draft>,
    counters: Counters,
    commit: Commit,
}

impl Batch<'_> {
    async fn draft(&mut self, tenant: &TenantId, id: IssueId) -> Result<Option<&mut Draft>, StateError> {
        if !self.drafts.contains_key(&id)
            && let Some(Versioned { entity: issue, version }) = load::<Issue>(self.state, tenant, &id.to_string()).await?
        {
            self.drafts.insert(id, Draft { issue, expect: Expect::Version(version), changed: false });
        }
        Ok(self.drafts.get_mut(&id))
    }

    /// A fingerprint that no issue has.
    async fn open(&mut self, seen: &Sighting, detail: ArrivalDetail) -> Result<(IssueId, Vec<IssueChange>), StateError> {
        let counter = self.counters.of(self.state, &seen.tenant).await?;
        (counter.last, counter.live) = (counter.last + 1, counter.live + 1);
        let mut issue = newborn(seen, detail, counter.last);
        observe(&mut issue, seen);
        let change = IssueChange::Opened { title: issue.title.clone(), fingerprint: seen.fingerprint };
        apply(&mut issue, &change, self.now, &Actor::system("issues"));
        self.commit.put(&owner(&issue, seen.fingerprint), Expect::New)?;
        let id = issue.id;
        self.drafts.insert(id, Draft { issue, expect: Expect::New, changed: true });
        Ok((id, vec![change]))
    }

    fn finish(mut self) -> Result<Commit, StateError> {
        for draft in self.drafts.values().filter(|draft| draft.changed) {
            self.commit.put(&draft.issue, draft.expect)?;
        }
        self.counters.write(&mut self.commit)?;
        Ok(self.commit)
    }
}

fn moved(seen: &Sighting) -> StateError {
    StateError::Conflict { what: format!("the owner of fingerprint {}", seen.fingerprint) }
}

/// An issue before anything happened to it.
fn newborn(seen: &Sighting, detail: ArrivalDetail, number: u64) -> Issue {
    let ArrivalDetail { kind, message, title, grouped_by, calls, .. } = detail;
    let kind = if kind.is_empty() { "Error".to_owned() } else { kind };
    let computed = if message.is_empty() { kind.clone() } else { format!("{kind}: {message}") };
    let title = if title.is_empty() { computed } else { title };
    let grouped_by = if grouped_by.is_empty() { explanation(&kind, &message, &calls) } else { grouped_by };
    Issue {
        id: IssueId::derived(seen.first_seen, &format!("{}/{}", seen.tenant, seen.fingerprint)),
        tenant: seen.tenant.clone(),
        number,
        title: title.chars().take(LONGEST_TITLE).collect(),
        kind,
        message,
        culprit: calls.into_iter().next().unwrap_or_default(),
        grouped_by,
        state: IssueState::Open,
        assignee: None,
        services: Vec::new(),
        first_release: None,
        releases: Vec::new(),
        groups: vec![Group { fingerprint: seen.fingerprint, first_seen: seen.first_seen, last_seen: seen.last_seen }],
        absorbed: Vec::new(),
        regressions: 0,
        history: Vec::new(),
    }
}

/// What intake compared, for people.
fn explanation(kind: &str, message: &str, calls: &[String]) -> String {
    let mut text = format!("grouped by the exception's type `{kind}`");
    if !message.is_empty() {
        text.push_str(&format!(", the message `{message}`"));
    }
    match calls {
        [] => text.push_str("; no frames of the stack are known"),
        // Further ones differ by where an error was caught and take part only where `collector.grouping_frames` says so.
        [innermost, ..] => text.push_str(&format!(" and the innermost call {innermost}")),
    }
    text
}
