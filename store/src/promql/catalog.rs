//! What series, labels and metrics there are, with the virtual series of histograms among them.

use std::collections::BTreeSet;

use async_trait::async_trait;
use model::labels::{Labels, METRIC_NAME, Matcher};
use model::query::{MetricCatalog, MetricMetadata, QueryError, SeriesRange};
use model::tenant::TenantId;

use super::PromQl;
use super::histogram::bound_text;
use super::parse;
use super::source::{BUCKET_LABEL, Listing, Part, SeriesHead, Shape, stored_matchers};

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
            if shape != Shape::Histograms(Part::Bucket) {
                return vec![head.labels];
            }
            let bounds = head.bounds.iter().copied().chain([f64::INFINITY]);
            bounds.map(|bound| head.labels.clone().with(BUCKET_LABEL, &bound_text(bound))).collect()
        };
        let all = heads.into_iter().flat_map(with_bounds);
        Ok(all.filter(|labels| matchers.iter().all(|matcher| matcher.matches(labels))).take(limit).collect())
    }
}

fn asks_for_bucket(matchers: &[Matcher]) -> bool {
    matchers.iter().any(|matcher| matcher.name == BUCKET_LABEL)
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
                if asks_for_bucket(&matchers) {
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
                if shape == Shape::Histograms(Part::Bucket) {
                    found.insert(BUCKET_LABEL.to_owned());
                }
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
                let virtual_bounds = name == BUCKET_LABEL && shape == Shape::Histograms(Part::Bucket);
                if virtual_bounds || asks_for_bucket(&matchers) {
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
}
