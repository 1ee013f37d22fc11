//! Boards: YAML files with panels and variables, and Grafana's JSON beside them, in a folder of the configuration; a few come with the program. In: the
//! folder, read when somebody asks, so that a saved file shows at the next look. Out: a list, and each board as JSON; Grafana's files go out as they
//! are, the console reads them. A file that cannot be read as a board is listed with its problem, place and line.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Path as UrlPath, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use model::access::{Permission, Principal};
use model::severity::Severity;
use model::time::Span;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::answer::ApiError;

/// The most files of a folder that are read.
const MOST_FILES: usize = 500;
/// The longest file, in bytes.
const LONGEST: u64 = 4 * 1024 * 1024;
/// The most panels of one board.
const MOST_PANELS: usize = 200;

/// Boards that come with the program, by name.
const BUILT_IN: [(&str, &str); 2] = [
    ("services", include_str!("../../deploy/dashboards/services.yaml")),
    ("watchfire", include_str!("../../deploy/dashboards/watchfire.yaml")),
];

/// Where boards lie.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// A folder of `*.yaml` boards and Grafana's `*.json`; none: only those that come with the program.
    pub folder: Option<PathBuf>,
    /// Whether a key with `admin` may write rule files from the console; else they are read-only there.
    pub edit_rules: bool,
}

/// A page of panels.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Board {
    /// What it is called.
    pub title: String,
    /// One sentence.
    #[serde(default)]
    pub description: String,
    /// The time span that it opens with.
    #[serde(default = "an_hour")]
    pub time: Span,
    /// How often it looks again; none: at the reader's pace.
    #[serde(default)]
    pub refresh: Option<Span>,
    /// What a reader chooses, `$name` in expressions.
    #[serde(default)]
    pub variables: Vec<Variable>,
    /// What it shows, in order.
    pub panels: Vec<Panel>,
}

fn an_hour() -> Span {
    Span::secs(3_600)
}

/// What a reader chooses.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// `$name` in expressions.
    pub name: String,
    /// What it is called; its name where it is left out.
    #[serde(default)]
    pub label: Option<String>,
    /// `label_values(metric, label)` or `label_values(label)`.
    #[serde(default)]
    pub query: Option<String>,
    /// Fixed values.
    #[serde(default)]
    pub options: Vec<String>,
    /// The value that it opens with; else all, else the first.
    #[serde(default)]
    pub default: Option<String>,
    /// Whether all together can be chosen: `.*`, for matchers with `=~`.
    #[serde(default)]
    pub all: bool,
}

/// How a panel shows its numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PanelKind {
    /// Lines over time.
    #[default]
    Lines,
    /// Bars over time.
    Bars,
    /// The newest value, large.
    Stat,
    /// How many values fell into which bucket (label `le`), over time.
    Heatmap,
    /// The newest values as rows.
    Table,
    /// Markdown.
    Text,
}

/// What numbers are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PanelUnit {
    /// Plain.
    #[default]
    None,
    /// 1 is 100 %.
    Ratio,
    /// Bytes.
    Bytes,
    /// Seconds.
    Seconds,
    /// A second.
    PerSecond,
}

/// One panel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Panel {
    /// What it is called.
    #[serde(default)]
    pub title: String,
    /// How it shows its numbers.
    #[serde(default)]
    pub kind: PanelKind,
    /// Columns of twelve.
    #[serde(default = "half")]
    pub width: u8,
    /// Pixels.
    #[serde(default = "usual_height")]
    pub height: u16,
    /// What the numbers are.
    #[serde(default)]
    pub unit: PanelUnit,
    /// What it asks.
    #[serde(default)]
    pub queries: Vec<PanelQuery>,
    /// Lines by severity, such as `> 0.05`.
    #[serde(default)]
    pub thresholds: BTreeMap<Severity, String>,
    /// The Markdown of a text.
    #[serde(default)]
    pub text: String,
}

fn half() -> u8 {
    6
}

fn usual_height() -> u16 {
    220
}

/// One expression.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PanelQuery {
    /// PromQL with `$name` of variables, `$__rate_interval`, `$__interval`, `$__range`.
    pub expr: String,
    /// Names of lines: `{{label}}`; all labels where it is left out.
    #[serde(default)]
    pub legend: String,
}

impl Board {
    /// Reads a board's YAML. One sentence with place and fix where it is none.
    pub fn parse(text: &str) -> Result<Board, String> {
        let board: Board = serde_saphyr::from_str(text).map_err(|error| error.to_string())?;
        match board.problem() {
            Some(problem) => Err(problem),
            None => Ok(board),
        }
    }

    fn problem(&self) -> Option<String> {
        if self.panels.len() > MOST_PANELS {
            return Some(format!("`panels` has {} entries: at most {MOST_PANELS} are shown", self.panels.len()));
        }
        for variable in &self.variables {
            let name = &variable.name;
            let plain = name.chars().all(|one| one.is_ascii_alphanumeric() || one == '_');
            if name.is_empty() || !plain || name.starts_with("__") {
                return Some(format!("variable `{name}`: use letters, digits and `_`, and not `__` at the start"));
            }
            if variable.query.is_none() && variable.options.is_empty() {
                return Some(format!("variable `{name}` has neither `query` nor `options`: add `query: label_values(metric, label)`"));
            }
        }
        for panel in &self.panels {
            let title = &panel.title;
            if !(1..=12).contains(&panel.width) {
                return Some(format!("panel `{title}`: `width` is {}, use 1 to 12", panel.width));
            }
            match panel.kind {
                PanelKind::Text if panel.text.is_empty() => return Some(format!("panel `{title}` is a text without `text`")),
                PanelKind::Text => {}
                PanelKind::Lines | PanelKind::Bars | PanelKind::Stat | PanelKind::Heatmap | PanelKind::Table
                    if panel.queries.is_empty() =>
                {
                    return Some(format!("panel `{title}` asks nothing: add `queries: [{{ expr: up }}]`"));
                }
                PanelKind::Lines | PanelKind::Bars | PanelKind::Stat | PanelKind::Heatmap | PanelKind::Table => {}
            }
        }
        None
    }
}

