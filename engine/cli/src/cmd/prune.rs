//! What the prunes of volumes and networks share: asking first.

use std::io::Read as _;

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
        context.print(&format!(
            "WARNING! This will remove {what}.\nAre you sure you want to continue? [y/N] "
        ))?;
        let answer = answer(context)?;
        Ok(matches!(answer.trim(), "y" | "Y"))
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
