//! PromQL: tables of cases over series in memory, range = instants, Debian's Prometheus side by side, ClickHouse = memory.

#[path = "promql/cache.rs"]
mod cache;
#[path = "promql/cases.rs"]
mod cases;
#[path = "promql/catalog.rs"]
mod catalog;
#[path = "promql/clickhouse.rs"]
mod clickhouse;
#[path = "promql/delta.rs"]
mod delta;
#[path = "promql/differential.rs"]
mod differential;
#[path = "promql/generate.rs"]
mod generate;
#[path = "promql/grid.rs"]
mod grid;
#[path = "promql/harness.rs"]
mod harness;
#[path = "promql/head.rs"]
mod head;
#[path = "promql/head_histograms.rs"]
mod head_histograms;
#[path = "promql/limits.rs"]
mod limits;
#[path = "promql/notes.rs"]
mod notes;
#[path = "promql/properties.rs"]
mod properties;
#[path = "promql/scripts.rs"]
mod scripts;
#[path = "promql/together.rs"]
mod together;
