//! The small init that `--init` puts in front of a container's process: the
//! same program, bind-mounted as `/sbin/docker-init`.
//!
//! As process 1 it starts the real one in a process group of its own, passes
//! every signal on to it, reaps whatever else ends, and exits as it did. It
//! reads no file, opens no descriptor and knows nothing of the engine.

use std::ffi::{CString, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::ExitCode;

use rustix::process::{Pid, WaitOptions, wait};

use crate::sys;

/// The program's name inside a container.
const NAME: &str = "docker-init";
/// What separates our options, of which there are none, from the command.
const SEPARATOR: &str = "--";
/// The exit codes of an init without a command, and of one without processes.
const USAGE: u8 = 2;
const CANNOT_START: u8 = 126;
/// The exit code of a process that a signal ended is this and its number.
const SIGNALLED: i32 = 128;

/// Returns the command to run if this process is to be an init: by its name, or
/// by the first argument `init`.
pub fn command(arguments: &[OsString]) -> Option<&[OsString]> {
    let (program, rest) = arguments.split_first()?;
    let command = if Path::new(program).file_name() == Some(NAME.as_ref()) {
        rest
    } else if rest.first().is_some_and(|word| word == "init") {
        &rest[1..]
    } else {
        return None;
    };
    match command.first() {
        Some(word) if word == SEPARATOR => Some(&command[1..]),
        _ => Some(command),
    }
}

/// Runs `command` as an init does and returns its exit code.
pub fn run(command: &[OsString]) -> ExitCode {
    let Some(words) = c_strings(command) else {
        eprintln!("usage: {NAME} -- COMMAND [ARGUMENT...]");
        return ExitCode::from(USAGE);
    };
    match serve(&words) {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            eprintln!("{NAME}: cannot start {:?}: {error}", words[0]);
            ExitCode::from(CANNOT_START)
        }
    }
}

fn c_strings(command: &[OsString]) -> Option<Vec<CString>> {
    let words = command.iter().map(|word| CString::new(word.as_bytes()));
    let words: Vec<CString> = words.collect::<Result<_, _>>().ok()?;
    Some(words).filter(|words| !words.is_empty())
}

/// Starts the command, passes signals on, and reaps until it has ended.
fn serve(words: &[CString]) -> io::Result<u8> {
    // Process 1 is given orphans anyway; with the host's processes it is not 1.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let signals = sys::Signals::block()?;
    let child = sys::spawn_in_foreground(words)?;
    loop {
        match signals.wait() {
            libc::SIGCHLD => {
                if let Some(code) = reap(child) {
                    return Ok(code);
                }
            }
            // It may have ended a moment ago; SIGCHLD will tell.
            signal => sys::kill(child, signal).unwrap_or_default(),
        }
    }
}

/// Reaps everything that has ended; returns the child's exit code if it has.
fn reap(child: Pid) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = wait(WaitOptions::NOHANG) {
        if pid == child {
            let signalled = status.terminating_signal();
            code = status.exit_status().or(signalled.map(|it| SIGNALLED + it));
        }
    }
    code.map(|code| code as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(arguments: &[&str], expected: Option<&[&str]>) {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let expected =
            expected.map(|words| words.iter().map(OsString::from).collect::<Vec<OsString>>());
        assert_eq!(command(&arguments).map(<[OsString]>::to_vec), expected);
    }

    #[test]
    fn an_init_is_told_by_its_name_or_the_first_word() {
        check(&["/sbin/docker-init", "--", "a", "b"], Some(&["a", "b"]));
        check(&["docker-init", "a", "--"], Some(&["a", "--"]));
        check(&["/usr/bin/engine-shim", "init", "--", "a"], Some(&["a"]));
        check(&["engine-shim", "/run/engine/shim/x.1"], None);
        check(&["docker-init"], Some(&[]));
        check(&[], None);
    }
}
