//! Error events out of ClickHouse: what arrived, in the order in which it was stored, and what the events of an issue add up to. In:
//! a window, filters, fingerprints. Out: rows, each list bounded. Every statement is bounded by tenant and time in the words of the
//! sort keys. Fails where ClickHouse does; there is no partial answer.

mod rows;

use std::collections::BTreeMap;
use std::time::Duration;

use async_trait::async_trait;
use clickhouse::query::Query;
use clickhouse::{Client, RowOwned, RowRead};
use model::error_events::{
    Arrival, ArrivalDetail, ErrorArrivals, ErrorEvent, ErrorFacet, ErrorQuery, ErrorReads, ErrorSummary, ErrorTrend, EventCounts,
};
use model::fingerprint::Fingerprint;
use model::query::QueryError;
use model::tenant::TenantId;
use model::time::Timestamp;

use crate::sql::understood;
use rows::{ArrivalRow, CountRow, DetailRow, EventRow, FacetRow, SummaryRow, TrendRow};

/// How long one statement may take.
const PATIENCE: Duration = Duration::from_secs(20);
/// The most rows of any answer, whatever is asked for.
const MAX_ROWS: usize = 200_000;
/// A statement's text may be this long: it names fingerprints.
const MAX_STATEMENT: usize = 8 << 20;
/// Tags are counted over so many of the newest events: their values may be as many as the events.
const TAGGED_EVENTS: usize = 10_000;

/// An event that was sent twice counts once. Exact while there are few, bounded in memory however many there are.
const COUNTS: &str = "uniqCombined64(event_id) AS event_count, uniqCombined64If(user, notEmpty(user)) AS user_count";

const ARRIVALS: &str = "SELECT id AS arrival, toUnixTimestamp64Milli(stored) AS stored_millis, toString(tenant) AS whose, fingerprint AS print, \
     toString(service) AS service_name, toString(release_name) AS release_text, toUnixTimestamp64Nano(first_ts) AS first_nanos, \
     toUnixTimestamp64Nano(last_ts) AS last_nanos, events AS event_count FROM error_arrivals \
     WHERE stored >= fromUnixTimestamp64Milli(?) ORDER BY stored, id LIMIT ?";

const DETAILS: &str = "SELECT id AS arrival, toString(kind) AS kind_text, message AS message_text, title AS title_text, \
     grouped_by AS grouped_text, calls AS call_texts FROM error_arrivals WHERE stored >= fromUnixTimestamp64Milli(?) AND id IN ?";

const SINCE: &str = "FROM error_events WHERE tenant = ? AND ts >= fromUnixTimestamp64Nano(?) \
     AND toStartOfDay(ts, 'UTC') >= toStartOfDay(fromUnixTimestamp64Nano(?), 'UTC') AND fingerprint IN ?";

const SUMMARIES: &str = "SELECT {group} AS print, {counts}, toUnixTimestamp64Nano(min(ts)) AS first_nanos, \
     toUnixTimestamp64Nano(max(ts)) AS last_nanos, CAST(groupUniqArray(10)(project), 'Array(String)') AS service_names, \
     CAST(groupUniqArrayIf(10)(release, notEmpty(release)), 'Array(String)') AS release_names, \
     CAST(groupUniqArrayIf(10)(environment, notEmpty(environment)), 'Array(String)') AS environment_names \
     FROM error_events WHERE {within} GROUP BY print ORDER BY last_nanos DESC, print LIMIT ?";

const TRENDS: &str = "SELECT {group} AS print, toUInt32(intDiv(toUnixTimestamp64Nano(ts) - ?, ?)) AS step, \
     uniqCombined64(event_id) AS event_count FROM error_events WHERE {within} GROUP BY print, step LIMIT ?";

