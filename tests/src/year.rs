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
    arrivals: u64,
    events: u64,
    acts: u64,
    silences: u64,
    restarts: u64,
    deaths: u64,
    races: u64,
    jumps: u64,
}

impl Told {
    fn add(&mut self, other: Told) {
        self.days += other.days;
        self.steps += other.steps;
        self.alerts += other.alerts;
        self.ladder_steps += other.ladder_steps;
        self.arrivals += other.arrivals;
        self.events += other.events;
        self.acts += other.acts;
        self.silences += other.silences;
        self.restarts += other.restarts;
        self.deaths += other.deaths;
        self.races += other.races;
        self.jumps += other.jumps;
    }
}

impl fmt::Display for Told {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} days, {} steps, {} alerts, {} ladder steps, {} notices, {} events, {} acts of people, {} silences and windows, {} restarts, \
             {} deaths at a commit, {} races past the lease, {} clock jumps",
            self.days,
            self.steps,
            self.alerts,
            self.ladder_steps,
            self.arrivals,
            self.events,
            self.acts,
            self.silences,
            self.restarts,
            self.deaths,
            self.races,
            self.jumps
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
    told
}
