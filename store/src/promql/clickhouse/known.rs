//! Plain numbers in two statements: which series have the name, then their samples, or what a function gives on a grid of steps. Everything
//! else (names that are patterns, distributions, and deltas where a function is wanted) is left to the general way.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;

use clickhouse::Row;
use model::labels::{METRIC_NAME, MatchOp, Matcher};
use model::query::QueryError;
use model::tables::{SERIES_KINDS, TEMPORALITIES};
use serde::Deserialize;

use super::{ClickHouseSource, Head, SampleRow, SeriesRow, failure, kind_of, labels_of, named, sql};
use crate::clickhouse::ClickHouseError;
use crate::promql::source::{
    BUCKET_LABEL, GridSeries, Numbers, QUANTILE_LABEL, Samples, Selection, Shape, StoredData, StoredSeries, Temporality, Wish,
    too_many_samples, too_many_series,
};
use crate::promql::value::{ABSENT, is_histogram};

/// More series than these are named by their matchers, not one by one.
const NAMED_ONE_BY_ONE: usize = 2_000;

#[derive(Row, Deserialize)]
struct GridRow {
    fingerprint: u64,
    number: u64,
    odd: u64,
    cells: Vec<f64>,
}

/// What a selector matches, all of it plain numbers.
struct Known {
    name: String,
    heads: HashMap<u64, Head>,
    /// The fingerprints, where they are not all that the name has.
    only: Option<Vec<u64>>,
}

impl ClickHouseSource {
    /// See [`crate::promql::source::SeriesSource::numbers`].
    pub(super) async fn known_numbers(&self, selection: &Selection<'_>, wish: Option<&Wish>) -> Result<Option<Numbers>, QueryError> {
        let Some(known) = self.known(selection).await? else { return Ok(None) };
        if known.heads.is_empty() {
            return Ok(Some(Numbers::Samples(Vec::new())));
        }
        if let Some(wish) = wish
            && known.may_be_computed()
            && !self.plain.load(Ordering::Relaxed)
            && let Some(grid) = self.grid(selection, &known, wish).await?
        {
            self.computed.fetch_add(1, Ordering::Relaxed);
            return Ok(Some(Numbers::Grid(grid)));
        }
        self.samples_of(selection, known).await.map(|found| Some(Numbers::Samples(found)))
    }

    async fn known(&self, selection: &Selection<'_>) -> Result<Option<Known>, QueryError> {
        let is_name = |matcher: &&Matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
        let Some(name) = selection.matchers.iter().find(is_name).map(|matcher| matcher.value.clone()) else { return Ok(None) };
        let also = Shape::ALL.iter().filter(|shape| !shape.suffix().is_empty()).find_map(|shape| name.strip_suffix(shape.suffix()));
        let everywhere = |matcher: &&Matcher| ![METRIC_NAME, BUCKET_LABEL, QUANTILE_LABEL].contains(&matcher.name.as_str());
        let matchers: Vec<Matcher> = selection.matchers.iter().filter(everywhere).cloned().collect();
        let fail = |error| failure(error, selection.timeout);
        let statement = sql::index(selection.tenant, &name, also, &matchers);
        let mut cursor = self.query(statement, selection.timeout).fetch::<SeriesRow>().map_err(fail)?;
        let (mut heads, mut all) = (HashMap::new(), true);
        while let Some(row) = cursor.next().await.map_err(fail)? {
            if !matches!(named(SERIES_KINDS, row.kind_code), "gauge" | "sum" | "untyped") {
                return Ok(None);
            }
            if row.name != name {
                continue;
            }
            let labels = labels_of(&row.name, Shape::Numbers, row.label_map);
            if !selection.matchers.iter().all(|matcher| matcher.matches(&labels)) {
                all = false;
                continue;
            }
            let delta = named(TEMPORALITIES, row.temporality_code) == "delta";
            let temporality = if delta { Temporality::Delta } else { Temporality::Cumulative };
            let kind = kind_of(row.kind_code, row.is_monotonic);
            heads.insert(row.fingerprint, Head { labels, kind, temporality, gauge: false });
        }
        all &= matchers.is_empty();
        if !all && heads.len() > NAMED_ONE_BY_ONE {
            return Ok(None);
        }
        let only = (!all).then(|| heads.keys().copied().collect());
        Ok(Some(Known { name, heads, only }))
    }

