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
    #[error("hook {0:?} failed with {end}", end = describe(*.1))]
    Failed(PathBuf, ExitStatus),
    #[error("error running {} hook #{index}", point.word())]
    Running {
        point: HookPoint,
        /// From zero, among those of its kind.
        index: usize,
        source: Box<HookError>,
    },
    #[error("hook {0:?} did not end in time")]
    Timeout(PathBuf),
    #[error("hook {0:?} has the timeout {1}, which is not greater than zero")]
    BadTimeout(PathBuf, i64),
}

/// When a hook runs, as the specification calls it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HookPoint {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl HookPoint {
    /// Returns the property of the specification that has these hooks.
    pub fn word(self) -> &'static str {
        match self {
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::CreateContainer => "createContainer",
            Self::StartContainer => "startContainer",
            Self::Poststart => "poststart",
            Self::Poststop => "poststop",
        }
    }
}

/// Where hooks run, and what one without variables of its own has; this
/// process's directory and variables by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct HookPlace<'a> {
    pub directory: Option<&'a Path>,
    pub variables: Option<&'a [String]>,
}

/// Runs hooks of the runtime's side, in the bundle as runc does.
///
/// # Errors
/// The first that fails; those after it are not run.
pub fn run_all(
    hooks: Option<&[Hook]>,
    point: HookPoint,
    state: &[u8],
    bundle: &Path,
) -> Result<(), HookError> {
    let place = HookPlace {
        directory: Some(bundle),
        variables: None,
    };
    run_each(hooks.unwrap_or_default(), point, state, place)
}

/// Runs hooks one after another, each with `state` on its standard input and no
/// descriptor of the caller's but standard error.
///
/// # Errors
/// The first that fails; those after it are not run.
pub fn run_each(
    hooks: &[Hook],
    point: HookPoint,
    state: &[u8],
    place: HookPlace<'_>,
) -> Result<(), HookError> {
    for (index, hook) in hooks.iter().enumerate() {
        run(hook, state, place).map_err(|error| HookError::Running {
            point,
            index,
            source: Box::new(error),
        })?;
    }
    Ok(())
}

/// Runs the poststop hooks of a container of which nothing is left. The
/// specification wants their failures logged only.
pub fn run_poststop(hooks: Option<&Hooks>, record: &Record, log: &Logger) {
    let hooks = hooks.and_then(|hooks| hooks.poststop().as_deref());
    let state = OciState::new(record.clone(), Status::Stopped).to_json();
    for hook in hooks.unwrap_or_default() {
        let one = Some(std::slice::from_ref(hook));
        if let Err(error) = run_all(one, HookPoint::Poststop, &state, &record.bundle) {
            log.warn(&base::failure::chain(&error));
        }
    }
}

/// Runs one hook; one that takes longer than its limit is killed.
fn run(hook: &Hook, state: &[u8], place: HookPlace<'_>) -> Result<(), HookError> {
    let failed = |error| HookError::Run(hook.path().clone(), error);
    let limit = match hook.timeout() {
        None => DEFAULT_LIMIT,
        Some(seconds) => match u64::try_from(seconds) {
            Ok(1..) => Duration::from_secs(seconds.unsigned_abs()),
            _ => return Err(HookError::BadTimeout(hook.path().clone(), seconds)),
        },
    };
    let mut child = spawn(hook, state, place).map_err(failed)?;
    // None where the clock ends before.
    let deadline = Instant::now().checked_add(limit);
    loop {
        match child.try_wait().map_err(failed)? {
            Some(status) if status.success() => return Ok(()),
            Some(status) => return Err(HookError::Failed(hook.path().clone(), status)),
            None if deadline.is_some_and(|end| Instant::now() > end) => break,
            None => std::thread::sleep(POLL_INTERVAL),
        }
    }
    child.kill().and_then(|()| child.wait()).map_err(failed)?;
    Err(HookError::Timeout(hook.path().clone()))
}

fn spawn(hook: &Hook, state: &[u8], place: HookPlace<'_>) -> io::Result<Child> {
    // A file and no pipe: a hook need not read it, and it may be large.
    let mut input = File::from(memfd_create("state", MemfdFlags::CLOEXEC)?);
    input.write_all(state)?;
    input.rewind()?;
    let mut command = Command::new(hook.path());
    if let Some((name, arguments)) = hook.args().as_ref().and_then(|all| all.split_first()) {
        command.arg0(name).args(arguments);
    }
    if let Some(variables) = hook.env().as_deref().or(place.variables) {
        let variables = variables.iter();
        let variables = variables.filter_map(|variable| variable.split_once('='));
        command.env_clear().envs(variables);
    }
    if let Some(directory) = place.directory {
        command.current_dir(directory);
    }
    sys::keep_descriptors(&mut command);
    command.stdin(input).stdout(Stdio::null()).spawn()
}

/// Says how a hook ended, a signal in the C library's words.
fn describe(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match status.signal() {
        Some(signal) => format!("signal: {}", sys::describe_signal(signal).to_lowercase()),
        None => status.to_string(),
    }
}
