//! The commands that have two names: `engine run` is `engine container run`, `engine
//! pull` is `engine image pull`.

use std::process::ExitCode;

use clap::Subcommand;

use super::{
    attach, commit, cp, create, diff, exec, export, history, import, kill, load, logs, pause, port,
    pull, push, rename, restart, run, save, start, stats, stop, tag, top, unpause, update, wait,
};
use crate::context::Context;
use crate::error::CliError;

/// What is done to containers.
#[derive(Debug, Subcommand)]
pub(crate) enum ContainerVerb {
    /// Create and run a new container from an image
    Run(Box<run::Run>),
    /// Create a new container
    Create(Box<create::Create>),
    /// Start stopped containers
    Start(start::Start),
    /// Stop running containers
    Stop(stop::Stop),
    /// Restart containers
    Restart(restart::Restart),
    /// Kill running containers
    Kill(kill::Kill),
    /// Pause all processes of containers
    Pause(pause::Pause),
    /// Unpause all processes of containers
    Unpause(unpause::Unpause),
    /// Change limits and restart policy of containers
    Update(update::Update),
    /// Wait until containers stop, then print their exit codes
    Wait(wait::Wait),
    /// Rename a container
    Rename(rename::Rename),
    /// Fetch the logs of a container
    Logs(logs::Logs),
    /// Attach to a running container
    Attach(attach::Attach),
    /// Execute a command in a running container
    Exec(exec::Exec),
    /// Make an image of what a container is now
    Commit(commit::Commit),
    /// Copy files between a container and the host
    Cp(cp::Cp),
    /// Show what a container has changed of its image's files
    Diff(diff::Diff),
    /// Write a container's files as an archive
    Export(export::Export),
    /// List the published ports of a container
    Port(port::Port),
    /// Show the processes of a container
    Top(top::Top),
    /// Show what containers use
    Stats(stats::Stats),
}

impl ContainerVerb {
    /// Returns what errors begin with, as Docker's do.
    pub(super) fn error_prefix(&self) -> &'static str {
        match self {
            Self::Run(_) | Self::Create(_) => "engine: ",
            _ => "",
        }
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::Run(command) => return command.run(context).await,
            Self::Start(command) => return command.run(context).await,
            Self::Attach(command) => return command.run(context).await,
            Self::Exec(command) => return command.run(context).await,
            Self::Create(command) => command.run(context).await,
            Self::Stop(command) => command.run(context).await,
            Self::Restart(command) => command.run(context).await,
            Self::Kill(command) => command.run(context).await,
            Self::Pause(command) => command.run(context).await,
            Self::Unpause(command) => command.run(context).await,
            Self::Update(command) => command.run(context).await,
            Self::Wait(command) => command.run(context).await,
            Self::Rename(command) => command.run(context).await,
            Self::Logs(command) => command.run(context).await,
            Self::Commit(command) => command.run(context).await,
            Self::Cp(command) => command.run(context).await,
            Self::Diff(command) => command.run(context).await,
            Self::Export(command) => command.run(context).await,
            Self::Port(command) => command.run(context).await,
            Self::Top(command) => command.run(context).await,
            Self::Stats(command) => command.run(context).await,
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// What is done to images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Download an image from a registry
    Pull(pull::Pull),
    /// Upload an image to a registry
    Push(push::Push),
    /// Show how an image was made
    History(history::History),
    /// Give an image another name
    Tag(tag::Tag),
    /// Load images from an archive
    Load(load::Load),
    /// Save images to an archive
    Save(save::Save),
    /// Make an image of a root filesystem's archive
    Import(import::Import),
}

impl ImageVerb {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Pull(command) => command.run(context).await,
            Self::Push(command) => command.run(context).await,
            Self::History(command) => command.run(context).await,
            Self::Tag(command) => command.run(context).await,
            Self::Load(command) => command.run(context).await,
            Self::Save(command) => command.run(context).await,
            Self::Import(command) => command.run(context).await,
        }
    }
}
