//! Samples for a plan: every selector's series for the whole query, asked once, put in order, overlay included.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use futures_util::future::FutureExt;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use model::labels::{Labels, Matcher};
use model::query::{Overlay, QueryError, Series};
use model::tenant::TenantId;
use model::time::Timestamp;

use super::eval::{Extent, GridColumn, Loaded, LoadedSeries};
use super::histogram::{bound_text, split_buckets, split_quantiles};
use super::metrics::Metrics;
use super::plan::Selector;
use super::scans::{self, Asked, Scan, Scans};
use super::source::{
    BUCKET_LABEL, GridSeries, Numbers, QUANTILE_LABEL, Samples, Selection, SeriesSource, Shape, StoredData, StoredSeries, Temporality,
    Wish, stored_matchers, too_many_samples, too_many_series,
};
use super::together::Reads;
use super::value::{ABSENT, HISTOGRAM, Histograms};
use crate::sql::Watermark;

/// How many selectors of one query, and how many kinds of rows of one selector, are asked at the same time.
const AT_ONCE: usize = 3;
/// What several questions need is read together where it is not more than so many series ...
const MOST_SERIES: usize = 100_000;
/// ... and samples: beyond, each reads what it needs.
const MOST_SAMPLES: usize = 10_000_000;

/// What a load may take.
#[derive(Clone, Copy, Debug)]
pub struct LoadLimits {
    /// Series per selector.
    pub max_series: usize,
    /// Samples of all selectors together.
    pub max_samples: usize,
    /// For the store.
    pub timeout: Duration,
}

/// What the questions of one moment read together, made when it is first needed.
pub type Together<'a> = Box<dyn Fn() -> Option<Arc<Reads>> + Send + Sync + 'a>;

/// Where series come from, and who else reads them now.
pub struct From<'a> {
    /// Where from.
    pub source: &'a Arc<dyn SeriesSource>,
    /// Scans that may be joined.
    pub scans: Option<&'a Scans>,
    /// What else is asked about the same moment.
    pub together: Option<Together<'a>>,
    /// Told of each scan, and whether it was joined.
    pub metrics: Option<&'a Metrics>,
    /// Set where a scan was joined: what it read may be older than the question.
    pub joined: AtomicBool,
    /// What is not in memory is read when it is stored.
    pub watermark: Option<&'a Watermark>,
    /// By how many milliseconds the question has to be about an earlier moment, 0 where it need not: what was received before its own is not stored yet.
    pub earlier: AtomicI64,
}

