//! What series, labels and metrics there are, with the virtual series of histograms among them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use async_trait::async_trait;
use model::labels::{Labels, METRIC_NAME, Matcher};
use model::query::{
    Cardinality, Exemplar, MetricCatalog, MetricMetadata, Overlay, QueryError, QueryOptions, SeriesExemplars, SeriesRange, SeriesSample,
};
use model::tenant::TenantId;
use model::time::Timestamp;

use super::PromQl;
use super::eval::Extent;
use super::histogram::bound_text;
use super::load::{LoadLimits, load};
use super::parse;
use super::plan::Selector;
use super::source::{Listing, Part, SeriesHead, Shape, stored_matchers};
use super::value::is_number;

/// One question gives at most so many exemplars of a kind of rows; panels show a few hundred.
const MOST_EXEMPLARS: usize = 10_000;

impl PromQl {
    /// The matcher sets of a metadata question; no selector means everything.
    fn matcher_sets(range: &SeriesRange) -> Result<Vec<Vec<Matcher>>, QueryError> {
        if range.selectors.is_empty() {
            return Ok(vec![Vec::new()]);
        }
        range.selectors.iter().map(|selector| parse::selector(selector)).collect()
    }

    /// The label sets of one matcher set and shape.
    async fn listed(
        &self,
        tenant: &TenantId,
        range: &SeriesRange,
        matchers: &[Matcher],
        shape: Shape,
        limit: usize,
    ) -> Result<Vec<Labels>, QueryError> {
        let stored = stored_matchers(matchers, shape);
        let listing = Listing { tenant, matchers: &stored, shape, start: range.start.millis(), end: range.end.millis(), limit };
        let heads = self.source.series(&listing).await?;
        let with_bounds = |head: SeriesHead| -> Vec<Labels> {
            let Some(name) = shape.virtual_label() else { return vec![head.labels] };
            let last = (shape == Shape::Histograms(Part::Bucket)).then_some(f64::INFINITY);
            head.bounds.iter().copied().chain(last).map(|bound| head.labels.clone().with(name, &bound_text(bound))).collect()
        };
        let all = heads.into_iter().flat_map(with_bounds);
        Ok(all.filter(|labels| matchers.iter().all(|matcher| matcher.matches(labels))).take(limit).collect())
    }
}

/// Whether a matcher is about the label that rows of this shape do not store.
fn asks_for_virtual(matchers: &[Matcher], shape: Shape) -> bool {
    matchers.iter().any(|matcher| shape.virtual_label() == Some(&matcher.name))
}

#[async_trait]
impl MetricCatalog for PromQl {
    async fn series(&self, tenant: &TenantId, range: &SeriesRange) -> Result<Vec<Labels>, QueryError> {
        let mut found = BTreeSet::new();
        for matchers in PromQl::matcher_sets(range)? {
            for shape in Shape::ALL.into_iter().filter(|shape| shape.may_match(&matchers)) {
                found.extend(self.listed(tenant, range, &matchers, shape, range.limit).await?);
            }
        }
        Ok(found.into_iter().take(range.limit).collect())
    }

    async fn label_names(&self, tenant: &TenantId, range: &SeriesRange) -> Result<Vec<String>, QueryError> {
        let mut found = BTreeSet::new();
        for matchers in PromQl::matcher_sets(range)? {
            for shape in Shape::ALL.into_iter().filter(|shape| shape.may_match(&matchers)) {
                if asks_for_virtual(&matchers, shape) {
                    let all = self.listed(tenant, range, &matchers, shape, self.limits.max_series).await?;
                    found.extend(all.iter().flat_map(|labels| labels.iter().map(|(name, _)| name.to_owned())));
                    continue;
                }
                let (start, end) = (range.start.millis(), range.end.millis());
                let listing = Listing { tenant, matchers: &matchers, shape, start, end, limit: range.limit };
                if self.source.label_values(METRIC_NAME, &Listing { limit: 1, ..listing.clone() }).await?.is_empty() {
                    continue;
                }
                found.insert(METRIC_NAME.to_owned());
                found.extend(shape.virtual_label().map(str::to_owned));
                found.extend(self.source.label_names(&listing).await?);
            }
        }
        Ok(found.into_iter().take(range.limit).collect())
    }

