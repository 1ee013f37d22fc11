//! The newest samples of one series: packed chunks in order of time, and those since. Samples may come late; of two at the same moment
//! the later one counts, in a delta series both. Pure.

use std::sync::Arc;

use super::chunk::Chunk;

/// How many samples a chunk holds: half an hour of a target that is scraped every 15 seconds.
const FULL: usize = 120;

/// The samples of a series.
#[derive(Debug, Default)]
pub struct Recent {
    chunks: Vec<Arc<Chunk>>,
    /// What the chunks take of memory.
    packed: usize,
    times: Vec<i64>,
    values: Vec<f64>,
}

/// What a question needs of a series; unpacked later, when nobody else has to wait.
#[derive(Debug)]
pub struct Held {
    chunks: Vec<Arc<Chunk>>,
    times: Vec<i64>,
    values: Vec<f64>,
}

impl Recent {
    /// Adds a sample. Returns by how many bytes it has grown (or shrunk).
    pub fn add(&mut self, at: i64, value: f64, delta: bool) -> isize {
        let before = self.size() as isize;
        match self.times.last().copied().or_else(|| self.chunks.last().map(|chunk| chunk.last)) {
            Some(last) if at < last || (at == last && !delta) => self.add_late(at, value, delta),
            Some(_) | None => self.push(at, value),
        }
        self.size() as isize - before
    }

    #[inline]
    fn push(&mut self, at: i64, value: f64) {
        if self.times.len() >= FULL {
            self.close();
        }
        self.times.push(at);
        self.values.push(value);
    }

    fn close(&mut self) {
        if let Some(chunk) = Chunk::pack(&self.times, &self.values) {
            self.packed += weight(&chunk);
            self.chunks.push(Arc::new(chunk));
        }
        self.times.clear();
        self.values.clear();
    }

    fn weigh(&mut self) {
        self.packed = self.chunks.iter().map(|chunk| weight(chunk)).sum();
    }

    /// Where there are samples after it.
    #[cold]
    fn add_late(&mut self, at: i64, value: f64, delta: bool) {
        if self.times.first().is_some_and(|first| *first <= at) || self.chunks.last().is_none_or(|chunk| chunk.last < at) {
            place(&mut self.times, &mut self.values, (at, value), delta);
            return;
        }
        // Into the first chunk that ends at or after it.
        let index = self.chunks.partition_point(|chunk| chunk.last < at);
        let Some(chunk) = self.chunks.get(index) else { return };
        let (mut times, mut values) = (Vec::new(), Vec::new());
        chunk.unpack(&mut times, &mut values);
        place(&mut times, &mut values, (at, value), delta);
        let half = if times.len() >= 2 * FULL { times.len() / 2 } else { times.len() };
        let parts = [Chunk::pack(&times[..half], &values[..half]), Chunk::pack(&times[half..], &values[half..])];
        self.chunks.splice(index..=index, parts.into_iter().flatten().map(Arc::new));
        self.weigh();
    }

    /// Adds samples of a time span, all that a store has of it, to those that came since the start. Of a moment that both have, whichever
    /// has more samples counts: the store may have some of those that came, too. Returns by how many bytes it has grown.
    pub fn fill(&mut self, mut times: Vec<i64>, mut values: Vec<f64>, delta: bool) -> isize {
        let before = self.size() as isize;
        order(&mut times, &mut values, delta);
        let Some((first, last)) = times.first().copied().zip(times.last().copied()) else { return 0 };
        let untouched = self.first().is_none_or(|own| last < own);
        if !untouched {
            let own = self.hold(first.saturating_sub(1), last);
            let (own_times, own_values) = own.unpack(first.saturating_sub(1), last);
            join(&mut times, &mut values, &own_times, &own_values);
            self.cut(first, last);
        }
        let packed: Vec<Arc<Chunk>> =
            times.chunks(FULL).zip(values.chunks(FULL)).filter_map(|(times, values)| Chunk::pack(times, values)).map(Arc::new).collect();
        let index = self.chunks.partition_point(|chunk| chunk.last < first);
        self.chunks.splice(index..index, packed);
        self.weigh();
        if self.times.first().is_some_and(|open| *open <= last) {
            // What was open lies among or before what was filled in.
            let (open_times, open_values) = (std::mem::take(&mut self.times), std::mem::take(&mut self.values));
            for (at, value) in open_times.into_iter().zip(open_values) {
                self.add(at, value, delta);
            }
        }
        self.size() as isize - before
    }

