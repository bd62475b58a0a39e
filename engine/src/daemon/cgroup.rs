//! The cgroup of the daemon, its helpers and its shims: `<parent>/shims`,
//! beside the containers' and never in one, since pausing would freeze it.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base::Instance;

/// Moves this process, hence every child of it, into the cgroup, in the v2
/// tree if there is one alone, else in the v1 hierarchies containers join.
/// A host that does not allow it is told and lived with: it costs accounting,
/// not containers.
pub(super) fn enter(instance: &Instance) {
    for hierarchy in hierarchies(Path::new("/sys/fs/cgroup")) {
        let directory = join(&hierarchy, &instance.cgroup_parent()).join("shims");
        let moved = fs::create_dir_all(&directory).and_then(|()| move_into(&directory));
        if let Err(error) = moved {
            tracing::warn!(?directory, %error, "cannot move the daemon into a cgroup of its own");
        }
    }
}

/// Leaves the cgroup and removes it, and the parent with what ended containers
/// left empty.
pub(super) fn leave(instance: &Instance) {
    let mount = Path::new("/sys/fs/cgroup");
    for hierarchy in hierarchies(mount) {
        if let Err(error) = move_into(&hierarchy) {
            tracing::warn!(?hierarchy, %error, "cannot leave the daemon's cgroup");
        }
    }
    let others = fs::read_dir(mount)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path());
    for hierarchy in others.chain([mount.to_owned()]) {
        let parent = join(&hierarchy, &instance.cgroup_parent());
        for directory in [parent.join("shims"), parent] {
            match fs::remove_dir(&directory) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    tracing::warn!(?directory, %error, "cannot remove a cgroup");
                }
                _ => {}
            }
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "cgroupfs takes a write, not a rename"
)]
fn move_into(directory: &Path) -> std::io::Result<()> {
    fs::write(
        directory.join("cgroup.procs"),
        std::process::id().to_string(),
    )
}

fn join(hierarchy: &Path, cgroup: &str) -> PathBuf {
    hierarchy.join(cgroup.trim_start_matches('/'))
}

/// On a host with v1 or both, those whose limits could hit the daemon through
/// whoever started it.
fn hierarchies(mount: &Path) -> Vec<PathBuf> {
    if mount.join("cgroup.controllers").exists() {
        return vec![mount.to_owned()];
    }
    let names = ["memory", "pids", "freezer"];
    names
        .into_iter()
        .map(|name| mount.join(name))
        .filter(|path| path.join("cgroup.procs").exists())
        .collect()
}
