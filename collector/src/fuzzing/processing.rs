//! The door to processing: an intake whose pipeline has a rule of every form, redaction of everything, sampling and limits; and
//! redaction of one text with a secret in its midst, which must be gone. Panics: where it is not.

use std::sync::Arc;

use model::columns::TableBlock;
use model::secret::Secret;

use super::{Body, Door};
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
