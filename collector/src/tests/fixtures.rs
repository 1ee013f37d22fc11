//! Requests, a recording sink and ways to look into blocks, for the tests of this package.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use model::access::{Permission, Principal};
use model::columns::{Column, ColumnType, TableBlock};
use model::event::Actor;
use model::sink::{Appended, Batch, Refusal, TelemetrySink};
use model::tenant::TenantId;
use model::time::{SimulatedClock, Timestamp};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value as Number;
use opentelemetry_proto::tonic::metrics::v1::summary_data_point::ValueAtQuantile;
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prometheus::Registry;
use proptest::prelude::*;

use crate::decode::{DecodeError, Format, Protocol, Signal};
use crate::family::Families;
use crate::pipeline::Pipeline;
use crate::pipeline::cardinality::ActiveSeries;
use crate::pipeline::patterns::Miner;
use crate::rows::red::NameGuard;
use crate::rows::{Arrival, Builder, Built, Limits};
use crate::series::{SeriesCache, TargetInfoCache};
use crate::{Collector, Config};

/// The moment at which all test requests arrive: 2026-03-01T00:00:00Z.
pub(crate) const NOW: u64 = 1_772_323_200_000_000_000;

pub(crate) fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

pub(crate) fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Value::StringValue(value.to_owned()))
}

pub(crate) fn resource() -> Resource {
    Resource {
        attributes: vec![
            text("service.name", "shop"),
            text("service.namespace", "acme"),
            text("service.instance.id", "shop-1"),
            text("service.version", "1.4.2"),
            text("deployment.environment.name", "prod"),
        ],
        ..Default::default()
    }
}

pub(crate) fn scope() -> InstrumentationScope {
    InstrumentationScope { name: "lib".into(), version: "0.1".into(), ..Default::default() }
}

/// A server span of 30 ms that ended in an error.
pub(crate) fn span(now: u64) -> Span {
    Span {
        trace_id: (1..=16).collect(),
        span_id: (1..=8).collect(),
        parent_span_id: vec![9; 8],
        name: "POST /pay".into(),
        kind: 2,
        start_time_unix_nano: now - 1_000_000_000,
        end_time_unix_nano: now - 970_000_000,
        attributes: vec![
            text("http.route", "/pay"),
            attribute("http.response.status_code", Value::IntValue(500)),
            text("enduser.id", "u7"),
        ],
        events: vec![Event {
            time_unix_nano: now - 980_000_000,
            name: "exception".into(),
            attributes: vec![
                text("exception.type", "KeyError"),
                text("exception.message", "'a'"),
                text(
                    "exception.stacktrace",
                    "Traceback (most recent call last):\n  File \"/srv/shop/app.py\", line 3, in pay\nKeyError: 'a'\n",
                ),
                text("exception.escaped", "True"),
            ],
            ..Default::default()
        }],
        links: vec![Link { trace_id: vec![7; 16], span_id: vec![6; 8], attributes: vec![text("k", "v")], ..Default::default() }],
        status: Some(Status { code: 2, message: "boom".into() }),
        ..Default::default()
    }
}

pub(crate) fn traces_of(spans: Vec<Span>) -> ExportTraceServiceRequest {
    let scope_spans = vec![ScopeSpans { scope: Some(scope()), spans, ..Default::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource: Some(resource()), scope_spans, ..Default::default() }] }
}

pub(crate) fn traces(now: u64) -> ExportTraceServiceRequest {
    traces_of(vec![span(now)])
}

pub(crate) fn record(now: u64) -> LogRecord {
    LogRecord {
        time_unix_nano: now - 5,
        observed_time_unix_nano: now - 3,
        severity_number: 17,
        severity_text: "ERROR".into(),
        body: Some(AnyValue { value: Some(Value::StringValue("payment failed".into())) }),
        attributes: vec![text("code.function", "pay")],
        trace_id: (1..=16).collect(),
        span_id: (1..=8).collect(),
        ..Default::default()
    }
}

