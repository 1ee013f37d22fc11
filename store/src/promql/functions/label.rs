//! `label_replace` and `label_join`.

use std::sync::Arc;

use model::labels::Labels;

use crate::promql::plan::{LabelJoin, LabelReplace};

/// The label set with the destination written, where the pattern matches the whole source value.
pub fn replace(labels: &Arc<Labels>, with: &LabelReplace) -> Arc<Labels> {
    let source = labels.get(&with.source).unwrap_or("");
    let Some(found) = with.pattern.captures(source) else { return Arc::clone(labels) };
    let mut value = String::new();
    expand(&with.replacement, &found, &mut value);
    Arc::new(Labels::clone(labels).with(&with.destination, &value))
}

/// Go's `Regexp.Expand`: `$name` takes the longest run of letters, digits and `_`; `$$` is a dollar; an unknown group is empty.
fn expand(template: &str, found: &regex::Captures<'_>, out: &mut String) {
    let mut rest = template;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(tail) = after.strip_prefix('$') {
            out.push('$');
            rest = tail;
            continue;
        }
        let (name, tail) = match after.strip_prefix('{') {
            Some(inner) => match inner.find('}') {
                Some(end) => (&inner[..end], &inner[end + 1..]),
                None => ("", ""),
            },
            None => {
                let end = after.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(after.len());
                after.split_at(end)
            }
        };
        if name.is_empty() || !name.chars().all(|c| c.is_alphanumeric() || c == '_') {
            // Malformed: the dollar is literal.
            out.push('$');
            rest = after;
            continue;
        }
        let group = if name.bytes().all(|b| b.is_ascii_digit()) {
            name.parse().ok().and_then(|index: usize| found.get(index))
        } else {
            found.name(name)
        };
        out.push_str(group.map_or("", |group| group.as_str()));
        rest = tail;
    }
    out.push_str(rest);
}

/// The label set with the destination set to the joined source values.
pub fn join(labels: &Arc<Labels>, with: &LabelJoin) -> Arc<Labels> {
    let values: Vec<&str> = with.sources.iter().map(|name| labels.get(name).unwrap_or("")).collect();
    Arc::new(Labels::clone(labels).with(&with.destination, &values.join(&with.separator)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use regex::Regex;

    #[test]
    fn replacements_expand_as_in_go() {
        let pattern = Regex::new("^(?s:a(.)(?P<name>.))$").unwrap();
        for (template, expected) in [
            ("$1", "b"),
            ("${1}x", "bx"),
            ("$1x", ""),
            ("$$1", "$1"),
            ("$name-$2", "c-c"),
            ("$9", ""),
            ("a$", "a$"),
            ("${", "${"),
            ("$-", "$-"),
        ] {
            let mut out = String::new();
            expand(template, &pattern.captures("abc").unwrap(), &mut out);
            assert_eq!(out, expected, "{template}");
        }
    }
}
