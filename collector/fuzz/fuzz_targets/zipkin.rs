//! Zipkin's spans, version 2, in JSON.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(fuzz::Body::Zipkin, bytes));
