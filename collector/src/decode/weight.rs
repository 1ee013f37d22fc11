//! How much memory a body will take once decoded, told without decoding it: each nested message costs its struct, each other
//! field its bytes. In: the body. Out: bytes, an upper estimate. A malformed body is weighed up to where it breaks, which is
//! as far as the decoder will get.

use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, SummaryDataPoint,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, span};

use super::{Format, Signal};

/// A message type: its size in memory, what each of its bytes becomes beside that (packed numbers), and those of its fields
/// that hold messages.
struct Shape {
    size: usize,
    per_byte: usize,
    fields: &'static [(u64, &'static Shape)],
}

const fn shape<T>(fields: &'static [(u64, &'static Shape)]) -> Shape {
    Shape { size: size_of::<T>(), per_byte: 0, fields }
}

static VALUE: Shape = shape::<AnyValue>(&[(5, &LIST), (6, &LIST)]);
// An array holds values in field 1, a map holds pairs in field 1, whose value is field 2: one shape serves both.
static LIST: Shape = shape::<AnyValue>(&[(1, &ITEM)]);
static ITEM: Shape = shape::<KeyValue>(&[(2, &VALUE), (5, &LIST), (6, &LIST)]);
static PAIR: Shape = shape::<KeyValue>(&[(2, &VALUE)]);
static RESOURCE: Shape = shape::<Resource>(&[(1, &PAIR)]);
static SCOPE: Shape = shape::<InstrumentationScope>(&[(3, &PAIR)]);

static TRACES: Shape = Shape { size: 0, per_byte: 0, fields: &[(1, &RESOURCE_SPANS)] };
static RESOURCE_SPANS: Shape = shape::<ResourceSpans>(&[(1, &RESOURCE), (2, &SCOPE_SPANS)]);
static SCOPE_SPANS: Shape = shape::<ScopeSpans>(&[(1, &SCOPE), (2, &SPAN)]);
static SPAN: Shape = shape::<Span>(&[(9, &PAIR), (11, &EVENT), (13, &LINK)]);
static EVENT: Shape = shape::<span::Event>(&[(3, &PAIR)]);
static LINK: Shape = shape::<span::Link>(&[(4, &PAIR)]);

static LOGS: Shape = Shape { size: 0, per_byte: 0, fields: &[(1, &RESOURCE_LOGS)] };
static RESOURCE_LOGS: Shape = shape::<ResourceLogs>(&[(1, &RESOURCE), (2, &SCOPE_LOGS)]);
static SCOPE_LOGS: Shape = shape::<ScopeLogs>(&[(1, &SCOPE), (2, &LOG)]);
static LOG: Shape = shape::<LogRecord>(&[(5, &VALUE), (6, &PAIR)]);

static METRICS: Shape = Shape { size: 0, per_byte: 0, fields: &[(1, &RESOURCE_METRICS)] };
static RESOURCE_METRICS: Shape = shape::<ResourceMetrics>(&[(1, &RESOURCE), (2, &SCOPE_METRICS)]);
static SCOPE_METRICS: Shape = shape::<ScopeMetrics>(&[(1, &SCOPE), (2, &METRIC)]);
static METRIC: Shape =
    shape::<Metric>(&[(5, &NUMBERS), (7, &NUMBERS), (9, &HISTOGRAMS), (10, &EXPONENTIALS), (11, &SUMMARIES), (12, &PAIR)]);
static NUMBERS: Shape = Shape { size: 0, per_byte: 0, fields: &[(1, &NUMBER)] };
static HISTOGRAMS: Shape = Shape { size: 0, per_byte: 0, fields: &[(1, &HISTOGRAM)] };
static EXPONENTIALS: Shape = Shape { size: 0, per_byte: 0, fields: &[(1, &EXPONENTIAL)] };
static SUMMARIES: Shape = Shape { size: 0, per_byte: 0, fields: &[(1, &SUMMARY)] };
static NUMBER: Shape = shape::<NumberDataPoint>(&[(5, &EXEMPLAR), (7, &PAIR)]);
static HISTOGRAM: Shape = shape::<HistogramDataPoint>(&[(8, &EXEMPLAR), (9, &PAIR)]);
static EXPONENTIAL: Shape = shape::<ExponentialHistogramDataPoint>(&[(1, &PAIR), (8, &BUCKETS), (9, &BUCKETS), (11, &EXEMPLAR)]);
// Packed varints: one byte may become eight.
static BUCKETS: Shape = Shape { size: 0, per_byte: 8, fields: &[] };
static SUMMARY: Shape = shape::<SummaryDataPoint>(&[(6, &QUANTILE), (7, &PAIR)]);
static QUANTILE: Shape = Shape { size: 16, per_byte: 0, fields: &[] };
static EXEMPLAR: Shape = shape::<Exemplar>(&[(7, &PAIR)]);

