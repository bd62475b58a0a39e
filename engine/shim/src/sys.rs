//! The few calls that rustix has no safe wrapper for.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd};
use std::ptr;

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

/// What shells say of a command that cannot be executed, and of one not found.
const NOT_EXECUTABLE: i32 = 126;
const NOT_FOUND: i32 = 127;

/// Closes every descriptor but the standard three. To be called first in `main`.
pub fn close_inherited() {
    // SAFETY: nothing in this process owns a descriptor above 2 yet. The result
    // does not matter: on a kernel without the call, all stay close-on-exec or harmless.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3_u32, u32::MAX, 0_u32);
    }
}

/// Blocks all signals but the fatal ones and returns a descriptor that becomes
/// readable when a child ends. [`spawn`] gives children an empty mask.
///
/// # Errors
/// When the kernel has no signalfd or descriptors ran out.
pub(crate) fn watch_children() -> io::Result<OwnedFd> {
    Signals::block()?;
    let mut child = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised by sigemptyset before use, the pointers are
    // valid for the calls, and signalfd returns a new descriptor.
    unsafe {
        libc::sigemptyset(child.as_mut_ptr());
        libc::sigaddset(child.as_mut_ptr(), libc::SIGCHLD);
        match libc::signalfd(-1, child.as_ptr(), libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            descriptor => Ok(OwnedFd::from_raw_fd(descriptor)),
        }
    }
}

/// All signals but the fatal ones, blocked.
pub(crate) struct Signals(libc::sigset_t);

impl Signals {
    /// Blocks them.
    ///
    /// # Errors
    /// Never in practice.
    pub(crate) fn block() -> io::Result<Self> {
        let mut blocked = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: the set is initialised by sigfillset before use and the pointers
        // are valid for the calls.
        unsafe {
            libc::sigfillset(blocked.as_mut_ptr());
            for signal in FATAL {
                libc::sigdelset(blocked.as_mut_ptr(), signal);
            }
            match libc::sigprocmask(libc::SIG_SETMASK, blocked.as_ptr(), ptr::null_mut()) {
                0 => Ok(Self(blocked.assume_init())),
                _ => Err(io::Error::last_os_error()),
            }
        }
    }

    /// Waits for one of them and returns its number.
    pub(crate) fn wait(&self) -> i32 {
        loop {
            // SAFETY: the set is initialised; no further information is asked for.
            let signal = unsafe { libc::sigwaitinfo(&raw const self.0, ptr::null_mut()) };
            // The call is cut short when the process is stopped and continued.
            if signal > 0 {
                return signal;
            }
        }
    }
}

/// Starts a command as an init does: in a process group of its own, which the
/// terminal, if there is one, belongs to; searched for in PATH; with no signal
/// blocked. One that cannot be executed has told so and exits as shells say.
///
/// # Errors
/// When there can be no further process.
pub(crate) fn spawn_in_foreground(words: &[CString]) -> io::Result<Pid> {
    let arguments = pointers(words);
    // SAFETY: this process has one thread, so that the child may do anything.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let error = execute_in_foreground(&arguments);
            eprintln!("cannot execute {:?}: {error}", words[0]);
            let is_absent = error.kind() == io::ErrorKind::NotFound;
            std::process::exit(if is_absent { NOT_FOUND } else { NOT_EXECUTABLE })
        }
        child => Ok(Pid::from_raw(child).expect("a child has a pid")),
    }
}

