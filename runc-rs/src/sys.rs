//! The system calls that neither `rustix` nor `nix` wraps safely, each behind
//! a safe function of a few lines. The only module with `unsafe`.
#![expect(
    unsafe_code,
    reason = "raw system calls without a safe wrapper elsewhere"
)]

pub mod bpf;
pub mod mounts;
pub mod process;
pub mod seccomp;

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd, RawFd};
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use rustix::process::Pid;

unsafe extern "C" {
    /// environ(7)
    static environ: *const *mut libc::c_char;
}

/// Which side of a fork the caller is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fork {
    /// The new process.
    Child,
    /// The old one, with the pid of the new.
    Parent(Pid),
}

/// Forks. The process must have a single thread, which all of `runc-rs` has
/// wherever it forks.
///
/// # Errors
/// When the kernel refuses another process.
pub fn fork() -> io::Result<Fork> {
    // SAFETY: the process has one thread, so the child may use everything.
    forked(i64::from(unsafe { libc::fork() }))
}

/// Empties the environment that this process was called with, where others would
/// find it: `/proc/PID/environ`.
pub fn forget_environment() {
    // SAFETY: `runc-rs` has one thread and sets no variable, so that the texts of the
    // list are the kernel's: each ends with a zero, and a null comes after the last.
    // Nobody else keeps a reference into them.
    unsafe {
        let mut text = environ;
        while !text.is_null() && !(*text).is_null() {
            std::ptr::write_bytes(*text, 0, CStr::from_ptr(*text).count_bytes());
            text = text.add(1);
        }
    }
}

/// Says what an error of the kernel is, in the words of the C library and, as Go
/// does, in lower case.
pub fn reason(number: i32) -> String {
    let text = io::Error::from_raw_os_error(number).to_string();
    let words = text.split(" (os error ").next();
    words.unwrap_or_default().to_lowercase()
}

/// Takes a variable out of the environment that this process was called with, and
/// hence of what it executes.
pub fn remove_variable(name: &CStr) {
    // SAFETY: `runc-rs` has one thread and sets no variable, so that the text is the
    // kernel's, `name`, `=` and the value, and nobody reads it or the list meanwhile.
    unsafe {
        let value = libc::getenv(name.as_ptr());
        if !value.is_null() {
            let before = name.count_bytes() + 1;
            let length = before + CStr::from_ptr(value).count_bytes();
            libc::unsetenv(name.as_ptr());
            std::ptr::write_bytes(value.sub(before), 0, length);
        }
    }
}

/// Forks a sibling: the new process's parent is the caller's parent, which is
/// then the one that waits for it.
///
/// # Errors
/// When the kernel refuses another process.
pub fn fork_sibling() -> io::Result<Fork> {
    // SAFETY: without CLONE_VM and with no stack given, this is a plain fork
    // on a copy of the memory; the process has one thread. The exit signal is
    // taken from the caller by the kernel.
    forked(unsafe { libc::syscall(libc::SYS_clone, libc::CLONE_PARENT, 0, 0, 0, 0) })
}

fn forked(result: i64) -> io::Result<Fork> {
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    let pid = i32::try_from(result).ok().and_then(Pid::from_raw);
    Ok(pid.map_or(Fork::Child, Fork::Parent))
}

/// Ends the process at once, without running destructors or exit handlers:
/// how a forked child ends that failed before it executed anything.
pub fn exit_now(status: i32) -> ! {
    // SAFETY: _exit has no preconditions.
    unsafe { libc::_exit(status) }
}

/// Makes the whole detached mount tree `mount` read-only.
///
/// # Errors
/// When the kernel is older than 5.12 or the caller lacks CAP_SYS_ADMIN.
pub fn set_mount_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    let attributes = libc::mount_attr {
        attr_set: libc::MOUNT_ATTR_RDONLY,
        attr_clr: 0,
        propagation: 0,
        userns_fd: 0,
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
    zero_or_errno(result)
}

/// Joins a new session keyring called `name`, so that the caller's keys are
/// out of reach.
///
/// # Errors
/// `ENOSYS` where the kernel has no keyrings; when the quota is used up.
pub fn join_session_keyring(name: &CStr) -> io::Result<()> {
    const KEYCTL_JOIN_SESSION_KEYRING: libc::c_int = 1;
    // SAFETY: the name is NUL-terminated and lives over the call.
    let result =
        unsafe { libc::syscall(libc::SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, name.as_ptr()) };
    zero_or_errno(result.min(0))
}

/// Closes every descriptor from `first` on but `kept`. Whoever has one of them
/// as a value must not use or drop it afterwards.
///
/// # Errors
/// When the kernel is older than 5.9.
pub fn close_all_but(first: u32, kept: &[RawFd]) -> io::Result<()> {
    let mut kept: Vec<u32> = kept
        .iter()
        .filter_map(|fd| u32::try_from(*fd).ok())
        .collect();
    kept.sort_unstable();
    let mut from = first;
    for descriptor in kept.into_iter().filter(|descriptor| *descriptor >= first) {
        if descriptor > from {
            close_range(from, descriptor - 1)?;
        }
        from = descriptor.saturating_add(1);
    }
    close_range(from, u32::MAX)
}

