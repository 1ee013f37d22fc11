//! Outliers before the seasons are learned: values far from what the same place of other cycles had, each beside the middle of its own
//! day. Pure. A season has few cycles to be learned from, so that one outage would be expected again.

use super::spread;

/// A value is an outlier so many standard deviations from the others.
const APART: f64 = 6.0;

/// The middle of the values around each one.
pub(super) fn rolling_middle(values: &[f64], width: usize) -> Vec<f64> {
    let half = (width / 2).max(1);
    let mut window: Vec<f64> = Vec::with_capacity(2 * half + 2);
    let insert = |window: &mut Vec<f64>, value: f64| {
        let at = window.partition_point(|known| known.total_cmp(&value).is_lt());
        window.insert(at, value);
    };
    for value in values.iter().take(half) {
        insert(&mut window, *value);
    }
    let mut middles = Vec::with_capacity(values.len());
    for at in 0..values.len() {
        if let Some(next) = values.get(at + half) {
            insert(&mut window, *next);
        }
        if let Some(old) = at.checked_sub(half + 1).and_then(|old| values.get(old)) {
            let place = window.partition_point(|known| known.total_cmp(old).is_lt());
            window.remove(place);
        }
        middles.push(window[window.len() / 2]);
    }
    middles
}

/// The middle of the same place in each cycle; of an even number between the two.
fn cycle_middles(values: &[f64], period: usize) -> Vec<f64> {
    let middle = |place: usize| {
        let mut found: Vec<f64> = values.iter().skip(place).step_by(period).copied().collect();
        found.sort_unstable_by(f64::total_cmp);
        (found[(found.len() - 1) / 2] + found[found.len() / 2]) / 2.0
    };
    (0..period.min(values.len())).map(middle).collect()
}

/// The values with outliers replaced by what is usual there. `periods` in steps, the shortest first.
pub(super) fn without_outliers(values: &[f64], periods: &[usize]) -> Vec<f64> {
    let Some(shortest) = periods.first() else { return values.to_vec() };
    // Of two values nobody can say which one is the outlier.
    let Some(period) = periods.iter().rev().find(|period| values.len() >= 3 * **period) else { return values.to_vec() };
    let local = rolling_middle(values, *shortest);
    let beside: Vec<f64> = values.iter().zip(&local).map(|(value, middle)| value - middle).collect();
    let usual = cycle_middles(&beside, *period);
    let off: Vec<f64> = beside.iter().enumerate().map(|(at, value)| (value - usual[at % period]).abs()).collect();
    let bound = APART * spread::quantile(&mut off.clone(), 0.9) / spread::NORMAL_90;
    let cleaned = |at: usize| if off[at] > bound { local[at] + usual[at % period] } else { values[at] };
    (0..values.len()).map(cleaned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_middle_rolls() {
        assert_eq!(rolling_middle(&[1.0, 5.0, 2.0, 9.0, 9.0], 3), [5.0, 2.0, 5.0, 9.0, 9.0]);
        assert_eq!(rolling_middle(&[], 3), Vec::<f64>::new());
    }

    #[test]
    fn an_outage_is_taken_out_and_another_level_stays() {
        let wave = |at: usize| [0.0, 10.0, 20.0, 10.0][at / 12 % 4] + (at % 5) as f64 * 0.1;
        let mut values: Vec<f64> = (0..480).map(wave).collect();
        values[250..256].fill(-100.0);
        let cleaned = without_outliers(&values, &[48]);
        assert!((0..480).all(|at| (cleaned[at] - wave(at)).abs() < 2.0), "{cleaned:?}");
        let mut higher: Vec<f64> = (0..480).map(wave).collect();
        higher[300..].iter_mut().for_each(|value| *value += 50.0);
        let cleaned = without_outliers(&higher, &[48]);
        assert_eq!(cleaned[360..], higher[360..]);
    }
}
