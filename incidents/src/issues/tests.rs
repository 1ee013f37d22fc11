//! Issues in a small world: a table of events that is played by the test, the state in memory, a clock that is moved by hand.

mod api;
mod following;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use model::error_events::{
    Arrival, ArrivalDetail, ErrorArrivals, ErrorEvent, ErrorFacet, ErrorQuery, ErrorReads, ErrorSummary, ErrorTrend, EventCounts,
};
use model::event::EventKind;
use model::fingerprint::Fingerprint;
use model::ids::{IssueId, SequentialIds};
use model::issue::{Group, Issue, IssueState};
use model::labels::Labels;
use model::query::{QueryError, SeriesSample};
use model::sink::{DeltaSink, Refusal, RequestHash};
use model::state::{Leases, Versioned, by_key};
use model::tenant::TenantId;
use model::testing::Memory;
use model::time::{SimulatedClock, Timestamp};

use super::follower::FollowError;
use super::{Config, Deps, Issues};

/// One event of the default tenant, stored ten seconds after it happened.
pub(crate) fn arrival(id: u64, print: u64, secs: i64) -> Arrival {
    Arrival {
        id,
        stored: Timestamp::from_secs(secs + 10),
        tenant: TenantId::default(),
        fingerprint: Fingerprint(print),
        service: "checkout".into(),
        release: String::new(),
        first_seen: Timestamp::from_secs(secs),
        last_seen: Timestamp::from_secs(secs),
        events: 1,
    }
}

/// An open issue that was seen once.
pub(crate) fn issue(number: u64, print: u64, secs: i64) -> Issue {
    let at = Timestamp::from_secs(secs);
    Issue {
        id: IssueId::derived(at, &number.to_string()),
        tenant: TenantId::default(),
        number,
        title: format!("E{print}: it is <num>"),
        kind: format!("E{print}"),
        message: "it is <num>".into(),
        culprit: "pay (shop/app.py)".into(),
        grouped_by: String::new(),
        state: IssueState::Open,
        assignee: None,
        services: vec!["checkout".into()],
        first_release: None,
        releases: Vec::new(),
        groups: vec![Group { fingerprint: Fingerprint(print), first_seen: at, last_seen: at }],
        absorbed: Vec::new(),
        regressions: 0,
        history: Vec::new(),
    }
}

pub(crate) const START: Timestamp = Timestamp::from_secs(1_772_000_000);

#[derive(Clone)]
struct Stored {
    arrival: Arrival,
    user: String,
}

type Samples = Vec<(Labels, SeriesSample)>;

/// The telemetry store, played.
#[derive(Default)]
struct Table {
    stored: Mutex<Vec<Stored>>,
    dead: Mutex<bool>,
    /// What was added to series; a tenant's request counts once, as in the log.
    added: Mutex<BTreeMap<(TenantId, u128), Samples>>,
}

impl Table {
    fn alive(&self) -> Result<Vec<Stored>, QueryError> {
        if *self.dead.lock().unwrap() {
            return Err(QueryError::Unavailable("connection refused".into()));
        }
        Ok(self.stored.lock().unwrap().clone())
    }
    /// The sum of a series whose text holds all the words.
    fn sum(&self, words: &[&str]) -> u64 {
        let added = self.added.lock().unwrap();
        let fits = |labels: &Labels| words.iter().all(|word| labels.to_string().contains(word));
        added.values().flatten().filter(|(labels, _)| fits(labels)).map(|(_, sample)| sample.value as u64).sum()
    }
}

fn counts<'a>(stored: impl Iterator<Item = &'a Stored>) -> EventCounts {
    let mut users = std::collections::BTreeSet::new();
    let mut events = 0;
    for one in stored {
        users.insert(one.user.clone());
        events += one.arrival.events;
    }
    users.remove("");
    EventCounts { events, users: users.len() as u64 }
}

#[async_trait]
impl ErrorArrivals for Table {
    async fn arrivals(&self, from: Timestamp, limit: usize) -> Result<Vec<Arrival>, QueryError> {
        let mut found: Vec<Arrival> = self.alive()?.into_iter().map(|one| one.arrival).filter(|one| one.stored >= from).collect();
        found.sort_by_key(|one| (one.stored, one.id));
        found.truncate(limit);
        Ok(found)
    }
    async fn details(&self, _: Timestamp, ids: &[u64]) -> Result<Vec<ArrivalDetail>, QueryError> {
        let detail = |one: Stored| ArrivalDetail {
            id: one.arrival.id,
            kind: format!("E{}", one.arrival.fingerprint.0),
            message: "card <num>".into(),
            title: String::new(),
            grouped_by: String::new(),
            calls: vec!["charge (shop/pay.py)".into(), "pay (shop/app.py)".into()],
        };
        Ok(self.alive()?.into_iter().filter(|one| ids.contains(&one.arrival.id)).map(detail).collect())
    }
    async fn counts(&self, tenant: &TenantId, prints: &[Fingerprint], since: Timestamp) -> Result<EventCounts, QueryError> {
        let fits =
            |one: &&Stored| one.arrival.tenant == *tenant && prints.contains(&one.arrival.fingerprint) && one.arrival.last_seen >= since;
        Ok(counts(self.alive()?.iter().filter(fits)))
    }
}