/// Returns only when that failed. SIGTTOU is blocked: it would stop whoever
/// gives a terminal away.
fn execute_in_foreground(arguments: &[*mut libc::c_char]) -> io::Error {
    let mut none = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: the set is initialised before use; the list ends with a null pointer
    // and its strings live. Without a terminal there is nothing to give away. The
    // standard library has set SIGPIPE to be ignored, which would be inherited.
    unsafe {
        libc::setpgid(0, 0);
        libc::tcsetpgrp(libc::STDIN_FILENO, libc::getpid());
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::sigemptyset(none.as_mut_ptr());
        libc::sigprocmask(libc::SIG_SETMASK, none.as_ptr(), ptr::null_mut());
        libc::execvp(arguments[0], arguments.as_ptr().cast());
    }
    io::Error::last_os_error()
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

/// Starts `program` with `arguments` (the first is its name) and the three
/// standard streams, no signal blocked and none ignored. Children of std's
/// `Command` would inherit our mask.
///
/// # Errors
/// When it cannot be executed.
pub(crate) fn spawn(
    program: &CString,
    arguments: &[CString],
    environment: &[CString],
    streams: [BorrowedFd<'_>; 3],
) -> io::Result<Pid> {
    let attributes = Attributes::new()?;
    let actions = Actions::new(streams)?;
    let (arguments, environment) = (pointers(arguments), pointers(environment));
    let mut pid = 0;
    // SAFETY: both lists end with a null pointer and live, as do the strings,
    // until the call returns; the child runs nothing of ours before it executes.
    let result = unsafe {
        libc::posix_spawn(
            &raw mut pid,
            program.as_ptr(),
            &raw const actions.0,
            &raw const attributes.0,
            arguments.as_ptr(),
            environment.as_ptr(),
        )
    };
    checked(result)?;
    Ok(Pid::from_raw(pid).expect("a child has a pid"))
}

/// A moment as the host's clocks show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LocalTime {
    pub(crate) year: i32,
    /// 1 to 12.
    pub(crate) month: i32,
    pub(crate) day: i32,
    pub(crate) hour: i32,
    pub(crate) minute: i32,
    pub(crate) second: i32,
    /// East of Greenwich.
    pub(crate) offset_seconds: i64,
}

/// Returns a moment, in seconds since 1970 began, in the host's time zone.
pub(crate) fn local_time(seconds: i64) -> LocalTime {
    let mut local = MaybeUninit::<libc::tm>::zeroed();
    // SAFETY: both pointers are valid for the call; all zeros are a valid tm,
    // which a call that fails leaves.
    let local = unsafe {
        libc::localtime_r(&raw const seconds, local.as_mut_ptr());
        local.assume_init()
    };
    LocalTime {
        year: local.tm_year + 1900,
        month: local.tm_mon + 1,
        day: local.tm_mday,
        hour: local.tm_hour,
        minute: local.tm_min,
        second: local.tm_sec,
        offset_seconds: local.tm_gmtoff,
    }
}

fn pointers(strings: &[CString]) -> Vec<*mut libc::c_char> {
    let strings = strings.iter().map(|string| string.as_ptr().cast_mut());
    strings.chain([ptr::null_mut()]).collect()
}

fn checked(result: libc::c_int) -> io::Result<()> {
    match result {
        0 => Ok(()),
        errno => Err(io::Error::from_raw_os_error(errno)),
    }
}

/// What posix_spawn resets in the child.
struct Attributes(libc::posix_spawnattr_t);

impl Attributes {
    fn new() -> io::Result<Self> {
        let mut attributes = MaybeUninit::uninit();
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut none = MaybeUninit::<libc::sigset_t>::uninit();
        let flags = libc::POSIX_SPAWN_SETSIGMASK | libc::POSIX_SPAWN_SETSIGDEF;
        // SAFETY: the object and the sets are initialised before they are used;
        // the pointers are valid for each call.
        unsafe {
            checked(libc::posix_spawnattr_init(attributes.as_mut_ptr()))?;
            let mut attributes = Self(attributes.assume_init());
            libc::sigfillset(all.as_mut_ptr());
            libc::sigemptyset(none.as_mut_ptr());
            let object = &raw mut attributes.0;
            checked(libc::posix_spawnattr_setflags(
                object,
                flags as libc::c_short,
            ))?;
            checked(libc::posix_spawnattr_setsigmask(object, none.as_ptr()))?;
            checked(libc::posix_spawnattr_setsigdefault(object, all.as_ptr()))?;
            Ok(attributes)
        }
    }
}

impl Drop for Attributes {
    fn drop(&mut self) {
        // SAFETY: it was initialised and is used no more.
        unsafe {
            libc::posix_spawnattr_destroy(&raw mut self.0);
        }
    }
}

/// The descriptors posix_spawn gives to the child.
struct Actions(libc::posix_spawn_file_actions_t);

impl Actions {
    fn new(streams: [BorrowedFd<'_>; 3]) -> io::Result<Self> {
        let mut actions = MaybeUninit::uninit();
        // SAFETY: the object is initialised before it is used, and the
        // descriptors are open until the child has been made.
        unsafe {
            checked(libc::posix_spawn_file_actions_init(actions.as_mut_ptr()))?;
            let mut actions = Self(actions.assume_init());
            for (number, stream) in (0..).zip(streams) {
                let object = &raw mut actions.0;
                let from = stream.as_raw_fd();
                checked(libc::posix_spawn_file_actions_adddup2(object, from, number))?;
            }
            Ok(actions)
        }
    }
}

impl Drop for Actions {
    fn drop(&mut self) {
        // SAFETY: it was initialised and is used no more.
        unsafe {
            libc::posix_spawn_file_actions_destroy(&raw mut self.0);
        }
    }
}
