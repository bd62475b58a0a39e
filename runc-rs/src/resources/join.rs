//! Moves a process into a container's groups.

use std::io;
use std::path::Path;
use std::time::Duration;

use base::file::PathError;

use super::{ResourceError, files};
use crate::cgroup::{Cgroup, write_control};

/// The kernel refuses a process that is only just being made; it is then
/// tried again this often.
const ATTEMPTS: usize = 50;
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Moves `pid` into every group of the container. On v2 it may be there: an
/// older kernel, or a stage, has not put it there.
///
/// # Errors
/// When the kernel refuses one: the process has ended, or the group takes none.
pub fn join(cgroup: &Cgroup, pid: i32) -> Result<(), ResourceError> {
    let v2 = cgroup.v2_group();
    for group in files::groups(cgroup) {
        if v2 != Some(group) || !is_member(group, pid)? {
            enter(group, pid)?;
        }
    }
    Ok(())
}

/// Returns whether `pid` is in a group; to look is cheaper than to move.
fn is_member(group: &Path, pid: i32) -> Result<bool, ResourceError> {
    let members = files::read(&group.join("cgroup.procs"));
    let pid = pid.to_string();
    match members {
        Ok(members) => Ok(members.lines().any(|member| member == pid)),
        // A group below a threaded one does not tell.
        Err(error) if is(&error, libc::EOPNOTSUPP) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Moves `pid` into one group.
pub(super) fn enter(group: &Path, pid: i32) -> Result<(), ResourceError> {
    let procs = group.join("cgroup.procs");
    let pid = pid.to_string();
    let mut attempts = 0;
    loop {
        attempts += 1;
        match write_control(&procs, &pid) {
            Ok(()) => return Ok(()),
            Err(error) if is(&error, libc::EOPNOTSUPP) && attempts == 1 => make_threaded(group)?,
            Err(error) if is(&error, libc::EINVAL) && attempts < ATTEMPTS => {
                std::thread::sleep(POLL_INTERVAL);
            }
            Err(error) => return Err(error.into()),
        }
    }
}

fn is(error: &PathError, code: i32) -> bool {
    error.source.raw_os_error() == Some(code)
}

/// A group below a threaded one takes processes only once it is threaded
/// itself, which no controller for whole processes may stand against.
fn make_threaded(group: &Path) -> Result<(), ResourceError> {
    let file = group.join("cgroup.type");
    let kind = files::read(&file)?;
    if kind != "domain invalid" {
        return Err(ResourceError::Threaded(group.to_owned()));
    }
    match write_control(&file, "threaded") {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => {
            Err(ResourceError::Threaded(group.to_owned()))
        }
        result => Ok(result?),
    }
}