/// Vectors double when they grow, and the columns are built beside the messages.
const SLACK: u64 = 2;
/// What a JSON object becomes at most, roughly the largest struct.
const JSON_OBJECT: u64 = 400;
/// What a number in a list becomes.
const JSON_ITEM: u64 = 8;
/// The decoder refuses deeper nesting.
const MAX_DEPTH: usize = 100;

/// The estimate in bytes.
pub(crate) fn weight(signal: Signal, format: Format, body: &[u8]) -> u64 {
    let inside = match format {
        Format::Json => json_weight(body),
        Format::Protobuf => {
            let root = match signal {
                Signal::Traces => &TRACES,
                Signal::Metrics => &METRICS,
                Signal::Logs => &LOGS,
            };
            structs(root, body, 0)
        }
    };
    (inside + body.len() as u64) * SLACK
}

/// The sizes of all nested messages.
fn structs(shape: &Shape, mut body: &[u8], depth: usize) -> u64 {
    let mut total = (shape.size + shape.per_byte * body.len()) as u64;
    while depth < MAX_DEPTH
        && let Some((key, rest)) = varint(body)
    {
        let skipped = match key & 7 {
            0 => varint(rest).map(|(_, rest)| rest),
            1 => rest.get(8..),
            5 => rest.get(4..),
            2 => varint(rest).and_then(|(length, rest)| {
                let (inner, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
                if let Some((_, field)) = shape.fields.iter().find(|(number, _)| *number == key >> 3) {
                    total += structs(field, inner, depth + 1);
                }
                Some(rest)
            }),
            _ => None,
        };
        match skipped {
            Some(rest) => body = rest,
            None => break,
        }
    }
    total
}

fn varint(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let mut value = 0u64;
    for (at, byte) in bytes.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7F) << (7 * at);
        if *byte < 0x80 {
            return Some((value, &bytes[at + 1..]));
        }
    }
    None
}

/// What the list items of a JSON text become at most, strings skipped. An object that is the value of a field lies inside its
/// parent's struct, so only objects in lists weigh.
fn json_weight(body: &[u8]) -> u64 {
    let (mut weight, mut in_string, mut escaped, mut before) = (0u64, false, false, b' ');
    for byte in body {
        match (in_string, *byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => in_string = !in_string,
            (false, b'{') if before != b':' => weight += JSON_OBJECT,
            (false, b',') => weight += JSON_ITEM,
            _ => {}
        }
        if !in_string && !byte.is_ascii_whitespace() {
            before = *byte;
        }
    }
    weight
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;

    use super::*;
    use crate::tests::fixtures;

    #[test]
    fn countless_empty_messages_weigh_what_they_will_take() {
        let spans = vec![Span::default(); 100_000];
        let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
        let request = ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] };
        let body = request.encode_to_vec();
        assert!(body.len() < 210_000);
        assert!(weight(Signal::Traces, Format::Protobuf, &body) >= 100_000 * size_of::<Span>() as u64);
        let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{}{{}}]}}]}}]}}"#, "{},".repeat(100_000));
        assert!(weight(Signal::Traces, Format::Json, json.as_bytes()) >= 100_000 * size_of::<Span>() as u64);
    }

    #[test]
    fn an_ordinary_request_weighs_a_few_times_its_bytes() {
        let body = fixtures::traces(fixtures::NOW).encode_to_vec();
        let weight = weight(Signal::Traces, Format::Protobuf, &body);
        assert!(weight > body.len() as u64 * 2 && weight < body.len() as u64 * 40, "{weight} for {}", body.len());
    }

    #[test]
    fn braces_in_strings_do_not_weigh() {
        assert_eq!(json_weight(br#"{"a":"{{\"{,,","b": {}}"#), JSON_OBJECT + JSON_ITEM);
        assert_eq!(json_weight(br#"{"a":[{"v":{"v":{}}}, {}]}"#), 3 * JSON_OBJECT + JSON_ITEM);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(body in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            for signal in [Signal::Traces, Signal::Metrics, Signal::Logs] {
                weight(signal, Format::Protobuf, &body);
                weight(signal, Format::Json, &body);
            }
        }
    }
}
