//! Forecasts of made-up traffic, by fixed seeds: what is usual stays inside as often as promised, what is not is outside at once.

mod incidents;

use super::*;

use rand::rngs::SmallRng;
use rand::{Rng, SeedableRng};

/// In quarters of an hour.
const DAY: usize = 96;
const WEEK: usize = 7 * DAY;

/// Normal noise (Box and Muller).
fn normal(random: &mut SmallRng) -> f64 {
    let (a, b): (f64, f64) = (random.random_range(f64::MIN_POSITIVE..1.0), random.random());
    (-2.0 * a.ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

/// Requests a second of a shop, without noise: quiet nights, quieter weekends.
fn shape(step: usize) -> f64 {
    let (day, week) = ((step % DAY) as f64 / DAY as f64, step % WEEK / DAY);
    let wave = 0.5 - 0.5 * (std::f64::consts::TAU * day).cos();
    100.0 + 400.0 * wave * if week >= 5 { 0.6 } else { 1.0 }
}

struct Shop {
    random: SmallRng,
    values: Vec<f64>,
}

impl Shop {
    /// So many weeks; the noise grows with the traffic.
    fn new(seed: u64, weeks: usize) -> Self {
        let mut shop = Shop { random: SmallRng::seed_from_u64(seed), values: Vec::new() };
        shop.go_on(weeks * WEEK, |usual| usual);
        shop
    }
    fn go_on(&mut self, steps: usize, what: impl Fn(f64) -> f64) {
        for _ in 0..steps {
            let usual = shape(self.values.len());
            let noise = normal(&mut self.random) * usual * 0.05;
            self.values.push(what(usual) + noise);
        }
    }
}

fn learning() -> Learning {
    Learning { periods: vec![DAY, WEEK], level: 0.99, horizon: 4, steps: 12, hold: 2 * DAY }
}

/// The width of an interval in those of the 0.99 one.
fn width(level: f64) -> f64 {
    let ends = |level: f64| distrs::Normal::ppf(0.5 + level / 2.0, 0.0, 1.0);
    ends(level) / ends(0.99)
}

/// The scores of the steps from `from` on, learning from the four weeks before; so many hours are left out between two, so that all hours
/// of the day come.
fn scores(values: &[f64], from: usize, stride: usize) -> Vec<f64> {
    let learning = learning();
    let mut scores = Vec::new();
    let mut at = from;
    while at + learning.horizon <= values.len() {
        let forecast = forecast(&values[at.saturating_sub(4 * WEEK)..at], &learning).unwrap();
        scores.extend((1..=learning.horizon).map(|ahead| forecast.at(ahead as f64).unwrap().score(values[at + ahead - 1])));
        at += stride * learning.horizon;
    }
    scores
}

fn share_outside(scores: &[f64], level: f64) -> f64 {
    scores.iter().filter(|score| score.abs() > width(level)).count() as f64 / scores.len() as f64
}

#[test]
fn usual_traffic_is_outside_as_rarely_as_promised() {
    for seed in [1, 2] {
        let shop = Shop::new(seed, 7);
        let scores = scores(&shop.values, 4 * WEEK, 13);
        for (level, most, least) in [(0.9, 0.12, 0.03), (0.99, 0.02, 0.001), (0.9999, 0.0015, 0.0)] {
            let share = share_outside(&scores, level);
            assert!(share <= most && share >= least, "seed {seed}: {share} of what is usual is outside of the {level} interval");
        }
    }
}

#[test]
fn what_walks_at_random_is_not_taken_for_an_anomaly() {
    let mut random = SmallRng::seed_from_u64(3);
    let mut walk = 0.0;
    let values: Vec<f64> = (0..6 * WEEK)
        .map(|step| {
            walk += normal(&mut random);
            1e12 + 1e9 * (walk + 30.0 * (std::f64::consts::TAU * step as f64 / DAY as f64).sin())
        })
        .collect();
    let share = share_outside(&scores(&values, 4 * WEEK, 5), 0.99);
    assert!(share < 0.05, "{share}");
}

#[test]
fn growth_is_followed() {
    let mut shop = Shop::new(4, 6);
    for (step, value) in shop.values.iter_mut().enumerate() {
        *value *= 1.0 + step as f64 / (20 * WEEK) as f64;
    }
    let share = share_outside(&scores(&shop.values, 4 * WEEK, 17), 0.99);
    assert!(share < 0.03, "{share}");
}

#[test]
fn an_outage_is_outside_at_once_and_not_expected_a_day_later() {
    let mut shop = Shop::new(5, 4);
    shop.go_on(DAY / 2, |usual| usual);
    // Noon, for two hours: half of the traffic.
    let noon = shop.values.len();
    shop.go_on(8, |usual| usual * 0.5);
    let during = scores(&shop.values, noon, 1);
    assert!(during.iter().all(|score| *score < -1.5), "{during:?}");
    // The same hours of the next day and of the next week are as usual.
    shop.go_on(WEEK, |usual| usual);
    for later in [noon + DAY, noon + WEEK] {
        let score = scores(&shop.values[..later + 8], later, 1);
        assert!(share_outside(&score, 0.999) <= 1.0 / 8.0, "{score:?}");
    }
}

#[test]
fn another_level_is_outside_for_hours_and_usual_in_the_end() {
    let mut shop = Shop::new(6, 4);
    let changed = shop.values.len();
    shop.go_on(4 * WEEK, |usual| usual + 200.0);
    let first = scores(&shop.values[..changed + DAY / 4], changed, 1);
    assert!(first.iter().all(|score| *score > 1.5), "{first:?}");
    let mut shares = Vec::new();
    for day in [1, 7, 26] {
        let later = scores(&shop.values[..changed + (day + 1) * DAY], changed + day * DAY, 5);
        shares.push((day, share_outside(&later, 0.99)));
    }
    assert!(shares.last().unwrap().1 < 0.05, "{shares:?}");
}

#[test]
fn gaps_are_no_anomalies_and_too_little_is_said() {
    let mut shop = Shop::new(7, 5);
    // A day is missing, and every fifth value.
    for (step, value) in shop.values.iter_mut().enumerate().take(4 * WEEK) {
        if step % 5 == 0 || (2 * WEEK..2 * WEEK + DAY).contains(&step) {
            *value = f64::NAN;
        }
    }
    let share = share_outside(&scores(&shop.values, 4 * WEEK, 17), 0.99);
    assert!(share < 0.03, "{share}");
    let little = forecast(&shop.values[4 * WEEK..], &learning()).unwrap_err();
    assert_eq!(little, NoForecast::TooLittle(TooLittle::Short { steps: WEEK, needed: 2 * WEEK }));
}

#[test]
fn what_never_changes_has_a_narrow_interval_and_rare_things_are_rare() {
    let band = forecast(&vec![3.0; 3 * WEEK], &learning()).unwrap().at(1.0).unwrap();
    assert!((band.expected - 3.0).abs() < 1e-9 && band.score(3.0).abs() < 1e-9 && band.score(4.0) > 1.0, "{band:?}");
    assert!(forecast(&vec![0.0; 3 * WEEK], &learning()).unwrap().at(1.0).unwrap().score(0.0).abs() < 1e-9);
    let mut random = SmallRng::seed_from_u64(8);
    let errors: Vec<f64> = (0..5 * WEEK).map(|_| if random.random_bool(0.02) { 1.0 } else { 0.0 }).collect();
    let share = share_outside(&scores(&errors, 4 * WEEK, 17), 0.999);
    assert!(share < 0.005, "{share}");
}

#[test]
fn a_forecast_ends() {
    let shop = Shop::new(9, 3);
    let forecast = forecast(&shop.values, &learning()).unwrap();
    let (first, half, second) = (forecast.at(1.0).unwrap(), forecast.at(1.5).unwrap(), forecast.at(2.0).unwrap());
    assert!((half.expected - (first.expected + second.expected) / 2.0).abs() < 1e-9);
    assert_eq!((forecast.at(12.0).is_some(), forecast.at(12.1)), (true, None));
    // Where the newest value stands it is expected there, not one step later.
    let steep = 3 * WEEK - 3 * DAY / 4;
    let quiet: Vec<f64> = (0..steep).map(shape).collect();
    let forecast = super::forecast(&quiet, &learning()).unwrap();
    for ahead in 0..4 {
        let (expected, usual) = (forecast.at(f64::from(ahead)).unwrap().expected, shape(steep - 1 + ahead as usize));
        assert!((expected - usual).abs() < 5.0, "{ahead}: {expected} beside {usual}");
    }
    assert_eq!((first.score(first.upper), first.score(first.lower), first.score(first.expected)), (1.0, -1.0, 0.0));
}