pub(crate) fn logs_of(log_records: Vec<LogRecord>) -> ExportLogsServiceRequest {
    let scope_logs = vec![ScopeLogs { scope: Some(scope()), log_records, ..Default::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { resource: Some(resource()), scope_logs, ..Default::default() }] }
}

pub(crate) fn number(now: u64, value: Number) -> NumberDataPoint {
    NumberDataPoint {
        attributes: vec![text("http.method", "GET")],
        start_time_unix_nano: now - 60_000_000_000,
        time_unix_nano: now,
        value: Some(value),
        ..Default::default()
    }
}

pub(crate) fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.into(), unit: unit.into(), description: "d".into(), data: Some(data), ..Default::default() }
}

pub(crate) fn sum(name: &str, temporality: i32, is_monotonic: bool, data_points: Vec<NumberDataPoint>) -> Metric {
    metric(name, "1", Data::Sum(Sum { data_points, aggregation_temporality: temporality, is_monotonic }))
}

pub(crate) fn gauge(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    metric(name, "By", Data::Gauge(Gauge { data_points }))
}

pub(crate) fn metrics_of(metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope()), metrics, ..Default::default() }];
    ExportMetricsServiceRequest {
        resource_metrics: vec![ResourceMetrics { resource: Some(resource()), scope_metrics, ..Default::default() }],
    }
}

/// What builders need, outside the services.
pub(crate) struct World {
    pub(crate) tenant: TenantId,
    pub(crate) limits: Limits,
    pub(crate) series: SeriesCache,
    pub(crate) targets: TargetInfoCache,
    pub(crate) names: NameGuard,
    pub(crate) pipeline: Pipeline,
    pub(crate) active: ActiveSeries,
    pub(crate) miner: Miner,
    pub(crate) families: Families,
}

impl Default for World {
    fn default() -> Self {
        World::new(&Config::default())
    }
}

impl World {
    pub(crate) fn new(config: &Config) -> Self {
        World {
            tenant: TenantId::default(),
            limits: Limits::new(config),
            series: SeriesCache::new(1_000),
            targets: TargetInfoCache::new(1_000),
            names: NameGuard::new(config),
            pipeline: Pipeline::new(&crate::pipeline::Config::busy()).unwrap(),
            active: ActiveSeries::default(),
            miner: Miner::default(),
            families: Families::default(),
        }
    }
    pub(crate) fn arrival(&self) -> Arrival<'_> {
        self.arrival_at(Timestamp::from_nanos(NOW as i64))
    }
    pub(crate) fn arrival_at(&self, at: Timestamp) -> Arrival<'_> {
        Arrival {
            tenant: &self.tenant,
            at,
            limits: &self.limits,
            series: &self.series,
            targets: &self.targets,
            names: &self.names,
            pipeline: &self.pipeline,
            active: &self.active,
            miner: &self.miner,
            families: &self.families,
        }
    }
}

/// The rows of a body.
pub(crate) fn build(signal: Signal, format: Format, body: &[u8], arrival: Arrival<'_>) -> Result<Built, DecodeError> {
    let bounds = arrival.limits.bounds();
    let mut builder = Builder::new(arrival, None);
    Protocol::Otlp(signal, format).read(body, bounds, &mut builder)?;
    Ok(builder.finish().unwrap())
}

macro_rules! built {
    ($($name:ident $request:ident $signal:ident;)*) => {$(
        pub(crate) mod $name {
            use super::*;
            /// The rows of a request in protobuf.
            pub(crate) fn build(request: &$request, arrival: Arrival<'_>) -> Built {
                super::build(Signal::$signal, Format::Protobuf, &prost::Message::encode_to_vec(request), arrival).unwrap()
            }
        }
    )*};
}

built! {
    spans ExportTraceServiceRequest Traces;
    logs ExportLogsServiceRequest Logs;
    points ExportMetricsServiceRequest Metrics;
}

/// A row as `column -> text`.
pub(crate) type Row = BTreeMap<&'static str, String>;

