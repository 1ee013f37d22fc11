//! Questions about telemetry: the Prometheus API as far as the console asks it, and SQL.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::basics::{Labels, Problem};

/// Seconds since 1970, and the value as a text.
#[derive(Serialize, ToSchema)]
pub(super) struct Sample(f64, String);

/// `result` is a list of series for `vector` (each with `value`) and `matrix` (each with `values`), else one sample.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct QueryData {
    result_type: ResultType,
    result: serde_json::Value,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ResultType {
    Vector,
    Matrix,
    Scalar,
    String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct QueryAnswer {
    #[schema(example = "success")]
    status: String,
    data: QueryData,
    #[schema(nullable = false)]
    warnings: Option<Vec<String>>,
    #[schema(nullable = false)]
    infos: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SeriesAnswer {
    status: String,
    data: Vec<Labels>,
    #[schema(nullable = false)]
    warnings: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct NamesAnswer {
    status: String,
    data: Vec<String>,
    #[schema(nullable = false)]
    warnings: Option<Vec<String>>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MetricDescription {
    #[serde(rename = "type")]
    kind: String,
    help: String,
    unit: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct MetadataAnswer {
    status: String,
    /// Descriptions by metric.
    data: BTreeMap<String, Vec<MetricDescription>>,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum TargetHealth {
    Up,
    Down,
    Unknown,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScrapeTarget {
    discovered_labels: Labels,
    labels: Labels,
    scrape_pool: String,
    scrape_url: String,
    global_url: String,
    last_error: String,
    last_scrape: String,
    /// Seconds.
    last_scrape_duration: f64,
    health: TargetHealth,
    scrape_interval: String,
    scrape_timeout: String,
}

#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(super) struct ScrapeTargets {
    active_targets: Vec<ScrapeTarget>,
    dropped_targets: Vec<serde_json::Value>,
    dropped_target_counts: BTreeMap<String, u64>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct TargetsAnswer {
    status: String,
    data: ScrapeTargets,
}

/// A column of an answer.
#[derive(Serialize, ToSchema)]
pub(super) struct SqlColumn {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Serialize, ToSchema)]
pub(super) struct SqlStatistics {
    /// Seconds.
    elapsed: f64,
    rows_read: u64,
    bytes_read: u64,
}

/// ClickHouse's format JSONCompact.
#[derive(Serialize, ToSchema)]
pub(super) struct SqlAnswer {
    meta: Vec<SqlColumn>,
    data: Vec<Vec<serde_json::Value>>,
    rows: u64,
    #[schema(nullable = false)]
    statistics: Option<SqlStatistics>,
}

#[derive(Deserialize, ToSchema)]
pub(super) enum SqlFormat {
    #[serde(rename = "JSON")]
    Json,
    JSONCompact,
    JSONEachRow,
    CSVWithNames,
    TSVWithNames,
    PrettyCompact,
    Markdown,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct InstantQuery {
    /// PromQL.
    #[param(example = "up")]
    query: String,
    /// Seconds since 1970, or RFC 3339; now where it is left out.
    time: Option<String>,
    #[param(example = "30s")]
    timeout: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct RangeQuery {
    /// PromQL.
    #[param(example = "up")]
    query: String,
    /// Seconds since 1970, or RFC 3339.
    start: String,
    end: String,
    /// Seconds, or a duration.
    #[param(example = "15s")]
    step: String,
    timeout: Option<String>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CatalogQuery {
    /// Selectors: series that one of them selects.
    #[param(rename = "match[]")]
    matches: Option<Vec<String>>,
    start: Option<String>,
    end: Option<String>,
    limit: Option<u32>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SeriesQuery {
    /// Selectors: series that one of them selects.
    #[param(rename = "match[]", example = "up")]
    matches: Vec<String>,
    start: Option<String>,
    end: Option<String>,
    limit: Option<u32>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct MetadataQuery {
    metric: Option<String>,
    limit: Option<u32>,
}

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct SqlQuery {
    #[param(inline)]
    format: Option<SqlFormat>,
}

/// An expression at a moment
#[utoipa::path(get, path = "/api/v1/query", tag = "telemetry", params(InstantQuery), description = "Also as POST with a form. Needs `read`.", responses(
    (status = 200, body = QueryAnswer), (status = 400, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) fn query() {}

/// An expression over time
#[utoipa::path(get, path = "/api/v1/query_range", tag = "telemetry", params(RangeQuery), description = "Also as POST with a form. Needs `read`.", responses(
    (status = 200, body = QueryAnswer), (status = 400, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) fn query_range() {}

/// Series
#[utoipa::path(get, path = "/api/v1/series", tag = "telemetry", params(SeriesQuery), description = "Needs `read`.", responses(
    (status = 200, body = SeriesAnswer), (status = 400, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) fn series() {}

/// Names of labels
#[utoipa::path(get, path = "/api/v1/labels", tag = "telemetry", params(CatalogQuery), description = "Needs `read`.", responses(
    (status = 200, body = NamesAnswer), (status = 400, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) fn labels() {}

/// Values of a label
#[utoipa::path(get, path = "/api/v1/label/{name}/values", tag = "telemetry", params(("name" = String, Path, example = "service_name"), CatalogQuery), description = "Needs `read`.", responses(
    (status = 200, body = NamesAnswer), (status = 400, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) fn label_values() {}

/// What metrics are
#[utoipa::path(get, path = "/api/v1/metadata", tag = "telemetry", params(MetadataQuery), description = "Needs `read`.", responses(
    (status = 200, body = MetadataAnswer), (status = 400, body = Problem), (status = 403, body = Problem), (status = 503, body = Problem)))]
pub(super) fn metadata() {}

/// Targets that are scraped
#[utoipa::path(get, path = "/api/v1/targets", tag = "telemetry", description = "Needs `read`.", responses(
    (status = 200, body = TargetsAnswer), (status = 400, body = Problem), (status = 403, body = Problem)))]
pub(super) fn targets() {}

/// One SELECT
#[utoipa::path(post, path = "/api/watchfire/v1/sql", tag = "telemetry", params(SqlQuery), description = "Over the tenant's telemetry, read-only. Needs `read`.",
    request_body(content = String, content_type = "text/plain", example = "SELECT service, sum(greatest(sample_rate, 1)) AS spans FROM spans GROUP BY service"), responses(
    (status = 200, description = "In the format that was asked for; this shape is JSONCompact", content((serde_json::Value = "application/json"), (String = "text/plain"), (String = "text/csv"), (String = "text/tab-separated-values"), (String = "text/markdown"), (String = "application/x-ndjson"), (SqlAnswer = "application/vnd.watchfire.compact+json"))),
    (status = 400, body = Problem), (status = 403, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) fn sql() {}
