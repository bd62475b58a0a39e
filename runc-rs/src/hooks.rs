//! Runs a hook: it gets the container's state on its standard input.

use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use oci_spec::runtime::{Hook, Hooks};
use rustix::fs::{MemfdFlags, memfd_create};

use crate::log::Logger;
use crate::oci_state::OciState;
use crate::state::{Record, Status};
use crate::sys;

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
    #[error("hook {0:?} has the timeout {1}, which is not greater than zero")]
    BadTimeout(PathBuf, i64),
    #[error("cannot keep descriptors from hooks")]
    Descriptors(#[source] io::Error),
}

/// Runs hooks of the runtime's side, in the bundle as runc does; none gets a
/// descriptor of the caller's.
///
/// # Errors
/// The first that fails; those after it are not run.
pub fn run_all<'a>(
    hooks: impl IntoIterator<Item = &'a Hook>,
    state: &[u8],
    bundle: &Path,
) -> Result<(), HookError> {
    let mut hooks = hooks.into_iter().peekable();
    if hooks.peek().is_some() {
        sys::close_on_exec_from(3).map_err(HookError::Descriptors)?;
    }
    hooks.try_for_each(|hook| run(hook, state, Some(bundle)))
}

/// Runs the poststop hooks of a container of which nothing is left. The
/// specification wants their failures logged only.
pub fn run_poststop(hooks: Option<&Hooks>, record: &Record, log: &Logger) {
    let hooks = hooks.and_then(|hooks| hooks.poststop().as_ref());
    let state = OciState::new(record.clone(), Status::Stopped).to_json();
    for hook in hooks.into_iter().flatten() {
        if let Err(error) = run_all([hook], &state, &record.bundle) {
            log.warn(&base::failure::chain(&error));
        }
    }
}

/// Runs one hook with `state` on its standard input, in `directory` if one is
/// given.
///
/// # Errors
/// When it cannot be run, fails, or takes longer than its limit; it is then
/// killed.
pub fn run(hook: &Hook, state: &[u8], directory: Option<&Path>) -> Result<(), HookError> {
    let failed = |error| HookError::Run(hook.path().clone(), error);
    let limit = match hook.timeout() {
        None => DEFAULT_LIMIT,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(1..) => Duration::from_secs(seconds.unsigned_abs()),
            _ => return Err(HookError::BadTimeout(hook.path().clone(), seconds)),
        },
    };
    let mut child = spawn(hook, state, directory).map_err(failed)?;
    let deadline = Instant::now() + limit;
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

fn spawn(hook: &Hook, state: &[u8], directory: Option<&Path>) -> io::Result<Child> {
    // A file and no pipe: a hook need not read it, and it may be large.
    let mut input = File::from(memfd_create("state", MemfdFlags::CLOEXEC)?);
    input.write_all(state)?;
    input.rewind()?;
    let mut command = Command::new(hook.path());
    if let Some((name, arguments)) = hook.args().as_ref().and_then(|all| all.split_first()) {
        command.arg0(name).args(arguments);
    }
    if let Some(variables) = hook.env() {
        let variables = variables.iter();
        let variables = variables.filter_map(|variable| variable.split_once('='));
        command.env_clear().envs(variables);
    }
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    command.stdin(input).stdout(Stdio::null()).spawn()
}
