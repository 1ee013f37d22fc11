//! Good bodies: one record for each time and text, of a service.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::json;
use tests::remote_write::{Label, Sample, TimeSeries, WriteRequest};
use tests::send::attribute;

/// Times and texts.
type Records<'r> = &'r [(u64, &'r str)];

fn resource(service: &str) -> Option<Resource> {
    Some(Resource { attributes: vec![attribute("service.name", service)], ..Resource::default() })
}

fn traces_of(service: &str, records: Records) -> ExportTraceServiceRequest {
    let span = |(time, text): &(u64, &str)| Span {
        trace_id: rand::random::<[u8; 16]>().to_vec(),
        span_id: rand::random::<[u8; 8]>().to_vec(),
        name: (*text).to_owned(),
        start_time_unix_nano: time - 1_000,
        end_time_unix_nano: *time,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: records.iter().map(span).collect(), ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource: resource(service), scope_spans, ..ResourceSpans::default() }],
    }
}

fn logs_of(service: &str, records: Records) -> ExportLogsServiceRequest {
    let record = |(time, text): &(u64, &str)| LogRecord {
        time_unix_nano: *time,
        body: Some(AnyValue { value: Some(any_value::Value::StringValue((*text).to_owned())) }),
        ..LogRecord::default()
    };
    let scope_logs = vec![ScopeLogs { log_records: records.iter().map(record).collect(), ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { resource: resource(service), scope_logs, ..ResourceLogs::default() }] }
}

fn metrics_of(service: &str, records: Records) -> ExportMetricsServiceRequest {
    let point = |(time, text): &(u64, &str)| NumberDataPoint {
        attributes: vec![attribute("text", text)],
        time_unix_nano: *time,
        value: Some(number_data_point::Value::AsInt(7)),
        ..NumberDataPoint::default()
    };
    let gauge = Gauge { data_points: records.iter().map(point).collect() };
    let metrics = vec![Metric { name: "gauge".into(), data: Some(metric::Data::Gauge(gauge)), ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource: resource(service), scope_metrics, ..ResourceMetrics::default() }],
    }
}

pub(super) fn traces(service: &str, records: Records) -> Vec<u8> {
    traces_of(service, records).encode_to_vec()
}

pub(super) fn logs(service: &str, records: Records) -> Vec<u8> {
    logs_of(service, records).encode_to_vec()
}

pub(super) fn metrics(service: &str, records: Records) -> Vec<u8> {
    metrics_of(service, records).encode_to_vec()
}

pub(super) fn traces_json(service: &str, records: Records) -> Vec<u8> {
    serde_json::to_vec(&traces_of(service, records)).unwrap()
}

pub(super) fn logs_json(service: &str, records: Records) -> Vec<u8> {
    serde_json::to_vec(&logs_of(service, records)).unwrap()
}

pub(super) fn metrics_json(service: &str, records: Records) -> Vec<u8> {
    serde_json::to_vec(&metrics_of(service, records)).unwrap()
}

/// The published messages of remote write 2.0, as far as these bodies need them.
mod wire {
    use tests::remote_write::Sample;

    #[derive(Clone, PartialEq, prost::Message)]
    pub struct Request {
        #[prost(string, repeated, tag = "4")]
        pub symbols: Vec<String>,
        #[prost(message, repeated, tag = "5")]
        pub timeseries: Vec<SeriesOfSymbols>,
    }
    #[derive(Clone, PartialEq, prost::Message)]
    pub struct SeriesOfSymbols {
        #[prost(uint32, repeated, tag = "1")]
        pub labels_refs: Vec<u32>,
        #[prost(message, repeated, tag = "2")]
        pub samples: Vec<Sample>,
    }
}

fn labels<'l>(service: &'l str, text: &'l str) -> [(&'static str, &'l str); 3] {
    [("__name__", "gauge"), ("job", service), ("text", text)]
}

fn sample(time: u64) -> Vec<Sample> {
    vec![Sample { value: 7.0, timestamp: (time / 1_000_000) as i64 }]
}

pub(super) fn write_v1(service: &str, records: Records) -> Vec<u8> {
    let series = |(time, text): &(u64, &str)| {
        let labels = labels(service, text).map(|(name, value)| Label::new(name, value)).to_vec();
        TimeSeries { labels, samples: sample(*time) }
    };
    WriteRequest { timeseries: records.iter().map(series).collect() }.encode_to_vec()
}

pub(super) fn write_v2(service: &str, records: Records) -> Vec<u8> {
    let mut request = wire::Request { symbols: vec![String::new()], timeseries: Vec::new() };
    for (time, text) in records {
        let mut labels_refs = Vec::new();
        for symbol in labels(service, text).into_iter().flat_map(|(name, value)| [name, value]) {
            labels_refs.push(request.symbols.len() as u32);
            request.symbols.push(symbol.to_owned());
        }
        request.timeseries.push(wire::SeriesOfSymbols { labels_refs, samples: sample(*time) });
    }
    request.encode_to_vec()
}

fn event(service: &str, (time, text): &(u64, &str)) -> String {
    let id = format!("{:032x}", rand::random::<u128>());
    json!({ "event_id": id, "timestamp": *time as f64 / 1e9, "message": text, "release": service }).to_string()
}

pub(super) fn envelope(service: &str, records: Records) -> Vec<u8> {
    let item = |record| {
        let event = event(service, record);
        format!("{{\"type\":\"event\",\"length\":{}}}\n{event}\n", event.len())
    };
    format!("{{}}\n{}", records.iter().map(item).collect::<String>()).into_bytes()
}

pub(super) fn store(service: &str, records: Records) -> Vec<u8> {
    records.iter().map(|record| event(service, record)).collect::<String>().into_bytes()
}
