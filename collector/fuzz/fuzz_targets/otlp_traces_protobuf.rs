#![no_main]
//! `ExportTraceServiceRequest`.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(fuzz::Body::OtlpTraces, bytes));
