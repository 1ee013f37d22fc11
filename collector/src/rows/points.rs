//! Metrics: OTLP gauges, sums and histograms in; rows of `points`, `histograms` and `series` out, named as Prometheus names
//! them. Exponential histograms and summaries are rejected and counted. Pure but for the memories of [`Arrival`].

use std::borrow::Cow;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{HistogramDataPoint, Metric, NumberDataPoint};

use super::tally::{Part, Reason, Tally};
use super::text::{Pairs, cut, find, value_text};
use super::{Arrival, Built, ResourceView, Window, scope_names};
use crate::columns::{HistogramColumns, PointColumns};
use crate::naming::{MetricKind, label_name, metric_name};
use crate::series::{Description, LabelSet, SeriesBatch};

/// Prometheus's staleness marker: a NaN that no computation makes.
pub(crate) const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;
/// Bit 0 of a point's flags: no recorded value.
const NO_RECORDED_VALUE: u32 = 1;

const GAUGE: u8 = 0;
const SUM: u8 = 1;
const HISTOGRAM: u8 = 2;

/// The rows of a request.
pub(crate) fn build(request: &ExportMetricsServiceRequest, arrival: Arrival<'_>) -> Built {
    let mut tally = Tally::default();
    let mut rows = Rows {
        arrival,
        window: arrival.window(arrival.limits.retention.metrics),
        series: SeriesBatch::new(arrival.series, arrival.tenant),
        points: PointColumns::default(),
        histograms: HistogramColumns::default(),
        targets: Vec::new(),
    };
    for of_resource in &request.resource_metrics {
        let resource = ResourceView::new(of_resource.resource.as_ref(), arrival.limits, &mut tally);
        let identity = identity(&resource.pairs);
        let mut newest = None;
        for of_scope in &of_resource.scope_metrics {
            let scope = scope_names(of_scope.scope.as_ref(), arrival.limits, &mut tally);
            for metric in &of_scope.metrics {
                let of = Of { resource: &resource, identity: &identity, scope: &scope };
                newest = newest.max(rows.metric(metric, &of, &mut tally));
            }
        }
        if let Some(newest) = newest {
            rows.target_info(&resource, &identity, newest);
        }
    }
    let (series, marks) = rows.series.finish();
    let mut built = Built { tally, series: marks, targets: rows.targets, ..Built::default() };
    built.push(series.into_block());
    built.push(rows.points.into_block());
    built.push(rows.histograms.into_block());
    built
}

/// `job` and `instance` of a resource, as Prometheus makes them; either may be empty.
fn identity(resource: &Pairs<'_>) -> (String, String) {
    let (namespace, name) = (find(resource, "service.namespace"), find(resource, "service.name"));
    let job = match (namespace, name) {
        (_, "") => String::new(),
        ("", name) => name.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    (job, find(resource, "service.instance.id").to_owned())
}

/// Where a metric came from.
struct Of<'a> {
    resource: &'a ResourceView<'a>,
    identity: &'a (String, String),
    scope: &'a (String, String),
}

struct Rows<'a> {
    arrival: Arrival<'a>,
    window: Window,
    series: SeriesBatch<'a>,
    points: PointColumns,
    histograms: HistogramColumns,
    targets: Vec<((u64, u64), i64)>,
}

