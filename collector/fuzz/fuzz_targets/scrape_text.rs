//! Prometheus's text format.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::scrape(false, bytes));
