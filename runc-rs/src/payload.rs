//! The last step of a process that enters a container: find its program and
//! become it.
//!
//! It runs inside the container's root with the final user, capabilities and
//! filter, so the program is looked up the way the container's own shell
//! would, and nothing of the image is read otherwise.

use std::ffi::CString;
use std::path::{Path, PathBuf};

use nix::sys::signal::{SigSet, SigmaskHow, sigprocmask};
use oci_spec::runtime::Process;

use crate::sys;

/// Where programs are looked for when the container's environment has no PATH.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Says why a program cannot be executed, in runc's words: engines derive exit
/// codes from them.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    #[error("exec: {0:?}: executable file not found in $PATH")]
    NotFoundInPath(String),
    #[error("exec: {0:?}: stat {0}: no such file or directory")]
    NoSuchFile(String),
    #[error("exec: {0:?}: permission denied")]
    PermissionDenied(String),
    #[error("exec: {0:?}: is a directory: permission denied")]
    IsADirectory(String),
    #[error("process.args is empty")]
    NoArguments,
    #[error("argument or variable with a NUL byte")]
    Nul(#[from] std::ffi::NulError),
    #[error("cannot reset signals")]
    Signals(#[source] std::io::Error),
    #[error("exec {}: {}", .0.display(), sys::reason(*.1 as i32))]
    Execute(PathBuf, nix::errno::Errno),
}

/// Finds the program of `process` without executing anything.
///
/// # Errors
/// When it is not there or may not be executed by this process.
pub fn find_program(process: &Process) -> Result<PathBuf, PayloadError> {
    let arguments = process.args().as_deref().unwrap_or_default();
    let name = arguments.first().ok_or(PayloadError::NoArguments)?;
    if name.contains('/') {
        return executable(Path::new(name), name);
    }
    let mut denied = None;
    for directory in search_path(process).split(':') {
        // An empty element means the working directory, as in a shell.
        let directory = if directory.is_empty() { "." } else { directory };
        match executable(&Path::new(directory).join(name), name) {
            Ok(path) => return Ok(path),
            Err(PayloadError::PermissionDenied(name)) => {
                denied = Some(PayloadError::PermissionDenied(name));
            }
            Err(_) => {}
        }
    }
    Err(denied.unwrap_or_else(|| PayloadError::NotFoundInPath(name.clone())))
}

/// Becomes the program of `process`, with `extra` added to its environment.
/// Returns only when that failed.
pub fn execute(process: &Process, extra: &[String]) -> PayloadError {
    match try_execute(process, extra) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_execute(
    process: &Process,
    extra: &[String],
) -> Result<std::convert::Infallible, PayloadError> {
    let program = find_program(process)?;
    let path = CString::new(program.as_os_str().as_encoded_bytes())?;
    let arguments = c_strings(process.args().iter().flatten())?;
    let environment = c_strings(process.env().iter().flatten().chain(extra))?;
    // The runtime blocks signals to wait for them, and Rust ignores SIGPIPE;
    // both would be inherited.
    sys::reset_signals();
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
        .map_err(|error| PayloadError::Signals(error.into()))?;
    nix::unistd::execve(&path, &arguments, &environment)
        .map_err(|error| PayloadError::Execute(program, error))
}

/// Returns the variables of systemd's socket activation for a process that
/// gets so many sockets.
pub fn socket_activation(sockets: u32) -> Vec<String> {
    match sockets {
        0 => Vec::new(),
        count => vec![format!("LISTEN_FDS={count}"), "LISTEN_PID=1".to_owned()],
    }
}

/// Returns how many sockets systemd's activation gave to this process: none
/// where they are meant for another one, as sd_listen_fds(3) says, or are not
/// there.
pub fn activation_sockets() -> u32 {
    let number = |name: &str| std::env::var(name).ok()?.parse::<u32>().ok();
    let is_ours = number("LISTEN_PID") == Some(std::process::id());
    let count = number("LISTEN_FDS").filter(|_| is_ours).unwrap_or(0);
    let open = (3..).take_while(|descriptor| sys::is_open(*descriptor));
    u32::try_from(open.take(count as usize).count()).unwrap_or(0)
}

/// Gives the terminal on standard input the size `process` wants.
pub fn set_console_size(process: &Process) {
    let Some(size) = process
        .console_size()
        .filter(|_| process.terminal() == Some(true))
    else {
        return;
    };
    let cells = |count: u64| u16::try_from(count).unwrap_or(u16::MAX);
    let size = rustix::termios::Winsize {
        ws_row: cells(size.height()),
        ws_col: cells(size.width()),
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // A wrong size is no reason not to run.
    rustix::termios::tcsetwinsize(rustix::stdio::stdin(), size).ok();
}

fn search_path(process: &Process) -> &str {
    let mut variables = process.env().iter().flatten();
    variables
        .find_map(|variable| variable.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH)
}

fn executable(path: &Path, name: &str) -> Result<PathBuf, PayloadError> {
    let name = || name.to_owned();
    match path.metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {
            return Err(PayloadError::PermissionDenied(name()));
        }
        Err(_) => return Err(PayloadError::NoSuchFile(name())),
        Ok(meta) if meta.is_dir() => return Err(PayloadError::IsADirectory(name())),
        Ok(_) => {}
    }
    let c_path = CString::new(path.as_os_str().as_encoded_bytes())?;
    match sys::may_execute(&c_path) {
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => {
            Err(PayloadError::PermissionDenied(name()))
        }
        // A kernel or a filter may not have the call; the execution will tell.
        _ => Ok(path.to_owned()),
    }
}

fn c_strings<'a>(texts: impl Iterator<Item = &'a String>) -> Result<Vec<CString>, PayloadError> {
    let texts = texts.map(|text| CString::new(text.as_bytes()));
    Ok(texts.collect::<Result<_, _>>()?)
}
