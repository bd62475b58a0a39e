//! What all prunes share: asking first, and saying what came of it.

use std::io::Read as _;

use base::size::ByteSize;
use clap::Args;

use crate::context::Context;
use crate::error::CliError;
use crate::parse::filter::{self, Filter};

/// Bytes of an answer.
const ANSWER_LIMIT_BYTES: usize = 64;

/// The words that every prune takes.
#[derive(Debug, Args)]
pub(super) struct PruneOptions {
    /// Do not ask
    #[arg(short, long)]
    pub force: bool,
    /// Remove only what fits, key=value
    #[arg(long, value_name = "FILTER", value_parser = filter::parse)]
    pub filter: Vec<Filter>,
}

impl PruneOptions {
    /// Says what will be removed and returns whether to go on.
    pub(super) fn confirm(&self, context: &Context, what: &str) -> Result<bool, CliError> {
        if self.force {
            return Ok(true);
        }
        ask(context, &format!("WARNING! This will remove {what}.\n"))
    }
}

/// Prints a warning and returns whether to go on.
pub(super) fn ask(context: &Context, warning: &str) -> Result<bool, CliError> {
    context.print(&format!(
        "{warning}Are you sure you want to continue? [y/N] "
    ))?;
    let answer = answer(context)?;
    Ok(matches!(answer.trim(), "y" | "Y"))
}

/// What a prune removed.
#[derive(Debug, Default)]
pub(super) struct Pruned {
    /// A heading and a line for each; empty where nothing was removed.
    pub text: String,
    pub reclaimed_bytes: u64,
}

impl Pruned {
    /// Returns what was removed under a heading.
    pub(super) fn new(heading: &str, names: Option<Vec<String>>, reclaimed_bytes: u64) -> Self {
        let text = match names.unwrap_or_default() {
            names if names.is_empty() => String::new(),
            names => format!("{heading}:\n{}\n\n", names.join("\n")),
        };
        Self {
            text,
            reclaimed_bytes,
        }
    }

    /// Prints what was removed and how much room that made.
    pub(super) fn print(&self, context: &Context) -> Result<(), CliError> {
        let reclaimed = ByteSize(self.reclaimed_bytes).precise();
        context.print(&format!(
            "{}Total reclaimed space: {reclaimed}\n",
            self.text
        ))
    }
}

/// Reads one line, and not a byte beyond it.
fn answer(context: &Context) -> Result<String, CliError> {
    let mut line = Vec::new();
    let mut byte = [0];
    while line.len() < ANSWER_LIMIT_BYTES {
        let length = (&context.streams.stdin)
            .read(&mut byte)
            .map_err(CliError::Streams)?;
        if length == 0 || byte[0] == b'\n' {
            break;
        }
        line.push(byte[0]);
    }
    Ok(String::from_utf8_lossy(&line).into_owned())
}
