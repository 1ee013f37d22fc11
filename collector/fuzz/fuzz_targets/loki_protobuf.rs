//! Loki's push in protobuf, out of its snappy.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(fuzz::Body::LokiProtobuf, bytes));
