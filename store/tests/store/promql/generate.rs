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
    /// The same from the first moment on and without gaps, and gauges are above zero and finite.
    Dense,
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
                _ if spacing == Spacing::Dense => (rng.random_range(10.0f64..150.0) * 16.0).round() / 16.0,
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
    let dense = spacing == Spacing::Dense;
    let (mut at, mut times) = (if dense { 0 } else { 1_000 + late }, Vec::new());
    while at < 1_800_000 {
        times.push(match spacing {
            Spacing::Jittered => origin + at / 10 * 10 + 3,
            Spacing::Sharp | Spacing::Dense => origin + at / 15_000 * 15_000,
        });
        let gap = !dense && times.len() > 15 && rng.random_range(0..50) == 0;
        at += match (gap, spacing) {
            (true, _) => rng.random_range(20_000..600_000),
            (false, Spacing::Jittered) => 15_000 + rng.random_range(-700..700),
            (false, Spacing::Sharp | Spacing::Dense) => 15_000,
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
    "{__name__=~`lim.*|temp\\w+`,job!~`a\\S+`}",
    "label_replace(temperature, `initial`, `$1`, `job`, `(\\w).*`)",
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

/// What labels a made-up aggregation has.
#[derive(Clone, Copy, PartialEq)]
enum Shape {
    /// `job`.
    Job,
    /// None.
    Total,
}

/// How alike two answers can be.
#[derive(Clone, Copy, PartialEq)]
enum Likeness {
    /// To the last bit: sums of sixteenths, choices, counts. What decides (`>`, `floor`, `topk`) is made of these.
    Same,
    /// Up to rounding and what extrapolation makes of a millisecond; always positive, so that nothing cancels.
    Close,
}

/// Makes up expressions over the series of [`Spacing::Dense`] that Prometheus 2.42 and 3 answer alike.
struct Maker {
    rng: StdRng,
}

impl Maker {
    fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.rng.random_range(0..all.len())]
    }

    fn is(&mut self, one_in: u32) -> bool {
        self.rng.random_range(0..one_in) == 0
    }

    fn modifiers(&mut self) -> &'static str {
        self.of(&["", "", "", "", "", " offset 1m", " offset 5m", " offset -90s", " @ 300", " @ end()", " @ start() offset 30s"])
    }

    fn selector(&mut self) -> String {
        let name = self.of(&["requests_total", "temperature", "limit"]);
        let matchers =
            self.of(&["", "", "", "{job=\"api\"}", "{instance!=\"1\"}", "{instance=~\"0|2\"}", "{job!~\"w.*\"}", "{instance=~`\\d`}"]);
        format!("{name}{matchers}")
    }

    fn range(&mut self) -> &'static str {
        self.of(&["2m", "3m", "5m", "7m", "10m"])
    }

    /// A vector with labels `job` and `instance`.
    fn full(&mut self, likeness: Likeness, depth: u32) -> String {
        if depth == 0 {
            return self.leaf(likeness);
        }
        match (self.rng.random_range(0..9), likeness) {
            (0, Likeness::Same) => {
                let function = self.of(&["abs", "ceil", "floor", "sgn"]);
                format!("{function}({} / 4)", self.full(likeness, depth - 1))
            }
            (0, Likeness::Close) => {
                let (open, close) =
                    [("sqrt(", ")"), ("abs(", ")"), ("exp(0.000001 * ", ")"), ("ln(1 + ", ")")][self.rng.random_range(0..4)];
                format!("{open}{}{close}", self.full(likeness, depth - 1))
            }
            (1, Likeness::Same) => format!("clamp({}, 20, 90.5)", self.full(likeness, depth - 1)),
            (2, Likeness::Same) => {
                let (compare, bool) = (self.of(&[">", "<", ">=", "<=", "==", "!="]), self.of(&["", "bool "]));
                format!("({} {compare} {bool}{})", self.full(likeness, depth - 1), self.full(likeness, depth - 1))
            }
            (3, Likeness::Same) => {
                let set = self.of(&["and", "or", "unless", "and on (job)", "unless ignoring (instance)"]);
                format!("({} {set} {})", self.full(likeness, depth - 1), self.full(likeness, depth - 1))
            }
            (4, Likeness::Same) => format!("(-{} + 2 * {})", self.full(likeness, depth - 1), self.full(likeness, depth - 1)),
            (5, _) => {
                let matching = self.of(&["", "ignoring ()", "on (job, instance)"]);
                let operator = if likeness == Likeness::Same { self.of(&["+", "-"]) } else { self.of(&["+", "/", "*"]) };
                format!("({} {operator} {matching} {})", self.full(likeness, depth - 1), self.full(likeness, depth - 1))
            }
            (6, _) => {
                let operator = if likeness == Likeness::Same { self.of(&["+", "-"]) } else { self.of(&["+", "/", "*"]) };
                let (left, right) = (self.full(likeness, depth - 1), self.grouped(Shape::Job, likeness, depth - 1));
                if self.is(2) {
                    format!("({left} {operator} on (job) group_left () {right})")
                } else {
                    format!("({right} {operator} on (job) group_right () {left})")
                }
            }
            (7, _) => {
                let functions: &[&str] = match likeness {
                    Likeness::Same => &["max_over_time", "min_over_time", "last_over_time", "count_over_time", "changes", "resets"],
                    Likeness::Close => &["max_over_time", "avg_over_time", "sum_over_time", "last_over_time"],
                };
                let (function, of) = (self.of(functions), self.full(likeness, depth - 1));
                let (range, step) = (self.range(), self.of(&["", "30s", "1m", "15s", "40s"]));
                format!("{function}(({of})[{range}:{step}]{})", self.of(&["", "", " offset 1m", " @ end()"]))
            }
            (_, Likeness::Same) => self.leaf(likeness),
            (_, Likeness::Close) => {
                let likeness = if self.is(2) { Likeness::Close } else { Likeness::Same };
                if likeness == Likeness::Same { format!("(1e6 + abs({}))", self.full(likeness, depth - 1)) } else { self.leaf(likeness) }
            }
        }
    }

    fn leaf(&mut self, likeness: Likeness) -> String {
        let (selector, modifiers, range) = (self.selector(), self.modifiers(), self.range());
        if likeness == Likeness::Close {
            return match self.rng.random_range(0..6) {
                0 | 1 => format!("{}(requests_total[{range}]{modifiers})", self.of(&["rate", "increase"])),
                2 => format!("avg_over_time({selector}[{range}]{modifiers})"),
                3 => format!("quantile_over_time({}, {selector}[{range}]{modifiers})", self.of(&["0", "0.3", "0.9", "1"])),
                4 => format!("(1 + {}(requests_total[{range}]{modifiers}))", self.of(&["stddev_over_time", "irate"])),
                _ => format!("({selector}{modifiers} / 7)"),
            };
        }
        match self.rng.random_range(0..5) {
            0..=2 => format!("{selector}{modifiers}"),
            3 => {
                let functions = [
                    "min_over_time",
                    "max_over_time",
                    "count_over_time",
                    "sum_over_time",
                    "last_over_time",
                    "present_over_time",
                    "changes",
                ];
                format!("{}({selector}[{range}]{modifiers})", self.of(&functions))
            }
            _ => format!("{}({selector}[{range}]{modifiers})", self.of(&["resets", "idelta", "count_over_time"])),
        }
    }

    /// An aggregation.
    fn grouped(&mut self, shape: Shape, likeness: Likeness, depth: u32) -> String {
        let by = match shape {
            Shape::Job => self.of(&["by (job)", "without (instance)"]),
            Shape::Total => self.of(&["", "by ()"]),
        };
        let function = match likeness {
            Likeness::Same => self.of(&["sum", "min", "max", "count", "group"]),
            Likeness::Close => self.of(&["sum", "avg", "min", "max", "quantile(0.4,"]),
        };
        let of = self.full(likeness, depth.saturating_sub(1));
        match function.strip_suffix(',').and_then(|function| function.split_once('(')) {
            Some((name, parameter)) => format!("{name} {by} ({parameter}, {of})"),
            None => format!("{function} {by} ({of})"),
        }
    }

    fn expression(&mut self) -> String {
        let depth = self.rng.random_range(0..4);
        let likeness = if self.is(2) { Likeness::Same } else { Likeness::Close };
        match self.rng.random_range(0..12) {
            0..=4 => self.full(likeness, depth),
            5 => self.grouped(Shape::Job, likeness, depth),
            6 => self.grouped(Shape::Total, likeness, depth),
            7 => {
                let (function, by) = (self.of(&["topk", "bottomk"]), self.of(&["", "by (job)", "without (job)"]));
                // Which of two that are equal is taken is nobody's contract.
                let of = format!("({} + 0.001 * requests_total)", self.full(Likeness::Same, depth.min(1)));
                format!("{function} {by} ({}, {of})", self.of(&["1", "2", "10"]))
            }
            8 => {
                let range = self.range();
                let buckets = format!("rate(latency_seconds_bucket[{range}])");
                let by = self.of(&["sum by (le, job)", "sum by (le)", "sum by (le, instance)"]);
                format!("histogram_quantile({}, {by} ({buckets}))", self.of(&["0", "0.5", "0.9", "0.99", "1"]))
            }
            9 => {
                let of = self.full(Likeness::Same, depth.min(2));
                match self.rng.random_range(0..6) {
                    0 => format!("absent({of})"),
                    1 => format!("count_values(\"v\", {of})"),
                    2 => format!("timestamp({of})"),
                    3 => format!("vector(scalar({of}))"),
                    4 => format!("label_replace({of}, \"host\", \"h-$1\", \"instance\", \"(.)\")"),
                    _ => format!("label_join({of}, \"both\", \"/\", \"job\", \"instance\")"),
                }
            }
            10 => format!("{} + on (job) {}", self.grouped(Shape::Job, likeness, depth), self.grouped(Shape::Job, likeness, depth)),
            _ => format!("{} {} time()", self.grouped(Shape::Total, likeness, depth), self.of(&["+", "*"])),
        }
    }
}

/// So many made-up expressions for the series of [`Spacing::Dense`] that start at `origin` (milliseconds).
pub fn made_up(seed: u64, count: usize, origin: i64) -> Vec<String> {
    let mut maker = Maker { rng: StdRng::seed_from_u64(seed) };
    (0..count).map(|_| maker.expression().replace("@ 300", &format!("@ {}", origin / 1_000 + 300))).collect()
}
