#![no_main]
//! Lines of StatsD, added up and flushed.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::statsd(bytes));