    /// Takes the samples from `first` to `last` out.
    fn cut(&mut self, first: i64, last: i64) {
        let outside = |at: i64| at < first || at > last;
        let mut kept = Vec::with_capacity(self.chunks.len());
        for chunk in self.chunks.drain(..) {
            if chunk.last < first || chunk.first > last {
                kept.push(chunk);
                continue;
            }
            let (mut times, mut values) = (Vec::new(), Vec::new());
            chunk.unpack(&mut times, &mut values);
            let (from, to) = (times.partition_point(|at| *at < first), times.partition_point(|at| *at <= last));
            kept.extend(Chunk::pack(&times[..from], &values[..from]).map(Arc::new));
            kept.extend(Chunk::pack(&times[to..], &values[to..]).map(Arc::new));
        }
        self.chunks = kept;
        let open = std::mem::take(&mut self.times).into_iter().zip(std::mem::take(&mut self.values));
        (self.times, self.values) = open.filter(|(at, _)| outside(*at)).unzip();
    }

    /// Forgets what is not after a moment, by whole chunks. Returns how many bytes that frees.
    pub fn forget(&mut self, until: i64) -> usize {
        let before = self.size();
        let gone = self.chunks.partition_point(|chunk| chunk.last <= until);
        self.chunks.drain(..gone);
        self.weigh();
        if self.times.last().is_some_and(|last| *last <= until) {
            (self.times, self.values) = (Vec::new(), Vec::new());
        }
        self.chunks.shrink_to_fit();
        before - self.size()
    }

    /// Appends when each part ends, and what it weighs.
    pub fn weights(&self, all: &mut Vec<(i64, usize)>) {
        all.extend(self.chunks.iter().map(|chunk| (chunk.last, weight(chunk))));
        all.extend(self.times.last().map(|last| (*last, (self.times.capacity() + self.values.capacity()) * 8)));
    }

    /// Whether there is no sample.
    pub fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.times.is_empty()
    }

    /// The time of the oldest sample.
    pub fn first(&self) -> Option<i64> {
        self.chunks.first().map(|chunk| chunk.first).or_else(|| self.times.first().copied())
    }

    /// The time of the newest sample.
    pub fn last(&self) -> Option<i64> {
        self.times.last().copied().or_else(|| self.chunks.last().map(|chunk| chunk.last))
    }

    /// What may lie after `after` and not after `until`.
    pub fn hold(&self, after: i64, until: i64) -> Held {
        let start = self.chunks.partition_point(|chunk| chunk.last <= after);
        let end = self.chunks.partition_point(|chunk| chunk.first <= until).max(start);
        let (from, to) = (self.times.partition_point(|at| *at <= after), self.times.partition_point(|at| *at <= until));
        let to = to.max(from);
        Held { chunks: self.chunks[start..end].to_vec(), times: self.times[from..to].to_vec(), values: self.values[from..to].to_vec() }
    }

    /// Memory, about.
    fn size(&self) -> usize {
        self.packed + (self.times.capacity() + self.values.capacity()) * 8
    }
}

fn weight(chunk: &Chunk) -> usize {
    chunk.size() + size_of::<Arc<Chunk>>()
}

impl Held {
    /// How many samples at most.
    pub fn count(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.len as usize).sum::<usize>() + self.times.len()
    }

    /// The samples after `after` and not after `until`, in order of time.
    pub fn unpack(self, after: i64, until: i64) -> (Vec<i64>, Vec<f64>) {
        let (mut times, mut values) = (Vec::with_capacity(self.count()), Vec::with_capacity(self.count()));
        self.chunks.iter().for_each(|chunk| chunk.unpack(&mut times, &mut values));
        let (from, to) = (times.partition_point(|at| *at <= after), times.partition_point(|at| *at <= until));
        times.truncate(to);
        values.truncate(to);
        if from > 0 {
            times.drain(..from.min(to));
            values.drain(..from.min(to));
        }
        times.extend_from_slice(&self.times);
        values.extend_from_slice(&self.values);
        (times, values)
    }
}

/// Puts a sample in its place: over one of the same moment, or behind it in a delta series.
fn place(times: &mut Vec<i64>, values: &mut Vec<f64>, (at, value): (i64, f64), delta: bool) {
    let index = times.partition_point(|other| *other <= at);
    if !delta && index > 0 && times[index - 1] == at {
        values[index - 1] = value;
        return;
    }
    times.insert(index, at);
    values.insert(index, value);
}

