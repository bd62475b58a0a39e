//! Feeds arbitrary bytes to a process file of `exec`, all that is planned from it.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    // An error is as good an answer as any.
    runc_rs::untrusted::plan_process(bytes).ok();
});
