//! Which types the parts of an expression must have, and what Prometheus says where they have others. Only for messages. Pure.

use model::labels::{MatchOp, Matcher};
use promql_parser::parser::value::ValueType;

use super::grammar::{Binary, Part, Selector, Tree};
use super::lexer::{Wrong, quoted};
use super::type_name;

/// A function as calls are checked.
#[derive(Clone, Copy, Debug)]
pub struct Function {
    /// Its name.
    pub name: &'static str,
    /// A letter an argument: `v`ector, `m`atrix, `s`calar, `t`ext.
    arguments: &'static str,
    /// How many of the last argument may be missing or added; below 0: any number.
    pub variadic: i32,
    /// Whether it gives a scalar; else an instant vector.
    scalar: bool,
}

impl Function {
    /// The types of its arguments.
    pub fn types(self) -> impl Iterator<Item = ValueType> {
        self.arguments.chars().map(type_of)
    }

    /// The type of what it gives.
    pub fn result(self) -> ValueType {
        if self.scalar { ValueType::Scalar } else { ValueType::Vector }
    }
}

/// The type that a letter stands for.
fn type_of(letter: char) -> ValueType {
    match letter {
        'v' => ValueType::Vector,
        'm' => ValueType::Matrix,
        's' => ValueType::Scalar,
        _ => ValueType::String,
    }
}

/// Arguments, how many more there may be, whether the result is a scalar, names.
pub const FUNCTIONS: &[(&str, i32, bool, &str)] = &[
    (
        "v",
        0,
        false,
        "abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor histogram_avg histogram_count histogram_stddev histogram_stdvar histogram_sum ln log10 log2 rad sgn sin sinh sort sort_desc sqrt start_timestamp tan tanh timestamp",
    ),
    (
        "m",
        0,
        false,
        "absent_over_time avg_over_time changes count_over_time delta deriv first_over_time idelta increase irate last_over_time mad_over_time max_over_time min_over_time present_over_time rate resets stddev_over_time stdvar_over_time sum_over_time ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time",
    ),
    ("v", 1, false, "day_of_month day_of_week day_of_year days_in_month hour minute month year"),
    ("", 0, true, "end pi range start step time"),
    ("vs", 0, false, "clamp_max clamp_min"),
    ("ss", 0, true, "max_of min_of"),
    ("vt", -1, false, "sort_by_label sort_by_label_desc"),
    ("vss", 0, false, "clamp"),
    ("mss", 0, false, "double_exponential_smoothing"),
    ("ssv", 0, false, "histogram_fraction"),
    ("sv", 0, false, "histogram_quantile"),
    ("vtss", 9, false, "histogram_quantiles"),
    ("vv", 1, false, "info"),
    ("ms", 1, false, "integral"),
    ("vttt", -1, false, "label_join"),
    ("vtttt", 0, false, "label_replace"),
    ("ms", 0, false, "predict_linear"),
    ("sm", 0, false, "quantile_over_time"),
    ("vs", 1, false, "round"),
    ("v", 0, true, "scalar"),
    ("s", 0, false, "vector"),
];

/// The function of a name.
pub fn function(name: &str) -> Option<Function> {
    FUNCTIONS.iter().find_map(|(arguments, variadic, scalar, names)| {
        let name = names.split(' ').find(|known| *known == name)?;
        Some(Function { name, arguments, variadic: *variadic, scalar: *scalar })
    })
}

fn wrong<T>(at: usize, message: impl Into<String>) -> Result<T, Wrong> {
    Err(Wrong { at, message: message.into() })
}

/// The type of an expression. Fails at the first part that has another than it must.
pub fn check(tree: &Tree) -> Result<ValueType, Wrong> {
    match &tree.part {
        Part::Number => Ok(ValueType::Scalar),
        Part::Text => Ok(ValueType::String),
        Part::Paren => check(&tree.children[0]),
        Part::Selector(selector) => check_selector(selector, tree.start).map(|()| ValueType::Vector),
        Part::Matrix => check(&tree.children[0]).map(|_| ValueType::Matrix),
        Part::Subquery => match check(&tree.children[0])? {
            ValueType::Vector => Ok(ValueType::Matrix),
            other => {
                let other = match other {
                    ValueType::Vector => "vector",
                    ValueType::Scalar => "scalar",
                    ValueType::Matrix => "matrix",
                    ValueType::String => "string",
                };
                wrong(tree.start, format!("subquery is only allowed on instant vector, got {other} instead"))
            }
        },
        Part::Unary { .. } => match check(&tree.children[0])? {
            kind @ (ValueType::Scalar | ValueType::Vector) => Ok(kind),
            other => {
                let message = "unary expression only allowed on expressions of type scalar or instant vector, got";
                wrong(tree.start, format!("{message} {}", quoted(type_name(other))))
            }
        },
        Part::Aggregate { operator } => check_aggregation(tree, operator).map(|()| ValueType::Vector),
        Part::Binary(binary) => check_binary(tree, binary),
        Part::Call { function: name } => match function(name) {
            Some(function) => check_call(tree, function),
            None => wrong(tree.start, format!("unknown function with name {}", quoted(name))),
        },
    }
}

