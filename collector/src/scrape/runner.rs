//! The loop of a target: waits for its moment, asks, stores what came. A target that vanishes has its series marked stale after
//! two intervals, unless it comes back.

use std::sync::Arc;
use std::time::Duration;

use model::time::{Stopwatch, Timestamp};
use tokio::sync::watch;
use tokio::time::{Interval, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::board::{Health, Place, TargetState};
use super::fetch::{Exposed, FetchError, Question};
use super::memory::{Labelling, Live, Memory};
use super::rows::{self, Counts, TextError, Went, Wishes};
use super::schedule::{Regular, offset};
use super::target::Target;
use super::{Plan, Shared};
use crate::admission::{Full, Reservation};
use crate::failure::Failure;
use crate::inflate::{Encoding, InflateError, inflate};
use crate::rows::{Arrival, Builder, Built};

/// What a target's runner shall do, and how.
#[derive(Clone)]
pub(super) struct Wanted {
    /// The job's settings.
    pub(super) plan: Arc<Plan>,
    /// What.
    pub(super) doing: Doing,
}

impl Wanted {
    /// Whether nothing changes with the other one.
    pub(super) fn same(&self, other: &Wanted) -> bool {
        Arc::ptr_eq(&self.plan, &other.plan) && self.doing == other.doing
    }
}

/// What a target's runner shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// Scrape it.
    Scraping,
    /// Do not ask, and say why it is down.
    Failing(String),
    /// It is gone: mark its series stale, unless it comes back soon.
    Burying,
}

/// Why a scrape failed.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error(transparent)]
    Fetch(#[from] FetchError),
    #[error(transparent)]
    Text(#[from] TextError),
    #[error("the answer is larger than {} after decompression", model::units::ByteCount(*.0))]
    TooLarge(u64),
    #[error("the answer is not a complete {0} stream: {1}")]
    Compression(&'static str, std::io::Error),
    #[error("the answer is not UTF-8")]
    Utf8,
    #[error("{0}")]
    Forced(String),
    #[error("no turn within the timeout: too many scrapes at the same time (scrape.concurrency)")]
    Busy,
}

/// A target at work.
struct Runner {
    shared: Arc<Shared>,
    plan: Arc<Plan>,
    place: Arc<Place>,
    end: CancellationToken,
    wishes: Arc<Wishes>,
    memory: Memory,
    regular: Regular,
}

/// Runs until the end, or until the target is gone and buried.
pub(super) async fn run(shared: Arc<Shared>, place: Arc<Place>, mut told: watch::Receiver<Wanted>, end: CancellationToken) {
    let (target, plan) = (&place.target, Arc::clone(&told.borrow().plan));
    let wishes = Arc::new(wishes(&plan, target));
    let every = target.interval.0;
    let wait = offset(shared.collector.now(), every, target.key, shared.seed);
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        // Nothing to bury.
        _ = told.wait_for(|wanted| wanted.doing == Doing::Burying) => return,
        () = end.cancelled() => return,
    }
    let place = Arc::clone(&place);
    let mut runner = Runner { shared, plan, place, end: end.clone(), wishes, memory: Memory::default(), regular: Regular::default() };
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let wanted = told.borrow_and_update().clone();
        runner.follow(wanted.plan);
        let forced = match wanted.doing {
            Doing::Burying => {
                if runner.linger(&mut told, &mut ticks).await {
                    continue;
                }
                return;
            }
            Doing::Failing(why) => Some(why),
            Doing::Scraping => None,
        };
        tokio::select! {
            _ = ticks.tick() => {
                if !runner.scrape(forced).await {
                    return;
                }
            }
            changed = told.changed() => if changed.is_err() { return },
            () = end.cancelled() => return,
        }
    }
}

fn wishes(plan: &Plan, target: &Target) -> Wishes {
    let labelling = Labelling {
        tenant: plan.tenant.clone(),
        target: target.labels.clone(),
        honor: plan.job.honor_labels,
        rules: Arc::clone(&plan.metric_rules),
        limits: plan.limits,
    };
    Wishes {
        labelling,
        honor_timestamps: plan.job.honor_timestamps,
        track_timestamps: plan.job.track_timestamps_staleness,
        sample_limit: plan.job.sample_limit,
        extra: plan.extra.then_some(target.timeout.0),
    }
}

