//! Changing mounts by descriptor, which neither `rustix` nor `nix` wraps.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::zero_or_errno;

/// What [`change_mount`] does, in the bits of `mount_setattr(2)`.
#[derive(Debug, Clone, Copy, Default)]
pub struct MountChange<'fd> {
    pub set: u64,
    pub clear: u64,
    pub propagation: u64,
    /// Where `MOUNT_ATTR_IDMAP` takes its mappings from.
    pub user_namespace: Option<BorrowedFd<'fd>>,
}

/// Changes the mount that `mount` is the root of; with `AT_RECURSIVE` in
/// `flags`, also those below it.
///
/// # Errors
/// `ENOSYS` before Linux 5.12; `EPERM` when an attribute is locked.
pub fn change_mount(
    mount: BorrowedFd<'_>,
    flags: libc::c_int,
    change: &MountChange<'_>,
) -> io::Result<()> {
    let namespace = change
        .user_namespace
        .map_or(0, |namespace| namespace.as_raw_fd());
    let attributes = libc::mount_attr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: u64::from(namespace.unsigned_abs()),
    };
    // SAFETY: the path is an empty NUL-terminated string, the structure lives
    // over the call and its size is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH | flags,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    zero_or_errno(result)
}
