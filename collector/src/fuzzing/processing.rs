//! The door to processing: an intake whose pipeline has a rule of every form, redaction of everything, sampling and limits; and
//! redaction of one text with a secret in its midst, alone and in bodies of every protocol, where it must be gone. Panics: where it is not.

use std::sync::Arc;

use model::columns::{Column, TableBlock};
use model::secret::Secret;

use super::{Body, Door, NOW};
use crate::pipeline::Pipeline;
use crate::pipeline::hash::Hasher;
use crate::pipeline::redact::{Counts, Redactor};
use crate::pipeline::{Config, Mode, RedactionConfig};

/// A key of a known format, made of parts so that no scanner takes this file for a leak.
const SECRET: &str = concat!("gh", "p_", "aB3dE5gH7jK9mN1pQ2sT4vW6yZ8aB3dE5gH7");

/// Every kind of body, by number.
const BODIES: [Body; 14] = [
    Body::OtlpTraces,
    Body::OtlpMetrics,
    Body::OtlpLogs,
    Body::OtlpTracesJson,
    Body::OtlpMetricsJson,
    Body::OtlpLogsJson,
    Body::RemoteWriteV1,
    Body::RemoteWriteV2,
    Body::SentryEnvelope,
    Body::SentryStore,
    Body::LokiProtobuf,
    Body::LokiJson,
    Body::Ndjson,
    Body::Zipkin,
];

/// One of everything.
fn config() -> serde_json::Value {
    serde_json::json!({
        "hash_key": "a key of fuzzing, long",
        "rules": [
            {"match": {"name": "GET *", "max_duration": "1ms"}, "drop": true},
            {"match": {"status": "error"}, "keep": true},
            {"match": {"any": [{"body": {"regex": "[0-9]{3}"}}, {"not": {"min_severity": "warn"}}]}, "set": {"n": 1, "s": "x"}, "add": {"s": "y"}},
            {"rename": {"a": "b", "b": "a"}, "hash": ["a", "user.id"], "delete": ["http.*", "*e"]},
            {"match": {"signal": "metric", "name": "*.*"}, "set_name": "one.metric"},
            {"match": {"service": ["shop*", ""]}, "on": "resource", "add": {"team": "t"}, "delete": ["host.*"]},
            {"on": "scope", "set": {"scope": true}},
        ],
        "redaction": {
            "enabled": true, "mail": "hash", "card": "mask", "keep_attributes": ["kept.*"],
            "custom": [{"name": "customer", "regex": "C-(\\d\\d)\\d{4}", "replacement": "C-$1****"}],
        },
        "sampling": {
            "spans": [{"match": {"kind": "server"}, "ratio": 0.5}],
            "logs": [{"match": {"max_severity": "info"}, "ratio": 0.5}],
        },
        "cardinality": {"max_series_per_metric": 3, "max_series_per_tenant": 40},
        "patterns": {"enabled": true},
    })
}

impl Door {
    /// An intake that processes.
    pub fn processing() -> Self {
        let door = Door::default();
        let config: Config = serde_json::from_value(config()).unwrap_or_else(|error| panic!("{error}"));
        let pipeline = Pipeline::new(&config).unwrap_or_else(|problems| panic!("{problems:?}"));
        door.collector.set_pipeline(Arc::new(pipeline));
        door
    }

    /// The rows of a body whose kind is told by a number.
    pub fn rows_of_any(&self, kind: u8, bytes: &[u8]) -> Result<Vec<TableBlock>, String> {
        self.rows(BODIES[usize::from(kind) % BODIES.len()], bytes)
    }
}

/// Whether some bytes stand in a text of the column, or of what it holds.
fn stands_in(column: &Column, bytes: &[u8]) -> bool {
    let stands = |texts: &[u8]| texts.windows(bytes.len()).any(|part| part == bytes);
    match column {
        Column::String(texts) => stands(texts.encoded()),
        Column::LowCardinality(words) => stands(words.keys().encoded()),
        Column::StringMap(maps) => stands(maps.values.encoded()) || stands(maps.keys.keys().encoded()),
        Column::Array { items, .. } => stands_in(items, bytes),
        Column::Fixed { .. }
        | Column::UInt8(_)
        | Column::UInt16(_)
        | Column::UInt32(_)
        | Column::UInt64(_)
        | Column::Int32(_)
        | Column::Int64(_)
        | Column::Float64(_) => false,
    }
}

