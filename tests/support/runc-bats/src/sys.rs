//! The calls that rustix has not: answering a seccomp filter's notifications,
//! and mapping the ids of a mount.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::io::Errno;
use rustix::ioctl::{Opcode, Setter, Updater, ioctl, opcode};

/// `struct seccomp_notif` of `linux/seccomp.h`.
#[repr(C)]
#[derive(Debug, Default)]
pub(crate) struct Notification {
    id: u64,
    pid: u32,
    flags: u32,
    number: i32,
    architecture: u32,
    instruction_pointer: u64,
    arguments: [u64; 6],
}

impl Notification {
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn number(&self) -> i32 {
        self.number
    }

    pub(crate) fn arguments(&self) -> &[u64; 6] {
        &self.arguments
    }
}

/// What becomes of a system call.
pub(crate) enum Answer {
    Continue,
    Value(i64),
    Error(Errno),
}

/// `struct seccomp_notif_resp`.
#[repr(C)]
struct Response {
    id: u64,
    value: i64,
    error: i32,
    flags: u32,
}

/// `SECCOMP_USER_NOTIF_FLAG_CONTINUE`.
const CONTINUE: u32 = 1;
const RECEIVE: Opcode = opcode::read_write::<Notification>(b'!', 0);
const SEND: Opcode = opcode::read_write::<Response>(b'!', 1);
const ID_VALID: Opcode = opcode::write::<u64>(b'!', 2);

/// Waits for the next call that the filter passes on.
///
/// # Errors
/// The kernel's.
pub(crate) fn next(listener: BorrowedFd<'_>) -> Result<Notification, Errno> {
    let mut notification = Notification::default();
    // SAFETY: the number names the structure, which is zeroed as the kernel
    // demands, and the kernel writes no more than that.
    unsafe { ioctl(listener, Updater::<RECEIVE, _>::new(&mut notification)) }?;
    Ok(notification)
}

/// Answers a call.
///
/// # Errors
/// The kernel's.
pub(crate) fn answer(
    listener: BorrowedFd<'_>,
    call: &Notification,
    answer: Answer,
) -> Result<(), Errno> {
    let (value, error, flags) = match answer {
        Answer::Continue => (0, 0, CONTINUE),
        Answer::Value(value) => (value, 0, 0),
        Answer::Error(error) => (0, -error.raw_os_error(), 0),
    };
    let mut response = Response {
        id: call.id,
        value,
        error,
        flags,
    };
    // SAFETY: the number names the structure, of which nothing is written.
    unsafe { ioctl(listener, Updater::<SEND, _>::new(&mut response)) }
}

/// Succeeds while the process still waits for its answer.
///
/// # Errors
/// `ENOENT` when it does not.
pub(crate) fn still_waits(listener: BorrowedFd<'_>, call: &Notification) -> Result<(), Errno> {
    // SAFETY: the number names an integer of 64 bits, which is only read.
    unsafe { ioctl(listener, Setter::<ID_VALID, u64>::new(call.id)) }
}

/// Maps the ids of a detached tree by a user namespace.
///
/// # Errors
/// `EINVAL` when the file system cannot do that.
pub(crate) fn map_ids(tree: BorrowedFd<'_>, namespace: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_IDMAP,
        attr_clr: 0,
        propagation: 0,
        userns_fd: u64::try_from(namespace.as_raw_fd()).map_err(io::Error::other)?,
    };
    // SAFETY: the path is an empty string, the structure lives for the call and
    // its size is given.
    let done = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            tree.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const attributes,
            size_of::<libc::mount_attr>(),
        )
    };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
