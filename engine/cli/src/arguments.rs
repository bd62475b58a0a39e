//! The words of the command line, and the exit codes of words that make no sense.
//!
//! Docker's codes hold: 125 for a bad option, 1 for a missing argument or an
//! unknown command.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use base::instance::{DEFAULT_ROOT, DEFAULT_RUN, InstanceName};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser};

use crate::cmd::Command;
use crate::daemon::{DaemonOptions, FaultSteps};
use crate::examples;
use crate::parse;
use crate::parse::host::Host;

/// The exit code of a command line with a bad option.
pub(crate) const BAD_OPTION: u8 = 125;

/// Runs containers.
#[derive(Debug, Parser)]
#[command(name = "engine", version, about = "Runs containers")]
#[command(subcommand_required = true, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, infer_subcommands = false)]
pub(crate) struct Arguments {
    #[command(flatten)]
    pub global: GlobalOptions,
    #[command(subcommand)]
    pub command: Command,
}

/// Which installation is meant.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct GlobalOptions {
    /// Where the daemon is, unix://PATH, tcp://HOST[:PORT] or ssh://[USER@]HOST [default: <run-dir>/engine.sock]
    #[arg(
        short = 'H',
        long,
        env = "ENGINE_HOST",
        global = true,
        hide_short_help = true
    )]
    #[arg(value_name = "URL", value_parser = parse::host::parse)]
    host: Option<Host>,
    /// The context to use, see `engine context` [default: the one in use]
    #[arg(long, global = true, hide_short_help = true, value_name = "NAME")]
    pub context: Option<String>,
    /// Where everything that survives a reboot is kept
    #[arg(long, env = "ENGINE_ROOT", global = true, hide_short_help = true)]
    #[arg(value_name = "DIR", default_value = DEFAULT_ROOT)]
    root: PathBuf,
    /// Where everything that does not is kept
    #[arg(long, env = "ENGINE_RUN", global = true, hide_short_help = true)]
    #[arg(value_name = "DIR", default_value = DEFAULT_RUN)]
    run_dir: PathBuf,
    /// The installation's name on this host
    #[arg(long, env = "ENGINE_INSTANCE", global = true, hide_short_help = true)]
    #[arg(value_name = "NAME")]
    instance: Option<InstanceName>,
    /// The daemon's configuration [default: /etc/engine/config.toml]
    #[arg(long, env = "ENGINE_CONFIG", global = true, hide_short_help = true)]
    #[arg(value_name = "FILE")]
    config: Option<PathBuf>,
    /// How much the daemon logs
    #[arg(long, global = true, hide_short_help = true, value_name = "LEVEL")]
    #[arg(default_value = "info", value_parser = ["error", "warn", "info", "debug", "trace"])]
    log_level: String,
    /// How the daemon's log is written
    #[arg(long, global = true, hide_short_help = true, value_name = "FORMAT")]
    #[arg(default_value = "text", value_parser = ["text", "json"])]
    log_format: String,
    #[command(flatten)]
    pub tls: TlsOptions,
}

/// How a daemon at a TCP port is trusted.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct TlsOptions {
    /// Use TLS and verify the daemon's certificate
    #[arg(long, global = true, hide_short_help = true)]
    pub tlsverify: bool,
    /// Authorities that sign daemons' certificates [default: ~/.docker/ca.pem]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub tlscacert: Option<PathBuf>,
    /// The client's own certificate [default: ~/.docker/cert.pem]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub tlscert: Option<PathBuf>,
    /// The key of the client's certificate [default: ~/.docker/key.pem]
    #[arg(long, global = true, hide_short_help = true, value_name = "FILE")]
    pub tlskey: Option<PathBuf>,
}

impl TlsOptions {
    /// Returns whether an option makes sense only where certificates are verified.
    pub(crate) fn names_a_file(&self) -> bool {
        self.tlscacert.is_some() || self.tlscert.is_some() || self.tlskey.is_some()
    }
}

impl GlobalOptions {
    /// Returns where the user said the daemon is.
    pub(crate) fn host(&self) -> Option<&Host> {
        self.host.as_ref()
    }

    /// Returns the unix socket that this installation's daemon serves.
    pub(crate) fn socket(&self) -> PathBuf {
        match &self.host {
            Some(Host::Unix(socket)) => socket.clone(),
            Some(Host::Tcp { .. } | Host::Ssh(_)) | None => self.run_dir.join("engine.sock"),
        }
    }

    /// Returns the installation's directory of events.
    pub(crate) fn events(&self) -> PathBuf {
        self.root.join("events")
    }

    /// Returns what the daemon is told, with absolute paths: it has another
    /// working directory.
    pub(crate) fn daemon_options(&self) -> DaemonOptions {
        DaemonOptions {
            root: absolute(&self.root),
            run: absolute(&self.run_dir),
            instance: self.instance.clone(),
            config: self.config.as_deref().map(absolute),
            host: match &self.host {
                Some(Host::Unix(socket)) => Some(socket.clone()),
                Some(Host::Tcp { .. } | Host::Ssh(_)) | None => None,
            },
            log_level: self.log_level.clone(),
            log_format: self.log_format.clone(),
            faults: FaultSteps::default(),
        }
    }
}

/// Only a process without a working directory keeps a relative path.
fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// Reads the command line.
///
/// # Errors
/// The exit code, once the error or the help has been printed.
pub(crate) fn parse(words: impl Iterator<Item = OsString>) -> Result<Arguments, ExitCode> {
    try_parse(words).map_err(|error| {
        // There is nobody left to tell if the terminal is gone.
        drop(error.print());
        ExitCode::from(exit_code(&error))
    })
}

pub(crate) fn try_parse(words: impl Iterator<Item = OsString>) -> Result<Arguments, clap::Error> {
    let words: Vec<OsString> = words.collect();
    let mut command = Arguments::command();
    let mut matches =
        command
            .try_get_matches_from_mut(&words)
            .map_err(|error| match error.kind() {
                ErrorKind::DisplayHelp => help(&words).unwrap_or(error),
                _ => error,
            })?;
    Arguments::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// Returns the help that is asked for with its examples, which nothing else needs.
fn help(words: &[OsString]) -> Option<clap::Error> {
    examples::command().try_get_matches_from_mut(words).err()
}

/// Returns Docker's exit code for a command line that cannot be read.
pub(crate) fn exit_code(error: &clap::Error) -> u8 {
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => 0,
        ErrorKind::MissingRequiredArgument
        | ErrorKind::InvalidSubcommand
        | ErrorKind::MissingSubcommand
        | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
        | ErrorKind::TooFewValues => 1,
        ErrorKind::UnknownArgument if !names_an_option(error) => 1,
        _ => BAD_OPTION,
    }
}

fn names_an_option(error: &clap::Error) -> bool {
    match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(word)) => word.starts_with('-'),
        _ => false,
    }
}

#[cfg(test)]
mod docker_commands;
#[cfg(test)]
mod tests;