const FACETS: &str = "SELECT facet, facet_value, event_count FROM (SELECT pair.1 AS facet, pair.2 AS facet_value, uniqCombined64(event) AS event_count \
     FROM (SELECT event_id AS event, arrayJoin([('release', toString(release)), ('environment', toString(environment)), \
     ('service', toString(project)), ('source', toString(source)), ('level', toString(level))]) AS pair FROM error_events WHERE {within}) \
     WHERE notEmpty(pair.2) GROUP BY facet, facet_value UNION ALL \
     SELECT concat('tag:', pair.1) AS facet, leftUTF8(pair.2, 200) AS facet_value, uniqCombined64(event) AS event_count \
     FROM (SELECT event_id AS event, arrayJoin(arrayZip(CAST(mapKeys(tags), 'Array(String)'), mapValues(tags))) AS pair FROM error_events WHERE {within} \
     ORDER BY ts DESC LIMIT {tagged}) WHERE NOT startsWith(pair.1, 'watchfire.') GROUP BY facet, facet_value) \
     ORDER BY facet, event_count DESC, facet_value LIMIT 10 BY facet LIMIT 1000";

const LATEST: &str = "SELECT toString(event_id) AS event, toUnixTimestamp64Nano(ts) AS at_nanos, toString(source) AS source_word, \
     toString(project) AS service_name, toString(type) AS kind_text, value AS message_text, toString(level) AS level_word, \
     toString(release) AS release_text, toString(environment) AS environment_text, user AS user_text, \
     if(empty(trace_id), '', lower(hex(trace_id))) AS trace, if(empty(span_id), '', lower(hex(span_id))) AS span, \
     frames_function AS functions, frames_file AS files, frames_line AS lines, frames_in_app AS in_app, \
     error_events.stack AS stack_text, CAST(mapKeys(tags), 'Array(String)') AS tag_names, mapValues(tags) AS tag_values \
     FROM error_events WHERE {within} ORDER BY ts DESC, event_id LIMIT 1";

/// Error events out of ClickHouse.
#[derive(Clone)]
pub struct ClickHouseErrors {
    client: Client,
}

impl ClickHouseErrors {
    /// Over a client whose database holds the telemetry.
    pub fn new(client: Client) -> Self {
        let settings = [
            ("readonly", "1".to_owned()),
            ("max_execution_time", PATIENCE.as_secs().to_string()),
            ("max_memory_usage", (1_u64 << 30).to_string()),
            ("max_bytes_before_external_group_by", (256_u64 << 20).to_string()),
            ("max_query_size", MAX_STATEMENT.to_string()),
        ];
        ClickHouseErrors { client: settings.into_iter().fold(client, |client, (name, value)| client.with_setting(name, value)) }
    }

    fn ask(&self, statement: &str, query: &ErrorQuery) -> Query {
        let group = if query.aliases.is_empty() { "fingerprint" } else { "transform(fingerprint, ?, ?, fingerprint)" };
        let text = statement.replace("{group}", group).replace("{counts}", COUNTS).replace("{within}", &within(query));
        let asked = self.client.query(&text.replace("{tagged}", &TAGGED_EVENTS.to_string()));
        if query.aliases.is_empty() || !statement.contains("{group}") {
            return asked;
        }
        let (from, to): (Vec<u64>, Vec<u64>) = query.aliases.iter().map(|(from, to)| (from.0, to.0)).unzip();
        asked.bind(from).bind(to)
    }
}

/// The conditions of a query, in the order in which [`bind`] gives their arguments.
fn within(query: &ErrorQuery) -> String {
    let mut text = "tenant = ? AND ts >= fromUnixTimestamp64Nano(?) AND ts < fromUnixTimestamp64Nano(?) AND toStartOfDay(ts, 'UTC') \
         BETWEEN toStartOfDay(fromUnixTimestamp64Nano(?), 'UTC') AND toStartOfDay(fromUnixTimestamp64Nano(?), 'UTC')"
        .to_owned();
    for (wanted, condition) in [
        (query.service.is_some(), " AND project = ?"),
        (query.release.is_some(), " AND release = ?"),
        (query.environment.is_some(), " AND environment = ?"),
        (!query.fingerprints.is_empty(), " AND fingerprint IN ?"),
    ] {
        text.push_str(if wanted { condition } else { "" });
    }
    text
}

