//! Lines of StatsD, added up and flushed.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::statsd(bytes));
