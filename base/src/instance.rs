//! Where an installation keeps things, and the names it takes on the host.
//!
//! ```text
//! <root>/  events/ images/ containers/<id>/ networks/ volumes/<name>/
//! <run>/   engine.sock *.lock boot-id netd/ netns/<id>.<run> volumed/ mnt/<id>.<run>
//!          shim/<id>.<run>/ runc/
//! ```
//! Bridges, the firewall table and the cgroup parent derive from the instance
//! name and the root, so that several engines run side by side on one host.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::digest::Digest;
use crate::file::{PathContext as _, PathError, make_directories};
use crate::id::{ContainerId, RunId, VolumeName};

/// The root of a default installation.
pub const DEFAULT_ROOT: &str = "/var/lib/engine";
/// The run directory of a default installation.
pub const DEFAULT_RUN: &str = "/run/engine";
const DEFAULT_NAME: &str = "engine";

/// Says that a text cannot name an instance.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "invalid instance name {0:?}: only [a-z0-9_] are allowed, at most 32 of them, a letter or digit first"
)]
pub struct InstanceNameError(String);

/// Names an installation on its host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InstanceName(String);

impl InstanceName {
    /// Returns the text form.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for InstanceName {
    type Err = InstanceNameError;
    fn from_str(text: &str) -> Result<Self, InstanceNameError> {
        let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
        let first = text.bytes().next().is_some_and(|b| allowed(b) && b != b'_');
        if !first || text.len() > 32 || !text.bytes().all(allowed) {
            return Err(InstanceNameError(text.to_owned()));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for InstanceName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One installation: its two directories and its name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    root: PathBuf,
    run: PathBuf,
    name: InstanceName,
    root_hash: String,
}

impl Instance {
    /// Opens the installation at `root` and `run`, making both directories
    /// (0700 and 0711) if they are not there; without a `name` it is `engine`
    /// for the default root and six hexadecimal digits of the root's hash else.
    ///
    /// # Errors
    /// When a directory cannot be made or resolved.
    pub fn open(root: &Path, run: &Path, name: Option<InstanceName>) -> Result<Self, PathError> {
        make_directories(root, 0o700)?;
        make_directories(run, 0o711)?;
        let root = root.canonicalize().at("resolve", root)?;
        let run = run.canonicalize().at("resolve", run)?;
        Ok(Self::from_canonical(root, run, name))
    }

    /// Returns the installation at two directories that are already canonical.
    pub fn from_canonical(root: PathBuf, run: PathBuf, name: Option<InstanceName>) -> Self {
        use std::os::unix::ffi::OsStrExt as _;
        let root_hash = Digest::of(root.as_os_str().as_bytes()).hex()[..6].to_owned();
        let default = || {
            let is_default = root == Path::new(DEFAULT_ROOT);
            InstanceName(if is_default {
                DEFAULT_NAME.to_owned()
            } else {
                root_hash.clone()
            })
        };
        let name = name.unwrap_or_else(default);
        Self {
            root,
            run,
            name,
            root_hash,
        }
    }

    /// Returns `<root>`, which survives a reboot.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Returns `<run>`, which does not.
    pub fn run(&self) -> &Path {
        &self.run
    }

    /// Returns the instance's name.
    pub fn name(&self) -> &InstanceName {
        &self.name
    }

    /// Returns six hexadecimal digits that tell this root from others.
    pub fn root_hash(&self) -> &str {
        &self.root_hash
    }

    /// Returns what every network interface of ours begins with, `e<6 hex>-`.
    pub fn interface_prefix(&self) -> String {
        format!("e{}-", self.root_hash)
    }

    /// Returns the name of our nf_tables table: `engine` or `engine_<name>`.
    pub fn firewall_table(&self) -> String {
        if self.name.as_str() == DEFAULT_NAME {
            return DEFAULT_NAME.to_owned();
        }
        format!("engine_{}", self.name)
    }

    /// Returns the cgroup all containers live below: `/engine` or `/engine_<name>`.
    pub fn cgroup_parent(&self) -> String {
        format!("/{}", self.firewall_table())
    }

    /// Returns the event log's directory.
    pub fn events(&self) -> PathBuf {
        self.root.join("events")
    }

    /// Returns the directory of blobs, references and layers.
    pub fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    /// Returns the directory of the unpacked layer with this diff id.
    pub fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.root.join("images/layers").join(diff_id.hex())
    }

    /// Returns the directory that holds one directory per container.
    pub fn containers(&self) -> PathBuf {
        self.root.join("containers")
    }

    /// Returns the directory of one container.
    pub fn container(&self, id: &ContainerId) -> PathBuf {
        self.containers().join(id.as_str())
    }

    /// Returns the directory of network definitions.
    pub fn networks(&self) -> PathBuf {
        self.root.join("networks")
    }

    /// Returns the directory of volumes.
    pub fn volumes(&self) -> PathBuf {
        self.root.join("volumes")
    }

    /// Returns the directory of one volume.
    pub fn volume(&self, name: &VolumeName) -> PathBuf {
        self.volumes().join(name.as_str())
    }

    /// Returns the API socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join("engine.sock")
    }

