//! The same rows in the tables of the OpenTelemetry Collector's ClickHouse exporter (its columns, codecs, indexes and order as its
//! documentation has them), in the same engine: bytes on disk side by side.

use std::time::Duration;

use super::{Load, engine, number, of};
use crate::process::Watchfire;

const MAP: &str = "Map(LowCardinality(String), String) CODEC(ZSTD(1))";

/// Names, and types with their codecs.
type Columns = &'static [(&'static str, &'static str)];

/// A table of the exporter.
struct Table {
    name: &'static str,
    columns: Columns,
    /// The maps with an index of their keys and one of their values.
    indexed: &'static str,
    order: &'static str,
}

/// The tables of a signal, as `watchfire load` calls it.
struct Plain {
    signal: &'static str,
    tables: &'static [Table],
}

const BLOOM: &str = "TYPE bloom_filter(0.01) GRANULARITY 1";

const TRACES: &[(&str, &str)] = &[
    ("Timestamp", "DateTime64(9) CODEC(Delta, ZSTD(1))"),
    ("TraceId", "String CODEC(ZSTD(1))"),
    ("SpanId", "String CODEC(ZSTD(1))"),
    ("ParentSpanId", "String CODEC(ZSTD(1))"),
    ("TraceState", "String CODEC(ZSTD(1))"),
    ("SpanName", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("SpanKind", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("ServiceName", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("ResourceAttributes", MAP),
    ("ScopeName", "String CODEC(ZSTD(1))"),
    ("ScopeVersion", "String CODEC(ZSTD(1))"),
    ("SpanAttributes", MAP),
    ("Duration", "UInt64 CODEC(ZSTD(1))"),
    ("StatusCode", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("StatusMessage", "String CODEC(ZSTD(1))"),
    ("Events.Timestamp", "Array(DateTime64(9)) CODEC(ZSTD(1))"),
    ("Events.Name", "Array(LowCardinality(String)) CODEC(ZSTD(1))"),
    ("Events.Attributes", "Array(Map(LowCardinality(String), String)) CODEC(ZSTD(1))"),
    ("Links.TraceId", "Array(String) CODEC(ZSTD(1))"),
    ("Links.SpanId", "Array(String) CODEC(ZSTD(1))"),
    ("Links.TraceState", "Array(String) CODEC(ZSTD(1))"),
    ("Links.Attributes", "Array(Map(LowCardinality(String), String)) CODEC(ZSTD(1))"),
];

const LOGS: &[(&str, &str)] = &[
    ("Timestamp", "DateTime64(9) CODEC(Delta(8), ZSTD(1))"),
    ("TimestampTime", "DateTime"),
    ("TraceId", "String CODEC(ZSTD(1))"),
    ("SpanId", "String CODEC(ZSTD(1))"),
    ("TraceFlags", "UInt8"),
    ("SeverityText", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("SeverityNumber", "UInt8"),
    ("ServiceName", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("Body", "String CODEC(ZSTD(1))"),
    ("ResourceSchemaUrl", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("ResourceAttributes", MAP),
    ("ScopeSchemaUrl", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("ScopeName", "String CODEC(ZSTD(1))"),
    ("ScopeVersion", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("ScopeAttributes", MAP),
    ("LogAttributes", MAP),
    ("EventName", "String CODEC(ZSTD(1))"),
];

const NUMBERS: &[(&str, &str)] = &[
    ("ResourceAttributes", MAP),
    ("ResourceSchemaUrl", "String CODEC(ZSTD(1))"),
    ("ScopeName", "String CODEC(ZSTD(1))"),
    ("ScopeVersion", "String CODEC(ZSTD(1))"),
    ("ScopeAttributes", MAP),
    ("ScopeDroppedAttrCount", "UInt32 CODEC(ZSTD(1))"),
    ("ScopeSchemaUrl", "String CODEC(ZSTD(1))"),
    ("ServiceName", "LowCardinality(String) CODEC(ZSTD(1))"),
    ("MetricName", "String CODEC(ZSTD(1))"),
    ("MetricDescription", "String CODEC(ZSTD(1))"),
    ("MetricUnit", "String CODEC(ZSTD(1))"),
    ("Attributes", MAP),
    ("StartTimeUnix", "DateTime64(9) CODEC(Delta, ZSTD(1))"),
    ("TimeUnix", "DateTime64(9) CODEC(Delta, ZSTD(1))"),
    ("Value", "Float64 CODEC(ZSTD(1))"),
    ("Flags", "UInt32 CODEC(ZSTD(1))"),
];

const BY_METRIC: &str = "PARTITION BY toDate(TimeUnix) ORDER BY (ServiceName, MetricName, Attributes, toUnixTimestamp64Nano(TimeUnix))";

const MAPS_OF_METRICS: &str = "ResourceAttributes ScopeAttributes Attributes";

const SIGNALS: [Plain; 3] = [
    Plain {
        signal: "spans",
        tables: &[Table {
            name: "otel_traces",
            columns: TRACES,
            indexed: "ResourceAttributes SpanAttributes",
            order: "PARTITION BY toDate(Timestamp) ORDER BY (ServiceName, SpanName, toDateTime(Timestamp))",
        }],
    },
    Plain {
        signal: "logs",
        tables: &[Table {
            name: "otel_logs",
            columns: LOGS,
            indexed: "ResourceAttributes ScopeAttributes LogAttributes",
            order: "PARTITION BY toDate(TimestampTime) PRIMARY KEY (ServiceName, TimestampTime) ORDER BY (ServiceName, TimestampTime, Timestamp)",
        }],
    },
    Plain {
        signal: "metrics",
        tables: &[
            Table { name: "otel_metrics_gauge", columns: NUMBERS, indexed: MAPS_OF_METRICS, order: BY_METRIC },
            Table { name: "otel_metrics_sum", columns: NUMBERS, indexed: MAPS_OF_METRICS, order: BY_METRIC },
        ],
    },
];

impl Table {
    /// The statement that makes it.
    fn create(&self) -> String {
        let mut parts: Vec<String> = self.columns.iter().map(|(name, kind)| format!("`{name}` {kind}")).collect();
        for map in self.indexed.split_whitespace() {
            parts.push(format!("INDEX idx_{map}_key mapKeys({map}) {BLOOM}"));
            parts.push(format!("INDEX idx_{map}_value mapValues({map}) {BLOOM}"));
        }
        for (column, index) in [
            ("TraceId", "INDEX idx_trace_id TraceId TYPE bloom_filter(0.001) GRANULARITY 1"),
            ("Body", "INDEX idx_body Body TYPE tokenbf_v1(32768, 3, 0) GRANULARITY 8"),
            ("Duration", "INDEX idx_duration Duration TYPE minmax GRANULARITY 1"),
        ] {
            if self.columns.iter().any(|(name, _)| *name == column) {
                parts.push(index.to_owned());
            }
        }
        format!(
            "CREATE TABLE plain.{} ({}) ENGINE = MergeTree {} SETTINGS index_granularity = 8192",
            self.name,
            parts.join(", "),
            self.order
        )
    }

    /// The statement that copies what Watchfire's view of the same name shows.
    fn fill(&self) -> String {
        let names = self.columns.iter().map(|(name, _)| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        format!("INSERT INTO plain.{0} ({names}) SELECT {names} FROM watchfire.{0}", self.name)
    }
}

async fn run(world: &Watchfire, sql: &str) {
    engine(world).client().query(sql).execute().await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn merge(world: &Watchfire, database: &str) {
    let tables = format!("SELECT DISTINCT table FROM system.parts WHERE active AND database = '{database}' ORDER BY table");
    let tables: Vec<String> = engine(world).client().query(&tables).fetch_all().await.unwrap();
    for table in tables {
        run(world, &format!("OPTIMIZE TABLE {database}.`{table}` FINAL")).await;
    }
}

async fn bytes(world: &Watchfire, database: &str) -> u64 {
    number(world, &format!("SELECT sum(bytes_on_disk) FROM system.parts WHERE active AND database = '{database}'")).await
}

/// For each signal: what it takes on disk with everything that is derived from it, and what the same rows take in the exporter's tables; all
/// of it merged.
pub async fn storage(executable: &str) {
    println!("signal     records   bytes each on disk, Watchfire / the exporter's tables   ratio");
    for plain in SIGNALS {
        let mut world = Watchfire::prepare(executable, "", &[]);
        world.start().await;
        let report = Load::start(&world, plain.signal, Duration::from_secs(8), &[]).report();
        let records = of(&report, "/stored");
        run(&world, "CREATE DATABASE plain").await;
        for table in plain.tables {
            run(&world, &table.create()).await;
            run(&world, &table.fill()).await;
        }
        merge(&world, "plain").await;
        merge(&world, "watchfire").await;
        let (ours, theirs) = (bytes(&world, "watchfire").await as f64, bytes(&world, "plain").await as f64);
        println!("{:<9} {records:>8} {:>32.1} / {:<20.1} {:>8.2}", plain.signal, ours / records, theirs / records, ours / theirs);
        world.stop().await;
    }
}
