//! The requests: encoded once with the published protobuf types, then made distinct before each send by writing ids and times into
//! the places where they stand. Pure.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

use super::Signal;

/// Stands where a time goes, before it is written.
const TIME: u64 = 0x1D2C_3B4A_5968_7786;
/// Stands where the later time of a record goes.
const LATER: u64 = 0x1D2C_3B4A_5968_7787;
/// As many spans, or log records with a trace, are of one trace.
const TRACE_LENGTH: usize = 8;
/// Stands where a trace id goes.
const TRACE: [u8; 16] = [0xA1; 16];
/// Stands where a span id goes.
const SPAN: [u8; 8] = [0xB2; 8];

const SERVICES: [&str; 5] = ["checkout", "payment", "catalog", "shipping", "frontend"];
const OPERATIONS: [&str; 8] = [
    "GET /api/cart",
    "POST /api/orders",
    "GET /api/products/{id}",
    "SELECT orders",
    "INSERT orders",
    "publish order.created",
    "GET /health",
    "charge",
];
const WORDS: [&str; 10] = ["order", "accepted", "for", "customer", "after", "retry", "from", "upstream", "cache", "timeout"];

/// Different requests that are sent in turn.
const VARIETY: usize = 16;

/// Nanoseconds between two records of a request.
const BETWEEN: u64 = 7_000;

/// Requests ready to be sent.
pub struct Bodies {
    list: Vec<Body>,
    /// Records in each.
    pub records: usize,
}

/// One encoded request and the places in it that are written before each send.
struct Body {
    bytes: Vec<u8>,
    traces: Vec<usize>,
    spans: Vec<usize>,
    times: Vec<usize>,
    laters: Vec<usize>,
}

/// A small generator of numbers: splitmix64.
#[derive(Clone)]
pub struct Numbers(pub u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

impl Bodies {
    /// Encodes requests of `batch` records with `attributes` attributes each.
    pub fn encode(signal: Signal, batch: usize, attributes: usize, run: &str) -> Self {
        let mut numbers = Numbers(0x5EED);
        let encode = |at: usize| {
            let bytes = match signal {
                Signal::Spans => traces(&mut numbers, at, batch, attributes, run).encode_to_vec(),
                Signal::Logs => logs(&mut numbers, at, batch, attributes, run).encode_to_vec(),
                Signal::Metrics => metrics(&mut numbers, at, batch, attributes, run).encode_to_vec(),
            };
            Body::new(bytes)
        };
        Bodies { list: (0..VARIETY).map(encode).collect(), records: batch }
    }

    /// Bytes of a record on the wire, on average.
    pub fn record_bytes(&self) -> f64 {
        let all: usize = self.list.iter().map(|body| body.bytes.len()).sum();
        all as f64 / (self.list.len() * self.records).max(1) as f64
    }

    /// The request number `at`, distinct from all others; its records happened just before `now` (nanoseconds since 1970).
    pub fn request(&self, at: u64, now: u64) -> Bytes {
        let body = &self.list[(at % self.list.len() as u64) as usize];
        let (mut bytes, mut numbers) = (body.bytes.clone(), Numbers(at.wrapping_mul(0x1000_0000_01B3)));
        let mut trace = [0; 16];
        for (index, place) in body.traces.iter().enumerate() {
            if index % TRACE_LENGTH == 0 {
                trace[..8].copy_from_slice(&numbers.next().to_be_bytes());
                trace[8..].copy_from_slice(&numbers.next().to_be_bytes());
            }
            bytes[*place..place + 16].copy_from_slice(&trace);
        }
        for place in &body.spans {
            bytes[*place..place + 8].copy_from_slice(&numbers.next().max(1).to_be_bytes());
        }
        // Records of a request are some microseconds apart and end now. Log lines without a trace have nothing but their time: no two
        // requests of the same moment share one.
        let start = (now / BETWEEN - body.times.len() as u64) * BETWEEN + at % BETWEEN;
        for (index, place) in body.times.iter().enumerate() {
            bytes[*place..place + 8].copy_from_slice(&(start + index as u64 * BETWEEN).to_le_bytes());
        }
        for (index, place) in body.laters.iter().enumerate() {
            let later = start + index as u64 * BETWEEN + 50_000 + numbers.next() % 200_000_000;
            bytes[*place..place + 8].copy_from_slice(&later.to_le_bytes());
        }
        Bytes::from(bytes)
    }
}

impl Body {
    fn new(bytes: Vec<u8>) -> Self {
        let find = |mark: &[u8]| {
            let mut places = Vec::new();
            let mut at = 0;
            while at + mark.len() <= bytes.len() {
                if &bytes[at..at + mark.len()] == mark {
                    places.push(at);
                    at += mark.len();
                } else {
                    at += 1;
                }
            }
            places
        };
        let (traces, spans) = (find(&TRACE), find(&SPAN));
        let (times, laters) = (find(&TIME.to_le_bytes()), find(&LATER.to_le_bytes()));
        Body { bytes, traces, spans, times, laters }
    }
}

fn text(key: &str, value: impl Into<String>) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::StringValue(value.into())) }), ..KeyValue::default() }
}

