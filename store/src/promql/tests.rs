//! The evaluator on series in memory, as a table: series, expression, moment, answer.

use model::labels::Labels;
use model::query::{MetricQuery, QueryError, QueryOptions, QueryValue, Series, SeriesSample};
use model::tenant::TenantId;
use model::time::Timestamp;
use promql_parser::parser::{Expr, parse};
use proptest::prelude::*;

use super::load::matchers;
use super::memory::MemorySource;
use super::source::{STALE_NAN, StoredSeries};
use super::*;

/// `name{a="b"} 1 2 _ 4 stale`: a sample every 10 s from 0; `_` is none. `~` before the name marks increments.
fn load(text: &str) -> Vec<StoredSeries> {
    let mut all = Vec::new();
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (delta, line) = line.strip_prefix('~').map_or((false, line), |rest| (true, rest));
        let split = line.find("} ").map_or_else(|| line.find(' ').unwrap(), |at| at + 1);
        let Ok(Expr::VectorSelector(selector)) = parse(&line[..split]) else { panic!("{line}") };
        let labels: Labels = matchers(&selector).unwrap().into_iter().map(|matcher| (matcher.name, matcher.value)).collect();
        let mut samples = Vec::new();
        for word in line[split..].split_whitespace() {
            // `a+bxn` is a, a+b, ... with n steps.
            if let Some((first, rest)) = word.split_once('+').filter(|_| word.contains('x')) {
                let (step, count) = rest.split_once('x').unwrap();
                for at in 0..=count.parse::<usize>().unwrap() {
                    samples.push(Some(first.parse::<f64>().unwrap() + step.parse::<f64>().unwrap() * at as f64));
                }
                continue;
            }
            samples.push(match word {
                "_" => None,
                "stale" => Some(f64::from_bits(STALE_NAN)),
                number => Some(number.parse().unwrap()),
            });
        }
        let samples = samples.into_iter().enumerate().filter_map(|(at, value)| value.map(|value| (at as i64 * 10_000, value))).collect();
        all.push(StoredSeries { labels, delta, samples });
    }
    all
}

async fn ask(series: &str, expr: &str, seconds: i64) -> Result<Answer, QueryError> {
    let engine = PromQl::new(Arc::new(MemorySource(load(series))));
    engine.instant(&TenantId::default(), expr, Timestamp::from_secs(seconds), &QueryOptions::default()).await
}

async fn text(series: &str, expr: &str, seconds: i64) -> String {
    let answer = match ask(series, expr, seconds).await {
        Ok(answer) => answer,
        Err(error) => return format!("error: {error}"),
    };
    let number = |value: f64| model::units::Value((value * 1e9).round() / 1e9).to_string();
    match answer.value {
        QueryValue::Scalar(sample) => number(sample.value),
        QueryValue::Text(_, text) => text,
        QueryValue::Vector(elements) => {
            let ordered = expr.starts_with("sort") || expr.starts_with("topk") || expr.starts_with("bottomk");
            let mut lines: Vec<String> = elements.iter().map(|(labels, sample)| format!("{labels} {}", number(sample.value))).collect();
            if !ordered {
                lines.sort();
            }
            lines.join("; ")
        }
        QueryValue::Matrix(series) => series
            .iter()
            .map(|one| {
                format!(
                    "{} {:?}",
                    one.labels,
                    one.samples.iter().map(|sample| (sample.at.millis() / 1000, sample.value)).collect::<Vec<_>>()
                )
            })
            .collect::<Vec<_>>()
            .join("; "),
    }
}

const SERIES: &str = r#"
    up{job="a"} 1+0x60
    up{job="b"} 0+0x60
    requests_total{job="a",code="200"} 0+10x60
    requests_total{job="a",code="500"} 0+1x60
    requests_total{job="b",code="200"} 0+20x60
    resetting_total 0 10 20 5 15 25 35
    gauge{job="a"} 1 5 2 8 3
    gone{job="a"} 1 2 3 stale
    short{job="a"} 7
    le_bucket{le="0.1"} 0+1x60
    le_bucket{le="0.5"} 0+3x60
    le_bucket{le="1"} 0+4x60
    le_bucket{le="+Inf"} 0+4x60
    ~calls_total{service="a"} 2 3 5 0 10
    owner{job="a",team="red"} 1+0x60
    owner{job="b",team="blue"} 1+0x60
"#;

