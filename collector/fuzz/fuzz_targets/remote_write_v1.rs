#![no_main]
//! `prometheus.WriteRequest`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(fuzz::Body::RemoteWriteV1, bytes));
