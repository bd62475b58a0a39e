//! The few system calls that rustix has no safe wrapper for.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{FromRawFd as _, OwnedFd};

use rustix::process::Pid;

/// Signals that are never blocked: blocking them would only hide a crash.
const FATAL: [i32; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
];

/// Closes every descriptor but the standard three. To be called first in `main`.
pub fn close_inherited() {
    // SAFETY: nothing in this process owns a descriptor above 2 yet. The result
    // does not matter: on a kernel without the call, all stay close-on-exec or harmless.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32);
    }
}

/// Blocks all signals but the fatal ones and returns a descriptor that becomes
/// readable when a child ends. Spawned children get an empty mask from std.
///
/// # Errors
/// When the kernel has no signalfd or descriptors ran out.
pub(crate) fn watch_children() -> io::Result<OwnedFd> {
    let mut blocked = MaybeUninit::<libc::sigset_t>::uninit();
    let mut child = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: both sets are initialised by sigfillset and sigemptyset before use,
    // the pointers are valid for the calls, and signalfd returns a new descriptor.
    unsafe {
        libc::sigfillset(blocked.as_mut_ptr());
        for signal in FATAL {
            libc::sigdelset(blocked.as_mut_ptr(), signal);
        }
        libc::sigemptyset(child.as_mut_ptr());
        libc::sigaddset(child.as_mut_ptr(), libc::SIGCHLD);
        if libc::sigprocmask(libc::SIG_SETMASK, blocked.as_ptr(), std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, child.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(OwnedFd::from_raw_fd(descriptor)),
        }
    }
}

/// Signals one process by number, real-time signals included.
///
/// # Errors
/// When there is no such process or signal.
pub(crate) fn kill(pid: Pid, signal: i32) -> io::Result<()> {
    // SAFETY: kill takes two numbers and touches no memory of ours.
    match unsafe { libc::kill(pid.as_raw_nonzero().get(), signal) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
