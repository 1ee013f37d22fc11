//! A year in milliseconds a day: random alerts, acknowledgements, silences, restarts, clock jumps, failing providers and two racing nodes, and
//! after each step what must hold. The evaluator, followers, workers and the delivery worker are the real ones; the state is in memory, the
//! clock is moved by hand. The seed decides everything.

use std::fmt;
use std::time::Duration;

mod invariants;
mod node;
mod outside;
mod world;

/// What happened, added up.
#[derive(Clone, Copy, Debug, Default)]
pub struct Told {
    days: u64,
    steps: u64,
    alerts: u64,
    ladder_steps: u64,
    overtaken: u64,
    others: u64,
    handed_over: u64,
    arrivals: u64,
    events: u64,
    acts: u64,
    escalations: u64,
    silences: u64,
    restarts: u64,
    deaths: u64,
    races: u64,
    jumps: u64,
    trees: u64,
}

impl Told {
    fn add(&mut self, other: Told) {
        self.days += other.days;
        self.steps += other.steps;
        self.alerts += other.alerts;
        self.ladder_steps += other.ladder_steps;
        self.overtaken += other.overtaken;
        self.others += other.others;
        self.handed_over += other.handed_over;
        self.arrivals += other.arrivals;
        self.events += other.events;
        self.acts += other.acts;
        self.escalations += other.escalations;
        self.silences += other.silences;
        self.restarts += other.restarts;
        self.deaths += other.deaths;
        self.races += other.races;
        self.jumps += other.jumps;
        self.trees += other.trees;
    }
}

/// From so many days on, everything must have happened.
const LONG: u64 = 20;

impl Told {
    /// What never happened, though there was time for it: such a run shows nothing.
    fn missing(&self) -> Vec<&'static str> {
        let all = [
            ("alerts", self.alerts),
            ("ladder steps", self.ladder_steps),
            ("notices", self.arrivals),
            ("pages overtaken by people", self.overtaken),
            ("requests of others", self.others),
            ("notices handed over", self.handed_over),
            ("acts of people", self.acts),
            ("calls for help", self.escalations),
            ("silences", self.silences),
            ("restarts", self.restarts),
            ("deaths", self.deaths),
            ("races", self.races),
            ("clock jumps", self.jumps),
            ("other routing trees", self.trees),
        ];
        all.into_iter().filter(|(_, count)| self.days >= LONG && *count == 0).map(|(what, _)| what).collect()
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} days, {} steps, {} alerts, {} ladder steps, {} notices, {} pages overtaken by people, {} requests of others, {} commits that hand notices over, {} events, {} acts of people, {} calls for help, {} silences and windows, {} restarts, \
             {} deaths at a commit, {} races past the lease, {} clock jumps, {} other routing trees",
            self.days,
            self.steps,
            self.alerts,
            self.ladder_steps,
            self.arrivals,
            self.overtaken,
            self.others,
            self.handed_over,
            self.events,
            self.acts,
            self.escalations,
            self.silences,
            self.restarts,
            self.deaths,
            self.races,
            self.jumps,
            self.trees
        )
    }
}

/// Runs seeds one after the other, the first one given. Panics with the seed and the last doings where an invariant does not hold, and where
/// hardly anything happened.
pub fn seeds(count: u64, days: u64, first: u64) -> Told {
    let mut told = Told::default();
    for seed in first..first + count {
        // One thread: the seed decides the order of everything.
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut world = world::World::new(seed);
        if let Err(broken) = runtime.block_on(world.live(days)) {
            let doings = broken.doings.join("\n");
            panic!("{}\n\n{doings}\n\n--seeds 1 --days {days} --seed {seed} does this again: {}", broken.sentence, broken.sentence);
        }
        runtime.shutdown_timeout(Duration::ZERO);
        told.add(world.told);
    }
    assert!(told.missing().is_empty(), "there were none of these: {:?} in {told}", told.missing());
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the invariants say of twenty runs of four days with a defect.
    fn found(defect: node::Defect) -> String {
        let found = (1..=20).find_map(|seed| {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(world::World::with(seed, Some(defect)).live(4)).err()
        });
        found.expect("twenty runs of four days without a word about the defect").sentence
    }

    /// A defect that stands in no unit test's history: the invariants find it where the real parts live.
    #[test]
    fn deliveries_that_do_not_see_acknowledgements_are_found() {
        let sentence = found(node::Defect::Blind);
        assert!(sentence.starts_with("ack: ") || sentence.starts_with("answer: "), "{sentence}");
    }

    /// So the years without it show that what may be lost with the machine is what is decided again.
    #[test]
    fn commits_that_do_not_wait_for_the_disk_are_found() {
        let sentence = found(node::Defect::Careless);
        assert!(sentence.starts_with("delivery: "), "{sentence}");
    }

    #[test]
    fn a_long_run_in_which_something_never_happened_shows_nothing() {
        assert!(Told::default().missing().is_empty(), "there was no time for it");
        assert_eq!(Told { days: LONG, alerts: 1, overtaken: 1, ..Told::default() }.missing().len(), 12);
    }
}
