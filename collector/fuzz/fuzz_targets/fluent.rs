//! A connection of Fluent's forward protocol.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::fluent(bytes));
