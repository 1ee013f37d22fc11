//! The tables.

use super::harness::run;

macro_rules! tables {
    ($($name:ident),* $(,)?) => {
        $(#[tokio::test]
        async fn $name() {
            run(include_str!(concat!("cases/", stringify!($name), ".txt"))).await;
        })*
    };
}

tables!(selectors, rates, over_time, operators, matching, aggregations, functions, histograms, subqueries, modifiers, annotations);
