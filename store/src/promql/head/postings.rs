//! Which series of a metric have which value of which label: so that a question for few series looks at few. In: the labels of series as
//! they become known; out: the places of the series that a selector's matchers leave over, and which matcher needs no further look. Pure.

use hashbrown::HashMap;
use model::labels::{Labels, METRIC_NAME, MatchOp, Matcher};

/// What a label's name weighs beside its text, and what a value does, about.
const ENTRY: usize = 80;

/// The series of every value of a label, in no order.
type Values = HashMap<Box<str>, Vec<u32>>;

/// The index. `__name__` is not in it: all series of a metric have the same.
#[derive(Default)]
pub struct Postings {
    names: HashMap<Box<str>, Values>,
    weight: usize,
}

/// Series that may match.
#[derive(Debug, PartialEq, Eq)]
pub struct Narrowed {
    /// Their places, in no order, none twice.
    pub places: Vec<u32>,
    /// The number of the matcher that they all fulfil.
    pub by: usize,
}

/// What a matcher leaves over.
struct Lists<'a> {
    by: usize,
    series: usize,
    lists: Vec<&'a [u32]>,
}

impl<'a> Lists<'a> {
    fn new(by: usize, lists: Vec<&'a [u32]>) -> Self {
        Lists { by, series: lists.iter().map(|list| list.len()).sum(), lists }
    }
}

impl Postings {
    /// Memory, about, in bytes.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// Adds a series.
    pub fn add(&mut self, place: u32, labels: &Labels) {
        for (name, value) in labels.iter().filter(|(name, _)| *name != METRIC_NAME) {
            if !self.names.contains_key(name) {
                self.names.insert(name.into(), Values::new());
                self.weight += ENTRY + name.len();
            }
            let Some(values) = self.names.get_mut(name) else { continue };
            match values.get_mut(value) {
                Some(places) => {
                    let before = places.capacity();
                    places.push(place);
                    self.weight += (places.capacity() - before) * size_of::<u32>();
                }
                None => {
                    values.insert(value.into(), vec![place]);
                    self.weight += ENTRY + value.len() + size_of::<u32>();
                }
            }
        }
    }

    /// Takes a series away. What it took of memory goes with the next rebuilding.
    pub fn remove(&mut self, place: u32, labels: &Labels) {
        for (name, value) in labels.iter() {
            if let Some(places) = self.names.get_mut(name).and_then(|values| values.get_mut(value)) {
                places.retain(|other| *other != place);
            }
        }
    }

    /// The series that the narrowest of the matchers leaves over; `None` where no matcher asks for a label to be there, so that all series
    /// must be looked at.
    pub fn narrow(&self, matchers: &[&Matcher]) -> Option<Narrowed> {
        // A matcher that an absent label fulfils takes series that are in no list.
        let present = || matchers.iter().enumerate().filter(|(_, matcher)| !matcher.matches_value(""));
        let exact = present().filter_map(|(by, matcher)| Some(Lists::new(by, self.exactly(matcher)?)));
        let tried = || present().map(|(by, matcher)| Lists::new(by, self.by_value(matcher))).min_by_key(|lists| lists.series);
        let Lists { by, lists, .. } = exact.min_by_key(|lists| lists.series).or_else(tried)?;
        Some(Narrowed { places: lists.concat(), by })
    }

    /// The lists of a matcher that names its values.
    fn exactly(&self, matcher: &Matcher) -> Option<Vec<&[u32]>> {
        let mut wanted = match matcher.op {
            MatchOp::Equal => vec![matcher.value.clone()],
            MatchOp::Regex => alternatives(&matcher.value)?,
            MatchOp::NotEqual | MatchOp::NotRegex => return None,
        };
        wanted.sort_unstable();
        wanted.dedup();
        let values = self.names.get(matcher.name.as_str());
        Some(wanted.iter().filter_map(|value| values?.get(value.as_str())).map(Vec::as_slice).collect())
    }

    /// The lists of the values that match: each value is looked at once, however many series have it.
    fn by_value(&self, matcher: &Matcher) -> Vec<&[u32]> {
        let values = self.names.get(matcher.name.as_str()).into_iter().flatten();
        values.filter(|(value, _)| matcher.matches_value(value)).map(|(_, places)| places.as_slice()).collect()
    }
}