fn int(key: &str, value: i64) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(Value::IntValue(value)) }), ..KeyValue::default() }
}

fn resource(at: usize, run: &str) -> Resource {
    let service = SERVICES[at % SERVICES.len()];
    let attributes = vec![
        text("service.name", service),
        text("service.namespace", "load"),
        text("service.version", format!("1.{}.0", at % 7)),
        text("service.instance.id", format!("{service}-{}", at % 3)),
        text("host.name", format!("node-{}", at % 4)),
        text("load.run", run),
    ];
    Resource { attributes, ..Resource::default() }
}

fn scope() -> Option<InstrumentationScope> {
    Some(InstrumentationScope { name: "load".into(), version: "1.0".into(), ..InstrumentationScope::default() })
}

/// Attributes as HTTP servers send them, with some values that differ a lot and some that hardly do.
fn attributes(numbers: &mut Numbers, count: usize) -> Vec<KeyValue> {
    let user = numbers.below(5_000);
    let mut all = vec![
        text("http.request.method", ["GET", "POST", "PUT"][numbers.below(3)]),
        text("http.route", OPERATIONS[numbers.below(OPERATIONS.len())]),
        int("http.response.status_code", [200, 200, 200, 201, 404, 500][numbers.below(6)]),
        text("url.path", format!("/api/products/{}", numbers.below(100_000))),
        text("server.address", format!("10.0.{}.{}", numbers.below(4), numbers.below(255))),
        text("user.id", format!("u-{user}")),
        text("client.address", format!("192.0.2.{}", numbers.below(255))),
        int("http.request.body.size", numbers.below(60_000) as i64),
        text("k8s.pod.name", format!("pod-{:08x}", numbers.below(40))),
        text("request.id", format!("{:016x}", numbers.next())),
    ];
    all.extend((all.len()..count).map(|at| text(&format!("extra.attribute.{at}"), format!("value-{}", numbers.below(1_000)))));
    all.truncate(count);
    all
}

/// Attributes as log lines have them: short keys, short values.
fn log_attributes(numbers: &mut Numbers, count: usize) -> Vec<KeyValue> {
    let mut all = vec![
        text("method", ["GET", "POST", "PUT"][numbers.below(3)]),
        text("route", OPERATIONS[numbers.below(3)]),
        int("status", [200, 200, 200, 201, 404, 500][numbers.below(6)]),
        text("path", format!("/p/{}", numbers.below(100_000))),
        text("peer", format!("10.0.{}.{}", numbers.below(4), numbers.below(255))),
        text("user", format!("u-{}", numbers.below(5_000))),
        text("thread", format!("worker-{}", numbers.below(16))),
        int("size", numbers.below(60_000) as i64),
        text("pod", format!("pod-{:04x}", numbers.below(40))),
        text("request", format!("{:08x}", numbers.next() as u32)),
    ];
    all.extend((all.len()..count).map(|at| text(&format!("extra.{at}"), format!("value-{}", numbers.below(1_000)))));
    all.truncate(count);
    all
}

fn traces(numbers: &mut Numbers, at: usize, batch: usize, count: usize, run: &str) -> ExportTraceServiceRequest {
    let span = |_| {
        let failed = numbers.below(50) == 0;
        Span {
            trace_id: TRACE.to_vec(),
            span_id: SPAN.to_vec(),
            parent_span_id: if numbers.below(4) == 0 { Vec::new() } else { SPAN.to_vec() },
            name: OPERATIONS[numbers.below(OPERATIONS.len())].to_owned(),
            kind: [1, 2, 3][numbers.below(3)],
            start_time_unix_nano: TIME,
            end_time_unix_nano: LATER,
            attributes: attributes(numbers, count),
            flags: 0x101,
            status: Some(Status {
                code: if failed { 2 } else { 0 },
                message: if failed { "upstream timeout".to_owned() } else { String::new() },
            }),
            ..Span::default()
        }
    };
    let spans = (0..batch).map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: Some(resource(at, run)), scope_spans, ..ResourceSpans::default() }],
    }
}

fn logs(numbers: &mut Numbers, at: usize, batch: usize, count: usize, run: &str) -> ExportLogsServiceRequest {
    let record = |_| {
        let (severity, severity_text) =
            [(9, "INFO"), (9, "INFO"), (9, "INFO"), (5, "DEBUG"), (13, "WARN"), (17, "ERROR")][numbers.below(6)];
        let words: Vec<&str> = (0..6).map(|_| WORDS[numbers.below(WORDS.len())]).collect();
        let body = format!("{} {} in {} ms", words.join(" "), numbers.below(1_000_000), numbers.below(3_000));
        LogRecord {
            time_unix_nano: TIME,
            observed_time_unix_nano: LATER,
            severity_number: severity,
            severity_text: severity_text.to_owned(),
            body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
            attributes: log_attributes(numbers, count),
            trace_id: if numbers.below(2) == 0 { TRACE.to_vec() } else { Vec::new() },
            ..LogRecord::default()
        }
    };
    let log_records = (0..batch).map(record).collect();
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource: Some(resource(at, run)), scope_logs, ..ResourceLogs::default() }],
    }
}

