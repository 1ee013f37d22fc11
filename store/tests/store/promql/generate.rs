//! Made-up series and the expressions that are asked of them: the same series for the same seed.

use model::labels::Labels;
use model::tenant::TenantId;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use store::promql::memory::MemorySource;
use store::promql::source::{Samples, SeriesKind, Temporality};

/// A made-up series.
pub struct Made {
    pub labels: Labels,
    pub kind: SeriesKind,
    pub samples: Samples,
}

/// When samples come.
#[derive(Clone, Copy, PartialEq)]
pub enum Spacing {
    /// Every 15 s with jitter; all end in 3 ms, so that no window of a query at a multiple of 10 ms has a sample on its edge.
    Jittered,
    /// Every 15 s sharp, so that windows of queries on the minute have samples on their edges.
    Sharp,
}

/// Half an hour of counters with resets, gauges with NaN and gaps, and classic histograms.
pub fn series(seed: u64, origin: i64, spacing: Spacing) -> Vec<Made> {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut all = Vec::new();
    for job in ["api", "web"] {
        for instance in 0..3 {
            let labels: Labels = [("job", job), ("instance", &instance.to_string())].into_iter().collect();
            let times = times(&mut rng, origin, spacing);
            // Small counts never stand beside a gap: there Prometheus 2 and 3 differ in how far they extrapolate towards zero.
            let start = if rng.random_range(0..2) == 0 { 0.0 } else { rng.random_range(1e6..2e6) };
            let mut total = start;
            let counter = times.iter().enumerate().map(|(index, _)| {
                let dense = times[index..].windows(2).take(15).all(|pair| pair[1] - pair[0] < 20_000);
                total = match (index, rng.random_range(0..40)) {
                    (0, _) => start,
                    (_, 0) if dense => 0.0,
                    _ => total + f64::from(rng.random_range(0..200)),
                };
                total
            });
            let counter = Samples { values: counter.collect(), times: times.clone() };
            all.push(Made { labels: labels.clone().with("__name__", "requests_total"), kind: SeriesKind::Counter, samples: counter });
            let gauge = times.iter().map(|_| match rng.random_range(0..60) {
                0 => f64::NAN,
                1 => f64::INFINITY,
                _ => (rng.random_range(-50.0f64..150.0) * 16.0).round() / 16.0,
            });
            let gauge = Samples { values: gauge.collect(), times: times.clone() };
            all.push(Made { labels: labels.clone().with("__name__", "temperature"), kind: SeriesKind::Gauge, samples: gauge });
            let limit = Samples { values: vec![100.0 + f64::from(instance); times.len()], times: times.clone() };
            all.push(Made { labels: labels.clone().with("__name__", "limit"), kind: SeriesKind::Gauge, samples: limit });
            let mut counts = [1e4f64, 2e4, 1e4, 5e3];
            let mut columns: Vec<Vec<f64>> = vec![Vec::new(); 4];
            for _ in &times {
                let mut running = 0.0;
                for (bucket, count) in counts.iter_mut().enumerate() {
                    *count += f64::from(rng.random_range(0..20));
                    running += *count;
                    columns[bucket].push(running);
                }
            }
            for (le, values) in ["0.1", "0.5", "2.5", "+Inf"].into_iter().zip(columns) {
                let labels = labels.clone().with("__name__", "latency_seconds_bucket").with("le", le);
                all.push(Made { labels, kind: SeriesKind::Counter, samples: Samples { times: times.clone(), values } });
            }
        }
    }
    let info: Labels = [("__name__", "team_info"), ("job", "api"), ("team", "red")].into_iter().collect();
    let times = times(&mut rng, origin, spacing);
    all.push(Made { labels: info, kind: SeriesKind::Gauge, samples: Samples { values: vec![1.0; times.len()], times } });
    all
}

