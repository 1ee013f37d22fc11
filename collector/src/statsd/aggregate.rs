//! Adding samples up between two flushes. In: samples and the time. Out: a flush as export requests of bounded size. Bounded: so many series,
//! so many values of a set, so many bytes of all. Pure. Fails: on a value that is no number, and where the bounds are reached.

use std::collections::{HashMap, HashSet};

use model::time::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;

use super::export::export;
use super::line::{Kind, Sample};
use crate::config::StatsdConfig;

/// Why a value was not added.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Lost {
    /// No number, or none that is finite.
    #[error("not a finite number")]
    Malformed,
    /// A series past the number allowed, or past the room for names and tags.
    #[error("more series than collector.statsd.max_series, or 64 MiB of them")]
    TooManySeries,
    /// A value of a set past the number allowed, or past the room.
    #[error("more values of a set than collector.statsd.max_set_values, or 64 MiB of all")]
    TooManyValues,
}

/// What all series and values may take, in bytes, about.
const MOST_BYTES: usize = 64 << 20;
/// What a series takes beside its name and tags, and a value of a set.
const SERIES: usize = 160;
const SET_VALUE: usize = 16;
/// About how large a request is at most that is written: a flush is stored in parts, so that none is too large for the intake.
const PART: usize = 1 << 20;

/// A part of a flush.
#[derive(Debug)]
pub(crate) struct Part {
    /// The points.
    pub(crate) request: ExportMetricsServiceRequest,
    /// How many.
    pub(crate) points: u64,
}

/// What a series has added up to.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum State {
    Counter(f64),
    Gauge(f64),
    Histogram(Histogram),
    Set(HashSet<u64>),
}

/// A distribution. Measurements weigh one over their rate.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Histogram {
    /// Weight in each bucket; what is left of it after a flush that writes whole numbers stays for the next.
    pub(super) weights: Vec<f64>,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
}

/// A series between two flushes.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) state: State,
    /// Whether a sample came since the last flush.
    pub(super) touched: bool,
    /// When the last sample came.
    at: Timestamp,
}

/// All series. The key is kind, name and sorted tags, each behind a control character, which no line can hold.
pub(crate) struct Aggregator {
    config: StatsdConfig,
    series: HashMap<Box<str>, Series>,
    /// Samples that say when they were measured, in seconds since 1970: written at that time with the next flush, then forgotten.
    timed: HashMap<(Box<str>, i64), State>,
    key: String,
    since: Timestamp,
    /// What all of it takes, in bytes, about.
    held: usize,
    /// How many flushes there were.
    flushes: u64,
}

impl Aggregator {
    /// Nothing yet.
    pub(crate) fn new(config: StatsdConfig, now: Timestamp) -> Self {
        Aggregator { config, series: HashMap::new(), timed: HashMap::new(), key: String::new(), since: now, held: 0, flushes: 0 }
    }

    /// How many series there are; of those with times of their own each time counts.
    pub(crate) fn len(&self) -> usize {
        self.series.len() + self.timed.len()
    }