impl Rows<'_> {
    /// Adds the points of a metric; the newest time among those kept, in milliseconds.
    fn metric(&mut self, metric: &Metric, of: &Of<'_>, tally: &mut Tally) -> Option<i64> {
        let data = metric.data.as_ref()?;
        let (kind, temporality, monotonic, naming) = match data {
            Data::Gauge(_) => (GAUGE, 0, false, MetricKind::Gauge),
            Data::Sum(sum) if sum.is_monotonic => (SUM, sum.aggregation_temporality, true, MetricKind::Counter),
            Data::Sum(sum) => (SUM, sum.aggregation_temporality, false, MetricKind::Other),
            Data::Histogram(histogram) => (HISTOGRAM, histogram.aggregation_temporality, false, MetricKind::Other),
            Data::ExponentialHistogram(histogram) => {
                return reject_all(tally, histogram.data_points.len(), Reason::UnsupportedType);
            }
            Data::Summary(summary) => return reject_all(tally, summary.data_points.len(), Reason::UnsupportedType),
        };
        let count = match data {
            Data::Gauge(gauge) => gauge.data_points.len(),
            Data::Sum(sum) => sum.data_points.len(),
            Data::Histogram(histogram) => histogram.data_points.len(),
            Data::ExponentialHistogram(_) | Data::Summary(_) => 0,
        };
        if kind != GAUGE && !matches!(temporality, 1 | 2) {
            return reject_all(tally, count, Reason::NoTemporality);
        }
        let Some(name) = metric_name(&metric.name, &metric.unit, naming).filter(|name| name.len() <= self.arrival.limits.name) else {
            return reject_all(tally, count, Reason::BadMetricName);
        };
        let about = Description {
            metric: &name,
            kind,
            temporality: temporality as u8,
            monotonic,
            otel_name: &cut(metric.name.as_str(), self.arrival.limits.name, Part::Name, tally),
            unit: &cut(metric.unit.as_str(), self.arrival.limits.name, Part::Name, tally),
            text: &cut(metric.description.as_str(), self.arrival.limits.value, Part::Value, tally),
            resource: &of.resource.pairs,
            scope_name: &of.scope.0,
            scope_version: &of.scope.1,
        };
        tally.records += count as u64;
        let mut newest = None;
        let mut keep = |result: Result<i64, Reason>| match result {
            Ok(at) => newest = newest.max(Some(at)),
            Err(reason) => tally.reject(reason, 1),
        };
        match data {
            Data::Gauge(gauge) => gauge.data_points.iter().for_each(|point| keep(self.number(point, of, &about))),
            Data::Sum(sum) => sum.data_points.iter().for_each(|point| keep(self.number(point, of, &about))),
            Data::Histogram(histogram) => histogram.data_points.iter().for_each(|point| keep(self.histogram(point, of, &about))),
            Data::ExponentialHistogram(_) | Data::Summary(_) => {}
        }
        newest
    }

    /// The labels of a point.
    fn labels<'p>(&self, attributes: &'p [KeyValue], of: &'p Of<'_>, metric: &'p str) -> Result<LabelSet<'p>, Reason> {
        let limits = self.arrival.limits;
        let mut labels = attribute_labels(attributes)?;
        if labels.iter().any(|(name, value)| name.len() > limits.label_name || value.len() > limits.label_value) {
            return Err(Reason::LabelTooLong);
        }
        // `job` and `instance` of the resource win over attributes of the same name, where the resource has them.
        for (name, value) in [("job", &of.identity.0), ("instance", &of.identity.1)] {
            if !value.is_empty() {
                labels.push((Cow::Borrowed(name), Cow::Borrowed(value)));
            }
        }
        let set = LabelSet::new(metric, labels);
        if set.len() > limits.labels { Err(Reason::TooManyLabels) } else { Ok(set) }
    }

    fn number(&mut self, point: &NumberDataPoint, of: &Of<'_>, about: &Description<'_>) -> Result<i64, Reason> {
        let ts = self.window.check(point.time_unix_nano)?.div_euclid(1_000_000);
        let stale = point.flags & NO_RECORDED_VALUE != 0;
        let value = match (stale, point.value) {
            (true, _) => f64::from_bits(STALE_NAN),
            (false, Some(Value::AsDouble(value))) if value.is_nan() => f64::NAN,
            (false, Some(Value::AsDouble(value))) => value,
            (false, Some(Value::AsInt(value))) => value as f64,
            (false, None) => return Err(Reason::NoValue),
        };
        let labels = self.labels(&point.attributes, of, about.metric)?;
        self.series.note(&labels, about, ts);
        self.push_point(about.metric, labels.fingerprint(), ts, millis(point.start_time_unix_nano), value, point.flags);
        Ok(ts)
    }

    fn push_point(&mut self, metric: &str, fingerprint: u64, ts: i64, start_ts: i64, value: f64, flags: u32) {
        let to = &mut self.points;
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.metric.push(metric.as_bytes());
        to.fingerprint.push(fingerprint);
        to.ts.push(ts);
        to.start_ts.push(start_ts);
        to.value.push(value);
        to.flags.push(flags);
        to.retention_days.push(self.arrival.limits.retention.metrics);
    }

    fn histogram(&mut self, point: &HistogramDataPoint, of: &Of<'_>, about: &Description<'_>) -> Result<i64, Reason> {
        let ts = self.window.check(point.time_unix_nano)?.div_euclid(1_000_000);
        let stale = point.flags & NO_RECORDED_VALUE != 0;
        let (bounds, counts) = if stale { (Vec::new(), vec![0]) } else { buckets(point)? };
        let labels = self.labels(&point.attributes, of, about.metric)?;
        self.series.note(&labels, about, ts);
        let to = &mut self.histograms;
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.metric.push(about.metric.as_bytes());
        to.fingerprint.push(labels.fingerprint());
        to.ts.push(ts);
        to.start_ts.push(millis(point.start_time_unix_nano));
        to.count.push(if stale { 0 } else { point.count });
        to.sum.push(if stale { f64::from_bits(STALE_NAN) } else { point.sum.unwrap_or(f64::NAN) });
        to.min.push(point.min.unwrap_or(f64::NAN));
        to.max.push(point.max.unwrap_or(f64::NAN));
        to.bounds.end_row(bounds.len());
        to.bounds.items.extend(bounds);
        to.counts.end_row(counts.len());
        to.counts.items.extend(counts);
        to.flags.push(point.flags);
        to.retention_days.push(self.arrival.limits.retention.metrics);
        Ok(ts)
    }

    /// `target_info` of a resource that has an identity and attributes beside it, at most once a minute.
    fn target_info(&mut self, resource: &ResourceView<'_>, identity: &(String, String), at: i64) {
        let identifying = ["service.name", "service.namespace", "service.instance.id"];
        let limits = self.arrival.limits;
        let others = resource.pairs.iter().filter(|(key, _)| !identifying.contains(&key.as_ref()));
        let mut labels: Vec<(Cow<'_, str>, Cow<'_, str>)> = others
            .filter_map(|(key, value)| label_name(key).map(|name| (name, Cow::Borrowed(value.as_ref()))))
            .filter(|(name, value)| name.len() <= limits.label_name && value.len() <= limits.label_value)
            .take(limits.labels)
            .collect();
        if labels.is_empty() || (identity.0.is_empty() && identity.1.is_empty()) {
            return;
        }
        labels.push((Cow::Borrowed("job"), Cow::Borrowed(&identity.0)));
        labels.push((Cow::Borrowed("instance"), Cow::Borrowed(&identity.1)));
        let labels = LabelSet::new("target_info", labels);
        let Some(mark) = self.arrival.targets.due(self.arrival.tenant, labels.fingerprint(), at) else {
            return;
        };
        if self.targets.iter().any(|(key, _)| *key == mark.0) {
            return;
        }
        self.targets.push(mark);
        let about = Description {
            metric: "target_info",
            kind: GAUGE,
            temporality: 0,
            monotonic: false,
            otel_name: "target.info",
            unit: "",
            text: "Attributes of the resource that sent the metrics of the same job and instance.",
            resource: &resource.pairs,
            scope_name: "",
            scope_version: "",
        };
        self.series.note(&labels, &about, at);
        self.push_point("target_info", labels.fingerprint(), at, 0, 1.0, 0);
    }
}

