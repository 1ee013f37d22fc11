//! The SQL of [`super::ClickHouseSource`]: pure text with bound parameters.

use clickhouse::query::Query;
use model::labels::{METRIC_NAME, MatchOp, Matcher};
use model::tenant::TenantId;

use crate::promql::source::{GridFunction, Listing, Part, Selection, Shape, SummaryPart, Wish};

/// How long a `series` row may lag behind the samples of its series: it is written again once a day.
const SEEN_SLACK_MILLIS: i64 = 26 * 3_600_000;

/// A parameter.
#[derive(Clone, Debug, PartialEq)]
pub enum Bound {
    /// A text.
    Text(String),
    /// A whole number.
    Number(i64),
}

/// SQL text with `?` for each parameter.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Statement {
    /// The text.
    pub text: String,
    /// In order of the `?`.
    pub bounds: Vec<Bound>,
}

impl Statement {
    fn new(text: &str) -> Self {
        Statement { text: text.to_owned(), bounds: Vec::new() }
    }
    fn push(&mut self, text: &str) {
        self.text.push_str(text);
    }
    fn text(mut self, value: &str) -> Self {
        self.bounds.push(Bound::Text(value.to_owned()));
        self
    }
    fn number(mut self, value: i64) -> Self {
        self.bounds.push(Bound::Number(value));
        self
    }
    fn append(&mut self, other: Statement) {
        self.text.push_str(&other.text);
        self.bounds.extend(other.bounds);
    }
    /// Binds the parameters.
    pub fn bind(&self, query: Query) -> Query {
        self.bounds.iter().fold(query, |query, bound| match bound {
            Bound::Text(text) => query.bind(text.as_str()),
            Bound::Number(number) => query.bind(*number),
        })
    }
}

/// One matcher as a condition on `series`.
fn condition(matcher: &Matcher, shape: Shape) -> Statement {
    let suffix = shape.suffix();
    let is_name = matcher.name == METRIC_NAME;
    if is_name && matcher.op == MatchOp::Equal {
        // So that the primary key is used.
        return match matcher.value.strip_suffix(suffix) {
            Some(base) => Statement::new("metric = ?").text(base),
            None => Statement::new("0"),
        };
    }
    let value = match (is_name, suffix.is_empty()) {
        (true, true) => Statement::new("toString(metric)"),
        (true, false) => Statement::new(&format!("concat(metric, '{suffix}')")),
        (false, _) => Statement::new("labels[?]").text(&matcher.name),
    };
    let (before, after) = match matcher.op {
        MatchOp::Equal => ("", " = ?"),
        MatchOp::NotEqual => ("", " != ?"),
        MatchOp::Regex => ("match(", ", ?)"),
        MatchOp::NotRegex => ("NOT match(", ", ?)"),
    };
    let pattern = match matcher.op {
        MatchOp::Equal | MatchOp::NotEqual => matcher.value.clone(),
        MatchOp::Regex | MatchOp::NotRegex => format!("^(?s:{})$", matcher.value),
    };
    let mut all = Statement::new(before);
    all.append(value);
    all.push(after);
    all.text(&pattern)
}

/// `tenant = ? AND <matchers>` on `series`.
fn series_where(tenant: &TenantId, matchers: &[Matcher], shape: Shape) -> Statement {
    let mut all = Statement::new("tenant = ?").text(tenant.as_str());
    for matcher in matchers {
        all.push(" AND ");
        all.append(condition(matcher, shape));
    }
    all
}

/// Rows of `series` up to a condition; to be grouped by `metric, fingerprint`.
pub const SERIES_COLUMNS: &str = "SELECT toString(metric) AS name, fingerprint, any(labels) AS label_map, CAST(anyLast(kind), 'Int8') AS kind_code, \
    CAST(anyLast(temporality), 'Int8') AS temporality_code, anyLast(monotonic) AS is_monotonic FROM series WHERE ";

/// The series that match, whenever they were seen.
pub fn series(tenant: &TenantId, matchers: &[Matcher], shape: Shape) -> Statement {
    let mut all = Statement::new(SERIES_COLUMNS);
    all.append(series_where(tenant, matchers, shape));
    all.push(" GROUP BY metric, fingerprint");
    all
}

