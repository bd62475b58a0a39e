//! `engine image`: the long names of some commands, and what has no short one.

use base::size::ByteSize;
use clap::{Args, Subcommand};
use engine_api::client::Call;
use engine_api::prune::ImagesPruneResponse;

use super::history::History;
use super::images::Images;
use super::inspect::{Kind, Show};
use super::prune::PruneOptions;
use super::pull::Pull;
use super::push::Push;
use super::rmi::{self, Rmi};
use crate::context::Context;
use crate::error::CliError;
use crate::parse::filter;

/// Manages images.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// List images
    #[command(alias = "list")]
    Ls(Images),
    /// Show how an image was made
    History(History),
    /// Show all about images
    Inspect(Show),
    /// Download an image from a registry
    Pull(Pull),
    /// Upload an image to a registry
    Push(Push),
    /// Remove images
    #[command(alias = "remove")]
    Rm(Rmi),
    /// Remove images that nobody uses
    Prune(Prune),
}

impl Image {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Ls(command) => command.run(context).await,
            Self::History(command) => command.run(context).await,
            Self::Inspect(show) => show.run(context, &[Kind::Image], false).await,
            Self::Pull(command) => command.run(context).await,
            Self::Push(command) => command.run(context).await,
            Self::Rm(command) => command.run(context).await,
            Self::Prune(command) => command.run(context).await,
        }
    }
}

/// Removes images that nobody uses.
#[derive(Debug, Args)]
pub(crate) struct Prune {
    /// Remove all unused images, not only those without a name
    #[arg(short, long)]
    all: bool,
    #[command(flatten)]
    options: PruneOptions,
}

impl Prune {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let what = match self.all {
            true => "all images without at least one container associated to them",
            false => "all dangling images",
        };
        if !self.options.confirm(context, what)? {
            return Ok(());
        }
        let mut filters = filter::collect(&self.options.filter);
        if !filters.has("dangling") {
            filters.add("dangling", (!self.all).to_string());
        }
        let call = Call::post("/images/prune").query("filters", filters.to_json());
        let pruned: ImagesPruneResponse = context.connect().await?.json(call).await?;
        let steps = pruned.images_deleted.unwrap_or_default();
        if !steps.is_empty() {
            let lines: String = steps.iter().map(rmi::line).collect();
            context.print(&format!("Deleted Images:\n{lines}\n"))?;
        }
        context.print_line(&format!(
            "Total reclaimed space: {}",
            ByteSize(pruned.space_reclaimed)
        ))
    }
}
