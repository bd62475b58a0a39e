//! `cargo xtask golden`: the committed snapshots of test results.
//!
//! Without `--update` a difference fails; with it the snapshots are rewritten,
//! to be read in the diff before they are committed.

use std::time::Duration;

use anyhow::Result;

use crate::workspace::cargo;

const LIMIT: Duration = Duration::from_secs(30 * 60);

/// Whether to rewrite the snapshots.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Rewrites the snapshots that differ
    #[arg(long)]
    update: bool,
}

/// Runs the tests that need no root, against the snapshots or rewriting them.
///
/// # Errors
/// Fails when a test fails for another reason, or a snapshot differs.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    cargo("nextest")
        .args(["run", "--workspace", "--lib", "--bins", "--no-fail-fast"])
        .env(
            "INSTA_UPDATE",
            if arguments.update { "always" } else { "no" },
        )
        .env("INSTA_FORCE_PASS", if arguments.update { "1" } else { "0" })
        // Snapshots that insta does not keep: lists within documents.
        .env("UPDATE_GOLDEN", if arguments.update { "1" } else { "0" })
        .timeout(LIMIT)
        .run()
}
