//! PromQL: parsed by `promql-parser`, evaluated here as Prometheus 3 documents it (ranges and lookback are left-open). Every
//! selector's data is loaded once for the whole evaluation, then each step is computed in memory, off the async threads.
//!
//! [`load`] finds out what a selector needs and fetches it from a [`source::SeriesSource`]; [`eval`] walks the expression at one
//! moment; [`range`] holds the functions over ranges, [`instant`] those over instant vectors, [`aggregate`] and [`binary`] the rest.

pub mod aggregate;
pub mod binary;
pub mod clickhouse;
pub mod eval;
pub mod instant;
pub mod load;
pub mod memory;
pub mod range;
pub mod source;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use model::labels::{Labels, METRIC_NAME};
use model::query::{
    Answer, MetricCatalog, MetricMetadata, MetricQuery, QueryError, QueryOptions, QueryValue, Series, SeriesRange, SeriesSample,
};
use model::tenant::TenantId;
use model::time::Timestamp;
use promql_parser::parser::{Expr, parse};

use eval::{Evaluation, Value};
use load::Loaded;
use source::SeriesSource;

/// The evaluator over a source of series.
pub struct PromQl {
    source: Arc<dyn SeriesSource>,
}

/// The steps of an evaluation.
#[derive(Clone, Copy, Debug)]
pub struct Steps {
    /// The first moment, in milliseconds.
    pub start: i64,
    /// The last moment at the latest, in milliseconds.
    pub end: i64,
    /// Between two moments, in milliseconds; positive.
    pub step: i64,
}

impl PromQl {
    /// Over a source.
    pub fn new(source: Arc<dyn SeriesSource>) -> Self {
        PromQl { source }
    }

    fn parse(expr: &str) -> Result<Box<Expr>, QueryError> {
        // Boxed, since what is loaded is found by the place of its selector in memory.
        parse(expr)
            .map(Box::new)
            .map_err(|error| QueryError::BadData(format!("the expression `{}` does not parse: {error}", shortened(expr))))
    }

    async fn load(&self, tenant: &TenantId, expr: &Expr, steps: Steps, options: &QueryOptions) -> Result<Loaded, QueryError> {
        let loading = load::load(&*self.source, tenant, expr, steps, options);
        tokio::time::timeout(options.timeout, loading).await.map_err(|_| QueryError::Timeout(options.timeout))?
    }

    async fn run<T: Send + 'static>(
        &self,
        options: &QueryOptions,
        work: impl FnOnce() -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, QueryError> {
        let task = tokio::task::spawn_blocking(work);
        let joined = tokio::time::timeout(options.timeout, task).await.map_err(|_| QueryError::Timeout(options.timeout))?;
        joined.map_err(|_| QueryError::Execution("the evaluation ended abruptly".to_owned()))?
    }
}

fn shortened(expr: &str) -> String {
    let short: String = expr.chars().take(200).collect();
    if short.len() < expr.len() { format!("{short}...") } else { short }
}

fn answer(value: QueryValue, evaluation: Evaluation, loaded: &Loaded) -> Answer {
    Answer {
        value,
        warnings: evaluation.warnings.into_iter().collect(),
        infos: evaluation.infos.into_iter().collect(),
        matched_any_series: loaded.matched_any_series(),
    }
}

#[async_trait]
impl MetricQuery for PromQl {
    async fn instant(&self, tenant: &TenantId, expr: &str, at: Timestamp, options: &QueryOptions) -> Result<Answer, QueryError> {
        let expr = PromQl::parse(expr)?;
        let at = at.millis();
        let steps = Steps { start: at, end: at, step: 1 };
        let loaded = self.load(tenant, &expr, steps, options).await?;
        let lookback = millis(options.lookback);
        self.run(options, move || {
            let mut evaluation = Evaluation::new(steps, lookback);
            let sample = |value| SeriesSample { at: Timestamp::from_millis(at), value };
            // A range at the top is shown as it is stored.
            if let Some(series) = evaluation.raw_matrix(&expr, &loaded, at)? {
                return Ok(answer(QueryValue::Matrix(series), evaluation, &loaded));
            }
            let value = match evaluation.value(&expr, &loaded, at)? {
                Value::Scalar(value) => QueryValue::Scalar(sample(value)),
                Value::Text(text) => QueryValue::Text(Timestamp::from_millis(at), text),
                Value::Vector(elements) => QueryValue::Vector(
                    eval::distinct(elements)?.into_iter().map(|element| (element.labels, sample(element.value))).collect(),
                ),
            };
            Ok(answer(value, evaluation, &loaded))
        })
        .await
    }

