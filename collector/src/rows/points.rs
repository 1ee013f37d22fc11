//! Metrics: rows of `points`, `histograms`, `exp_histograms`, `summaries`, `exemplars` and `series`, named as Prometheus names
//! them.

use std::borrow::Cow;

use super::attributes::{cut, find, push_row, tidy};
use super::tally::{Part, Reason};
use super::{Arrival, Builder, ResourceView, ScopeView, nanos};
use crate::admission::Full;
use crate::naming::{MetricKind, label_name, metric_name};
use crate::pipeline::cardinality::{OVERFLOW_LABEL, Verdict};
use crate::pipeline::rates::Flow;
use crate::record::{Attribute, Attributes, Data, Exponential, Histogram, Kind, Metric, Point, Summary, Value};
use crate::rows::attributes::Pairs;
use crate::series::{Description, LabelSet, SeriesBatch, SeriesKey, SeriesKind};

/// Prometheus's staleness marker: a NaN that no computation makes.
pub(crate) const STALE_NAN: u64 = 0x7ff0_0000_0000_0002;
/// Bit 0 of a point's flags: no recorded value.
const NO_RECORDED_VALUE: u32 = 1;

/// The metric whose points come, as rows need it.
pub(crate) struct MetricView<'a> {
    metric: Metric<'a>,
    /// The Prometheus name, or why no point of it can be kept.
    name: Result<String, Reason>,
    /// What its series have in common, hashed.
    seed: [u8; 16],
    /// Whether the last row of `points` is of this metric.
    in_points: bool,
}

/// How the points of a series add up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Growth {
    /// Not at all: gauges.
    None,
    /// Each is what came since the one before.
    Delta,
    /// Each is all that came.
    Cumulative,
}

/// Where a point of a metric goes that has too many series; `overflowed` are the overflow series that have their one point of this
/// request.
pub(super) fn overflow(series: &mut SeriesBatch<'_>, overflowed: &mut Vec<u64>, about: &Description<'_>, growth: Growth, at: i64) -> Place {
    let set = LabelSet::new(about.metric, [(Cow::Borrowed(OVERFLOW_LABEL), Cow::Borrowed("true"))]);
    let fingerprint = series.note(&set, about, at);
    if growth == Growth::Delta {
        return Place::Own(fingerprint);
    }
    let first = !overflowed.contains(&fingerprint);
    if first {
        overflowed.push(fingerprint);
    }
    match (growth, first) {
        (Growth::None, true) => Place::Own(fingerprint),
        (Growth::None, false) => Place::Nowhere,
        (Growth::Cumulative | Growth::Delta, first) => Place::Zero(first.then_some(fingerprint)),
    }
}

/// OTLP's number of the delta temporality.
const DELTA: i32 = 1;

impl MetricView<'_> {
    /// Its type.
    pub(crate) fn kind(&self) -> Kind {
        self.metric.kind
    }

    /// What its series are, beside their labels; `name` is its Prometheus name.
    fn about<'v>(&'v self, name: &'v str, resource: &'v ResourceView<'_>, scope: &'v ScopeView<'_>) -> Description<'v> {
        let metric = &self.metric;
        Description {
            metric: name,
            kind: match metric.kind {
                Kind::Gauge => SeriesKind::Gauge,
                Kind::Sum => SeriesKind::Sum,
                Kind::Histogram => SeriesKind::Histogram,
                Kind::ExponentialHistogram => SeriesKind::ExponentialHistogram,
                Kind::Summary => SeriesKind::Summary,
            },
            temporality: u8::try_from(metric.temporality).unwrap_or(0),
            monotonic: metric.monotonic,
            otel_name: &metric.name,
            unit: &metric.unit,
            text: &metric.description,
            resource: &resource.attributes.list,
            scope_name: &scope.name,
            scope_version: &scope.version,
            resource_dropped: resource.dropped,
            scope_dropped: scope.dropped,
        }
    }
}

/// Where a point goes.
pub(super) enum Place {
    /// Into this series.
    Own(u64),
    /// A zero into this series, where it has none of this request yet; the point itself is rejected.
    Zero(Option<u64>),
    /// Nowhere: what is to be kept of it is kept.
    Nowhere,
}

impl Default for MetricView<'_> {
    fn default() -> Self {
        MetricView { metric: Metric::default(), name: Err(Reason::BadMetricName), seed: [0; 16], in_points: false }
    }
}

