//! A rotation: from a local time on, turns of equal length. In: a moment. Out: the number of the turn, and when the next one begins.
//! Turns are counted on the local clock, so that one that begins at nine begins at nine in summer and winter. Pure.

use std::time::Duration;

use chrono::{DateTime, LocalResult, NaiveDateTime, TimeDelta, TimeZone};
use chrono_tz::Tz;
use model::time::Timestamp;

/// Equal turns on a local clock.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rotation {
    /// When turn 0 begins, on the local clock.
    pub from: NaiveDateTime,
    /// How long a turn is on the local clock.
    pub turn: Duration,
    /// Where the clock hangs.
    pub zone: Tz,
}

impl Rotation {
    /// Which turn it is, from 0; `None` before the first one.
    pub fn turn(&self, at: Timestamp) -> Option<i64> {
        let local = at.to_chrono().with_timezone(&self.zone).naive_local();
        let length = i64::try_from(self.turn.as_secs()).unwrap_or(i64::MAX).max(1);
        let mut turn = (local - self.from).num_seconds().div_euclid(length);
        // A clock that is put back shows an hour twice, and one that is put forward leaves one out: the true beginnings decide.
        while self.begins(turn + 1).is_some_and(|next| next <= at) {
            turn += 1;
        }
        while self.begins(turn).is_some_and(|begins| begins > at) {
            turn -= 1;
        }
        (turn >= 0).then_some(turn)
    }

    /// When a turn begins.
    pub fn begins(&self, turn: i64) -> Option<Timestamp> {
        let length = i64::try_from(self.turn.as_secs()).ok()?;
        let local = self.from.checked_add_signed(TimeDelta::try_seconds(length.checked_mul(turn)?)?)?;
        instant(self.zone, local)
    }

    /// When the turn that holds at a moment ends, or the first one begins.
    pub fn next_change(&self, at: Timestamp) -> Option<Timestamp> {
        self.begins(self.turn(at).map_or(0, |turn| turn + 1))
    }
}

/// The first moment at which a local clock shows this time or, where it leaves it out, the moment at which it goes on.
fn instant(zone: Tz, local: NaiveDateTime) -> Option<Timestamp> {
    let found: Option<DateTime<Tz>> = match zone.from_local_datetime(&local) {
        LocalResult::Single(one) | LocalResult::Ambiguous(one, _) => Some(one),
        // No clock leaves out more than a day.
        LocalResult::None => (1..=96).find_map(|quarter| zone.from_local_datetime(&(local + TimeDelta::minutes(15 * quarter))).earliest()),
    };
    found.map(|found| Timestamp::from_secs(found.timestamp()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn weekly(zone: &str) -> Rotation {
        let from = NaiveDateTime::parse_from_str("2026-01-05 09:00", "%Y-%m-%d %H:%M").unwrap();
        Rotation { from, turn: Duration::from_secs(7 * 86_400), zone: zone.parse().unwrap() }
    }

    #[test]
    fn turns_change_at_the_same_local_time_in_summer_and_winter() {
        let berlin = weekly("Europe/Berlin");
        assert_eq!(berlin.turn(at("2026-01-05T07:59:59Z")), None, "before it begins");
        assert_eq!(berlin.turn(at("2026-01-05T08:00:00Z")), Some(0));
        assert_eq!(berlin.turn(at("2026-01-12T07:59:59Z")), Some(0));
        assert_eq!(berlin.turn(at("2026-01-12T08:00:00Z")), Some(1));
        // 2026-03-29: summer time; nine o'clock is 07:00 UTC from then on.
        assert_eq!(berlin.turn(at("2026-03-30T06:59:59Z")), Some(11));
        assert_eq!(berlin.turn(at("2026-03-30T07:00:00Z")), Some(12));
        assert_eq!(berlin.next_change(at("2026-03-26T00:00:00Z")), Some(at("2026-03-30T07:00:00Z")));
        assert_eq!(berlin.next_change(at("2025-01-01T00:00:00Z")), Some(at("2026-01-05T08:00:00Z")));
    }

    #[test]
    fn no_turn_is_lost_or_comes_twice_where_the_clock_jumps() {
        for (zone, from) in
            [("Europe/Berlin", "2026-03-28 02:30"), ("Europe/Berlin", "2026-10-24 02:30"), ("Australia/Lord_Howe", "2026-04-04 01:45")]
        {
            let from = NaiveDateTime::parse_from_str(from, "%Y-%m-%d %H:%M").unwrap();
            for hours in [1, 12, 24] {
                let rotation = Rotation { from, turn: Duration::from_secs(hours * 3600), zone: zone.parse().unwrap() };
                let mut now = rotation.begins(0).unwrap();
                let (mut turn, end) = (0, now.plus(Duration::from_secs(3 * 86_400)));
                while now < end {
                    let found = rotation.turn(now).unwrap();
                    assert!(found == turn || found > turn && rotation.begins(found).unwrap() <= now, "{zone} {now}: {turn} then {found}");
                    assert!(rotation.begins(found).unwrap() <= now && now < rotation.next_change(now).unwrap());
                    turn = found;
                    now = now.plus(Duration::from_secs(900));
                }
            }
        }
    }
}
