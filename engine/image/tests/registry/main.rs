//! The image store against registries and archives: our own that fail on
//! request, and the real ones of Debian (`docker-registry`, `skopeo`).

#![forbid(unsafe_code)]
#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests are outside of #[test] functions"
)]

mod archive;
mod common;
mod cve;
mod docker;
mod mirrors;
mod pull;
mod push;
mod taking;
