//! The system call for which no crate we use has a safe wrapper.
#![expect(unsafe_code, reason = "the one place of this crate for it")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

/// Makes the mount that `mount` is the root of show the owners of files as
/// `user_namespace` maps them.
///
/// # Errors
/// `ENOSYS` before Linux 5.12; `EINVAL` where the file system cannot.
pub(crate) fn map_ids(mount: BorrowedFd<'_>, user_namespace: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::from(user_namespace.as_raw_fd().unsigned_abs()),
    };
    // SAFETY: the path is an empty NUL-terminated string, the structure lives
    // over the call and its size is passed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    match result {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