/// The texts that a pattern stands for, where it is nothing but an alternation of plain texts, as dashboards write them: `a|b`, `(a|b\.c)`.
fn alternatives(pattern: &str) -> Option<Vec<String>> {
    let inside = pattern.strip_prefix("(?:").or_else(|| pattern.strip_prefix('(')).and_then(|rest| rest.strip_suffix(')'));
    let (mut all, mut text) = (Vec::new(), String::new());
    let mut chars = inside.unwrap_or(pattern).chars();
    while let Some(next) = chars.next() {
        match next {
            '|' => all.push(std::mem::take(&mut text)),
            '\\' => text.push(chars.next().filter(char::is_ascii_punctuation)?),
            '.' | '+' | '*' | '?' | '(' | ')' | '[' | ']' | '{' | '}' | '^' | '$' => return None,
            plain => text.push(plain),
        }
    }
    all.push(text);
    Some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn matcher(name: &str, op: MatchOp, value: &str) -> Matcher {
        Matcher::new(name, op, value).unwrap()
    }

    /// Eighty pods of four jobs; every tenth in a zone.
    fn pods() -> (Vec<Labels>, Postings) {
        let pod = |n: usize| {
            let zone = if n.is_multiple_of(10) { "z" } else { "" };
            let pairs = [("__name__", "up"), ("job", &format!("job-{}", n % 4)), ("pod", &format!("pod.{n}")), ("zone", zone)];
            pairs.into_iter().map(|(name, value)| (name, value.to_owned())).collect::<Labels>()
        };
        let all: Vec<Labels> = (0..80).map(pod).collect();
        let mut postings = Postings::default();
        all.iter().enumerate().for_each(|(place, labels)| postings.add(place as u32, labels));
        (all, postings)
    }

    #[test]
    fn the_narrowest_matcher_decides_what_is_looked_at() {
        let (_, postings) = pods();
        let narrow = |matchers: &[Matcher]| {
            let found = postings.narrow(&matchers.iter().collect::<Vec<_>>());
            found.map(|mut found| {
                found.places.sort_unstable();
                (found.places, found.by)
            })
        };
        let job = || matcher("job", MatchOp::Equal, "job-1");
        assert_eq!(narrow(&[job()]).unwrap().0.len(), 20);
        assert_eq!(narrow(&[job(), matcher("pod", MatchOp::Equal, "pod.5")]), Some((vec![5], 1)));
        let some = matcher("pod", MatchOp::Regex, r"(pod\.7|pod\.9|pod\.9|none)");
        assert_eq!(narrow(&[some, job()]), Some((vec![7, 9], 0)));
        assert_eq!(narrow(&[matcher("pod", MatchOp::Regex, "pod.7.")]).unwrap().0, (70..80).collect::<Vec<_>>());
        assert_eq!(narrow(&[matcher("zone", MatchOp::NotEqual, "")]).unwrap().0, (0..8).map(|n| n * 10).collect::<Vec<_>>());
        assert_eq!(narrow(&[matcher("zone", MatchOp::Regex, ".+"), job()]).unwrap().1, 1, "what is named goes before what is tried");
        assert_eq!(narrow(&[matcher("nothing", MatchOp::Equal, "a")]), Some((vec![], 0)));
        for any in [matcher("zone", MatchOp::Equal, ""), matcher("job", MatchOp::NotEqual, "a"), matcher("zone", MatchOp::Regex, "z|")] {
            assert_eq!(narrow(&[any]), None);
        }
    }

    #[test]
    fn memory_is_counted_and_series_go() {
        let (all, mut postings) = pods();
        assert!(postings.weight() > 80 * (ENTRY + 4) && postings.weight() < 80 * 200, "{}", postings.weight());
        postings.remove(5, &all[5]);
        assert_eq!(postings.narrow(&[&matcher("pod", MatchOp::Equal, "pod.5")]).unwrap().places, Vec::<u32>::new());
        assert_eq!(postings.narrow(&[&matcher("job", MatchOp::Equal, "job-1")]).unwrap().places.len(), 19);
    }

    proptest! {
        /// No series that matches is left out, and each matcher that is said to be fulfilled is.
        #[test]
        fn what_is_left_over_holds_all_that_matches(
            asked in prop::collection::vec((0usize..4, 0usize..4, 0usize..9), 1..4),
        ) {
            let (all, postings) = pods();
            let values = ["", "z", "job-1", "pod.3", "job-1|job-2", r"pod\.1.*", "(pod.1|z|)", ".+", r"(?:pod\.1|pod\.2)"];
            let ops = [MatchOp::Equal, MatchOp::NotEqual, MatchOp::Regex, MatchOp::NotRegex];
            let matchers: Vec<Matcher> =
                asked.iter().map(|(name, op, value)| matcher(["job", "pod", "zone", "none"][*name], ops[*op], values[*value])).collect();
            let expected: Vec<u32> =
                (0..80).filter(|place| matchers.iter().all(|matcher| matcher.matches(&all[*place as usize]))).collect();
            if let Some(found) = postings.narrow(&matchers.iter().collect::<Vec<_>>()) {
                prop_assert!(found.places.iter().all(|place| matchers[found.by].matches(&all[*place as usize])));
                let mut left: Vec<u32> = found.places.into_iter().filter(|place| expected.contains(place)).collect();
                left.sort_unstable();
                prop_assert_eq!(left, expected);
            }
        }

        #[test]
        fn plain_alternations_stand_for_their_texts(pattern in r"(\(|\(\?:)?[ab.\\|+]{0,6}\)?", texts in prop::collection::vec("[ab.|+]{0,3}", 20)) {
            if let (Some(all), Ok(pattern)) = (alternatives(&pattern), Matcher::new("x", MatchOp::Regex, &pattern)) {
                for text in texts.iter().chain(&all) {
                    prop_assert_eq!(pattern.matches_value(text), all.contains(text), "{:?}", text);
                }
            }
        }
    }
}
