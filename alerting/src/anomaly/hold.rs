//! What is not learned yet: while values are outside of what was foreseen, the level is held, so that an incident does not become usual
//! while it goes on. What lasts longer than `Learning::hold` is no incident: the level has changed, and the history before it is carried
//! to where it would be now. What comes back as it was before such a change was an incident after all. Pure: all of it follows from the
//! history. In: a series without gaps. Out: the same with each step marked.

use std::ops::Range;

use super::change::Change;
use super::places::Usual;
use super::{Hold, Learning, grid, level};

/// A level is held until so many values in a row are as foreseen.
const BACK: usize = 3;
/// What is not foreseen is so many standard deviations off at least.
const APART: f64 = 3.0;
/// So many changes are looked for.
const MOST: usize = 16;
/// At most this part of a history is held at a time, and what comes back later than that is a change.
const PART: usize = 8;

/// What a value does to the level.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Pace {
    /// It moves it, as all do.
    Learn,
    /// Nothing.
    Hold,
    /// It ends a hold: the level takes in this share of how far it is off.
    Anchor(f64),
}

/// What is done with each value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Marks {
    /// How it moves the level.
    pub pace: Vec<Pace>,
    /// Whether its error counts.
    pub counted: Vec<bool>,
    /// Whether the level is held at the end.
    pub open: Option<Hold>,
}

impl Marks {
    /// Nothing is held.
    pub(super) fn none(counted: &[bool]) -> Self {
        Marks { pace: vec![Pace::Learn; counted.len()], counted: counted.to_vec(), open: None }
    }
}

/// A history in which each value says whether it is learned.
#[derive(Clone, Debug)]
pub(super) struct Held {
    /// The values; before a lasting change what they would be after it.
    pub values: Vec<f64>,
    /// The same with what was foreseen in place of what is held.
    pub usual: Vec<f64>,
    /// What is done with each.
    pub marks: Marks,
}

/// What a walk through the history came to.
enum Walked {
    /// Its end, with the level before each value.
    End(Marks, Vec<f64>),
    /// A change that lasts: from its first value to before the last that was needed to tell.
    Changed(Range<usize>, Vec<f64>),
}

impl Walked {
    /// Where a hold began that goes on or was given up.
    fn holds_from(&self) -> Option<usize> {
        match self {
            Walked::End(marks, _) => marks.open.map(|hold| marks.pace.len() - hold.since),
            Walked::Changed(stretch, _) => Some(stretch.start),
        }
    }
}

/// What is known while looking.
#[derive(Clone, Default)]
struct Story {
    /// The history before each was carried over it, the oldest first.
    changes: Vec<Change>,
    /// Long incidents that ended.
    incidents: Vec<Range<usize>>,
}

impl Story {
    fn told(&self, values: &[f64], measured: &[bool], periods: &[usize]) -> (Vec<f64>, Vec<bool>) {
        let mut values = values.to_vec();
        for change in &self.changes {
            change.carry(&mut values);
        }
        if self.incidents.is_empty() {
            return (values, measured.to_vec());
        }
        let mut raw = values.clone();
        for (at, value) in raw.iter_mut().enumerate() {
            if !measured[at] || self.incidents.iter().any(|incident| incident.contains(&at)) {
                *value = f64::NAN;
            }
        }
        match grid::fill(&raw, periods, 1) {
            // An incident at the very beginning stays.
            Ok(filled) if filled.values.len() == values.len() => (filled.values, filled.measured),
            Ok(_) | Err(_) => (values, measured.to_vec()),
        }
    }
}

/// Looks for what is not to be learned.
pub(super) fn look(values: &[f64], measured: &[bool], learning: &Learning) -> Held {
    let reach = learning.hold.min(values.len() / PART);
    let mut story = Story::default();
    let mut tries = if reach == 0 { 0 } else { MOST };
    while tries > 0 {
        tries -= 1;
        let (told, known) = story.told(values, measured, &learning.periods);
        let usual = Usual::of(&told, &known, learning, reach);
        let walked = walk(&usual, &told, &known, &story.incidents, learning, reach);
        if let Some(before) = came_back(&story, &walked, values, measured, learning, reach) {
            story = before;
            continue;
        }
        match walked {
            Walked::Changed(stretch, before) => {
                let pairs = stretch.clone().filter(|at| known[*at]).map(|at| (told[at], before[at] + usual.season[at]));
                story.changes.push(Change::of(stretch.start, pairs));
            }
            Walked::End(marks, before) => {
                let foreseen = |at: usize| before[at] + usual.season[at];
                let left_out = |at: usize| marks.pace[at] == Pace::Hold && !marks.counted[at];
                let usual = (0..told.len()).map(|at| if left_out(at) { foreseen(at) } else { told[at] }).collect();
                return Held { values: told, usual, marks };
            }
        }
    }
    let (told, known) = story.told(values, measured, &learning.periods);
    Held { usual: told.clone(), values: told, marks: Marks::none(&known) }
}

