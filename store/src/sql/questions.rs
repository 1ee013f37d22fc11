//! SQL for rules: the tenant's guard with a time. In: a statement with `{from}` and `{to}`, a window, limits. Out: a small table. A
//! statement that names no time is refused before it is run; what is too much in rows, memory or time is an error, never a part.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use clickhouse::Client;
use model::query::{Cell, QueryError, RowQuery, RowQuestion, Rows};
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Semaphore;

use super::tokens::{self, Token};
use super::{Limits, Watermark, check, tenant_settings, understood};

/// The most memory of one statement of a rule.
const MEMORY: u64 = 512 << 20;
/// The most bytes of its answer.
const ANSWER: u64 = 16 << 20;
/// Statements at the same time: the embedded engine runs eight for everybody.
const TURNS: usize = 2;
/// What stands for the two bounds while a statement is checked.
const MARKS: [(&str, &str); 2] = [("{from}", "watchfire_from"), ("{to}", "watchfire_to")];

/// SQL for rules over ClickHouse.
#[derive(Clone)]
pub struct RuleSql {
    client: Client,
    database: String,
    turns: Arc<Semaphore>,
    watermark: Option<Arc<Watermark>>,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
struct Answer {
    meta: Vec<Column>,
    data: Vec<Vec<Value>>,
}

/// The statement with its bounds in it. Digits only: nothing of a window can be more than a number.
pub fn bound(statement: &str, from: Timestamp, to: Timestamp) -> String {
    let moment = |at: Timestamp| format!("fromUnixTimestamp64Nano(toInt64({}), 'UTC')", at.nanos());
    statement.replace("{from}", &moment(from)).replace("{to}", &moment(to))
}

/// What [`RowQuery::check`] checks; needs no ClickHouse.
///
/// # Errors
/// [`QueryError::BadData`] with one sentence.
pub fn check_question(statement: &str, database: &str) -> Result<(), QueryError> {
    let refused = |sentence: String| Err(QueryError::BadData(sentence));
    let marked = MARKS.iter().fold(statement.to_owned(), |text, (mark, word)| text.replace(mark, &format!(" {word} ")));
    if let Err(problem) = check(&marked, database) {
        return refused(problem.to_string());
    }
    let read = tokens::read(&marked).map_err(|problem| QueryError::BadData(problem.to_string()))?;
    for (mark, word) in MARKS {
        if !read.tokens.iter().any(|token| matches!(token, Token::Word(found) if found == word)) {
            return refused(format!(
                "the statement has no time bound `{mark}`: compare the time column with both, for example `WHERE ts >= {{from}} AND ts < {{to}}`"
            ));
        }
    }
    Ok(())
}

/// Whether a column of this type holds numbers.
fn is_number(kind: &str) -> bool {
    let mut kind = kind;
    for wrapper in ["Nullable(", "LowCardinality(", "Nullable("] {
        kind = kind.strip_prefix(wrapper).map_or(kind, |inner| inner.strip_suffix(')').unwrap_or(inner));
    }
    ["Int", "UInt", "Float", "Decimal", "BFloat"].iter().any(|start| kind.starts_with(start))
}

fn cell(kind: &str, value: Value) -> Result<Cell, QueryError> {
    match value {
        Value::Null => Ok(Cell::Nothing),
        Value::Number(number) if is_number(kind) => Ok(Cell::Number(number.as_f64().unwrap_or(f64::NAN))),
        Value::String(text) if is_number(kind) => {
            text.parse().map(Cell::Number).map_err(|_| QueryError::Execution(format!("`{text}` is not a number")))
        }
        Value::String(text) => Ok(Cell::Text(text)),
        other => Ok(Cell::Text(other.to_string())),
    }
}

/// An answer in the format `JSONCompact` as a table of at most `limit` rows.
///
/// # Errors
/// [`QueryError::Execution`] where it is larger or cannot be read.
pub fn table(body: &[u8], limit: usize) -> Result<Rows, QueryError> {
    let answer: Answer = serde_json::from_slice(body)
        .map_err(|error| QueryError::Execution(format!("ClickHouse's answer cannot be read as a table: {error}")))?;
    let found = answer.data.len();
    if found > limit {
        return Err(QueryError::Execution(format!("the statement gives {found} rows, more than {limit}: group by less")));
    }
    let row = |row: Vec<Value>| row.into_iter().zip(&answer.meta).map(|(value, column)| cell(&column.kind, value)).collect();
    let rows: Result<Vec<Vec<Cell>>, QueryError> = answer.data.into_iter().map(row).collect();
    Ok(Rows { rows: rows?, columns: answer.meta.iter().map(|column| column.name.clone()).collect() })
}

impl RuleSql {
    /// Over a client; `database` holds the telemetry.
    pub fn new(client: Client, database: &str) -> Self {
        let turns = Arc::new(Semaphore::new(TURNS));
        RuleSql { client: client.with_database(database), database: database.to_owned(), turns, watermark: None }
    }