    /// How many flushes there were.
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes
    }

    /// Adds each value of a sample; `lost` hears of those that are not added. Gives how many were.
    pub(crate) fn add(&mut self, sample: &Sample<'_>, now: Timestamp, mut lost: impl FnMut(Lost)) -> u64 {
        self.write_key(sample);
        let mut added = 0;
        for value in sample.values.split(':') {
            match self.add_value(sample, value, now) {
                Ok(()) => added += 1,
                Err(why) => lost(why),
            }
        }
        added
    }

    fn write_key(&mut self, sample: &Sample<'_>) {
        let mut tags = sample.tags.clone();
        // Of a key that stands twice the first one counts.
        tags.sort_by_key(|(key, _)| *key);
        tags.dedup_by_key(|(key, _)| *key);
        self.key.clear();
        self.key.push(match sample.kind {
            Kind::Counter => 'c',
            Kind::Gauge => 'g',
            Kind::Timer => 'm',
            Kind::Histogram => 'h',
            Kind::Set => 's',
        });
        self.key.push_str(sample.name);
        for (key, value) in tags {
            self.key.push('\u{1}');
            self.key.push_str(key);
            self.key.push('\u{2}');
            self.key.push_str(value);
        }
    }

    fn add_value(&mut self, sample: &Sample<'_>, text: &str, now: Timestamp) -> Result<(), Lost> {
        let number = || text.parse::<f64>().ok().filter(|value| value.is_finite()).ok_or(Lost::Malformed);
        if sample.kind != Kind::Set {
            number()?;
        } else if text.is_empty() {
            return Err(Lost::Malformed);
        }
        let size = size(&self.key, sample.kind, &self.config);
        let full = self.len() >= self.config.max_series || self.held + size > MOST_BYTES;
        if let Some(time) = sample.time {
            return self.add_timed(sample, number()?, time, (!full).then_some(size));
        }
        if !self.series.contains_key(self.key.as_str()) {
            if full {
                return Err(Lost::TooManySeries);
            }
            let state = empty(sample.kind, &self.config);
            self.series.insert(self.key.as_str().into(), Series { state, touched: false, at: now });
            self.held += size;
        }
        let Some(series) = self.series.get_mut(self.key.as_str()) else { return Ok(()) };
        // Finite numbers may add up to one that is not.
        let finite = |sum: f64| if sum.is_finite() { Ok(sum) } else { Err(Lost::Malformed) };
        match &mut series.state {
            State::Counter(sum) => *sum = finite(*sum + number()? / sample.rate)?,
            State::Gauge(value) if text.starts_with(['+', '-']) => *value = finite(*value + number()?)?,
            State::Gauge(value) => *value = number()?,
            State::Histogram(histogram) => histogram.add(number()?, 1.0 / sample.rate, &self.config.bounds)?,
            State::Set(values) => {
                let hash = xxhash_rust::xxh3::xxh3_64(text.as_bytes());
                let full = values.len() >= self.config.max_set_values || self.held + SET_VALUE > MOST_BYTES;
                if full && !values.contains(&hash) {
                    return Err(Lost::TooManyValues);
                }
                self.held += if values.insert(hash) { SET_VALUE } else { 0 };
            }
        }
        (series.touched, series.at) = (true, now);
        Ok(())
    }

    /// Adds a value that was measured at a time. A gauge has it then, whatever its sign: there is none before that it could change. `room` is
    /// what a new series takes, where there is room for one.
    fn add_timed(&mut self, sample: &Sample<'_>, value: f64, time: i64, room: Option<usize>) -> Result<(), Lost> {
        let key = (Box::from(self.key.as_str()), time);
        if !self.timed.contains_key(&key) {
            self.held += room.ok_or(Lost::TooManySeries)?;
        }
        match self.timed.entry(key).or_insert_with(|| empty(sample.kind, &self.config)) {
            State::Counter(sum) => {
                let more = *sum + value / sample.rate;
                if !more.is_finite() {
                    return Err(Lost::Malformed);
                }
                *sum = more;
            }
            State::Gauge(last) => *last = value,
            State::Histogram(_) | State::Set(_) => return Err(Lost::Malformed),
        }
        Ok(())
    }

    /// Everything since the last flush as requests of about `most` bytes, none where there is nothing; then all begins anew. Gauges are written again
    /// until nobody has set them for as long as configured; other series are forgotten after a flush without them.
    pub(crate) fn flush(&mut self, now: Timestamp, most: usize) -> Vec<Part> {
        let ttl = self.config.gauge_ttl.0;
        self.series.retain(|_, series| match series.state {
            State::Gauge(_) => series.touched || now.since(series.at) < ttl,
            State::Counter(_) | State::Histogram(_) | State::Set(_) => series.touched,
        });
        let untimed = self.series.iter().map(|(key, series)| (&**key, None, &series.state));
        let timed = self.timed.iter().map(|((key, time), state)| (&**key, Some(*time), state));
        let mut list: Vec<(&str, Option<i64>, &State)> = untimed.chain(timed).collect();
        list.sort_by_key(|(key, time, _)| (*key, *time));
        let mut parts = Vec::new();
        let mut rest = list.as_slice();
        while !rest.is_empty() {
            let mut taken = 0;
            let fits = |(key, _, state): &&(&str, Option<i64>, &State)| {
                taken += key.len() + SERIES + if matches!(state, State::Histogram(_)) { 16 * self.config.bounds.len() } else { 0 };
                taken <= most.min(PART)
            };
            let (part, others) = rest.split_at(rest.iter().take_while(fits).count().max(1));
            parts.push(Part { request: export(part, &self.config.bounds, self.since, now), points: part.len() as u64 });
            rest = others;
        }
        self.timed.clear();
        for series in self.series.values_mut() {
            series.begin_anew();
        }
        self.since = now;
        self.flushes += 1;
        self.held = self.series.iter().map(|(key, series)| size(key, series.state.kind(), &self.config)).sum();
        parts
    }
}

/// What a series takes that has no values yet, in bytes, about.
fn size(key: &str, kind: Kind, config: &StatsdConfig) -> usize {
    key.len() + SERIES + if matches!(kind, Kind::Timer | Kind::Histogram) { 8 * config.bounds.len() } else { 0 }
}

impl State {
    fn kind(&self) -> Kind {
        match self {
            State::Counter(_) => Kind::Counter,
            State::Gauge(_) => Kind::Gauge,
            State::Histogram(_) => Kind::Histogram,
            State::Set(_) => Kind::Set,
        }
    }
}

fn empty(kind: Kind, config: &StatsdConfig) -> State {
    match kind {
        Kind::Counter => State::Counter(0.0),
        Kind::Gauge => State::Gauge(0.0),
        Kind::Timer | Kind::Histogram => State::Histogram(Histogram {
            weights: vec![0.0; config.bounds.len() + 1],
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
        }),
        Kind::Set => State::Set(HashSet::new()),
    }
}

impl Series {
    fn begin_anew(&mut self) {
        self.touched = false;
        match &mut self.state {
            State::Counter(sum) => *sum = 0.0,
            State::Gauge(_) => {}
            State::Histogram(histogram) => {
                histogram.weights.iter_mut().for_each(|weight| *weight -= whole(*weight) as f64);
                (histogram.sum, histogram.min, histogram.max) = (0.0, f64::INFINITY, f64::NEG_INFINITY);
            }
            State::Set(values) => values.clear(),
        }
    }
}

/// How many measurements a weight is written as.
pub(super) fn whole(weight: f64) -> u64 {
    // `as` saturates. What rounding up takes too much is taken off the next flush.
    weight.round().max(0.0) as u64
}

impl Histogram {
    fn add(&mut self, value: f64, weight: f64, bounds: &[f64]) -> Result<(), Lost> {
        let sum = self.sum + value * weight;
        if !sum.is_finite() {
            return Err(Lost::Malformed);
        }
        self.sum = sum;
        self.weights[bounds.partition_point(|bound| *bound < value)] += weight;
        (self.min, self.max) = (self.min.min(value), self.max.max(value));
        Ok(())
    }
}