fn close_range(first: u32, last: u32) -> io::Result<()> {
    // SAFETY: the caller says that nobody uses these descriptors any more.
    zero_or_errno(unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) })
}

/// Marks every descriptor from `first` on as close-on-exec.
///
/// # Errors
/// When the kernel is older than 5.11.
pub fn close_on_exec_from(first: u32) -> io::Result<()> {
    // SAFETY: only a flag of descriptors changes, none is closed.
    let result = unsafe {
        libc::syscall(
            libc::SYS_close_range,
            first,
            u32::MAX,
            libc::CLOSE_RANGE_CLOEXEC,
        )
    };
    zero_or_errno(result)
}

/// Keeps all descriptors but the standard ones from the program of `command`; with
/// this process they stay as they are.
pub fn keep_descriptors(command: &mut Command) {
    // SAFETY: what runs in the new process is one system call.
    unsafe { command.pre_exec(|| close_on_exec_from(3)) };
}

/// Lets the signals that ask a process to end do so: the kernel keeps those
/// without a handler from the first process of a pid namespace.
pub fn end_on_signals() {
    extern "C" fn end(signal: libc::c_int) {
        exit_now(128 + signal);
    }
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT, libc::SIGTERM] {
        // SAFETY: the handler only ends the process, which is safe at any time.
        unsafe { libc::signal(signal, end as *const () as libc::sighandler_t) };
    }
}

/// Gives every signal its default action again: ignored ones would stay
/// ignored in a program executed later. Only for a process about to do so.
pub fn reset_signals() {
    const LAST_SIGNAL: libc::c_int = 64;
    const MASK_BYTES: usize = 8;
    // The kernel's structure: no handler, no flags, no restorer, empty mask.
    let default = [0_u64; 4];
    for signal in 1..=LAST_SIGNAL {
        // SAFETY: the structure is as large as the kernel's and lives over the
        // call; no handler is installed. The C library's wrapper would leave
        // out its two reserved signals. KILL and STOP are refused, rightly.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                default.as_ptr(),
                std::ptr::null_mut::<u64>(),
                MASK_BYTES,
            )
        };
    }
}

/// Sets the execution domain of this process (`personality(2)`).
///
/// # Errors
/// When the kernel does not know it.
pub fn set_personality(persona: u64) -> io::Result<()> {
    // SAFETY: changes flags of this process only.
    let result = unsafe { libc::personality(persona as libc::c_ulong) };
    zero_or_errno(i64::from(result.min(0)))
}

/// Sets the interface `lo` of the caller's network namespace up.
///
/// # Errors
/// When the caller lacks CAP_NET_ADMIN over the namespace.
pub fn set_loopback_up() -> io::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(b"lo") {
        *to = *from as libc::c_char;
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: the request is an ifreq as the call expects and lives over it.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) };
    zero_or_errno(i64::from(result))
}

/// Returns whether a descriptor number, named by the caller, is open.
pub fn is_open(descriptor: RawFd) -> bool {
    // SAFETY: F_GETFD reads a flag and is harmless on a closed number.
    unsafe { libc::fcntl(descriptor, libc::F_GETFD) != -1 }
}

/// Returns what the C library calls a signal, "Killed" say.
pub fn describe_signal(number: i32) -> String {
    // SAFETY: the text is valid until the next call by the same thread, and
    // copied before that.
    let text = unsafe { CStr::from_ptr(libc::strsignal(number)) };
    text.to_string_lossy().into_owned()
}

/// Returns whether this process may execute `path` by what it has now: its
/// effective ids and capabilities, which access(2) does not go by.
///
/// # Errors
/// `EACCES` when it may not; `ENOSYS` on kernels before 5.8.
pub fn may_execute(path: &CStr) -> io::Result<()> {
    // SAFETY: the path is a C string that lives over the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_faccessat2,
            libc::AT_FDCWD,
            path.as_ptr(),
            libc::X_OK,
            libc::AT_EACCESS,
        )
    };
    zero_or_errno(result)
}

/// Returns a descriptor that the caller of this program named by its number and
/// that is open ([`is_open`]); it is his for as long as this program runs.
pub fn caller_descriptor(number: RawFd) -> BorrowedFd<'static> {
    // SAFETY: nothing here closes a descriptor that was not opened here.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Returns the signal with `number`, real-time ones included.
pub fn signal_from_number(number: i32) -> rustix::process::Signal {
    // SAFETY: the number is only handed back to the kernel, which checks it;
    // no handler is installed for a signal the C library reserves.
    unsafe { rustix::process::Signal::from_raw_unchecked(number) }
}

fn zero_or_errno(result: i64) -> io::Result<()> {
    if result == 0 {
        return Ok(());
    }
    Err(io::Error::last_os_error())
}