/// With a gap of up to ten minutes now and then, not all from the start.
fn times(rng: &mut StdRng, origin: i64, spacing: Spacing) -> Vec<i64> {
    let late = if rng.random_range(0..3) == 0 { rng.random_range(0..600_000) } else { rng.random_range(0..15_000) };
    let (mut at, mut times) = (1_000 + late, Vec::new());
    while at < 1_800_000 {
        times.push(match spacing {
            Spacing::Jittered => origin + at / 10 * 10 + 3,
            Spacing::Sharp => origin + at / 15_000 * 15_000,
        });
        let gap = times.len() > 15 && rng.random_range(0..50) == 0;
        at += match (gap, spacing) {
            (true, _) => rng.random_range(20_000..600_000),
            (false, Spacing::Jittered) => 15_000 + rng.random_range(-700..700),
            (false, Spacing::Sharp) => 15_000,
        };
    }
    times
}

/// A source with them.
pub fn fill(seed: u64, origin: i64, spacing: Spacing) -> MemorySource {
    let source = MemorySource::new();
    for made in series(seed, origin, spacing) {
        source.add(&TenantId::default(), &made.labels, made.kind, Temporality::Cumulative, &made.samples);
    }
    source
}

/// The expressions for series that start at `origin` (milliseconds).
pub fn expressions(origin: i64) -> Vec<String> {
    EXPRESSIONS.iter().map(|expr| expr.replace("@ 300", &format!("@ {}", origin / 1_000 + 300))).collect()
}

/// Expressions that Prometheus 2.42 and 3 answer alike off the grid of samples.
const EXPRESSIONS: &[&str] = &[
    "requests_total",
    "temperature{job=\"api\",instance!=\"1\"}",
    "{__name__=~\"lim.*|temperature\",job!~\"a.+\"}",
    "temperature offset 2m",
    "temperature offset -90s",
    "temperature @ 300",
    "temperature @ start() - temperature @ end()",
    "rate(requests_total[5m])",
    "rate(requests_total[1m7s])",
    "rate(requests_total[40s])",
    "increase(requests_total[10m])",
    "increase(requests_total[3m] offset 4m)",
    "irate(requests_total[2m])",
    "idelta(temperature[2m])",
    "delta(temperature[5m])",
    "deriv(temperature[7m])",
    "predict_linear(temperature[6m], 600)",
    "changes(temperature[4m])",
    "resets(requests_total[10m])",
    "sum_over_time(temperature[3m])",
    "avg_over_time(temperature[3m])",
    "min_over_time(temperature[3m])",
    "max_over_time(temperature[3m])",
    "count_over_time(temperature[3m])",
    "last_over_time(temperature[3m])",
    "present_over_time(temperature[3m])",
    "stddev_over_time(limit[3m] offset 1m)",
    "stdvar_over_time(requests_total[3m])",
    "quantile_over_time(0.9, temperature[5m])",
    "quantile_over_time(0.3, requests_total[5m])",
    "absent_over_time(nothing{job=\"api\"}[5m])",
    "absent(nothing{job=\"api\"})",
    "absent(temperature)",
    "sum(temperature)",
    "sum by (job) (rate(requests_total[5m]))",
    "avg without (instance) (temperature)",
    "min(temperature)",
    "max by (instance) (temperature)",
    "count(temperature > 20)",
    "group by (job) (temperature)",
    "stddev by (job) (limit)",
    "stdvar(limit)",
    "quantile(0.7, limit)",
    "topk(2, requests_total > 0)",
    "bottomk by (job) (1, requests_total > 0)",
    "count_values(\"v\", limit)",
    "temperature + limit",
    "temperature / on (job, instance) limit",
    "temperature > limit",
    "temperature < bool limit",
    "limit == 101",
    "2 ^ (limit - 100)",
    "temperature % 7",
    "temperature * -1",
    "-temperature",
    "(temperature atan2 limit) + 0",
    "temperature * on (job) group_left (team) team_info",
    "team_info * on (job) group_right (team) temperature",
    "temperature and on (job) team_info",
    "temperature unless on (job) team_info",
    "team_info or temperature",
    "temperature > 50 or limit",
    "sum(rate(requests_total[2m])) / sum(limit)",
    "rate(requests_total{job=\"api\"}[5m]) / ignoring (job) rate(requests_total{job=\"web\"}[5m])",
    "histogram_quantile(0.9, rate(latency_seconds_bucket[5m]))",
    "histogram_quantile(0.5, sum by (le, job) (rate(latency_seconds_bucket[5m])))",
    "histogram_quantile(0.99, sum by (le) (latency_seconds_bucket))",
    "label_replace(temperature, \"host\", \"h-$1\", \"instance\", \"(.*)\")",
    "label_join(temperature, \"both\", \"/\", \"job\", \"instance\")",
    "abs(temperature)",
    "ceil(temperature) - floor(temperature)",
    "round(temperature, 5)",
    "sqrt(temperature)",
    "ln(temperature)",
    "log2(limit) + log10(limit)",
    "exp(temperature / 50)",
    "sgn(temperature)",
    "sin(temperature) + cos(temperature) + tan(limit)",
    "asinh(limit) + atan(limit) + tanh(limit / 100)",
    "deg(limit) - rad(limit)",
    "clamp(temperature, 0, 50)",
    "clamp_min(temperature, 10) - clamp_max(temperature, 10)",
    "scalar(sum(limit)) + 1",
    "vector(time())",
    "time() / 3",
    "timestamp(temperature)",
    "timestamp(temperature + 0)",
    "hour(vector(time())) + minute()",
    "day_of_week() + day_of_month() + day_of_year() + month() + year() + days_in_month()",
    "max_over_time(rate(requests_total[1m])[5m:37s])",
    "avg_over_time(sum(temperature)[4m:])",
    "sum_over_time((temperature > 30)[3m:19s])",
    "rate(sum(requests_total)[5m:23s])",
    "quantile_over_time(0.5, temperature[5m:11s] offset 1m)",
    "min_over_time(max_over_time(limit[2m:17s])[3m:41s])",
    "sum_over_time(limit[2m:13s] @ 300)",
    "sort(limit)",
    "sort_desc(limit)",
    "requests_total{instance=\"0\"} - requests_total{instance=\"0\"} offset 5m",
    "sum(increase(requests_total[5m])) by (job) > 100",
    "1 - avg(temperature) / max(limit)",
    "temperature + on (job) limit",
    "{__name__=~\"temperature|limit\"} * 2",
    "temperature * on (job) group_left () limit",
];

