//! Evidence for postmortems out of ClickHouse: what the spans, error events and logs of an incident's time say, against the same
//! length of time just before it. In: a window and services. Out: numbers, groups and traces, each list bounded. Every statement is
//! bounded by tenant and time in the words of the sort keys. Fails where ClickHouse does; there is no partial answer.

mod rows;
mod versions;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use clickhouse::query::Query;
use clickhouse::{Client, RowOwned, RowRead};
use model::evidence::{
    ErrorGroup, Evidence, EvidenceQuery, EvidenceSource, LogGroup, ServiceImpact, SlowTrace, VersionChange, VersionQuery,
};
use model::query::QueryError;
use model::time::Timestamp;
use model::units::Value;

use crate::sql::understood;
use rows::{DetailRow, GroupRow, ImpactRow, LogRow, TouchedRow, TraceRow, UsersRow};
use versions::SeenRow;

/// How long one statement may take.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most services in the impact.
const MAX_SERVICES: usize = 100;
/// The most groups, traces and patterns, whatever is asked for.
const MAX_LIMIT: usize = 1_000;
/// Failed traces of the services that are followed to other services.
const FAILED_TRACES: usize = 100_000;
/// Entry spans that are looked at for each slow trace that is wanted, because a trace has several.
const SPANS_PER_TRACE: usize = 50;

/// Evidence out of ClickHouse.
#[derive(Clone)]
pub struct ClickHouseEvidence {
    client: Client,
}

/// The window in question and the one before it, in nanoseconds.
#[derive(Clone, Copy)]
struct Window {
    before: i64,
    start: i64,
    end: i64,
}

impl Window {
    fn new(query: &EvidenceQuery) -> Option<Self> {
        let (start, end) = (query.start.nanos(), query.end.nanos());
        let length = end.checked_sub(start).filter(|length| *length > 0)?;
        Some(Window { before: start.saturating_sub(length), start, end })
    }
}

/// The time's place in a sort key, which a condition on `ts` alone does not reach.
#[derive(Clone, Copy)]
enum Bucket {
    /// Of `spans` and `logs`, whose services are in `service`.
    Minutes,
    /// Of `error_events`, whose services are in `project`.
    Days,
}

/// Whose rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// The services' own.
    Named,
    /// And those of whatever took part in their failed traces: the cause often stands further down.
    Touched,
}

const OWN_SPANS: (Bucket, Scope) = (Bucket::Minutes, Scope::Named);

/// The conditions on tenant, time and services, to be put in the place of `{within}`, in the order in which [`bind`] gives arguments.
fn within(bucket: Bucket, scope: Scope, services: &[String]) -> String {
    const TIME: &str = "tenant = ? AND ts >= fromUnixTimestamp64Nano(?) AND ts < fromUnixTimestamp64Nano(?)";
    const MINUTES: &str = "toStartOfFiveMinutes(ts) BETWEEN toStartOfFiveMinutes(fromUnixTimestamp64Nano(?)) AND toStartOfFiveMinutes(fromUnixTimestamp64Nano(?))";
    const DAYS: &str = "toStartOfDay(ts, 'UTC') BETWEEN toStartOfDay(fromUnixTimestamp64Nano(?), 'UTC') AND toStartOfDay(fromUnixTimestamp64Nano(?), 'UTC')";
    let (service, place) = match bucket {
        Bucket::Minutes => ("service", MINUTES),
        Bucket::Days => ("project", DAYS),
    };
    if services.is_empty() {
        return format!("{TIME} AND {place}");
    }
    match scope {
        Scope::Named => format!("{TIME} AND {place} AND {service} IN ?"),
        // Rows without a trace have its id empty; so may spans.
        Scope::Touched => format!(
            "{TIME} AND {place} AND ({service} IN ? OR trace_id IN (SELECT trace_id FROM spans WHERE {TIME} AND {MINUTES} AND service IN ? \
             AND status = 'ERROR' AND notEmpty(trace_id) LIMIT {FAILED_TRACES}))"
        ),
    }
}

