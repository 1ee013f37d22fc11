#![no_main]
//! `ExportLogsServiceRequest` as OTLP's JSON.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(fuzz::Body::OtlpLogsJson, bytes));
