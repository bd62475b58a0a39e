//! `engine image`: the long names of some commands, and what has no short one.

use clap::{Args, Subcommand};
use engine_api::client::Call;
use engine_api::prune::ImagesPruneResponse;

use super::images::Images;
use super::inspect::{Kind, Show, Wanted};
use super::prune::{PruneOptions, Pruned};
use super::rmi::{self, Rmi};
use super::verbs::ImageVerb;
use crate::context::Context;
use crate::error::CliError;
use crate::parse::filter::{self, Filter};
use crate::parse::platform;

/// Manages images.
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    #[command(flatten)]
    Verb(ImageVerb),
    /// List images
    #[command(alias = "list")]
    Ls(Images),
    /// Show all about images
    Inspect(Inspect),
    /// Remove images
    #[command(alias = "remove")]
    Rm(Rmi),
    /// Remove images that nobody uses
    Prune(Prune),
}

impl Image {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Verb(verb) => verb.run(context).await,
            Self::Ls(command) => command.run(context).await,
            Self::Inspect(command) => command.run(context).await,
            Self::Rm(command) => command.run(context).await,
            Self::Prune(command) => command.run(context).await,
        }
    }
}

/// Shows all about images.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    show: Show,
    /// Fail unless they are of this platform, os/architecture[/variant]
    #[arg(long, value_name = "PLATFORM", value_parser = platform::parse)]
    platform: Option<String>,
}

impl Inspect {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let wanted = Wanted {
            platform: self.platform,
            ..Wanted::default()
        };
        self.show.run(context, &[Kind::Image], wanted).await
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
        let pruned = prune(context, self.all, &self.options.filter).await?;
        pruned.print(context)
    }
}

/// Removes the unused images that fit: all of them, or those without a name.
pub(super) async fn prune(
    context: &Context,
    all: bool,
    filters: &[Filter],
) -> Result<Pruned, CliError> {
    let mut filters = filter::collect(filters);
    if !filters.has("dangling") {
        filters.add("dangling", (!all).to_string());
    }
    let call = Call::post("/images/prune").query("filters", filters.to_json());
    let pruned: ImagesPruneResponse = context.connect().await?.json(call).await?;
    let steps = pruned.images_deleted.unwrap_or_default();
    let text = match steps.is_empty() {
        true => String::new(),
        false => {
            let lines: String = steps.iter().map(rmi::line).collect();
            format!("Deleted Images:\n{lines}\n")
        }
    };
    Ok(Pruned {
        text,
        reclaimed_bytes: pruned.space_reclaimed,
    })
}
