//! `input_logs`, `input_spans`, `input_errors`: rows of a real engine, so that rules over them run the very statements that they run in
//! service. The engine is started for the first test of a file that needs it, in a temporary folder; each test begins with empty tables.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use model::fingerprint::Fingerprint;
use model::query::RowQuery;
use model::time::{Span, SystemClock, Timestamp};
use prometheus::Registry;
use serde::Deserialize;
use serde_json::{Value, json};
use serde_saphyr::Spanned;
use store::clickhouse::ClickHouse;
use store::engine::supervisor::Supervisor;
use store::sql::RuleSql;

use super::file::{TestYaml, line};
use crate::config::Config;
use crate::pipeline;

/// Rows are kept as long as their tables allow: tests may begin in any year.
const RETENTION_DAYS: u16 = 36_500;
/// More rows than this are a typing error.
const MOST_ROWS: u64 = 1_000_000;
/// When tests begin that read these tables and do not say when: their time begins later than PromQL's.
pub(super) const START: Timestamp = Timestamp::from_secs(946_684_800);

/// Where the engine comes from.
#[derive(Clone, Debug)]
pub struct EnginePlace {
    /// The program whose child it is: this one.
    pub executable: PathBuf,
    /// Its library; none: the per-user cache, filled where it is empty.
    pub library: Option<PathBuf>,
    /// That cache.
    pub cache: PathBuf,
}

/// The engine of one test file.
pub(super) struct Signals {
    clickhouse: ClickHouse,
    supervisor: Option<Arc<Supervisor>>,
    _folder: tempfile::TempDir,
}

/// Once, or so often.
#[derive(Clone, Copy, Debug)]
struct Times {
    at: Span,
    count: u64,
    every: Span,
}

/// A log record.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LogYaml {
    at: Span,
    count: Option<u64>,
    every: Span,
    body: String,
    severity: String,
    service: String,
    trace_id: String,
    attributes: BTreeMap<String, String>,
    resource: BTreeMap<String, String>,
}

/// A span.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SpanYaml {
    at: Span,
    count: Option<u64>,
    every: Span,
    service: String,
    operation: String,
    kind: Option<String>,
    status: Option<String>,
    duration: Span,
    trace_id: String,
    attributes: BTreeMap<String, String>,
    resource: BTreeMap<String, String>,
}

/// An error event.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ErrorYaml {
    at: Span,
    count: Option<u64>,
    every: Span,
    service: String,
    #[serde(rename = "type")]
    kind: String,
    message: String,
    release: String,
    environment: String,
    /// With `count` each event has a user of its own: the name and a number.
    user: String,
    trace_id: String,
}

fn times(at: Span, count: Option<u64>, every: Span) -> Times {
    Times { at, count: count.unwrap_or(1), every }
}

impl Times {
    fn moments(self, start: Timestamp) -> impl Iterator<Item = (u64, Timestamp)> {
        let step = move |index: u64| self.every.0.saturating_mul(u32::try_from(index).unwrap_or(u32::MAX));
        (0..self.count).map(move |index| (index, start.plus(self.at.0).plus(step(index))))
    }
}

/// `DateTime64(9)` in JSON.
fn moment(at: Timestamp) -> Value {
    json!(format!("{}.{:09}", at.nanos().div_euclid(1_000_000_000), at.nanos().rem_euclid(1_000_000_000)))
}

/// An id of so many bytes, from hex.
fn id(hex: &str, bytes: usize) -> Result<String, String> {
    let wrong = || format!("`trace_id: {hex}` is not {} hexadecimal digits", bytes * 2);
    if hex.is_empty() {
        return Ok("unhex('')".to_owned());
    }
    if hex.len() != bytes * 2 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(wrong());
    }
    Ok(format!("unhex('{hex}')"))
}

/// Rows of one table with the same trace.
struct Insert {
    table: &'static str,
    trace: String,
    rows: Vec<Value>,
}

fn severity(word: &str) -> Result<u8, String> {
    let levels = [("", 0), ("trace", 1), ("debug", 5), ("info", 9), ("warn", 13), ("warning", 13), ("error", 17), ("fatal", 21)];
    let level = levels.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, number)| *number);
    level.ok_or_else(|| format!("`severity: {word}` is not known: use trace, debug, info, warn, error or fatal"))
}

