//! Answers that are asked for again: a dashboard's refresh has all its steps but the newest from the time before. In: a question's text,
//! step and phase; out: the series of the steps that are final, the rest is computed. Bounded by bytes, the longest unused goes first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use model::labels::Labels;
use model::query::{Answer, QueryValue, Series};
use model::tenant::TenantId;
use model::time::Timestamp;
use prometheus::{IntCounterVec, IntGauge, Opts, Registry};

use super::arrivals::{Arrivals, Seen};
use super::value::Frame;

/// What makes two questions the same except for their ends.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    /// Whose series.
    pub tenant: TenantId,
    /// The expression, as it was asked.
    pub expr: String,
    /// Milliseconds between steps.
    pub step: i64,
    /// Where in a step the frame begins.
    pub phase: i64,
    /// How many steps it has: a panel asks for as many again, and two panels of different length do not drive each other out.
    pub steps: usize,
    /// How far back an instant selector looks, in milliseconds.
    pub lookback: i64,
}

struct Entry {
    /// The first step and the last one that is known, in milliseconds.
    start: i64,
    end: i64,
    answer: Arc<Answer>,
    bytes: usize,
    used: u64,
}

#[derive(Default)]
struct Entries {
    all: HashMap<Key, Entry>,
    bytes: usize,
    uses: u64,
}

/// The answers of one node.
pub struct Cache {
    arrivals: Arrivals,
    max_bytes: usize,
    entries: Mutex<Entries>,
    steps: IntCounterVec,
    held: IntGauge,
}

impl std::fmt::Debug for Cache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cache").field("arrivals", &self.arrivals).field("max_bytes", &self.max_bytes).finish_non_exhaustive()
    }
}

/// What is known of a question already.
pub struct Known {
    answer: Arc<Answer>,
    /// The last step of the frame that it has, in milliseconds.
    pub end: i64,
}

impl Cache {
    /// An empty one. Registers `watchfire_promql_cache_steps_total{from}` and `watchfire_promql_cache_bytes`; fails if they are there.
    pub fn new(arrivals: Arrivals, max_bytes: usize, registry: &Registry) -> Result<Self, prometheus::Error> {
        let help = "Steps of range queries by where their values came from: `cache`, or the `store`.";
        let steps = IntCounterVec::new(Opts::new("watchfire_promql_cache_steps_total", help), &["from"])?;
        let held = IntGauge::new("watchfire_promql_cache_bytes", "Memory of the answers that are kept for questions that come again.")?;
        registry.register(Box::new(steps.clone()))?;
        registry.register(Box::new(held.clone()))?;
        Ok(Cache { arrivals, max_bytes, entries: Mutex::default(), steps, held })
    }

    /// What it asks whether a moment is over.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }

    fn entries(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is known of a frame's first steps.
    pub fn find(&self, key: &Key, frame: &Frame) -> Option<Known> {
        let mut entries = self.entries();
        entries.uses += 1;
        let uses = entries.uses;
        let entry = entries.all.get_mut(key).filter(|entry| (entry.start..=entry.end).contains(&frame.start))?;
        entry.used = uses;
        let last = frame.time(frame.len().saturating_sub(1));
        Some(Known { answer: Arc::clone(&entry.answer), end: entry.end.min(last) })
    }

    /// Counts where the steps of a question came from.
    pub fn count(&self, known: usize, computed: usize) {
        self.steps.with_label_values(&["cache"]).inc_by(known as u64);
        self.steps.with_label_values(&["store"]).inc_by(computed as u64);
    }

    /// Keeps the final steps of an answer; `seen` is from before its samples were read.
    pub fn keep(&self, key: Key, frame: &Frame, answer: &Answer, seen: Seen) {
        let last = frame.time(frame.len().saturating_sub(1));
        let mut entries = self.entries();
        // Under the lock: a late sample that comes now waits, and cuts what is kept.
        let until = self.arrivals.still(&key.tenant, seen).min(last);
        if until < frame.start || !answer.histograms.is_empty() {
            return;
        }
        let end = frame.start + (until - frame.start) / frame.step * frame.step;
        let bytes = size(answer);
        if bytes > self.max_bytes / 4 {
            return;
        }
        entries.uses += 1;
        let entry = Entry { start: frame.start, end, answer: Arc::new(answer.clone()), bytes, used: entries.uses };
        entries.bytes += bytes;
        if let Some(before) = entries.all.insert(key, entry) {
            entries.bytes -= before.bytes;
        }
        while entries.bytes > self.max_bytes {
            let Some(oldest) = entries.all.iter().min_by_key(|(_, entry)| entry.used).map(|(key, _)| key.clone()) else { break };
            entries.remove(&oldest);
        }
        self.held.set(i64::try_from(entries.bytes).unwrap_or(i64::MAX));
    }

    /// Forgets what a tenant's series are at a moment and after.
    pub fn cut(&self, tenant: &TenantId, from: Timestamp) {
        let mut entries = self.entries();
        let mut empty = Vec::new();
        for (key, entry) in entries.all.iter_mut().filter(|(key, _)| key.tenant == *tenant) {
            let before = from.millis() - 1;
            if before < entry.start {
                empty.push(key.clone());
            } else if before < entry.end {
                entry.end = entry.start + (before - entry.start) / key.step * key.step;
            }
        }
        empty.iter().for_each(|key| entries.remove(key));
        self.held.set(i64::try_from(entries.bytes).unwrap_or(i64::MAX));
    }
}

impl Entries {
    fn remove(&mut self, key: &Key) {
        if let Some(entry) = self.all.remove(key) {
            self.bytes -= entry.bytes;
        }
    }
}

/// About how much memory an answer takes.
fn size(answer: &Answer) -> usize {
    let QueryValue::Matrix(all) = &answer.value else { return 0 };
    let text = |labels: &Labels| labels.iter().map(|(name, value)| name.len() + value.len() + 64).sum::<usize>();
    512 + all.iter().map(|series| 64 + text(&series.labels) + series.samples.len() * 16).sum::<usize>()
}

fn matrix(value: QueryValue) -> Vec<Series> {
    match value {
        QueryValue::Matrix(all) => all,
        QueryValue::Scalar(_) | QueryValue::Text(..) | QueryValue::Vector(_) => Vec::new(),
    }
}

/// Puts the known first steps of a frame and the rest together; both in order of labels.
pub fn join(known: &Known, frame: &Frame, rest: Option<Answer>) -> Answer {
    let QueryValue::Matrix(first) = &known.answer.value else { return known.answer.as_ref().clone() };
    let (from, to) = (Timestamp::from_millis(frame.start), Timestamp::from_millis(known.end));
    let cut = |series: &Series, more: Vec<model::query::SeriesSample>| {
        let begin = series.samples.partition_point(|sample| sample.at < from);
        let end = series.samples.partition_point(|sample| sample.at <= to);
        let mut samples = Vec::with_capacity(end.saturating_sub(begin) + more.len());
        samples.extend_from_slice(&series.samples[begin..end.max(begin)]);
        samples.extend(more);
        (!samples.is_empty()).then(|| Series { labels: series.labels.clone(), samples })
    };
    let before = &known.answer;
    let (mut warnings, mut infos) = (before.warnings.clone(), before.infos.clone());
    let (mut samples_read, mut matched, mut histograms, mut later) = (0, before.matched_any_series, Vec::new(), Vec::new());
    if let Some(rest) = rest {
        warnings.extend(rest.warnings.into_iter().filter(|text| !before.warnings.contains(text)));
        infos.extend(rest.infos.into_iter().filter(|text| !before.infos.contains(text)));
        (samples_read, histograms) = (rest.samples_read, rest.histograms);
        matched |= rest.matched_any_series;
        later = matrix(rest.value);
    }
    let mut all = Vec::with_capacity(first.len().max(later.len()));
    let mut later = later.into_iter().peekable();
    for series in first {
        while let Some(new) = later.next_if(|new| new.labels < series.labels) {
            all.push(new);
        }
        let more = later.next_if(|new| new.labels == series.labels).map_or_else(Vec::new, |new| new.samples);
        all.extend(cut(series, more));
    }
    all.extend(later);
    Answer { value: QueryValue::Matrix(all), histograms, samples_read, warnings, infos, matched_any_series: matched }
}