/// Binds what [`within`] asks for.
fn bind(mut statement: Query, scope: Scope, query: &EvidenceQuery, from: i64, to: i64) -> Query {
    let times = if scope == Scope::Touched && !query.services.is_empty() { 2 } else { 1 };
    for _ in 0..times {
        statement = statement.bind(query.tenant.as_str()).bind(from).bind(to).bind(from).bind(to);
        if !query.services.is_empty() {
            statement = statement.bind(&query.services);
        }
    }
    statement
}

/// A sampled span stands for several; what is not a request is neither SERVER nor CONSUMER.
const IMPACT: &str = "WITH greatest(sample_rate, 1) AS weight, ts >= fromUnixTimestamp64Nano(?) AS during, status = 'ERROR' AS failed \
     SELECT toString(service) AS service_name, sumIf(weight, during) AS requests, sumIf(weight, during AND failed) AS errors, \
     toFloat64(quantileTDigestWeightedIf(0.95)(duration, weight, during)) / 1e9 AS p95, sumIf(weight, NOT during) AS requests_before, \
     sumIf(weight, NOT during AND failed) AS errors_before, \
     toFloat64(quantileTDigestWeightedIf(0.95)(duration, weight, NOT during)) / 1e9 AS p95_before \
     FROM spans WHERE {within} AND kind IN ('SERVER', 'CONSUMER') GROUP BY service \
     ORDER BY errors DESC, toInt64(requests_before) - toInt64(requests) DESC, requests DESC, service_name LIMIT ?";

/// Apart from the impact, because it reads the attributes: of failed requests only.
const USERS: &str = "WITH if(attributes['enduser.id'] != '', attributes['enduser.id'], attributes['user.id']) AS person \
     SELECT toString(service) AS service_name, uniqExact(person) AS users FROM spans WHERE {within} AND status = 'ERROR' AND kind IN ('SERVER', 'CONSUMER') AND person != '' GROUP BY service";

/// An event that was sent twice counts once.
const GROUPS: &str = "WITH ts >= fromUnixTimestamp64Nano(?) AS during SELECT toString(project) AS service_name, fingerprint AS print, \
     uniqExactIf(event_id, during) AS events, uniqExactIf(event_id, NOT during) AS events_before, \
     toUnixTimestamp64Nano(minIf(ts, during)) AS first_seen, toUnixTimestamp64Nano(maxIf(ts, during)) AS last_seen \
     FROM error_events WHERE {within} GROUP BY project, fingerprint HAVING events > 0 \
     ORDER BY toInt64(events) - toInt64(events_before) DESC, events DESC, print LIMIT ?";

/// What the newest event of each group says; the trace is the newest one that is known.
const DETAILS: &str = "SELECT toString(project) AS service_name, fingerprint AS print, toString(argMax(type, ts)) AS kind, \
     leftUTF8(argMax(value, ts), 2000) AS message, leftUTF8(argMax(error_events.stack, ts), 20000) AS stack_text, \
     lower(hex(argMaxIf(trace_id, ts, notEmpty(trace_id)))) AS trace FROM error_events WHERE {within} AND fingerprint IN ? GROUP BY project, fingerprint";

const TRACES: &str = "SELECT lower(hex(id)) AS trace, service_name, span_name, begun, nanoseconds, failed FROM (SELECT trace_id AS id, \
     toString(service) AS service_name, toString(name) AS span_name, toUnixTimestamp64Nano(ts) AS begun, duration AS nanoseconds, \
     status = 'ERROR' AS failed FROM spans WHERE {within} AND kind IN ('SERVER', 'CONSUMER') AND notEmpty(trace_id) \
     ORDER BY duration DESC, trace_id LIMIT ?) ORDER BY nanoseconds DESC, id LIMIT 1 BY id LIMIT ?";

