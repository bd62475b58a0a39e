//! Feeds arbitrary bytes to messages that a container sends to its name server.
#![no_main]

#[path = "../properties/dns.rs"]
mod dns;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| dns::check(bytes));
