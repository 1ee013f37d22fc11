//! Series that Prometheus has named already, from remote write and scrapes: labels are stored as they are. Rows of `points`,
//! `exp_histograms`, `exemplars` and `series`. A series that is known costs one hash of its labels.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry;

use model::labels::METRIC_NAME;
use model::tenant::TenantId;
use xxhash_rust::xxh3::{xxh3_64, xxh3_128};

use super::Builder;
use super::attributes::{Pairs, push_row, tidy};
use super::points::{Growth, Place, STALE_NAN, overflow};
use super::tally::{Part, Reason};
use crate::admission::Full;
use crate::family::Family;
use crate::pipeline::cardinality::Verdict;
use crate::pipeline::rates::Flow;
use crate::record::{Attribute, Attributes, Data, Exemplar, Exponential, Resource, Scope, Text};
use crate::series::{Description, Hashed, LabelSet, SeriesKey, SeriesKind};

/// Bit 0 of a row's flags: no recorded value.
const NO_RECORDED_VALUE: u32 = 1;
/// OTLP's number of cumulative temporality.
const CUMULATIVE: u8 = 2;

/// A series whose labels hold its name.
#[derive(Clone, Copy)]
pub(crate) struct Named<'l> {
    /// The labels, `__name__` among them, in any order.
    pub(crate) labels: &'l [(Cow<'l, str>, Cow<'l, str>)],
    /// [`identity`] of tenant and labels.
    pub(crate) identity: u128,
    /// What is known of its family.
    pub(crate) family: &'l Family<'l>,
}

/// Labels as they are sent, hashed together with whose they are.
pub(crate) fn identity(scratch: &mut Vec<u8>, tenant: &TenantId, labels: &[(Cow<'_, str>, Cow<'_, str>)]) -> u128 {
    scratch.clear();
    let mut put = |text: &str| {
        scratch.extend_from_slice(&(text.len() as u32).to_le_bytes());
        scratch.extend_from_slice(text.as_bytes());
    };
    put(tenant.as_str());
    for (name, value) in labels {
        put(name);
        put(value);
    }
    xxh3_128(scratch)
}

/// Labels of a series, `__name__` among them.
pub(crate) type SeriesLabels<'l> = [(Cow<'l, str>, Cow<'l, str>)];

/// What the samples of a series are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Numbers,
    Native { gauge: bool },
}

impl Class {
    /// Those of histograms.
    const HISTOGRAMS: [Class; 2] = [Class::Native { gauge: false }, Class::Native { gauge: true }];

    fn number(self) -> u128 {
        match self {
            Class::Numbers => 1,
            Class::Native { gauge } => 2 + u128::from(gauge),
        }
    }
}

impl Named<'_> {
    fn name(&self) -> &str {
        self.labels.iter().find(|(name, _)| name == METRIC_NAME).map_or("", |(_, value)| value)
    }
    fn key(&self, class: Class) -> SeriesKey {
        SeriesKey::of_hash(self.identity.wrapping_add(u128::from(self.family.id) << 8).wrapping_add(class.number()))
    }
}

/// A native histogram sample.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Native {
    /// Exponential buckets, or the sender's own; `Data::None` for a staleness marker.
    pub(crate) data: Data,
    /// Whether it may fall.
    pub(crate) gauge: bool,
}

/// The samples of this request by series and time, with what each says, hashed.
#[derive(Default)]
pub(crate) struct Seen(HashMap<(u64, i64), u64, Hashed>);

impl Seen {
    /// Whether it is the first of its time; where not, whether it says the same.
    fn first(&mut self, fingerprint: u64, at: i64, says: u64) -> Result<bool, Reason> {
        match self.0.entry((fingerprint, at)) {
            Entry::Vacant(place) => {
                place.insert(says);
                Ok(true)
            }
            Entry::Occupied(place) if *place.get() == says => Ok(false),
            Entry::Occupied(_) => Err(Reason::DuplicateSample),
        }
    }
    /// About how many bytes it takes.
    pub(super) fn bytes(&self) -> usize {
        self.0.len() * 32
    }
}

/// Nanoseconds of a time in milliseconds; what lies before 1970 is as old as can be.
fn nanos_of(millis: i64) -> u64 {
    match millis {
        0 => 0,
        millis => u64::try_from(millis).map_or(1, |millis| millis.saturating_mul(1_000_000)),
    }
}

impl Builder<'_, '_> {
    /// Whose rows they are.
    pub(crate) fn tenant(&self) -> &TenantId {
        self.arrival.tenant
    }

