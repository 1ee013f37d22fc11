#![no_main]
//! A connection of Fluent's forward protocol.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::fluent(bytes));
