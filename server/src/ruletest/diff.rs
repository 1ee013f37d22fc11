//! Two lists side by side, for people: what is missing, what is too much, and where things of one label set differ, in what. Pure.

use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A label set as promtool compares it: a value may be empty.
pub(super) type Set = BTreeMap<String, String>;

/// `{a="1", b="2"}`.
pub(super) fn shown(set: &Set) -> String {
    let pairs: Vec<String> = set.iter().map(|(name, value)| format!("{name}={value:?}")).collect();
    format!("{{{}}}", pairs.join(", "))
}

/// An alert: its labels and its annotations.
pub(super) type Fired = (Set, Set);

/// Compares alerts; `None` where they are the same.
pub(super) fn alerts(expected: &[Fired], got: &[Fired]) -> Option<String> {
    let (mut missing, mut extra) = (Vec::from(expected), Vec::new());
    for one in got {
        match missing.iter().position(|other| other == one) {
            Some(at) => drop(missing.remove(at)),
            None => extra.push(one.clone()),
        }
    }
    if missing.is_empty() && extra.is_empty() {
        return None;
    }
    let mut text = String::new();
    for (labels, annotations) in &missing {
        let Some(at) = extra.iter().position(|(other, _)| other == labels) else {
            let _ = writeln!(text, "expected, but not firing:  {}", shown(labels));
            continue;
        };
        let (_, there) = extra.remove(at);
        let _ = writeln!(text, "annotations differ:        {}", shown(labels));
        let names: std::collections::BTreeSet<&String> = annotations.keys().chain(there.keys()).collect();
        for name in names.into_iter().filter(|name| annotations.get(*name) != there.get(*name)) {
            let word = |value: Option<&String>| value.map_or_else(|| "(none)".to_owned(), |value| format!("{value:?}"));
            let _ = writeln!(text, "  {name}:\n    expected {}\n    got      {}", word(annotations.get(name)), word(there.get(name)));
        }
    }
    for (labels, annotations) in &extra {
        let _ = writeln!(text, "firing, but not expected:  {} annotations {}", shown(labels), shown(annotations));
    }
    Some(text)
}

/// Compares lists of lines whose order does not matter; `None` where nothing is missing or too much.
pub(super) fn lines(missing: &[String], extra: &[String]) -> Option<String> {
    let mut text = String::new();
    for line in missing {
        let _ = writeln!(text, "expected, but not there:   {line}");
    }
    for line in extra {
        let _ = writeln!(text, "there, but not expected:   {line}");
    }
    (!text.is_empty()).then_some(text)
}

/// Pairs expectations with what was there, each at most once, exact ones first come first served. Gives back both rests by place.
pub(super) fn pair<E, G>(expected: &[E], got: &[G], fits: impl Fn(&E, &G) -> bool) -> (Vec<usize>, Vec<usize>) {
    // Augmenting paths: a vague expectation must not take what a precise one needs.
    fn place<E, G>(
        at: usize,
        expected: &[E],
        got: &[G],
        fits: &impl Fn(&E, &G) -> bool,
        taken: &mut [Option<usize>],
        seen: &mut [bool],
    ) -> bool {
        for to in 0..got.len() {
            if seen[to] || !fits(&expected[at], &got[to]) {
                continue;
            }
            seen[to] = true;
            if taken[to].is_none_or(|other| place(other, expected, got, fits, taken, seen)) {
                taken[to] = Some(at);
                return true;
            }
        }
        false
    }
    let mut taken: Vec<Option<usize>> = vec![None; got.len()];
    for at in 0..expected.len() {
        place(at, expected, got, &fits, &mut taken, &mut vec![false; got.len()]);
    }
    let missing = (0..expected.len()).filter(|at| !taken.contains(&Some(*at))).collect();
    let extra = (0..got.len()).filter(|to| taken[*to].is_none()).collect();
    (missing, extra)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vague_expectation_leaves_room_for_a_precise_one() {
        let fits = |expected: &Option<u32>, got: &u32| expected.is_none_or(|wanted| wanted == *got);
        assert_eq!(pair(&[None, Some(1)], &[1, 2], fits), (vec![], vec![]));
        assert_eq!(pair(&[None, Some(1)], &[2, 2], fits), (vec![1], vec![1]));
        assert_eq!(pair(&[None, None], &[2], fits), (vec![1], vec![]));
    }

    #[test]
    fn differing_annotations_are_shown_side_by_side() {
        let set = |name: &str, value: &str| Set::from([(name.to_owned(), value.to_owned())]);
        let (expected, got) = ([(set("a", "1"), set("summary", "x is down"))], [(set("a", "1"), set("summary", "y is down"))]);
        let text = alerts(&expected, &got).unwrap();
        assert!(text.contains("expected \"x is down\"\n    got      \"y is down\""), "{text}");
        assert_eq!(alerts(&expected, &expected), None);
        assert!(alerts(&expected, &[]).unwrap().contains("not firing:  {a=\"1\"}"));
        assert!(alerts(&expected, &[expected[0].clone(), expected[0].clone()]).unwrap().contains("not expected:  {a=\"1\"}"));
    }
}
