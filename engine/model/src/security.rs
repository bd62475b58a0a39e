//! What a container may do, in the terms of the OCI specification. Decided by
//! `engine-security`, carried by the spec, enforced by the runtime.

use oci_spec::runtime::{Capability, LinuxDevice, LinuxDeviceCgroup, LinuxSeccomp};

/// The security part of a start.
#[derive(Debug, Clone, Default)]
pub struct SecurityProfile {
    /// Bounding, permitted and effective set; the ambient and inheritable sets stay empty.
    pub capabilities: Vec<Capability>,
    pub seccomp: Option<LinuxSeccomp>,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
    pub apparmor_profile: Option<String>,
    pub no_new_privileges: bool,
    /// Rules of the devices cgroup, in order.
    pub device_rules: Vec<LinuxDeviceCgroup>,
    /// Nodes made in the container's `/dev` beside the default ones.
    pub devices: Vec<LinuxDevice>,
    /// Whether `/sys` and the cgroup tree are writable (`--privileged`).
    pub writable_kernel_files: bool,
}