/// The story without its last change, if values came back to where they were before it.
fn came_back(story: &Story, walked: &Walked, values: &[f64], measured: &[bool], learning: &Learning, reach: usize) -> Option<Story> {
    let again = walked.holds_from()?;
    let mut before = story.clone();
    let change = before.changes.pop()?;
    if again <= change.from || again - change.from > values.len() / PART || again + BACK > values.len() {
        return None;
    }
    before.incidents.push(change.from..again);
    let (told, known) = before.told(values, measured, &learning.periods);
    let usual = Usual::of(&told, &known, learning, reach);
    let until = again + BACK;
    match walk(&usual, &told[..until], &known[..until], &before.incidents, learning, reach) {
        Walked::End(marks, _) if marks.open.is_none() => Some(before),
        Walked::End(..) | Walked::Changed(..) => None,
    }
}

/// Walks through a history and holds the level where values are not as foreseen.
fn walk(usual: &Usual, values: &[f64], measured: &[bool], incidents: &[Range<usize>], learning: &Learning, reach: usize) -> Walked {
    let ends = learning.ends().max(APART);
    let mut walk =
        Walk { level: level::beginning(&usual.rest), since: None, back: 0, weight: 0, first: 0, longest: learning.horizon.max(2 * BACK) };
    let (mut marks, mut before) = (Marks::none(measured), Vec::with_capacity(values.len()));
    for (at, measured) in measured.iter().copied().enumerate() {
        if walk.since.is_some() {
            walk.level += usual.level.slope;
        }
        before.push(walk.level);
        if incidents.iter().any(|incident| incident.contains(&at)) {
            walk.since.get_or_insert(at);
            walk.back = 0;
            marks.pace[at] = Pace::Hold;
            continue;
        }
        let off = usual.rest[at] - walk.level;
        let ahead = at + 1 - walk.since.unwrap_or(at);
        let outside = measured && off.abs() > (ends * usual.deviation(at, ahead)).max(usual.least);
        marks.pace[at] = walk.step(at, off, outside, measured, usual);
        if walk.back >= BACK {
            walk.release(at, usual, &mut marks);
        }
        if walk.weight >= reach {
            return Walked::Changed(walk.first..at + 1, before);
        }
    }
    if let Some(since) = walk.since {
        marks.counted[since..].fill(false);
        marks.open = Some(Hold { since: values.len() - since, left: reach - walk.weight });
    }
    Walked::End(marks, before)
}

/// Where a walk is.
struct Walk {
    level: f64,
    /// The first value that is held.
    since: Option<usize>,
    /// So many values in a row were as foreseen again.
    back: usize,
    /// One more for each value outside, one less for each that is learned.
    weight: usize,
    /// Where `weight` began to grow.
    first: usize,
    /// A longer hold was an incident, whose errors do not count.
    longest: usize,
}

impl Walk {
    fn step(&mut self, at: usize, off: f64, outside: bool, measured: bool, usual: &Usual) -> Pace {
        if outside {
            if self.weight == 0 {
                self.first = at;
            }
            self.weight += 1;
            self.back = 0;
            self.since.get_or_insert(at);
            return Pace::Hold;
        }
        if self.since.is_some() {
            self.back += usize::from(measured);
            return Pace::Hold;
        }
        self.weight = self.weight.saturating_sub(1);
        self.level += usual.level.follows.innovation(off);
        Pace::Learn
    }

    /// The last values are as foreseen again.
    fn release(&mut self, at: usize, usual: &Usual, marks: &mut Marks) {
        let Some(since) = self.since.take() else { return };
        self.back = 0;
        if at - since > self.longest {
            marks.counted[since..=at - BACK].fill(false);
        }
        let share = usual.level.anchor(at + 1 - since) / BACK as f64;
        for at in at + 1 - BACK..=at {
            marks.pace[at] = Pace::Anchor(share);
            self.level += share * (usual.rest[at] - self.level);
        }
    }
}