/// Bodies that hold the text wherever their protocol has one.
fn bodies(text: &str) -> Vec<(Body, serde_json::Value)> {
    use serde_json::json;
    let nanos = NOW.nanos();
    let time = nanos.to_string();
    let value = json!({"stringValue": text});
    let attributes = json!([{"key": "note", "value": value}, {"key": "in", "value": {"arrayValue": {"values": [value]}}}]);
    let raised = json!([{"key": "exception.type", "value": value}, {"key": "exception.message", "value": value},
        {"key": "exception.stacktrace", "value": value}]);
    let resource = json!({"attributes": attributes});
    let scope = json!({"name": "s", "version": text, "attributes": attributes});
    let span = json!({"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "name": text, "startTimeUnixNano": time,
        "endTimeUnixNano": time, "attributes": attributes, "status": {"code": 2, "message": text}, "traceState": "a=b",
        "events": [{"timeUnixNano": time, "name": "exception", "attributes": raised}],
        "links": [{"traceId": "5b8efff798038103d269b633813fc60c", "spanId": "eee19b7ec3c1b174", "attributes": attributes}]});
    let record = json!({"timeUnixNano": time, "severityText": text, "body": value, "attributes": attributes});
    let thrown = json!({"timeUnixNano": time, "body": {"kvlistValue": {"values": [{"key": "k", "value": value}]}}, "attributes": raised});
    let point = json!({"timeUnixNano": time, "asInt": "1", "attributes": attributes,
        "exemplars": [{"timeUnixNano": time, "asInt": "1", "filteredAttributes": attributes}]});
    let metric = json!({"name": "m", "description": text, "gauge": {"dataPoints": [point]}});
    let event = json!({"message": text, "tags": {"note": text}, "user": {"id": text}, "extra": {"note": text},
        "exception": {"values": [{"type": text, "value": text, "stacktrace": {"frames": [{"function": "f", "filename": "a.py", "lineno": 1}]}}]}});
    let zipkin = json!([{"traceId": "5b8efff798038103", "id": "5b8efff798038103", "name": text, "timestamp": nanos / 1_000,
        "tags": {"note": text, "error": text}, "annotations": [{"timestamp": nanos / 1_000, "value": text}]}]);
    vec![
        (Body::OtlpTracesJson, json!({"resourceSpans": [{"resource": resource, "scopeSpans": [{"scope": scope, "spans": [span]}]}]})),
        (
            Body::OtlpLogsJson,
            json!({"resourceLogs": [{"resource": resource, "scopeLogs": [{"scope": scope, "logRecords": [record, thrown]}]}]}),
        ),
        (
            Body::OtlpMetricsJson,
            json!({"resourceMetrics": [{"resource": resource, "scopeMetrics": [{"scope": scope, "metrics": [metric]}]}]}),
        ),
        (Body::Ndjson, json!({"time": nanos, "msg": text, "note": {"deep": [text]}})),
        (Body::LokiJson, json!({"streams": [{"stream": {"app": "a", "note": text}, "values": [[time, text, {"more": text}]]}]})),
        (Body::SentryStore, event),
        (Body::Zipkin, zipkin),
    ]
}

impl Door {
    /// The rows of bodies of every protocol that hold the text with a secret at a place in it: no row holds the secret.
    pub fn rows_with_a_secret(&self, at: usize, text: &str) -> Vec<TableBlock> {
        if text.contains(SECRET) {
            return Vec::new(); // it may stand there as a part of a longer word, which is none
        }
        let (before, after) = text.split_at(text.floor_char_boundary(at));
        let dirty = format!("{before} {SECRET} {after}");
        let mut all = Vec::new();
        for (body, value) in bodies(&dirty) {
            for block in self.rows(body, value.to_string().as_bytes()).unwrap_or_default() {
                for (spec, column) in block.table.columns.iter().zip(&block.columns) {
                    assert!(
                        !stands_in(column, SECRET.as_bytes()),
                        "{body:?}: {}.{} holds the secret: {dirty:?}",
                        block.table.name,
                        spec.name
                    );
                }
                all.push(block);
            }
        }
        all
    }
}

/// Redaction of texts.
pub struct Redaction {
    redactor: Redactor,
}

impl Default for Redaction {
    fn default() -> Self {
        let config = RedactionConfig { enabled: true, mail: Mode::Mask, ..RedactionConfig::default() };
        let redactor = Redactor::new(&config, Hasher::new(&Secret::default()), &mut Vec::new());
        Redaction { redactor: redactor.unwrap_or_else(|| panic!("everything is redacted")) }
    }
}

impl Redaction {
    /// Redacts the text as it is, and with a secret at a place in it.
    pub fn of(&self, at: usize, text: &str) {
        self.redactor.redact(text, &mut Counts::default());
        if text.contains(SECRET) {
            return; // it may stand there as a part of a longer word, which is none
        }
        let at = text.floor_char_boundary(at);
        let (before, after) = text.split_at(at);
        for edge in [" ", "\n", "\\n"] {
            let whole = format!("{before}{edge}{SECRET}{edge}{after}");
            let redacted = self.redactor.redact(&whole, &mut Counts::default()).unwrap_or(whole);
            assert!(!redacted.contains(SECRET), "the secret is gone: {redacted}");
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn no_body_with_a_secret_becomes_a_row_with_it(at in 0..60usize, text in "\\PC{0,20}|[a-zA-Z0-9_=:;\"'{}<> ./@-]{0,60}") {
            let stored = Door::processing().rows_with_a_secret(at, &text);
            let tables: std::collections::BTreeSet<&str> = stored.iter().map(|block| block.table.name).collect();
            for table in ["spans", "series", "points", "error_events", "patterns"] {
                prop_assert!(tables.contains(table), "{table} of {tables:?}: what is not stored proves nothing");
            }
        }
    }
}
