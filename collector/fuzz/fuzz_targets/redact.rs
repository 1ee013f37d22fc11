//! Redaction of a text with a secret somewhere in it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::redact(bytes));
