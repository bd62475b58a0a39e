//! Runs a hook: it gets the container's state on its standard input.

use std::io::{self, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::Hook;

/// A hook without a timeout of its own is given this long.
const DEFAULT_LIMIT: Duration = Duration::from_secs(300);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Says how a hook failed.
#[derive(Debug, thiserror::Error)]
pub enum HookError {
    #[error("cannot run hook {0:?}")]
    Run(PathBuf, #[source] io::Error),
    #[error("hook {0:?} failed with {1}")]
    Failed(PathBuf, ExitStatus),
    #[error("hook {0:?} did not end in time")]
    Timeout(PathBuf),
}

/// Runs one hook with `state` on its standard input.
///
/// # Errors
/// When it cannot be run, fails, or takes longer than its limit; it is then
/// killed.
pub fn run(hook: &Hook, state: &[u8]) -> Result<(), HookError> {
    let failed = |error| HookError::Run(hook.path().clone(), error);
    let mut child = spawn(hook).map_err(failed)?;
    if let Some(mut input) = child.stdin.take() {
        // A hook need not read its input.
        if let Err(error) = input.write_all(state)
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            child.kill().map_err(failed)?;
            return Err(failed(error));
        }
    }
    let limit = hook
        .timeout()
        .and_then(|seconds| u64::try_from(seconds).ok());
    let deadline = Instant::now() + limit.map_or(DEFAULT_LIMIT, Duration::from_secs);
    loop {
        match child.try_wait().map_err(failed)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(HookError::Failed(hook.path().clone(), status)),
            None if Instant::now() > deadline => break,
            None => std::thread::sleep(POLL_INTERVAL),
        }
    }
    child.kill().and_then(|()| child.wait()).map_err(failed)?;
    Err(HookError::Timeout(hook.path().clone()))
}

fn spawn(hook: &Hook) -> io::Result<Child> {
    let mut command = Command::new(hook.path());
    if let Some((name, arguments)) = hook.args().as_ref().and_then(|all| all.split_first()) {
        command.arg0(name).args(arguments);
    }
    let variables = hook.env().iter().flatten();
    let variables = variables.filter_map(|variable| variable.split_once('='));
    command
        .env_clear()
        .envs(variables)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
}
