//! A JSON value a line.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(fuzz::Body::Ndjson, bytes));
