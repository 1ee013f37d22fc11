//! Rows: what becomes of decoded telemetry. A [`Builder`] takes a request's records one by one, in the order resource, scope,
//! records, and ends as one block per table and a tally of what was rejected or cut. Pure but for three bounded memories
//! (described series, `target_info`, span names). Fails only where the request would take more memory than there is.

pub(crate) mod attributes;
mod limits;
pub(crate) mod logs;
pub(crate) mod named;
mod patterns;
pub(crate) mod points;
pub(crate) mod red;
pub(crate) mod tally;
pub(crate) mod traces;

use model::columns::{TableBlock, spare};
use model::tables::UNDECIDED_SPANS;
use model::tenant::TenantId;
use model::time::Timestamp;

use crate::admission::{Full, Reservation};
use crate::columns::{ExemplarColumns, ExponentialColumns, HistogramColumns, LogColumns, PointColumns, SpanColumns, SummaryColumns};
use crate::errors::event::{ErrorEvent, ErrorRows};
use crate::family::Families;
use crate::pipeline::Pipeline;
use crate::pipeline::cardinality::ActiveSeries;
use crate::pipeline::patterns::Miner;
use crate::pipeline::rates::{Flow, Load};
use crate::pipeline::stage::{Changes, Stage};
use crate::pipeline::trace::Trace;
use crate::record::{Attributes, Kind, Resource, Scope, Text};
use crate::series::{Known, SeriesBatch, SeriesCache, SeriesKey, TargetInfoCache};
use attributes::{cut, find, tidy};
pub(crate) use limits::{Limits, Window, nanos};
use patterns::PatternRows;
use points::MetricView;
use red::{NameGuard, Red};
use tally::{Part, Tally};

/// What all rows of a request share.
#[derive(Clone, Copy)]
pub(crate) struct Arrival<'r> {
    /// Whose rows they are.
    pub(crate) tenant: &'r TenantId,
    /// When the request arrived.
    pub(crate) at: Timestamp,
    /// The limits.
    pub(crate) limits: &'r Limits,
    /// Series that the store knows.
    pub(crate) series: &'r SeriesCache,
    /// When `target_info` was last written.
    pub(crate) targets: &'r TargetInfoCache,
    /// Span names that the derived series know.
    pub(crate) names: &'r NameGuard,
    /// What happens to records before they are rows.
    pub(crate) pipeline: &'r Pipeline,
    /// Series that are active.
    pub(crate) active: &'r ActiveSeries,
    /// Templates of log records.
    pub(crate) miner: &'r Miner,
    /// What Prometheus's senders said about metrics.
    pub(crate) families: &'r Families,
}

impl Arrival<'_> {
    /// The span of event times that is accepted for rows kept so many days.
    pub(crate) fn window(&self, retention_days: u16) -> Window {
        self.limits.window(self.at, retention_days)
    }
}

/// The blocks of a request and what to do once they are durable.
#[derive(Default)]
pub(crate) struct Built {
    /// Blocks with at least one row.
    pub(crate) blocks: Vec<TableBlock>,
    /// What was rejected and cut.
    pub(crate) tally: Tally,
    /// Series to remember.
    pub(crate) series: Vec<(SeriesKey, Known)>,
    /// `target_info` to remember.
    pub(crate) targets: Vec<((u64, u64), i64)>,
    /// What processing changed and left out.
    pub(crate) changes: Changes,
    /// How many records there were of each kind.
    pub(crate) load: Load,
    /// What processing did to each record, where that was asked for.
    pub(crate) trace: Option<Box<Trace>>,
}

impl Built {
    /// Adds a block, if it has rows.
    fn push(&mut self, block: TableBlock) {
        if block.rows() > 0 { self.blocks.push(block) } else { spare::give(block) }
    }
}

/// The service of a resource that names none.
pub(crate) const UNKNOWN_SERVICE: &str = "unknown_service";

/// A resource as rows need it.
#[derive(Default)]
pub(crate) struct ResourceView<'a> {
    /// Its attributes, tidy.
    pub(crate) attributes: Attributes<'a>,
    /// `service.name`, or `unknown_service`.
    pub(crate) service: String,
    /// Attributes that the sender left out, and those over the limit.
    dropped: u32,
    /// The schema of its attributes.
    schema_url: Text<'a>,
    /// Which resource of the request it is, from 1.
    serial: u64,
    /// `job` and `instance`, as Prometheus makes them; either may be empty.
    identity: (String, String),
    /// The newest time of its metric points, in milliseconds.
    newest: Option<i64>,
}

/// A scope as rows need it.
#[derive(Default)]
pub(crate) struct ScopeView<'a> {
    /// Its name.
    pub(crate) name: Text<'a>,
    version: Text<'a>,
    attributes: Attributes<'a>,
    dropped: u32,
    schema_url: Text<'a>,
    serial: u64,
}

/// Records between two looks at the memory that the rows take.
const BUDGET_STEP: u32 = 256;

