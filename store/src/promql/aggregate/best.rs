//! The `k` best of many values: a heap with the worst of them on top. It sifts as Prometheus's does, so that among equal values the
//! same series stay.

use crate::promql::plan::Direction;

/// At most `k` values with what they belong to.
#[derive(Debug)]
pub struct Best {
    k: usize,
    /// `Descending` keeps the greatest.
    direction: Direction,
    heap: Vec<(f64, usize)>,
}

impl Best {
    /// An empty one.
    pub fn new(k: usize, direction: Direction) -> Self {
        Best { k, direction, heap: Vec::with_capacity(k.min(64)) }
    }

    /// Takes a value in, if it is better than the worst so far; NaN is worse than everything.
    pub fn offer(&mut self, value: f64, item: usize) {
        if self.heap.len() < self.k {
            self.heap.push((value, item));
            self.up(self.heap.len() - 1);
        } else if let Some(&(worst, _)) = self.heap.first() {
            let better = match self.direction {
                Direction::Descending => worst < value,
                Direction::Ascending => worst > value,
            };
            if better || (worst.is_nan() && !value.is_nan()) {
                self.heap[0] = (value, item);
                self.down(0);
            }
        }
    }

    /// What was kept, best first; NaN last.
    pub fn into_sorted(mut self) -> Vec<(f64, usize)> {
        let direction = self.direction;
        self.heap.sort_by(|a, b| crate::promql::functions::sort::by_value(a.0, b.0, direction));
        self.heap
    }

    fn worse(&self, a: usize, b: usize) -> bool {
        let (a, b) = (self.heap[a].0, self.heap[b].0);
        a.is_nan()
            || match self.direction {
                Direction::Descending => a < b,
                Direction::Ascending => a > b,
            }
    }

    fn up(&mut self, mut child: usize) {
        while child > 0 {
            let parent = (child - 1) / 2;
            if !self.worse(child, parent) {
                return;
            }
            self.heap.swap(child, parent);
            child = parent;
        }
    }

    fn down(&mut self, mut parent: usize) {
        loop {
            let (left, right) = (2 * parent + 1, 2 * parent + 2);
            if left >= self.heap.len() {
                return;
            }
            let child = if right < self.heap.len() && self.worse(right, left) { right } else { left };
            if !self.worse(child, parent) {
                return;
            }
            self.heap.swap(child, parent);
            parent = child;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn kept(values: &[f64], k: usize, direction: Direction) -> Vec<f64> {
        let mut best = Best::new(k, direction);
        values.iter().enumerate().for_each(|(item, value)| best.offer(*value, item));
        best.into_sorted().into_iter().map(|(value, _)| value).collect()
    }

    #[test]
    fn nan_is_kept_only_if_there_is_room() {
        assert_eq!(kept(&[f64::NAN, 1.0, 2.0, 3.0], 2, Direction::Descending), [3.0, 2.0]);
        assert_eq!(kept(&[3.0, f64::NAN, 1.0], 2, Direction::Ascending), [1.0, 3.0]);
        assert!(kept(&[f64::NAN], 2, Direction::Ascending)[0].is_nan());
        assert!(kept(&[1.0], 0, Direction::Ascending).is_empty());
    }

    proptest! {
        #[test]
        fn it_keeps_what_sorting_would(values in prop::collection::vec(-20i32..20, 0..40), k in 0usize..12) {
            let values: Vec<f64> = values.into_iter().map(f64::from).collect();
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let least: Vec<f64> = sorted.iter().copied().take(k).collect();
            let greatest: Vec<f64> = sorted.iter().rev().copied().take(k).collect();
            prop_assert_eq!(kept(&values, k, Direction::Ascending), least);
            prop_assert_eq!(kept(&values, k, Direction::Descending), greatest);
        }
    }
}
