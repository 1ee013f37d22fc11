//! Trying processing out: the body of a request in, what would be stored and what did it out. Nothing is stored, no network, no
//! memory of other requests. Fails: input that is none of its format, with line and column where the format has them.

use model::columns::{Column, ColumnType, TableBlock};
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value, json};

use super::cardinality::ActiveSeries;
use super::patterns::Miner;
use super::{Pipeline, RecordTrace};
use crate::config::Config;
use crate::decode::{DecodeError, Format, Protocol, Signal};
use crate::family::Families;
use crate::rows::red::NameGuard;
use crate::rows::{Arrival, Builder, Built, Limits};
use crate::sentry::Endpoint;
use crate::series::{SeriesCache, TargetInfoCache};

/// What would become of a request.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    /// When the request is taken to have arrived: at the newest time in it.
    pub arrived: Timestamp,
    /// Each record, and each resource, scope and metric that changed, in order.
    pub records: Vec<RecordTrace>,
    /// The rows that would be written.
    pub tables: Vec<Table>,
    /// How many secrets were redacted, by kind.
    pub redacted: Vec<(String, u64)>,
    /// What the sender would be told of records that can never be stored.
    pub rejected: Option<String>,
}

/// Rows of one table.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Table {
    /// Its name.
    pub table: &'static str,
    /// Column -> value.
    pub rows: Vec<Map<String, Value>>,
}

/// An input that cannot be tried out.
#[derive(Debug, thiserror::Error)]
pub enum DryRunError {
    /// Not JSON.
    #[error("the input is not JSON: {0}")]
    Json(#[source] serde_json::Error),
    /// None of OTLP's requests.
    #[error("the input is no OTLP request: it must be an object with `resourceSpans`, `resourceLogs` or `resourceMetrics`")]
    NoRequest,
    /// A body with a mistake in it.
    #[error("{0}")]
    Decode(String),
}

/// What the input is. OTLP and Loki as JSON: what they send packed is for machines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum InputFormat {
    /// OTLP's requests of any signal, one or several.
    #[default]
    Otlp,
    /// A push of Loki's.
    Loki,
    /// Log records, one a line.
    Ndjson,
    /// A list of Zipkin's spans.
    Zipkin,
    /// An envelope of Sentry's.
    SentryEnvelope,
    /// An event as Sentry's older clients post it to `/store/`.
    SentryStore,
}

/// All of them, by name.
pub const INPUT_FORMATS: [(&str, InputFormat); 6] = [
    ("otlp", InputFormat::Otlp),
    ("loki", InputFormat::Loki),
    ("ndjson", InputFormat::Ndjson),
    ("zipkin", InputFormat::Zipkin),
    ("sentry-envelope", InputFormat::SentryEnvelope),
    ("sentry-store", InputFormat::SentryStore),
];

impl From<DecodeError> for DryRunError {
    fn from(error: DecodeError) -> Self {
        DryRunError::Decode(error.to_string())
    }
}

/// Processes the requests in `input`. Of OTLP: one JSON object of any signal, or several, one a line or one after the other, each taken to
/// have arrived at the newest time in it, or at `now` where it has none. Of other formats: one body that arrives `now`.
pub fn dry_run(
    config: &Config,
    pipeline: &Pipeline,
    format: InputFormat,
    input: &[u8],
    now: Timestamp,
) -> Result<Vec<Report>, DryRunError> {
    let project = config.sentry.projects.keys().next().copied().unwrap_or(1);
    let (protocol, noun) = match format {
        InputFormat::Otlp => return otlp(config, pipeline, input, now),
        InputFormat::Loki => (Protocol::Loki(Format::Json), Signal::Logs.noun()),
        InputFormat::Ndjson => (Protocol::Ndjson, Signal::Logs.noun()),
        InputFormat::Zipkin => (Protocol::Zipkin, Signal::Traces.noun()),
        InputFormat::SentryEnvelope => (Protocol::Sentry(Endpoint::Envelope, project), "records"),
        InputFormat::SentryStore => (Protocol::Sentry(Endpoint::Store, project), "records"),
    };
    Ok(vec![report(config, pipeline, (protocol, noun), input, now)?])
}

fn otlp(config: &Config, pipeline: &Pipeline, input: &[u8], now: Timestamp) -> Result<Vec<Report>, DryRunError> {
    let mut reports = Vec::new();
    for value in serde_json::Deserializer::from_slice(input).into_iter::<Value>() {
        let value = value.map_err(DryRunError::Json)?;
        let signal = signal(&value).ok_or(DryRunError::NoRequest)?;
        let arrived = newest(&value).map_or(now, Timestamp::from_nanos);
        let body = value.to_string();
        let protocol = (Protocol::Otlp(signal, Format::Json), signal.noun());
        reports.push(report(config, pipeline, protocol, body.as_bytes(), arrived)?);
    }
    if reports.is_empty() { Err(DryRunError::NoRequest) } else { Ok(reports) }
}

