//! `engine system`.

mod df;
mod dial_stdio;
mod prune;

use clap::Subcommand;

use super::events::Events;
use super::info::Info;
use crate::context::Context;
use crate::error::CliError;

/// Manages the engine.
#[derive(Debug, Subcommand)]
pub(crate) enum System {
    /// Show what takes room on the disk
    Df(df::Df),
    /// Show what happened, from the event log
    Events(Events),
    /// Show the state of the engine
    Info(Info),
    /// Remove what nobody uses
    Prune(prune::Prune),
    /// Join the standard streams with a connection to the daemon; what clients on other
    /// hosts call by ssh
    #[command(hide = true)]
    DialStdio,
}

impl System {
    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Df(command) => command.run(context).await,
            Self::Events(command) => command.run(context).await,
            Self::Info(command) => command.run(context).await,
            Self::Prune(command) => command.run(context).await,
            Self::DialStdio => dial_stdio::run(context).await,
        }
    }
}