/// `tenant, metric, ts` and, where matchers ask for more than the name, `fingerprint`: on `points` and `histograms`.
fn samples_where(selection: &Selection<'_>) -> Statement {
    let Selection { tenant, matchers, shape, .. } = selection;
    let mut all = Statement::new("tenant = ?").text(tenant.as_str());
    let by_name = |matcher: &&Matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal;
    let exact = matchers.iter().find(by_name);
    all.push(" AND ");
    match exact {
        Some(matcher) => all.append(condition(matcher, *shape)),
        None => {
            all.push("metric IN (SELECT metric FROM series WHERE ");
            all.append(series_where(tenant, matchers, *shape));
            all.push(")");
        }
    }
    if !matchers.iter().all(|matcher| by_name(&matcher)) {
        all.push(" AND fingerprint IN (SELECT fingerprint FROM series WHERE ");
        all.append(series_where(tenant, matchers, *shape));
        all.push(")");
    }
    all.push(" AND ts > fromUnixTimestamp64Milli(toInt64(?)) AND ts <= fromUnixTimestamp64Milli(toInt64(?))");
    all.number(selection.after).number(selection.until)
}

/// One row more than allowed, so that the excess is seen; the store stops reading there.
fn limit(selection: &Selection<'_>) -> i64 {
    i64::try_from(selection.max_samples).unwrap_or(i64::MAX - 1).saturating_add(1)
}

/// Whatever series have a name, or a name that a part of a distribution appends to: `also`. Conditions on labels that only some kinds of
/// rows store are left to the caller.
pub fn index(tenant: &TenantId, name: &str, also: Option<&str>, matchers: &[Matcher]) -> Statement {
    let mut all = Statement::new(SERIES_COLUMNS);
    all.push("tenant = ? AND metric IN (?, ?)");
    all = all.text(tenant.as_str()).text(name).text(also.unwrap_or(name));
    for matcher in matchers {
        all.push(" AND ");
        all.append(condition(matcher, Shape::Numbers));
    }
    all.push(" GROUP BY metric, fingerprint");
    all
}

/// The rows of `points` of one metric after and up to a moment: of these series, or of all.
fn points_of(selection: &Selection<'_>, name: &str, only: Option<&[u64]>) -> Statement {
    let mut all = Statement::new("tenant = ? AND metric = ?").text(selection.tenant.as_str()).text(name);
    if let Some(fingerprints) = only {
        let list: Vec<String> = fingerprints.iter().map(u64::to_string).collect();
        all.push(&format!(" AND fingerprint IN ({})", list.join(",")));
    }
    all.push(" AND ts > fromUnixTimestamp64Milli(toInt64(?)) AND ts <= fromUnixTimestamp64Milli(toInt64(?))");
    all.number(selection.after).number(selection.until)
}

/// [`numbers`] of series that are known.
pub fn numbers_of(selection: &Selection<'_>, name: &str, only: Option<&[u64]>) -> Statement {
    let mut all = Statement::new(&format!(
        "SELECT fingerprint, groupArray(at) AS times, groupArray(sample) AS samples FROM (SELECT fingerprint, toUnixTimestamp64Milli(ts) AS at, \
         if(bitTest(flags, 0), {STALE}, value) AS sample FROM points WHERE "
    ));
    all.append(points_of(selection, name, only));
    all.push(" LIMIT ?) GROUP BY fingerprint");
    all.number(limit(selection))
}