/// The rows of a table among blocks; also checks that the block fits its table.
pub(crate) fn rows(blocks: &[TableBlock], table: &str) -> Vec<Row> {
    let Some(block) = blocks.iter().find(|block| block.table.name == table) else {
        return Vec::new();
    };
    block.check().unwrap();
    (0..block.rows())
        .map(|row| block.table.columns.iter().zip(&block.columns).map(|(spec, column)| (spec.name, cell(spec.kind, column, row))).collect())
        .collect()
}

/// All rows of all blocks.
pub(crate) fn dump(blocks: &[TableBlock]) -> Vec<(&'static str, Vec<Row>)> {
    blocks.iter().map(|block| (block.table.name, rows(blocks, block.table.name))).collect()
}

fn lossy(bytes: Option<&[u8]>) -> String {
    String::from_utf8_lossy(bytes.unwrap()).into_owned()
}

fn cell(kind: ColumnType, column: &Column, row: usize) -> String {
    match column {
        Column::UInt8(rows) => match kind {
            ColumnType::Enum8(names) => names.iter().find(|(_, value)| *value == rows[row] as i8).unwrap().0.to_owned(),
            _ => rows[row].to_string(),
        },
        Column::UInt16(rows) => rows[row].to_string(),
        Column::UInt32(rows) => rows[row].to_string(),
        Column::UInt64(rows) => rows[row].to_string(),
        Column::Int32(rows) => rows[row].to_string(),
        Column::Int64(rows) => rows[row].to_string(),
        Column::Float64(rows) => rows[row].to_string(),
        Column::String(rows) => lossy(rows.iter().nth(row)),
        Column::LowCardinality(rows) => lossy(rows.keys().iter().nth(rows.rows()[row] as usize)),
        Column::Fixed { width, bytes } => hex::encode(&bytes[row * width..(row + 1) * width]),
        Column::StringMap(maps) => {
            let start = row.checked_sub(1).map_or(0, |before| maps.ends[before]) as usize;
            let pairs = (start..maps.ends[row] as usize).map(|at| {
                let key = lossy(maps.keys.keys().iter().nth(maps.keys.rows()[at] as usize));
                format!("{key}={}", lossy(maps.values.iter().nth(at)))
            });
            format!("{{{}}}", pairs.collect::<Vec<_>>().join(","))
        }
        Column::Array { ends, items } => {
            let start = row.checked_sub(1).map_or(0, |before| ends[before]) as usize;
            let kind = match kind {
                ColumnType::Array(item) => *item,
                other => other,
            };
            let cells = (start..ends[row] as usize).map(|at| cell(kind, items, at));
            format!("[{}]", cells.collect::<Vec<_>>().join(","))
        }
    }
}

/// A sink that keeps what it was given and refuses as told.
#[derive(Default)]
pub(crate) struct RecordingSink {
    pub(crate) batches: Mutex<Vec<Batch>>,
    refusals: Mutex<Vec<Refusal>>,
    pub(crate) asked: std::sync::atomic::AtomicUsize,
}

impl RecordingSink {
    /// The next calls are refused in this order.
    pub(crate) fn refuse(&self, mut refusals: Vec<Refusal>) {
        refusals.reverse();
        *self.refusals.lock().unwrap() = refusals;
    }
    pub(crate) fn rows(&self, table: &str) -> Vec<Row> {
        self.batches.lock().unwrap().iter().flat_map(|batch| rows(&batch.blocks, table)).collect()
    }
}

#[async_trait]
impl TelemetrySink for RecordingSink {
    async fn append(&self, batch: Batch) -> Result<Appended, Refusal> {
        self.asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        if let Some(refusal) = self.refusals.lock().unwrap().pop() {
            return Err(refusal);
        }
        let mut batches = self.batches.lock().unwrap();
        if batch.request.is_some() && batches.iter().any(|before| before.request == batch.request && before.tenant == batch.tenant) {
            return Ok(Appended::Duplicate);
        }
        batches.push(batch);
        Ok(Appended::Durable)
    }
}

