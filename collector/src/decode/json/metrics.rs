//! The metrics part of OTLP's JSON. Of exponential histograms and summaries only the points are counted: they are rejected.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1 as metrics;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::scalar::Names;
use super::{Enum, Flag, Float, Int, KeyValue, List, Resource, Scope, Text, Word};

/// `ExportMetricsServiceRequest`.
#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct MetricsRequest {
    resource_metrics: List<ResourceMetrics>,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
struct ResourceMetrics {
    resource: Option<Resource>,
    scope_metrics: List<ScopeMetrics>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct ScopeMetrics {
    scope: Option<Scope>,
    metrics: List<Metric>,
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
    exponential_histogram: Option<Points<IgnoredAny>>,
    summary: Option<Points<IgnoredAny>>,
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
}

/// Names of `AggregationTemporality`.
struct Temporality;
impl Names for Temporality {
    fn number(name: &str) -> Option<i32> {
        metrics::AggregationTemporality::from_str_name(name).map(i32::from)
    }
}

impl From<MetricsRequest> for ExportMetricsServiceRequest {
    fn from(from: MetricsRequest) -> Self {
        ExportMetricsServiceRequest { resource_metrics: from.resource_metrics.into() }
    }
}

impl From<ResourceMetrics> for metrics::ResourceMetrics {
    fn from(from: ResourceMetrics) -> Self {
        metrics::ResourceMetrics { resource: from.resource.map(Into::into), scope_metrics: from.scope_metrics.into(), ..Default::default() }
    }
}

impl From<ScopeMetrics> for metrics::ScopeMetrics {
    fn from(from: ScopeMetrics) -> Self {
        metrics::ScopeMetrics { scope: from.scope.map(Into::into), metrics: from.metrics.into(), ..Default::default() }
    }
}

impl From<Metric> for metrics::Metric {
    fn from(from: Metric) -> Self {
        let gauge = from.gauge.map(|gauge| Data::Gauge(metrics::Gauge { data_points: gauge.data_points.into() }));
        let sum = from.sum.map(|sum| {
            Data::Sum(metrics::Sum {
                data_points: sum.data_points.into(),
                aggregation_temporality: sum.aggregation_temporality.0,
                is_monotonic: sum.is_monotonic.0,
            })
        });
        let histogram = from.histogram.map(|histogram| {
            Data::Histogram(metrics::Histogram {
                data_points: histogram.data_points.into(),
                aggregation_temporality: histogram.aggregation_temporality.0,
            })
        });
        let exponential = from.exponential_histogram.map(|histogram| {
            Data::ExponentialHistogram(metrics::ExponentialHistogram {
                data_points: vec![Default::default(); histogram.data_points.0.len()],
                aggregation_temporality: histogram.aggregation_temporality.0,
            })
        });
        let summary = from
            .summary
            .map(|summary| Data::Summary(metrics::Summary { data_points: vec![Default::default(); summary.data_points.0.len()] }));
        metrics::Metric {
            name: from.name.0,
            description: from.description.0,
            unit: from.unit.0,
            data: gauge.or(sum).or(histogram).or(exponential).or(summary),
            ..Default::default()
        }
    }
}

impl From<Number> for metrics::NumberDataPoint {
    fn from(from: Number) -> Self {
        metrics::NumberDataPoint {
            attributes: from.attributes.into(),
            start_time_unix_nano: from.start_time_unix_nano.0,
            time_unix_nano: from.time_unix_nano.0,
            flags: from.flags.0,
            value: from.as_double.map(|value| Value::AsDouble(value.0)).or(from.as_int.map(|value| Value::AsInt(value.0))),
            ..Default::default()
        }
    }
}

impl From<Histogram> for metrics::HistogramDataPoint {
    fn from(from: Histogram) -> Self {
        metrics::HistogramDataPoint {
            attributes: from.attributes.into(),
            start_time_unix_nano: from.start_time_unix_nano.0,
            time_unix_nano: from.time_unix_nano.0,
            count: from.count.0,
            sum: from.sum.map(|sum| sum.0),
            bucket_counts: from.bucket_counts.0.into_iter().map(|count| count.0).collect(),
            explicit_bounds: from.explicit_bounds.0.into_iter().map(|bound| bound.0).collect(),
            flags: from.flags.0,
            min: from.min.map(|min| min.0),
            max: from.max.map(|max| max.0),
            ..Default::default()
        }
    }
}
