#![no_main]
//! A JSON value a line.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(fuzz::Body::Ndjson, bytes));
