//! The daemon as the command line sees it: what it is told, how it is started
//! when nobody answers, how it is stopped.

mod descriptors;
mod start;
mod stop;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use base::instance::InstanceName;

pub use crate::cmd::daemon::FaultSteps;

use crate::cmd::daemon::DaemonArguments;
use crate::error::eprint_line;

pub(crate) use start::{StartError, is_gone, start};
pub(crate) use stop::{StopError, stop};

/// What a daemon exits with that found the lock held: `EX_TEMPFAIL` of sysexits.
const HELD_EXIT_CODE: u8 = 75;

/// Another daemon has the installation, or had it until a moment ago.
#[derive(Debug, thiserror::Error)]
#[error("another daemon runs on {root:?}: it holds {lock:?}")]
pub struct Held {
    pub root: PathBuf,
    pub lock: PathBuf,
}

/// What `engine daemon` was told on the command line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DaemonOptions {
    /// What survives a reboot.
    pub root: PathBuf,
    /// What does not.
    pub run: PathBuf,
    /// The installation's name, where one was given.
    pub instance: Option<InstanceName>,
    /// The configuration file, where one was given.
    pub config: Option<PathBuf>,
    /// The socket to serve, where another than `<run>/engine.sock` was given.
    pub host: Option<PathBuf>,
    /// `error`, `warn`, `info`, `debug` or `trace`.
    pub log_level: String,
    /// `text` or `json`.
    pub log_format: String,
    /// Where daemons kill themselves, for tests.
    pub faults: FaultSteps,
}

impl DaemonOptions {
    /// Returns the command line, without the program, that gives these options.
    pub(crate) fn to_arguments(&self) -> Vec<OsString> {
        let mut words: Vec<OsString> = vec!["--root".into(), self.root.clone().into()];
        words.extend(["--run-dir".into(), self.run.clone().into()]);
        if let Some(instance) = &self.instance {
            words.extend(["--instance".into(), instance.as_str().into()]);
        }
        if let Some(config) = &self.config {
            words.extend(["--config".into(), config.clone().into()]);
        }
        if let Some(host) = &self.host {
            let mut url = OsString::from("unix://");
            url.push(host);
            words.extend(["--host".into(), url]);
        }
        words.extend(["--log-level".into(), self.log_level.clone().into()]);
        words.extend(["--log-format".into(), self.log_format.clone().into()]);
        words
    }
}

/// Hands over to the daemon.
pub(crate) fn run_hook(
    arguments: &DaemonArguments,
    mut options: DaemonOptions,
    hook: impl FnOnce(DaemonOptions) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    if arguments.own_session
        && let Err(error) = rustix::process::setsid()
    {
        eprint_line(&format!("engine: cannot begin a session: {error}"));
        return ExitCode::FAILURE;
    }
    options.faults = arguments.faults.clone();
    hook(options).unwrap_or_else(|error| {
        eprint_line(&format!("engine: {error:#}"));
        match error.downcast_ref::<Held>() {
            Some(_) => ExitCode::from(HELD_EXIT_CODE),
            None => ExitCode::FAILURE,
        }
    })
}
