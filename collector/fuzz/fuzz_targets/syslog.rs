//! A connection of syslog: framing, RFC 5424 and 3164.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fuzz::syslog(bytes));
