//! `engine attach`.

use std::process::ExitCode;

use clap::Args;
use engine_api::client::Call;
use engine_api::detach_keys::{self, DetachKeys};
use engine_api::inspect::ContainerInspect;

use super::container_path;
use super::run::{AttachTo, Watcher, attach, check_terminal, exit_code, wait};
use crate::attach::End;
use crate::context::Context;
use crate::error::CliError;
use crate::session::Signals;

/// What is printed when the detach keys end a command that watches.
pub(super) const DETACHED: &str = "read escape sequence";

/// Attaches to a container.
#[derive(Debug, Args)]
pub(crate) struct Attach {
    /// Do not attach stdin
    #[arg(long)]
    no_stdin: bool,
    /// The keys that leave the container running
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
    detach_keys: DetachKeys,
    /// Pass signals on to the process (without a terminal)
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,
    #[arg(value_name = "CONTAINER")]
    container: String,
}

impl Attach {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let client = context.connect().await?;
        let inspect = Call::get(&container_path(&self.container, "/json"));
        let container: ContainerInspect = client.json(inspect).await?;
        check_state(&container)?;
        let (id, config) = (container.id.as_str(), &container.config);
        let streams = AttachTo {
            stdin: !self.no_stdin && config.open_stdin,
            stdout: true,
            stderr: true,
        };
        check_terminal(context, streams.stdin, config.tty)?;
        let watcher = Watcher {
            context,
            id,
            tty: config.tty,
            signals: if self.sig_proxy {
                Signals::Forward
            } else {
                Signals::Keep
            },
        };
        let (hijacked, exit) = tokio::try_join!(
            attach(client, id, (&streams, &self.detach_keys)),
            wait(client, id, "not-running")
        )?;
        let keys = streams.stdin.then_some(self.detach_keys);
        let mut attachment = watcher.begin(hijacked, keys)?;
        let session = watcher.session(streams.stdin)?;
        session.redraw().await;
        match session.follow(&mut attachment).await? {
            End::Detached => Err(CliError::Usage(DETACHED.to_owned())),
            End::Output(copied) => {
                copied?;
                exit_code(exit).await
            }
        }
    }
}

fn check_state(container: &ContainerInspect) -> Result<(), CliError> {
    let state = &container.state;
    let what = match state.status.as_str() {
        _ if state.paused => "cannot attach to a paused container, unpause it first",
        _ if state.restarting => {
            "cannot attach to a restarting container, wait until it is running"
        }
        _ if !state.running => "cannot attach to a stopped container, start it first",
        _ => return Ok(()),
    };
    Err(CliError::Usage(what.to_owned()))
}