/// OpenTelemetry's numbers: 17 to 20 are ERROR, 21 to 24 FATAL. Bodies that differ only in numbers and ids are one group. A sampled
/// record stands for several.
const LOGS: &str = "SELECT toString(service) AS service_name, if(severity_number >= 21, 'fatal', 'error') AS severity, leftUTF8(min(body), 300) AS text, \
     sum(greatest(sample_rate, 1)) AS records FROM logs WHERE {within} AND severity_number >= 17 GROUP BY service_name, severity, \
     replaceRegexpAll(leftUTF8(body, 300), '[0-9a-fA-F]*[0-9][0-9a-fA-F]*', '#') \
     ORDER BY records DESC, service_name, text LIMIT ?";

/// Who took part in failed traces.
const TOUCHED: &str = "SELECT toString(service) AS service_name, uniqExact(trace_id) AS traces FROM spans WHERE {within} \
     GROUP BY service_name ORDER BY traces DESC, service_name LIMIT ?";

impl ClickHouseEvidence {
    /// Over a client whose database holds the telemetry.
    pub fn new(client: Client) -> Self {
        let settings = [
            ("readonly", "1".to_owned()),
            ("max_execution_time", PATIENCE.as_secs().to_string()),
            ("max_memory_usage", (1_u64 << 30).to_string()),
            ("max_bytes_before_external_group_by", (256_u64 << 20).to_string()),
        ];
        ClickHouseEvidence { client: settings.into_iter().fold(client, |client, (name, value)| client.with_setting(name, value)) }
    }

    /// A statement with its conditions and their arguments; `marks` are those that stand before.
    fn ask(&self, statement: &str, marks: &[i64], query: &EvidenceQuery, (bucket, scope): (Bucket, Scope), from: i64, to: i64) -> Query {
        let text = statement.replace("{within}", &within(bucket, scope, &query.services));
        let asked = marks.iter().fold(self.client.query(&text), |asked, mark| asked.bind(mark));
        bind(asked, scope, query, from, to)
    }

    async fn impact(&self, query: &EvidenceQuery, window: Window) -> Result<Vec<ServiceImpact>, QueryError> {
        let ask = self.ask(IMPACT, &[window.start], query, OWN_SPANS, window.before, window.end).bind(MAX_SERVICES);
        let found: Vec<ImpactRow> = all(ask).await?;
        let ask = self.ask(USERS, &[], query, OWN_SPANS, window.start, window.end);
        let users: HashMap<String, u64> = all::<UsersRow>(ask).await?.into_iter().map(|row| (row.service_name, row.users)).collect();
        let impact = found.into_iter().map(|row| ServiceImpact {
            users: users.get(&row.service_name).copied().unwrap_or(0),
            service: row.service_name,
            requests: row.requests,
            errors: row.errors,
            p95_seconds: Value(row.p95),
            requests_before: row.requests_before,
            errors_before: row.errors_before,
            p95_seconds_before: Value(row.p95_before),
        });
        Ok(impact.collect())
    }

    async fn errors(&self, query: &EvidenceQuery, window: Window, limit: usize) -> Result<Vec<ErrorGroup>, QueryError> {
        let ask = self.ask(GROUPS, &[window.start], query, (Bucket::Days, Scope::Touched), window.before, window.end).bind(limit);
        let groups: Vec<GroupRow> = all(ask).await?;
        if groups.is_empty() {
            return Ok(Vec::new());
        }
        let prints: Vec<u64> = groups.iter().map(|row| row.print).collect();
        let ask = self.ask(DETAILS, &[], query, (Bucket::Days, Scope::Touched), window.start, window.end).bind(prints);
        let details = all::<DetailRow>(ask).await?.into_iter().map(|row| ((row.service_name.clone(), row.print), row));
        let mut details: HashMap<(String, u64), DetailRow> = details.collect();
        let groups = groups.into_iter().map(|row| {
            let detail = details.remove(&(row.service_name.clone(), row.print)).unwrap_or_default();
            ErrorGroup {
                fingerprint: format!("{:016x}", row.print),
                service: row.service_name,
                kind: detail.kind,
                message: detail.message,
                count: row.events,
                count_before: row.events_before,
                first_seen: Timestamp::from_nanos(row.first_seen),
                last_seen: Timestamp::from_nanos(row.last_seen),
                stack: detail.stack_text,
                trace_id: if detail.trace.bytes().all(|digit| digit == b'0') { String::new() } else { detail.trace },
            }
        });
        Ok(groups.collect())
    }

