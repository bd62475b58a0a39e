//! Where the control files of a container are.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

use base::file::{PathError, read_bounded};

use super::plan::{ControlWrite, Controller, Version};
use crate::cgroup::{Cgroup, Directories};

/// A longer control file is not one a limit or a measure is read from.
const CONTROL_LIMIT_BYTES: u64 = 4 << 20;

/// Returns the version the groups of a container are of.
pub(super) fn version(cgroup: &Cgroup) -> Version {
    match cgroup.directories {
        Directories::Unified(_) => Version::V2,
        Directories::Split(_) => Version::V1,
    }
}

/// Returns the group of one controller.
pub(super) fn group<'a>(cgroup: &'a Cgroup, controller: &str) -> Option<&'a Path> {
    match &cgroup.directories {
        Directories::Unified(group) => Some(group),
        Directories::Split(groups) => groups.get(controller).map(PathBuf::as_path),
    }
}

/// Returns every group once: one directory may be the group of two controllers.
pub(super) fn groups(cgroup: &Cgroup) -> BTreeSet<&Path> {
    match &cgroup.directories {
        Directories::Unified(group) => BTreeSet::from([group.as_path()]),
        Directories::Split(groups) => groups.values().map(PathBuf::as_path).collect(),
    }
}

/// Returns the file a write goes to, if the container has its group.
pub(super) fn target(cgroup: &Cgroup, write: &ControlWrite) -> Option<PathBuf> {
    let group = group(cgroup, write.controller.name())?;
    Some(group.join(&*write.file))
}

/// Reads a control file, without the line's end.
pub(super) fn read(path: &Path) -> Result<String, PathError> {
    let text = read_bounded(path, CONTROL_LIMIT_BYTES)?;
    Ok(String::from_utf8_lossy(&text).trim_end().to_owned())
}

/// Reads a control file; one that is not there, or whose controller is off, is
/// `None`.
pub(super) fn read_if_there(path: &Path) -> Result<Option<String>, PathError> {
    match read(path) {
        Err(error) if is_absent(&error.source) => Ok(None),
        text => text.map(Some),
    }
}

/// Reads a file of a controller, if the container has both.
pub(super) fn read_control(
    cgroup: &Cgroup,
    controller: Controller,
    file: &str,
) -> Result<Option<String>, PathError> {
    match group(cgroup, controller.name()) {
        Some(group) => read_if_there(&group.join(file)),
        None => Ok(None),
    }
}

/// Returns whether an error means that the kernel has no such file, or that
/// its controller does not do this.
pub(super) fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || matches!(error.raw_os_error(), Some(libc::ENODEV | libc::EOPNOTSUPP))
}
