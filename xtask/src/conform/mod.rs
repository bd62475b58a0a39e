//! Outside suites run against our binaries, inside the tree of peers.

pub(crate) mod docker_smoke;
pub(crate) mod rows;