#[async_trait]
impl ErrorReads for Table {
    async fn summaries(&self, query: &ErrorQuery, _: usize) -> Result<Vec<ErrorSummary>, QueryError> {
        let mut by_print: BTreeMap<Fingerprint, Vec<Stored>> = BTreeMap::new();
        for one in self.alive()? {
            let fits = query.service.as_ref().is_none_or(|service| *service == one.arrival.service)
                && (query.fingerprints.is_empty() || query.fingerprints.contains(&one.arrival.fingerprint));
            if fits && one.arrival.tenant == query.tenant && one.arrival.last_seen >= query.start && one.arrival.last_seen < query.end {
                let print = query.aliases.get(&one.arrival.fingerprint).unwrap_or(&one.arrival.fingerprint);
                by_print.entry(*print).or_default().push(one);
            }
        }
        let summary = |(fingerprint, stored): (Fingerprint, Vec<Stored>)| ErrorSummary {
            fingerprint,
            counts: counts(stored.iter()),
            first_seen: stored.iter().map(|one| one.arrival.first_seen).min().unwrap_or(START),
            last_seen: stored.iter().map(|one| one.arrival.last_seen).max().unwrap_or(START),
            services: vec![],
            releases: vec![],
            environments: vec!["prod".into()],
        };
        Ok(by_print.into_iter().map(summary).collect())
    }
    async fn trends(&self, query: &ErrorQuery, step_secs: u32) -> Result<Vec<ErrorTrend>, QueryError> {
        self.alive()?;
        let steps = query.end.since(query.start).as_secs().div_ceil(u64::from(step_secs));
        Ok(vec![ErrorTrend { fingerprint: query.fingerprints[0], events: vec![1; steps as usize] }])
    }
    async fn facets(&self, _: &ErrorQuery) -> Result<Vec<ErrorFacet>, QueryError> {
        self.alive()?;
        let facet = |name: &str, value: &str| ErrorFacet { name: name.into(), value: value.into(), events: 2 };
        Ok(vec![facet("release", "1.0"), facet("tag:shop", "eu")])
    }
    async fn latest(&self, _: &ErrorQuery) -> Result<Option<ErrorEvent>, QueryError> {
        self.alive().map(|_| None)
    }
}

#[async_trait]
impl DeltaSink for Table {
    async fn add(&self, tenant: &TenantId, samples: Vec<(Labels, SeriesSample)>, request: RequestHash) -> Result<(), Refusal> {
        if *self.dead.lock().unwrap() {
            return Err(Refusal::Busy { retry_after: Duration::from_secs(1) });
        }
        self.added.lock().unwrap().entry((tenant.clone(), request.0)).or_insert(samples);
        Ok(())
    }
}

/// Everything together.
struct World {
    clock: Arc<SimulatedClock>,
    state: Arc<Memory>,
    table: Arc<Table>,
    config: Config,
    issues: Issues,
}

impl World {
    fn new(config: Config) -> Self {
        let clock = Arc::new(SimulatedClock::new(START));
        let (state, table) = (Memory::new(clock.clone()), Arc::new(Table::default()));
        let issues = Self::wire(&config, &state, &table);
        World { clock, state, table, config, issues }
    }
    fn wire(config: &Config, state: &Arc<Memory>, table: &Arc<Table>) -> Issues {
        let deps = Deps {
            config: config.clone(),
            state: state.clone(),
            arrivals: table.clone(),
            reads: table.clone(),
            series: table.clone(),
            ids: Arc::new(SequentialIds::default()),
        };
        Issues::new(deps, &prometheus::Registry::new()).unwrap()
    }
    /// A new process on the same stores.
    fn restart(&mut self) {
        self.issues = Self::wire(&self.config, &self.state, &self.table);
    }
    async fn now(&self) -> Timestamp {
        self.state.now().await.unwrap()
    }
    /// Time passes.
    fn pass(&self, secs: u64) {
        self.clock.advance(Duration::from_secs(secs));
    }
    /// An event now, stored at once.
    async fn event(&self, print: u64, release: &str, user: &str) {
        let now = self.now().await;
        self.store(Arrival { release: release.into(), first_seen: now, last_seen: now, stored: now, ..arrival(0, print, 0) }, user);
    }
    fn store(&self, arrival: Arrival, user: &str) {
        let mut stored = self.table.stored.lock().unwrap();
        let arrival = Arrival { id: stored.len() as u64 + 1, ..arrival };
        stored.push(Stored { arrival, user: user.into() });
    }
    /// Until everything is handled.
    async fn follow(&self) -> Result<(), FollowError> {
        let follower = self.issues.follower();
        while follower.advance(&*self.state, None, self.now().await).await? > 0 {}
        Ok(())
    }
    async fn issue(&self, number: u64) -> Issue {
        let found: Option<Versioned<Issue>> = by_key(&*self.state, &TenantId::default(), &number.to_string()).await.unwrap();
        found.unwrap_or_else(|| panic!("no issue {number}")).entity
    }
    /// The words of all changes in the journal.
    fn journal(&self) -> Vec<String> {
        let change = |kind: &EventKind| match kind {
            EventKind::Issue { number, change, .. } => Some(format!("{number} {}", change.word())),
            _ => None, // about no issue
        };
        self.state.journal().iter().filter_map(|one| change(&one.event.kind)).collect()
    }
}