fn expect(tree: &Tree, wanted: ValueType, place: &str) -> Result<(), Wrong> {
    let found = check(tree)?;
    if found == wanted {
        return Ok(());
    }
    wrong(tree.start, format!("expected type {} in {place}, got {}", type_name(wanted), type_name(found)))
}

fn check_aggregation(tree: &Tree, operator: &str) -> Result<(), Wrong> {
    if let Some(of) = tree.children.last() {
        expect(of, ValueType::Vector, "aggregation expression")?;
    }
    let [parameter, _] = tree.children.as_slice() else { return Ok(()) };
    let wanted = if operator == "count_values" { ValueType::String } else { ValueType::Scalar };
    expect(parameter, wanted, "aggregation parameter")
}

fn check_binary(tree: &Tree, binary: &Binary) -> Result<ValueType, Wrong> {
    let [left, right] = tree.children.as_slice() else { return Ok(ValueType::Scalar) };
    let (left_type, right_type) = (check(left)?, check(right)?);
    let scalars = left_type == ValueType::Scalar && right_type == ValueType::Scalar;
    let vectors = left_type == ValueType::Vector && right_type == ValueType::Vector;
    let compares = matches!(binary.operator.as_str(), "==" | "!=" | "<" | "<=" | ">" | ">=");
    let sets = matches!(binary.operator.as_str(), "and" | "or" | "unless");
    if binary.bool && !compares {
        return wrong(binary.at, "bool modifier can only be used on comparison operators");
    }
    if compares && !binary.bool && scalars {
        return wrong(binary.at, "comparisons between scalars must use BOOL modifier");
    }
    let twice = binary.labels.iter().find(|label| binary.on && binary.group.as_ref().is_some_and(|group| group.contains(label)));
    if let Some(label) = twice {
        return wrong(binary.at, format!("label {} must not occur in ON and GROUP clause at once", quoted(label)));
    }
    for (side, kind) in [(left, left_type), (right, right_type)] {
        if !matches!(kind, ValueType::Scalar | ValueType::Vector) {
            return wrong(side.start, "binary expression must contain only scalar and instant vector types");
        }
    }
    if !vectors && !binary.labels.is_empty() {
        return wrong(tree.start, "vector matching only allowed between instant vectors");
    }
    if !vectors && binary.fill {
        return wrong(tree.start, "filling in missing series only allowed between instant vectors");
    }
    if vectors && sets && binary.group.is_some() {
        return wrong(tree.start, format!("no grouping allowed for {} operation", quoted(&binary.operator)));
    }
    if vectors && sets && binary.fill {
        return wrong(tree.start, "filling in missing series not allowed for set operators");
    }
    if !vectors && sets {
        return wrong(tree.start, format!("set operator {} not allowed in binary scalar expression", quoted(&binary.operator)));
    }
    Ok(if scalars { ValueType::Scalar } else { ValueType::Vector })
}

fn check_call(tree: &Tree, function: Function) -> Result<ValueType, Wrong> {
    let (name, wanted, given) = (quoted(function.name), function.arguments.len(), tree.children.len());
    let least = wanted - usize::from(function.variadic != 0);
    let most = least + usize::try_from(function.variadic).unwrap_or(0);
    if function.variadic == 0 && given != wanted {
        return wrong(tree.start, format!("expected {wanted} argument(s) in call to {name}, got {given}"));
    }
    if given < least {
        return wrong(tree.start, format!("expected at least {least} argument(s) in call to {name}, got {given}"));
    }
    if function.variadic > 0 && given > most {
        return wrong(tree.start, format!("expected at most {most} argument(s) in call to {name}, got {given}"));
    }
    let info = function.name == "info";
    if let (true, Some(labels)) = (info, tree.children.get(1)) {
        match &labels.part {
            Part::Selector(Selector { name: Some(_), .. }) => {
                return wrong(labels.start, "expected label selectors only, got vector selector instead");
            }
            Part::Selector(_) => {}
            _ => return wrong(labels.start, "expected label selectors only"),
        }
    }
    let types = function.types().chain(function.types().last().into_iter().cycle());
    for (number, (argument, wanted)) in tree.children.iter().zip(types).enumerate() {
        // The second argument of `info` may be any label matchers.
        if !(info && number == 1) {
            expect(argument, wanted, &format!("call to function {name}"))?;
        }
    }
    Ok(function.result())
}

fn check_selector(selector: &Selector, start: usize) -> Result<(), Wrong> {
    if let Some(name) = &selector.name {
        let other = selector.matchers.iter().find(|(label, ..)| label == "__name__");
        return other.map_or(Ok(()), |(.., value)| {
            wrong(start, format!("metric name must not be set twice: {} or {}", quoted(name), quoted(value)))
        });
    }
    let takes_nothing = |(label, op, value): &(String, String, String)| {
        let op = match op.as_str() {
            "=" => MatchOp::Equal,
            "!=" => MatchOp::NotEqual,
            "=~" => MatchOp::Regex,
            _ => MatchOp::NotRegex,
        };
        Matcher::new(label, op, value).is_ok_and(|matcher| matcher.matches_value(""))
    };
    if selector.matchers.iter().all(takes_nothing) {
        return wrong(start, "vector selector must contain at least one non-empty matcher");
    }
    Ok(())
}
