//! The run directory: on a tmpfs, void after a reboot.

use std::path::Path;

use anyhow::Context as _;
use base::boot::BootId;
use base::file::{FileMode, read_bounded, replace};
use base::{Instance, PathContext as _, PathError};
use rustix::mount::{MountFlags, mount};

/// How the mount table names a tmpfs of ours.
const MOUNT_SOURCE: &str = "engine";
const TMPFS_MAGIC: u64 = 0x0102_1994;
const OVERLAY_MAGIC: u64 = 0x794c_7630;
/// What a tmpfs of ours may hold.
const TMPFS_OPTIONS: &std::ffi::CStr = c"size=64m,mode=0711";

/// What [`prepare`] came upon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Prepared {
    /// A tmpfs, which may be of an earlier daemon of ours.
    Found,
    /// Another file system, over which one was mounted.
    Mounted,
}

/// Makes the run directory ready: a tmpfs, emptied if it is of another boot.
pub(super) fn prepare(instance: &Instance) -> anyhow::Result<Prepared> {
    let run = instance.run();
    let mut prepared = Prepared::Found;
    if file_system(run)? != TMPFS_MAGIC {
        mount(
            MOUNT_SOURCE,
            run,
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            TMPFS_OPTIONS,
        )
        .at("mount a tmpfs on", run)?;
        prepared = Prepared::Mounted;
    }
    let boot = BootId::current()?.to_string();
    let path = run.join("boot-id");
    let recorded =
        read_bounded(&path, 128).map(|content| String::from_utf8_lossy(&content).into_owned());
    if recorded.as_ref().is_ok_and(|recorded| *recorded != boot) {
        empty(run)?;
    }
    replace(&path, boot.as_bytes(), FileMode::Private)?;
    Ok(prepared)
}

/// Returns whether the run directory is a tmpfs that [`prepare`] mounted.
pub(super) fn is_ours(instance: &Instance) -> Result<bool, PathError> {
    let table = Path::new("/proc/self/mountinfo");
    let content = std::fs::read_to_string(table).at("read", table)?;
    let run = instance.run().display().to_string();
    let is_ours = |line: &str| {
        let point = line.split(' ').nth(4);
        point == Some(&run) && line.contains(&format!(" - tmpfs {MOUNT_SOURCE} "))
    };
    Ok(content.lines().any(is_ours))
}

/// Removes what another boot left; locks are held by this boot's processes.
fn empty(run: &Path) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(run).at("list", run)? {
        let path = entry.at("list", run)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "lock")
        {
            continue;
        }
        let removed = if path.is_dir() {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.at("remove", &path)?;
    }
    Ok(())
}

/// An overlay cannot be the upper layer of another one, so nothing would start.
pub(super) fn refuse_overlay(root: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        file_system(root)? != OVERLAY_MAGIC,
        "{root:?} is on an overlay file system, which cannot hold containers: \
         choose a directory on a disk with --root, or mount a volume there"
    );
    Ok(())
}

fn file_system(path: &Path) -> anyhow::Result<u64> {
    let found = rustix::fs::statfs(path).at("look at the file system of", path)?;
    u64::try_from(found.f_type).context("the file system has no type")
}