/// A collector with its sink and registry.
pub(crate) struct Rig {
    pub(crate) collector: Collector,
    pub(crate) sink: Arc<RecordingSink>,
    pub(crate) registry: Registry,
}

impl Rig {
    pub(crate) fn new(config: Config) -> Self {
        Rig::with_clock(config, Arc::new(SimulatedClock::new(Timestamp::from_nanos(NOW as i64))))
    }
    pub(crate) fn with_clock(config: Config, clock: Arc<dyn model::time::Clock>) -> Self {
        config.check().unwrap();
        let (sink, registry) = (Arc::new(RecordingSink::default()), Registry::new());
        let collector = Collector::new(config, sink.clone(), clock, &registry).unwrap();
        Rig { collector, sink, registry }
    }
    /// The value of a metric with these label values, in the order of the label names' alphabet; 0 where it does not exist.
    pub(crate) fn meter(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let families = self.registry.gather();
        let metrics = families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
        metrics
            .filter(|metric| labels.iter().all(|(name, value)| metric.get_label().iter().any(|l| l.name() == *name && l.value() == *value)))
            .map(|metric| metric.get_counter().get_value() + metric.get_gauge().get_value())
            .sum()
    }
}

pub(crate) fn principal(permission: Permission) -> Principal {
    Principal { tenant: TenantId::default(), permissions: vec![permission], actor: Actor::System { part: "test".into() }, keyless: false }
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        "[a-zé\"\\\\]{0,6}".prop_map(Value::StringValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<i64>().prop_map(Value::IntValue),
        any::<i32>().prop_map(|number| Value::DoubleValue(f64::from(number) / 4.0)),
        proptest::collection::vec(any::<u8>(), 0..5).prop_map(Value::BytesValue),
    ];
    let leaf = leaf.prop_map(|value| AnyValue { value: Some(value) });
    leaf.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            proptest::collection::vec(("[a-z]{1,3}", inner), 0..3).prop_map(|pairs| {
                let values = pairs.into_iter().map(|(key, value)| KeyValue { key, value: Some(value), ..Default::default() }).collect();
                Value::KvlistValue(KeyValueList { values })
            }),
        ]
        .prop_map(|value| AnyValue { value: Some(value) })
    })
}

fn any_attributes() -> impl Strategy<Value = Vec<KeyValue>> {
    let pair = ("[a-z.]{1,4}", any_value()).prop_map(|(key, value)| KeyValue { key, value: Some(value), ..Default::default() });
    proptest::collection::vec(pair, 0..5)
}

fn any_id(length: usize) -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![6 => proptest::collection::vec(any::<u8>(), length), 1 => proptest::collection::vec(any::<u8>(), 0..20)]
}

fn any_time() -> impl Strategy<Value = u64> {
    prop_oneof![8 => NOW - 86_400_000_000_000..NOW + 1_000, 1 => any::<u64>(), 1 => Just(0)]
}

prop_compose! {
    fn any_span()(
        (trace_id, span_id, parent_span_id) in (any_id(16), any_id(8), any_id(8)), name in "[a-z /]{0,8}", kind in 0..6i32,
        start in any_time(), length in 0..1_000_000_000u64, attributes in any_attributes(), code in 0..3i32,
        events in proptest::collection::vec((any_time(), "exception|[a-z]{1,4}", any_attributes()), 0..3),
        links in proptest::collection::vec((any_id(16), any_id(8), any_attributes()), 0..2), flags in any::<u32>(), with_status in any::<bool>(),
        state in "([a-z]=[0-9])?", (dropped_attributes_count, dropped_events_count, dropped_links_count) in (any::<u32>(), any::<u32>(), 0..9u32),
    ) -> Span {
        Span {
            trace_id, span_id, parent_span_id, name, kind, attributes, flags,
            trace_state: state.clone(),
            dropped_attributes_count, dropped_events_count, dropped_links_count,
            start_time_unix_nano: start,
            end_time_unix_nano: start.saturating_add(length),
            events: events.into_iter().map(|(time_unix_nano, name, attributes)| Event { time_unix_nano, name, attributes, dropped_attributes_count: 3 }).collect(),
            links: links
                .into_iter()
                .map(|(trace_id, span_id, attributes)| Link { trace_id, span_id, attributes, trace_state: state.clone(), dropped_attributes_count: 2, flags })
                .collect(),
            status: with_status.then(|| Status { code, message: "m".into() }),
        }
    }
}

