//! Questions about one moment that are asked together, as the rules of a group are: the answers are those of each alone, and each metric is
//! read once for each window.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use model::labels::Labels;
use model::query::{
    Cardinality, MetricMetadata, MetricQuery, Overlay, QueryError, QueryOptions, Series, SeriesExemplars, SeriesSample, Together,
};
use model::tenant::TenantId;
use model::time::Timestamp;
use proptest::prelude::*;
use store::promql::PromQl;
use store::promql::memory::MemorySource;
use store::promql::source::{Listing, Numbers, Samples, Selection, SeriesHead, SeriesKind, SeriesSource, StoredSeries, Temporality, Wish};

use super::clickhouse::agree;
use super::generate::{Spacing, expressions, fill, made_up};
use super::harness::labels;

/// Counts how often it is asked for plain numbers; fails or hands out from memory, if it is told to.
struct Counting {
    inner: MemorySource,
    reads: AtomicUsize,
    /// What becomes of selectors that match more than one series.
    many: Many,
    at_hand: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Many {
    Answer,
    Fail,
    Hang,
}

impl Counting {
    fn new(inner: MemorySource) -> Self {
        Counting { inner, reads: AtomicUsize::new(0), many: Many::Answer, at_hand: false }
    }
}

#[async_trait]
impl SeriesSource for Counting {
    async fn at_hand(&self, selection: &Selection<'_>, _: Option<&Wish>) -> Result<Option<Numbers>, QueryError> {
        Ok(if self.at_hand { Some(Numbers::Samples(self.inner.select(selection).await?)) } else { None })
    }
    async fn numbers(&self, selection: &Selection<'_>, _: Option<&Wish>) -> Result<Option<Numbers>, QueryError> {
        self.reads.fetch_add(1, Ordering::SeqCst);
        let found = self.inner.select(selection).await?;
        match self.many {
            Many::Fail if found.len() > 1 => Err(QueryError::Timeout(selection.timeout)),
            Many::Hang if found.len() > 1 => std::future::pending().await,
            _ => Ok(Some(Numbers::Samples(found))),
        }
    }
    async fn select(&self, selection: &Selection<'_>) -> Result<Vec<StoredSeries>, QueryError> {
        self.inner.select(selection).await
    }
    async fn series(&self, listing: &Listing<'_>) -> Result<Vec<SeriesHead>, QueryError> {
        self.inner.series(listing).await
    }
    async fn label_names(&self, listing: &Listing<'_>) -> Result<Vec<String>, QueryError> {
        self.inner.label_names(listing).await
    }
    async fn label_values(&self, name: &str, listing: &Listing<'_>) -> Result<Vec<String>, QueryError> {
        self.inner.label_values(name, listing).await
    }
    async fn metadata(&self, tenant: &TenantId, limit: usize) -> Result<Vec<MetricMetadata>, QueryError> {
        self.inner.metadata(tenant, limit).await
    }
    async fn exemplars(&self, listing: &Listing<'_>) -> Result<Vec<SeriesExemplars>, QueryError> {
        self.inner.exemplars(listing).await
    }
    async fn cardinality(&self, tenant: &TenantId, limit: usize) -> Result<Cardinality, QueryError> {
        self.inner.cardinality(tenant, limit).await
    }
}

fn together(exprs: &[String]) -> QueryOptions {
    QueryOptions { together: Some(Arc::new(Together::new(exprs.into()))), ..QueryOptions::default() }
}

/// Results of earlier rules: of a metric that is stored too, of a series of its own.
fn overlay(at: Timestamp) -> Overlay {
    let series = |text: &str, value: f64| Series { labels: labels(text), samples: vec![SeriesSample { at, value }] };
    [series("limit{job=\"api\",instance=\"0\"}", 7.0), series("limit{job=\"new\"}", 8.0), series("recorded{job=\"api\"}", 9.0)]
        .into_iter()
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn answers_are_those_of_each_question_alone(seed in any::<u64>(), at in 200_000i64..2_000_000, dense in any::<bool>(), earlier in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let (tenant, at) = (TenantId::default(), Timestamp::from_millis(at));
            let promql = PromQl::new(Arc::new(fill(seed, 0, if dense { Spacing::Dense } else { Spacing::Jittered })));
            let mut exprs = expressions(0);
            exprs.extend(made_up(seed, 60, 0));
            exprs.extend(["limit", "limit{job=\"api\"}", "limit{job=\"web\"}", "recorded", "recorded{job=\"api\"} + 1"].map(str::to_owned));
            let overlay = if earlier { overlay(at) } else { Overlay::default() };
            let alone = QueryOptions { overlay: overlay.clone(), ..QueryOptions::default() };
            let together = QueryOptions { overlay, ..together(&exprs) };
            for expr in &exprs {
                let here = promql.instant(&tenant, expr, at, &alone).await;
                let there = promql.instant(&tenant, expr, at, &together).await;
                agree(expr, here, there);
            }
        });
    }
}

