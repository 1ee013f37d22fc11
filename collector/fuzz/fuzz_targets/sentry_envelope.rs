#![no_main]
//! Sentry's envelopes.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::body(fuzz::Body::SentryEnvelope, bytes));
