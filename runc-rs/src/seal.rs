//! Keeps a container from writing to this program's file (CVE-2019-5736).
//!
//! A process of a container can reach the file of a runtime that enters it
//! through `/proc/<pid>/exe`. Before a command that enters a container, this
//! program therefore executes itself again from a read-only mount of its file
//! that is attached nowhere, or, where the kernel refuses that, from a sealed
//! copy in memory. Commands that enter nothing are not slowed down by it.

use std::ffi::{CStr, CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};

use nix::fcntl::AtFlags;
use rustix::fs::{MemfdFlags, OFlags, SealFlags, StatVfsMountFlags};
use rustix::mount::OpenTreeFlags;

use crate::sys;

/// Set for the second execution, so that a kernel on which neither way works
/// ends in an error and not in a loop.
const GUARD: &CStr = c"_RUNC_RS_SEALED";
const OWN_FILE: &str = "/proc/self/exe";

/// Says why this program could not protect its own file.
#[derive(Debug, thiserror::Error)]
pub enum SealError {
    #[error("cannot look at {OWN_FILE}")]
    Look(#[source] io::Error),
    #[error("cannot copy {OWN_FILE} to sealed memory")]
    Copy(#[source] io::Error),
    #[error("cannot execute the protected copy of this program")]
    Execute(#[source] io::Error),
    #[error("the protected copy of this program is writable")]
    StillWritable,
}

/// Returns once this process runs from a file nobody can write to, executing
/// itself again if need be.
///
/// # Errors
/// When no protected file could be made or executed.
pub fn ensure_sealed() -> Result<(), SealError> {
    if is_sealed().map_err(SealError::Look)? {
        // Hooks may run this program, from its own file again.
        sys::remove_variable(GUARD);
        return Ok(());
    }
    if std::env::var_os(OsStr::from_bytes(GUARD.to_bytes())).is_some() {
        return Err(SealError::StillWritable);
    }
    let file = match read_only_mount() {
        Ok(mount) => mount,
        Err(_) => sealed_copy().map_err(SealError::Copy)?,
    };
    execute(&file).map_err(SealError::Execute)
}

fn is_sealed() -> io::Result<bool> {
    let file = File::open(OWN_FILE)?;
    if rustix::fs::fstatvfs(&file)?
        .f_flag
        .contains(StatVfsMountFlags::RDONLY)
    {
        return Ok(true);
    }
    let wanted = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    Ok(rustix::fs::fcntl_get_seals(&file).is_ok_and(|seals| seals.contains(wanted)))
}

fn read_only_mount() -> io::Result<OwnedFd> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let mount = rustix::mount::open_tree(rustix::fs::CWD, OWN_FILE, flags)?;
    sys::set_mount_read_only(mount.as_fd())?;
    Ok(mount)
}

fn sealed_copy() -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut copy = File::from(rustix::fs::memfd_create("runc-rs", flags)?);
    io::copy(&mut File::open(OWN_FILE)?, &mut copy)?;
    let seals = SealFlags::WRITE | SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL;
    rustix::fs::fcntl_add_seals(&copy, seals)?;
    // A descriptor open for writing makes execution fail with ETXTBSY.
    let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    Ok(rustix::fs::open(path, flags, rustix::fs::Mode::empty())?)
}

fn execute(file: &OwnedFd) -> io::Result<()> {
    let arguments = std::env::args_os().map(|argument| CString::new(argument.into_vec()));
    let arguments = arguments.collect::<Result<Vec<_>, _>>()?;
    let mut environment = vec![CString::new([GUARD.to_bytes(), b"=1"].concat())?];
    for (name, value) in std::env::vars_os() {
        environment.push(CString::new(
            [name.as_bytes(), b"=", value.as_bytes()].concat(),
        )?);
    }
    let flags = AtFlags::AT_EMPTY_PATH;
    let descriptor = Some(file.as_raw_fd());
    match nix::unistd::execveat(descriptor, c"", &arguments, &environment, flags)? {}
}