fn report(
    config: &Config,
    pipeline: &Pipeline,
    (protocol, noun): (Protocol, &str),
    body: &[u8],
    arrived: Timestamp,
) -> Result<Report, DryRunError> {
    let (limits, tenant) = (Limits::new(config), TenantId::default());
    let (series, targets, names) =
        (SeriesCache::new(config.series_cache), TargetInfoCache::new(config.series_cache), NameGuard::new(config));
    let (active, miner) = (ActiveSeries::default(), Miner::default());
    let arrival = Arrival {
        tenant: &tenant,
        at: arrived,
        limits: &limits,
        series: &series,
        targets: &targets,
        names: &names,
        pipeline,
        active: &active,
        miner: &miner,
        families: &Families::default(),
    };
    let mut builder = Builder::new(arrival, None);
    builder.tell();
    protocol.read(body, limits.bounds(), &mut builder)?;
    let Built { blocks, tally, changes, trace, .. } = builder.finish().map_err(DecodeError::Full)?;
    let redactor = pipeline.redactor.iter();
    Ok(Report {
        arrived,
        records: trace.map(|trace| trace.records).unwrap_or_default(),
        tables: blocks.iter().map(table).collect(),
        redacted: redactor.flat_map(|redactor| redactor.labels(&changes.redacted)).map(|(kind, count)| (kind.to_owned(), count)).collect(),
        rejected: tally.message(noun),
    })
}

fn signal(value: &Value) -> Option<Signal> {
    let has = |camel: &str, snake: &str| value.get(camel).is_some() || value.get(snake).is_some();
    match () {
        () if has("resourceSpans", "resource_spans") => Some(Signal::Traces),
        () if has("resourceLogs", "resource_logs") => Some(Signal::Logs),
        () if has("resourceMetrics", "resource_metrics") => Some(Signal::Metrics),
        () => None,
    }
}

/// The newest of all fields that are times.
fn newest(value: &Value) -> Option<i64> {
    match value {
        Value::Object(fields) => fields
            .iter()
            .filter_map(|(key, inner)| match inner {
                Value::String(digits) if key.ends_with("UnixNano") => digits.parse().ok(),
                Value::Number(number) if key.ends_with("UnixNano") => number.as_i64(),
                inner => newest(inner),
            })
            .filter(|at| *at > 0)
            .max(),
        Value::Array(items) => items.iter().filter_map(newest).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// The rows of a block as JSON.
fn table(block: &TableBlock) -> Table {
    let row = |row: usize| {
        let columns = block.table.columns.iter().zip(&block.columns);
        columns.map(|(spec, column)| (spec.name.to_owned(), cell(spec.kind, column, row))).collect()
    };
    Table { table: block.table.name, rows: (0..block.rows()).map(row).collect() }
}

fn lossy(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned()
}

/// Times as RFC 3339, enums by name, ids in hexadecimal; zero times and ids are null.
fn cell(kind: ColumnType, column: &Column, row: usize) -> Value {
    match (kind, column) {
        (ColumnType::Enum8(names), Column::UInt8(rows)) => {
            names.iter().find(|(_, value)| u8::try_from(*value) == Ok(rows[row])).map_or(Value::Null, |(name, _)| json!(name))
        }
        (ColumnType::DateTime64Millis, Column::Int64(rows)) => time(rows[row].saturating_mul(1_000_000)),
        (ColumnType::DateTime64Nanos, Column::Int64(rows)) => time(rows[row]),
        (_, Column::UInt8(rows)) => json!(rows[row]),
        (_, Column::UInt16(rows)) => json!(rows[row]),
        (_, Column::UInt32(rows)) => json!(rows[row]),
        (_, Column::UInt64(rows)) => json!(rows[row].to_string()),
        (_, Column::Int32(rows)) => json!(rows[row]),
        (_, Column::Int64(rows)) => json!(rows[row].to_string()),
        (_, Column::Float64(rows)) => json!(rows[row]),
        (_, Column::String(rows)) => json!(lossy(rows.iter().nth(row))),
        (_, Column::LowCardinality(rows)) => json!(lossy(rows.keys().iter().nth(rows.rows()[row] as usize))),
        (_, Column::Fixed { width, bytes }) => match &bytes[row * width..(row + 1) * width] {
            zeros if zeros.iter().all(|byte| *byte == 0) => Value::Null,
            id => json!(hex::encode(id)),
        },
        (_, Column::StringMap(maps)) => {
            let start = row.checked_sub(1).map_or(0, |before| maps.ends[before]) as usize;
            let keys: Vec<&[u8]> = maps.keys.keys().iter().collect();
            let pairs = maps.values.iter().enumerate().take(maps.ends[row] as usize).skip(start);
            let pair = |(at, value)| (lossy(keys.get(maps.keys.rows()[at] as usize).copied()), json!(lossy(Some(value))));
            Value::Object(pairs.map(pair).collect())
        }
        (kind, Column::Array { ends, items }) => {
            let start = row.checked_sub(1).map_or(0, |before| ends[before]) as usize;
            let item = match kind {
                ColumnType::Array(item) => *item,
                other => other,
            };
            (start..ends[row] as usize).map(|at| cell(item, items, at)).collect()
        }
    }
}

fn time(nanos: i64) -> Value {
    if nanos == 0 { Value::Null } else { json!(Timestamp::from_nanos(nanos).rfc3339()) }
}
