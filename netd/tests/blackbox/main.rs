//! The real netd in namespaces of its own: what reaches what, what is left, and
//! what survives. Needs root; the machine's own network is never touched.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail the test")]

mod connect;
mod dns;
mod faults;
mod interfaces;
mod ipv6;
mod lifecycle;
mod networks;
mod options;
mod parents;
mod rules;
mod support;
mod traffic;