    async fn label_values(&self, tenant: &TenantId, name: &str, range: &SeriesRange) -> Result<Vec<String>, QueryError> {
        if name.is_empty() {
            return Err(QueryError::BadData("invalid label name: \"\"".to_owned()));
        }
        let mut found = BTreeSet::new();
        for matchers in PromQl::matcher_sets(range)? {
            for shape in Shape::ALL.into_iter().filter(|shape| shape.may_match(&matchers)) {
                if shape.virtual_label() == Some(name) || asks_for_virtual(&matchers, shape) {
                    let all = self.listed(tenant, range, &matchers, shape, self.limits.max_series).await?;
                    found.extend(all.iter().filter_map(|labels| labels.get(name).map(str::to_owned)));
                    continue;
                }
                let (start, end) = (range.start.millis(), range.end.millis());
                let listing = Listing { tenant, matchers: &matchers, shape, start, end, limit: range.limit };
                found.extend(self.source.label_values(name, &listing).await?);
            }
        }
        Ok(found.into_iter().take(range.limit).collect())
    }

    async fn metadata(&self, tenant: &TenantId, limit: usize) -> Result<Vec<MetricMetadata>, QueryError> {
        self.source.metadata(tenant, limit).await
    }

    async fn newest(
        &self,
        tenant: &TenantId,
        selectors: &[String],
        at: Timestamp,
        lookback: Duration,
    ) -> Result<Vec<(Labels, SeriesSample)>, QueryError> {
        let mut plan = Vec::with_capacity(selectors.len());
        for selector in selectors {
            plan.push(Selector { matchers: parse::selector(selector)? });
        }
        let until = at.millis();
        let extent = Extent { after: until.saturating_sub(super::as_millis(lookback)), until, wish: None };
        let limits = LoadLimits {
            max_series: self.limits.max_series,
            max_samples: self.limits.max_samples,
            timeout: QueryOptions::default().timeout,
        };
        let data = load(&self.from(None), tenant, &plan, &vec![Some(extent); plan.len()], &Overlay::default(), limits).await?;
        let mut found: BTreeMap<Labels, SeriesSample> = BTreeMap::new();
        for series in data.iter().flat_map(|loaded| loaded.samples()) {
            let last = series.times.last().zip(series.values.last());
            if let Some((time, value)) = last.filter(|(_, value)| is_number(**value)) {
                found.insert(Labels::clone(&series.labels), SeriesSample { at: Timestamp::from_millis(*time), value: *value });
            }
        }
        Ok(found.into_iter().collect())
    }

    async fn exemplars(&self, tenant: &TenantId, expr: &str, start: Timestamp, end: Timestamp) -> Result<Vec<SeriesExemplars>, QueryError> {
        let mut found: BTreeMap<Labels, Vec<Exemplar>> = BTreeMap::new();
        let (start, end) = (start.millis(), end.millis());
        for selector in &parse::parse(expr)?.selectors {
            for shape in Shape::ALL.into_iter().filter(|shape| shape.may_match(&selector.matchers)) {
                let stored = stored_matchers(&selector.matchers, shape);
                let listing = Listing { tenant, matchers: &stored, shape, start, end, limit: MOST_EXEMPLARS };
                for series in self.source.exemplars(&listing).await? {
                    // The same selector twice gives the same exemplars.
                    found.insert(series.labels, series.exemplars);
                }
            }
        }
        Ok(found.into_iter().map(|(labels, exemplars)| SeriesExemplars { labels, exemplars }).collect())
    }

    async fn cardinality(&self, tenant: &TenantId, limit: usize) -> Result<Cardinality, QueryError> {
        self.source.cardinality(tenant, limit).await
    }

    fn format(&self, expr: &str) -> Result<String, QueryError> {
        parse::format(expr)
    }

    fn syntax_tree(&self, expr: &str) -> Result<String, QueryError> {
        parse::tree(expr)
    }
}