/// The memory that the rows of a request may take.
struct Budget<'r> {
    reservation: Option<&'r mut Reservation>,
    records: u32,
    reserved: usize,
}

/// Builds the rows of one request; `'a` is the life of its body.
pub(crate) struct Builder<'a, 'r> {
    arrival: Arrival<'r>,
    budget: Budget<'r>,
    /// Rules, redaction, sampling; none where there is nothing to do.
    stage: Option<Stage<'r>>,
    load: Load,
    tally: Tally,
    windows: Windows,
    resource: ResourceView<'a>,
    scope: ScopeView<'a>,
    metric: MetricView<'a>,
    spans: SpanColumns,
    /// Serials of the resource and scope that the last span row has; the same for logs.
    span_of: (u64, u64),
    logs: LogColumns,
    log_of: (u64, u64),
    errors: ErrorRows<'r>,
    patterns: PatternRows<'r>,
    red: Red<'r>,
    series: SeriesBatch<'r>,
    points: PointColumns,
    histograms: HistogramColumns,
    exponentials: ExponentialColumns,
    summaries: SummaryColumns,
    exemplars: ExemplarColumns,
    targets: Vec<((u64, u64), i64)>,
    /// Overflow series that have their one point of this request.
    overflowed: Vec<u64>,
    /// Points that are in no series of their own.
    overflowed_points: u64,
    /// Samples of series that Prometheus named.
    seen: named::Seen,
    /// For building keys.
    scratch: Vec<u8>,
}

/// The event times that are accepted, per signal.
#[derive(Clone, Copy)]
struct Windows {
    spans: Window,
    logs: Window,
    metrics: Window,
}

impl<'a, 'r> Builder<'a, 'r> {
    /// No rows yet; `reservation` grows with them.
    pub(crate) fn new(arrival: Arrival<'r>, reservation: Option<&'r mut Reservation>) -> Self {
        let retention = arrival.limits.retention;
        let windows = Windows {
            spans: arrival.window(retention.spans),
            logs: arrival.window(retention.logs),
            metrics: arrival.window(retention.metrics),
        };
        Builder {
            arrival,
            budget: Budget { reservation, records: 0, reserved: 0 },
            stage: Stage::new(arrival.pipeline, false),
            load: Load::default(),
            tally: Tally::default(),
            windows,
            resource: ResourceView { service: UNKNOWN_SERVICE.to_owned(), ..ResourceView::default() },
            scope: ScopeView::default(),
            metric: MetricView::default(),
            spans: SpanColumns::reused(),
            span_of: (u64::MAX, u64::MAX),
            logs: LogColumns::reused(),
            log_of: (u64::MAX, u64::MAX),
            errors: ErrorRows::new(arrival),
            patterns: PatternRows::new(arrival),
            red: Red::new(arrival),
            series: SeriesBatch::new(arrival.series, arrival.tenant),
            points: PointColumns::reused(),
            histograms: HistogramColumns::reused(),
            exponentials: ExponentialColumns::reused(),
            summaries: SummaryColumns::reused(),
            exemplars: ExemplarColumns::reused(),
            targets: Vec::new(),
            overflowed: Vec::new(),
            overflowed_points: 0,
            seen: named::Seen::default(),
            scratch: Vec::new(),
        }
    }

    /// Notes from now on what processing does to each record.
    pub(crate) fn tell(&mut self) {
        self.stage = Stage::new(self.arrival.pipeline, true);
    }

    /// The records that follow come from this resource.
    pub(crate) fn enter_resource(&mut self, mut resource: Resource<'a>) {
        self.leave_resource();
        if let Some(stage) = &mut self.stage {
            stage.resource(&mut resource);
        }
        let limits = self.arrival.limits;
        let mut attributes = resource.attributes;
        tidy(&mut attributes, limits, &mut self.tally);
        let service = match find(&attributes.list, "service.name") {
            name if name.is_empty() => UNKNOWN_SERVICE.to_owned(),
            name => cut(name, limits.name, Part::Name, &mut self.tally).into_owned(),
        };
        let serial = self.resource.serial + 1;
        let identity = points::identity(&attributes.list);
        let schema_url = cut(resource.schema_url, limits.name, Part::Name, &mut self.tally);
        self.patterns.enter(&service);
        let dropped = resource.dropped.saturating_add(attributes.cut);
        self.resource = ResourceView { attributes, service, dropped, schema_url, serial, identity, newest: None };
        self.enter_scope(Scope::default());
    }

    /// The records that follow come from this scope of the resource.
    pub(crate) fn enter_scope(&mut self, mut scope: Scope<'a>) {
        if let Some(stage) = &mut self.stage {
            stage.scope(&mut scope);
        }
        let limits = self.arrival.limits;
        let mut name = |text: Text<'a>| cut(text, limits.name, Part::Name, &mut self.tally);
        let (scope_name, version, schema_url) = (name(scope.name), name(scope.version), name(scope.schema_url));
        let mut attributes = scope.attributes;
        tidy(&mut attributes, limits, &mut self.tally);
        let serial = self.scope.serial + 1;
        let dropped = scope.dropped.saturating_add(attributes.cut);
        self.scope = ScopeView { name: scope_name, version, attributes, dropped, schema_url, serial };
    }