impl From<'_> {
    async fn series(&self, question: Question<'_>) -> Result<Arc<Loaded>, QueryError> {
        let (answer, joined) = match (&self.together, self.scans) {
            (Some(together), _) => self.with_others(&question, together).await?,
            // What is laid over it is one question's own.
            (None, Some(scans)) if question.overlay.is_empty() => {
                let Question { tenant, matchers, extent, limits, .. } = question;
                let scan = || -> Scan {
                    let (source, tenant, matchers) = (Arc::clone(self.source), tenant.clone(), matchers.to_vec());
                    let overlay = Overlay::default();
                    async move { Question::new(&tenant, &matchers, extent, &overlay, limits).select(&*source).await.map(Arc::new) }.boxed()
                };
                let (answer, joined) = scans.ask(Asked::new(tenant, matchers, extent, limits), scan).await;
                (answer?, joined)
            }
            (None, _) => match question.at_hand(&**self.source).await? {
                Some(loaded) => (Arc::new(loaded), false),
                None => (Arc::new(self.stored(&question).await?), false),
            },
        };
        self.joined.fetch_or(joined, Ordering::Relaxed);
        if let Some(metrics) = self.metrics {
            metrics.scanned(joined);
        }
        Ok(answer)
    }

    /// What is not in memory, once it has arrived in the store.
    async fn stored(&self, question: &Question<'_>) -> Result<Loaded, QueryError> {
        self.arrived(question.extent).await?;
        question.stored(&**self.source).await
    }

    async fn arrived(&self, extent: Extent) -> Result<(), QueryError> {
        let Some(watermark) = self.watermark else { return Ok(()) };
        let earlier = watermark.earlier(Timestamp::from_millis(extent.until)).await?;
        if earlier.is_zero() {
            return Ok(());
        }
        self.earlier.fetch_max(i64::try_from(earlier.as_millis()).unwrap_or(i64::MAX / 4).max(1), Ordering::Relaxed);
        Err(QueryError::Unavailable(format!("what was received in the last {} s is not stored yet", earlier.as_secs_f64().ceil())))
    }

    /// What is in memory is taken from there; of the rest, what others of the same moment need too is read for all of them.
    async fn with_others(&self, question: &Question<'_>, together: &Together<'_>) -> Result<(Arc<Loaded>, bool), QueryError> {
        if let Some(loaded) = question.at_hand(&**self.source).await? {
            return Ok((Arc::new(loaded), false));
        }
        let Question { tenant, matchers, extent, limits, .. } = *question;
        // What is not stored yet cannot be laid over what a store computed.
        let alone = extent.wish.is_some() && !question.overlay.is_empty();
        let read = if alone { None } else { together().and_then(|reads| reads.find(matchers, extent)) };
        let Some(read) = read else { return Ok((Arc::new(self.stored(question).await?), false)) };
        self.arrived(extent).await?;
        let (overlay, mut joined) = (Overlay::default(), true);
        let all = async {
            joined = false;
            // Where all of it takes too long, there is time left to read what this question needs.
            let timeout = limits.timeout / 2;
            let (max_series, max_samples) = (limits.max_series.min(MOST_SERIES), limits.max_samples.min(MOST_SAMPLES));
            let together = Question::new(tenant, &read.matchers, extent, &overlay, LoadLimits { max_series, max_samples, timeout });
            let loaded = tokio::time::timeout(timeout, together.stored(&**self.source)).await;
            loaded.ok()?.ok().map(|loaded| read.all(loaded))
        };
        let Some(all) = read.all.get_or_init(|| all).await else { return Ok((Arc::new(question.stored(&**self.source).await?), false)) };
        let part = read.part(all, matchers);
        if question.overlay.is_empty() {
            return Ok((part, joined));
        }
        let mut drafts = BTreeMap::new();
        part.samples().iter().cloned().for_each(|series| take_ready(&mut drafts, series));
        Ok((Arc::new(question.with_overlay(drafts)?), joined))
    }
}

/// The series of each selector, in order of their numbers.
pub async fn load(
    from: &From<'_>,
    tenant: &TenantId,
    selectors: &[Selector],
    extents: &[Option<Extent>],
    overlay: &Overlay,
    limits: LoadLimits,
) -> Result<Vec<Arc<Loaded>>, QueryError> {
    // The same selector over the same span is asked once.
    let mut asked: Vec<(&[Matcher], Extent)> = Vec::new();
    let mut known: HashMap<(String, Extent), usize> = HashMap::new();
    let mut place: Vec<Option<usize>> = Vec::with_capacity(selectors.len());
    for (selector, extent) in selectors.iter().zip(extents) {
        place.push(extent.map(|extent| {
            *known.entry((scans::text(&selector.matchers), extent)).or_insert_with(|| {
                asked.push((&selector.matchers, extent));
                asked.len() - 1
            })
        }));
    }
    // In a loop: the compiler does not see that a closure over borrowed selectors gives futures that may be sent.
    let mut reads = Vec::with_capacity(asked.len());
    for (matchers, extent) in asked {
        reads.push(from.series(Question::new(tenant, matchers, extent, overlay, limits)));
    }
    let found: Vec<Arc<Loaded>> = stream::iter(reads).buffered(AT_ONCE).try_collect().await?;
    if found.iter().flat_map(|all| all.samples()).map(|series| series.times.len()).sum::<usize>() > limits.max_samples {
        return Err(too_many_samples(limits.max_samples));
    }
    Ok(place.into_iter().map(|at| at.map_or_else(Arc::default, |at| Arc::clone(&found[at]))).collect())
}

/// A series that is being put together.
#[derive(Default)]
struct Draft {
    delta: bool,
    counter: bool,
    samples: Samples,
    histograms: Histograms,
}

impl Draft {
    /// Adds samples; `histograms` is empty or as long.
    fn append(&mut self, mut samples: Samples, mut histograms: Histograms) {
        if !histograms.is_empty() || !self.histograms.is_empty() {
            self.histograms.resize(self.samples.times.len(), None);
            histograms.resize(samples.times.len(), None);
            self.histograms.append(&mut histograms);
        }
        self.samples.times.append(&mut samples.times);
        self.samples.values.append(&mut samples.values);
    }
}

