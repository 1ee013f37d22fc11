//! The loop of a target: waits for its moment, asks, stores what came. A target that vanishes has its series marked stale after
//! two intervals, unless it comes back.

use std::sync::Arc;
use std::time::Duration;

use model::time::{Stopwatch, Timestamp};
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::board::{Health, Place, TargetState};
use super::fetch::{Exposed, FetchError};
use super::memory::{Labelling, Live, Memory};
use super::rows::{self, Counts, TextError, Wishes};
use super::schedule::{Regular, offset};
use super::{Plan, Shared};
use crate::admission::{Full, Reservation};
use crate::failure::Failure;
use crate::inflate::{Encoding, InflateError, inflate};
use crate::rows::{Arrival, Builder, Built};

/// What a target's runner shall do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    /// Scrape it.
    Scraped,
    /// Do not ask, and say why it is down.
    Failing(String),
    /// It is gone.
    Gone,
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
    at: usize,
    place: Arc<Place>,
    end: CancellationToken,
    wishes: Arc<Wishes>,
    memory: Memory,
    regular: Regular,
}

/// Runs until the end, or until the target is gone and buried.
pub(super) async fn run(shared: Arc<Shared>, at: usize, place: Arc<Place>, mut told: watch::Receiver<Wanted>, end: CancellationToken) {
    let (plan, target) = (&shared.plans[at], &place.target);
    let wishes = Arc::new(wishes(plan, &shared, target.labels.clone()));
    let (every, seed) = (target.interval.0, shared.seed);
    let wait = offset(shared.collector.now(), every, target.key, seed);
    let (shared, place) = (Arc::clone(&shared), Arc::clone(&place));
    let mut runner = Runner { shared, at, place, end: end.clone(), wishes, memory: Memory::default(), regular: Regular::default() };
    tokio::select! {
        () = tokio::time::sleep(wait) => {}
        () = end.cancelled() => return,
    }
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    loop {
        let wanted = told.borrow_and_update().clone();
        let forced = match wanted {
            Wanted::Gone => {
                if runner.linger(&mut told).await {
                    continue;
                }
                return;
            }
            Wanted::Failing(why) => Some(why),
            Wanted::Scraped => None,
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

fn wishes(plan: &Plan, shared: &Shared, target: model::labels::Labels) -> Wishes {
    let labelling = Labelling {
        tenant: shared.config.tenant.clone(),
        target,
        honor: plan.job.honor_labels,
        rules: Arc::clone(&plan.metric_rules),
        limits: plan.limits,
    };
    Wishes {
        labelling,
        honor_timestamps: plan.job.honor_timestamps,
        track_timestamps: plan.job.track_timestamps_staleness,
        sample_limit: plan.job.sample_limit,
    }
}

impl Runner {
    fn plan(&self) -> &Plan {
        &self.shared.plans[self.at]
    }

    /// Waits a little more than two intervals; whether the target came back meanwhile. If not, its series are marked stale.
    async fn linger(&mut self, told: &mut watch::Receiver<Wanted>) -> bool {
        let every = self.place.target.interval.0;
        let gone = self.shared.collector.now();
        tokio::select! {
            () = tokio::time::sleep(every * 2 + every / 10) => {}
            back = told.wait_for(|wanted| *wanted != Wanted::Gone) => return back.is_ok(),
            () = self.end.cancelled() => return false,
        }
        let (live, wishes, at) = (std::mem::take(&mut self.memory.live), Arc::clone(&self.wishes), gone.plus(every));
        if self.place.state().last_scrape != Timestamp::EPOCH {
            let build = move |arrival: Arrival<'_>, reservation: &mut Reservation| {
                let mut to = Builder::new(arrival, Some(reservation));
                (rows::bury(&live, &wishes.labelling, at, &mut to).and_then(|()| to.finish()), ())
            };
            let stored = self.shared.collector.gather(self.wishes.labelling.tenant.clone(), self.shared.collector.aside(), build).await;
            if let Err(failure) | Ok(((), Err(failure))) = stored {
                tracing::warn!(job = self.plan().job.job_name, %failure, "series of a target that is gone could not be marked stale");
            }
        }
        *told.borrow() != Wanted::Gone
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
        let work =
            Work { fetched, limit: self.limit(), at, watch, wishes: Arc::clone(&self.wishes), memory: std::mem::take(&mut self.memory) };
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
            Err(failure) => Some(("refused", not_stored(&failure))),
        };
        self.note(started, watch.elapsed(), problem);
        true
    }

    /// The most bytes of an answer.
    fn limit(&self) -> u64 {
        let most = self.shared.collector.inner.config.max_decoded_bytes.0;
        match self.plan().job.body_size_limit.0 {
            0 => most,
            limit => limit.min(most),
        }
    }

    async fn fetch(&self, reservation: &mut Reservation) -> Result<Exposed, Problem> {
        let target = &self.place.target;
        let mut asked = false;
        let fetching = async {
            let _turn = self.shared.turns.acquire().await.map_err(|_| Problem::Busy)?;
            asked = true;
            Ok(self.plan().client.scrape(&target.url, target.timeout.0, self.limit(), reservation).await?)
        };
        match tokio::time::timeout(target.timeout.0, fetching).await {
            Ok(fetched) => fetched,
            Err(_) if asked => Err(FetchError::Timeout(target.timeout.0).into()),
            Err(_) => Err(Problem::Busy),
        }
    }

    fn note(&self, started: Timestamp, took: Duration, problem: Option<(&'static str, String)>) {
        let (outcome, last_error) = problem.unwrap_or(("ok", String::new()));
        let job = &self.plan().job.job_name;
        self.shared.meters.scrapes.with_label_values(&[job.as_str(), outcome]).inc();
        let health = if last_error.is_empty() { Health::Up } else { Health::Down };
        let state = TargetState { health, last_error: last_error.clone(), last_scrape: started, last_duration: took };
        let before = self.place.set(state);
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
    live: Live,
    problem: Option<Problem>,
}

impl Work {
    /// Blocking.
    fn build(self, arrival: Arrival<'_>, reservation: &mut Reservation) -> (Result<Built, Full>, Done) {
        let Work { fetched, limit, at, watch, wishes, mut memory } = self;
        let mut counts = Counts::default();
        let text = fetched.and_then(|exposed| Ok((inflated(exposed.encoding, exposed.body, limit, reservation)?, exposed.format)));
        let problem = match text.and_then(|(body, format)| Ok((String::from_utf8(body).map_err(|_| Problem::Utf8)?, format))) {
            Ok((text, format)) => {
                let mut to = Builder::new(arrival, Some(&mut *reservation));
                match rows::fill(&text, format, at, &wishes, &mut memory, &mut counts, &mut to) {
                    Ok(live) => {
                        let ended = rows::end(&memory.live, &live, (true, watch.elapsed(), counts), &wishes.labelling, at, to);
                        return (ended, Done { memory, live, problem: None });
                    }
                    Err(error) => Problem::Text(error),
                }
            }
            Err(problem) => problem,
        };
        // Nothing of the text counts, so the rows begin anew.
        let (to, live) = (Builder::new(arrival, None), Live::new());
        let ended = rows::end(&memory.live, &live, (false, watch.elapsed(), counts), &wishes.labelling, at, to);
        (ended, Done { memory, live, problem: Some(problem) })
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