    async fn range(
        &self,
        tenant: &TenantId,
        expr: &str,
        start: Timestamp,
        end: Timestamp,
        step: Duration,
        options: &QueryOptions,
    ) -> Result<Answer, QueryError> {
        let expr = PromQl::parse(expr)?;
        let steps = Steps { start: start.millis(), end: end.millis(), step: millis(step).max(1) };
        let loaded = self.load(tenant, &expr, steps, options).await?;
        let lookback = millis(options.lookback);
        self.run(options, move || {
            let mut evaluation = Evaluation::new(steps, lookback);
            let series = evaluation.series(&expr, &loaded)?;
            Ok(answer(QueryValue::Matrix(series), evaluation, &loaded))
        })
        .await
    }

    fn check(&self, expr: &str) -> Result<(), QueryError> {
        let expr = PromQl::parse(expr)?;
        load::check(&expr)
    }
}

/// A duration in whole milliseconds.
fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 4)
}

impl PromQl {
    async fn found(&self, tenant: &TenantId, range: &SeriesRange) -> Result<Vec<Labels>, QueryError> {
        let mut found: BTreeMap<Labels, ()> = BTreeMap::new();
        let everything = Vec::new();
        let mut selectors = Vec::new();
        for selector in &range.selectors {
            selectors.push(load::selector(selector)?);
        }
        if selectors.is_empty() {
            selectors.push(everything);
        }
        for matchers in &selectors {
            for labels in self.source.labels(tenant, matchers, range.start, range.end, range.limit).await? {
                found.insert(labels, ());
            }
        }
        Ok(found.into_keys().collect())
    }
}

#[async_trait]
impl MetricCatalog for PromQl {
    async fn series(&self, tenant: &TenantId, range: &SeriesRange) -> Result<Vec<Labels>, QueryError> {
        let mut found = self.found(tenant, range).await?;
        found.truncate(range.limit);
        Ok(found)
    }

    async fn label_names(&self, tenant: &TenantId, range: &SeriesRange) -> Result<Vec<String>, QueryError> {
        let found = self.found(tenant, range).await?;
        let names: BTreeMap<&str, ()> = found.iter().flat_map(|labels| labels.iter().map(|(name, _)| (name, ()))).collect();
        Ok(names.into_keys().map(str::to_owned).take(range.limit).collect())
    }

    async fn label_values(&self, tenant: &TenantId, name: &str, range: &SeriesRange) -> Result<Vec<String>, QueryError> {
        if name == METRIC_NAME && range.selectors.is_empty() {
            let mut names = self.source.metric_names(tenant, range.start, range.end).await?;
            names.truncate(range.limit);
            return Ok(names);
        }
        let found = self.found(tenant, range).await?;
        let values: BTreeMap<&str, ()> = found.iter().filter_map(|labels| labels.get(name).map(|value| (value, ()))).collect();
        Ok(values.into_keys().map(str::to_owned).take(range.limit).collect())
    }

    async fn metadata(&self, tenant: &TenantId, limit: usize) -> Result<Vec<MetricMetadata>, QueryError> {
        self.source.metadata(tenant, limit).await
    }
}

/// Series that overlay what is stored: the newer one of two with the same labels wins at the same moment.
pub(crate) fn overlaid(stored: &mut Vec<source::StoredSeries>, overlay: &[Series], matchers: &[model::labels::Matcher]) {
    for series in overlay.iter().filter(|series| matchers.iter().all(|matcher| matcher.matches(&series.labels))) {
        let place = stored.iter_mut().find(|one| one.labels == series.labels);
        let target = match place {
            Some(target) => target,
            None => {
                stored.push(source::StoredSeries { labels: series.labels.clone(), delta: false, samples: Vec::new() });
                let Some(last) = stored.last_mut() else { continue };
                last
            }
        };
        for sample in &series.samples {
            let at = sample.at.millis();
            match target.samples.binary_search_by_key(&at, |(at, _)| *at) {
                Ok(found) => target.samples[found].1 = sample.value,
                Err(place) => target.samples.insert(place, (at, sample.value)),
            }
        }
    }
}
