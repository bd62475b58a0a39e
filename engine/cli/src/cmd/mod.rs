//! The commands, a file each: the words it takes, and a `run` that sends the
//! requests and prints the answers.

mod attach;
mod commit;
mod completion;
mod container;
mod context;
mod cp;
mod create;
pub(crate) mod daemon;
mod diff;
mod events;
mod exec;
mod export;
mod history;
mod image;
mod images;
mod import;
mod info;
mod inspect;
mod install;
mod kill;
mod load;
mod login;
mod logout;
mod logs;
mod man;
mod network;
mod pause;
mod port;
mod prune;
mod ps;
mod pull;
mod push;
mod rename;
mod restart;
mod rm;
mod rmi;
mod run;
mod save;
mod search;
mod start;
mod stats;
mod stop;
mod system;
mod tag;
mod top;
mod unpause;
mod update;
mod version;
mod volume;
mod wait;

use std::process::ExitCode;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
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
    /// Remove containers
    Rm(rm::Rm),
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
    /// List containers
    Ps(ps::Ps),
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
    /// Show all about containers, images, networks and volumes
    Inspect(inspect::Inspect),
    /// List the published ports of a container
    Port(port::Port),
    /// Show the processes of a container
    Top(top::Top),
    /// Show what containers use
    Stats(stats::Stats),
    /// Download an image from a registry
    Pull(pull::Pull),
    /// Upload an image to a registry
    Push(push::Push),
    /// Search a registry for images
    Search(search::Search),
    /// Log in to a registry
    Login(login::Login),
    /// Log out from a registry
    Logout(logout::Logout),
    /// List images
    Images(images::Images),
    /// Show how an image was made
    History(history::History),
    /// Remove images
    Rmi(rmi::Rmi),
    /// Give an image another name
    Tag(tag::Tag),
    /// Load images from an archive
    Load(load::Load),
    /// Save images to an archive
    Save(save::Save),
    /// Make an image of a root filesystem's archive
    Import(import::Import),
    /// Manage containers
    #[command(subcommand)]
    Container(container::Container),
    /// Manage images
    #[command(subcommand)]
    Image(image::Image),
    /// Manage volumes
    #[command(subcommand)]
    Volume(volume::Volume),
    /// Manage networks
    #[command(subcommand)]
    Network(network::Network),
    /// Manage contexts: daemons of this and other hosts, by name
    #[command(subcommand)]
    Context(context::ContextCommand),
    /// Manage the engine
    #[command(subcommand)]
    System(Box<system::System>),
    /// Show what happened, from the event log; works without the daemon
    Events(events::Events),
    /// Show the versions of client and daemon
    Version(version::Version),
    /// Show the state of the engine
    Info(info::Info),
    /// Run, start or stop the daemon
    Daemon(daemon::DaemonArguments),
    /// Set this host up: the daemon's unit, its group, links that were asked for
    Install(install::Install),
    /// Take away what install made
    Uninstall(install::Uninstall),
    /// Print completions for a shell
    #[command(hide = true)]
    Completion(completion::Completion),
    /// Write the manual pages
    #[command(hide = true)]
    Man(man::Man),
}

impl Command {
    /// Returns what errors begin with, as Docker's do.
    pub(crate) fn error_prefix(&self) -> &'static str {
        match self {
            Self::Run(_) | Self::Create(_) => "engine: ",
            _ => "",
        }
    }

    /// Returns whether the command is about this host, whatever daemon is meant otherwise.
    pub(crate) fn is_local(&self) -> bool {
        matches!(
            self,
            Self::Daemon(_)
                | Self::Install(_)
                | Self::Uninstall(_)
                | Self::Context(_)
                | Self::Completion(_)
                | Self::Man(_)
        )
    }

    /// Runs the command.
    pub(crate) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        match self {
            Self::Run(command) => command.run(context).await,
            Self::Start(command) => command.run(context).await,
            Self::Attach(command) => command.run(context).await,
            Self::Exec(command) => command.run(context).await,
            Self::Daemon(command) => command.run(context).await.map(|()| ExitCode::SUCCESS),
            Self::Install(command) => command.run(context).map(|()| ExitCode::SUCCESS),
            Self::Uninstall(command) => command.run(context).map(|()| ExitCode::SUCCESS),
            plain => plain.run_plain(context).await.map(|()| ExitCode::SUCCESS),
        }
    }

    /// Runs one of the other commands, which have no exit code of their own.
    async fn run_plain(self, context: &Context) -> Result<(), CliError> {
        match self {
            // Those are run above.
            Self::Run(_) | Self::Start(_) | Self::Attach(_) | Self::Exec(_) => Ok(()),
            Self::Daemon(_) | Self::Install(_) | Self::Uninstall(_) => Ok(()),
            Self::Create(command) => command.run(context).await,
            Self::Stop(command) => command.run(context).await,
            Self::Restart(command) => command.run(context).await,
            Self::Kill(command) => command.run(context).await,
            Self::Rm(command) => command.run(context).await,
            Self::Pause(command) => command.run(context).await,
            Self::Unpause(command) => command.run(context).await,
            Self::Update(command) => command.run(context).await,
            Self::Wait(command) => command.run(context).await,
            Self::Rename(command) => command.run(context).await,
            Self::Ps(command) => command.run(context).await,
            Self::Logs(command) => command.run(context).await,
            Self::Commit(command) => command.run(context).await,
            Self::Cp(command) => command.run(context).await,
            Self::Diff(command) => command.run(context).await,
            Self::Export(command) => command.run(context).await,
            Self::Inspect(command) => command.run(context).await,
            Self::Port(command) => command.run(context).await,
            Self::Top(command) => command.run(context).await,
            Self::Stats(command) => command.run(context).await,
            Self::History(command) => command.run(context).await,
            Self::Container(command) => command.run(context).await,
            Self::Image(command) => command.run(context).await,
            Self::Pull(command) => command.run(context).await,
            Self::Push(command) => command.run(context).await,
            Self::Search(command) => command.run(context).await,
            Self::Login(command) => command.run(context).await,
            Self::Logout(command) => command.run(context).await,
            Self::Images(command) => command.run(context).await,
            Self::Rmi(command) => command.run(context).await,
            Self::Tag(command) => command.run(context).await,
            Self::Load(command) => command.run(context).await,
            Self::Save(command) => command.run(context).await,
            Self::Import(command) => command.run(context).await,
            Self::Volume(command) => command.run(context).await,
            Self::Network(command) => command.run(context).await,
            Self::Context(command) => command.run(context),
            Self::System(command) => command.run(context).await,
            Self::Events(command) => command.run(context),
            Self::Version(command) => command.run(context).await,
            Self::Info(command) => command.run(context).await,
            Self::Completion(command) => command.run(context),
            Self::Man(command) => command.run(),
        }
    }
}

/// Returns the path of a container's endpoint.
pub(crate) fn container_path(name: &str, action: &str) -> String {
    format!("/containers/{}{action}", engine_api::client::encode(name))
}
