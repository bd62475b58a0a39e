//! `cargo xtask leaks`: what a run left behind on the host.
//!
//! Everything is read from the kernel and the file system, never from our own
//! state. Processes count only when they are ours or below one of ours, so that
//! other programs may come and go.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::process::{Cmd, exit_code};
use crate::snapshot::Snapshot;
use crate::workspace::read_text;

/// Teardown may go on behind an answer for this long.
const SETTLE_LIMIT: Duration = Duration::from_secs(10);
const SETTLE_STEP: Duration = Duration::from_millis(100);
const COMMAND_LIMIT: Duration = Duration::from_secs(2 * 60 * 60);

/// What to compare: see the fields.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Compares the host with a snapshot made before
    #[arg(long, value_name = "FILE", conflicts_with = "command")]
    before: Option<PathBuf>,
    /// Runs a command between two snapshots; without it a snapshot is printed
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<String>,
}

/// Prints, compares, or wraps a command.
///
/// # Errors
/// Fails when something was left behind or cannot be read.
pub(crate) fn run(arguments: &Arguments) -> Result<ExitCode> {
    if let Some(file) = &arguments.before {
        let before = serde_json::from_str(&read_text(file)?)
            .with_context(|| format!("parse {}", file.display()))?;
        expect_none(&before)?;
        return Ok(ExitCode::SUCCESS);
    }
    let Some((program, args)) = arguments.command.split_first() else {
        println!(
            "{}",
            serde_json::to_string_pretty(&Snapshot::take(Path::new("/"))?)?
        );
        return Ok(ExitCode::SUCCESS);
    };
    let before = Snapshot::take(Path::new("/"))?;
    let status = Cmd::new(program)
        .args(args)
        .timeout(COMMAND_LIMIT)
        .status()?;
    expect_none(&before)?;
    Ok(ExitCode::from(u8::try_from(exit_code(status)).unwrap_or(1)))
}

/// Waits until the host looks as in the snapshot.
///
/// # Errors
/// Fails naming what is still there that was not before, or is gone.
pub(crate) fn expect_none(before: &Snapshot) -> Result<()> {
    let deadline = Instant::now() + SETTLE_LIMIT;
    loop {
        let different = before.compare(&Snapshot::take(Path::new("/"))?);
        if different.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            bail!(
                "the host is not as it was before:\n  {}",
                different.join("\n  ")
            );
        }
        std::thread::sleep(SETTLE_STEP);
    }
}