    /// Returns the lock that makes the daemon `name` single.
    pub fn daemon_lock(&self, name: &str) -> PathBuf {
        self.run.join(format!("{name}.lock"))
    }

    /// Returns netd's directory for leases.
    pub fn netd(&self) -> PathBuf {
        self.run.join("netd")
    }

    /// Returns where the network namespace of a run is bound.
    pub fn network_namespace(&self, run: &RunId) -> PathBuf {
        self.run.join("netns").join(run.to_string())
    }

    /// Returns where the user namespace of a run is bound that has one.
    pub fn user_namespace(&self, run: &RunId) -> PathBuf {
        self.run.join("userns").join(run.to_string())
    }

    /// Returns volumed's directory for holders.
    pub fn volumed(&self) -> PathBuf {
        self.run.join("volumed")
    }

    /// Returns the private self-bind that everything we mount lies below.
    pub fn mounts(&self) -> PathBuf {
        self.run.join("mnt")
    }

    /// Returns the mount point of a run's root filesystem.
    pub fn rootfs(&self, run: &RunId) -> PathBuf {
        self.mounts().join(run.to_string())
    }

    /// Returns the directory that holds one directory per live run.
    pub fn shims(&self) -> PathBuf {
        self.run.join("shim")
    }

    /// Returns the shim's directory of a run.
    pub fn shim(&self, run: &RunId) -> PathBuf {
        self.shims().join(run.to_string())
    }

    /// Returns the state root given to the OCI runtime.
    pub fn runtime_state(&self) -> PathBuf {
        self.run.join("runc")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_roots_share_no_name_on_the_host() {
        let at = |root: &str| Instance::from_canonical(root.into(), "/run/x".into(), None);
        let (default, other) = (at(DEFAULT_ROOT), at("/srv/other"));
        assert_eq!(default.firewall_table(), "engine");
        assert_eq!(default.cgroup_parent(), "/engine");
        assert_ne!(default.firewall_table(), other.firewall_table());
        assert_ne!(default.cgroup_parent(), other.cgroup_parent());
        assert_ne!(default.interface_prefix(), other.interface_prefix());
        assert!(
            other.interface_prefix().len() + 6 <= 15,
            "room for the number in IFNAMSIZ"
        );
    }

    #[test]
    fn names_that_nftables_or_cgroups_would_refuse_are_refused() {
        for bad in ["", "_x", "A", "a b", "a/b", "a-b", &"x".repeat(33)] {
            assert!(bad.parse::<InstanceName>().is_err(), "{bad:?}");
        }
        assert!("ci_1".parse::<InstanceName>().is_ok());
    }
}
