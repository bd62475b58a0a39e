//! The `engine` command line: everything a person types, as a client of the
//! daemon's API. The daemon itself is a hook that the binary passes in.
//!
//! A command goes through three steps: clap reads the words ([`arguments`]),
//! pure functions turn them into requests ([`parse`], [`container_plan`]), and
//! `cmd/<command>.rs` sends those and prints the answers. Commands write to the
//! streams of their [`context`], never to the process's own.
#![forbid(unsafe_code)]

mod arguments;
mod attach;
mod cmd;
mod container_options;
mod container_plan;
mod context;
mod credentials;
mod daemon;
mod dockerd;
mod error;
mod examples;
mod human;
mod install;
mod json;
mod listing;
mod parse;
mod progress;
mod remote;
mod session;
mod stored_contexts;
mod table;
mod template;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

pub use daemon::{DaemonOptions, FaultSteps, Held};

/// Reads a moment: RFC 3339, a date, seconds since 1970, or a duration before `now`.
///
/// # Errors
/// Fails when it is none of them.
pub fn moment(
    text: &str,
    now: base::Timestamp,
) -> Result<base::Timestamp, impl std::error::Error + Send + Sync + 'static> {
    parse::time::parse(text, now)
}

/// Runs the command line `arguments`, the program's name first, and returns
/// what the process exits with. `daemon` is called for `engine daemon --foreground`,
/// and where the program was called `dockerd`.
///
/// This is where the environment is read; nothing below looks at it again.
pub fn run(
    arguments: impl Iterator<Item = OsString>,
    daemon: impl FnOnce(DaemonOptions) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    let mut arguments = arguments.peekable();
    if arguments.peek().is_some_and(|name| dockerd::is_meant(name)) {
        return match dockerd::launch(arguments) {
            Ok(launch) => run_engine(launch.words.iter().cloned(), daemon),
            Err(code) => code,
        };
    }
    run_engine(arguments, daemon)
}

fn run_engine(
    arguments: impl Iterator<Item = OsString>,
    daemon: impl FnOnce(DaemonOptions) -> anyhow::Result<ExitCode>,
) -> ExitCode {
    let parsed = match arguments::parse(arguments) {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    match parsed.command {
        cmd::Command::Daemon(ref arguments) if arguments.is_foreground() => {
            daemon::run_hook(arguments, parsed.global.daemon_options(), daemon)
        }
        _ => execute(parsed),
    }
}

fn execute(parsed: arguments::Arguments) -> ExitCode {
    let prefix = parsed.command.error_prefix();
    let context = match parsed.command {
        ref command if command.is_local() => context::Context::of_own_daemon(&parsed.global),
        _ => context::Context::of_process(&parsed.global),
    };
    let outcome = context.and_then(|context| block_on(parsed.command, &context));
    outcome.unwrap_or_else(|error| error.report(prefix))
}

fn block_on(
    command: cmd::Command,
    context: &context::Context,
) -> Result<ExitCode, error::CliError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(error::CliError::Runtime)?;
    runtime.block_on(command.run(context))
}
#[cfg(test)]
mod fake;
#[cfg(test)]
mod flows;
#[cfg(test)]
mod registry_flows;
