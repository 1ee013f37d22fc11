//! The ways in for requests: where to, how they travel, what a good body and its counts are.

use super::bodies;

/// A body of records: the service's name, and for each record its time (nanoseconds since 1970) and text.
type MakeBody = fn(&str, &[(u64, &str)]) -> Vec<u8>;

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Over {
    /// HTTP, compressed with gzip or not at all.
    Http,
    /// HTTP, compressed with snappy.
    Snappy,
    /// gRPC.
    Grpc,
}

/// What becomes of a record whose time cannot be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clockwork {
    /// It is rejected in an answer that is a success otherwise.
    Rejected,
    /// It is rejected in an answer that is a refusal, though others are stored.
    Refused,
    /// It is stored under the time of its arrival.
    Corrected,
}

/// A way in.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) name: &'static str,
    pub(super) over: Over,
    pub(super) path: &'static str,
    pub(super) content_type: &'static str,
    /// The status of success.
    pub(super) fine: u16,
    /// Labels of the counters.
    pub(super) protocol: &'static str,
    pub(super) signal: &'static str,
    /// The label `protocol` of a request whose type is none of ours.
    pub(super) protocol_of_wrong_type: &'static str,
    pub(super) clock: Clockwork,
    /// A good body: one record for each time and text, of a service.
    pub(super) body: MakeBody,
    /// Counts the records of a service.
    pub(super) stored: fn(&str) -> String,
    /// Selects the texts of a service's records as `text`.
    pub(super) texts: fn(&str) -> String,
    /// A message that is none.
    pub(super) no_message: &'static [u8],
    pub(super) says_no_message: &'static str,
    /// A message that is one, with one behind it that is none.
    pub(super) says_half: &'static str,
    pub(super) says_truncated: &'static str,
    /// Of bytes that are not UTF-8 in a text.
    pub(super) says_not_utf8: &'static str,
    /// `None` where nobody looks at the content type.
    pub(super) says_wrong_type: Option<&'static str>,
    /// `None` where no bytes are an empty message.
    pub(super) says_empty: Option<&'static str>,
    /// Whether a request without a key is let in to look for one in the body.
    pub(super) late_key: bool,
}

const OTLP: Way = Way {
    name: "traces.protobuf",
    over: Over::Http,
    path: "/v1/traces",
    content_type: "application/x-protobuf",
    fine: 200,
    protocol: "http",
    signal: "traces",
    protocol_of_wrong_type: "http",
    clock: Clockwork::Rejected,
    body: bodies::traces,
    stored: |service| format!("SELECT count() FROM spans WHERE service = '{service}'"),
    texts: |service| format!("SELECT name AS text FROM spans WHERE service = '{service}'"),
    no_message: b"\xff\xff\xff",
    says_no_message: "the body is not the protobuf message of this path",
    says_half: "",
    says_truncated: "the body is not the protobuf message of this path",
    says_not_utf8: "UTF-8",
    says_wrong_type: Some("send application/x-protobuf or application/json"),
    says_empty: None,
    late_key: false,
};

const LOGS: Way = Way {
    name: "logs.protobuf",
    path: "/v1/logs",
    signal: "logs",
    body: bodies::logs,
    stored: |service| format!("SELECT count() FROM logs WHERE service = '{service}'"),
    texts: |service| format!("SELECT body AS text FROM logs WHERE service = '{service}'"),
    ..OTLP
};

const METRICS: Way = Way {
    name: "metrics.protobuf",
    path: "/v1/metrics",
    signal: "metrics",
    body: bodies::metrics,
    stored: |service| {
        format!(
            "SELECT count() FROM points WHERE metric = 'gauge' AND fingerprint IN (SELECT fingerprint FROM series WHERE labels['job'] = '{service}')"
        )
    },
    texts: |service| format!("SELECT DISTINCT labels['text'] AS text FROM series WHERE metric = 'gauge' AND labels['job'] = '{service}'"),
    ..OTLP
};

const fn json(of: Way, name: &'static str, body: MakeBody) -> Way {
    Way {
        name,
        content_type: "application/json",
        body,
        no_message: b" [{}]",
        says_no_message: "expected an object, found a list",
        says_truncated: "EOF while parsing",
        says_not_utf8: "the body is not UTF-8",
        says_empty: Some("EOF while parsing"),
        ..of
    }
}

const fn grpc(of: Way, name: &'static str, path: &'static str) -> Way {
    Way {
        name,
        path,
        over: Over::Grpc,
        content_type: "application/grpc",
        protocol: "grpc",
        protocol_of_wrong_type: "grpc",
        says_wrong_type: Some("this address takes gRPC"),
        ..of
    }
}

const REMOTE_WRITE: Way = Way {
    name: "remote_write.1",
    over: Over::Snappy,
    path: "/api/v1/write",
    fine: 204,
    protocol: "remote_write_v1",
    protocol_of_wrong_type: "remote_write_v1",
    clock: Clockwork::Refused,
    body: bodies::write_v1,
    says_wrong_type: Some("send application/x-protobuf, with proto="),
    ..METRICS
};

const ENVELOPE: Way = Way {
    name: "sentry.envelope",
    path: "/api/1/envelope/",
    content_type: "application/x-sentry-envelope",
    protocol: "sentry",
    signal: "envelope",
    clock: Clockwork::Corrected,
    body: bodies::envelope,
    stored: |service| format!("SELECT count() FROM error_events WHERE release = '{service}'"),
    texts: |service| format!("SELECT value AS text FROM error_events WHERE release = '{service}'"),
    no_message: b"no envelope\n",
    says_no_message: "the first line of the envelope is not a JSON object",
    says_half: "the header of item 2 is not a JSON object",
    says_truncated: "the envelope is cut off",
    says_not_utf8: "item 1 (event) is not UTF-8",
    says_wrong_type: None,
    says_empty: Some("the first line of the envelope is not a JSON object"),
    late_key: true,
    ..OTLP
};

const STORE: Way = Way {
    name: "sentry.store",
    path: "/api/1/store/",
    content_type: "application/json",
    signal: "store",
    body: bodies::store,
    no_message: b"[17]",
    says_no_message: "item 1 (event) is not a JSON object",
    says_half: "item 1 (event) is not a JSON object: trailing characters",
    says_truncated: "item 1 (event) is not a JSON object: EOF",
    says_empty: Some("item 1 (event) is not a JSON object"),
    ..ENVELOPE
};

/// All of them.
pub(super) const WAYS: &[Way] = &[
    OTLP,
    LOGS,
    METRICS,
    json(OTLP, "traces.json", bodies::traces_json),
    json(LOGS, "logs.json", bodies::logs_json),
    json(METRICS, "metrics.json", bodies::metrics_json),
    grpc(OTLP, "traces.grpc", "/opentelemetry.proto.collector.trace.v1.TraceService/Export"),
    grpc(LOGS, "logs.grpc", "/opentelemetry.proto.collector.logs.v1.LogsService/Export"),
    grpc(METRICS, "metrics.grpc", "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"),
    REMOTE_WRITE,
    Way {
        name: "remote_write.2",
        content_type: "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        protocol: "remote_write_v2",
        body: bodies::write_v2,
        ..REMOTE_WRITE
    },
    ENVELOPE,
    STORE,
];
