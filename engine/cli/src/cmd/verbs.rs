//! The commands that have two names: `engine run` is `engine container run`, `engine
//! pull` is `engine image pull`.

use std::process::ExitCode;

use clap::Subcommand;

use super::deferred::Deferred;
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
    Run(Deferred<run::Run>),
    /// Create a new container
    Create(Deferred<create::Create>),
    /// Start stopped containers
    Start(Deferred<start::Start>),
    /// Stop running containers
    Stop(Deferred<stop::Stop>),
    /// Restart containers
    Restart(Deferred<restart::Restart>),
    /// Kill running containers
    Kill(Deferred<kill::Kill>),
    /// Pause all processes of containers
    Pause(Deferred<pause::Pause>),
    /// Unpause all processes of containers
    Unpause(Deferred<unpause::Unpause>),
    /// Change limits and restart policy of containers
    Update(Deferred<update::Update>),
    /// Wait until containers stop, then print their exit codes
    Wait(Deferred<wait::Wait>),
    /// Rename a container
    Rename(Deferred<rename::Rename>),
    /// Fetch the logs of a container
    Logs(Deferred<logs::Logs>),
    /// Attach to a running container
    Attach(Deferred<attach::Attach>),
    /// Execute a command in a running container
    Exec(Deferred<exec::Exec>),
    /// Make an image of what a container is now
    Commit(Deferred<commit::Commit>),
    /// Copy files between a container and the host
    Cp(Deferred<cp::Cp>),
    /// Show what a container has changed of its image's files
    Diff(Deferred<diff::Diff>),
    /// Write a container's files as an archive
    Export(Deferred<export::Export>),
    /// List the published ports of a container
    Port(Deferred<port::Port>),
    /// Show the processes of a container
    Top(Deferred<top::Top>),
    /// Show what containers use
    Stats(Deferred<stats::Stats>),
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
            Self::Run(command) => return command.take().run(context).await,
            Self::Start(command) => return command.take().run(context).await,
            Self::Attach(command) => return command.take().run(context).await,
            Self::Exec(command) => return command.take().run(context).await,
            Self::Create(command) => command.take().run(context).await,
            Self::Stop(command) => command.take().run(context).await,
            Self::Restart(command) => command.take().run(context).await,
            Self::Kill(command) => command.take().run(context).await,
            Self::Pause(command) => command.take().run(context).await,
            Self::Unpause(command) => command.take().run(context).await,
            Self::Update(command) => command.take().run(context).await,
            Self::Wait(command) => command.take().run(context).await,
            Self::Rename(command) => command.take().run(context).await,
            Self::Logs(command) => command.take().run(context).await,
            Self::Commit(command) => command.take().run(context).await,
            Self::Cp(command) => command.take().run(context).await,
            Self::Diff(command) => command.take().run(context).await,
            Self::Export(command) => command.take().run(context).await,
            Self::Port(command) => command.take().run(context).await,
            Self::Top(command) => command.take().run(context).await,
            Self::Stats(command) => command.take().run(context).await,
        }
        .map(|()| ExitCode::SUCCESS)
    }
}

/// What is done to images.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageVerb {
    /// Download an image from a registry
    Pull(Deferred<pull::Pull>),
    /// Upload an image to a registry
    Push(Deferred<push::Push>),
    /// Show how an image was made
    History(Deferred<history::History>),
    /// Give an image another name
    Tag(Deferred<tag::Tag>),
    /// Load images from an archive
    Load(Deferred<load::Load>),
    /// Save images to an archive
    Save(Deferred<save::Save>),
    /// Make an image of a root filesystem's archive
    Import(Deferred<import::Import>),
}

impl ImageVerb {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Pull(command) => command.take().run(context).await,
            Self::Push(command) => command.take().run(context).await,
            Self::History(command) => command.take().run(context).await,
            Self::Tag(command) => command.take().run(context).await,
            Self::Load(command) => command.take().run(context).await,
            Self::Save(command) => command.take().run(context).await,
            Self::Import(command) => command.take().run(context).await,
        }
    }
}
