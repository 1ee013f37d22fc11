//! The telemetry tables that intake writes: names, column order and types. The DDL in `store/migrations/clickhouse` has the
//! same columns (a test of `store` compares them). Numbers and column meanings are frozen: they stand in the WAL.

use crate::columns::{ColumnSpec, ColumnType, TableSpec};

use ColumnType::{
    Array, DateTime64Millis, DateTime64Nanos, Enum8, FixedString, Float64, Int32, LowCardinality, LowCardinalityArray, StringMap,
    StringMapArray, UInt8, UInt16, UInt32, UInt64, Uuid,
};

const fn col(name: &'static str, kind: ColumnType) -> ColumnSpec {
    ColumnSpec { name, kind }
}

/// OTLP span kinds.
pub const SPAN_KINDS: &[(&str, i8)] =
    &[("UNSPECIFIED", 0), ("INTERNAL", 1), ("SERVER", 2), ("CLIENT", 3), ("PRODUCER", 4), ("CONSUMER", 5)];
/// OTLP status codes.
pub const STATUS_CODES: &[(&str, i8)] = &[("UNSET", 0), ("OK", 1), ("ERROR", 2)];
/// What kind of series a fingerprint stands for.
pub const SERIES_KINDS: &[(&str, i8)] = &[("gauge", 0), ("sum", 1), ("histogram", 2), ("exp_histogram", 3), ("summary", 4), ("untyped", 5)];
/// OTLP aggregation temporality.
pub const TEMPORALITIES: &[(&str, i8)] = &[("unspecified", 0), ("delta", 1), ("cumulative", 2)];
/// The scale of native histograms whose bounds are the sender's own: Prometheus's schema of custom buckets.
pub const CUSTOM_SCALE: i32 = -53;
/// Where an error event came from.
pub const ERROR_SOURCES: &[(&str, i8)] = &[("sentry", 0), ("otel_span", 1), ("otel_log", 2), ("api", 3)];

/// Spans. `ts` is the start; `retention_days` decides the partition and the TTL. `*dropped_attributes` count what the sender left out and what
/// was over a limit here: of the span, of each event and link, of the resource, of the scope.
pub static SPANS: TableSpec = TableSpec {
    number: 1,
    name: "spans",
    columns: &[
        col("tenant", LowCardinality),
        col("ts", DateTime64Nanos),
        col("received", DateTime64Millis),
        col("trace_id", FixedString(16)),
        col("span_id", FixedString(8)),
        col("parent_span_id", FixedString(8)),
        col("trace_state", ColumnType::String),
        col("service", LowCardinality),
        col("name", LowCardinality),
        col("kind", Enum8(SPAN_KINDS)),
        col("duration", UInt64),
        col("status", Enum8(STATUS_CODES)),
        col("status_message", ColumnType::String),
        col("scope_name", LowCardinality),
        col("scope_version", LowCardinality),
        col("resource", StringMap),
        col("attributes", StringMap),
        col("event_ts", Array(&DateTime64Nanos)),
        col("event_name", LowCardinalityArray),
        col("event_attributes", StringMapArray),
        col("link_trace_id", Array(&FixedString(16))),
        col("link_span_id", Array(&FixedString(8))),
        col("link_trace_state", Array(&ColumnType::String)),
        col("link_attributes", StringMapArray),
        col("flags", UInt32),
        col("sample_rate", UInt32),
        col("retention_days", UInt16),
        col("scope_attributes", StringMap),
        col("dropped_attributes", UInt32),
        col("dropped_events", UInt32),
        col("dropped_links", UInt32),
        col("event_dropped_attributes", Array(&UInt32)),
        col("link_dropped_attributes", Array(&UInt32)),
        col("resource_dropped_attributes", UInt32),
        col("scope_dropped_attributes", UInt32),
    ],
};

/// Log records. `ts` is the event time, or the observed time where the sender gave none; `sample_rate` is how many records one stands for.
pub static LOGS: TableSpec = TableSpec {
    number: 2,
    name: "logs",
    columns: &[
        col("tenant", LowCardinality),
        col("ts", DateTime64Nanos),
        col("observed", DateTime64Nanos),
        col("received", DateTime64Millis),
        col("trace_id", FixedString(16)),
        col("span_id", FixedString(8)),
        col("flags", UInt32),
        col("severity_number", UInt8),
        col("severity_text", LowCardinality),
        col("service", LowCardinality),
        col("body", ColumnType::String),
        col("event_name", LowCardinality),
        col("scope_name", LowCardinality),
        col("scope_version", LowCardinality),
        col("resource", StringMap),
        col("attributes", StringMap),
        col("retention_days", UInt16),
        col("scope_attributes", StringMap),
        col("dropped_attributes", UInt32),
        col("resource_schema_url", LowCardinality),
        col("scope_schema_url", LowCardinality),
        col("sample_rate", UInt32),
        col("resource_dropped_attributes", UInt32),
        col("scope_dropped_attributes", UInt32),
    ],
};

