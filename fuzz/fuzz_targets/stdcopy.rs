//! Feeds arbitrary bytes to the decoder of frames, in pieces of any size.
#![no_main]

#[path = "../properties/stdcopy.rs"]
mod stdcopy;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| stdcopy::check(bytes));