/// What a function gives at every moment of a frame, for series that are known: `fingerprint, number, odd, cells`. A cell without a value
/// is the staleness marker; `odd` says how many samples are no finite numbers, of which differences do not mean the same everywhere. Of samples that share a moment the greatest counts.
pub fn grid(selection: &Selection<'_>, name: &str, only: Option<&[u64]>, wish: &Wish) -> Statement {
    let function = match wish.function {
        GridFunction::Newest | GridFunction::Last => "timeSeriesLastToGrid",
        GridFunction::Rate => "timeSeriesRateToGrid",
        GridFunction::Increase => "timeSeriesIncreaseToGrid",
        GridFunction::Delta => "timeSeriesDeltaToGrid",
        GridFunction::Irate => "timeSeriesInstantRateToGrid",
        GridFunction::Idelta => "timeSeriesInstantDeltaToGrid",
    };
    let is_value = "reinterpretAsUInt64(sample) != 9218868437227405314";
    let (combinator, condition) = match wish.function {
        GridFunction::Newest => ("", String::new()),
        _ => ("If", format!(", {is_value}")),
    };
    let odd = match wish.function {
        GridFunction::Newest | GridFunction::Last => "toUInt64(0)".to_owned(),
        _ => format!("countIf(NOT isFinite(sample) AND {is_value})"),
    };
    let mut all = Statement::new(&format!(
        "SELECT fingerprint, count() AS number, {odd} AS odd, arrayMap(cell -> ifNull(cell, {STALE}), {function}{combinator}(\
         fromUnixTimestamp64Milli(toInt64(?)), fromUnixTimestamp64Milli(toInt64(?)), toDecimal64(?, 3), toDecimal64(?, 3))(ts, sample{condition})) \
         AS cells FROM (SELECT fingerprint, ts, if(bitTest(flags, 0), {STALE}, value) AS sample FROM points WHERE "
    ));
    let seconds = |millis: i64| format!("{}.{:03}", millis / 1_000, millis % 1_000);
    let last = wish.frame.time(wish.frame.len().saturating_sub(1));
    all = all.number(wish.frame.start).number(last).text(&seconds(wish.frame.step)).text(&seconds(wish.range));
    all.append(points_of(selection, name, only));
    all.push(") GROUP BY fingerprint");
    all
}

/// The staleness marker, 0x7ff0000000000002.
pub const STALE: &str = "reinterpretAsFloat64(toUInt64(9218868437227405314))";

/// Number samples as arrays per series, in no order. A row without a recorded value is the staleness marker.
pub fn numbers(selection: &Selection<'_>) -> Statement {
    let (table, value) = match selection.shape {
        Shape::Numbers => ("points", "value"),
        Shape::Histograms(Part::Sum) => ("histograms", "sum"),
        Shape::Histograms(Part::Count | Part::Bucket) => ("histograms", "toFloat64(count)"),
        Shape::Summaries(SummaryPart::Sum) => ("summaries", "sum"),
        Shape::Summaries(SummaryPart::Count | SummaryPart::Quantile) => ("summaries", "toFloat64(count)"),
        Shape::Native => ("exp_histograms", "count"),
    };
    let mut all = Statement::new(&format!(
        "SELECT fingerprint, groupArray(at) AS times, groupArray(sample) AS samples FROM (SELECT fingerprint, toUnixTimestamp64Milli(ts) AS at, \
         if(bitTest(flags, 0), {STALE}, {value}) AS sample FROM {table} WHERE "
    ));
    all.append(samples_where(selection));
    all.push(" LIMIT ?) GROUP BY fingerprint");
    all.number(limit(selection))
}

/// Histogram rows with their buckets, in no order.
pub fn buckets(selection: &Selection<'_>) -> Statement {
    let mut all = Statement::new(
        "SELECT fingerprint, toUnixTimestamp64Milli(ts) AS at, count AS total, bounds, counts, flags FROM histograms WHERE ",
    );
    all.append(samples_where(selection));
    all.push(" LIMIT ?");
    all.number(limit(selection))
}

/// Native histogram rows, in no order.
pub fn natives(selection: &Selection<'_>) -> Statement {
    let mut all = Statement::new(
        "SELECT fingerprint, toUnixTimestamp64Milli(ts) AS at, count AS total, sum AS summed, scale AS fine, zero_count AS zeros, \
         zero_threshold AS threshold, positive_offset AS above_from, positive_counts AS above, negative_offset AS below_from, \
         negative_counts AS below, flags, custom_bounds AS bounds FROM exp_histograms WHERE ",
    );
    all.append(samples_where(selection));
    all.push(" LIMIT ?");
    all.number(limit(selection))
}

/// Summary rows with their quantiles, in no order.
pub fn quantiles(selection: &Selection<'_>) -> Statement {
    let mut all = Statement::new(
        "SELECT fingerprint, toUnixTimestamp64Milli(ts) AS at, quantiles AS shares, values AS numbers, flags FROM summaries WHERE ",
    );
    all.append(samples_where(selection));
    all.push(" LIMIT ?");
    all.number(limit(selection))
}

