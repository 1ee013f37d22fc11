//! Which functions a tenant's SQL may call: a list of names, in lower case.

use std::collections::HashSet;
use std::sync::LazyLock;

struct Functions {
    aggregate: HashSet<&'static str>,
    others: HashSet<&'static str>,
}

// A constant table, sorted out once.
static FUNCTIONS: LazyLock<Functions> = LazyLock::new(|| {
    let mut functions = Functions { aggregate: HashSet::new(), others: HashSet::new() };
    let mut aggregate = false;
    for line in include_str!("functions.txt").lines().filter(|line| !line.starts_with('#')) {
        match line {
            "[aggregate]" => aggregate = true,
            "[scalar]" | "[type]" => aggregate = false,
            words if aggregate => functions.aggregate.extend(words.split_whitespace()),
            words => functions.others.extend(words.split_whitespace()),
        }
    }
    functions
});

/// Endings that make another aggregate function of one.
const COMBINATORS: [&str; 15] = [
    "simplestate",
    "mergestate",
    "ordefault",
    "resample",
    "distinct",
    "foreach",
    "argmin",
    "argmax",
    "ornull",
    "merge",
    "state",
    "array",
    "tuple",
    "map",
    "if",
];

/// Whether a function (or a type with parameters, as in `CAST(x AS Nullable(String))`) may be called.
pub fn is_allowed(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    FUNCTIONS.others.contains(name.as_str()) || is_aggregate(&name)
}

fn is_aggregate(name: &str) -> bool {
    FUNCTIONS.aggregate.contains(name)
        || COMBINATORS.iter().any(|ending| name.strip_suffix(ending).is_some_and(|base| !base.is_empty() && is_aggregate(base)))
}

/// All names of the list, for the test that compares it with the engine's.
pub fn names() -> impl Iterator<Item = &'static str> {
    FUNCTIONS.aggregate.iter().chain(&FUNCTIONS.others).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_reads_computes_and_counts_is_allowed_and_the_rest_is_not() {
        for name in ["count", "countIf", "quantilesTDigestIf", "sumMapIf", "toStartOfInterval", "CAST", "now64", "uniqExactMergeState"] {
            assert!(is_allowed(name), "{name}");
        }
        for name in ["file", "url", "dictGet", "joinGet", "sleep", "throwIf", "aiGenerate", "hostName", "if_", "merge", "in", "globalNotIn"]
        {
            assert!(!is_allowed(name), "{name}");
        }
    }
}