prop_compose! {
    pub(crate) fn any_traces()(
        spans in proptest::collection::vec(any_span(), 0..5), attributes in any_attributes(), scope in any_scope(), schema_url in "[a-z/]{0,4}",
    ) -> ExportTraceServiceRequest {
        let mut request = traces_of(spans);
        let of_resource = &mut request.resource_spans[0];
        of_resource.resource = Some(Resource { attributes, dropped_attributes_count: 1, ..Default::default() });
        of_resource.scope_spans[0].scope = scope;
        of_resource.scope_spans[0].schema_url = schema_url.clone();
        of_resource.schema_url = schema_url;
        request
    }
}

/// A scope with attributes, or none.
fn any_scope() -> impl Strategy<Value = Option<InstrumentationScope>> {
    let scope =
        ("[a-z]{0,3}", "[0-9]{0,2}", any_attributes(), any::<u32>()).prop_map(|(name, version, attributes, dropped_attributes_count)| {
            InstrumentationScope { name, version, attributes, dropped_attributes_count }
        });
    proptest::option::of(scope)
}

prop_compose! {
    fn any_record()(
        time_unix_nano in any_time(), observed_time_unix_nano in any_time(), severity_number in 0..25i32, body in proptest::option::of(any_value()),
        attributes in any_attributes(), (trace_id, span_id) in (any_id(16), any_id(8)), message in proptest::option::of("[a-z0-9 ]{0,8}"),
        (severity_text, event_name) in ("[A-Za-z]{0,4}", "[a-z.]{0,6}"), (flags, dropped_attributes_count) in (any::<u32>(), any::<u32>()),
    ) -> LogRecord {
        let mut record = LogRecord {
            time_unix_nano, observed_time_unix_nano, severity_number, severity_text, body, attributes, dropped_attributes_count, flags, trace_id,
            span_id, event_name,
        };
        record.attributes.extend(message.map(|message| text("exception.message", &message)));
        record
    }
}

prop_compose! {
    pub(crate) fn any_logs()(
        records in proptest::collection::vec(any_record(), 0..5), scope in any_scope(), schema_url in "[a-z/]{0,4}",
    ) -> ExportLogsServiceRequest {
        let mut request = logs_of(records);
        request.resource_logs[0].scope_logs[0].scope = scope;
        request.resource_logs[0].scope_logs[0].schema_url = schema_url.clone();
        request.resource_logs[0].schema_url = schema_url;
        request
    }
}

/// Up to two exemplars: integers and floats, with ids that may be none.
fn any_exemplars() -> impl Strategy<Value = Vec<Exemplar>> {
    let value = prop_oneof![
        any::<i64>().prop_map(|value| Some(exemplar::Value::AsInt(value))),
        any::<i32>().prop_map(|value| Some(exemplar::Value::AsDouble(f64::from(value) / 8.0))),
        Just(None),
    ];
    let one = (any_id(16), any_id(8), any_time(), value, any_attributes()).prop_map(
        |(trace_id, span_id, time_unix_nano, value, filtered_attributes)| Exemplar {
            trace_id,
            span_id,
            time_unix_nano,
            value,
            filtered_attributes,
        },
    );
    proptest::collection::vec(one, 0..3)
}

