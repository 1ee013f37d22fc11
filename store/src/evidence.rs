//! Evidence for a postmortem, out of ClickHouse: requests, errors and durations of the services, error groups, slowest traces, log
//! bodies; each beside a window of the same length before. The tenant and a bounded span of time stand in every question.

use std::collections::HashMap;

use async_trait::async_trait;
use clickhouse::{Client, Row};
use model::evidence::{ErrorGroup, Evidence, EvidenceQuery, EvidenceSource, LogGroup, ServiceImpact, SlowTrace};
use model::query::QueryError;
use model::time::Timestamp;
use model::units::Value;
use serde::{Deserialize, Serialize};

/// Reads the telemetry tables.
pub struct ClickHouseEvidence {
    client: Client,
}

impl ClickHouseEvidence {
    /// Over the database of a client.
    pub fn new(client: Client) -> Self {
        ClickHouseEvidence { client: client.with_validation(false) }
    }
}

#[derive(Row, Serialize, Deserialize)]
struct ImpactRow {
    service: String,
    requests: u64,
    errors: u64,
    users: u64,
    p95: f64,
}

#[derive(Row, Serialize, Deserialize)]
struct ErrorRow {
    fingerprint: u64,
    service: String,
    kind: String,
    message: String,
    count: u64,
    count_before: u64,
    first_seen: i64,
    last_seen: i64,
    stack: String,
    trace_id: String,
}

#[derive(Row, Serialize, Deserialize)]
struct TraceRow {
    trace_id: String,
    service: String,
    name: String,
    at: i64,
    seconds: f64,
    failed: u8,
}

#[derive(Row, Serialize, Deserialize)]
struct LogRow {
    service: String,
    severity: String,
    body: String,
    count: u64,
}

/// A span of time: from, up to but not including.
#[derive(Clone, Copy)]
struct Window {
    from: i64,
    to: i64,
}

fn failed(error: clickhouse::error::Error) -> QueryError {
    let text = error.to_string();
    if text.contains("Code: ") { QueryError::Execution(text) } else { QueryError::Unavailable(text) }
}

/// Rows of the services themselves, and of whatever else took part in their failed traces: the cause often stands further down.
fn touched(column: &str, query: &EvidenceQuery, window: Window) -> String {
    if query.services.is_empty() {
        return String::new();
    }
    // The tenant's name has no character that would need an escape; times are numbers.
    let (tenant, from, to) = (query.tenant.as_str(), window.from, window.to);
    format!(
        " AND ({column} IN ({places}) OR trace_id IN (SELECT trace_id FROM spans WHERE tenant = '{tenant}' \
         AND ts >= fromUnixTimestamp64Nano({from}) AND ts < fromUnixTimestamp64Nano({to}) AND status = 'ERROR' AND service IN ({places}) LIMIT 100000))",
        places = vec!["?"; query.services.len()].join(", ")
    )
}

/// `AND service IN (?, ...)`; nothing where every service counts.
fn only(column: &str, services: &[String]) -> String {
    if services.is_empty() { String::new() } else { format!(" AND {column} IN ({})", vec!["?"; services.len()].join(", ")) }
}

impl ClickHouseEvidence {
    /// `sql` begins its conditions with `tenant = ? AND ts >= fromUnixTimestamp64Nano(?) AND ts < ...(?)`, then the services.
    async fn rows<T>(&self, sql: &str, query: &EvidenceQuery, numbers: &[i64], window: Window) -> Result<Vec<T>, QueryError>
    where
        T: clickhouse::RowOwned + clickhouse::RowRead,
    {
        let mut ask = self.client.query(sql);
        for number in numbers {
            ask = ask.bind(*number);
        }
        ask = ask.bind(query.tenant.as_str()).bind(window.from).bind(window.to);
        // Some questions name the services more than once.
        let places = sql.matches('?').count() - numbers.len() - 3;
        for service in query.services.iter().cycle().take(places) {
            ask = ask.bind(service.as_str());
        }
        ask.fetch_all::<T>().await.map_err(failed)
    }

    async fn requests(&self, query: &EvidenceQuery, window: Window) -> Result<Vec<ImpactRow>, QueryError> {
        let sql = format!(
            "SELECT toString(service) AS s, count() AS requests, countIf(status = 'ERROR') AS errors, \
             uniqExactIf(if(attributes['enduser.id'] != '', attributes['enduser.id'], attributes['user.id']), \
             status = 'ERROR' AND (attributes['enduser.id'] != '' OR attributes['user.id'] != '')) AS users, \
             quantile(0.95)(duration) / 1e9 AS p95 FROM spans \
             WHERE tenant = ? AND ts >= fromUnixTimestamp64Nano(?) AND ts < fromUnixTimestamp64Nano(?){} AND kind IN ('SERVER', 'CONSUMER') \
             GROUP BY service ORDER BY errors DESC, requests DESC LIMIT 50",
            only("service", &query.services)
        );
        self.rows(&sql, query, &[], window).await
    }