/// A thousand rules about one metric.
fn rules() -> Vec<String> {
    let about = |number: usize| match number % 4 {
        0 => format!("rate(requests_total{{instance=\"{number}\"}}[10m]) > 1"),
        1 => format!(
            "sum(rate(requests_total{{code=~\"5..\", instance=\"{number}\"}}[10m])) / sum(rate(requests_total{{instance=\"{number}\"}}[10m]))"
        ),
        2 => format!("requests_total{{instance=\"{number}\"}} > 5"),
        _ => format!("absent(requests_total{{instance=\"{number}\", code=\"418\"}})"),
    };
    (0..1_000).map(about).collect()
}

async fn fleet() -> (MemorySource, Timestamp) {
    let source = MemorySource::new();
    for number in 0..1_000 {
        for code in ["200", "503"] {
            let times: Vec<i64> = (0..40).map(|step| step * 15_000).collect();
            let values = (0..40).map(|step| f64::from(step * (number % 7))).collect();
            let labels: Labels = labels(&format!("requests_total{{instance=\"{number}\",code=\"{code}\"}}"));
            let samples = Samples { times, values };
            let (kind, temporality) = (SeriesKind::Counter, Temporality::Cumulative);
            source.add(&TenantId::default(), &labels, kind, temporality, &samples);
        }
    }
    (source, Timestamp::from_secs(585))
}

/// Asks all of them, together and each alone: how often the source was read for the former.
async fn read_for(source: Counting, at: Timestamp) -> usize {
    let (tenant, source, exprs) = (TenantId::default(), Arc::new(source), rules());
    let promql = PromQl::new(source.clone());
    let (alone, together) = (QueryOptions { timeout: Duration::from_secs(60), ..QueryOptions::default() }, together(&exprs));
    let mut there = Vec::new();
    for expr in &exprs {
        there.push(promql.instant(&tenant, expr, at, &together).await);
    }
    let reads = source.reads.load(Ordering::SeqCst);
    for (expr, there) in exprs.iter().zip(there) {
        agree(expr, promql.instant(&tenant, expr, at, &alone).await, there);
    }
    reads
}

#[tokio::test]
async fn a_thousand_rules_about_one_metric_read_it_once_for_each_window() {
    let (source, at) = fleet().await;
    assert_eq!(read_for(Counting::new(source), at).await, 2, "ten minutes of rate, and the newest sample");
}

#[tokio::test(start_paused = true)]
async fn where_all_of_it_cannot_be_read_each_reads_for_itself() {
    for many in [Many::Fail, Many::Hang] {
        let (tenant, source, at) =
            (TenantId::default(), Counting { many, ..Counting::new(MemorySource::new()) }, Timestamp::from_secs(585));
        for job in ["a", "b"] {
            let samples = Samples { times: vec![at.millis()], values: vec![1.0] };
            source.inner.add(&tenant, &labels(&format!("up{{job=\"{job}\"}}")), SeriesKind::Gauge, Temporality::Cumulative, &samples);
        }
        let (source, exprs) = (Arc::new(source), vec!["up{job=\"a\"}".to_owned(), "up{job=\"b\"}".to_owned()]);
        let (promql, options) = (PromQl::new(source.clone()), together(&exprs));
        for expr in &exprs {
            assert!(promql.instant(&tenant, expr, at, &options).await.unwrap().matched_any_series, "{expr}");
        }
        assert_eq!(source.reads.load(Ordering::SeqCst), 3, "together, which failed once for all, and each for itself");
    }
}

#[tokio::test]
async fn what_is_in_memory_is_taken_from_there() {
    let (source, at) = fleet().await;
    assert_eq!(read_for(Counting { at_hand: true, ..Counting::new(source) }, at).await, 0);
}
