//! The intake itself: takes a request's bytes through admission, decoding, rows and the sink, whatever protocol they came
//! by. In: a body, its encoding, a principal. Out: what was accepted and what of it rejected. Fails: see [`Failure`]; nothing of
//! a failed request is stored.

use std::sync::Arc;

use bytes::Bytes;
use model::access::{Permission, Principal};
use model::fingerprint::Rules;
use model::sink::{Appended, Batch, RequestHash, TelemetrySink};
use model::tenant::TenantId;
use model::time::{Clock, Timestamp};
use prometheus::Registry;
use tokio::sync::Semaphore;

use crate::admission::{Admission, Full, Reservation};
use crate::config::Config;
use crate::decode::Protocol;
use crate::failure::{Failure, Stage};
use crate::family::Families;
use crate::inflate::{Encoding, InflateError, inflate};
use crate::meters::Meters;
use crate::pipeline::cardinality::ActiveSeries;
use crate::pipeline::patterns::Miner;
use crate::pipeline::rates::{Buckets, Flow, Load, Over};
use crate::pipeline::stage::Changes;
use crate::pipeline::{self, Current, Pipeline};
use crate::rows::red::NameGuard;
use crate::rows::tally::{Tally, Written};
use crate::rows::{Arrival, Builder, Built, Limits};
use crate::sentry::rates::Rates;
use crate::series::{SeriesCache, TargetInfoCache};

/// The OTLP intake. Cheap to clone; clones share everything.
#[derive(Clone)]
pub struct Collector {
    pub(crate) inner: Arc<Inner>,
}

/// What all requests share.
pub(crate) struct Inner {
    pub(crate) config: Config,
    pub(crate) meters: Meters,
    limits: Limits,
    sink: Arc<dyn TelemetrySink>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) admission: Arc<Admission>,
    decoders: Arc<Semaphore>,
    pub(crate) series: SeriesCache,
    pub(crate) targets: TargetInfoCache,
    names: NameGuard,
    pub(crate) pipeline: Current,
    active: ActiveSeries,
    miner: Miner,
    buckets: Buckets,
    /// Envelopes that each key sent within this minute.
    pub(crate) rates: Rates,
    families: Families,
}

impl Inner {
    /// What rows of a tenant that arrive now need.
    pub(crate) fn arrival<'r>(&'r self, tenant: &'r TenantId, at: Timestamp, pipeline: &'r Pipeline) -> Arrival<'r> {
        Arrival {
            tenant,
            at,
            limits: &self.limits,
            series: &self.series,
            targets: &self.targets,
            names: &self.names,
            pipeline,
            active: &self.active,
            miner: &self.miner,
            families: &self.families,
        }
    }
}

/// A body as it came.
#[derive(Clone)]
pub(crate) struct Payload {
    /// What it is.
    pub(crate) protocol: Protocol,
    /// How it is compressed.
    pub(crate) encoding: Encoding,
    /// The bytes.
    pub(crate) body: Bytes,
}

/// What became of an accepted request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Records in the request, kept or not.
    pub(crate) records: u64,
    /// Records that can never be stored.
    pub(crate) rejected: u64,
    /// Why.
    pub(crate) message: Option<String>,
    /// The first few of them by number, in formats that number them.
    pub(crate) details: Vec<(u64, String)>,
    /// Of Prometheus's records, how many are stored.
    pub(crate) written: Written,
    /// Rows of the request, by table.
    pub(crate) rows: Vec<(&'static str, u64)>,
    /// The id of the event in it, where the protocol has one.
    pub(crate) id: Option<[u8; 16]>,
}

/// A decoded request.
pub(crate) struct Prepared {
    payload: Payload,
    reservation: Reservation,
    hash: Option<RequestHash>,
    pub(crate) built: Built,
    /// Bytes after decompression.
    bytes: u64,
}

