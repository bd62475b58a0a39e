//! Feeds arbitrary bytes to a container's state file.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // An error is as good an answer as any.
    runc_rs::untrusted::read_record(bytes).ok();
});
