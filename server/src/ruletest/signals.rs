//! `input_logs`, `input_spans`, `input_errors`: rows of a real engine, so that rules over them run the very statements that they run in
//! service. The engine is started for the first test of a file that needs it, in a temporary folder; each test begins with empty tables.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use model::fingerprint::Fingerprint;
use model::query::RowQuery;
use model::time::{Span, SystemClock, Timestamp};
use model::units::ByteCount;
use prometheus::Registry;
use serde::Deserialize;
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
/// What the engine of a test may use.
const MEMORY: ByteCount = ByteCount(1 << 30);
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
    pub(super) service: String,
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) message: String,
    pub(super) release: String,
    environment: String,
    /// With `count` each event has a user of its own: the name and a number.
    user: String,
    trace_id: String,
}

impl ErrorYaml {
    /// What kind of error it is: here type and message.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of_parts([self.kind.as_str(), self.message.as_str()])
    }

    /// `type: message`.
    pub(super) fn title(&self) -> String {
        if self.message.is_empty() { self.kind.clone() } else { format!("{}: {}", self.kind, self.message) }
    }

    /// The moments of its first event, its last one, and the first one after each of these.
    pub(super) fn edges(&self, start: Timestamp, after: &BTreeSet<Timestamp>) -> BTreeSet<Timestamp> {
        let (first, every) = (start.plus(self.at.0), self.every.0.as_nanos());
        let last = u128::from(self.count.unwrap_or(1).saturating_sub(1));
        let number = |number: u128| first.plus(Duration::from_nanos(u64::try_from(every.saturating_mul(number)).unwrap_or(u64::MAX)));
        let next = |edge: &Timestamp| (edge.since(first).as_nanos().checked_div(every).unwrap_or(last) + 1).min(last);
        let firsts = after.iter().filter(|edge| **edge >= first).map(|edge| number(next(edge)));
        if self.count == Some(0) { BTreeSet::new() } else { firsts.chain([first, number(last)]).collect() }
    }
}

/// A text as a literal.
fn text(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

/// A map as a literal.
fn map(entries: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = entries.iter().map(|(key, value)| format!("{}, {}", text(key), text(value))).collect();
    format!("CAST(map({}), 'Map(String, String)')", pairs.join(", "))
}

/// An id of so many bytes, from hex.
fn id(hex: &str, bytes: usize) -> Result<String, String> {
    if !hex.is_empty() && (hex.len() != bytes * 2 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Err(format!("`trace_id: {hex}` is not {} hexadecimal digits", bytes * 2));
    }
    Ok(format!("unhex('{hex}')"))
}

/// The statement that makes rows; `number` counts them from 0.
fn insert(table: &str, start: Timestamp, (at, count, every): (Span, Option<u64>, Span), columns: &[(&str, String)]) -> String {
    let first = start.plus(at.0).nanos();
    let moment = format!("fromUnixTimestamp64Nano(toInt64({first} + number * {}))", every.0.as_nanos());
    let names: Vec<&str> = columns.iter().map(|(name, _)| *name).collect();
    let values: Vec<&str> = columns.iter().map(|(_, value)| value.as_str()).collect();
    format!(
        "INSERT INTO {table} (tenant, ts, retention_days, {}) SELECT 'default', {moment}, {RETENTION_DAYS}, {} FROM numbers({})",
        names.join(", "),
        values.join(", "),
        count.unwrap_or(1)
    )
}

fn severity(word: &str) -> Result<u8, String> {
    let levels = [("", 0), ("trace", 1), ("debug", 5), ("info", 9), ("warn", 13), ("warning", 13), ("error", 17), ("fatal", 21)];
    let level = levels.iter().find(|(name, _)| word.eq_ignore_ascii_case(name)).map(|(_, number)| *number);
    level.ok_or_else(|| format!("`severity: {word}` is not known: use trace, debug, info, warn, error or fatal"))
}

fn log(yaml: &LogYaml, start: Timestamp) -> Result<String, String> {
    let columns = [
        ("severity_number", severity(&yaml.severity)?.to_string()),
        ("severity_text", text(&yaml.severity)),
        ("service", text(&yaml.service)),
        ("body", text(&yaml.body)),
        ("attributes", map(&yaml.attributes)),
        ("resource", map(&yaml.resource)),
        ("trace_id", id(&yaml.trace_id, 16)?),
    ];
    Ok(insert("logs", start, (yaml.at, yaml.count, yaml.every), &columns))
}

fn span(yaml: &SpanYaml, start: Timestamp) -> Result<String, String> {
    let word = |key: &str, written: &Option<String>, known: &[&str], usual: &str| match written {
        None => Ok(text(usual)),
        Some(word) => {
            let upper = word.to_ascii_uppercase();
            let wrong = || format!("`{key}: {word}` is not known: use one of {}", known.join(", ").to_ascii_lowercase());
            if known.contains(&upper.as_str()) { Ok(text(&upper)) } else { Err(wrong()) }
        }
    };
    let columns = [
        ("service", text(&yaml.service)),
        ("name", text(&yaml.operation)),
        ("kind", word("kind", &yaml.kind, &["INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"], "INTERNAL")?),
        ("status", word("status", &yaml.status, &["UNSET", "OK", "ERROR"], "UNSET")?),
        ("duration", yaml.duration.0.as_nanos().to_string()),
        ("attributes", map(&yaml.attributes)),
        ("resource", map(&yaml.resource)),
        ("sample_rate", "1".to_owned()),
        ("trace_id", id(&yaml.trace_id, 16)?),
    ];
    Ok(insert("spans", start, (yaml.at, yaml.count, yaml.every), &columns))
}

fn error(yaml: &ErrorYaml, start: Timestamp) -> Result<String, String> {
    if yaml.kind.is_empty() {
        return Err("an error needs a `type`, for example KeyError".to_owned());
    }
    let print = yaml.fingerprint();
    let many = yaml.count.is_some_and(|count| count > 1) && !yaml.user.is_empty();
    let user = text(&yaml.user);
    let columns = [
        ("project", text(&yaml.service)),
        ("fingerprint", print.0.to_string()),
        ("type", text(&yaml.kind)),
        ("value", text(&yaml.message)),
        ("event_id", "generateUUIDv4(number)".to_owned()),
        ("release", text(&yaml.release)),
        ("environment", text(&yaml.environment)),
        ("user", if many { format!("concat({user}, '-', toString(number))") } else { user }),
        ("trace_id", id(&yaml.trace_id, 16)?),
    ];
    Ok(insert("error_events", start, (yaml.at, yaml.count, yaml.every), &columns))
}

/// A test's inputs as statements, or the line and the sentence for what is wrong.
fn inserts(yaml: &TestYaml, start: Timestamp) -> Result<Vec<String>, (&'static str, u64, String)> {
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
    for one in yaml.input_errors.iter().flatten() {
        too_many("input_errors", line(one), one.value.count)?;
        all.push(error(&one.value, start).map_err(|error| ("input_errors", line(one), error))?);
    }
    Ok(all)
}

/// How many rows a test makes.
pub(super) fn count(yaml: &TestYaml) -> u64 {
    let logs = yaml.input_logs.iter().flatten().map(|one| one.value.count);
    let spans = yaml.input_spans.iter().flatten().map(|one| one.value.count);
    let errors = yaml.input_errors.iter().flatten().map(|one| one.value.count);
    logs.chain(spans).chain(errors).map(|count| count.unwrap_or(1)).fold(0, u64::saturating_add)
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
        let mut config = Config::default();
        config.storage.clickhouse.engine_memory = MEMORY;
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
        for statement in inserts(yaml, start)? {
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
