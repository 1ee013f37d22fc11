//! Incidents that go on over many moments of learning: they stay outside of what is usual until they end; what lasts becomes usual.

use super::*;

/// An hour of minutes is a season; six of them are learned from, an eighth of that is held.
const SEASON: usize = 60;
const HISTORY: usize = 6 * SEASON;
const HOLD: usize = HISTORY / 8;

fn learning_every(refit: usize, hold: usize) -> Learning {
    Learning { periods: vec![SEASON], level: 0.999, horizon: refit, steps: 3 * refit + 1, hold }
}

/// A wave with noise, changed from `begin` on for so many steps, and all of it by what grows.
struct Story {
    seed: u64,
    begin: usize,
    steps: usize,
    after: usize,
    growth: f64,
}

impl Story {
    fn values(&self, what: impl Fn(f64) -> f64) -> Vec<f64> {
        let mut random = SmallRng::seed_from_u64(self.seed);
        let one = |at: usize| {
            let wave = 100.0 + 40.0 * (std::f64::consts::TAU * at as f64 / SEASON as f64).sin() + self.growth * at as f64;
            let usual = wave + 3.0 * normal(&mut random);
            if (self.begin..self.begin + self.steps).contains(&at) { what(usual) } else { usual }
        };
        (0..self.begin + self.steps + self.after).map(one).collect()
    }
}

fn story(seed: u64, steps: usize, after: usize) -> Story {
    Story { seed, begin: HISTORY + 13 + 17 * (seed as usize % 5), steps, after, growth: 0.0 }
}

/// The score of each value from `from` on, learned at multiples of the horizon as the evaluator does.
fn judged(values: &[f64], from: usize, learning: &Learning) -> Vec<f64> {
    let mut learned: Option<(usize, Forecast)> = None;
    let judge = |at: usize| {
        let moment = at - at % learning.horizon;
        if learned.as_ref().is_none_or(|(known, _)| *known != moment) {
            learned = Some((moment, forecast(&values[(moment + 1).saturating_sub(HISTORY)..=moment], learning).unwrap()));
        }
        learned.as_ref().map_or(0.0, |(_, forecast)| forecast.at((at - moment) as f64).unwrap().score(values[at]))
    };
    (from..values.len()).map(judge).collect()
}

fn outside(scores: &[f64]) -> usize {
    scores.iter().filter(|score| score.abs() > 1.0).count()
}

#[test]
fn an_outage_is_outside_until_it_ends_and_then_all_is_usual_at_once() {
    // In shares of the hold, as ten minutes, three hours, a day and nearly two days are of two days.
    for (number, steps) in [1, 6, HOLD / 2, HOLD - 5].into_iter().enumerate() {
        for (refit, off) in [(2, -40.0), (5, 30.0), (15, -100.0)] {
            let story = story(number as u64, steps, 20);
            let scores = judged(&story.values(|usual| usual + off), story.begin, &learning_every(refit, HOLD));
            let case = format!("{steps} steps of {off}, learned every {refit}: {scores:.1?}");
            assert_eq!(outside(&scores[..steps]), steps, "{case}");
            assert!(outside(&scores[steps..]) <= 1, "{case}");
        }
    }
}

#[test]
fn without_a_hold_an_outage_is_learned() {
    let story = story(1, HOLD / 2, 0);
    let scores = judged(&story.values(|usual| usual - 40.0), story.begin, &learning_every(2, 0));
    assert!(outside(&scores) < scores.len() / 2, "{scores:.1?}");
}

#[test]
fn growth_goes_on_during_an_outage() {
    let story = Story { growth: 0.1, ..story(2, HOLD / 2, 20) };
    let scores = judged(&story.values(|usual| usual - 60.0), story.begin, &learning_every(5, HOLD));
    let (during, after) = scores.split_at(story.steps);
    assert!(outside(during) == story.steps && outside(after) <= 1, "{scores:.1?}");
}

#[test]
fn a_lasting_change_is_usual_after_the_hold_whatever_it_is() {
    type Way = (&'static str, fn(f64) -> f64);
    let ways: [Way; 4] =
        [("moved", |usual| usual + 50.0), ("doubled", |usual| usual * 2.0), ("halved", |usual| usual / 2.0), ("gone", |_| 0.0)];
    for (name, what) in ways {
        let story = story(3, 3 * HOLD, 0);
        let scores = judged(&story.values(what), story.begin, &learning_every(5, HOLD));
        let (held, then) = (&scores[..HOLD - 5], &scores[HOLD + 15..]);
        assert_eq!(outside(held), held.len(), "{name}: {scores:.1?}");
        assert!(outside(then) * 50 <= then.len(), "{name}: {scores:.1?}");
    }
}

#[test]
fn what_comes_back_after_the_hold_is_usual_at_once() {
    for what in [|_| 0.0, |usual: f64| usual * 2.0] {
        // Longer than the hold, and shorter than an eighth of the history.
        let story = story(4, HOLD - 5, 30);
        let scores = judged(&story.values(what), story.begin, &learning_every(5, HOLD / 4));
        let after = &scores[story.steps..];
        assert!(outside(&scores[HOLD / 4 + 15..story.steps]) <= 1, "{scores:.1?}");
        assert!(outside(&after[10..]) <= 1, "{scores:.1?}");
    }
}

#[test]
fn a_hold_says_since_when_and_how_long() {
    let story = story(5, 10, 0);
    let learning = learning_every(5, HOLD);
    let usual = forecast(&story.values(|usual| usual)[..HISTORY], &learning).unwrap();
    assert_eq!(usual.held(), None);
    let values = story.values(|usual| usual - 60.0);
    let held = forecast(&values[values.len() - HISTORY..], &learning).unwrap().held();
    assert_eq!(held, Some(Hold { since: 10, left: HOLD - 10 }));
}

#[test]
fn a_season_is_unharmed_by_a_day_without_traffic() {
    let mut shop = Shop::new(21, 4);
    shop.go_on(2 * DAY + 37, |usual| usual);
    let began = shop.values.len();
    shop.go_on(DAY, |usual| usual * 0.3);
    let ended = shop.values.len();
    shop.go_on(WEEK, |usual| usual);
    let during = scores(&shop.values[..ended], began, 2);
    assert_eq!(share_outside(&during, 0.99), 1.0, "{during:.1?}");
    for after in [ended, began + WEEK] {
        let usual = scores(&shop.values[..after + 8], after, 1);
        assert!(share_outside(&usual, 0.99) <= 1.0 / 8.0, "{usual:.1?}");
    }
}

#[test]
fn what_walks_at_random_is_not_held_for_long() {
    let mut outside_with = [0, 0];
    for seed in 0..4 {
        let mut random = SmallRng::seed_from_u64(seed);
        let mut walk = 0.0;
        let values: Vec<f64> = (0..HISTORY + 2 * SEASON)
            .map(|_| {
                walk += normal(&mut random);
                walk
            })
            .collect();
        for (count, hold) in outside_with.iter_mut().zip([0, HOLD]) {
            *count += outside(&judged(&values, HISTORY, &learning_every(5, hold)));
        }
    }
    assert!(outside_with[1] <= outside_with[0] + 8, "{outside_with:?} of 480");
}
