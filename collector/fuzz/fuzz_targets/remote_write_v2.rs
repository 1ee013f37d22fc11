//! `io.prometheus.write.v2.Request`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(fuzz::Body::RemoteWriteV2, bytes));
