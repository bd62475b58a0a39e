//! `engine start`.

use std::process::ExitCode;

use clap::Args;
use engine_api::client::Call;
use engine_api::detach_keys::{self, DetachKeys};
use engine_api::inspect::ContainerInspect;

use super::container_path;
use super::run::{AttachTo, Watcher, attach, check_terminal, exit_code, start, wait};
use crate::attach::End;
use crate::context::Context;
use crate::error::CliError;
use crate::session::Signals;

/// Starts containers.
#[derive(Debug, Args)]
pub(crate) struct Start {
    /// Attach to stdout and stderr and pass signals on
    #[arg(short, long)]
    attach: bool,
    /// Attach to stdin
    #[arg(short, long)]
    interactive: bool,
    /// The keys that leave the container running
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
    detach_keys: DetachKeys,
    #[arg(required = true, value_name = "CONTAINER")]
    containers: Vec<String>,
}

impl Start {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        if !self.attach && !self.interactive {
            let call = |name: &str| Ok(Call::post(&container_path(name, "/start")));
            context.for_each(&self.containers, call).await?;
            return Ok(ExitCode::SUCCESS);
        }
        match self.containers.as_slice() {
            [name] => self.watch(context, name).await,
            _ => {
                let message = "you cannot start and attach multiple containers at once";
                Err(CliError::Usage(message.to_owned()))
            }
        }
    }

    async fn watch(&self, context: &Context, name: &str) -> Result<ExitCode, CliError> {
        let client = context.connect().await?;
        let inspect = Call::get(&container_path(name, "/json"));
        let container: ContainerInspect = client.json(inspect).await?;
        let id = container.id.as_str();
        let streams = AttachTo {
            stdin: self.interactive && container.config.open_stdin,
            stdout: true,
            stderr: true,
        };
        check_terminal(context, streams.stdin, container.config.tty)?;
        let watcher = Watcher {
            context,
            id,
            tty: container.config.tty,
            signals: Signals::Forward,
        };
        let condition = if container.host_config.auto_remove {
            "removed"
        } else {
            "next-exit"
        };
        let (hijacked, exit) = tokio::try_join!(
            attach(client, id, (&streams, &self.detach_keys)),
            wait(client, id, condition)
        )?;
        let keys = self.detach_keys.clone();
        let mut attachment = watcher.begin(hijacked, streams.stdin.then_some(keys))?;
        let session = watcher.session(streams.stdin)?;
        start(client, id).await.map_err(CliError::without_code)?;
        session.resize().await;
        match session.follow(&mut attachment).await? {
            End::Detached => Ok(ExitCode::SUCCESS),
            End::Output(copied) => {
                copied?;
                exit_code(exit).await
            }
        }
    }
}