    async fn slow_traces(&self, query: &EvidenceQuery, window: Window, limit: usize) -> Result<Vec<SlowTrace>, QueryError> {
        let ask = self.ask(TRACES, &[], query, OWN_SPANS, window.start, window.end).bind(limit * SPANS_PER_TRACE).bind(limit);
        let found: Vec<TraceRow> = all(ask).await?;
        let traces = found.into_iter().map(|row| SlowTrace {
            trace_id: row.trace,
            service: row.service_name,
            name: row.span_name,
            at: Timestamp::from_nanos(row.begun),
            seconds: Value(Duration::from_nanos(row.nanoseconds).as_secs_f64()),
            failed: row.failed != 0,
        });
        Ok(traces.collect())
    }

    async fn touched(&self, query: &EvidenceQuery, window: Window) -> Result<Vec<String>, QueryError> {
        if query.services.is_empty() {
            return Ok(Vec::new());
        }
        let ask = self.ask(TOUCHED, &[], query, (Bucket::Minutes, Scope::Touched), window.start, window.end).bind(MAX_SERVICES);
        let found: Vec<TouchedRow> = all(ask).await?;
        Ok(found.into_iter().filter(|row| row.traces > 0).map(|row| row.service_name).collect())
    }

    async fn logs(&self, query: &EvidenceQuery, window: Window, limit: usize) -> Result<Vec<LogGroup>, QueryError> {
        let ask = self.ask(LOGS, &[], query, (Bucket::Minutes, Scope::Touched), window.start, window.end).bind(limit);
        let found: Vec<LogRow> = all(ask).await?;
        let group = |row: LogRow| LogGroup { service: row.service_name, severity: row.severity, body: row.text, count: row.records };
        Ok(found.into_iter().map(group).collect())
    }
}

async fn all<T: RowOwned + RowRead>(ask: Query) -> Result<Vec<T>, QueryError> {
    ask.fetch_all().await.map_err(|error| understood(error.into(), PATIENCE))
}

#[async_trait]
impl EvidenceSource for ClickHouseEvidence {
    async fn evidence(&self, query: &EvidenceQuery) -> Result<Evidence, QueryError> {
        let Some(window) = Window::new(query) else { return Ok(Evidence::default()) };
        let limit = query.limit.min(MAX_LIMIT);
        // One after the other: a postmortem is in no hurry, and the engine has others to serve.
        Ok(Evidence {
            impact: self.impact(query, window).await?,
            errors: self.errors(query, window, limit).await?,
            slow_traces: self.slow_traces(query, window, limit).await?,
            logs: self.logs(query, window, limit).await?,
            touched: self.touched(query, window).await?,
        })
    }

    async fn versions(&self, query: &VersionQuery) -> Result<Vec<VersionChange>, QueryError> {
        let (from, to) = (query.from.minus(versions::BASELINE), query.to);
        let looked_at =
            EvidenceQuery { tenant: query.tenant.clone(), start: from, end: to, services: query.services.clone(), limit: query.limit };
        let ask = self.ask(versions::VERSIONS, &[], &looked_at, OWN_SPANS, from.nanos(), to.nanos());
        let mut found = versions::changes(all::<SeenRow>(ask).await?, query.from);
        found.drain(..found.len().saturating_sub(query.limit.min(MAX_LIMIT)));
        Ok(found)
    }
}
