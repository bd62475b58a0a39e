//! `engine container`: the long names of some commands, and what has no short one.

use std::process::ExitCode;

use clap::{Args, Subcommand};
use engine_api::client::Call;
use engine_api::prune::ContainersPruneResponse;

use super::inspect::{Kind, Show, Wanted};
use super::prune::{PruneOptions, Pruned};
use super::ps::Ps;
use super::rm::Rm;
use super::verbs::ContainerVerb;
use crate::context::Context;
use crate::error::CliError;
use crate::parse::filter::{self, Filter};

/// Manages containers.
#[derive(Debug, Subcommand)]
pub(crate) enum Container {
    #[command(flatten)]
    Verb(Box<ContainerVerb>),
    /// List containers
    #[command(aliases = ["list", "ps"])]
    Ls(Ps),
    /// Show all about containers
    Inspect(Inspect),
    /// Remove containers
    #[command(alias = "remove")]
    Rm(Rm),
    /// Remove all stopped containers
    Prune(Prune),
}

impl Container {
    /// Returns what errors begin with, as Docker's do.
    pub(super) fn error_prefix(&self) -> &'static str {
        match self {
            Self::Verb(verb) => verb.error_prefix(),
            _ => "",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::Verb(verb) => return verb.run(context).await,
            Self::Ls(command) => command.run(context).await,
            Self::Inspect(command) => command.run(context).await,
            Self::Rm(command) => command.run(context).await,
            Self::Prune(command) => command.run(context).await,
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// Shows all about containers.
#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    show: Show,
    /// Show their sizes
    #[arg(short, long)]
    size: bool,
}

impl Inspect {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        let wanted = Wanted {
            size: self.size,
            ..Wanted::default()
        };
        self.show.run(context, &[Kind::Container], wanted).await
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
        prune(context, &self.options.filter).await?.print(context)
    }
}

/// Removes the stopped containers that fit.
pub(super) async fn prune(context: &Context, filters: &[Filter]) -> Result<Pruned, CliError> {
    let call = Call::post("/containers/prune").query_some("filters", filter::query(filters));
    let pruned: ContainersPruneResponse = context.connect().await?.json(call).await?;
    Ok(Pruned::new(
        "Deleted Containers",
        pruned.containers_deleted,
        pruned.space_reclaimed,
    ))
}
