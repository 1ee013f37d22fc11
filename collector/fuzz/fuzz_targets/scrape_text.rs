#![no_main]
//! Prometheus's text format.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::scrape(false, bytes));