    async fn impact(&self, query: &EvidenceQuery, during: Window, before: Window) -> Result<Vec<ServiceImpact>, QueryError> {
        let mut earlier: HashMap<String, ImpactRow> =
            self.requests(query, before).await?.into_iter().map(|row| (row.service.clone(), row)).collect();
        let now = self.requests(query, during).await?;
        let impact = now.into_iter().map(|row| {
            let was = earlier.remove(&row.service);
            ServiceImpact {
                requests: row.requests,
                errors: row.errors,
                users: row.users,
                p95_seconds: Value(row.p95),
                requests_before: was.as_ref().map_or(0, |was| was.requests),
                errors_before: was.as_ref().map_or(0, |was| was.errors),
                p95_seconds_before: Value(was.map_or(f64::NAN, |was| was.p95)),
                service: row.service,
            }
        });
        Ok(impact.collect())
    }

    async fn errors(&self, query: &EvidenceQuery, during: Window, before: Window) -> Result<Vec<ErrorGroup>, QueryError> {
        let whole = Window { from: before.from, to: during.to };
        let sql = format!(
            "SELECT fingerprint, toString(any(project)) AS service, toString(any(type)) AS kind, argMax(value, ts) AS message, \
             uniqExactIf(event_id, inside) AS hits, uniqExactIf(event_id, NOT inside) AS hits_before, \
             toUnixTimestamp64Nano(minIf(ts, inside)) AS first, toUnixTimestamp64Nano(maxIf(ts, inside)) AS last, argMax(stack, ts) AS trace_text, \
             lower(hex(argMaxIf(trace_id, ts, inside))) AS trace FROM \
             (SELECT *, ts >= fromUnixTimestamp64Nano(?) AS inside FROM error_events \
             WHERE tenant = ? AND ts >= fromUnixTimestamp64Nano(?) AND ts < fromUnixTimestamp64Nano(?){}) \
             GROUP BY fingerprint HAVING hits > 0 ORDER BY hits - hits_before DESC, hits DESC LIMIT {}",
            touched("project", query, whole),
            query.limit
        );
        let rows: Vec<ErrorRow> = self.rows(&sql, query, &[during.from], whole).await?;
        let groups = rows.into_iter().map(|row| ErrorGroup {
            fingerprint: format!("{:016x}", row.fingerprint),
            service: row.service,
            kind: row.kind,
            message: row.message,
            count: row.count,
            count_before: row.count_before,
            first_seen: Timestamp::from_nanos(row.first_seen),
            last_seen: Timestamp::from_nanos(row.last_seen),
            stack: row.stack,
            trace_id: if row.trace_id.bytes().all(|b| b == b'0') { String::new() } else { row.trace_id },
        });
        Ok(groups.collect())
    }

    async fn slow(&self, query: &EvidenceQuery, during: Window) -> Result<Vec<SlowTrace>, QueryError> {
        let sql = format!(
            "SELECT lower(hex(trace_id)) AS trace, toString(argMax(service, duration)) AS s, toString(argMax(name, duration)) AS n, \
             toUnixTimestamp64Nano(argMax(ts, duration)) AS at, max(duration) / 1e9 AS seconds, toUInt8(max(status = 'ERROR')) AS bad FROM spans \
             WHERE tenant = ? AND ts >= fromUnixTimestamp64Nano(?) AND ts < fromUnixTimestamp64Nano(?){} AND kind IN ('SERVER', 'CONSUMER') \
             GROUP BY trace_id ORDER BY max(duration) DESC LIMIT {}",
            only("service", &query.services),
            query.limit
        );
        let rows: Vec<TraceRow> = self.rows(&sql, query, &[], during).await?;
        let traces = rows.into_iter().map(|row| SlowTrace {
            trace_id: row.trace_id,
            service: row.service,
            name: row.name,
            at: Timestamp::from_nanos(row.at),
            seconds: Value(row.seconds),
            failed: row.failed == 1,
        });
        Ok(traces.collect())
    }

    async fn logs(&self, query: &EvidenceQuery, during: Window) -> Result<Vec<LogGroup>, QueryError> {
        // Bodies that differ only in numbers and ids are one group.
        let sql = format!(
            "SELECT toString(service) AS s, lower(toString(any(severity_text))) AS severity, substring(any(body), 1, 300) AS text, count() AS hits FROM logs \
             WHERE tenant = ? AND ts >= fromUnixTimestamp64Nano(?) AND ts < fromUnixTimestamp64Nano(?){} AND severity_number >= 17 \
             GROUP BY service, replaceRegexpAll(body, '[0-9a-fA-F]*[0-9][0-9a-fA-F]*', '#') ORDER BY hits DESC LIMIT {}",
            touched("service", query, during),
            query.limit
        );
        let rows: Vec<LogRow> = self.rows(&sql, query, &[], during).await?;
        Ok(rows
            .into_iter()
            .map(|row| LogGroup { service: row.service, severity: row.severity, body: row.body, count: row.count })
            .collect())
    }
}

#[async_trait]
impl EvidenceSource for ClickHouseEvidence {
    async fn evidence(&self, query: &EvidenceQuery) -> Result<Evidence, QueryError> {
        let during = Window { from: query.start.nanos(), to: query.end.nanos() };
        let length = query.end.since(query.start);
        let before = Window { from: query.start.minus(length).nanos(), to: query.start.nanos() };
        Ok(Evidence {
            impact: self.impact(query, during, before).await?,
            errors: self.errors(query, during, before).await?,
            slow_traces: self.slow(query, during).await?,
            logs: self.logs(query, during).await?,
        })
    }
}
