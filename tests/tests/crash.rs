//! The proof that nothing is lost: random load over OTLP, random faults, and then every acknowledged row is stored once.
//! `cargo test -p tests --test crash` runs a few rounds, `cargo test -p tests --test crash -- --rounds 200 --seed 7` as many as wanted.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::disallowed_methods)] // a test fails by panicking

use std::time::Instant;

fn main() {
    let mut arguments = std::env::args().skip(1);
    let (mut rounds, mut seed) = (9usize, 0xF12E_u64);
    while let Some(argument) = arguments.next() {
        let mut number = || arguments.next().and_then(|text| text.parse().ok()).unwrap_or_else(|| panic!("{argument} needs a number"));
        match argument.as_str() {
            "--rounds" => rounds = number() as usize,
            "--seed" => seed = number(),
            // What `cargo test` passes on to every test binary.
            "--list" => return,
            "crash" | "--nocapture" | "--include-ignored" | "--quiet" | "-q" => {}
            other if !other.starts_with('-') => return,
            other => panic!("{other} is not known: --rounds N, --seed N"),
        }
    }
    let start = Instant::now();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let told = runtime.block_on(tests::crash::rounds(env!("CARGO_BIN_EXE_watchfire-under-test"), rounds, seed));
    println!("crash: {rounds} rounds in {:.0?}, seed {seed}: {told}", start.elapsed());
}