fn log(yaml: &LogYaml, start: Timestamp) -> Result<Insert, String> {
    let number = severity(&yaml.severity)?;
    let row = |(_, at): (u64, Timestamp)| {
        json!({"tenant": "default", "ts": moment(at), "severity_number": number, "severity_text": yaml.severity, "service": yaml.service, "body": yaml.body,
            "attributes": yaml.attributes, "resource": yaml.resource, "retention_days": RETENTION_DAYS})
    };
    let rows = times(yaml.at, yaml.count, yaml.every).moments(start).map(row).collect();
    Ok(Insert { table: "logs", trace: id(&yaml.trace_id, 16)?, rows })
}

fn span(yaml: &SpanYaml, start: Timestamp) -> Result<Insert, String> {
    let word = |key: &str, written: &Option<String>, known: &[&str], usual: &str| match written {
        None => Ok(usual.to_owned()),
        Some(word) => {
            let upper = word.to_ascii_uppercase();
            let wrong = || format!("`{key}: {word}` is not known: use one of {}", known.join(", ").to_ascii_lowercase());
            if known.contains(&upper.as_str()) { Ok(upper) } else { Err(wrong()) }
        }
    };
    let kind = word("kind", &yaml.kind, &["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"], "INTERNAL")?;
    let status = word("status", &yaml.status, &["UNSET", "OK", "ERROR"], "UNSET")?;
    let row = |(_, at): (u64, Timestamp)| {
        json!({"tenant": "default", "ts": moment(at), "service": yaml.service, "name": yaml.operation, "kind": kind, "status": status,
            "duration": u64::try_from(yaml.duration.0.as_nanos()).unwrap_or(u64::MAX), "attributes": yaml.attributes, "resource": yaml.resource,
            "sample_rate": 1, "retention_days": RETENTION_DAYS})
    };
    let rows = times(yaml.at, yaml.count, yaml.every).moments(start).map(row).collect();
    Ok(Insert { table: "spans", trace: id(&yaml.trace_id, 16)?, rows })
}

fn error(yaml: &ErrorYaml, start: Timestamp, place: usize) -> Result<Insert, String> {
    if yaml.kind.is_empty() {
        return Err("an error needs a `type`, for example KeyError".to_owned());
    }
    let print = Fingerprint::of_parts([yaml.kind.as_str(), yaml.message.as_str()]);
    let many = yaml.count.is_some_and(|count| count > 1) && !yaml.user.is_empty();
    let row = |(index, at): (u64, Timestamp)| {
        let user = if many { format!("{}-{index}", yaml.user) } else { yaml.user.clone() };
        json!({"tenant": "default", "ts": moment(at), "project": yaml.service, "fingerprint": print.0.to_string(), "type": yaml.kind, "value": yaml.message,
            "event_id": format!("{place:08x}-0000-0000-0000-{index:012x}"), "release": yaml.release, "environment": yaml.environment, "user": user,
            "retention_days": RETENTION_DAYS})
    };
    let rows = times(yaml.at, yaml.count, yaml.every).moments(start).map(row).collect();
    Ok(Insert { table: "error_events", trace: id(&yaml.trace_id, 16)?, rows })
}

/// A test's inputs as rows, or the line and the sentence for what is wrong.
fn inserts(yaml: &TestYaml, start: Timestamp) -> Result<Vec<Insert>, (&'static str, u64, String)> {
    let mut all = Vec::new();
    let too_many = |key: &'static str, at: u64, count: Option<u64>| match count {
        Some(count) if count > MOST_ROWS => Err((key, at, format!("`count: {count}` is more than {MOST_ROWS}"))),
        Some(_) | None => Ok(()),
    };
    for one in yaml.input_logs.iter().flatten() {
        too_many("input_logs", line(one), one.value.count)?;
        all.push(log(&one.value, start).map_err(|error| ("input_logs", line(one), error))?);
    }
    for one in yaml.input_spans.iter().flatten() {
        too_many("input_spans", line(one), one.value.count)?;
        all.push(span(&one.value, start).map_err(|error| ("input_spans", line(one), error))?);
    }
    for (place, one) in yaml.input_errors.iter().flatten().enumerate() {
        too_many("input_errors", line(one), one.value.count)?;
        all.push(error(&one.value, start, place).map_err(|error| ("input_errors", line(one), error))?);
    }
    Ok(all)
}

