//! The rows of the statements about errors, and what they are in the shared language. Fields are named apart from the tables' columns,
//! so that no alias hides a column from its index.

use clickhouse::Row;
use model::error_events::{Arrival, ArrivalDetail, ErrorEvent, ErrorFacet, ErrorSummary, EventCounts, EventFrame};
use model::fingerprint::Fingerprint;
use model::query::QueryError;
use model::tenant::TenantId;
use model::time::Timestamp;
use serde::Deserialize;

/// One row of `error_arrivals`.
#[derive(Row, Deserialize)]
pub struct ArrivalRow {
    pub arrival: u64,
    pub stored_millis: i64,
    pub whose: String,
    pub print: u64,
    pub service_name: String,
    pub release_text: String,
    pub first_nanos: i64,
    pub last_nanos: i64,
    pub event_count: u64,
}

impl TryFrom<ArrivalRow> for Arrival {
    type Error = QueryError;
    fn try_from(row: ArrivalRow) -> Result<Self, QueryError> {
        let tenant = TenantId::new(&row.whose).map_err(|error| QueryError::Execution(format!("error_arrivals: {error}")))?;
        Ok(Arrival {
            id: row.arrival,
            stored: Timestamp::from_millis(row.stored_millis),
            tenant,
            fingerprint: Fingerprint(row.print),
            service: row.service_name,
            release: row.release_text,
            first_seen: Timestamp::from_nanos(row.first_nanos),
            last_seen: Timestamp::from_nanos(row.last_nanos),
            events: row.event_count,
        })
    }
}

/// What one arrival says.
#[derive(Row, Deserialize)]
pub struct DetailRow {
    pub arrival: u64,
    pub kind_text: String,
    pub message_text: String,
    pub title_text: String,
    pub grouped_text: String,
    pub call_texts: Vec<String>,
}

impl From<DetailRow> for ArrivalDetail {
    fn from(row: DetailRow) -> Self {
        ArrivalDetail {
            id: row.arrival,
            kind: row.kind_text,
            message: row.message_text,
            title: row.title_text,
            grouped_by: row.grouped_text,
            calls: row.call_texts,
        }
    }
}

/// Events and users.
#[derive(Row, Deserialize)]
pub struct CountRow {
    pub event_count: u64,
    pub user_count: u64,
}

/// One kind of error.
#[derive(Row, Deserialize)]
pub struct SummaryRow {
    pub print: u64,
    pub event_count: u64,
    pub user_count: u64,
    pub first_nanos: i64,
    pub last_nanos: i64,
    pub service_names: Vec<String>,
    pub release_names: Vec<String>,
    pub environment_names: Vec<String>,
}

impl From<SummaryRow> for ErrorSummary {
    fn from(mut row: SummaryRow) -> Self {
        for names in [&mut row.service_names, &mut row.release_names, &mut row.environment_names] {
            names.sort();
        }
        ErrorSummary {
            fingerprint: Fingerprint(row.print),
            counts: EventCounts { events: row.event_count, users: row.user_count },
            first_seen: Timestamp::from_nanos(row.first_nanos),
            last_seen: Timestamp::from_nanos(row.last_nanos),
            services: row.service_names,
            releases: row.release_names,
            environments: row.environment_names,
        }
    }
}

/// One kind of error in one step of time.
#[derive(Row, Deserialize)]
pub struct TrendRow {
    pub print: u64,
    pub step: u32,
    pub event_count: u64,
}

/// One value of one property.
#[derive(Row, Deserialize)]
pub struct FacetRow {
    pub facet: String,
    pub facet_value: String,
    pub event_count: u64,
}

impl From<FacetRow> for ErrorFacet {
    fn from(row: FacetRow) -> Self {
        ErrorFacet { name: row.facet, value: row.facet_value, events: row.event_count }
    }
}

/// One event.
#[derive(Row, Deserialize)]
pub struct EventRow {
    pub event: String,
    pub at_nanos: i64,
    pub source_word: String,
    pub service_name: String,
    pub kind_text: String,
    pub message_text: String,
    pub level_word: String,
    pub release_text: String,
    pub environment_text: String,
    pub user_text: String,
    pub trace: String,
    pub span: String,
    pub functions: Vec<String>,
    pub files: Vec<String>,
    pub lines: Vec<i32>,
    pub in_app: Vec<u8>,
    pub stack_text: String,
    pub tag_names: Vec<String>,
    pub tag_values: Vec<String>,
}

impl From<EventRow> for ErrorEvent {
    fn from(row: EventRow) -> Self {
        let frames = row.functions.into_iter().zip(row.files).zip(row.lines).zip(row.in_app);
        ErrorEvent {
            event_id: row.event,
            at: Timestamp::from_nanos(row.at_nanos),
            source: row.source_word,
            service: row.service_name,
            kind: row.kind_text,
            message: row.message_text,
            level: row.level_word,
            release: row.release_text,
            environment: row.environment_text,
            user: row.user_text,
            trace_id: row.trace,
            span_id: row.span,
            frames: frames.map(|(((function, file), line), in_app)| EventFrame { function, file, line, in_app: in_app != 0 }).collect(),
            stack: row.stack_text,
            tags: row.tag_names.into_iter().zip(row.tag_values).collect(),
        }
    }
}
