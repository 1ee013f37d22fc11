#![no_main]
//! `ExportTraceServiceRequest` as OTLP's JSON.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(fuzz::Body::OtlpTracesJson, bytes));