/// What is asked of a source for one selector.
struct Question<'a> {
    tenant: &'a TenantId,
    matchers: &'a [Matcher],
    extent: Extent,
    /// What is not stored yet and matches.
    overlay: Vec<&'a Series>,
    limits: LoadLimits,
}

impl<'a> Question<'a> {
    fn new(tenant: &'a TenantId, matchers: &'a [Matcher], extent: Extent, overlay: &'a Overlay, limits: LoadLimits) -> Self {
        Question { tenant, matchers, extent, overlay: overlay.matching(matchers), limits }
    }

    fn selection<'s>(&'s self, matchers: &'s [Matcher], shape: Shape) -> Selection<'s> {
        let (Extent { after, until, .. }, LoadLimits { max_series, max_samples, timeout }) = (self.extent, self.limits);
        Selection { tenant: self.tenant, matchers, shape, after, until, max_series, max_samples, timeout }
    }

    /// What is not stored yet cannot be computed by a store.
    fn wish(&self) -> Option<Wish> {
        self.extent.wish.filter(|_| self.overlay.is_empty())
    }

    /// Everything, where it is in memory.
    async fn at_hand(&self, source: &dyn SeriesSource) -> Result<Option<Loaded>, QueryError> {
        let found = source.at_hand(&self.selection(self.matchers, Shape::Numbers), self.wish().as_ref()).await?;
        found.map(|numbers| self.put_in_order(numbers)).transpose()
    }

    /// Everything.
    async fn select(&self, source: &dyn SeriesSource) -> Result<Loaded, QueryError> {
        match self.at_hand(source).await? {
            Some(loaded) => Ok(loaded),
            None => self.stored(source).await,
        }
    }

    /// Everything, though it is not in memory.
    async fn stored(&self, source: &dyn SeriesSource) -> Result<Loaded, QueryError> {
        let numbers = source.numbers(&self.selection(self.matchers, Shape::Numbers), self.wish().as_ref()).await?;
        match numbers {
            Some(numbers) => self.put_in_order(numbers),
            None => self.put_in_order(Numbers::Samples(self.every_shape(source).await?)),
        }
    }

