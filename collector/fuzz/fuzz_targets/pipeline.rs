//! Any body, processed by a pipeline that has a rule of every form; and any text with a secret in it, of which no row may hold it.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::pipeline(bytes));
