//! Feeds arbitrary bytes to an archive that is unpacked into a container.
#![no_main]

#[path = "../properties/archive.rs"]
mod archive;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| archive::check(bytes));