    async fn samples_of(&self, selection: &Selection<'_>, mut known: Known) -> Result<Vec<StoredSeries>, QueryError> {
        let fail = |error| failure(error, selection.timeout);
        let statement = sql::numbers_of(selection, &known.name, known.only.as_deref());
        let mut cursor = self.query(statement, selection.timeout).fetch::<SampleRow>().map_err(fail)?;
        let (mut found, mut total) = (Vec::new(), 0);
        while let Some(row) = cursor.next().await.map_err(fail)? {
            let Some(head) = known.heads.remove(&row.fingerprint) else { continue };
            total += row.times.len();
            let data = StoredData::Numbers(Samples { times: row.times, values: row.samples });
            found.push(StoredSeries { labels: head.labels, kind: head.kind, temporality: head.temporality, data });
            room(selection, found.len(), total)?;
        }
        Ok(found)
    }

    /// `None` where the store does not know the functions, or where they may mean something else.
    async fn grid(&self, selection: &Selection<'_>, known: &Known, wish: &Wish) -> Result<Option<Vec<GridSeries>>, QueryError> {
        let statement = sql::grid(selection, &known.name, known.only.as_deref(), wish);
        let query = self.query(statement, selection.timeout).with_setting("allow_experimental_time_series_aggregate_functions", "1");
        let mut found = Vec::new();
        let fail = |error| failure(error, selection.timeout);
        let mut cursor = query.fetch::<GridRow>().map_err(fail)?;
        loop {
            let row = match cursor.next().await {
                Ok(Some(row)) => row,
                Ok(None) => return Ok(Some(found)),
                Err(error) => {
                    let error = ClickHouseError::from(error);
                    // An unknown function, aggregate function or setting: an older server.
                    if matches!(error.code, Some(46 | 63 | 115)) {
                        self.plain.store(true, Ordering::Relaxed);
                        tracing::info!(
                            error = error.message,
                            "this ClickHouse cannot compute on a grid of steps; samples are read instead"
                        );
                        return Ok(None);
                    }
                    return Err(super::meaning(error, selection.timeout));
                }
            };
            let Some(head) = known.heads.get(&row.fingerprint) else { continue };
            if row.odd > 0 {
                return Ok(None);
            }
            let mut cells = row.cells;
            // A number that happens to have these bits is no histogram.
            cells.iter_mut().filter(|cell| is_histogram(**cell)).for_each(|cell| *cell = f64::NAN);
            cells.resize(wish.frame.len(), ABSENT);
            let samples = usize::try_from(row.number).unwrap_or(usize::MAX);
            found.push(GridSeries { labels: head.labels.clone(), kind: head.kind, cells, samples });
            room(selection, found.len(), found.len().saturating_mul(wish.frame.len()))?;
        }
    }
}

impl Known {
    /// Whether the store's functions mean the same: no deltas, and no labels that belong to two series.
    fn may_be_computed(&self) -> bool {
        let mut seen = HashSet::with_capacity(self.heads.len());
        self.heads.values().all(|head| head.temporality == Temporality::Cumulative && seen.insert(&head.labels))
    }
}

fn room(selection: &Selection<'_>, series: usize, samples: usize) -> Result<(), QueryError> {
    if series > selection.max_series {
        return Err(too_many_series(selection.max_series));
    }
    if samples > selection.max_samples { Err(too_many_samples(selection.max_samples)) } else { Ok(()) }
}
