//! What the console's rule editor asks: the rule files, whether a changed one is right, what its tests say, when it would have fired over the stored
//! history, and writing it. In: one file's name and text. Out: JSON. Nothing here changes what runs: a written file is taken up as any other change
//! of the folder is. Writing needs `dashboards.edit_rules`, a key with `admin`, and that all rules are right with the file; else it is refused with
//! the reason. Rules belong to the default tenant: others see none.

mod folder;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use alerting::RuleSet;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::{get, post};
use axum::{Extension, Json, Router};
use dashboards::answer::ApiError;
use incidents::issues::forget::every_issue;
use model::access::{Permission, Principal};
use model::issue::Issue;
use model::query::{MetricQuery, RowQuery};
use model::state::StateStore;
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::config::Config;
use crate::pipeline::{beside, judged};
use crate::replay::{self, Replay};
use crate::ruletest::{self, EnginePlace};

use folder::Folder;

/// The longest rule or test file that is taken, in bytes.
const LONGEST: usize = 1024 * 1024;
/// The most evaluations of one replay, and ticks of one test: they keep a core busy.
const MOST_TICKS: u128 = 20_000;
/// The most tests of one file, and rows of all of them together.
const MOST_TESTS: usize = 100;
const MOST_ROWS: u64 = 200_000;
/// How long a replay may wait for the store, and tests may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the routes need.
pub struct Desk {
    /// The settings that run.
    pub running: Arc<Mutex<Config>>,
    /// The configuration's file: the rules' folder is relative to it.
    pub config_file: Option<PathBuf>,
    /// The history.
    pub metrics: Arc<dyn MetricQuery>,
    /// The same for SQL.
    pub rows: Arc<dyn RowQuery>,
    /// The error issues.
    pub state: Arc<dyn StateStore>,
    /// For tests over logs, spans and errors; none: such tests fail and say so.
    pub engine: Option<EnginePlace>,
    /// One at a time computes.
    pub turn: Arc<Semaphore>,
}

/// The routes.
pub fn router(desk: Arc<Desk>) -> Router {
    Router::new()
        .route("/api/watchfire/v1/rules/files", get(files).put(write))
        .route("/api/watchfire/v1/rules/check", post(check))
        .route("/api/watchfire/v1/rules/test", post(test))
        .route("/api/watchfire/v1/rules/replay", post(replayed))
        .with_state(desk)
}