impl Runner {
    /// Goes on with other settings; what they make of the target's series shows at the next scrape.
    fn follow(&mut self, plan: Arc<Plan>) {
        if Arc::ptr_eq(&plan, &self.plan) {
            return;
        }
        self.wishes = Arc::new(wishes(&plan, &self.place.target));
        if !plan.labels_alike(&self.plan) {
            self.memory.relabel();
        }
        self.plan = plan;
    }

    /// Waits a little more than two intervals; whether the target came back meanwhile. If not, its series are marked stale as of
    /// the moment of the next scrape that there would have been, except those that another target with its labels has now.
    async fn linger(&mut self, told: &mut watch::Receiver<Wanted>, ticks: &mut Interval) -> bool {
        let (shared, place) = (Arc::clone(&self.shared), Arc::clone(&self.place));
        if place.state().last_scrape == Timestamp::EPOCH {
            return false;
        }
        let waiting = async {
            ticks.tick().await;
            let at = shared.collector.now();
            ticks.tick().await;
            tokio::time::sleep(place.target.interval.0 / 10).await;
            at
        };
        let at = tokio::select! {
            at = waiting => at,
            back = told.wait_for(|wanted| wanted.doing != Doing::Burying) => return back.is_ok(),
            () = self.end.cancelled() => return false,
        };
        let tenant = self.wishes.labelling.tenant.clone();
        let others = shared.board.others(&tenant, &place.target.labels, &place);
        let (live, wishes) = (std::mem::take(&mut self.memory.live), Arc::clone(&self.wishes));
        let build = move |arrival: Arrival<'_>, reservation: &mut Reservation| {
            let mut to = Builder::new(arrival, Some(reservation));
            (rows::bury(&live, &others, &wishes, at, &mut to).and_then(|()| to.finish()), ())
        };
        let stored = shared.collector.gather(tenant, shared.collector.aside(), build).await;
        if let Err(failure) | Ok(((), Err(failure))) = stored {
            let job = &self.plan.job.job_name;
            tracing::warn!(job, %failure, "series of a target that is gone could not be marked stale");
        }
        place.seen().live = Arc::default();
        told.borrow().doing != Doing::Burying
    }

    /// Asks and stores; whether to go on.
    async fn scrape(&mut self, forced: Option<String>) -> bool {
        let (started, watch) = (self.shared.collector.now(), Stopwatch::start());
        let at = self.regular.at(started, self.place.target.interval.0);
        let mut reservation = self.shared.collector.aside();
        let fetched = match forced {
            Some(why) => Err(Problem::Forced(why)),
            None => tokio::select! {
                fetched = self.fetch(&mut reservation) => fetched,
                () = self.end.cancelled() => return false,
            },
        };
        let (memory, before) = (std::mem::take(&mut self.memory), Arc::clone(&self.place.seen().live));
        let work = Work { fetched, limit: self.limit(), at, watch, wishes: Arc::clone(&self.wishes), memory };
        let tenant = self.wishes.labelling.tenant.clone();
        let stored = self.shared.collector.gather(tenant, reservation, move |arrival, reservation| work.build(arrival, reservation)).await;
        let problem = match stored {
            Ok((done, stored)) => {
                self.memory = done.memory;
                match stored {
                    Ok(()) => {
                        self.memory.live = done.live;
                        done.problem.map(|problem| ("failed", problem.to_string()))
                    }
                    Err(failure) => Some(("refused", not_stored(&failure))),
                }
            }
            Err(failure) => {
                self.memory.live = before;
                Some(("refused", not_stored(&failure)))
            }
        };
        self.note(started, watch.elapsed(), problem);
        true
    }

    /// The most bytes of an answer.
    fn limit(&self) -> u64 {
        let most = self.shared.collector.inner.config.max_decoded_bytes.0;
        match self.plan.job.body_size_limit.0 {
            0 => most,
            limit => limit.min(most),
        }
    }

    async fn fetch(&self, reservation: &mut Reservation) -> Result<Exposed, Problem> {
        let (plan, target) = (&self.plan, &self.place.target);
        let timeout = target.timeout.0;
        let question = Question { url: &target.url, timeout, limit: self.limit(), accept: &plan.accept, fallback: plan.fallback };
        let mut asked = false;
        let fetching = async {
            let _turn = plan.turns.acquire().await.map_err(|_| Problem::Busy)?;
            asked = true;
            Ok(plan.client.scrape(question, reservation).await?)
        };
        match tokio::time::timeout(timeout, fetching).await {
            Ok(fetched) => fetched,
            Err(_) if asked => Err(FetchError::Timeout(timeout).into()),
            Err(_) => Err(Problem::Busy),
        }
    }

    fn note(&self, started: Timestamp, took: Duration, problem: Option<(&'static str, String)>) {
        let (outcome, last_error) = problem.unwrap_or(("ok", String::new()));
        let job = &self.plan.job.job_name;
        self.shared.meters.scrapes.with_label_values(&[job.as_str(), outcome]).inc();
        let health = if last_error.is_empty() { Health::Up } else { Health::Down };
        let state = TargetState { health, last_error: last_error.clone(), last_scrape: started, last_duration: took };
        let before = {
            let mut seen = self.place.seen();
            seen.live = Arc::clone(&self.memory.live);
            seen.described = Arc::clone(&self.memory.described);
            std::mem::replace(&mut seen.state, state)
        };
        let instance = self.place.target.labels.get("instance").unwrap_or("");
        match (before.health, health) {
            (Health::Down, Health::Up) => tracing::info!(job, instance, "a target is up again"),
            (Health::Up | Health::Unknown, Health::Down) => tracing::warn!(job, instance, error = last_error, "a target is down"),
            (Health::Down, Health::Down) => tracing::debug!(job, instance, error = last_error, "a target is still down"),
            (_, Health::Up | Health::Unknown) => {}
        }
    }
}