/// When the last of them comes, counted from the start.
pub(super) fn length(yaml: &TestYaml) -> Duration {
    let end = |at: Span, count: Option<u64>, every: Span| {
        let steps = u32::try_from(count.unwrap_or(1).saturating_sub(1)).unwrap_or(u32::MAX);
        at.0.saturating_add(every.0.saturating_mul(steps))
    };
    let of = |spanned: &Spanned<LogYaml>| end(spanned.value.at, spanned.value.count, spanned.value.every);
    let logs = yaml.input_logs.iter().flatten().map(of);
    let spans = yaml.input_spans.iter().flatten().map(|one| end(one.value.at, one.value.count, one.value.every));
    let errors = yaml.input_errors.iter().flatten().map(|one| end(one.value.at, one.value.count, one.value.every));
    logs.chain(spans).chain(errors).max().unwrap_or_default()
}

impl Signals {
    /// Starts an engine.
    pub(super) async fn start(place: &EnginePlace) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir().context("making a folder for the engine")?;
        let library = match &place.library {
            Some(library) => library.clone(),
            None => {
                let cache = place.cache.clone();
                tokio::task::spawn_blocking(move || store::engine::fetch::ensure(&cache)).await??
            }
        };
        let config = Config::default();
        let (clickhouse, supervisor) = pipeline::open_clickhouse(
            &config,
            folder.path(),
            place.executable.clone(),
            Some(library),
            None,
            Arc::new(SystemClock),
            &Registry::new(),
        )
        .await
        .context("starting the engine for logs, spans and errors")?;
        Ok(Signals { clickhouse, supervisor, _folder: folder })
    }

    /// Empties the tables and fills them for one test.
    pub(super) async fn fill(&self, yaml: &TestYaml, start: Timestamp) -> Result<(), (&'static str, u64, String)> {
        let failed = |error: store::clickhouse::ClickHouseError| ("rules", 0, format!("the engine did not take the rows: {error}"));
        for table in ["logs", "spans", "error_events"] {
            self.clickhouse.execute(&format!("TRUNCATE TABLE {table}")).await.map_err(failed)?;
        }
        for insert in inserts(yaml, start)? {
            let columns = insert.rows.first().and_then(Value::as_object).map(|row| row.keys().cloned().collect::<Vec<_>>());
            let Some(columns) = columns else { continue };
            let list = columns.join(", ");
            let rows: Vec<String> = insert.rows.iter().map(Value::to_string).collect();
            // Without deduplication: rows that are alike are several rows.
            let statement = format!(
                "INSERT INTO {table} ({list}, trace_id) SELECT {list}, {trace} FROM input('{types}') SETTINGS insert_deduplicate = 0 FORMAT JSONEachRow {rows}",
                table = insert.table,
                trace = insert.trace,
                types = types(&columns),
                rows = rows.join("\n"),
            );
            self.clickhouse.execute(&statement).await.map_err(failed)?;
        }
        Ok(())
    }

    /// SQL over the rows.
    pub(super) fn rows(&self) -> Arc<dyn RowQuery> {
        Arc::new(RuleSql::new(self.clickhouse.client(), &Config::default().storage.clickhouse.database))
    }

    /// Ends the engine.
    pub(super) async fn stop(self) {
        if let Some(supervisor) = self.supervisor {
            supervisor.stop().await;
        }
    }
}

/// The columns of an insert with types that JSON is read as.
fn types(columns: &[String]) -> String {
    let kind = |name: &str| match name {
        "ts" => "DateTime64(9)",
        "severity_number" => "UInt8",
        "attributes" | "resource" => "Map(String, String)",
        "duration" => "UInt64",
        "fingerprint" => "UInt64",
        "sample_rate" => "UInt32",
        "retention_days" => "UInt16",
        "event_id" => "UUID",
        _ => "String",
    };
    columns.iter().map(|name| format!("{name} {}", kind(name))).collect::<Vec<_>>().join(", ")
}