prop_compose! {
    fn any_number()(
        (start_time_unix_nano, time_unix_nano) in (any_time(), any_time()), value in any::<i64>(), kind in 0..3u8, attributes in any_attributes(),
        flags in 0..2u32, exemplars in any_exemplars(),
    ) -> NumberDataPoint {
        let value = match kind {
            0 => Some(Number::AsInt(value)),
            1 => Some(Number::AsDouble(value as f64 / 4.0)),
            _ => None,
        };
        NumberDataPoint { start_time_unix_nano, time_unix_nano, value, attributes, flags, exemplars }
    }
}

prop_compose! {
    fn any_histogram()(
        (start_time_unix_nano, time_unix_nano) in (any_time(), any_time()), counts in proptest::collection::vec(0..9u64, 0..4), spare in 0..2usize,
        (sum, min, max) in (any_half(), any_half(), any_half()),
        attributes in any_attributes(), flags in 0..2u32, exemplars in any_exemplars(),
    ) -> HistogramDataPoint {
        let bounds = counts.len().saturating_sub(spare);
        HistogramDataPoint {
            start_time_unix_nano,
            time_unix_nano,
            attributes,
            flags,
            exemplars,
            count: counts.iter().sum(),
            sum,
            min,
            max,
            explicit_bounds: (0..bounds).map(|bound| bound as f64).collect(),
            bucket_counts: counts,
        }
    }
}

fn any_half() -> impl Strategy<Value = Option<f64>> {
    proptest::option::of(any::<i32>().prop_map(|value| f64::from(value) / 2.0))
}

prop_compose! {
    fn any_exponential()(
        (start_time_unix_nano, time_unix_nano) in (any_time(), any_time()), scale in -20..30i32, offset in any::<i16>(),
        counts in proptest::collection::vec(0..300u64, 0..4), zero_count in 0..9u64, (sum, min, max) in (any_half(), any_half(), any_half()),
        attributes in any_attributes(), flags in 0..2u32, exemplars in any_exemplars(),
    ) -> ExponentialHistogramDataPoint {
        let offset = i32::from(offset);
        let buckets = Buckets { offset, bucket_counts: counts.clone() };
        ExponentialHistogramDataPoint {
            start_time_unix_nano,
            time_unix_nano,
            attributes,
            flags,
            exemplars,
            min,
            max,
            count: counts.iter().sum::<u64>() * 2 + zero_count,
            sum,
            scale,
            zero_count,
            positive: Some(buckets.clone()),
            negative: (offset > 0).then_some(buckets),
            zero_threshold: 0.25,
        }
    }
}

prop_compose! {
    fn any_summary()(
        (start_time_unix_nano, time_unix_nano) in (any_time(), any_time()), quantiles in proptest::collection::vec((0..5u8, any::<i16>()), 0..3),
        attributes in any_attributes(), count in any::<u64>(), flags in 0..2u32,
    ) -> SummaryDataPoint {
        let quantile_values =
            quantiles.into_iter().map(|(at, value)| ValueAtQuantile { quantile: f64::from(at) / 4.0, value: f64::from(value) }).collect();
        SummaryDataPoint { start_time_unix_nano, time_unix_nano, count, sum: 0.5, quantile_values, attributes, flags }
    }
}

prop_compose! {
    pub(crate) fn any_metrics()(
        points in proptest::collection::vec(any_number(), 0..4), histograms in proptest::collection::vec(any_histogram(), 0..4),
        exponentials in proptest::collection::vec(any_exponential(), 0..3), summaries in proptest::collection::vec(any_summary(), 0..3),
        temporality in 0..3i32, is_monotonic in any::<bool>(), name in "[a-z.#]{1,6}",
    ) -> ExportMetricsServiceRequest {
        let histogram = Data::Histogram(Histogram { data_points: histograms, aggregation_temporality: temporality });
        let exponential =
            Data::ExponentialHistogram(ExponentialHistogram { data_points: exponentials, aggregation_temporality: temporality });
        metrics_of(vec![
            gauge(&name, points.clone()),
            sum(&name, temporality, is_monotonic, points),
            metric(&name, "s", histogram),
            metric(&name, "By", exponential),
            metric(&name, "1", Data::Summary(Summary { data_points: summaries })),
        ])
    }
}
