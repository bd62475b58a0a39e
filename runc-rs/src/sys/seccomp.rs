//! The system call that loads a seccomp filter.

use std::io;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};

use crate::seccomp::Instruction;

/// The kernel's `struct sock_fprog`.
#[repr(C)]
struct FilterProgram {
    length: libc::c_ushort,
    instructions: *const Instruction,
}

/// Confines this process by `program`. With the flag for a new listener,
/// returns it; it is closed on exec. Allocates nothing.
///
/// # Errors
/// When the kernel does not take the program or knows a flag not, and when the
/// caller has neither `no_new_privs` nor CAP_SYS_ADMIN.
pub fn load_seccomp_filter(
    program: &[Instruction],
    flags: libc::c_ulong,
) -> io::Result<Option<OwnedFd>> {
    let length = program.len().try_into();
    let program = FilterProgram {
        length: length.map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?,
        instructions: program.as_ptr(),
    };
    // SAFETY: an instruction is laid out as the kernel's, as many are passed as
    // there are, and the kernel copies them before the call returns. A filter
    // takes system calls away; it changes no memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            &raw const program,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if flags & libc::SECCOMP_FILTER_FLAG_NEW_LISTENER == 0 {
        return Ok(None);
    }
    // SAFETY: with this flag a call that succeeds returns a new descriptor,
    // which nobody else has.
    Ok(Some(unsafe { OwnedFd::from_raw_fd(result as RawFd) }))
}

/// Returns whether the kernel knows these flags of a filter together.
pub fn knows_seccomp_flags(flags: libc::c_ulong) -> bool {
    let nothing = std::ptr::null::<FilterProgram>();
    // SAFETY: without a program the call changes nothing: the kernel refuses
    // flags it does not know, and fails to read the program otherwise.
    unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            flags,
            nothing,
        )
    };
    io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}
