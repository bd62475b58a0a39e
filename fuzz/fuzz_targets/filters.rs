//! Feeds arbitrary bytes to the parameter `filters`.
#![no_main]

#[path = "../properties/filters.rs"]
mod filters;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| filters::check(bytes));
