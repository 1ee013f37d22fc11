//! The SQL of [`super::ClickHouseSource`]: pure text with bound parameters.

use clickhouse::query::Query;
use model::labels::{METRIC_NAME, MatchOp, Matcher};
use model::tenant::TenantId;

use crate::promql::source::{Listing, Part, Selection, Shape};

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

const SERIES_COLUMNS: &str = "SELECT toString(metric) AS name, fingerprint, any(labels) AS label_map, CAST(anyLast(kind), 'Int8') AS kind_code, \
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

/// Number samples as arrays per series, in no order. A row without a recorded value is the staleness marker.
pub fn numbers(selection: &Selection<'_>) -> Statement {
    let (table, value) = match selection.shape {
        Shape::Numbers => ("points", "value"),
        Shape::Histograms(Part::Sum) => ("histograms", "sum"),
        Shape::Histograms(Part::Count | Part::Bucket) => ("histograms", "toFloat64(count)"),
    };
    // 9218868437227405314 is 0x7ff0000000000002.
    let mut all = Statement::new(&format!(
        "SELECT fingerprint, groupArray(at) AS times, groupArray(sample) AS samples FROM (SELECT fingerprint, toUnixTimestamp64Milli(ts) AS at, \
         if(bitTest(flags, 0), reinterpretAsFloat64(toUInt64(9218868437227405314)), {value}) AS sample FROM {table} WHERE "
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

/// `series` rows of a listing: kind and time span too.
fn listing_where(listing: &Listing<'_>) -> Statement {
    let mut all = series_where(listing.tenant, listing.matchers, listing.shape);
    all.push(match listing.shape {
        Shape::Numbers => " AND kind NOT IN ('histogram', 'exp_histogram')",
        Shape::Histograms(_) => " AND kind = 'histogram'",
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

/// The bucket bounds of the histograms of a listing.
pub fn bounds(listing: &Listing<'_>) -> Statement {
    let mut all =
        Statement::new("SELECT fingerprint, arraySort(groupUniqArrayArray(bounds)) AS all_bounds FROM histograms WHERE tenant = ?")
            .text(listing.tenant.as_str());
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
