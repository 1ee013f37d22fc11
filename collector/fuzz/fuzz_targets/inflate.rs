//! Every compression; the first byte says which, the second how large the body may be.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::inflate(bytes));