fn not_stored(failure: &Failure) -> String {
    format!("the samples could not be stored: {failure}")
}

/// Everything that the rows of a scrape are made from.
struct Work {
    fetched: Result<Exposed, Problem>,
    limit: u64,
    at: Timestamp,
    watch: Stopwatch,
    wishes: Arc<Wishes>,
    memory: Memory,
}

/// What is left of it.
struct Done {
    memory: Memory,
    /// The series that have samples, once the rows are stored.
    live: Arc<Live>,
    problem: Option<Problem>,
}

impl Work {
    /// Blocking.
    fn build(self, arrival: Arrival<'_>, reservation: &mut Reservation) -> (Result<Built, Full>, Done) {
        let Work { fetched, limit, at, watch, wishes, mut memory } = self;
        let mut went = Went { up: false, took: Duration::ZERO, counts: Counts::default(), body: Some(0) };
        let read = fetched.and_then(|exposed| {
            let body = inflated(exposed.encoding, exposed.body, limit, reservation)?;
            went.body = Some(body.len() as u64);
            Ok((String::from_utf8(body).map_err(|_| Problem::Utf8)?, exposed.format))
        });
        let problem = match read {
            Ok((text, format)) => {
                let mut to = Builder::new(arrival, Some(&mut *reservation));
                match rows::fill(&text, format, at, &wishes, &mut memory, &mut went.counts, &mut to) {
                    Ok(live) => {
                        went = Went { up: true, took: watch.elapsed(), ..went };
                        let ended = rows::end(&memory.live, &live, went, &wishes, at, to);
                        return (ended, Done { memory, live: Arc::new(live), problem: None });
                    }
                    Err(error) => Problem::Text(error),
                }
            }
            Err(problem) => problem,
        };
        if matches!(problem, Problem::TooLarge(_) | Problem::Fetch(FetchError::TooLarge(_))) {
            went.body = None;
        }
        // Nothing of the text counts, so the rows begin anew.
        let (to, live) = (Builder::new(arrival, None), Live::new());
        let ended = rows::end(&memory.live, &live, Went { took: watch.elapsed(), ..went }, &wishes, at, to);
        (ended, Done { memory, live: Arc::new(live), problem: Some(problem) })
    }
}

fn inflated(encoding: Encoding, body: bytes::Bytes, limit: u64, reservation: &mut Reservation) -> Result<Vec<u8>, Problem> {
    if encoding == Encoding::Identity {
        return Ok(body.to_vec());
    }
    inflate(encoding, &body, limit, reservation).map_err(|error| match error {
        InflateError::TooLarge(limit) => Problem::TooLarge(limit),
        InflateError::Broken(error) => Problem::Compression(encoding.name(), error),
        InflateError::Full(full) => TextError::Full(full).into(),
    })
}