/// A file as somebody has it before them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Draft {
    name: String,
    text: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestDraft {
    name: String,
    text: String,
    /// A test file in promtool's format, without `rule_files`.
    test: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReplayDraft {
    name: String,
    text: String,
    from: Timestamp,
    to: Timestamp,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    name: String,
    text: String,
    /// The version that was read; none for a new file.
    version: Option<String>,
}

fn unavailable(message: impl Into<String>) -> ApiError {
    ApiError { status: StatusCode::SERVICE_UNAVAILABLE, kind: "unavailable", message: message.into() }
}

fn conflict(message: impl Into<String>) -> ApiError {
    ApiError { status: StatusCode::CONFLICT, kind: "conflict", message: message.into() }
}

fn forbidden(message: impl Into<String>) -> ApiError {
    ApiError { status: StatusCode::FORBIDDEN, kind: "forbidden", message: message.into() }
}

/// Rules are the default tenant's.
fn ours(principal: &Principal, permission: Permission) -> Result<(), ApiError> {
    principal.require(permission)?;
    if principal.tenant == TenantId::default() {
        Ok(())
    } else {
        Err(forbidden("rules belong to the tenant `default`; this key opens another one"))
    }
}

fn fits(text: &str) -> Result<(), ApiError> {
    if text.len() <= LONGEST { Ok(()) } else { Err(ApiError::bad_data(format!("the text is longer than {LONGEST} bytes: split the file"))) }
}

impl Desk {
    fn config(&self) -> Config {
        self.running.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn folder(&self, config: &Config) -> Option<Folder> {
        config.alerting.rules.as_ref().map(|folder| Folder(beside(self.config_file.as_deref()).join(folder)))
    }

    /// Why nobody may write here, if so.
    fn read_only(&self, config: &Config, principal: &Principal) -> Option<String> {
        if config.alerting.rules.is_none() {
            return Some("no folder of rules is configured: set `alerting.rules`".to_owned());
        }
        if !config.dashboards.edit_rules {
            return Some(
                "rule files are kept with the configuration, and `dashboards.edit_rules`, which would let the console write them, is off"
                    .to_owned(),
            );
        }
        principal.require(Permission::Admin).err().map(|_| "writing rules needs a key with the permission `admin`".to_owned())
    }

    /// All rules as they would be with this file.
    fn with(&self, config: &Config, name: &str, text: &str) -> Result<RuleSet, Vec<String>> {
        let mut files = match self.folder(config) {
            Some(folder) => folder.read().map_err(|error| vec![error])?.into_iter().map(|file| (file.name, file.text)).collect(),
            None => Vec::new(),
        };
        files.retain(|(other, _)| other != name);
        files.push((name.to_owned(), text.to_owned()));
        files.sort();
        judged(config, files)
    }

    /// The error issues of the rules' tenant.
    async fn issues(&self) -> Result<Vec<Issue>, ApiError> {
        let found = every_issue(&*self.state, Some(&TenantId::default()), &[]).await;
        let found = found.map_err(|error| unavailable(format!("the list of error issues cannot be read: {error}")))?;
        Ok(found.into_iter().map(|found| found.entity).collect())
    }

    /// What only this file has of them.
    fn only(&self, config: &Config, name: &str, text: &str) -> Result<RuleSet, ApiError> {
        folder::name(name).map_err(ApiError::bad_data)?;
        fits(text)?;
        let mut rules = self.with(config, name, text).map_err(|problems| ApiError::bad_data(problems.join("\n")))?;
        let source = format!("file:{name}");
        rules.groups.retain(|group| group.source == source);
        if rules.groups.is_empty() {
            return Err(ApiError::bad_data(format!("{name} has no rules: write `groups:` with at least one")));
        }
        Ok(rules)
    }

    /// Room to compute in.
    fn take_turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.turn.clone().try_acquire_owned().map_err(|_| unavailable("another test or replay is at work: try again when it is over"))
    }
}

/// Computes off the threads that serve; what a reader gives up goes on to its end, which is bounded.
async fn compute<T: Send + 'static, F: Future<Output = T>>(
    turn: OwnedSemaphorePermit,
    work: impl FnOnce() -> F + Send + 'static,
) -> Result<T, ApiError> {
    let handle = tokio::runtime::Handle::current();
    let task = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        handle.block_on(work())
    });
    task.await.map_err(|error| {
        tracing::error!(error = &error as &dyn std::error::Error, "a test or replay of rules broke off");
        ApiError {
            status: StatusCode::INTERNAL_SERVER_ERROR,
            kind: "internal",
            message: "the computation broke off; the log says why".to_owned(),
        }
    })
}

async fn files(State(desk): State<Arc<Desk>>, Extension(principal): Extension<Principal>) -> Result<Json<Value>, ApiError> {
    ours(&principal, Permission::Read)?;
    let config = desk.config();
    let why = desk.read_only(&config, &principal);
    let found = match desk.folder(&config) {
        Some(folder) => {
            tokio::task::spawn_blocking(move || folder.read()).await.map_err(|_| unavailable("the folder could not be read"))?
        }
        None => Ok(Vec::new()),
    };
    let files: Vec<Value> =
        found.map_err(unavailable)?.iter().map(|file| json!({"name": file.name, "text": file.text, "version": file.version()})).collect();
    let receivers: Vec<&str> = config.receivers.iter().map(|receiver| receiver.name()).collect();
    Ok(Json(json!({"editable": why.is_none(), "read_only_because": why, "files": files, "receivers": receivers})))
}

async fn check(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Json(draft): Json<Draft>,
) -> Result<Json<Value>, ApiError> {
    ours(&principal, Permission::Read)?;
    folder::name(&draft.name).map_err(ApiError::bad_data)?;
    fits(&draft.text)?;
    let config = desk.config();
    let judged = tokio::task::spawn_blocking(move || desk.with(&config, &draft.name, &draft.text).map(|rules| (rules, draft.name)));
    Ok(Json(match judged.await.map_err(|_| unavailable("the rules could not be checked"))? {
        Err(problems) => json!({"problems": problems, "groups": []}),
        Ok((rules, name)) => {
            let source = format!("file:{name}");
            let groups = rules.groups.iter().filter(|group| group.source == source);
            let groups: Vec<Value> = groups.map(|group| json!({"name": group.name, "rules": group.rules.len()})).collect();
            json!({"problems": [], "groups": groups})
        }
    }))
}

