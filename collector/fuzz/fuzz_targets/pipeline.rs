//! Any body, processed by a pipeline that has a rule of every form.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::pipeline(bytes));
