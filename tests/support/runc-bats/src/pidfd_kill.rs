//! `pidfd-kill`: takes a container's pidfd and, once told by SIGTERM, sends the
//! signal of `--signal` to it.

use std::path::Path;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use rustix::process::pidfd_send_signal;

use crate::arguments::Arguments;
use crate::descriptor;

/// # Errors
/// When no pidfd comes, or the process cannot be signalled.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let path = Path::new(arguments.word(0)?);
    let signal: Signal = arguments.option("signal").unwrap_or("SIGKILL").parse()?;
    let signal =
        rustix::process::Signal::from_named_raw(signal as i32).context("no such signal")?;
    let mut told = SigSet::empty();
    told.add(Signal::SIGTERM);
    told.thread_block().context("block SIGTERM")?;
    let pid_file = arguments.write_pid_file()?;
    let listener = descriptor::listen(path)?;
    let (stream, _) = listener.accept().context("accept a connection")?;
    let (_, process) = descriptor::receive(&stream)?;
    told.wait().context("wait for SIGTERM")?;
    pidfd_send_signal(process, signal).context("signal the container")?;
    match pid_file {
        Some(path) => std::fs::remove_file(path).context("remove the pid file"),
        None => Ok(()),
    }
}
