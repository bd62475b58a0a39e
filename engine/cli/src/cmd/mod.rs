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
mod deferred;
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
pub(crate) mod verbs;
mod version;
mod volume;
mod wait;

use std::process::ExitCode;

use clap::Subcommand;

use crate::context::Context;
use crate::error::CliError;
use deferred::Deferred;
use verbs::{ContainerVerb, ImageVerb};

/// Every command.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    OfContainers(ContainerVerb),
    /// Remove containers
    Rm(Deferred<rm::Rm>),
    /// List containers
    Ps(Deferred<ps::Ps>),
    /// Show all about containers, images, networks and volumes
    Inspect(Deferred<inspect::Inspect>),
    #[command(flatten)]
    OfImages(ImageVerb),
    /// Search a registry for images
    Search(Deferred<search::Search>),
    /// Log in to a registry
    Login(Deferred<login::Login>),
    /// Log out from a registry
    Logout(Deferred<logout::Logout>),
    /// List images
    Images(Deferred<images::Images>),
    /// Remove images
    Rmi(Deferred<rmi::Rmi>),
    /// Manage containers
    #[command(subcommand)]
    Container(Deferred<container::Container>),
    /// Manage images
    #[command(subcommand)]
    Image(Deferred<image::Image>),
    /// Manage volumes
    #[command(subcommand)]
    Volume(Deferred<volume::Volume>),
    /// Manage networks
    #[command(subcommand)]
    Network(Deferred<network::Network>),
    /// Manage contexts: daemons of this and other hosts, by name
    #[command(subcommand)]
    Context(Deferred<context::ContextCommand>),
    /// Manage the engine
    #[command(subcommand)]
    System(Deferred<system::System>),
    /// Show what happened, from the event log; works without the daemon
    Events(Deferred<events::Events>),
    /// Show the versions of client and daemon
    Version(Deferred<version::Version>),
    /// Show the state of the engine
    Info(Deferred<info::Info>),
    /// Run, start or stop the daemon
    Daemon(Deferred<daemon::DaemonArguments>),
    /// Set this host up: the daemon's unit, its group, links that were asked for
    Install(Deferred<install::Install>),
    /// Take away what install made
    Uninstall(Deferred<install::Uninstall>),
    /// Print completions for a shell
    #[command(hide = true)]
    Completion(Deferred<completion::Completion>),
    /// Write the manual pages
    #[command(hide = true)]
    Man(Deferred<man::Man>),
}

impl Command {
    /// Returns what errors begin with, as Docker's do.
    pub(crate) fn error_prefix(&self) -> &'static str {
        match self {
            Self::OfContainers(verb) => verb.error_prefix(),
            Self::Container(command) => command.error_prefix(),
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
            Self::OfContainers(verb) => verb.run(context).await,
            Self::Container(command) => command.take().run(context).await,
            Self::Daemon(command) => command
                .take()
                .run(context)
                .await
                .map(|()| ExitCode::SUCCESS),
            Self::Install(command) => command.take().run(context).map(|()| ExitCode::SUCCESS),
            Self::Uninstall(command) => command.take().run(context).map(|()| ExitCode::SUCCESS),
            plain => plain.run_plain(context).await.map(|()| ExitCode::SUCCESS),
        }
    }

    /// Runs one of the other commands, which have no exit code of their own.
    async fn run_plain(self, context: &Context) -> Result<(), CliError> {
        match self {
            // Those are run above.
            Self::OfContainers(_) | Self::Container(_) => Ok(()),
            Self::Daemon(_) | Self::Install(_) | Self::Uninstall(_) => Ok(()),
            Self::Rm(command) => command.take().run(context).await,
            Self::Ps(command) => command.take().run(context).await,
            Self::Inspect(command) => command.take().run(context).await,
            Self::OfImages(verb) => verb.run(context).await,
            Self::Image(command) => command.take().run(context).await,
            Self::Search(command) => command.take().run(context).await,
            Self::Login(command) => command.take().run(context).await,
            Self::Logout(command) => command.take().run(context).await,
            Self::Images(command) => command.take().run(context).await,
            Self::Rmi(command) => command.take().run(context).await,
            Self::Volume(command) => command.take().run(context).await,
            Self::Network(command) => command.take().run(context).await,
            Self::Context(command) => command.take().run(context),
            Self::System(command) => command.take().run(context).await,
            Self::Events(command) => command.take().run(context).await,
            Self::Version(command) => command.take().run(context).await,
            Self::Info(command) => command.take().run(context).await,
            Self::Completion(command) => command.take().run(context),
            Self::Man(command) => command.take().run(),
        }
    }
}

/// Returns the path of a container's endpoint.
pub(crate) fn container_path(name: &str, action: &str) -> String {
    format!("/containers/{}{action}", engine_api::client::encode(name))
}