impl Collector {
    /// An intake that writes through `sink` and processes as the default [`pipeline::Config`] says. Registers its metrics; fails if
    /// their names are taken.
    pub fn new(
        config: Config,
        sink: Arc<dyn TelemetrySink>,
        clock: Arc<dyn Clock>,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let meters = Meters::new(registry)?;
        let pipeline = Pipeline::new(&pipeline::Config::default())
            .map_err(|problems| prometheus::Error::Msg(problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")))?;
        let inner = Inner {
            limits: Limits::new(&config),
            sink,
            clock,
            admission: Arc::new(Admission::new(&config, meters.in_flight.clone())),
            decoders: Arc::new(Semaphore::new(config.threads())),
            series: SeriesCache::new(config.series_cache),
            targets: TargetInfoCache::new(config.series_cache),
            names: NameGuard::new(&config),
            pipeline: Current::new(Arc::new(pipeline)),
            active: ActiveSeries::default(),
            miner: Miner::default(),
            buckets: Buckets::default(),
            rates: Rates::new(config.sentry.rate_limit),
            families: Families::default(),
            meters,
            config,
        };
        Ok(Collector { inner: Arc::new(inner) })
    }

    /// Processes requests that come from now on by another pipeline; those that are at work end with theirs, so nothing is lost.
    pub fn set_pipeline(&self, pipeline: Arc<Pipeline>) {
        // Spans that wait without a policy are all kept, so the order does not matter.
        self.inner.sink.set_tail_policy(pipeline.tail.clone());
        self.inner.pipeline.set(pipeline);
    }

    /// Lets a request in: its principal may send telemetry, and there is room for it.
    pub(crate) async fn enter(&self, principal: Option<&Principal>) -> Result<Reservation, Failure> {
        principal.ok_or(Failure::Unauthenticated)?.require(Permission::Ingest)?;
        self.admit().await
    }

    /// Lets a request in whose body tells who it is from.
    pub(crate) async fn admit(&self) -> Result<Reservation, Failure> {
        self.inner.admission.enter().await.map_err(Failure::from)
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Groups errors by these rules, from the next request on.
    pub fn set_error_rules(&self, rules: Rules) {
        self.inner.limits.set_rules(rules);
    }

    /// Stores a request whose body is read; its rows are durable once this returns.
    pub(crate) async fn accept(&self, payload: Payload, principal: &Principal, reservation: Reservation) -> Result<Accepted, Failure> {
        let arrived = self.inner.clock.now();
        let pipeline = self.inner.pipeline.get();
        let limited = |over| self.limited(principal, over);
        if let Some(flow) = Flow::of_signal(payload.protocol.label()) {
            self.inner.buckets.check(&pipeline.rates, &principal.tenant, flow, arrived).map_err(limited)?;
        }
        let (mut payload, mut reservation, mut held) = (payload, reservation, false);
        loop {
            let prepared = self.prepare(payload, principal, arrived, reservation, &pipeline).await?;
            let protocol = prepared.payload.protocol;
            let Built { blocks, tally, series, targets, changes, load, trace: _ } = prepared.built;
            let charge = Charge { intake: self, pipeline: &pipeline, principal, load, bytes: prepared.bytes };
            charge.take(arrived).map_err(limited)?;
            let rows: Vec<(&'static str, u64)> = blocks.iter().map(|block| (block.table.name, block.rows() as u64)).collect();
            let appended = if blocks.is_empty() {
                Ok(Appended::Durable)
            } else {
                let batch = Batch { tenant: principal.tenant.clone(), request: prepared.hash, arrived, blocks };
                self.inner.sink.append(batch).await.map_err(Failure::from)
            };
            match appended {
                Ok(appended) => {
                    let known = self.inner.series.remember(&series);
                    self.inner.targets.remember(&targets);
                    self.inner.meters.series.set(i64::try_from(known).unwrap_or(i64::MAX));
                    self.count(protocol, appended, &rows, &tally, &changes, &pipeline);
                    return Ok(Accepted {
                        records: tally.records,
                        rejected: tally.rejected_total(),
                        message: tally.message(protocol.noun()),
                        details: tally.details,
                        written: tally.written,
                        rows,
                        id: tally.sentry.id,
                    });
                }
                // Some exporters never send again: wait a moment, decode again (the blocks are gone), try once more.
                Err(failure) if failure.may_pass() && !held => {
                    charge.give_back();
                    held = true;
                    tracing::debug!(signal = protocol.label(), %failure, "the log refused a request; it is held and tried again");
                    tokio::time::sleep(self.inner.config.hold.0).await;
                    (payload, reservation) = (prepared.payload, prepared.reservation);
                }
                Err(failure) => {
                    charge.give_back();
                    log_failure(protocol, &failure);
                    return Err(failure);
                }
            }
        }
    }

    /// Inflates, decodes and builds the rows on a thread for blocking work, as many at a time as configured.
    async fn prepare(
        &self,
        payload: Payload,
        principal: &Principal,
        arrived: Timestamp,
        reservation: Reservation,
        pipeline: &Arc<Pipeline>,
    ) -> Result<Prepared, Failure> {
        let turn = Arc::clone(&self.inner.decoders).acquire_owned().await.map_err(|_| Failure::Internal)?;
        let (inner, tenant, pipeline) = (Arc::clone(&self.inner), principal.tenant.clone(), Arc::clone(pipeline));
        let work = move || {
            // Held until the work is done, also where the client goes away meanwhile.
            let _turn = turn;
            let (watch, histogram) = inner.meters.time_decode(payload.protocol.label());
            let arrival = inner.arrival(&tenant, arrived, &pipeline);
            let prepared = prepare(&inner.config, payload, arrival, reservation);
            histogram.observe(watch.elapsed().as_secs_f64());
            prepared
        };
        tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| {
            tracing::error!(%error, "decoding a request failed because of a defect");
            Err(Failure::Internal)
        })
    }

    /// Memory for a body that Watchfire fetches itself.
    pub(crate) fn aside(&self) -> Reservation {
        self.inner.admission.aside()
    }

    /// Stores rows that Watchfire gathers itself, as one batch, built on a thread for blocking work. What `build` gives beside
    /// the rows is given back whatever becomes of them; the rows are durable where the result is fine.
    pub(crate) async fn gather<T: Send + 'static>(
        &self,
        tenant: TenantId,
        mut reservation: Reservation,
        build: impl FnOnce(Arrival<'_>, &mut Reservation) -> (Result<Built, Full>, T) + Send + 'static,
    ) -> Result<(T, Result<(), Failure>), Failure> {
        let turn = Arc::clone(&self.inner.decoders).acquire_owned().await.map_err(|_| Failure::Internal)?;
        let (inner, arrived, of, pipeline) = (Arc::clone(&self.inner), self.now(), tenant.clone(), self.inner.pipeline.get());
        let by = Arc::clone(&pipeline);
        let work = move || {
            let _turn = turn;
            build(inner.arrival(&of, arrived, &by), &mut reservation)
        };
        let (built, beside) = tokio::task::spawn_blocking(work).await.map_err(|error| {
            tracing::error!(%error, "building rows failed because of a defect");
            Failure::Internal
        })?;
        let Built { blocks, tally, series, changes, .. } = match built {
            Ok(built) => built,
            Err(full) => return Ok((beside, Err(full.into()))),
        };
        let rows: Vec<(&'static str, u64)> = blocks.iter().map(|block| (block.table.name, block.rows() as u64)).collect();
        if let Err(refusal) = self.inner.sink.append(Batch { tenant, request: None, arrived, blocks }).await {
            return Ok((beside, Err(refusal.into())));
        }
        let known = self.inner.series.remember(&series);
        self.inner.meters.series.set(i64::try_from(known).unwrap_or(i64::MAX));
        for (table, rows) in rows {
            self.inner.meters.rows.with_label_values(&[table]).inc_by(rows);
        }
        self.inner.meters.tally("metrics", &tally);
        self.inner.meters.changes("metrics", &changes, &pipeline);
        Ok((beside, Ok(())))
    }

    fn limited(&self, principal: &Principal, over: Over) -> Failure {
        self.inner.meters.limited.with_label_values(&[principal.tenant.as_str(), over.flow.label()]).inc();
        Failure::RateLimited(over)
    }

    fn count(
        &self,
        protocol: Protocol,
        appended: Appended,
        rows: &[(&'static str, u64)],
        tally: &Tally,
        changes: &Changes,
        pipeline: &Pipeline,
    ) {
        let meters = &self.inner.meters;
        match appended {
            Appended::Durable => {
                for (table, rows) in rows {
                    meters.rows.with_label_values(&[table]).inc_by(*rows);
                }
                meters.tally(protocol.label(), tally);
                meters.changes(protocol.label(), changes, pipeline);
                meters.active.set(i64::try_from(self.inner.active.len()).unwrap_or(i64::MAX));
            }
            Appended::Duplicate => meters.duplicates.with_label_values(&[protocol.label()]).inc(),
        }
    }
}

/// What a request takes of its tenant's rate limits.
struct Charge<'c> {
    intake: &'c Collector,
    pipeline: &'c Pipeline,
    principal: &'c Principal,
    load: Load,
    bytes: u64,
}

impl Charge<'_> {
    fn take(&self, now: Timestamp) -> Result<(), Over> {
        self.intake.inner.buckets.take(&self.pipeline.rates, &self.principal.tenant, self.load, self.bytes, now)
    }
    /// The request was not stored.
    fn give_back(&self) {
        self.intake.inner.buckets.give_back(&self.pipeline.rates, &self.principal.tenant, self.load, self.bytes);
    }
}

/// From the bytes to the rows. Blocking; touches no clock and no network.
pub(crate) fn prepare(config: &Config, payload: Payload, arrival: Arrival<'_>, mut reservation: Reservation) -> Result<Prepared, Failure> {
    let limit = config.max_decoded_bytes.0;
    let body = if payload.encoding == Encoding::Identity {
        if payload.body.len() as u64 > limit {
            return Err(Failure::TooLarge(Stage::Inflated, limit));
        }
        payload.body
    } else {
        let inflated = inflate(payload.encoding, &payload.body, limit, &mut reservation).map_err(|error| match error {
            InflateError::TooLarge(limit) => Failure::TooLarge(Stage::Inflated, limit),
            InflateError::Broken(error) => Failure::Compression(payload.encoding.name(), error.to_string()),
            InflateError::Full(full) => full.into(),
        })?;
        Bytes::from(inflated)
    };
    let body = payload.protocol.unpack(body, limit, &mut reservation)?;
    let body = payload.protocol.mend(body, &mut reservation).map_err(Failure::from)?;
    let payload = Payload { encoding: Encoding::Identity, body, ..payload };
    let weight = payload.protocol.weight(&payload.body);
    if weight > config.max_request_memory.0 {
        return Err(Failure::TooHeavy(weight, config.max_request_memory.0));
    }
    reservation.try_grow(weight).map_err(Failure::from)?;
    let bounds = arrival.limits.bounds();
    let mut builder = Builder::new(arrival, Some(&mut reservation));
    payload.protocol.read(&payload.body, bounds, &mut builder)?;
    let built = builder.finish().map_err(Failure::from)?;
    let bytes = payload.body.len() as u64;
    let hash = payload.protocol.request(&payload.body);
    Ok(Prepared { payload, reservation, hash, built, bytes })
}

fn log_failure(protocol: Protocol, failure: &Failure) {
    let source = std::error::Error::source(failure).map(ToString::to_string).unwrap_or_default();
    tracing::warn!(signal = protocol.label(), %failure, source, "a request was refused");
}