/// The points of a request are of different series, and the series of all requests are the same: time passes, nothing else.
fn metrics(_: &mut Numbers, at: usize, batch: usize, count: usize, run: &str) -> ExportMetricsServiceRequest {
    let mut numbers = Numbers(at as u64);
    let mut point = |index: usize, counter: bool| {
        let mut attributes = attributes(&mut Numbers(index as u64), count.saturating_sub(1).min(9));
        attributes.push(int("series", index as i64));
        let value = if counter {
            number_data_point::Value::AsInt(numbers.below(1_000_000) as i64)
        } else {
            number_data_point::Value::AsDouble(numbers.below(100_000) as f64 / 7.0)
        };
        let start_time_unix_nano = if counter { 1_700_000_000_000_000_000 } else { 0 };
        NumberDataPoint { attributes, start_time_unix_nano, time_unix_nano: TIME, value: Some(value), ..NumberDataPoint::default() }
    };
    let metrics = (0..10)
        .map(|metric| {
            let counter = metric % 2 == 0;
            let data_points = (0..batch).filter(|index| index % 10 == metric).map(|index| point(index, counter)).collect();
            let data = if counter {
                metric::Data::Sum(Sum { data_points, aggregation_temporality: 2, is_monotonic: true })
            } else {
                metric::Data::Gauge(Gauge { data_points })
            };
            Metric { name: format!("load.{run}.metric.{metric}"), unit: "By".into(), data: Some(data), ..Metric::default() }
        })
        .collect();
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource: Some(resource(0, run)), scope_metrics, ..ResourceMetrics::default() }],
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_records_are_equal_and_all_are_of_now() {
        let (bodies, now) = (Bodies::encode(Signal::Spans, 50, 10, "r"), 1_772_323_200_000_000_000);
        let mut seen = HashSet::new();
        for at in 0..40 {
            let request = ExportTraceServiceRequest::decode(bodies.request(at, now)).unwrap();
            for span in &request.resource_spans[0].scope_spans[0].spans {
                assert!(seen.insert((span.trace_id.clone(), span.span_id.clone())));
                assert!(span.start_time_unix_nano < now && span.end_time_unix_nano > span.start_time_unix_nano);
                assert!(now - span.start_time_unix_nano < 1_000_000_000);
                assert_eq!(span.attributes.len(), 10);
            }
        }
        assert_eq!(seen.len(), 40 * 50);
        let traces: HashSet<_> = seen.iter().map(|(trace, _)| trace).collect();
        assert_eq!(traces.len(), 40 * 50usize.div_ceil(TRACE_LENGTH), "traces of several spans, none shared by two requests");
    }

    #[test]
    fn no_two_log_lines_of_a_moment_share_a_time() {
        let bodies = Bodies::encode(Signal::Logs, 50, 10, "r");
        let mut seen = HashSet::new();
        for (at, now) in (0..200).map(|at| (at, 1_772_323_200_000_000_000 + at * 31_500)) {
            let request = ExportLogsServiceRequest::decode(bodies.request(at, now)).unwrap();
            for line in &request.resource_logs[0].scope_logs[0].log_records {
                assert!(seen.insert(line.time_unix_nano) && line.time_unix_nano < now);
            }
        }
        assert_eq!(seen.len(), 200 * 50);
    }

    #[test]
    fn records_are_as_large_as_those_of_real_services() {
        for (signal, least, most) in [(Signal::Spans, 380.0, 520.0), (Signal::Logs, 280.0, 360.0), (Signal::Metrics, 100.0, 480.0)] {
            let size = Bodies::encode(signal, 1_000, 10, "r").record_bytes();
            assert!((least..most).contains(&size), "{signal:?}: {size}");
        }
    }

    #[test]
    fn points_of_all_requests_are_of_the_same_series() {
        let bodies = Bodies::encode(Signal::Metrics, 100, 4, "r");
        let series = |at: u64| {
            let request = ExportMetricsServiceRequest::decode(bodies.request(at, 1_772_323_200_000_000_000)).unwrap();
            let mut list = Vec::new();
            for metric in &request.resource_metrics[0].scope_metrics[0].metrics {
                let points = match metric.data.as_ref().unwrap() {
                    metric::Data::Sum(sum) => &sum.data_points,
                    metric::Data::Gauge(gauge) => &gauge.data_points,
                    other => panic!("{other:?}"),
                };
                list.extend(points.iter().map(|point| format!("{} {:?}", metric.name, point.attributes)));
            }
            list
        };
        assert_eq!(series(0), series(1));
        assert_eq!(series(0).into_iter().collect::<HashSet<_>>().len(), 100);
    }
}