/// Series: what a fingerprint means. One row per series and batch in which it was first seen by this process, merged by ClickHouse.
/// `metric` is the Prometheus name, `otel_name` the original; `labels` hold no `__name__`; `fingerprint` is
/// [`crate::labels::Labels::fingerprint`] of `__name__` and `labels`.
pub static SERIES: TableSpec = TableSpec {
    number: 3,
    name: "series",
    columns: &[
        col("tenant", LowCardinality),
        col("metric", LowCardinality),
        col("fingerprint", UInt64),
        col("kind", Enum8(SERIES_KINDS)),
        col("temporality", Enum8(TEMPORALITIES)),
        col("monotonic", UInt8),
        col("otel_name", LowCardinality),
        col("unit", LowCardinality),
        col("description", ColumnType::String),
        col("labels", StringMap),
        col("resource", StringMap),
        col("scope_name", LowCardinality),
        col("scope_version", LowCardinality),
        col("first_seen", DateTime64Millis),
        col("last_seen", DateTime64Millis),
        col("resource_dropped_attributes", UInt32),
        col("scope_dropped_attributes", UInt32),
    ],
};

/// Number samples: gauges and sums. `start_ts` is 0 where unknown. `flags` bit 0: no recorded value (a stale marker).
pub static POINTS: TableSpec = TableSpec {
    number: 4,
    name: "points",
    columns: &[
        col("tenant", LowCardinality),
        col("metric", LowCardinality),
        col("fingerprint", UInt64),
        col("ts", DateTime64Millis),
        col("start_ts", DateTime64Millis),
        col("value", Float64),
        col("flags", UInt32),
        col("retention_days", UInt16),
    ],
};

/// Explicit-bucket histograms, one row a point: `counts` has one entry more than `bounds`. `min`/`max` are NaN where absent.
pub static HISTOGRAMS: TableSpec = TableSpec {
    number: 5,
    name: "histograms",
    columns: &[
        col("tenant", LowCardinality),
        col("metric", LowCardinality),
        col("fingerprint", UInt64),
        col("ts", DateTime64Millis),
        col("start_ts", DateTime64Millis),
        col("count", UInt64),
        col("sum", Float64),
        col("min", Float64),
        col("max", Float64),
        col("bounds", Array(&Float64)),
        col("counts", Array(&UInt64)),
        col("flags", UInt32),
        col("retention_days", UInt16),
    ],
};

/// Error events. `frames_*` run from the innermost call outwards. `fingerprint` never changes; which issue it belongs to is SQL state.
pub static ERROR_EVENTS: TableSpec = TableSpec {
    number: 6,
    name: "error_events",
    columns: &[
        col("tenant", LowCardinality),
        col("project", LowCardinality),
        col("fingerprint", UInt64),
        col("ts", DateTime64Nanos),
        col("received", DateTime64Millis),
        col("event_id", Uuid),
        col("source", Enum8(ERROR_SOURCES)),
        col("type", LowCardinality),
        col("value", ColumnType::String),
        col("normalized", ColumnType::String),
        col("level", LowCardinality),
        col("release", LowCardinality),
        col("environment", LowCardinality),
        col("user", ColumnType::String),
        col("trace_id", FixedString(16)),
        col("span_id", FixedString(8)),
        col("frames_function", Array(&ColumnType::String)),
        col("frames_file", Array(&ColumnType::String)),
        col("frames_line", Array(&Int32)),
        col("frames_in_app", Array(&UInt8)),
        col("stack", ColumnType::String),
        col("tags", StringMap),
        col("retention_days", UInt16),
    ],
};

