//! `seccompagent`: answers the system calls that filters pass on to it. A
//! directory is made with the filter's metadata behind its name; a change of a
//! mode fails with ENOMEDIUM; everything else goes on.

use std::fs::{self, File};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, mkdirat, openat, openat2};
use rustix::io::Errno;
use serde_json::Value;

use crate::arguments::Arguments;
use crate::descriptor;
use crate::sys::{self, Answer, Notification};

const PATH_BYTES: usize = 4096;

/// # Errors
/// When the socket cannot be bound.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let path = Path::new(arguments.option("socketfile").context("no -socketfile")?);
    match fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).context("remove an earlier socket");
        }
        _ => {}
    }
    arguments.write_pid_file()?;
    let listener = descriptor::listen(path)?;
    loop {
        let (stream, _) = listener.accept().context("accept a connection")?;
        match descriptor::receive(&stream) {
            Ok((state, listener)) => {
                let suffix = suffix(&state);
                std::thread::spawn(move || answer_all(&listener, &suffix));
            }
            Err(error) => eprintln!("seccompagent: {error:#}"),
        }
    }
}

/// Returns the metadata as something that a file's name can end with.
fn suffix(state: &[u8]) -> String {
    let state: Value = serde_json::from_slice(state).unwrap_or_default();
    let metadata = Path::new(state["metadata"].as_str().unwrap_or_default());
    let name = metadata.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn answer_all(listener: &OwnedFd, suffix: &str) {
    loop {
        match sys::next(listener.as_fd()) {
            Ok(call) => answer(listener, &call, suffix),
            // The process that made the call is gone.
            Err(Errno::NOENT | Errno::INTR) => {}
            Err(error) => return eprintln!("seccompagent: {error}"),
        }
    }
}

fn answer(listener: &OwnedFd, call: &Notification, suffix: &str) {
    let answer = match i64::from(call.number()) {
        libc::SYS_mkdir => match make_directory(listener, call, suffix) {
            Ok(()) => Answer::Value(0),
            Err(error) => {
                eprintln!("seccompagent: mkdir: {error:#}");
                Answer::Error(Errno::NOSYS)
            }
        },
        libc::SYS_chmod | libc::SYS_fchmod | libc::SYS_fchmodat => Answer::Error(Errno::NOMEDIUM),
        _ => Answer::Continue,
    };
    // Whoever does not wait any longer needs no answer.
    if let Err(error) = sys::answer(listener.as_fd(), call, answer) {
        eprintln!("seccompagent: answer: {error}");
    }
}

fn make_directory(listener: &OwnedFd, call: &Notification, suffix: &str) -> Result<()> {
    let name = text_at(call)?;
    let root = format!("/proc/{}/root", call.pid());
    let begin = match name.is_absolute() {
        true => root.clone(),
        false => format!("/proc/{}/cwd", call.pid()),
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let begin = openat(CWD, begin, flags, Mode::empty()).context("open where it begins")?;
    // What was read is of the process that called only if the call still waits.
    sys::still_waits(listener.as_fd(), call)?;
    let mut last = name.file_name().context("it has no name")?.to_owned();
    last.push(format!("-{suffix}"));
    let above = name.parent().unwrap_or(Path::new(""));
    let above = match above.as_os_str().is_empty() {
        true => begin,
        false => openat2(begin, above, flags, Mode::empty(), ResolveFlags::IN_ROOT)?,
    };
    let mode = Mode::from_raw_mode(u32::try_from(call.arguments()[1])?);
    mkdirat(above, &last, mode).context("make it")
}

/// Returns the path that the call's first argument points to.
fn text_at(call: &Notification) -> Result<PathBuf> {
    let memory = File::open(format!("/proc/{}/mem", call.pid())).context("open its memory")?;
    let mut bytes = [0; PATH_BYTES];
    let count = memory.read_at(&mut bytes, call.arguments()[0])?;
    let end = bytes[..count].iter().position(|byte| *byte == 0);
    let text = std::str::from_utf8(&bytes[..end.context("it has no end")?])?;
    Ok(text.into())
}
