//! `engine container`: the long names of some commands, and what has no short one.

use base::size::ByteSize;
use clap::{Args, Subcommand};
use engine_api::client::Call;
use engine_api::prune::ContainersPruneResponse;

use super::inspect::{Kind, Show};
use super::prune::PruneOptions;
use super::ps::Ps;
use super::rm::Rm;
use crate::context::Context;
use crate::error::CliError;
use crate::parse::filter;

/// Manages containers.
#[derive(Debug, Subcommand)]
pub(crate) enum Container {
    /// List containers
    #[command(aliases = ["list", "ps"])]
    Ls(Ps),
    /// Show all about containers
    Inspect(Show),
    /// Remove containers
    #[command(alias = "remove")]
    Rm(Rm),
    /// Remove all stopped containers
    Prune(Prune),
}

impl Container {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Ls(command) => command.run(context).await,
            Self::Inspect(show) => show.run(context, &[Kind::Container], false).await,
            Self::Rm(command) => command.run(context).await,
            Self::Prune(command) => command.run(context).await,
        }
    }
}

/// Removes all stopped containers.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    #[command(flatten)]
    options: PruneOptions,
}

impl Prune {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        if !self.options.confirm(context, "all stopped containers")? {
            return Ok(());
        }
        let filters = filter::query(&self.options.filter);
        let call = Call::post("/containers/prune").query_some("filters", filters);
        let pruned: ContainersPruneResponse = context.connect().await?.json(call).await?;
        let ids = pruned.containers_deleted.unwrap_or_default();
        if !ids.is_empty() {
            context.print(&format!("Deleted Containers:\n{}\n\n", ids.join("\n")))?;
        }
        context.print_line(&format!(
            "Total reclaimed space: {}",
            ByteSize(pruned.space_reclaimed)
        ))
    }
}
