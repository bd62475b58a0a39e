//! Giving the host back when the daemon ends and no container lives: mounts
//! and cgroups of ours go; netd takes its own things along.

use std::path::Path;

use base::{Instance, PathContext as _, PathError};
use rustix::io::Errno;
use rustix::mount::{UnmountFlags, unmount};

use super::{cgroup, run_dir};
use crate::Engine;
use crate::container::shim;

/// Releases what no living container needs; what cannot be released is told.
pub(super) fn release(engine: &Engine) {
    if has_live_runs(engine) {
        return;
    }
    if let Err(error) = unmount_all(&engine.instance) {
        tracing::warn!(
            error = base::failure::chain(&error),
            "cannot release the host's mounts"
        );
    }
    cgroup::leave(&engine.instance);
}

/// A shim that cannot be looked at counts as living.
fn has_live_runs(engine: &Engine) -> bool {
    let Ok(entries) = std::fs::read_dir(engine.instance.shims()) else {
        return true;
    };
    entries
        .flatten()
        .any(|entry| shim::is_alive(&entry.path()).unwrap_or(true))
}

fn unmount_all(instance: &Instance) -> Result<(), PathError> {
    for directory in [instance.mounts(), instance.run().join("netns")] {
        detach(&directory)?;
    }
    if run_dir::is_ours(instance)? {
        detach(instance.run())?;
    }
    Ok(())
}

/// Unmounts a directory; one that is no mount point, or is not there, is fine.
fn detach(directory: &Path) -> Result<(), PathError> {
    match unmount(directory, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW) {
        Ok(()) | Err(Errno::INVAL | Errno::NOENT) => Ok(()),
        Err(error) => Err(error).at("unmount", directory),
    }
}
