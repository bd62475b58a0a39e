//! `engine daemon`: in the foreground it is the binary's hook, here it is
//! started behind and stopped.

use std::pin::pin;

use base::FaultStep;
use clap::{Args, Subcommand};
use engine_api::client::Call;
use engine_api::container::ContainerSummary;
use futures_util::stream::StreamExt as _;

use super::container_path;
use crate::context::{CALLS_AT_ONCE, Context};
use crate::daemon;
use crate::error::CliError;
use crate::parse::host::Host;

/// Runs, starts or stops the daemon.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct DaemonArguments {
    /// Stay in the foreground, as service managers want it
    #[arg(long)]
    foreground: bool,
    /// Begin a session, so that no terminal's signals arrive
    #[arg(long, hide = true, requires = "foreground")]
    pub own_session: bool,
    #[command(flatten)]
    pub faults: FaultSteps,
    #[command(subcommand)]
    action: Option<Action>,
}

/// The steps at which daemons kill themselves, for tests of crashes; a helper that
/// is started again has none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct FaultSteps {
    #[arg(
        id = "fault_step",
        long = "fault-step",
        value_name = "[NAME#]N",
        hide = true
    )]
    pub engine: Option<FaultStep>,
    #[arg(
        id = "netd_fault_step",
        long = "netd-fault-step",
        value_name = "[NAME#]N",
        hide = true
    )]
    pub netd: Option<FaultStep>,
    #[arg(
        id = "volumed_fault_step",
        long = "volumed-fault-step",
        value_name = "[NAME#]N",
        hide = true
    )]
    pub volumed: Option<FaultStep>,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Stop the daemon; containers keep running
    Stop(Stop),
}

#[derive(Debug, Args)]
struct Stop {
    /// Stop all running containers first
    #[arg(long)]
    containers: bool,
}

impl DaemonArguments {
    /// Returns whether this process becomes the daemon.
    pub(crate) fn is_foreground(&self) -> bool {
        self.foreground
    }

    pub(super) async fn run(self, context: &Context) -> Result<(), CliError> {
        if let Some(Host::Tcp { .. } | Host::Ssh(_)) = context.global.host() {
            return Err(CliError::Usage(
                "a daemon is started and stopped on its own host: --host must be unix://"
                    .to_owned(),
            ));
        }
        match self.action {
            Some(Action::Stop(stop)) => stop.run(context).await,
            None => match context.client.done(Call::get("/_ping")).await {
                Ok(_) => Ok(()),
                Err(_) => {
                    Ok(daemon::start(&context.global.daemon_options(), &context.client).await?)
                }
            },
        }
    }
}

impl Stop {
    async fn run(self, context: &Context) -> Result<(), CliError> {
        match context.client.connect().await {
            Err(error) if error.is_not_running() => return Ok(()),
            other => other?,
        }
        if self.containers {
            stop_containers(context).await?;
        }
        Ok(daemon::stop(
            &context.global.daemon_options(),
            &context.global.socket(),
        )?)
    }
}

/// Stops all running containers, many at once; one that will not stop is
/// reported, and the daemon stays to look after it.
async fn stop_containers(context: &Context) -> Result<(), CliError> {
    let running = Call::get("/containers/json");
    let running: Vec<ContainerSummary> = context.client.json(running).await?;
    let ids: Vec<String> = running.into_iter().map(|container| container.id).collect();
    let call = |id: &str| Ok(Call::post(&container_path(id, "/stop")));
    let mut stopped = pin!(context.outcomes(&ids, call, CALLS_AT_ONCE));
    let mut outcome = Ok(());
    while let Some((_, done)) = stopped.next().await {
        if let Err(error) = done {
            context.warn(&error.message());
            outcome = Err(CliError::Reported);
        }
    }
    outcome
}