/// Expressions whose windows end and begin on samples.
pub const ON_EDGES: &[&str] = &[
    "requests_total",
    "temperature",
    "temperature offset 5m",
    "rate(requests_total[5m])",
    "rate(requests_total[10m])",
    "increase(requests_total[7m])",
    "delta(temperature[5m])",
    "irate(requests_total[5m])",
    "sum_over_time(temperature[5m])",
    "avg_over_time(requests_total[5m])",
    "min_over_time(temperature[5m])",
    "max_over_time(temperature[6m] offset 5m)",
    "count_over_time(temperature[5m])",
    "last_over_time(temperature[5m])",
    "quantile_over_time(0.9, requests_total[5m])",
    "stddev_over_time(requests_total[5m])",
    "changes(temperature[5m])",
    "resets(requests_total[10m])",
    "deriv(requests_total[5m])",
    "predict_linear(requests_total[5m], 60)",
    "sum by (job) (rate(requests_total[5m]))",
    "absent_over_time(limit{job=\"api\",instance=\"1\"}[5m])",
    "histogram_quantile(0.9, sum by (le) (rate(latency_seconds_bucket[5m])))",
    "max_over_time(rate(requests_total[5m])[10m:1m])",
    "count_over_time(limit[10m:30s])",
    "sum_over_time(limit[10m:1m])",
    "avg_over_time(sum(temperature)[5m:15s])",
    "timestamp(temperature)",
];
