//! What the senders of the crash proof send: requests of every protocol that acknowledges, with numbered records, and the statements
//! that count them.

use opentelemetry_proto::tonic::collector::{logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest};
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use serde_json::json;

use crate::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use crate::send::{attribute, spans};

/// Records a request, where a request may hold several.
const RECORDS: u64 = 50;

/// What a sender sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// OTLP, protobuf.
    Spans,
    /// OTLP, protobuf.
    Logs,
    /// OTLP, protobuf.
    Metrics,
    /// Prometheus remote write, version 1.
    RemoteWrite,
    /// Loki's push, JSON.
    Loki,
    /// Zipkin's spans, version 2.
    Zipkin,
    /// Newline JSON; its senders do not send again what got no answer.
    Ndjson,
    /// One error event an envelope.
    Sentry,
    /// Fluent's forward protocol with acknowledged chunks, over TCP.
    Fluent,
}

/// All of them.
pub const KINDS: [Kind; 9] =
    [Kind::Spans, Kind::Logs, Kind::Metrics, Kind::RemoteWrite, Kind::Loki, Kind::Zipkin, Kind::Ndjson, Kind::Sentry, Kind::Fluent];

/// Bytes of a chunk's id, which ends a request of [`Kind::Fluent`].
const CHUNK: usize = 24;

impl Kind {
    /// Records a request.
    pub fn records(self) -> u64 {
        if self == Kind::Sentry { 1 } else { RECORDS }
    }

    /// Whether the same bytes are sent again when there was no answer.
    pub fn resends(self) -> bool {
        self != Kind::Ndjson
    }

    /// Where to; none for what does not come over HTTP.
    pub fn path(self) -> Option<&'static str> {
        match self {
            Kind::Spans => Some("/v1/traces"),
            Kind::Logs => Some("/v1/logs"),
            Kind::Metrics => Some("/v1/metrics"),
            Kind::RemoteWrite => Some("/api/v1/write"),
            Kind::Loki => Some("/loki/api/v1/push"),
            Kind::Zipkin => Some("/api/v2/spans"),
            Kind::Ndjson => Some("/api/watchfire/v1/logs"),
            Kind::Sentry => Some("/api/1/envelope/"),
            Kind::Fluent => None,
        }
    }

    /// Headers of the protocol.
    pub fn headers(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Kind::Spans | Kind::Logs | Kind::Metrics => &[("content-type", "application/x-protobuf")],
            Kind::RemoteWrite => &[
                ("content-type", "application/x-protobuf"),
                ("content-encoding", "snappy"),
                ("x-prometheus-remote-write-version", "0.1.0"),
            ],
            Kind::Loki | Kind::Zipkin => &[("content-type", "application/json")],
            Kind::Ndjson => &[("content-type", "application/x-ndjson")],
            Kind::Sentry => &[("content-type", "application/x-sentry-envelope")],
            Kind::Fluent => &[],
        }
    }

    /// A request whose records are numbered from `first`; `now` in nanoseconds since 1970.
    pub fn request(self, service: &str, first: u64, now: u64) -> Vec<u8> {
        let numbers = first..first + self.records();
        match self {
            Kind::Spans => spans(service, RECORDS as usize, 5).encode_to_vec(),
            Kind::Logs => logs(service, numbers, now),
            Kind::Metrics => metrics(service, numbers, now),
            Kind::RemoteWrite => remote_write(service, numbers, now),
            Kind::Loki => {
                let value = |at: u64| json!([now.to_string(), format!("order {at} was taken"), { "number": at.to_string() }]);
                let values: Vec<_> = numbers.map(value).collect();
                json!({ "streams": [{ "stream": { "service_name": service }, "values": values }] }).to_string().into_bytes()
            }
            Kind::Zipkin => {
                let span = |at: u64| {
                    let id = format!("{:016x}", rand::random::<u64>().max(1));
                    json!({ "traceId": id, "id": id, "name": "order", "timestamp": now / 1_000, "duration": 5_000, "kind": "SERVER",
                        "tags": { "number": at.to_string() }, "localEndpoint": { "serviceName": service } })
                };
                serde_json::Value::Array(numbers.map(span).collect()).to_string().into_bytes()
            }
            Kind::Ndjson => {
                let line = |at: u64| {
                    let line = json!({ "time": now, "service": service, "msg": format!("order {at} was taken"), "number": at.to_string() });
                    format!("{line}\n")
                };
                numbers.map(line).collect::<String>().into_bytes()
            }
            Kind::Sentry => {
                let id = format!("{:032x}", rand::random::<u128>());
                let exception = json!({ "values": [{ "type": "OrderError", "value": format!("order {first} is lost") }] });
                let event =
                    json!({ "event_id": id, "timestamp": now / 1_000_000_000, "tags": { "sender": service }, "exception": exception });
                format!("{{\"event_id\":\"{id}\"}}\n{{\"type\":\"event\"}}\n{event}\n").into_bytes()
            }
            Kind::Fluent => fluent(service, numbers, now),
        }
    }

    /// Statements that count a sender's rows, and its distinct ones.
    pub fn counts(self, service: &str) -> [String; 2] {
        let (table, distinct, whose) = match self {
            Kind::Spans | Kind::Zipkin => ("spans", "span_id", format!("service = '{service}'")),
            Kind::Logs | Kind::Loki | Kind::Ndjson | Kind::Fluent => ("logs", "attributes['number']", format!("service = '{service}'")),
            Kind::Metrics | Kind::RemoteWrite => ("points", "value", format!("metric = 'crash_{service}'")),
            Kind::Sentry => ("error_events", "event_id", format!("tags['sender'] = '{service}'")),
        };
        ["count()".to_owned(), format!("uniqExact({distinct})")].map(|what| format!("SELECT {what} FROM {table} WHERE {whose}"))
    }
}