/// A board as its file has it.
enum Found {
    Ours(Box<Board>),
    Grafana(serde_json::Value),
}

impl Found {
    fn title(&self, name: &str) -> String {
        match self {
            Found::Ours(board) => board.title.clone(),
            Found::Grafana(json) => grafana(json).get("title").and_then(|title| title.as_str()).unwrap_or(name).to_owned(),
        }
    }
    fn description(&self) -> String {
        match self {
            Found::Ours(board) => board.description.clone(),
            Found::Grafana(json) => grafana(json).get("description").and_then(|text| text.as_str()).unwrap_or_default().to_owned(),
        }
    }
}

/// Grafana's API wraps a board in `dashboard`; its export does not.
fn grafana(json: &serde_json::Value) -> &serde_json::Value {
    json.get("dashboard").unwrap_or(json)
}

/// A file of the folder, or one that comes with the program.
struct Listed {
    name: String,
    source: &'static str,
    read: Result<Found, String>,
}

fn read_file(path: &Path) -> Result<Found, String> {
    let length = std::fs::metadata(path).map_err(|error| error.to_string())?.len();
    if length > LONGEST {
        return Err(format!("the file has {length} bytes: a board has at most {LONGEST}"));
    }
    let text = std::fs::read_to_string(path).map_err(|error| error.to_string())?;
    if path.extension().is_some_and(|end| end == "json") {
        let json: serde_json::Value = serde_json::from_str(&text).map_err(|error| error.to_string())?;
        let is_board = grafana(&json).get("panels").is_some_and(serde_json::Value::is_array);
        return if is_board {
            Ok(Found::Grafana(json))
        } else {
            Err("this JSON is no board of Grafana: it has no list `panels`".to_owned())
        };
    }
    Board::parse(&text).map(|board| Found::Ours(Box::new(board)))
}

/// All boards by name: those of the folder, then those that come with the program and have no namesake there.
fn all(folder: Option<&Path>) -> Result<Vec<Listed>, String> {
    let mut files: Vec<PathBuf> = Vec::new();
    if let Some(folder) = folder {
        let entries =
            std::fs::read_dir(folder).map_err(|error| format!("dashboards.folder: {} cannot be read: {error}", folder.display()))?;
        files.extend(entries.filter_map(Result::ok).map(|entry| entry.path()));
        files.retain(|path| path.extension().is_some_and(|end| end == "yaml" || end == "yml" || end == "json"));
        files.sort();
        files.truncate(MOST_FILES);
    }
    let mut boards: Vec<Listed> = files
        .iter()
        .filter_map(|path| {
            let name = path.file_stem()?.to_str()?.to_owned();
            Some(Listed { name, source: "file", read: read_file(path) })
        })
        .collect();
    for (name, text) in BUILT_IN {
        if !boards.iter().any(|board| board.name == name) {
            let read = Board::parse(text).map(|board| Found::Ours(Box::new(board)));
            boards.push(Listed { name: name.to_owned(), source: "built in", read });
        }
    }
    Ok(boards)
}

async fn read(folder: Arc<Option<PathBuf>>) -> Result<Vec<Listed>, ApiError> {
    let failed = |message: String| ApiError { status: StatusCode::SERVICE_UNAVAILABLE, kind: "unavailable", message };
    tokio::task::spawn_blocking(move || all(folder.as_deref())).await.map_err(|error| failed(error.to_string()))?.map_err(failed)
}

/// The routes. A relative folder is below `beside`.
pub fn router(config: &Config, beside: &Path) -> Router {
    let folder = config.folder.as_ref().map(|folder| beside.join(folder));
    Router::new()
        .route("/api/watchfire/v1/dashboards", get(list))
        .route("/api/watchfire/v1/dashboards/{name}", get(show))
        .with_state(Arc::new(folder))
}

async fn list(State(folder): State<Arc<Option<PathBuf>>>, Extension(principal): Extension<Principal>) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let has_folder = folder.is_some();
    let boards: Vec<_> = read(folder)
        .await?
        .into_iter()
        .map(|board| {
            let (title, description, error) = match &board.read {
                Ok(found) => (found.title(&board.name), found.description(), None),
                Err(error) => (board.name.clone(), String::new(), Some(error)),
            };
            json!({"name": board.name, "title": title, "description": description, "source": board.source, "error": error})
        })
        .collect();
    Ok(Json(json!({"dashboards": boards, "has_folder": has_folder})).into_response())
}

async fn show(
    State(folder): State<Arc<Option<PathBuf>>>,
    Extension(principal): Extension<Principal>,
    UrlPath(name): UrlPath<String>,
) -> Result<Response, ApiError> {
    principal.require(Permission::Read)?;
    let found = read(folder).await?.into_iter().find(|board| board.name == name);
    let missing = || ApiError { status: StatusCode::NOT_FOUND, kind: "not_found", message: format!("there is no board `{name}`") };
    match found.ok_or_else(missing)?.read {
        Ok(Found::Ours(board)) => Ok(Json(json!({"dashboard": board})).into_response()),
        Ok(Found::Grafana(json)) => Ok(Json(json!({"grafana": grafana(&json)})).into_response()),
        Err(message) => Err(ApiError { status: StatusCode::UNPROCESSABLE_ENTITY, kind: "bad_data", message: format!("{name}: {message}") }),
    }
}

#[cfg(test)]
mod tests;
