//! Puts a device program into force on a group of v2.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::Path;

use base::file::{PathContext as _, PathError, read_bounded};
use rustix::fs::{Mode, OFlags};

use crate::sys::bpf::{self, Instruction};

const ID_MAP: &str = "/proc/self/uid_map";
const ID_MAP_LIMIT_BYTES: u64 = 1 << 20;
/// What the map of the first user namespace says.
const ALL_IDS: [&str; 3] = ["0", "0", "4294967295"];

/// Says which step failed.
#[derive(Debug, thiserror::Error)]
pub enum AttachError {
    #[error(transparent)]
    Open(#[from] PathError),
    #[error("cannot look for device programs of the control group")]
    Query(#[source] io::Error),
    #[error("cannot load the device program")]
    Load(#[source] io::Error),
    #[error("cannot attach the device program to the control group")]
    Attach(#[source] io::Error),
    #[error("cannot detach an earlier device program from the control group")]
    Detach(#[source] io::Error),
}

/// Makes `program` the only device program of `group`. At no moment is there
/// none. For ordinary users and inside a user namespace the kernel loads no such
/// programs, and the container can make no devices either: nothing is done there.
///
/// # Errors
/// The step that failed.
pub(crate) fn attach(group: &Path, program: &[Instruction]) -> Result<(), AttachError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let group_fd = rustix::fs::open(group, flags, Mode::empty()).at("open", group)?;
    let program = match bpf::load_device_program(program) {
        Err(error) if is_refused(&error) && is_unprivileged() => return Ok(()),
        loaded => loaded.map_err(AttachError::Load)?,
    };
    let earlier = earlier_programs(&group_fd)?;
    let (replaced, superfluous) = match earlier.split_first() {
        None => (None, &[][..]),
        Some((first, rest)) => (Some(first.as_fd()), rest),
    };
    bpf::attach_device_program(group_fd.as_fd(), program.as_fd(), replaced)
        .map_err(AttachError::Attach)?;
    for program in superfluous {
        bpf::detach_device_program(group_fd.as_fd(), program.as_fd())
            .map_err(AttachError::Detach)?;
    }
    Ok(())
}

/// Opens the programs that are attached. One that may not be opened is left
/// alone: it can only forbid more.
fn earlier_programs(group: &OwnedFd) -> Result<Vec<OwnedFd>, AttachError> {
    let ids = bpf::attached_device_programs(group.as_fd()).map_err(AttachError::Query)?;
    let mut programs = Vec::new();
    for id in ids {
        match bpf::open_program(id) {
            Err(error) if is_refused(&error) => {}
            opened => programs.push(opened.map_err(AttachError::Query)?),
        }
    }
    Ok(programs)
}

fn is_refused(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// Returns whether this process is not root, or only that of a user namespace.
pub(crate) fn is_unprivileged() -> bool {
    !rustix::process::geteuid().is_root() || is_in_user_namespace()
}

/// Returns whether this process is in another user namespace than the first.
fn is_in_user_namespace() -> bool {
    // Without the file there are no user namespaces.
    let Ok(map) = read_bounded(Path::new(ID_MAP), ID_MAP_LIMIT_BYTES) else {
        return false;
    };
    let map = String::from_utf8_lossy(&map);
    !map.split_ascii_whitespace().eq(ALL_IDS)
}