    /// Processes the labels of a series before its samples come; its [`identity`], or `None` where a rule drops it with its `records`.
    pub(crate) fn identity<'l>(&mut self, labels: &mut Vec<(Cow<'l, str>, Cow<'l, str>)>, records: u64) -> Option<u128> {
        if let Some(stage) = &mut self.stage {
            if self.resource.serial == 0 {
                stage.resource(&mut Resource::default());
                stage.scope(&mut Scope::default());
                self.resource.serial = 1;
            }
            if !stage.series(labels, records) {
                self.tally.records += records;
                self.load.add_many(Flow::Metrics, records);
                return None;
            }
        }
        let sent = identity(&mut self.scratch, self.arrival.tenant, labels);
        // Another pipeline may give the same labels another name.
        Some(sent ^ (u128::from(self.arrival.pipeline.generation) << 64))
    }

    /// As [`Builder::identity`], for labels that are kept from one scrape to the next with the identity that they have as they are;
    /// `None` where a rule drops the series.
    pub(crate) fn processed<'l>(&mut self, labels: &'l SeriesLabels<'l>, identity: u128) -> Option<(Cow<'l, SeriesLabels<'l>>, u128)> {
        let as_they_are = self.stage.as_ref().is_none_or(|stage| stage.leaves(labels));
        if as_they_are {
            return Some((Cow::Borrowed(labels), identity ^ (u128::from(self.arrival.pipeline.generation) << 64)));
        }
        let mut labels = labels.to_vec();
        let identity = self.identity(&mut labels, 1)?;
        Some((Cow::Owned(labels), identity))
    }

    /// Counts records of a series that can never be stored.
    pub(crate) fn refuse(&mut self, reason: Reason, count: u64) {
        self.tally.records += count;
        self.load.add_many(Flow::Metrics, count);
        self.tally.reject(reason, count);
    }

    /// Adds a number sample; times in milliseconds, `start` 0 where unknown. Says whether it was kept.
    pub(crate) fn number(&mut self, series: &Named<'_>, at: i64, start: i64, value: f64) -> Result<bool, Full> {
        self.count()?;
        self.load.add(Flow::Metrics);
        let kept = self.number_row(series, at, start, value);
        self.tally.written.samples += u64::from(kept.is_ok());
        Ok(self.note(kept))
    }

    /// Adds a native histogram sample; times in milliseconds. Says whether it was kept.
    pub(crate) fn native(&mut self, series: &Named<'_>, at: i64, start: i64, sample: &mut Native) -> Result<bool, Full> {
        self.count()?;
        self.load.add(Flow::Metrics);
        let kept = self.native_row(series, at, start, sample);
        self.tally.written.histograms += u64::from(kept.is_ok());
        Ok(self.note(kept))
    }

    fn note(&mut self, kept: Result<(), Reason>) -> bool {
        if let Err(reason) = kept {
            self.tally.reject(reason, 1);
        }
        kept.is_ok()
    }

    /// A sample that the request holds twice is stored once.
    fn number_row(&mut self, series: &Named<'_>, at: i64, start: i64, value: f64) -> Result<(), Reason> {
        self.windows.metrics.check(nanos_of(at))?;
        let stale = value.to_bits() == STALE_NAN;
        match self.named_place(series, Class::Numbers, at, stale)? {
            Place::Own(fingerprint) => {
                if self.seen.first(fingerprint, at, value.to_bits())? {
                    self.push_sample(series, fingerprint, at, start, value);
                }
                Ok(())
            }
            Place::Zero(zero) => {
                zero.into_iter().for_each(|fingerprint| self.push_sample(series, fingerprint, at, start, 0.0));
                Err(Reason::TooManySeries)
            }
            Place::Nowhere => Ok(()),
        }
    }

    fn push_sample(&mut self, series: &Named<'_>, fingerprint: u64, at: i64, start: i64, value: f64) {
        let to = &mut self.points;
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.metric.push(series.name().as_bytes());
        to.fingerprint.push(fingerprint);
        to.ts.push(at);
        to.start_ts.push(start.max(0));
        to.value.push(value);
        to.flags.push(if value.to_bits() == STALE_NAN { NO_RECORDED_VALUE } else { 0 });
        to.retention_days.push(self.arrival.limits.retention.metrics);
    }

    fn native_row(&mut self, series: &Named<'_>, at: i64, start: i64, sample: &mut Native) -> Result<(), Reason> {
        self.windows.metrics.check(nanos_of(at))?;
        let gauge = sample.gauge;
        match std::mem::take(&mut sample.data) {
            Data::Exponential(histogram) => {
                let counts = histogram.positive.counts.iter().chain(&histogram.negative.counts).chain(&histogram.custom_bounds).copied();
                let says = says(counts, histogram.count, histogram.sum);
                match self.named_place(series, Class::Native { gauge }, at, false)? {
                    Place::Own(fingerprint) => {
                        if self.seen.first(fingerprint, at, says)? {
                            self.native_histogram(series, fingerprint, at, start, &histogram, 0);
                        }
                        Ok(())
                    }
                    Place::Zero(zero) => {
                        let empty = Exponential::default();
                        zero.into_iter().for_each(|fingerprint| self.native_histogram(series, fingerprint, at, start, &empty, 0));
                        Err(Reason::TooManySeries)
                    }
                    Place::Nowhere => Ok(()),
                }
            }
            Data::None => self.stale_histogram(series, at),
            Data::Number(_) | Data::Histogram(_) | Data::Summary(_) => Err(Reason::NoValue),
        }
    }

    /// A staleness marker does not say whether its series may fall: it is of the one that is known.
    fn stale_histogram(&mut self, series: &Named<'_>, at: i64) -> Result<(), Reason> {
        let known = Class::HISTOGRAMS.into_iter().find(|class| self.series.find(series.key(*class), at).is_some());
        let class = known.unwrap_or(Class::Native { gauge: false });
        let Place::Own(fingerprint) = self.named_place(series, class, at, true)? else { return Ok(()) };
        if self.seen.first(fingerprint, at, STALE_NAN)? {
            let marker = Exponential { sum: Some(f64::from_bits(STALE_NAN)), ..Exponential::default() };
            self.native_histogram(series, fingerprint, at, 0, &marker, NO_RECORDED_VALUE);
        }
        Ok(())
    }

    fn native_histogram(&mut self, series: &Named<'_>, fingerprint: u64, at: i64, start: i64, histogram: &Exponential, flags: u32) {
        let to = &mut self.exponentials;
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.metric.push(series.name().as_bytes());
        to.fingerprint.push(fingerprint);
        to.ts.push(at);
        to.start_ts.push(start.max(0));
        to.count.push(histogram.count);
        to.sum.push(histogram.sum.unwrap_or(f64::NAN));
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
        to.flags.push(flags);
        to.retention_days.push(self.arrival.limits.retention.metrics);
        to.custom_bounds.items.extend_from_slice(&histogram.custom_bounds);
        to.custom_bounds.end_row(histogram.custom_bounds.len());
    }

    /// Adds an exemplar of a series; one of another time than rows may have, or of a series that cannot be, is left out.
    pub(crate) fn named_exemplar(&mut self, series: &Named<'_>, at: i64, value: f64, labels: Pairs<'_>) {
        let limits = self.arrival.limits;
        let Ok(Place::Own(fingerprint)) = self.windows.metrics.check(nanos_of(at)).and_then(|_| self.exemplar_series(series, at)) else {
            self.tally.cut(Part::Exemplar, 1);
            return;
        };
        self.tally.written.exemplars += 1;
        let mut exemplar = exemplar_of(value, labels);
        if let (Some(stage), Some(redactor)) = (&mut self.stage, &self.arrival.pipeline.redactor) {
            redactor.attributes(&mut exemplar.attributes.list, &mut stage.changes.redacted);
        }
        tidy(&mut exemplar.attributes, limits, &mut self.tally);
        let to = &mut self.exemplars;
        to.tenant.push(self.arrival.tenant.as_str().as_bytes());
        to.metric.push(series.name().as_bytes());
        to.fingerprint.push(fingerprint);
        to.ts.push(at);
        to.value.push(exemplar.value);
        to.trace_id.push(&exemplar.trace_id);
        to.span_id.push(&exemplar.span_id);
        push_row(&mut to.attributes, &exemplar.attributes.list);
        to.retention_days.push(limits.retention.metrics);
    }

    /// The series of an exemplar: it may come without samples, so whatever is known of it counts.
    fn exemplar_series(&mut self, series: &Named<'_>, at: i64) -> Result<Place, Reason> {
        let known = |class: &Class| self.series.find(series.key(*class), at);
        match [Class::Numbers].iter().chain(&Class::HISTOGRAMS).find_map(known) {
            Some(fingerprint) => Ok(Place::Own(fingerprint)),
            None => self.named_place(series, Class::Numbers, at, true),
        }
    }

    /// The series of these labels; describes it where the store does not know it yet, without secrets and within the limits.
    fn named_place(&mut self, series: &Named<'_>, class: Class, at: i64, stale: bool) -> Result<Place, Reason> {
        let key = series.key(class);
        if let Some(fingerprint) = self.series.find(key, at) {
            return Ok(Place::Own(fingerprint));
        }
        let limits = self.arrival.limits;
        let name = series.name();
        if name.is_empty() || name.len() > limits.name {
            return Err(if name.is_empty() { Reason::NoMetricName } else { Reason::BadMetricName });
        }
        check_labels(series.labels)?;
        let others = series.labels.iter().filter(|(name, _)| name != METRIC_NAME);
        let others: Vec<Attribute<'_>> = others.map(|(name, value)| Attribute::text(name.as_ref(), value.as_ref())).collect();
        let clean = self.stage.as_mut().and_then(|stage| stage.labels(&others));
        let labels: Pairs<'_> = clean.unwrap_or(others).into_iter().map(|one| (one.key, one.value.into_text())).collect();
        if labels.iter().any(|(name, value)| name.len() > limits.label_name || value.len() > limits.label_value) {
            return Err(Reason::LabelTooLong);
        }
        let set = LabelSet::new(name, labels);
        if set.len() > limits.labels {
            return Err(Reason::TooManyLabels);
        }
        let (kind, temporality, monotonic) = match class {
            Class::Numbers => {
                let (kind, total) = series.family.kind.of_numbers(name);
                (kind, if total { CUMULATIVE } else { 0 }, total)
            }
            Class::Native { gauge } => (SeriesKind::ExponentialHistogram, if gauge { 0 } else { CUMULATIVE }, false),
        };
        let mut help = Cow::Borrowed(series.family.help.as_ref());
        if let (Some(stage), Some(redactor)) = (&mut self.stage, &self.arrival.pipeline.redactor) {
            redactor.text(&mut help, &mut stage.changes.redacted);
        }
        let unit = &series.family.unit;
        let about =
            Description { metric: name, kind, temporality, monotonic, otel_name: name, unit, text: &help, ..Description::default() };
        let arrival = self.arrival;
        match arrival.active.admit(&arrival.pipeline.cardinality, arrival.tenant, name, set.fingerprint(), arrival.at) {
            Verdict::Admitted => Ok(Place::Own(self.series.describe(key, &set, &about, at))),
            Verdict::Refused => Err(Reason::TooManySeries),
            Verdict::Overflow => {
                self.overflowed_points += 1;
                let growth = if temporality == CUMULATIVE { Growth::Cumulative } else { Growth::None };
                Ok(if stale { Place::Nowhere } else { overflow(&mut self.series, &mut self.overflowed, &about, growth, at) })
            }
        }
    }
}