async fn test(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Json(draft): Json<TestDraft>,
) -> Result<Json<Value>, ApiError> {
    ours(&principal, Permission::Read)?;
    fits(&draft.test)?;
    let config = desk.config();
    let rules = desk.only(&config, &draft.name, &draft.text)?;
    let (turn, engine) = (desk.take_turn()?, desk.engine.clone());
    let report = compute(turn, move || async move {
        let (most_ticks, most_tests, most_rows) = (Some(MOST_TICKS), Some(MOST_TESTS), Some(MOST_ROWS));
        let options = ruletest::Options { most_ticks, most_tests, most_rows, engine, ..ruletest::Options::default() };
        // Where the time is over, what was started goes with the future that holds it.
        tokio::time::timeout(PATIENCE, ruletest::run_text("the test", &draft.test, &rules, &config, &options)).await
    });
    let Ok(report) = report.await? else {
        let said = "the tests take longer than a minute: split them, or use `watchfire rules test`, which may take longer";
        return Err(ApiError::bad_data(said));
    };
    Ok(Json(json!({"success": report.passed(), "errors": report.errors, "warnings": report.warnings, "cases": report.cases})))
}

async fn replayed(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Json(draft): Json<ReplayDraft>,
) -> Result<Json<Value>, ApiError> {
    ours(&principal, Permission::Read)?;
    let ReplayDraft { name, text, from, to } = draft;
    if from >= to {
        return Err(ApiError::bad_data("`from` must be before `to`"));
    }
    let config = desk.config();
    let rules = desk.only(&config, &name, &text)?;
    let ticks = replay::evaluations(&rules, &config, from, to);
    if ticks > MOST_TICKS {
        let message = format!(
            "{ticks} evaluations are more than {MOST_TICKS}: choose a shorter span, or use `watchfire rules replay`, which may take longer"
        );
        return Err(ApiError::bad_data(message));
    }
    let issues = if replay::reads_issues(&rules) { desk.issues().await? } else { Vec::new() };
    let turn = desk.take_turn()?;
    let (history, rows) = (desk.metrics.clone(), desk.rows.clone());
    let found = compute(turn, move || async move {
        let setup = Replay { config: &config, rules, history, rows, issues, from, to };
        tokio::time::timeout(PATIENCE, replay::replay(setup, |_| {})).await
    });
    match found.await? {
        Ok(Ok(replayed)) => Ok(Json(json!(replayed))),
        Ok(Err(error)) => Err(ApiError { status: StatusCode::UNPROCESSABLE_ENTITY, kind: "execution", message: format!("{error:#}") }),
        Err(_) => Err(unavailable(format!("the replay took more than {} s: choose a shorter span", PATIENCE.as_secs()))),
    }
}

async fn write(
    State(desk): State<Arc<Desk>>,
    Extension(principal): Extension<Principal>,
    Json(written): Json<Written>,
) -> Result<Json<Value>, ApiError> {
    ours(&principal, Permission::Admin)?;
    let config = desk.config();
    if let Some(why) = desk.read_only(&config, &principal) {
        return Err(forbidden(why));
    }
    folder::name(&written.name).map_err(ApiError::bad_data)?;
    fits(&written.text)?;
    let Some(folder) = desk.folder(&config) else { return Err(unavailable("no folder of rules is configured")) };
    // One writer at a time, and none beside a replay: what was judged is what is written.
    let turn = desk.take_turn()?;
    let soon = config.server.reload_on_change && desk.config_file.is_some();
    let task = tokio::task::spawn_blocking(move || {
        let _turn = turn;
        let Written { name, text, version } = written;
        desk.with(&config, &name, &text).map_err(|problems| ApiError::bad_data(problems.join("\n")))?;
        let version = folder.write(&name, &text, version.as_deref()).map_err(|error| match error {
            folder::WriteError::Overtaken => {
                conflict(format!("{name} was changed by somebody else since it was read: read it again, nothing was written"))
            }
            folder::WriteError::Link | folder::WriteError::Io(_) => unavailable(format!("{name}: {error}")),
        })?;
        Ok::<_, ApiError>((name, version))
    });
    let (name, version) = task.await.map_err(|_| unavailable("the file could not be written"))??;
    tracing::info!(file = name, actor = %principal.actor, "a rule file was written from the console");
    let when = if soon { "it is taken up within seconds" } else { "it is taken up at the next SIGHUP" };
    Ok(Json(json!({"version": version, "message": format!("{name} is written; {when}")})))
}

#[cfg(test)]
mod tests;