/// `[tag, [[time, record], ...], { chunk }]` in MessagePack; writing to a vector cannot fail.
fn fluent(service: &str, numbers: std::ops::Range<u64>, now: u64) -> Vec<u8> {
    let mut out = Vec::new();
    rmp::encode::write_array_len(&mut out, 3).unwrap();
    rmp::encode::write_str(&mut out, "crash").unwrap();
    rmp::encode::write_array_len(&mut out, RECORDS as u32).unwrap();
    for number in numbers {
        rmp::encode::write_array_len(&mut out, 2).unwrap();
        rmp::encode::write_uint(&mut out, now / 1_000_000_000).unwrap();
        let record = [("service", service), ("message", "an order was taken"), ("number", &number.to_string())];
        rmp::encode::write_map_len(&mut out, record.len() as u32).unwrap();
        for text in record.into_iter().flat_map(|(key, value)| [key, value]) {
            rmp::encode::write_str(&mut out, text).unwrap();
        }
    }
    let chunk = format!("{:0CHUNK$x}", rand::random::<u64>());
    rmp::encode::write_map_len(&mut out, 1).unwrap();
    rmp::encode::write_str(&mut out, "chunk").unwrap();
    rmp::encode::write_str(&mut out, &chunk).unwrap();
    out
}

/// The id of such a request's chunk, with which its acknowledgement ends.
pub fn chunk_of(request: &[u8]) -> &[u8] {
    &request[request.len() - CHUNK..]
}

fn any(value: any_value::Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn resource(service: &str) -> Option<Resource> {
    Some(Resource { attributes: vec![attribute("service.name", service)], ..Resource::default() })
}

fn logs(service: &str, numbers: std::ops::Range<u64>, now: u64) -> Vec<u8> {
    let record = |at: u64| LogRecord {
        time_unix_nano: now,
        severity_number: 9,
        body: Some(any(any_value::Value::StringValue(format!("order {at} was taken")))),
        attributes: vec![attribute("number", &at.to_string())],
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: numbers.map(record).collect(), ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { resource: resource(service), scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

fn metrics(service: &str, numbers: std::ops::Range<u64>, now: u64) -> Vec<u8> {
    let point = |at: u64| NumberDataPoint {
        attributes: vec![attribute("shard", &(at % 10).to_string())],
        // Points of a series need times of their own.
        time_unix_nano: now + (at % RECORDS) * 1_000_000,
        value: Some(number_data_point::Value::AsInt(at as i64)),
        ..NumberDataPoint::default()
    };
    let data = Some(metric::Data::Gauge(Gauge { data_points: numbers.map(point).collect() }));
    let metrics = vec![Metric { name: format!("crash_{service}"), data, ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource: resource(service), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn remote_write(service: &str, numbers: std::ops::Range<u64>, now: u64) -> Vec<u8> {
    let series = |at: u64| {
        let labels = vec![Label::new("__name__", format!("crash_{service}")), Label::new("shard", at.to_string())];
        let mine = numbers.clone().filter(|number| number % 10 == at);
        let sample = |number: u64| Sample { value: number as f64, timestamp: (now / 1_000_000 + number % RECORDS) as i64 };
        TimeSeries { labels, samples: mine.map(sample).collect() }
    };
    WriteRequest { timeseries: (0..10).map(series).collect() }.body()
}
