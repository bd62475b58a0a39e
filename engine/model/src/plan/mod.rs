//! Plans of a start: configuration and gathered facts in, the OCI
//! specification and small files out. Pure; the engine writes the results.

mod block_io;
mod files;
mod limits;
mod links;
mod mounts;
mod spec;

pub use block_io::BlockDevices;
pub use files::{hosts_file, resolv_conf};
pub use limits::changed_limits;
pub use links::{LinkedContainer, linked_environment};
pub use mounts::ResolvedMount;
pub use spec::{ResolvedUser, SpecError, StartFacts, exec_process, plan_spec};

#[cfg(test)]
mod tests;