#[tokio::test]
async fn answers_are_those_of_prometheus() {
    let cases: &[(&str, i64, &str)] = &[
        ("1 + 2 * 3 ^ 2", 0, "19"),
        ("-2 ^ 2", 0, "-4"),
        ("up", 100, r#"up{job="a"} 1; up{job="b"} 0"#),
        ("up == 0", 100, r#"up{job="b"} 0"#),
        ("up == bool 0", 100, r#"{job="a"} 0; {job="b"} 1"#),
        ("0 == up", 100, r#"up{job="b"} 0"#),
        (r#"up{job=~"a|c"}"#, 100, r#"up{job="a"} 1"#),
        (r#"up{job!~"a|c",zone=""}"#, 100, r#"up{job="b"} 0"#),
        ("rate(requests_total[1m])", 600, r#"{code="200", job="a"} 1; {code="200", job="b"} 2; {code="500", job="a"} 0.1"#),
        ("increase(requests_total{job=\"b\"}[1m])", 600, r#"{code="200", job="b"} 120"#),
        ("increase(resetting_total[1m])", 60, "{} 54"),
        ("irate(resetting_total[1m])", 30, "{} 0.5"),
        ("delta(gauge[40s])", 40, r#"{job="a"} -2.666666667"#),
        ("idelta(gauge[40s])", 40, r#"{job="a"} -5"#),
        ("rate(short[5m])", 10, ""),
        ("rate(calls_total[50s])", 40, r#"{service="a"} 0.4"#),
        ("increase(calls_total[30s])", 40, r#"{service="a"} 15"#),
        ("calls_total", 40, ""),
        ("deriv(calls_total[1m])", 40, ""),
        ("sum(calls_total) or vector(0)", 40, "{} 0"),
        ("sum by (job) (rate(requests_total[1m]))", 600, r#"{job="a"} 1.1; {job="b"} 2"#),
        ("sum without (code) (rate(requests_total[1m]))", 600, r#"{job="a"} 1.1; {job="b"} 2"#),
        ("avg(up)", 100, "{} 0.5"),
        ("count(up)", 100, "{} 2"),
        ("min(up) + max(up)", 100, "{} 1"),
        ("group by (job) (requests_total)", 100, r#"{job="a"} 1; {job="b"} 1"#),
        ("stddev(up)", 100, "{} 0.5"),
        ("topk(1, rate(requests_total[1m]))", 600, r#"{code="200", job="b"} 2"#),
        ("bottomk(1, rate(requests_total[1m]))", 600, r#"{code="500", job="a"} 0.1"#),
        ("quantile(0.5, up)", 100, "{} 0.5"),
        (r#"count_values("v", up)"#, 100, r#"{v="0"} 1; {v="1"} 1"#),
        ("histogram_quantile(0.5, rate(le_bucket[1m]))", 600, "{} 0.3"),
        ("histogram_quantile(0.95, rate(le_bucket[1m]))", 600, "{} 0.9"),
        ("histogram_quantile(1, rate(le_bucket[1m]))", 600, "{} 1"),
        (
            r#"sum by (job) (rate(requests_total{code="500"}[1m])) / sum by (job) (rate(requests_total[1m]))"#,
            600,
            r#"{job="a"} 0.090909091"#,
        ),
        (
            r#"requests_total / ignoring(code) group_left requests_total{code="500"}"#,
            600,
            r#"{code="200", job="a"} 10; {code="500", job="a"} 1"#,
        ),
        ("up * on (job) group_left (team) owner", 100, r#"{job="a", team="red"} 1; {job="b", team="blue"} 0"#),
        ("up and on (job) gauge", 30, r#"up{job="a"} 1"#),
        ("up unless on (job) gauge", 30, r#"up{job="b"} 0"#),
        (r#"up{job="a"} or up"#, 30, r#"up{job="a"} 1; up{job="b"} 0"#),
        ("gone", 20, r#"gone{job="a"} 3"#),
        ("gone", 30, ""),
        ("last_over_time(gone[1m])", 30, r#"gone{job="a"} 3"#),
        ("short", 299, r#"short{job="a"} 7"#),
        ("short", 300, ""),
        ("short offset 1m", 60, r#"short{job="a"} 7"#),
        ("short offset -1m", -60, r#"short{job="a"} 7"#),
        ("short @ 0", 9_000, r#"short{job="a"} 7"#),
        ("max_over_time(gauge[40s])", 40, r#"{job="a"} 8"#),
        ("min_over_time(gauge[40s])", 40, r#"{job="a"} 2"#),
        ("sum_over_time(gauge[20s])", 40, r#"{job="a"} 11"#),
        ("avg_over_time(gauge[20s])", 40, r#"{job="a"} 5.5"#),
        ("count_over_time(gauge[1h])", 40, r#"{job="a"} 5"#),
        ("quantile_over_time(0.5, gauge[1h])", 40, r#"{job="a"} 3"#),
        ("stdvar_over_time(gauge[1h])", 40, r#"{job="a"} 6.16"#),
        ("changes(gauge[1h])", 40, r#"{job="a"} 4"#),
        ("resets(resetting_total[1h])", 60, "{} 1"),
        ("deriv(requests_total{job=\"b\"}[1m])", 600, r#"{code="200", job="b"} 2"#),
        ("predict_linear(requests_total{job=\"b\"}[1m], 10)", 600, r#"{code="200", job="b"} 1220"#),
        ("absent(nothing{job=\"x\",zone=~\"y\"})", 0, r#"{job="x"} 1"#),
        ("absent(up)", 10, ""),
        ("absent_over_time(nothing{job=\"x\"}[1m])", 0, r#"{job="x"} 1"#),
        ("sum_over_time(up{job=\"a\"}[1m:10s])", 100, r#"{job="a"} 6"#),
        ("max_over_time(rate(requests_total{job=\"b\"}[1m])[2m:30s])", 600, r#"{code="200", job="b"} 2"#),
        ("clamp_max(up, 0.5)", 100, r#"{job="a"} 0.5; {job="b"} 0"#),
        ("clamp(up, 1, 0)", 100, ""),
        ("round(vector(2.5))", 0, "{} 3"),
        ("round(vector(7.3), 5)", 0, "{} 5"),
        ("abs(-up)", 100, r#"{job="a"} 1; {job="b"} 0"#),
        (r#"label_replace(up, "zone", "$1-x", "job", "(.*)")"#, 100, r#"up{job="a", zone="a-x"} 1; up{job="b", zone="b-x"} 0"#),
        (r#"label_join(up, "both", "/", "job", "job")"#, 100, r#"up{both="a/a", job="a"} 1; up{both="b/b", job="b"} 0"#),
        ("sort_desc(up)", 100, r#"up{job="a"} 1; up{job="b"} 0"#),
        ("scalar(up{job=\"a\"}) + 1", 100, "2"),
        ("scalar(up)", 100, "NaN"),
        ("time()", 100, "100"),
        ("timestamp(short)", 100, r#"{job="a"} 0"#),
        ("day_of_week(vector(0))", 0, "{} 4"),
        ("days_in_month(vector(951782400))", 0, "{} 29"),
        ("hour(vector(3600))", 0, "{} 1"),
        ("year()", 0, "{} 1970"),
        ("gauge[15s]", 40, r#"gauge{job="a"} [(30, 8.0), (40, 3.0)]"#),
        (r#""text""#, 0, "text"),
        ("1 > bool 2", 0, "0"),
        ("vector(1) / 0", 0, "{} +Inf"),
        ("sum(nothing)", 0, ""),
    ];
    for (expr, seconds, expected) in cases {
        assert_eq!(text(SERIES, expr, *seconds).await, *expected, "{expr} at {seconds}");
    }
}

#[tokio::test]
async fn what_cannot_be_answered_says_why() {
    for (expr, words) in [
        ("sum by (", "does not parse"),
        ("up + on (job) requests_total", "many-to-many"),
        ("requests_total + on (job) up", "many-to-one matching must be explicit"),
        (r#"label_replace(up, "job", "x", "job", ".*")"#, "same labelset"),
        ("1 > 2", "parse"),
        (r#"up{job=~"("}"#, "parse"),
        ("limit_ratio(0.5, up)", "not supported"),
    ] {
        let answer = text(SERIES, expr, 100).await;
        assert!(answer.starts_with("error: ") && (answer.contains(words) || words == "parse"), "{expr}: {answer}");
    }
    let answer = ask(SERIES, "calls_total", 40).await.unwrap();
    assert!(answer.warnings[0].contains("increments") && answer.matched_any_series, "{answer:?}");
    assert!(!ask(SERIES, "nothing", 40).await.unwrap().matched_any_series);
}

#[tokio::test]
async fn an_overlay_counts_as_stored() {
    let engine = PromQl::new(Arc::new(MemorySource(load(SERIES))));
    let series = Series {
        labels: [("__name__", "fresh"), ("job", "a")].into_iter().collect(),
        samples: vec![SeriesSample { at: Timestamp::from_secs(100), value: 5.0 }],
    };
    let options = QueryOptions { overlay: vec![series], ..QueryOptions::default() };
    let answer = engine.instant(&TenantId::default(), "sum(fresh)", Timestamp::from_secs(100), &options).await.unwrap();
    let QueryValue::Vector(elements) = answer.value else { panic!() };
    assert_eq!(elements[0].1.value, 5.0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn a_range_query_is_an_instant_query_at_each_step(which in 0usize..6, start in 0i64..300, step in 1i64..70) {
        let expr = ["up", "rate(requests_total[1m])", "sum by (job) (requests_total)", "max_over_time(gauge[30s])", "up offset 30s", "sum_over_time(up[1m:20s])"][which];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let engine = PromQl::new(Arc::new(MemorySource(load(SERIES))));
            let end = start + step * 4;
            let range = engine.range(&TenantId::default(), expr, Timestamp::from_secs(start), Timestamp::from_secs(end), Duration::from_secs(step as u64), &QueryOptions::default()).await.unwrap();
            let QueryValue::Matrix(series) = range.value else { panic!() };
            for at in (start..=end).step_by(step as usize) {
                let instant = engine.instant(&TenantId::default(), expr, Timestamp::from_secs(at), &QueryOptions::default()).await.unwrap();
                let QueryValue::Vector(mut elements) = instant.value else { panic!() };
                elements.sort_by(|a, b| a.0.cmp(&b.0));
                let mut column: Vec<(Labels, SeriesSample)> = series.iter().filter_map(|one| one.samples.iter().find(|sample| sample.at.millis() == at * 1000).map(|sample| (one.labels.clone(), *sample))).collect();
                column.sort_by(|a, b| a.0.cmp(&b.0));
                assert_eq!(column, elements, "{expr} at {at}");
            }
        });
    }
}
