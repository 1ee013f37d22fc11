//! A range query gives at each step what an instant query gives there.

use std::sync::Arc;
use std::time::Duration;

use model::query::{MetricQuery, QueryOptions, QueryValue};
use model::tenant::TenantId;
use model::time::Timestamp;
use proptest::prelude::*;
use store::promql::PromQl;

use super::generate::{Spacing, expressions, fill};
use super::harness::equal;

/// What an instant query gives, as sorted text and value.
fn vector(value: QueryValue) -> Vec<(String, f64)> {
    let mut all: Vec<(String, f64)> = match value {
        QueryValue::Vector(all) => all.into_iter().map(|(labels, sample)| (labels.to_string(), sample.value)).collect(),
        QueryValue::Scalar(sample) => vec![("{}".to_owned(), sample.value)],
        QueryValue::Matrix(_) | QueryValue::Text(..) => Vec::new(),
    };
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all
}

/// Whether an expression means the same at a step of a range as alone: `start()`, `end()` and their kin do not.
fn same_everywhere(expr: &str) -> bool {
    !["start()", "end()", "step()", "range()"].iter().any(|part| expr.contains(part))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_range_is_its_instants(
        seed in any::<u64>(),
        start in 0i64..1_200_000,
        step in prop::sample::select(vec![1_000i64, 7_001, 15_000, 60_000, 95_000]),
        steps in 1i64..12,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let source = Arc::new(fill(seed, 0, if seed % 2 == 0 { Spacing::Jittered } else { Spacing::Sharp }));
            let promql = PromQl::new(source);
            let (tenant, options) = (TenantId::default(), QueryOptions::default());
            let end = start + step * steps;
            let expressions = expressions(0);
            for expr in expressions.iter().filter(|expr| same_everywhere(expr)) {
                let range = promql
                    .range(&tenant, expr, Timestamp::from_millis(start), Timestamp::from_millis(end), Duration::from_millis(step as u64), &options)
                    .await;
                let mut failed = None;
                for index in 0..=steps {
                    let at = Timestamp::from_millis(start + step * index);
                    let here = match promql.instant(&tenant, expr, at, &options).await {
                        Ok(answer) => vector(answer.value),
                        Err(error) => {
                            failed = Some(error.to_string());
                            continue;
                        }
                    };
                    let Ok(answer) = &range else { continue };
                    let QueryValue::Matrix(series) = &answer.value else { panic!("no matrix") };
                    let mut there: Vec<(String, f64)> = series
                        .iter()
                        .filter_map(|s| s.samples.iter().find(|x| x.at == at).map(|x| (s.labels.to_string(), x.value)))
                        .collect();
                    there.sort_by(|a, b| a.0.cmp(&b.0));
                    assert_eq!(here.len(), there.len(), "{expr} at {at}: {here:?} {there:?}");
                    for (a, b) in here.iter().zip(&there) {
                        assert!(a.0 == b.0 && equal(a.1, b.1, 1e-12), "{expr} at {at}: {a:?} {b:?}");
                    }
                }
                assert_eq!(range.is_err(), failed.is_some(), "{expr}: {:?} {failed:?}", range.as_ref().err());
            }
        });
    }
}
