//! The simulated year: named invariants over random histories of alerts, people, faults and two racing nodes.
//! `cargo test -p tests --test year` runs a few seeds, `cargo test -p tests --test year -- --seeds 1000 --days 30 --seed 7` as many as wanted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // a test fails by panicking

use std::time::Instant;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut seeds, mut days, mut seed) = (3u64, 8u64, 1u64);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{argument} needs a number"));
        match argument.as_str() {
            "--seeds" => seeds = number(),
            "--days" => days = number(),
            "--seed" => seed = number(),
            // What `cargo test` passes on to every test binary.
            "--list" => return,
            "year" | "--nocapture" | "--include-ignored" | "--quiet" | "-q" => {}
            other if !other.starts_with('-') => return,
            other => panic!("{other} is not known: --seeds N, --days N, --seed N"),
        }
    }
    let start = Instant::now();
    let told = tests::year::seeds(seeds, days, seed);
    println!("year: {seeds} seeds from {seed} in {:.1?}: {told}", start.elapsed());
}