    /// What the metric that was entered is.
    pub(crate) fn metric_kind(&self) -> Kind {
        self.metric.kind()
    }

    /// Whether a log record of this time, in nanoseconds since 1970, would be kept.
    pub(crate) fn keeps_log_of(&self, unix_nano: u64) -> bool {
        self.windows.logs.check(unix_nano).is_ok()
    }

    /// What all rows of the request share.
    pub(crate) fn arrival(&self) -> Arrival<'r> {
        self.arrival
    }

    /// Adds an error event that was sent as one.
    pub(crate) fn error(&mut self, event: &ErrorEvent<'_>) -> Result<(), Full> {
        self.load.add(Flow::Errors);
        self.errors.push(event);
        self.count()
    }

    /// Redacts a text of an error event before its fingerprint is made of it, so that equal errors with different secrets are one.
    pub(crate) fn redact(&mut self, text: &mut Text<'_>) {
        if let Some(redactor) = &self.arrival.pipeline.redactor {
            redactor.text(text, self.errors.redacted());
        }
    }

    /// The time of an error event as stored: that of its arrival where it has none, or one that cannot be kept, which is counted.
    pub(crate) fn error_time(&mut self, unix_nano: u64) -> i64 {
        match self.errors.time(unix_nano) {
            Some(time) => time,
            None => {
                self.tally.cut(Part::SentryTime, usize::from(unix_nano > 0));
                self.arrival.at.nanos()
            }
        }
    }

    /// What was rejected and cut so far.
    pub(crate) fn tally(&mut self) -> &mut Tally {
        &mut self.tally
    }

    /// Counts a record that cannot be kept.
    pub(crate) fn reject(&mut self, reason: tally::Reason) -> Result<(), Full> {
        self.tally.reject(reason, 1);
        self.count()
    }

    /// The limits.
    pub(crate) fn limits(&self) -> &'r Limits {
        self.arrival.limits
    }

    /// What Prometheus's senders said about metrics.
    pub(crate) fn families(&self) -> &'r Families {
        self.arrival.families
    }

    /// Reserves memory that reading takes beside the rows.
    pub(crate) fn hold(&mut self, bytes: u64) -> Result<(), Full> {
        match &mut self.budget.reservation {
            Some(reservation) => reservation.try_grow(bytes),
            None => Ok(()),
        }
    }

    /// Counts a record; now and then reserves the memory that the rows have come to take.
    fn count(&mut self) -> Result<(), Full> {
        self.tally.records += 1;
        self.budget.records += 1;
        if !self.budget.records.is_multiple_of(BUDGET_STEP) {
            return Ok(());
        }
        self.reserve()
    }

    fn reserve(&mut self) -> Result<(), Full> {
        let taken = self.bytes();
        let more = taken.saturating_sub(self.budget.reserved);
        self.budget.reserved += more;
        let (taken, limit) = (taken as u64, self.arrival.limits.memory);
        if taken > limit {
            return Err(Full::Alone { taken, limit });
        }
        match &mut self.budget.reservation {
            Some(reservation) => reservation.try_grow(more as u64),
            None => Ok(()),
        }
    }

    /// About how many bytes all rows take; vectors may have twice the room.
    fn bytes(&self) -> usize {
        2 * (self.spans.bytes()
            + self.logs.bytes()
            + self.errors.bytes()
            + self.patterns.bytes()
            + self.series.bytes()
            + self.points.bytes()
            + self.histograms.bytes()
            + self.exponentials.bytes()
            + self.summaries.bytes()
            + self.exemplars.bytes()
            + self.seen.bytes())
    }

    /// The blocks.
    pub(crate) fn finish(mut self) -> Result<Built, Full> {
        self.leave_resource();
        self.tally.red_overflow = self.red.overflow();
        self.reserve()?;
        self.red.finish(&mut self.series, &mut self.points, &mut self.histograms);
        let (series, marks) = self.series.finish();
        let (mut changes, trace) = self.stage.map(|stage| (stage.changes, stage.trace)).unwrap_or_default();
        changes.redacted.join(self.errors.redacted());
        changes.overflowed = self.overflowed_points;
        let mut built =
            Built { tally: self.tally, series: marks, targets: self.targets, changes, load: self.load, trace, ..Built::default() };
        let mut spans = self.spans.into_block();
        if self.arrival.pipeline.tail.is_some() {
            spans.table = &UNDECIDED_SPANS;
        }
        for block in [
            spans,
            self.logs.into_block(),
            series.into_block(),
            self.points.into_block(),
            self.histograms.into_block(),
            self.exponentials.into_block(),
            self.summaries.into_block(),
            self.exemplars.into_block(),
            self.errors.into_block(),
            self.patterns.into_block(),
        ] {
            built.push(block);
        }
        Ok(built)
    }
}
