//! Range queries with more samples than may be in memory at once: their steps are computed slice after slice, and the answers put
//! together. Exact, because no step looks at another one. Pure.

use std::collections::BTreeMap;

use model::labels::Labels;
use model::query::{Answer, HistogramSeries, QueryValue, Series};

use super::value::Frame;

/// The first and the second half of a frame; `None` for a single step.
pub fn halves(frame: &Frame) -> Option<[Frame; 2]> {
    let steps = frame.len();
    let middle = (steps > 1).then(|| frame.time(steps / 2))?;
    Some([Frame { end: middle - frame.step, ..*frame }, Frame { start: middle, ..*frame }])
}

/// Appends the answer of later steps, and tells how many samples there are now.
pub fn append(answer: &mut Answer, later: Answer) -> usize {
    if let (QueryValue::Matrix(all), QueryValue::Matrix(more)) = (&mut answer.value, later.value) {
        merge(all, more, |series| &series.labels, |series, more: Series| series.samples.extend(more.samples));
    }
    merge(
        &mut answer.histograms,
        later.histograms,
        |series| &series.labels,
        |series, more: HistogramSeries| {
            series.samples.extend(more.samples);
        },
    );
    answer.samples_read += later.samples_read;
    answer.matched_any_series |= later.matched_any_series;
    for (texts, more) in [(&mut answer.warnings, later.warnings), (&mut answer.infos, later.infos)] {
        texts.extend(more);
        texts.sort();
        texts.dedup();
    }
    match &answer.value {
        QueryValue::Matrix(all) => all.iter().map(|series| series.samples.len()).sum(),
        QueryValue::Scalar(_) | QueryValue::Vector(_) | QueryValue::Text(..) => 0,
    }
}

/// Both lists are in order of labels, and so is the result.
fn merge<T>(all: &mut Vec<T>, more: Vec<T>, labels: impl Fn(&T) -> &Labels, extend: impl Fn(&mut T, T)) {
    let mut known: BTreeMap<Labels, T> = std::mem::take(all).into_iter().map(|one| (labels(&one).clone(), one)).collect();
    for one in more {
        match known.get_mut(labels(&one)) {
            Some(before) => extend(before, one),
            None => {
                known.insert(labels(&one).clone(), one);
            }
        }
    }
    all.extend(known.into_values());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_have_every_step_once() {
        for steps in 2..40 {
            let frame = Frame { start: 7, end: 7 + 10 * steps + 3, step: 10 };
            let [first, second] = halves(&frame).unwrap();
            let both: Vec<i64> = first.times().chain(second.times()).collect();
            assert_eq!(both, frame.times().collect::<Vec<_>>());
        }
        assert!(halves(&Frame { start: 7, end: 9, step: 10 }).is_none());
    }
}
