//! What series, labels and metrics there are.

use std::sync::Arc;

use model::query::{MetricCatalog, QueryError, SeriesRange};
use model::tenant::TenantId;
use model::time::Timestamp;
use store::promql::PromQl;

use super::delta::red;

/// Questions about the series of [`red`], asked of any source that holds them from `origin` (milliseconds) on.
pub async fn check(promql: &PromQl, origin: i64) {
    let tenant = TenantId::default();
    let range = |selectors: &[&str]| SeriesRange {
        selectors: selectors.iter().map(|text| (*text).to_owned()).collect(),
        start: Timestamp::from_millis(origin),
        end: Timestamp::from_millis(origin + 600_000),
        limit: 1_000,
    };
    let names = promql.label_values(&tenant, "__name__", &range(&[])).await.unwrap();
    assert_eq!(
        names,
        [
            "traces_span_metrics_calls_total",
            "traces_span_metrics_duration_seconds_bucket",
            "traces_span_metrics_duration_seconds_count",
            "traces_span_metrics_duration_seconds_sum"
        ]
    );
    assert_eq!(promql.label_names(&tenant, &range(&[])).await.unwrap(), ["__name__", "le", "service_name"]);
    let calls = range(&["traces_span_metrics_calls_total"]);
    assert_eq!(promql.label_names(&tenant, &calls).await.unwrap(), ["__name__", "service_name"]);
    assert_eq!(promql.label_values(&tenant, "service_name", &range(&[])).await.unwrap(), ["cart", "checkout"]);
    let cart = range(&["{service_name=~\"ca.*\"}"]);
    assert_eq!(promql.label_values(&tenant, "service_name", &cart).await.unwrap(), ["cart"]);
    assert_eq!(promql.label_values(&tenant, "le", &range(&[])).await.unwrap(), ["+Inf", "0.1", "0.5", "1"]);
    let small = range(&["traces_span_metrics_duration_seconds_bucket{le=\"0.5\"}"]);
    assert_eq!(promql.label_values(&tenant, "le", &small).await.unwrap(), ["0.5"]);
    assert!(promql.label_values(&tenant, "nothing", &range(&[])).await.unwrap().is_empty());
    let series = |selectors: &[&str]| {
        let range = range(selectors);
        async move { promql.series(&TenantId::default(), &range).await.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>() }
    };
    assert_eq!(
        series(&["traces_span_metrics_calls_total", "traces_span_metrics_duration_seconds_sum{service_name!=\"cart\"}"]).await,
        [
            "traces_span_metrics_calls_total{service_name=\"cart\"}",
            "traces_span_metrics_calls_total{service_name=\"checkout\"}",
            "traces_span_metrics_duration_seconds_sum{service_name=\"checkout\"}"
        ]
    );
    assert_eq!(series(&["{service_name=\"cart\"}"]).await.len(), 1 + 4 + 2);
    assert!(series(&["nothing"]).await.is_empty());
    let limited = SeriesRange { limit: 2, ..range(&[]) };
    assert_eq!(promql.series(&tenant, &limited).await.unwrap().len(), 2);
    let later = SeriesRange {
        start: Timestamp::from_millis(origin + 90 * 86_400_000),
        end: Timestamp::from_millis(origin + 91 * 86_400_000),
        ..range(&[])
    };
    assert!(promql.series(&tenant, &later).await.unwrap().is_empty());
    assert!(promql.label_names(&tenant, &later).await.unwrap().is_empty());
    let metadata = promql.metadata(&tenant, 10).await.unwrap();
    let kinds: Vec<(&str, &str)> = metadata.iter().map(|m| (m.metric.as_str(), m.kind.as_str())).collect();
    assert_eq!(kinds, [("traces_span_metrics_calls_total", "counter"), ("traces_span_metrics_duration_seconds", "histogram")]);
    for bad in ["sum(x)", "x[5m]", "x offset 1m", "{", "{a=~\".*\"}"] {
        let error = promql.series(&tenant, &range(&[bad])).await.unwrap_err();
        assert!(matches!(error, QueryError::BadData(_)), "{bad}: {error}");
    }
}

#[tokio::test]
async fn the_catalog_of_a_memory_source() {
    check(&PromQl::new(Arc::new(red(0))), 0).await;
}
