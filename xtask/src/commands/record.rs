//! `cargo xtask record NAME`: what the reference implementation answers, to be committed.

use anyhow::Result;

use crate::conform::{api_versions, docker_commands};

/// What to record.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// dockerd's answers in each version of its API
    ApiVersions,
    /// The commands of Docker's command line and their options
    DockerCommands,
}

/// Records it.
///
/// # Errors
/// Fails when the reference implementation cannot be started or asked.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    match arguments.what {
        What::ApiVersions => api_versions::run(),
        What::DockerCommands => docker_commands::run(),
    }
}
