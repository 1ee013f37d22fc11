#![no_main]
//! OpenMetrics.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::scrape(true, bytes));
