//! A scraped text in the OpenMetrics format.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::scrape(true, bytes));