fn reject_all(tally: &mut Tally, points: usize, reason: Reason) -> Option<i64> {
    tally.records += points as u64;
    tally.reject(reason, points as u64);
    None
}

/// Milliseconds, rounded down; 0 stays unknown.
fn millis(unix_nano: u64) -> i64 {
    super::nanos(unix_nano).div_euclid(1_000_000)
}

/// Attributes as labels, in Prometheus's way: sorted by key, values of keys that become the same label joined with `;`.
fn attribute_labels(attributes: &[KeyValue]) -> Result<Pairs<'_>, Reason> {
    let mut sorted: Vec<&KeyValue> = attributes.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    sorted.dedup_by(|later, first| later.key == first.key);
    let mut labels: Pairs<'_> = Vec::with_capacity(sorted.len() + 3);
    for attribute in sorted {
        let name = label_name(&attribute.key).ok_or(Reason::BadLabelName)?;
        let value = value_text(attribute.value.as_ref());
        match labels.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = Cow::Owned(format!("{known};{value}")),
            None => labels.push((name, value)),
        }
    }
    Ok(labels)
}

/// Bounds and counts that fit: one count more than bounds, bounds rising; a last bound of infinity is folded away.
fn buckets(point: &HistogramDataPoint) -> Result<(Vec<f64>, Vec<u64>), Reason> {
    let (mut bounds, mut counts) = (point.explicit_bounds.clone(), point.bucket_counts.clone());
    if bounds.is_empty() && counts.is_empty() {
        return Ok((bounds, vec![point.count]));
    }
    if counts.len() != bounds.len() + 1 || bounds.iter().any(|bound| bound.is_nan()) || !bounds.is_sorted_by(|a, b| a < b) {
        return Err(Reason::BadBuckets);
    }
    if bounds.last() == Some(&f64::INFINITY) {
        bounds.pop();
        let last = counts.pop().unwrap_or(0);
        if let Some(before) = counts.last_mut() {
            *before = before.saturating_add(last);
        }
    }
    Ok((bounds, counts))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_must_fit_rising_bounds() {
        let point = |bounds: &[f64], counts: &[u64]| {
            buckets(&HistogramDataPoint { count: 9, explicit_bounds: bounds.into(), bucket_counts: counts.into(), ..Default::default() })
        };
        assert_eq!(point(&[], &[]), Ok((vec![], vec![9])));
        assert_eq!(point(&[], &[9]), Ok((vec![], vec![9])));
        assert_eq!(point(&[1.0, 2.0], &[1, 2, 3]), Ok((vec![1.0, 2.0], vec![1, 2, 3])));
        assert_eq!(point(&[1.0, f64::INFINITY], &[1, 2, 3]), Ok((vec![1.0], vec![1, 5])));
        for (bounds, counts) in
            [(&[1.0][..], &[][..]), (&[1.0], &[1]), (&[2.0, 1.0], &[1, 2, 3]), (&[1.0, 1.0], &[1, 2, 3]), (&[f64::NAN], &[1, 2])]
        {
            assert_eq!(point(bounds, counts), Err(Reason::BadBuckets), "{bounds:?} {counts:?}");
        }
    }
}