/// Exemplars of the series of a listing, in order of time within a series.
pub fn exemplars(listing: &Listing<'_>) -> Statement {
    let mut all = Statement::new(
        "SELECT fingerprint, toUnixTimestamp64Milli(ts) AS at, value AS seen, lower(hex(trace_id)) AS trace, lower(hex(span_id)) AS span, \
         attributes AS noted FROM exemplars WHERE tenant = ?",
    )
    .text(listing.tenant.as_str());
    for column in ["metric", "fingerprint"] {
        all.push(&format!(" AND {column} IN (SELECT {column} FROM series WHERE "));
        all.append(listing_where(listing));
        all.push(")");
    }
    all.push(
        " AND ts >= fromUnixTimestamp64Milli(toInt64(?)) AND ts <= fromUnixTimestamp64Milli(toInt64(?)) ORDER BY fingerprint, ts LIMIT ?",
    );
    all.number(listing.start).number(listing.end).number(listing_limit(listing.limit))
}

/// The tenant's series, each once.
const EACH_SERIES: &str = "(SELECT metric, any(labels) AS l, min(first_seen) AS since, max(last_seen) AS last FROM series WHERE tenant = ? \
     GROUP BY metric, fingerprint)";

/// How many series there are, how many different pairs of label and value, and when they were seen (milliseconds).
pub fn totals(tenant: &TenantId) -> Statement {
    let pairs = "arrayConcat([('__name__', toString(metric))], arrayZip(mapKeys(l), mapValues(l)))";
    let text = format!(
        "SELECT count() AS number, length(groupUniqArrayArray({pairs})) AS pairs, toUnixTimestamp64Milli(min(since)) AS since, \
         toUnixTimestamp64Milli(max(last)) AS last FROM {EACH_SERIES}"
    );
    Statement::new(&text).text(tenant.as_str())
}

/// A list of what makes series many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Counted {
    /// Series by metric name.
    Metrics,
    /// Different values by label name.
    Values,
    /// Bytes of all different values by label name.
    Bytes,
    /// Series by `name=value`.
    Pairs,
}

/// Name and number, greatest first.
pub fn counted(what: Counted, tenant: &TenantId, limit: usize) -> Statement {
    let (name, number) = match what {
        Counted::Metrics => ("label.2", "count()"),
        Counted::Values => ("label.1", "uniqExact(label.2)"),
        Counted::Bytes => ("label.1", "arraySum(x -> length(x), groupUniqArray(label.2))"),
        Counted::Pairs => ("concat(label.1, '=', label.2)", "count()"),
    };
    let only_names = if what == Counted::Metrics { " WHERE label.1 = '__name__'" } else { "" };
    let text = format!(
        "SELECT {name} AS name, toUInt64({number}) AS number FROM (SELECT arrayJoin(arrayConcat([('__name__', toString(metric))], \
         arrayZip(mapKeys(l), mapValues(l)))) AS label FROM {EACH_SERIES}){only_names} GROUP BY name ORDER BY number DESC, name LIMIT ?"
    );
    Statement::new(&text).text(tenant.as_str()).number(listing_limit(limit))
}

/// `series` rows of a listing: kind and time span too.
fn listing_where(listing: &Listing<'_>) -> Statement {
    let mut all = series_where(listing.tenant, listing.matchers, listing.shape);
    all.push(match listing.shape {
        Shape::Numbers => " AND kind NOT IN ('histogram', 'exp_histogram', 'summary')",
        Shape::Histograms(_) => " AND kind = 'histogram'",
        Shape::Native => " AND kind = 'exp_histogram'",
        Shape::Summaries(_) => " AND kind = 'summary'",
    });
    all.push(" AND first_seen <= fromUnixTimestamp64Milli(toInt64(?)) AND last_seen >= fromUnixTimestamp64Milli(toInt64(?))");
    all.number(listing.end).number(listing.start.saturating_sub(SEEN_SLACK_MILLIS))
}