/// `job` and `instance` of a resource, as Prometheus makes them; either may be empty.
pub(super) fn identity(resource: &[Attribute<'_>]) -> (String, String) {
    let (namespace, name) = (find(resource, "service.namespace"), find(resource, "service.name"));
    let job = match (namespace.as_ref(), name.as_ref()) {
        (_, "") => String::new(),
        ("", name) => name.to_owned(),
        (namespace, name) => format!("{namespace}/{name}"),
    };
    (job, find(resource, "service.instance.id").into_owned())
}

impl<'a> Builder<'a, '_> {
    /// The points that follow are of this metric.
    pub(crate) fn enter_metric(&mut self, mut metric: Metric<'a>) {
        if let Some(stage) = &mut self.stage {
            stage.metric(&mut metric);
        }
        let limits = self.arrival.limits;
        let naming = match (metric.kind, metric.monotonic) {
            (Kind::Gauge, _) => MetricKind::Gauge,
            (Kind::Sum, true) => MetricKind::Counter,
            (Kind::Sum | Kind::Histogram | Kind::ExponentialHistogram | Kind::Summary, _) => MetricKind::Other,
        };
        let has_temporality = match metric.kind {
            Kind::Gauge | Kind::Summary => true,
            Kind::Sum | Kind::Histogram | Kind::ExponentialHistogram => matches!(metric.temporality, 1 | 2),
        };
        let name = match metric_name(&metric.name, &metric.unit, naming).filter(|name| name.len() <= limits.name) {
            _ if !has_temporality => Err(Reason::NoTemporality),
            None => Err(Reason::BadMetricName),
            Some(name) => Ok(name),
        };
        metric.name = cut(metric.name, limits.name, Part::Name, &mut self.tally);
        metric.unit = cut(metric.unit, limits.name, Part::Name, &mut self.tally);
        metric.description = cut(metric.description, limits.value, Part::Value, &mut self.tally);
        let seed = seed(&mut self.scratch, self.arrival, &metric, &self.resource);
        self.metric = MetricView { metric, name, seed, in_points: false };
    }

    /// Adds a point of the metric that was entered.
    pub(crate) fn point(&mut self, point: &mut Point<'a>) -> Result<(), Full> {
        self.count()?;
        self.load.add(Flow::Metrics);
        if let Some(stage) = &mut self.stage
            && !stage.point(&self.metric.metric.name, point)
        {
            return Ok(());
        }
        match self.point_row(point) {
            Ok(at) => self.resource.newest = self.resource.newest.max(Some(at)),
            Err(reason) => {
                self.tally.reject(reason, 1);
                if let Some(stage) = &mut self.stage {
                    stage.rejected("metric point", String::new, reason.label());
                }
            }
        }
        Ok(())
    }

    /// The time of a point that was kept, in milliseconds.
    fn point_row(&mut self, point: &mut Point<'a>) -> Result<i64, Reason> {
        if let Err(reason) = &self.metric.name {
            return Err(*reason);
        }
        let at = self.windows.metrics.check(point.time)?.div_euclid(1_000_000);
        let stale = point.flags & NO_RECORDED_VALUE != 0;
        match (self.metric.metric.kind, &mut point.data) {
            (Kind::Gauge | Kind::Sum, data) => {
                let value = match data {
                    _ if stale => f64::from_bits(STALE_NAN),
                    Data::Number(value) if value.is_nan() => f64::NAN,
                    Data::Number(value) => *value,
                    Data::None | Data::Histogram(_) | Data::Exponential(_) | Data::Summary(_) => return Err(Reason::NoValue),
                };
                match self.place(&point.attributes, at, stale)? {
                    Place::Own(fingerprint) => self.push_number(fingerprint, at, point, value),
                    Place::Zero(zero) => {
                        zero.into_iter().for_each(|fingerprint| self.push_number(fingerprint, at, point, 0.0));
                        return Err(Reason::TooManySeries);
                    }
                    Place::Nowhere => {}
                }
            }
            (Kind::Histogram, Data::Histogram(histogram)) => {
                if !stale {
                    check_buckets(histogram)?;
                }
                let histogram = std::mem::take(histogram);
                match self.place(&point.attributes, at, stale)? {
                    Place::Own(fingerprint) => self.push_histogram(fingerprint, at, point, histogram, stale),
                    Place::Zero(zero) => {
                        zero.into_iter().for_each(|fingerprint| self.push_histogram(fingerprint, at, point, Histogram::default(), false));
                        return Err(Reason::TooManySeries);
                    }
                    Place::Nowhere => {}
                }
            }
            (Kind::ExponentialHistogram, Data::Exponential(exponential)) => {
                let exponential = std::mem::take(exponential);
                match self.place(&point.attributes, at, stale)? {
                    Place::Own(fingerprint) => self.push_exponential(fingerprint, at, point, &exponential, stale),
                    Place::Zero(zero) => {
                        zero.into_iter()
                            .for_each(|fingerprint| self.push_exponential(fingerprint, at, point, &Exponential::default(), false));
                        return Err(Reason::TooManySeries);
                    }
                    Place::Nowhere => {}
                }
            }
            (Kind::Summary, Data::Summary(summary)) => {
                let summary = std::mem::take(summary);
                match self.place(&point.attributes, at, stale)? {
                    Place::Own(fingerprint) => self.push_summary(fingerprint, at, point, &summary, stale),
                    Place::Zero(zero) => {
                        zero.into_iter().for_each(|fingerprint| self.push_summary(fingerprint, at, point, &Summary::default(), false));
                        return Err(Reason::TooManySeries);
                    }
                    Place::Nowhere => {}
                }
            }
            (Kind::Histogram | Kind::ExponentialHistogram | Kind::Summary, _) => return Err(Reason::NoValue),
        }
        self.push_exemplars(point);
        Ok(at)
    }

    /// The series of these attributes; describes it where the store does not know it yet. A series that is known costs one hash
    /// of its attributes as they were sent.
    fn place(&mut self, attributes: &Attributes<'a>, at: i64, stale: bool) -> Result<Place, Reason> {
        if attributes.cut > 0 {
            return Err(Reason::TooManyLabels);
        }
        let key = key(&mut self.scratch, &self.metric.seed, &attributes.list);
        if let Some(fingerprint) = self.series.find(key, at) {
            return Ok(Place::Own(fingerprint));
        }
        let clean = self.stage.as_mut().and_then(|stage| stage.labels(&attributes.list));
        let list = clean.as_deref().unwrap_or(&attributes.list);
        let (Ok(name), limits) = (&self.metric.name, self.arrival.limits) else {
            return Err(Reason::BadMetricName);
        };
        let mut labels = attribute_labels(list)?;
        if labels.iter().any(|(name, value)| name.len() > limits.label_name || value.len() > limits.label_value) {
            return Err(Reason::LabelTooLong);
        }
        // `job` and `instance` of the resource win over attributes of the same name, where the resource has them.
        for (name, value) in [("job", &self.resource.identity.0), ("instance", &self.resource.identity.1)] {
            if !value.is_empty() {
                labels.push((Cow::Borrowed(name), Cow::Borrowed(value)));
            }
        }
        let set = LabelSet::new(name, labels);
        if set.len() > limits.labels {
            return Err(Reason::TooManyLabels);
        }
        let arrival = self.arrival;
        let limit = &arrival.pipeline.cardinality;
        match arrival.active.admit(limit, arrival.tenant, name, set.fingerprint(), arrival.at) {
            Verdict::Admitted => {}
            Verdict::Overflow => return Ok(self.overflow(at, stale)),
            Verdict::Refused => return Err(Reason::TooManySeries),
        }
        let about = self.metric.about(name, &self.resource, &self.scope);
        Ok(Place::Own(self.series.describe(key, &set, &about, at)))
    }

    /// The overflow series of the metric. Delta points add up there; of gauges one a request is shown; of cumulative points no value
    /// would be right, so a zero is all that is kept of them.
    fn overflow(&mut self, at: i64, stale: bool) -> Place {
        self.overflowed_points += 1;
        if let Some(stage) = &mut self.stage {
            stage.overflowed();
        }
        let Ok(name) = &self.metric.name else { return Place::Nowhere };
        if stale {
            return Place::Nowhere;
        }
        let about = Description {
            resource: &[],
            scope_name: "",
            scope_version: "",
            resource_dropped: 0,
            scope_dropped: 0,
            ..self.metric.about(name, &self.resource, &self.scope)
        };
        let growth = match self.metric.metric.kind {
            Kind::Gauge => Growth::None,
            Kind::Sum | Kind::Histogram | Kind::ExponentialHistogram if self.metric.metric.temporality == DELTA => Growth::Delta,
            Kind::Sum | Kind::Histogram | Kind::ExponentialHistogram | Kind::Summary => Growth::Cumulative,
        };
        overflow(&mut self.series, &mut self.overflowed, &about, growth, at)
    }

    fn push_number(&mut self, fingerprint: u64, at: i64, point: &Point<'_>, value: f64) {
        let (to, Ok(name)) = (&mut self.points, &self.metric.name) else { return };
        if self.metric.in_points {
            to.tenant.repeat();
            to.metric.repeat();
        } else {
            to.tenant.push(self.arrival.tenant.as_str().as_bytes());
            to.metric.push(name.as_bytes());
            self.metric.in_points = true;
        }
        to.fingerprint.push(fingerprint);
        to.ts.push(at);
        to.start_ts.push(millis(point.start));
        to.value.push(value);
        to.flags.push(point.flags);
        to.retention_days.push(self.arrival.limits.retention.metrics);
    }

    fn push_histogram(&mut self, fingerprint: u64, at: i64, point: &Point<'_>, histogram: Histogram, stale: bool) {
        let (to, Ok(name)) = (&mut self.histograms, &self.metric.name) else { return };
        let (bounds, counts) = if stale { (Vec::new(), vec![0]) } else { buckets(histogram.bounds, histogram.counts, histogram.count) };
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.metric.push(name.as_bytes());
        to.fingerprint.push(fingerprint);
        to.ts.push(at);
        to.start_ts.push(millis(point.start));
        to.count.push(if stale { 0 } else { histogram.count });
        to.sum.push(if stale { f64::from_bits(STALE_NAN) } else { histogram.sum.unwrap_or(f64::NAN) });
        to.min.push(histogram.min.unwrap_or(f64::NAN));
        to.max.push(histogram.max.unwrap_or(f64::NAN));
        to.bounds.end_row(bounds.len());
        to.bounds.items.extend(bounds);
        to.counts.end_row(counts.len());
        to.counts.items.extend(counts);
        to.flags.push(point.flags);
        to.retention_days.push(self.arrival.limits.retention.metrics);
    }

    fn push_exponential(&mut self, fingerprint: u64, at: i64, point: &Point<'_>, histogram: &Exponential, stale: bool) {
        let (to, Ok(name)) = (&mut self.exponentials, &self.metric.name) else { return };
        let none = Exponential::default();
        let histogram = if stale { &none } else { histogram };
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.metric.push(name.as_bytes());
        to.fingerprint.push(fingerprint);
        to.ts.push(at);
        to.start_ts.push(millis(point.start));
        to.count.push(histogram.count);
        to.sum.push(if stale { f64::from_bits(STALE_NAN) } else { histogram.sum.unwrap_or(f64::NAN) });
        to.min.push(histogram.min.unwrap_or(f64::NAN));
        to.max.push(histogram.max.unwrap_or(f64::NAN));
        to.scale.push(histogram.scale);
        to.zero_count.push(histogram.zero_count);
        to.zero_threshold.push(histogram.zero_threshold);
        to.positive_offset.push(histogram.positive.offset);
        to.positive_counts.items.extend_from_slice(&histogram.positive.counts);
        to.positive_counts.end_row(histogram.positive.counts.len());
        to.negative_offset.push(histogram.negative.offset);
        to.negative_counts.items.extend_from_slice(&histogram.negative.counts);
        to.negative_counts.end_row(histogram.negative.counts.len());
        to.flags.push(point.flags);
        to.retention_days.push(self.arrival.limits.retention.metrics);
        // OTLP's are explicit histograms.
        to.custom_bounds.end_row(0);
    }

    fn push_summary(&mut self, fingerprint: u64, at: i64, point: &Point<'_>, summary: &Summary, stale: bool) {
        let (to, Ok(name)) = (&mut self.summaries, &self.metric.name) else { return };
        let quantiles = if stale { &[][..] } else { &summary.quantiles };
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.metric.push(name.as_bytes());
        to.fingerprint.push(fingerprint);
        to.ts.push(at);
        to.start_ts.push(millis(point.start));
        to.count.push(if stale { 0 } else { summary.count });
        to.sum.push(if stale { f64::from_bits(STALE_NAN) } else { summary.sum });
        to.quantiles.items.extend(quantiles.iter().map(|(quantile, _)| *quantile));
        to.quantiles.end_row(quantiles.len());
        to.values.items.extend(quantiles.iter().map(|(_, value)| *value));
        to.values.end_row(quantiles.len());
        to.flags.push(point.flags);
        to.retention_days.push(self.arrival.limits.retention.metrics);
    }

    /// Exemplars of a point that was kept; those of another time than rows may have are left out.
    fn push_exemplars(&mut self, point: &mut Point<'a>) {
        if point.exemplars.is_empty() {
            return;
        }
        let Ok(name) = &self.metric.name else { return };
        let key = key(&mut self.scratch, &self.metric.seed, &point.attributes.list);
        let Some(fingerprint) = self.series.find(key, millis(point.time)) else { return };
        let (to, limits) = (&mut self.exemplars, self.arrival.limits);
        for exemplar in &mut point.exemplars {
            let time = if exemplar.time == 0 { point.time } else { exemplar.time };
            let Ok(at) = self.windows.metrics.check(time) else {
                self.tally.cut(Part::Exemplar, 1);
                continue;
            };
            tidy(&mut exemplar.attributes, limits, &mut self.tally);
            to.tenant.push(self.arrival.tenant.as_str().as_bytes());
            to.metric.push(name.as_bytes());
            to.fingerprint.push(fingerprint);
            to.ts.push(at.div_euclid(1_000_000));
            to.value.push(exemplar.value);
            to.trace_id.push(&exemplar.trace_id);
            to.span_id.push(&exemplar.span_id);
            push_row(&mut to.attributes, &exemplar.attributes.list);
            to.retention_days.push(limits.retention.metrics);
        }
    }

    /// Ends a resource: `target_info`, where metric points of it were kept, it has an identity and attributes beside it, at most
    /// once a minute.
    pub(super) fn leave_resource(&mut self) {
        let Some(at) = self.resource.newest.take() else { return };
        let identifying = ["service.name", "service.namespace", "service.instance.id"];
        let (limits, resource) = (self.arrival.limits, &self.resource);
        let others = resource.attributes.list.iter().filter(|attribute| !identifying.contains(&attribute.key.as_ref()));
        let mut labels: Pairs<'_> = others
            .filter_map(|attribute| label_name(&attribute.key).map(|name| (name, attribute.value.text())))
            .filter(|(name, value)| name.len() <= limits.label_name && value.len() <= limits.label_value)
            .take(limits.labels)
            .collect();
        let identity = &resource.identity;
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
        let arrival = self.arrival;
        let limit = &arrival.pipeline.cardinality;
        if arrival.active.admit(limit, arrival.tenant, "target_info", labels.fingerprint(), arrival.at) != Verdict::Admitted {
            self.overflowed_points += 1;
            return;
        }
        self.targets.push(mark);
        let about = Description {
            metric: "target_info",
            otel_name: "target.info",
            text: "Attributes of the resource that sent the metrics of the same job and instance.",
            resource: &resource.attributes.list,
            resource_dropped: resource.dropped,
            ..Description::default()
        };
        let fingerprint = self.series.note(&labels, &about, at);
        let to = &mut self.points;
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.metric.push(b"target_info");
        to.fingerprint.push(fingerprint);
        to.ts.push(at);
        to.start_ts.push(0);
        to.value.push(1.0);
        to.flags.push(0);
        to.retention_days.push(limits.retention.metrics);
    }
}

