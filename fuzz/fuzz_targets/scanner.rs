//! Feeds arbitrary bytes to the scanner of the event log's segments.
#![no_main]

#[path = "../properties/scanner.rs"]
mod scanner;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| scanner::check(bytes));
