//! Black-box tests of the real binary, over real runtimes and a fake one.
//! They need root, runc and busybox.
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests fail the test they serve"
)]

mod attach;
mod control;
mod exec;
mod faults;
mod life;
mod output;
mod support;