/// Binds what [`within`] asks for.
fn bind(asked: Query, query: &ErrorQuery) -> Query {
    let (start, end) = (query.start.nanos(), query.end.nanos());
    let asked = asked.bind(query.tenant.as_str()).bind(start).bind(end).bind(start).bind(end);
    let texts = [&query.service, &query.release, &query.environment];
    let asked = texts.into_iter().flatten().fold(asked, |asked, text| asked.bind(text));
    if query.fingerprints.is_empty() { asked } else { asked.bind(numbers(&query.fingerprints)) }
}

fn numbers(fingerprints: &[Fingerprint]) -> Vec<u64> {
    fingerprints.iter().map(|print| print.0).collect()
}

async fn all<T: RowOwned + RowRead>(asked: Query) -> Result<Vec<T>, QueryError> {
    asked.fetch_all().await.map_err(|error| understood(error.into(), PATIENCE))
}

#[async_trait]
impl ErrorArrivals for ClickHouseErrors {
    async fn arrivals(&self, from: Timestamp, limit: usize) -> Result<Vec<Arrival>, QueryError> {
        let asked = self.client.query(ARRIVALS).bind(from.millis()).bind(limit.min(MAX_ROWS));
        all::<ArrivalRow>(asked).await?.into_iter().map(Arrival::try_from).collect()
    }

    async fn details(&self, from: Timestamp, ids: &[u64]) -> Result<Vec<ArrivalDetail>, QueryError> {
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let found: Vec<DetailRow> = all(self.client.query(DETAILS).bind(from.millis()).bind(ids)).await?;
        Ok(found.into_iter().map(ArrivalDetail::from).collect())
    }

    async fn counts(&self, tenant: &TenantId, fingerprints: &[Fingerprint], since: Timestamp) -> Result<EventCounts, QueryError> {
        if fingerprints.is_empty() {
            return Ok(EventCounts::default());
        }
        let asked = self.client.query(&format!("SELECT {COUNTS} {SINCE}")).bind(tenant.as_str()).bind(since.nanos()).bind(since.nanos());
        let found: Vec<CountRow> = all(asked.bind(numbers(fingerprints))).await?;
        Ok(found.first().map(|row| EventCounts { events: row.event_count, users: row.user_count }).unwrap_or_default())
    }
}

#[async_trait]
impl ErrorReads for ClickHouseErrors {
    async fn summaries(&self, query: &ErrorQuery, limit: usize) -> Result<Vec<ErrorSummary>, QueryError> {
        let asked = bind(self.ask(SUMMARIES, query), query).bind(limit.min(MAX_ROWS));
        Ok(all::<SummaryRow>(asked).await?.into_iter().map(ErrorSummary::from).collect())
    }

    async fn trends(&self, query: &ErrorQuery, step_secs: u32) -> Result<Vec<ErrorTrend>, QueryError> {
        let step = i64::from(step_secs.max(1)) * 1_000_000_000;
        let window = u64::try_from(query.end.nanos().saturating_sub(query.start.nanos())).unwrap_or(0);
        let length = usize::try_from(window.div_ceil(step.unsigned_abs())).unwrap_or(usize::MAX);
        if length == 0 || length > MAX_ROWS {
            return Ok(Vec::new());
        }
        let asked = bind(self.ask(TRENDS, query).bind(query.start.nanos()).bind(step), query).bind(MAX_ROWS);
        let mut trends: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
        for row in all::<TrendRow>(asked).await? {
            let events = trends.entry(row.print).or_insert_with(|| vec![0; length]);
            if let Some(place) = events.get_mut(row.step as usize) {
                *place = row.event_count;
            }
        }
        Ok(trends.into_iter().map(|(print, events)| ErrorTrend { fingerprint: Fingerprint(print), events }).collect())
    }

    async fn facets(&self, query: &ErrorQuery) -> Result<Vec<ErrorFacet>, QueryError> {
        let asked = bind(bind(self.ask(FACETS, query), query), query);
        Ok(all::<FacetRow>(asked).await?.into_iter().map(ErrorFacet::from).collect())
    }

    async fn latest(&self, query: &ErrorQuery) -> Result<Option<ErrorEvent>, QueryError> {
        let found: Vec<EventRow> = all(bind(self.ask(LATEST, query), query)).await?;
        Ok(found.into_iter().next().map(ErrorEvent::from))
    }
}
