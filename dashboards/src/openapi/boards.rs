//! Shapes of boards, as the API describes them.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::basics::Problem;

/// A board of the list.
#[derive(Serialize, ToSchema)]
pub(super) struct BoardName {
    name: String,
    title: String,
    description: String,
    /// `file` or `built in`.
    source: String,
    /// Why its file cannot be read as a board.
    #[schema(required)]
    error: Option<String>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct BoardList {
    dashboards: Vec<BoardName>,
    /// Whether `dashboards.folder` is set.
    has_folder: bool,
}

/// What a reader chooses; `$name` in expressions.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct BoardVariable {
    name: String,
    #[schema(required)]
    label: Option<String>,
    #[schema(required, example = "label_values(up, job)")]
    query: Option<String>,
    options: Vec<String>,
    #[schema(required)]
    default: Option<String>,
    all: bool,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum BoardPanelKind {
    Lines,
    Bars,
    Stat,
    Heatmap,
    Table,
    Text,
}

#[derive(Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum BoardUnit {
    None,
    Ratio,
    Bytes,
    Seconds,
    PerSecond,
}

#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct BoardQuery {
    expr: String,
    legend: String,
}

/// One panel.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct BoardPanel {
    title: String,
    kind: BoardPanelKind,
    /// Columns of twelve.
    width: u8,
    /// Pixels.
    height: u16,
    unit: BoardUnit,
    queries: Vec<BoardQuery>,
    thresholds: super::alerting::Thresholds,
    text: String,
}

/// A page of panels.
#[derive(Serialize, Deserialize, ToSchema)]
pub(super) struct Board {
    title: String,
    description: String,
    #[schema(example = "1h")]
    time: String,
    #[schema(required)]
    refresh: Option<String>,
    variables: Vec<BoardVariable>,
    panels: Vec<BoardPanel>,
}

/// `dashboard`, or Grafana's own JSON as it is.
#[derive(Serialize, ToSchema)]
pub(super) struct BoardOne {
    #[schema(nullable = false)]
    dashboard: Option<Board>,
    #[schema(nullable = false)]
    grafana: Option<serde_json::Value>,
}

/// Boards
#[utoipa::path(get, path = "/api/watchfire/v1/dashboards", tag = "system", description = "Needs `read`.", responses(
    (status = 200, body = BoardList), (status = 403, body = Problem), (status = 503, body = Problem)))]
pub(super) fn list() {}

/// One board
#[utoipa::path(get, path = "/api/watchfire/v1/dashboards/{name}", tag = "system", description = "Needs `read`.", params(("name" = String, Path, example = "services")), responses(
    (status = 200, body = BoardOne), (status = 403, body = Problem), (status = 404, body = Problem), (status = 422, body = Problem), (status = 503, body = Problem)))]
pub(super) fn show() {}