    /// Asks when what was received before the end of a window is stored.
    pub fn waiting_for(self, watermark: Arc<Watermark>) -> Self {
        RuleSql { watermark: Some(watermark), ..self }
    }

    fn client(&self, tenant: &TenantId, timeout: Duration) -> Client {
        let limits = Limits { timeout, result_bytes: ANSWER, memory_bytes: MEMORY };
        let fixed = [
            ("wait_end_of_query", "1"),
            ("readonly", "1"),
            ("output_format_json_quote_denormals", "1"),
            ("output_format_json_quote_64bit_integers", "1"),
            ("max_threads", "2"),
        ];
        let settings = tenant_settings(&self.database, tenant, limits).into_iter();
        settings
            .chain(fixed.map(|(name, value)| (name, value.to_owned())))
            .fold(self.client.clone(), |client, (name, value)| client.with_setting(name, value))
    }
}

#[async_trait]
impl RowQuery for RuleSql {
    async fn rows(&self, tenant: &TenantId, question: &RowQuestion<'_>) -> Result<Rows, QueryError> {
        check_question(question.statement, &self.database)?;
        let (from, to) = match &self.watermark {
            Some(watermark) => watermark.reached(question.from, question.to).await?,
            None => (question.from, question.to),
        };
        let statement = bound(question.statement, from, to);
        let checked = check(&statement, &self.database).map_err(|refused| QueryError::BadData(refused.to_string()))?;
        let timeout = question.timeout;
        let waited = tokio::time::timeout(timeout, self.turns.acquire()).await.map_err(|_| QueryError::Timeout(timeout))?;
        let _turn = waited.map_err(|_| QueryError::Unavailable("the store is closing".to_owned()))?;
        let query = self.client(tenant, timeout).query_raw(checked.statement());
        let failed = |error: clickhouse::error::Error| understood(error.into(), timeout);
        let mut cursor = query.fetch_bytes("JSONCompact").map_err(failed)?;
        let patience = timeout + Duration::from_secs(2);
        let body = tokio::time::timeout(patience, cursor.collect()).await.map_err(|_| QueryError::Timeout(timeout))?.map_err(failed)?;
        table(&body, question.limit)
    }

    fn check(&self, statement: &str) -> Result<(), QueryError> {
        check_question(statement, &self.database)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(statement: &str) -> String {
        check_question(statement, "watchfire").err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn a_statement_without_a_time_bound_is_refused() {
        assert_eq!(refusal("SELECT count() AS value FROM logs WHERE ts >= {from} AND ts < {to}"), "");
        for (statement, part) in [
            ("SELECT count() AS value FROM logs", "no time bound `{from}`"),
            ("SELECT count() AS value FROM logs WHERE ts >= {from}", "no time bound `{to}`"),
            ("SELECT count() AS value FROM logs WHERE body = '{from} {to}'", "no time bound `{from}`"),
            ("SELECT count() AS value FROM logs WHERE ts >= {from} -- ts < {to}", "no time bound `{to}`"),
            ("SELECT count() AS value FROM logs WHERE ts >= {from} AND ts < {end}", "`{` cannot be read"),
            ("INSERT INTO logs SELECT {from}, {to}", "must begin with SELECT"),
            ("SELECT 1 AS value FROM system.tables WHERE {from} < {to}", "is not a table"),
        ] {
            assert!(refusal(statement).contains(part), "{statement}: {}", refusal(statement));
        }
    }

    #[test]
    fn bounds_are_numbers_and_cells_keep_what_they_are() {
        let (from, to) = (Timestamp::from_secs(1), Timestamp::from_secs(2));
        let text = bound("{from} {to}", from, to);
        assert_eq!(text, "fromUnixTimestamp64Nano(toInt64(1000000000), 'UTC') fromUnixTimestamp64Nano(toInt64(2000000000), 'UTC')");
        assert!(is_number("Nullable(UInt64)") && is_number("LowCardinality(Nullable(Float64))") && is_number("Decimal(9, 2)"));
        assert!(!is_number("LowCardinality(String)") && !is_number("DateTime64(9)") && !is_number("Array(UInt8)"));
        assert_eq!(cell("UInt64", "18446744073709551615".into()).unwrap(), Cell::Number(18_446_744_073_709_551_615.0));
        assert_eq!(cell("Float64", "inf".into()).unwrap(), Cell::Number(f64::INFINITY));
        assert_eq!(cell("Float64", "-inf".into()).unwrap(), Cell::Number(f64::NEG_INFINITY));
        assert!(matches!(cell("Float64", "nan".into()).unwrap(), Cell::Number(value) if value.is_nan()));
        assert_eq!(cell("String", "7".into()).unwrap(), Cell::Text("7".to_owned()));
        assert_eq!(cell("Nullable(String)", Value::Null).unwrap(), Cell::Nothing);
    }
}