fn listing_limit(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The series of a listing.
pub fn listed(listing: &Listing<'_>) -> Statement {
    let mut all = Statement::new(SERIES_COLUMNS);
    all.append(listing_where(listing));
    all.push(" GROUP BY metric, fingerprint ORDER BY metric, fingerprint LIMIT ?");
    all.number(listing_limit(listing.limit))
}

/// The bucket bounds of the histograms of a listing, or the quantiles of its summaries.
pub fn bounds(listing: &Listing<'_>) -> Statement {
    let (column, table) = match listing.shape {
        Shape::Summaries(_) => ("quantiles", "summaries"),
        Shape::Histograms(_) | Shape::Numbers | Shape::Native => ("bounds", "histograms"),
    };
    let text = format!("SELECT fingerprint, arraySort(groupUniqArrayArray({column})) AS all_bounds FROM {table} WHERE tenant = ?");
    let mut all = Statement::new(&text).text(listing.tenant.as_str());
    for column in ["metric", "fingerprint"] {
        all.push(&format!(" AND {column} IN (SELECT {column} FROM series WHERE "));
        all.append(listing_where(listing));
        all.push(")");
    }
    all.push(" AND ts >= fromUnixTimestamp64Milli(toInt64(?)) AND ts <= fromUnixTimestamp64Milli(toInt64(?)) GROUP BY fingerprint");
    all.number(listing.start).number(listing.end)
}

/// The label names of a listing.
pub fn label_names(listing: &Listing<'_>) -> Statement {
    let mut all = Statement::new("SELECT DISTINCT arrayJoin(mapKeys(labels)) AS label FROM series WHERE ");
    all.append(listing_where(listing));
    all.push(" ORDER BY label LIMIT ?");
    all.number(listing_limit(listing.limit))
}

/// The values of a label of a listing.
pub fn label_values(name: &str, listing: &Listing<'_>) -> Statement {
    let mut all = if name == METRIC_NAME {
        Statement::new(&format!("SELECT DISTINCT concat(metric, '{}') AS found FROM series WHERE ", listing.shape.suffix()))
    } else {
        Statement::new("SELECT DISTINCT labels[?] AS found FROM series WHERE mapContains(labels, ?) AND ").text(name).text(name)
    };
    all.append(listing_where(listing));
    all.push(" ORDER BY found LIMIT ?");
    all.number(listing_limit(listing.limit))
}

/// What is known of the metrics.
pub fn metadata(tenant: &TenantId, limit: usize) -> Statement {
    Statement::new(
        "SELECT toString(metric) AS name, CAST(anyLast(kind), 'Int8') AS kind_code, anyLast(monotonic) AS is_monotonic, \
         anyLast(description) AS help, toString(anyLast(unit)) AS unit_text FROM series WHERE tenant = ? GROUP BY metric ORDER BY metric LIMIT ?",
    )
    .text(tenant.as_str())
    .number(listing_limit(limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn selection<'a>(tenant: &'a TenantId, matchers: &'a [Matcher], shape: Shape) -> Selection<'a> {
        let timeout = Duration::from_secs(1);
        Selection { tenant, matchers, shape, after: 10, until: 20, max_series: 5, max_samples: 7, timeout }
    }

    #[test]
    fn a_name_alone_asks_the_key_and_nothing_else() {
        let tenant = TenantId::default();
        let matchers = [Matcher::new(METRIC_NAME, MatchOp::Equal, "x_count").unwrap()];
        let statement = numbers(&selection(&tenant, &matchers, Shape::Histograms(Part::Count)));
        assert!(statement.text.contains("FROM histograms WHERE tenant = ? AND metric = ? AND ts >"), "{}", statement.text);
        assert_eq!(
            statement.bounds,
            [Bound::Text("default".into()), Bound::Text("x".into()), Bound::Number(10), Bound::Number(20), Bound::Number(8)]
        );
    }

    #[test]
    fn values_are_bound_never_written_into_the_text() {
        let tenant = TenantId::default();
        let evil = "'; DROP TABLE points --";
        let matchers = [
            Matcher::new(METRIC_NAME, MatchOp::Regex, "a.*").unwrap(),
            Matcher::new(evil, MatchOp::NotEqual, evil).unwrap(),
            Matcher::new("job", MatchOp::NotRegex, "b|c").unwrap(),
        ];
        let statement = numbers(&selection(&tenant, &matchers, Shape::Numbers));
        assert!(!statement.text.contains("DROP"));
        assert_eq!(statement.text.matches('?').count(), statement.bounds.len());
        assert!(statement.bounds.contains(&Bound::Text("^(?s:b|c)$".into())));
    }
}
