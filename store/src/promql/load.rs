//! What each selector of an expression needs, and fetching it: the extent of time follows from steps, ranges, offsets, `@` and
//! subqueries around it.

use std::collections::HashMap;
use std::time::SystemTime;

use futures_util::future::try_join_all;
use model::labels::{METRIC_NAME, MatchOp, Matcher};
use model::query::{QueryError, QueryOptions};
use model::tenant::TenantId;
use model::time::Timestamp;
use promql_parser::label::{MatchOp as ParsedOp, Matcher as ParsedMatcher};
use promql_parser::parser::{AtModifier, Expr, Offset, VectorSelector, parse};

use super::source::{SeriesSource, StoredSeries};
use super::{Steps, instant, millis, overlaid, range};

/// Subqueries without a step of their own use this one (Prometheus's default evaluation interval), in milliseconds.
pub const DEFAULT_SUBQUERY_STEP: i64 = 60_000;
/// The most samples one evaluation may hold in memory.
const MAX_SAMPLES: usize = 50_000_000;

/// The data of every selector, by the selector's place in memory (the expression is not moved while it is evaluated).
#[derive(Debug, Default)]
pub struct Loaded(HashMap<usize, Vec<StoredSeries>>);

fn place(selector: &VectorSelector) -> usize {
    std::ptr::from_ref(selector) as usize
}

impl Loaded {
    /// The series of a selector.
    pub fn series(&self, selector: &VectorSelector) -> &[StoredSeries] {
        self.0.get(&place(selector)).map_or(&[], Vec::as_slice)
    }
    /// Whether any selector matched a series.
    pub fn matched_any_series(&self) -> bool {
        self.0.values().any(|series| !series.is_empty())
    }
}

struct Need<'a> {
    selector: &'a VectorSelector,
    /// Exclusive.
    from: i64,
    /// Inclusive.
    to: i64,
}

fn epoch_millis(time: &SystemTime) -> i64 {
    match time.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    }
}

/// An offset in milliseconds: positive looks back.
pub fn offset_millis(offset: Option<&Offset>) -> i64 {
    match offset {
        None => 0,
        Some(Offset::Pos(duration)) => millis(*duration),
        Some(Offset::Neg(duration)) => -millis(*duration),
    }
}

/// The moment that a selector or subquery looks at when the step is at `at`.
pub fn moment(at: i64, modifier: Option<&AtModifier>, offset: Option<&Offset>, steps: Steps) -> i64 {
    let base = match modifier {
        None => at,
        Some(AtModifier::Start) => steps.start,
        Some(AtModifier::End) => steps.end,
        Some(AtModifier::At(time)) => epoch_millis(time),
    };
    base - offset_millis(offset)
}

/// The first aligned step of a subquery after `from`.
pub fn first_aligned(from: i64, step: i64) -> i64 {
    let first = from.div_euclid(step) * step;
    if first <= from { first + step } else { first }
}

/// Our matchers of a parsed selector.
pub fn matchers(selector: &VectorSelector) -> Result<Vec<Matcher>, QueryError> {
    if !selector.matchers.or_matchers.is_empty() {
        return Err(QueryError::BadData("`or` between label matchers is not supported".to_owned()));
    }
    let mut matchers = Vec::new();
    if let Some(name) = &selector.name {
        matchers.push(Matcher::new(METRIC_NAME, MatchOp::Equal, name).map_err(|error| QueryError::BadData(error.to_string()))?);
    }
    for ParsedMatcher { op, name, value } in &selector.matchers.matchers {
        let op = match op {
            ParsedOp::Equal => MatchOp::Equal,
            ParsedOp::NotEqual => MatchOp::NotEqual,
            ParsedOp::Re(_) => MatchOp::Regex,
            ParsedOp::NotRe(_) => MatchOp::NotRegex,
        };
        matchers.push(Matcher::new(name, op, value).map_err(|error| QueryError::BadData(error.to_string()))?);
    }
    Ok(matchers)
}

