//! Log records: OTLP log records in; rows of `logs` and the errors of records that carry an exception out. Pure.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::logs::v1::LogRecord;

use super::tally::{Part, Tally};
use super::text::{borrowed, cut, find, pairs, value_text};
use super::{Arrival, Built, ResourceView, nanos, scope_names};
use crate::columns::LogColumns;
use crate::errors::event::{ErrorRows, Exception, Source};

/// The rows of a request.
pub(crate) fn build(request: &ExportLogsServiceRequest, arrival: Arrival<'_>) -> Built {
    let limits = arrival.limits;
    let (mut tally, mut logs, mut errors) = (Tally::default(), LogColumns::default(), ErrorRows::new(arrival));
    let window = arrival.window(limits.retention.logs);
    for of_resource in &request.resource_logs {
        let resource = ResourceView::new(of_resource.resource.as_ref(), limits, &mut tally);
        for of_scope in &of_resource.scope_logs {
            let scope = scope_names(of_scope.scope.as_ref(), limits, &mut tally);
            for record in &of_scope.log_records {
                tally.records += 1;
                match window.check(event_time(record, arrival)) {
                    Err(reason) => tally.reject(reason, 1),
                    Ok(ts) => Row { record, ts, resource: &resource, scope: &scope, arrival }.push(&mut logs, &mut errors, &mut tally),
                }
            }
        }
    }
    let mut built = Built { tally, ..Built::default() };
    built.push(logs.into_block());
    built.push(errors.into_block());
    built
}

/// The event time, else the observed time, else the time of arrival.
fn event_time(record: &LogRecord, arrival: Arrival<'_>) -> u64 {
    match (record.time_unix_nano, record.observed_time_unix_nano) {
        (0, 0) => u64::try_from(arrival.at.nanos()).unwrap_or(0),
        (0, observed) => observed,
        (time, _) => time,
    }
}

struct Row<'a> {
    record: &'a LogRecord,
    ts: i64,
    resource: &'a ResourceView<'a>,
    scope: &'a (String, String),
    arrival: Arrival<'a>,
}

impl Row<'_> {
    fn push(&self, to: &mut LogColumns, errors: &mut ErrorRows<'_>, tally: &mut Tally) {
        let (record, limits) = (self.record, self.arrival.limits);
        let severity = u8::try_from(record.severity_number).ok().filter(|number| *number <= 24).unwrap_or(0);
        let body = cut(value_text(record.body.as_ref()), limits.text, Part::Text, tally);
        let attributes = pairs(&record.attributes, limits, tally);
        let event_name = if record.event_name.is_empty() { find(&attributes, "event.name") } else { &record.event_name };
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.ts.push(self.ts);
        to.observed.push(match record.observed_time_unix_nano {
            0 => self.arrival.at.nanos(),
            observed => nanos(observed),
        });
        to.received.push(self.arrival.at.millis());
        to.trace_id.push(&record.trace_id);
        to.span_id.push(&record.span_id);
        to.flags.push(record.flags);
        to.severity_number.push(severity);
        to.severity_text.push(cut(record.severity_text.as_str(), limits.name, Part::Name, tally).as_bytes());
        to.service.push(self.resource.service.as_bytes());
        to.body.push(body.as_bytes());
        to.event_name.push(cut(event_name, limits.name, Part::Name, tally).as_bytes());
        to.scope_name.push(self.scope.0.as_bytes());
        to.scope_version.push(self.scope.1.as_bytes());
        to.resource.push(borrowed(&self.resource.pairs));
        to.attributes.push(borrowed(&attributes));
        to.retention_days.push(limits.retention.logs);
        if !find(&attributes, "exception.type").is_empty() || !find(&attributes, "exception.message").is_empty() {
            let exception = Exception {
                source: Source::Log,
                ts: event_time(record, self.arrival),
                fallback_ts: self.ts,
                resource: self.resource,
                attributes: &attributes,
                around: None,
                level: level(severity),
                message: &body,
                scope: &self.scope.0,
                trace_id: &record.trace_id,
                span_id: &record.span_id,
            };
            errors.push(&exception, &record.attributes, tally);
        }
    }
}

/// The level of an error event, from the severity number; a record without one that carries an exception is an error.
fn level(severity: u8) -> &'static str {
    match severity {
        21.. => "fatal",
        17..=20 | 0 => "error",
        13..=16 => "warning",
        9..=12 => "info",
        1..=8 => "debug",
    }
}