/// Milliseconds, rounded down; 0 stays unknown.
fn millis(unix_nano: u64) -> i64 {
    nanos(unix_nano).div_euclid(1_000_000)
}

fn put(scratch: &mut Vec<u8>, text: &[u8]) {
    scratch.extend_from_slice(&(text.len() as u32).to_le_bytes());
    scratch.extend_from_slice(text);
}

/// What all series of a metric of a resource have in common.
fn seed(scratch: &mut Vec<u8>, arrival: Arrival<'_>, metric: &Metric<'_>, resource: &ResourceView<'_>) -> [u8; 16] {
    scratch.clear();
    for text in [arrival.tenant.as_str(), &metric.name, &metric.unit, &resource.identity.0, &resource.identity.1] {
        put(scratch, text.as_bytes());
    }
    scratch.extend_from_slice(&[metric.kind as u8, metric.temporality as u8, u8::from(metric.monotonic)]);
    // Another pipeline may give the same attributes another name.
    scratch.extend_from_slice(&arrival.pipeline.generation.to_le_bytes());
    xxhash_rust::xxh3::xxh3_128(scratch).to_le_bytes()
}

/// The identity of a series in this process: of the metric and the attributes in the order in which they were sent.
fn key(scratch: &mut Vec<u8>, seed: &[u8; 16], attributes: &[Attribute<'_>]) -> SeriesKey {
    scratch.clear();
    scratch.extend_from_slice(seed);
    for attribute in attributes {
        put(scratch, attribute.key.as_bytes());
        match &attribute.value {
            Value::Text(text) => put(scratch, text.as_bytes()),
            Value::Bool(flag) => scratch.extend_from_slice(&[1, u8::from(*flag)]),
            Value::Int(number) => put(scratch, &number.to_le_bytes()),
            Value::Double(number) => put(scratch, &number.to_bits().to_le_bytes()),
        }
    }
    SeriesKey::of(scratch)
}

/// Attributes as labels, in Prometheus's way: sorted by key, values of keys that become the same label joined with `;`.
fn attribute_labels<'p>(attributes: &'p [Attribute<'_>]) -> Result<Pairs<'p>, Reason> {
    let mut sorted: Vec<&Attribute<'_>> = attributes.iter().collect();
    sorted.sort_by(|a, b| a.key.cmp(&b.key));
    sorted.dedup_by(|later, first| later.key == first.key);
    let mut labels: Pairs<'p> = Vec::with_capacity(sorted.len() + 3);
    for attribute in sorted {
        let name = label_name(&attribute.key).ok_or(Reason::BadLabelName)?;
        let value = attribute.value.text();
        match labels.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => *known = Cow::Owned(format!("{known};{value}")),
            None => labels.push((name, value)),
        }
    }
    Ok(labels)
}

/// Whether bounds and counts fit: one count more than bounds, bounds rising.
fn check_buckets(histogram: &Histogram) -> Result<(), Reason> {
    let (bounds, counts) = (&histogram.bounds, &histogram.counts);
    let none = bounds.is_empty() && counts.is_empty();
    let fit = counts.len() == bounds.len() + 1 && !bounds.iter().any(|bound| bound.is_nan()) && bounds.is_sorted_by(|a, b| a < b);
    if none || fit { Ok(()) } else { Err(Reason::BadBuckets) }
}

/// Bounds and counts as stored: a last bound of infinity is folded away, no buckets are one.
fn buckets(mut bounds: Vec<f64>, mut counts: Vec<u64>, count: u64) -> (Vec<f64>, Vec<u64>) {
    if counts.is_empty() {
        counts.push(count);
    }
    if bounds.last() == Some(&f64::INFINITY) {
        bounds.pop();
        let last = counts.pop().unwrap_or(0);
        if let Some(before) = counts.last_mut() {
            *before = before.saturating_add(last);
        }
    }
    (bounds, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_must_fit_rising_bounds() {
        let point = |bounds: &[f64], counts: &[u64]| {
            let histogram = Histogram { count: 9, bounds: bounds.into(), counts: counts.into(), ..Default::default() };
            check_buckets(&histogram).map(|()| buckets(histogram.bounds, histogram.counts, histogram.count))
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

    #[test]
    fn keys_tell_attributes_apart() {
        let mut scratch = Vec::new();
        let mut of = |pairs: &[(&'static str, Value<'static>)]| {
            let list: Vec<_> = pairs.iter().map(|(key, value)| Attribute { key: Cow::Borrowed(*key), value: value.clone() }).collect();
            key(&mut scratch, &[0; 16], &list)
        };
        let text = |text: &'static str| Value::Text(text.into());
        assert_eq!(of(&[("a", text("b"))]), of(&[("a", text("b"))]));
        assert_ne!(of(&[("a", text("bc"))]), of(&[("ab", text("c"))]));
        assert_ne!(of(&[("a", text("b")), ("c", text(""))]), of(&[("a", text("b"))]));
        assert_ne!(of(&[("a", Value::Int(1))]), of(&[("a", Value::Int(2))]));
    }
}
