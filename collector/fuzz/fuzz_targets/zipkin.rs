#![no_main]
//! Zipkin v2.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(fuzz::Body::Zipkin, bytes));
