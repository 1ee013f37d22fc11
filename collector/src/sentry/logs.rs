//! Logs: the items of a `log` item become log records.

use super::event::{LogPart, Logs};
use super::{Said, id};
use crate::admission::Full;
use crate::record::{Attribute, LogRecord, Resource, Value};
use crate::rows::Builder;

/// Attributes of a log that say where it came from, and what they are called of a resource.
const SOURCES: [(&str, &str); 5] = [
    ("sentry.release", "service.version"),
    ("sentry.environment", "deployment.environment.name"),
    ("server.address", "host.name"),
    ("sentry.sdk.name", "telemetry.sdk.name"),
    ("sentry.sdk.version", "telemetry.sdk.version"),
];

/// Adds the records. All of an item come from one process: the first one says from which.
pub(super) fn store<'a>(logs: Logs<'a>, said: &Said<'_>, to: &mut Builder<'a, '_>) -> Result<(), Full> {
    let mut list = vec![Attribute::text("service.name", said.service(to.arrival()).into_owned())];
    let first = logs.items.0.first().map(|log| log.attributes.0.as_slice()).unwrap_or_default();
    for (key, of_resource) in SOURCES {
        if let Some(attribute) = first.iter().find(|attribute| attribute.key == key) {
            list.push(Attribute { key: of_resource.into(), value: attribute.value.clone() });
        }
    }
    to.enter_resource(Resource { attributes: list.into(), ..Resource::default() });
    for log in logs.items.0 {
        to.log(&mut record(log, said))?;
    }
    Ok(())
}

fn record<'a>(log: LogPart<'a>, said: &Said<'_>) -> LogRecord<'a> {
    let number = log.severity_number.0.filter(|number| (1.0..=24.0).contains(number));
    let severity = number.map_or_else(|| severity(&log.level), |number| number as i32);
    let mut attributes = log.attributes.0;
    attributes.retain(|attribute| attribute.value != Value::default());
    LogRecord {
        time: said.time(log.timestamp.0),
        severity,
        severity_text: log.level.0,
        body: log.body.0,
        attributes: attributes.into(),
        trace_id: id(&log.trace_id).into(),
        span_id: id(&log.span_id).into(),
        ..LogRecord::default()
    }
}

/// OTLP's number of a level.
fn severity(level: &str) -> i32 {
    match level {
        "trace" => 1,
        "debug" => 5,
        "info" => 9,
        "warn" | "warning" => 13,
        "error" => 17,
        "fatal" | "critical" => 21,
        _ => 0,
    }
}