/// Sorts by time; of two at the same moment the later one counts unless they are deltas.
fn order(times: &mut Vec<i64>, values: &mut Vec<f64>, delta: bool) {
    if times.windows(2).all(|pair| pair[0] < pair[1] || (delta && pair[0] == pair[1])) {
        return;
    }
    let mut all: Vec<(i64, f64)> = times.iter().copied().zip(values.iter().copied()).collect();
    all.sort_by_key(|(at, _)| *at);
    times.clear();
    values.clear();
    for (at, value) in all {
        if !delta && times.last() == Some(&at) {
            values.pop();
            times.pop();
        }
        times.push(at);
        values.push(value);
    }
}

/// Adds to samples those others whose moments have more there.
fn join(times: &mut Vec<i64>, values: &mut Vec<f64>, other_times: &[i64], other_values: &[f64]) {
    let run = |times: &[i64], from: usize| times[from..].iter().take_while(|at| **at == times[from]).count();
    let (mut joined, mut numbers) = (Vec::with_capacity(times.len()), Vec::with_capacity(times.len()));
    let (mut a, mut b) = (0, 0);
    while a < times.len() || b < other_times.len() {
        let (own, other) = (times.get(a).copied().unwrap_or(i64::MAX), other_times.get(b).copied().unwrap_or(i64::MAX));
        let here = if a < times.len() && own <= other || b >= other_times.len() { run(times, a) } else { 0 };
        let there = if b < other_times.len() && other <= own || a >= times.len() { run(other_times, b) } else { 0 };
        if here >= there {
            joined.extend_from_slice(&times[a..a + here]);
            numbers.extend_from_slice(&values[a..a + here]);
        } else {
            joined.extend_from_slice(&other_times[b..b + there]);
            numbers.extend_from_slice(&other_values[b..b + there]);
        }
        (a, b) = (a + here, b + there);
    }
    (*times, *values) = (joined, numbers);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(recent: &Recent) -> Vec<(i64, f64)> {
        let (times, values) = recent.hold(i64::MIN, i64::MAX).unpack(i64::MIN, i64::MAX);
        times.into_iter().zip(values).collect()
    }

    #[test]
    fn of_two_samples_at_a_moment_the_later_counts_unless_they_are_deltas() {
        let (mut total, mut delta) = (Recent::default(), Recent::default());
        for (at, value) in [(1, 1.0), (2, 2.0), (2, 3.0), (1, 4.0)] {
            total.add(at, value, false);
            delta.add(at, value, true);
        }
        assert_eq!(all(&total), [(1, 4.0), (2, 3.0)]);
        assert_eq!(all(&delta), [(1, 1.0), (1, 4.0), (2, 2.0), (2, 3.0)]);
    }

    proptest! {
        /// Beside a plain list: samples in any order, parts of them filled in again, the oldest forgotten.
        #[test]
        fn it_holds_what_a_list_would(
            times in prop::collection::vec(0i64..3_000, 1..900),
            filled in 0usize..900,
            span in (0i64..3_000, 0i64..3_000),
            floor in 0i64..3_000,
        ) {
            let filled = filled.min(times.len());
            let value = |at: i64| at as f64 * 0.5;
            let mut recent = Recent::default();
            let mut grown = 0;
            // The first ones are stored; some of them came live too, with all the others.
            for at in &times[filled / 2..] {
                grown += recent.add(*at, value(*at), false);
            }
            let stored: Vec<i64> = times[..filled].to_vec();
            grown += recent.fill(stored.clone(), stored.iter().map(|at| value(*at)).collect(), false);
            let mut expected: Vec<i64> = times.clone();
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(all(&recent), expected.iter().map(|at| (*at, value(*at))).collect::<Vec<_>>());
            prop_assert_eq!(grown, recent.size() as isize);
            let (after, until) = (span.0.min(span.1), span.0.max(span.1));
            let (some, _) = recent.hold(after, until).unpack(after, until);
            prop_assert_eq!(some, expected.iter().copied().filter(|at| *at > after && *at <= until).collect::<Vec<_>>());
            let before = recent.size();
            let freed = recent.forget(floor);
            prop_assert_eq!(before - freed, recent.size());
            let left: Vec<i64> = all(&recent).into_iter().map(|(at, _)| at).filter(|at| *at > floor).collect();
            prop_assert_eq!(left, expected.into_iter().filter(|at| *at > floor).collect::<Vec<_>>());
        }
    }
}
