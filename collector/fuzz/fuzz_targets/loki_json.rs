#![no_main]
//! Loki's push in JSON.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(fuzz::Body::LokiJson, bytes));
