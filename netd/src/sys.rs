//! The system calls for which no crate we use has a safe wrapper.
#![expect(unsafe_code, reason = "the one place of this crate for it")]

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use rustix::thread::UnshareFlags;

/// The binary that runs, also after another was put in its place.
pub const OWN_BINARY: &str = "/proc/self/exe";

/// Moves the calling thread into a new network namespace.
///
/// # Errors
/// When the kernel refuses it.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: `unshare_unsafe` is unsafe only for CLONE_FILES, which would make
    // descriptors of other threads invalid in this one; a network namespace
    // shares no memory or descriptor with them.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }?;
    Ok(())
}

/// Makes the kernel drop whatever arrives at `socket`.
///
/// # Errors
/// When the kernel refuses the filter.
pub fn refuse_traffic(socket: BorrowedFd<'_>) -> io::Result<()> {
    // BPF_RET | BPF_K with 0: accept no byte.
    let mut program = [libc::sock_filter {
        code: 0x06,
        jt: 0,
        jf: 0,
        k: 0,
    }];
    let filter = libc::sock_fprog {
        len: 1,
        filter: program.as_mut_ptr(),
    };
    let length = libc::socklen_t::try_from(size_of_val(&filter)).expect("16 bytes");
    // SAFETY: `filter` and the program it points at live until the call
    // returns, `length` is its size, and the kernel copies both.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            length,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}
