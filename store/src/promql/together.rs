//! What the questions about one moment read together: the rules of a group ask one after the other, mostly for the same metrics over the same
//! window, and then each metric is read once, by who comes first. In: the selectors of all, before the first is read. Out: for each its part
//! of what was read. What was read goes with the last who needs it.
//!
//! Read is what has the labels that all of them name; where all name one value each of a label, one of these values.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use model::labels::{METRIC_NAME, MatchOp, Matcher};
use tokio::sync::OnceCell;

use super::eval::{Extent, Loaded, LoadedSeries};
use super::scans::text;

/// No pattern of values is longer: then that label is not asked for.
const LONGEST: usize = 16 << 10;

/// What is read together.
#[derive(Default)]
pub struct Reads {
    /// By selector and time span: who reads it, until all have their part.
    places: HashMap<(String, Extent), Arc<Slot>>,
}

struct Slot {
    read: Mutex<Option<Arc<Read>>>,
    /// How many have not had their part.
    left: AtomicUsize,
}

/// One metric over one time span.
#[derive(Debug)]
pub struct Read {
    /// What to ask for.
    pub matchers: Vec<Matcher>,
    /// What came; `None` where it failed: then each reads for itself.
    pub all: OnceCell<Option<All>>,
    /// The label of which each selector names one value.
    by: Option<String>,
}

/// What came, with a way to the part of each.
#[derive(Debug)]
pub struct All {
    loaded: Arc<Loaded>,
    /// Places by value of the label that tells the selectors apart.
    places: HashMap<String, Vec<usize>>,
}

/// What selectors that are read together share.
#[derive(PartialEq, Eq, Hash)]
struct Shared<'a> {
    metric: &'a str,
    extent: Extent,
    /// All matchers, where a store may compute what is wanted of them.
    exactly: Option<String>,
}

impl Reads {
    /// Of these selectors with their time spans, each as often as it is asked. What stands alone is not read together.
    pub fn of(wanted: &[(&[Matcher], Extent)]) -> Self {
        let mut groups: HashMap<Shared<'_>, Vec<&[Matcher]>> = HashMap::new();
        for (matchers, extent) in wanted {
            let Some(name) = matchers.iter().find(|matcher| matcher.name == METRIC_NAME && matcher.op == MatchOp::Equal) else { continue };
            let exactly = extent.wish.map(|_| text(matchers));
            groups.entry(Shared { metric: &name.value, extent: *extent, exactly }).or_default().push(matchers);
        }
        let mut places = HashMap::new();
        for (Shared { extent, .. }, selectors) in groups.into_iter().filter(|(_, selectors)| selectors.len() > 1) {
            let (matchers, by) = common(&selectors);
            let read = Mutex::new(Some(Arc::new(Read { matchers, all: OnceCell::new(), by })));
            let slot = Arc::new(Slot { read, left: AtomicUsize::new(selectors.len()) });
            places.extend(selectors.into_iter().map(|selector| ((text(selector), extent), Arc::clone(&slot))));
        }
        Reads { places }
    }

    /// Who reads for a selector, if it is not alone. The last who may ask takes it away.
    pub fn find(&self, matchers: &[Matcher], extent: Extent) -> Option<Arc<Read>> {
        let slot = self.places.get(&(text(matchers), extent))?;
        let mut read = slot.read.lock().unwrap_or_else(PoisonError::into_inner);
        if slot.left.fetch_sub(1, Ordering::Relaxed) > 1 { read.clone() } else { read.take() }
    }
}

impl Read {
    /// What came.
    pub fn all(&self, loaded: Loaded) -> All {
        let mut places: HashMap<String, Vec<usize>> = HashMap::new();
        if let Some(by) = &self.by {
            for (place, series) in loaded.samples().iter().enumerate() {
                places.entry(series.labels.get(by).unwrap_or_default().to_owned()).or_default().push(place);
            }
        }
        All { loaded: Arc::new(loaded), places }
    }

    /// The part of a selector.
    pub fn part(&self, all: &All, matchers: &[Matcher]) -> Arc<Loaded> {
        if text(matchers) == text(&self.matchers) {
            return Arc::clone(&all.loaded);
        }
        let series = all.loaded.samples();
        let fits = |one: &&LoadedSeries| matchers.iter().all(|matcher| matcher.matches(&one.labels));
        let value = self.by.as_ref().and_then(|by| matchers.iter().find(|matcher| matcher.name == *by));
        let part = match value {
            Some(matcher) => {
                let places = all.places.get(&matcher.value).into_iter().flatten();
                places.filter_map(|place| series.get(*place)).filter(fits).cloned().collect()
            }
            None => series.iter().filter(fits).cloned().collect(),
        };
        Arc::new(Loaded::Samples(part))
    }
}

/// What all of these selectors have in common, and the label of which each names another value, if there is one.
fn common(selectors: &[&[Matcher]]) -> (Vec<Matcher>, Option<String>) {
    let Some((first, rest)) = selectors.split_first() else { return (Vec::new(), None) };
    let mut matchers: Vec<Matcher> = Vec::new();
    let mut by = None;
    for matcher in *first {
        if rest.iter().all(|other| other.contains(matcher)) {
            matchers.push(matcher.clone());
            continue;
        }
        let Some(values) = values(selectors, &matcher.name) else { continue };
        by = by.or(Some(matcher.name.clone()));
        let pattern = values.iter().map(|value| regex::escape(value)).collect::<Vec<_>>().join("|");
        if pattern.len() <= LONGEST {
            matchers.extend(Matcher::new(&matcher.name, MatchOp::Regex, &pattern));
        }
    }
    (matchers, by)
}

/// The values that these selectors name of a label, where each names one, and just so.
fn values<'a>(selectors: &[&'a [Matcher]], name: &str) -> Option<Vec<&'a str>> {
    let mut values: Vec<&str> = Vec::with_capacity(selectors.len());
    for selector in selectors {
        let mut of_it = selector.iter().filter(|matcher| matcher.name == name);
        match (of_it.next(), of_it.next()) {
            (Some(matcher), None) if matcher.op == MatchOp::Equal && !matcher.value.is_empty() => values.push(&matcher.value),
            _ => return None,
        }
    }
    values.sort_unstable();
    values.dedup();
    Some(values)
}

#[cfg(test)]
mod tests;