/// Exponential (native) histograms, one row a point, whole: bucket `i` of `positive_counts` holds values in
/// `(b^(positive_offset+i), b^(positive_offset+i+1)]` with `b = 2^(2^-scale)`. Counts are floats because those of Prometheus's native
/// histograms may be; integers are exact up to 2^53. `min`/`max` are NaN where absent. Where `scale` is [`CUSTOM_SCALE`] the bounds are the
/// sender's own: `positive_counts[i]` reaches to `custom_bounds[i]`, the last one to infinity, and the offset is 0.
pub static EXP_HISTOGRAMS: TableSpec = TableSpec {
    number: 7,
    name: "exp_histograms",
    columns: &[
        col("tenant", LowCardinality),
        col("metric", LowCardinality),
        col("fingerprint", UInt64),
        col("ts", DateTime64Millis),
        col("start_ts", DateTime64Millis),
        col("count", Float64),
        col("sum", Float64),
        col("min", Float64),
        col("max", Float64),
        col("scale", Int32),
        col("zero_count", Float64),
        col("zero_threshold", Float64),
        col("positive_offset", Int32),
        col("positive_counts", Array(&Float64)),
        col("negative_offset", Int32),
        col("negative_counts", Array(&Float64)),
        col("flags", UInt32),
        col("retention_days", UInt16),
        col("custom_bounds", Array(&Float64)),
    ],
};

/// Summaries, one row a point: `values[i]` is the quantile `quantiles[i]` (0 to 1) as the sender computed it.
pub static SUMMARIES: TableSpec = TableSpec {
    number: 8,
    name: "summaries",
    columns: &[
        col("tenant", LowCardinality),
        col("metric", LowCardinality),
        col("fingerprint", UInt64),
        col("ts", DateTime64Millis),
        col("start_ts", DateTime64Millis),
        col("count", UInt64),
        col("sum", Float64),
        col("quantiles", Array(&Float64)),
        col("values", Array(&Float64)),
        col("flags", UInt32),
        col("retention_days", UInt16),
    ],
};

/// Exemplars: single measurements of a series, with the trace they were made in. `attributes` are those that the series lacks.
pub static EXEMPLARS: TableSpec = TableSpec {
    number: 9,
    name: "exemplars",
    columns: &[
        col("tenant", LowCardinality),
        col("metric", LowCardinality),
        col("fingerprint", UInt64),
        col("ts", DateTime64Millis),
        col("value", Float64),
        col("trace_id", FixedString(16)),
        col("span_id", FixedString(8)),
        col("attributes", StringMap),
        col("retention_days", UInt16),
    ],
};

/// Templates of log records, one row for each template and severity of a request: `count` records (before sampling) from `first_ts` to
/// `last_ts`, one of which is the `sample`. `pattern_id` is xxh3-64 of `template`; `<*>` in it stands for what varies.
pub static PATTERNS: TableSpec = TableSpec {
    number: 10,
    name: "patterns",
    columns: &[
        col("tenant", LowCardinality),
        col("service", LowCardinality),
        col("pattern_id", UInt64),
        col("severity_number", UInt8),
        col("first_ts", DateTime64Nanos),
        col("last_ts", DateTime64Nanos),
        col("received", DateTime64Millis),
        col("count", UInt64),
        col("template", ColumnType::String),
        col("sample", ColumnType::String),
        col("retention_days", UInt16),
    ],
};

/// All of them.
pub static ALL: [&TableSpec; 10] =
    [&SPANS, &LOGS, &SERIES, &POINTS, &HISTOGRAMS, &ERROR_EVENTS, &EXP_HISTOGRAMS, &SUMMARIES, &EXEMPLARS, &PATTERNS];

/// Spans that wait in the log for the decision about their trace: rows of [`SPANS`] that may not be sent yet. Never in ClickHouse.
pub static UNDECIDED_SPANS: TableSpec = TableSpec { number: 100, name: "spans", columns: SPANS.columns };

/// Blocks of [`UNDECIDED_SPANS`] that are decided: what is kept of them stands in the same record of the log. Never in ClickHouse.
pub static TAIL_DECISIONS: TableSpec =
    TableSpec { number: 101, name: "tail_decisions", columns: &[col("segment", UInt64), col("offset", UInt64)] };

/// What stands in the log only.
pub static LOG_ONLY: [&TableSpec; 2] = [&UNDECIDED_SPANS, &TAIL_DECISIONS];

/// The table with the number that a WAL record holds.
pub fn by_number(number: u16) -> Option<&'static TableSpec> {
    ALL.into_iter().chain(LOG_ONLY).find(|table| table.number == number)
}