    /// The kinds of rows that may match are asked side by side: most of them hold nothing of that name.
    async fn every_shape(&self, source: &dyn SeriesSource) -> Result<Vec<StoredSeries>, QueryError> {
        let ask = |shape: Shape| async move {
            let matchers = stored_matchers(self.matchers, shape);
            source.select(&self.selection(&matchers, shape)).await
        };
        let asked = Shape::ALL.into_iter().filter(|shape| shape.may_match(self.matchers)).map(ask);
        let found: Vec<Vec<StoredSeries>> = stream::iter(asked).buffered(AT_ONCE).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    fn put_in_order(&self, found: Numbers) -> Result<Loaded, QueryError> {
        let mut drafts = BTreeMap::new();
        match found {
            Numbers::Grid(columns) => return Ok(granted(columns)),
            Numbers::Ready(series) if self.overlay.is_empty() && series.windows(2).all(|pair| pair[0].labels != pair[1].labels) => {
                return Ok(Loaded::Samples(series));
            }
            Numbers::Ready(series) => series.into_iter().for_each(|series| take_ready(&mut drafts, series)),
            Numbers::Samples(found) => found.into_iter().for_each(|series| take(&mut drafts, series, self.matchers)),
        }
        self.with_overlay(drafts)
    }

    /// What was read, with what is not stored yet.
    fn with_overlay(&self, mut drafts: BTreeMap<Labels, Draft>) -> Result<Loaded, QueryError> {
        for series in &self.overlay {
            let within = |at: i64| at > self.extent.after && at <= self.extent.until;
            let samples = series.samples.iter().map(|sample| (sample.at.millis(), sample.value));
            let mut samples = samples.filter(|(at, _)| within(*at)).peekable();
            if samples.peek().is_some() {
                let (times, values) = samples.unzip();
                drafts.entry(series.labels.clone()).or_default().append(Samples { times, values }, Histograms::new());
            }
        }
        if drafts.len() > self.limits.max_series {
            return Err(too_many_series(self.limits.max_series));
        }
        Ok(Loaded::Samples(drafts.into_iter().map(|(labels, draft)| finish(labels, draft)).collect()))
    }
}

/// What a store computed, in order of labels.
fn granted(columns: Vec<GridSeries>) -> Loaded {
    let column =
        |of: GridSeries| GridColumn { labels: Arc::new(of.labels), counter: of.kind.is_counter(), cells: of.cells, samples: of.samples };
    let mut columns: Vec<GridColumn> = columns.into_iter().map(column).collect();
    columns.sort_by(|a, b| a.labels.cmp(&b.labels));
    Loaded::Grid(columns)
}

/// Adds a series from memory to the drafts.
fn take_ready(drafts: &mut BTreeMap<Labels, Draft>, series: LoadedSeries) {
    let draft = drafts.entry(Arc::unwrap_or_clone(series.labels)).or_default();
    draft.delta |= series.delta;
    draft.counter |= series.counter;
    draft.append(Samples { times: series.times, values: series.values }, series.histograms);
}

/// Adds a stored series to the drafts: buckets and quantiles as one series each.
fn take(drafts: &mut BTreeMap<Labels, Draft>, series: StoredSeries, matchers: &[Matcher]) {
    let delta = series.temporality == Temporality::Delta;
    let counter = series.kind.is_counter();
    let mut add = |labels: Labels, samples: Samples, histograms: Histograms| {
        let draft = drafts.entry(labels).or_default();
        draft.delta |= delta;
        draft.counter |= counter;
        draft.append(samples, histograms);
    };
    match series.data {
        StoredData::Numbers(samples) => add(series.labels, samples, Histograms::new()),
        StoredData::Native(points) => {
            let times = points.iter().map(|point| point.at).collect();
            let values = points.iter().map(|point| if point.histogram.is_some() { HISTOGRAM } else { ABSENT }).collect();
            add(series.labels, Samples { times, values }, points.into_iter().map(|point| point.histogram).collect());
        }
        StoredData::Quantiles(points) => {
            for (quantile, samples) in split_quantiles(&points) {
                let text = bound_text(quantile);
                if matchers.iter().filter(|m| m.name == QUANTILE_LABEL).all(|m| m.matches_value(&text)) {
                    add(series.labels.clone().with(QUANTILE_LABEL, &text), samples, Histograms::new());
                }
            }
        }
        StoredData::Buckets(points) => {
            for (bound, samples) in split_buckets(&points) {
                let text = bound_text(bound);
                if matchers.iter().filter(|m| m.name == BUCKET_LABEL).all(|m| m.matches_value(&text)) {
                    add(series.labels.clone().with(BUCKET_LABEL, &text), samples, Histograms::new());
                }
            }
        }
    }
}

/// Puts samples in order of time. Of two at the same moment the later one counts; in a delta series both do.
fn finish(labels: Labels, draft: Draft) -> LoadedSeries {
    let (Samples { mut times, mut values }, mut histograms) = (draft.samples, draft.histograms);
    if !times.is_sorted() {
        let mut order: Vec<usize> = (0..times.len()).collect();
        order.sort_by_key(|index| times[*index]);
        values = order.iter().map(|index| values[*index]).collect();
        if !histograms.is_empty() {
            histograms = order.iter().map(|index| histograms[*index].take()).collect();
        }
        times = order.iter().map(|index| times[*index]).collect();
    }
    let mut series = LoadedSeries { labels: Arc::new(labels), delta: draft.delta, counter: draft.counter, times, values, histograms };
    series.settle();
    series
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_into_order_and_one_moment_counts_once_unless_delta() {
        let samples = || Samples { times: vec![3, 1, 2, 1], values: vec![3.0, 1.0, 2.0, 1.5] };
        let total = finish(Labels::empty(), Draft { samples: samples(), ..Draft::default() });
        assert_eq!((total.times, total.values), (vec![1, 2, 3], vec![1.5, 2.0, 3.0]));
        let delta = finish(Labels::empty(), Draft { delta: true, samples: samples(), ..Draft::default() });
        assert_eq!((delta.times, delta.values), (vec![1, 1, 2, 3], vec![1.0, 1.5, 2.0, 3.0]));
    }
}
