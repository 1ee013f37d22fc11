//! `promql_expr_test`: what an expression gives at a moment. Asks PromQL; comparing is pure.

use model::labels::Labels;
use model::query::{MetricQuery, QueryOptions, QueryValue};
use model::tenant::TenantId;
use model::time::Timestamp;
use model::units::Value;

use super::file::ExprYaml;
use super::{diff, notation};

/// The relative error that `fuzzy_compare` allows.
const FUZZ: f64 = 1e-6;

/// A sample: a number, or a histogram as text.
#[derive(Clone, Debug, PartialEq)]
struct Sample {
    labels: Labels,
    value: Result<f64, String>,
}

impl Sample {
    fn shown(&self) -> String {
        let value = self.value.as_ref().map_or_else(Clone::clone, |value| Value(*value).to_string());
        format!("{} {value}", self.labels)
    }
    fn fits(&self, other: &Sample, fuzzy: bool) -> bool {
        self.labels == other.labels
            && match (&self.value, &other.value) {
                (Ok(a), Ok(b)) => same(*a, *b, fuzzy),
                (a, b) => a == b,
            }
    }
}

fn same(a: f64, b: f64, fuzzy: bool) -> bool {
    let near = || fuzzy && a.is_finite() && b.is_finite() && (a - b).abs() <= FUZZ * a.abs().max(b.abs()).max(f64::MIN_POSITIVE);
    a == b || (a.is_nan() && b.is_nan()) || near()
}

fn expected(test: &ExprYaml) -> Result<Vec<Sample>, String> {
    let one = |sample: &super::file::ExpSampleYaml| {
        let labels = notation::labels(&sample.labels)?;
        let value = match &sample.histogram {
            None => Ok(sample.value),
            Some(text) => {
                let bare = text.trim().strip_prefix("{{").and_then(|text| text.strip_suffix("}}"));
                Err(notation::histogram(bare.ok_or("`histogram` begins with {{ and ends with }}")?)?.text())
            }
        };
        Ok(Sample { labels, value })
    };
    test.exp_samples.iter().flatten().map(one).collect()
}

fn histogram_text(value: &model::query::HistogramValue) -> String {
    use model::query::BucketEdges;
    use std::fmt::Write as _;
    let mut text = format!("{{count:{}, sum:{}", Value(value.count), Value(value.sum));
    for bucket in &value.buckets {
        let (open, close) = match bucket.edges {
            BucketEdges::OpenLeft => ('(', ']'),
            BucketEdges::OpenRight => ('[', ')'),
            BucketEdges::OpenBoth => ('(', ')'),
            BucketEdges::ClosedBoth => ('[', ']'),
        };
        let _ = write!(text, ", {open}{},{}{close}:{}", Value(bucket.lower), Value(bucket.upper), Value(bucket.count));
    }
    text.push('}');
    text
}

/// Why the test fails, if it does.
pub(super) async fn check(test: &ExprYaml, metrics: &dyn MetricQuery, start: Timestamp, fuzzy: bool) -> Option<String> {
    let expected = match expected(test) {
        Ok(expected) => expected,
        Err(error) => return Some(format!("{error}\n")),
    };
    let at = start.plus(test.eval_time.0);
    let answer = match metrics.instant(&TenantId::default(), &test.expr, at, &QueryOptions::default()).await {
        Ok(answer) => answer,
        Err(error) => return Some(format!("the expression cannot be evaluated: {error}\n")),
    };
    let mut got: Vec<Sample> = match answer.value {
        QueryValue::Vector(samples) => samples.into_iter().map(|(labels, sample)| Sample { labels, value: Ok(sample.value) }).collect(),
        QueryValue::Scalar(sample) => vec![Sample { labels: Labels::empty(), value: Ok(sample.value) }],
        QueryValue::Text(..) | QueryValue::Matrix(_) => return Some("the result is neither a vector nor a scalar\n".to_owned()),
    };
    for series in answer.histograms {
        let last = series.samples.last().map(|(_, value)| histogram_text(value));
        got.extend(last.map(|text| Sample { labels: series.labels, value: Err(text) }));
    }
    let (missing, extra) = diff::pair(&expected, &got, |expected, got| expected.fits(got, fuzzy));
    let shown = |places: Vec<usize>, all: &[Sample]| places.into_iter().map(|at| all[at].shown()).collect::<Vec<_>>();
    diff::lines(&shown(missing, &expected), &shown(extra, &got))
}
