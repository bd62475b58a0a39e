//! Making processes in new namespaces, and scheduling the own one.

use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};

use super::{Fork, forked, zero_or_errno};

/// libc's constant is too narrow for it.
const CLONE_INTO_CGROUP: u64 = 1 << 33;

/// Makes a process by `clone3`, a copy of this one with `flags` more, in the
/// control group of v2 whose directory `group` is. Where there is no such call,
/// the older one is made, which knows no groups. The process must have a single
/// thread.
///
/// # Errors
/// When the kernel refuses a namespace or another process; `ENOSYS` where there is
/// no call that takes a group.
pub fn clone_process(flags: u64, group: Option<BorrowedFd<'_>>) -> io::Result<Fork> {
    // A sibling's end is told as the caller's own would be.
    let signal = match flags & libc::CLONE_PARENT as u64 {
        0 => libc::SIGCHLD as u64,
        _ => 0,
    };
    // SAFETY: all-zero is a valid request for a plain fork.
    let mut request: libc::clone_args = unsafe { std::mem::zeroed() };
    request.flags = flags;
    request.exit_signal = signal;
    if let Some(group) = group {
        request.flags |= CLONE_INTO_CGROUP;
        request.cgroup = group.as_raw_fd() as u64;
    }
    // SAFETY: without CLONE_VM and with no stack given, this is a fork on a copy
    // of the memory; the process has one thread. The request lives over the call.
    let made = unsafe {
        libc::syscall(
            libc::SYS_clone3,
            &raw const request,
            size_of::<libc::clone_args>(),
        )
    };
    let is_unknown = made < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOSYS);
    if !is_unknown || group.is_some() {
        return forked(made);
    }
    // SAFETY: as above.
    forked(unsafe { libc::syscall(libc::SYS_clone, flags | signal, 0, 0, 0, 0) })
}

/// Attributes of `sched_setattr(2)`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SchedulingAttributes {
    pub policy: u32,
    pub flags: u64,
    pub nice: i32,
    pub priority: u32,
    pub runtime_ns: u64,
    pub deadline_ns: u64,
    pub period_ns: u64,
}

/// The kernel's first version of the structure, 48 bytes.
#[repr(C)]
struct KernelAttributes {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

/// Sets the caller's scheduling.
///
/// # Errors
/// When the kernel refuses the policy or a number.
pub fn set_scheduling(wanted: &SchedulingAttributes) -> io::Result<()> {
    let attributes = KernelAttributes {
        size: size_of::<KernelAttributes>() as u32,
        policy: wanted.policy,
        flags: wanted.flags,
        nice: wanted.nice,
        priority: wanted.priority,
        runtime: wanted.runtime_ns,
        deadline: wanted.deadline_ns,
        period: wanted.period_ns,
    };
    // SAFETY: the structure names its own size and lives over the call.
    let result = unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const attributes, 0) };
    zero_or_errno(result)
}

/// Binds the caller to the CPUs of a mask.
///
/// # Errors
/// When it may be on none of them.
pub fn set_affinity(cpus: &[u64]) -> io::Result<()> {
    // SAFETY: the mask is as long as said and lives over the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_sched_setaffinity,
            0,
            size_of_val(cpus),
            cpus.as_ptr(),
        )
    };
    zero_or_errno(result)
}

/// Sets the caller's I/O priority, class and level in one number.
///
/// # Errors
/// When the caller may not have the class.
pub fn set_io_priority(priority: i32) -> io::Result<()> {
    const IOPRIO_WHO_PROCESS: libc::c_int = 1;
    // SAFETY: numbers only.
    let result = unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, priority) };
    zero_or_errno(result)
}

/// Sets the caller's NUMA memory policy for a mask of nodes.
///
/// # Errors
/// When the kernel has no such nodes or no NUMA.
pub fn set_memory_policy(mode: i32, nodes: &[u64]) -> io::Result<()> {
    let mask = match nodes.is_empty() {
        true => std::ptr::null(),
        false => nodes.as_ptr(),
    };
    // The kernel takes one bit less than it is told of.
    let bits = nodes.len() * u64::BITS as usize + usize::from(!nodes.is_empty());
    // SAFETY: the mask is as long as said, or absent, and lives over the call.
    let result = unsafe { libc::syscall(libc::SYS_set_mempolicy, mode, mask, bits) };
    zero_or_errno(result)
}
