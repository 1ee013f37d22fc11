//! The metrics part of OTLP's JSON.

use opentelemetry_proto::tonic::metrics::v1 as metrics;
use serde::Deserialize;

use super::scalar::Names;
use super::{DecodeError, Enum, Flag, Float, Hex, Int, KeyValue, List, Resource, Scope, Text, Word, id, parse};
use crate::decode::protobuf::MAX_BUCKETS;
use crate::record::{self, Data, Kind};
use crate::rows::Builder;

/// `ExportMetricsServiceRequest`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct MetricsRequest {
    resource_metrics: List<ResourceMetrics>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ResourceMetrics {
    resource: Option<Resource>,
    scope_metrics: List<ScopeMetrics>,
    schema_url: Text,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ScopeMetrics {
    scope: Option<Scope>,
    metrics: List<Metric>,
    schema_url: Text,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Metric {
    name: Text,
    description: Text,
    unit: Text,
    gauge: Option<Points<Number>>,
    sum: Option<Points<Number>>,
    histogram: Option<Points<Histogram>>,
    exponential_histogram: Option<Points<Exponential>>,
    summary: Option<Points<Summary>>,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Points<T> {
    data_points: List<T>,
    aggregation_temporality: Enum<Temporality>,
    is_monotonic: Flag,
}

impl<T> Default for Points<T> {
    fn default() -> Self {
        Points { data_points: List::default(), aggregation_temporality: Enum::default(), is_monotonic: Flag::default() }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Number {
    attributes: List<KeyValue>,
    start_time_unix_nano: Int<u64>,
    time_unix_nano: Int<u64>,
    flags: Word,
    as_double: Option<Float>,
    as_int: Option<Int>,
    exemplars: List<Exemplar>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Histogram {
    attributes: List<KeyValue>,
    start_time_unix_nano: Int<u64>,
    time_unix_nano: Int<u64>,
    count: Int<u64>,
    sum: Option<Float>,
    bucket_counts: List<Int<u64>>,
    explicit_bounds: List<Float>,
    flags: Word,
    min: Option<Float>,
    max: Option<Float>,
    exemplars: List<Exemplar>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Exponential {
    attributes: List<KeyValue>,
    start_time_unix_nano: Int<u64>,
    time_unix_nano: Int<u64>,
    count: Int<u64>,
    sum: Option<Float>,
    scale: Int<i32>,
    zero_count: Int<u64>,
    positive: Option<Buckets>,
    negative: Option<Buckets>,
    flags: Word,
    min: Option<Float>,
    max: Option<Float>,
    zero_threshold: Float,
    exemplars: List<Exemplar>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Buckets {
    offset: Int<i32>,
    bucket_counts: List<Int<u64>>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Summary {
    attributes: List<KeyValue>,
    start_time_unix_nano: Int<u64>,
    time_unix_nano: Int<u64>,
    count: Int<u64>,
    sum: Float,
    quantile_values: List<Quantile>,
    flags: Word,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Quantile {
    quantile: Float,
    value: Float,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct Exemplar {
    filtered_attributes: List<KeyValue>,
    time_unix_nano: Int<u64>,
    as_double: Option<Float>,
    as_int: Option<Int>,
    span_id: Hex,
    trace_id: Hex,
}

/// Names of `AggregationTemporality`.
struct Temporality;
impl Names for Temporality {
    fn number(name: &str) -> Option<i32> {
        metrics::AggregationTemporality::from_str_name(name).map(i32::from)
    }
}

/// Reads a metrics request into the builder's rows.
pub(crate) fn metrics(body: &[u8], to: &mut Builder<'_, '_>) -> Result<(), DecodeError> {
    for of_resource in parse::<MetricsRequest>(body)?.resource_metrics.0 {
        to.enter_resource(of_resource.resource.unwrap_or_default().record(of_resource.schema_url));
        for of_scope in of_resource.scope_metrics.0 {
            to.enter_scope(of_scope.scope.unwrap_or_default().record(of_scope.schema_url));
            for metric in of_scope.metrics.0 {
                metric.read(to)?;
            }
        }
    }
    Ok(())
}

impl Metric {
    /// Of several kinds of data the first one counts, as a well-formed metric has one.
    fn read(self, to: &mut Builder<'_, '_>) -> Result<(), DecodeError> {
        let mut metric = record::Metric {
            name: self.name.into(),
            description: self.description.into(),
            unit: self.unit.into(),
            ..record::Metric::default()
        };
        if let Some(gauge) = self.gauge {
            return points(metric, Kind::Gauge, gauge, to);
        }
        if let Some(sum) = self.sum {
            metric.monotonic = sum.is_monotonic.0;
            return points(metric, Kind::Sum, sum, to);
        }
        if let Some(histogram) = self.histogram {
            return points(metric, Kind::Histogram, histogram, to);
        }
        if let Some(histogram) = self.exponential_histogram {
            return points(metric, Kind::ExponentialHistogram, histogram, to);
        }
        match self.summary {
            Some(summary) => points(metric, Kind::Summary, summary, to),
            None => Ok(()),
        }
    }
}

fn points<T: Into<record::Point<'static>>>(
    mut metric: record::Metric<'static>,
    kind: Kind,
    data: Points<T>,
    to: &mut Builder<'_, '_>,
) -> Result<(), DecodeError> {
    metric.kind = kind;
    // In protobuf the others have no such field; here it may stand anywhere, with any number.
    if matches!(kind, Kind::Sum | Kind::Histogram | Kind::ExponentialHistogram) {
        metric.temporality = data.aggregation_temporality.0;
    }
    to.enter_metric(metric);
    for point in data.data_points.0 {
        let mut point = point.into();
        let buckets = match &point.data {
            Data::Histogram(histogram) => histogram.counts.len().max(histogram.bounds.len()),
            Data::Exponential(histogram) => histogram.positive.counts.len().max(histogram.negative.counts.len()),
            Data::None | Data::Number(_) | Data::Summary(_) => 0,
        };
        if buckets > MAX_BUCKETS {
            return Err(DecodeError::TooManyBuckets);
        }
        to.point(&mut point)?;
    }
    Ok(())
}

/// A number in either of its forms.
fn number(double: Option<Float>, int: Option<Int>) -> Option<f64> {
    double.map(|value| value.0).or(int.map(|value| value.0 as f64))
}

impl From<Number> for record::Point<'static> {
    fn from(from: Number) -> Self {
        record::Point {
            start: from.start_time_unix_nano.0,
            time: from.time_unix_nano.0,
            flags: from.flags.0,
            attributes: from.attributes.into(),
            data: number(from.as_double, from.as_int).map_or(Data::None, Data::Number),
            exemplars: from.exemplars.into(),
        }
    }
}

impl From<Histogram> for record::Point<'static> {
    fn from(from: Histogram) -> Self {
        let data = record::Histogram {
            count: from.count.0,
            sum: from.sum.map(|sum| sum.0),
            min: from.min.map(|min| min.0),
            max: from.max.map(|max| max.0),
            bounds: from.explicit_bounds.0.into_iter().map(|bound| bound.0).collect(),
            counts: from.bucket_counts.0.into_iter().map(|count| count.0).collect(),
        };
        record::Point {
            start: from.start_time_unix_nano.0,
            time: from.time_unix_nano.0,
            flags: from.flags.0,
            attributes: from.attributes.into(),
            data: Data::Histogram(data),
            exemplars: from.exemplars.into(),
        }
    }
}

impl From<Buckets> for record::Buckets {
    fn from(from: Buckets) -> Self {
        record::Buckets { offset: from.offset.0, counts: from.bucket_counts.0.into_iter().map(|count| count.0 as f64).collect() }
    }
}

impl From<Exponential> for record::Point<'static> {
    fn from(from: Exponential) -> Self {
        let data = record::Exponential {
            count: from.count.0 as f64,
            sum: from.sum.map(|sum| sum.0),
            min: from.min.map(|min| min.0),
            max: from.max.map(|max| max.0),
            scale: from.scale.0,
            zero_count: from.zero_count.0 as f64,
            zero_threshold: from.zero_threshold.0,
            positive: from.positive.unwrap_or_default().into(),
            negative: from.negative.unwrap_or_default().into(),
            custom_bounds: Vec::new(),
        };
        record::Point {
            start: from.start_time_unix_nano.0,
            time: from.time_unix_nano.0,
            flags: from.flags.0,
            attributes: from.attributes.into(),
            data: Data::Exponential(Box::new(data)),
            exemplars: from.exemplars.into(),
        }
    }
}

impl From<Summary> for record::Point<'static> {
    fn from(from: Summary) -> Self {
        let quantiles = from.quantile_values.0.into_iter().map(|at| (at.quantile.0, at.value.0)).collect();
        record::Point {
            start: from.start_time_unix_nano.0,
            time: from.time_unix_nano.0,
            flags: from.flags.0,
            attributes: from.attributes.into(),
            data: Data::Summary(record::Summary { count: from.count.0, sum: from.sum.0, quantiles }),
            exemplars: Vec::new(),
        }
    }
}

impl From<Exemplar> for record::Exemplar<'static> {
    fn from(from: Exemplar) -> Self {
        record::Exemplar {
            time: from.time_unix_nano.0,
            value: number(from.as_double, from.as_int).unwrap_or_default(),
            trace_id: id(from.trace_id),
            span_id: id(from.span_id),
            attributes: from.filtered_attributes.into(),
        }
    }
}