/// The matchers of a series selector's text (`match[]`).
pub fn selector(text: &str) -> Result<Vec<Matcher>, QueryError> {
    match parse(text) {
        Ok(Expr::VectorSelector(selector)) => matchers(&selector),
        Ok(_) => Err(QueryError::BadData(format!("`{text}` is not a series selector"))),
        Err(error) => Err(QueryError::BadData(format!("`{text}` does not parse: {error}"))),
    }
}

/// Refuses what the parser knows and the evaluator does not, before anything is loaded.
pub fn check(expr: &Expr) -> Result<(), QueryError> {
    let mut needs = Vec::new();
    let steps = Steps { start: 0, end: 0, step: 1 };
    walk(expr, (0, 0), steps, 0, &mut needs)?;
    for need in needs {
        matchers(need.selector)?;
    }
    Ok(())
}

/// Loads every selector of the expression.
pub async fn load(
    source: &dyn SeriesSource,
    tenant: &TenantId,
    expr: &Expr,
    steps: Steps,
    options: &QueryOptions,
) -> Result<Loaded, QueryError> {
    let mut needs = Vec::new();
    walk(expr, (steps.start, steps.end), steps, millis(options.lookback), &mut needs)?;
    let fetches = needs.iter().map(|need| async move {
        let matchers = matchers(need.selector)?;
        let mut series = source.select(tenant, &matchers, Timestamp::from_millis(need.from), Timestamp::from_millis(need.to)).await?;
        overlaid(&mut series, &options.overlay, &matchers);
        Ok::<_, QueryError>((place(need.selector), series))
    });
    let loaded: HashMap<usize, Vec<StoredSeries>> = try_join_all(fetches).await?.into_iter().collect();
    let samples: usize = loaded.values().flatten().map(|series| series.samples.len()).sum();
    if samples > MAX_SAMPLES {
        return Err(QueryError::Execution(format!(
            "query processing would load {samples} samples, more than {MAX_SAMPLES}: narrow the selector or the range"
        )));
    }
    Ok(Loaded(loaded))
}

fn walk<'a>(expr: &'a Expr, extent: (i64, i64), steps: Steps, lookback: i64, needs: &mut Vec<Need<'a>>) -> Result<(), QueryError> {
    let mut inner = |expr: &'a Expr| walk(expr, extent, steps, lookback, needs);
    match expr {
        Expr::NumberLiteral(_) | Expr::StringLiteral(_) => Ok(()),
        Expr::Paren(paren) => inner(&paren.expr),
        Expr::Unary(unary) => inner(&unary.expr),
        Expr::Aggregate(aggregate) => {
            super::aggregate::check(&aggregate.op.to_string())?;
            inner(&aggregate.expr)?;
            aggregate.param.as_ref().map_or(Ok(()), |param| inner(param))
        }
        Expr::Binary(binary) => {
            inner(&binary.lhs)?;
            inner(&binary.rhs)
        }
        Expr::Call(call) => {
            let name = call.func.name;
            if !range::knows(name) && !instant::knows(name) {
                return Err(QueryError::BadData(format!("function `{name}` is not supported")));
            }
            call.args.args.iter().try_for_each(|argument| inner(argument))
        }
        Expr::VectorSelector(selector) => {
            needs.push(need(selector, extent, steps, lookback));
            Ok(())
        }
        Expr::MatrixSelector(matrix) => {
            needs.push(need(&matrix.vs, extent, steps, millis(matrix.range)));
            Ok(())
        }
        Expr::Subquery(subquery) => {
            let from = moment(extent.0, subquery.at.as_ref(), subquery.offset.as_ref(), steps) - millis(subquery.range);
            let to = moment(extent.1, subquery.at.as_ref(), subquery.offset.as_ref(), steps);
            walk(&subquery.expr, (from, to), steps, lookback, needs)
        }
        Expr::Extension(_) => Err(QueryError::BadData("extension expressions are not supported".to_owned())),
    }
}

fn need<'a>(selector: &'a VectorSelector, extent: (i64, i64), steps: Steps, back: i64) -> Need<'a> {
    let at = |moment_at: i64| moment(moment_at, selector.at.as_ref(), selector.offset.as_ref(), steps);
    Need { selector, from: at(extent.0) - back, to: at(extent.1) }
}
