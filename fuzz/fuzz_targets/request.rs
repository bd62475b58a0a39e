//! Feeds arbitrary bytes to a target and the bodies of requests, in every version.
#![no_main]

#[path = "../properties/request.rs"]
mod request;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| request::check(bytes));