/// No name empty, none twice. The order is the sender's: Prometheus sorts too.
fn check_labels(labels: &[(Cow<'_, str>, Cow<'_, str>)]) -> Result<(), Reason> {
    if labels.iter().any(|(name, _)| name.is_empty()) {
        return Err(Reason::EmptyLabelName);
    }
    if labels.is_sorted_by(|a, b| a.0 < b.0) {
        return Ok(());
    }
    let mut names: Vec<&str> = labels.iter().map(|(name, _)| name.as_ref()).collect();
    names.sort_unstable();
    if names.windows(2).any(|pair| pair[0] == pair[1]) { Err(Reason::DuplicateLabel) } else { Ok(()) }
}

/// What a histogram says, hashed.
fn says(counts: impl Iterator<Item = f64>, count: f64, sum: Option<f64>) -> u64 {
    let mut bytes: Vec<u8> = Vec::new();
    for number in counts.chain([count, sum.unwrap_or(f64::NAN)]) {
        bytes.extend_from_slice(&number.to_bits().to_le_bytes());
    }
    xxh3_64(&bytes)
}

/// The labels `trace_id` and `span_id` of an exemplar become columns where they are ids; the rest stays as it is.
fn exemplar_of<'l>(value: f64, labels: Pairs<'l>) -> Exemplar<'l> {
    let mut exemplar = Exemplar { value, ..Exemplar::default() };
    let mut attributes = Attributes::default();
    for (name, text) in labels {
        match (name.as_ref(), hex_id(&text)) {
            ("trace_id", Some(id)) if id.len() == 16 => exemplar.trace_id = Cow::Owned(id),
            ("span_id", Some(id)) if id.len() == 8 => exemplar.span_id = Cow::Owned(id),
            _ if text.is_empty() => {}
            _ => attributes.list.push(Attribute::text(name, Text::from(text))),
        }
    }
    exemplar.attributes = attributes;
    exemplar
}

/// The bytes of an id in lower-case hex: others could not be shown again as they were.
fn hex_id(text: &str) -> Option<Vec<u8>> {
    let lower = text.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    lower.then(|| hex::decode(text).ok()).flatten()
}
