//! `engine run`: create, attach, wait, start, in that order, so that neither a
//! byte of output nor the exit can be missed.
//!
//! Attach and wait are asked for at once, on connections of their own; the
//! start goes over the connection of the create.

use std::process::ExitCode;

use clap::Args;
use engine_api::client::{BodyStream, Call, Client, ClientError, Hijacked};
use engine_api::container::{ContainerCreateBody, WaitResponse};
use engine_api::detach_keys::{self, DetachKeys};

use super::container_path;
use super::create::{body, create};
use crate::arguments::BAD_OPTION;
use crate::attach::{Attachment, End, Ends, Input};
use crate::container_options::ContainerOptions;
use crate::container_plan::Mode;
use crate::context::Context;
use crate::error::CliError;
use crate::session::{Session, Signals, Target};
use crate::terminal;

/// The exit code of a command that was found and could not be executed.
const CANNOT_EXECUTE: u8 = 126;
/// The exit code of a command that was not found.
const NOT_FOUND: u8 = 127;

/// Creates and runs a container.
#[derive(Debug, Args)]
#[command(override_usage = "engine run [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub(crate) struct Run {
    /// Run in the background and print the container's id
    #[arg(short, long)]
    detach: bool,
    /// The keys that leave the container running
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
    detach_keys: DetachKeys,
    /// Pass signals on to the process (without a terminal)
    #[arg(long, value_name = "BOOL", default_value_t = true, action = clap::ArgAction::Set)]
    #[arg(num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    sig_proxy: bool,
    #[command(flatten)]
    options: ContainerOptions,
}

impl Run {
    /// Returns the image, the command and its arguments.
    #[cfg(test)]
    pub(crate) fn image_and_command(&self) -> &[String] {
        &self.options.image_and_command
    }

    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let mode = if self.detach {
            Mode::Detached
        } else {
            Mode::Foreground
        };
        let daemon_error = |error: CliError| error.with_code(BAD_OPTION);
        let mut body = body(&self.options, mode, context).map_err(daemon_error)?;
        check_terminal(context, body.config.attach_stdin, body.config.tty)?;
        if body.config.tty
            && let Some(size) = terminal::size(&context.streams.stdout)
        {
            body.host_config.console_size = [size.height.into(), size.width.into()];
        }
        let id = create(context, &self.options.general, &body)
            .await
            .map_err(daemon_error)?;
        if mode == Mode::Foreground {
            return self.watch(context, &id, &body).await;
        }
        start(&context.client, &id).await?;
        context.print_line(&id)?;
        Ok(ExitCode::SUCCESS)
    }

    async fn watch(
        &self,
        context: &Context,
        id: &str,
        body: &ContainerCreateBody,
    ) -> Result<ExitCode, CliError> {
        let config = &body.config;
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
        let streams = AttachTo {
            stdin: config.attach_stdin,
            stdout: config.attach_stdout,
            stderr: config.attach_stderr,
        };
        let condition = if body.host_config.auto_remove {
            "removed"
        } else {
            "next-exit"
        };
        let (hijacked, exit) = tokio::try_join!(
            attach(&context.client, id, (&streams, &self.detach_keys)),
            wait(&context.client, id, condition)
        )
        .map_err(|error| CliError::from(error).with_code(BAD_OPTION))?;
        let keys = self.detach_keys.clone();
        let mut attachment = watcher.begin(hijacked, streams.stdin.then_some(keys))?;
        let session = watcher.session(streams.stdin)?;
        start(&context.client, id).await?;
        session.resize().await;
        match session.follow(&mut attachment).await? {
            End::Detached => Ok(ExitCode::SUCCESS),
            End::Output(copied) => {
                copied.map_err(|error| CliError::from(error).with_code(BAD_OPTION))?;
                exit_code(exit).await
            }
        }
    }
}

/// Refuses to read a terminal's keys from something that is none.
pub(super) fn check_terminal(
    context: &Context,
    attach_stdin: bool,
    tty: bool,
) -> Result<(), CliError> {
    match attach_stdin && tty && !terminal::is_terminal(&context.streams.stdin) {
        true => Err(CliError::Usage("the input device is not a TTY".to_owned())),
        false => Ok(()),
    }
}

/// Which streams are attached to.
#[derive(Debug, Clone, Copy)]
pub(super) struct AttachTo {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
}

/// A container whose streams this process is attached to.
#[derive(Debug, Clone, Copy)]
pub(super) struct Watcher<'a> {
    pub context: &'a Context,
    pub id: &'a str,
    pub tty: bool,
    pub signals: Signals,
}

impl<'a> Watcher<'a> {
    /// Begins to copy; with `input`, the keys that detach, stdin as well.
    pub(super) fn begin(
        &self,
        hijacked: Hijacked,
        input: Option<DetachKeys>,
    ) -> Result<Attachment, CliError> {
        let streams = &self.context.streams;
        let clone = |file: &std::fs::File| file.try_clone().map_err(CliError::Streams);
        let input = match input {
            Some(keys) => Some(Input {
                stdin: clone(&streams.stdin)?,
                detach_keys: self.tty.then_some(keys),
            }),
            None => None,
        };
        let ends = Ends {
            input,
            stdout: clone(&streams.stdout)?,
            stderr: clone(&streams.stderr)?,
        };
        Ok(Attachment::begin(hijacked, ends)?)
    }

    /// Sets the terminal or the signals up.
    pub(super) fn session(&self, attach_stdin: bool) -> Result<Session<'a>, CliError> {
        let target = Target::Container(self.id.to_owned());
        let streams = &self.context.streams;
        match self.tty {
            true => {
                let input = attach_stdin.then_some(&streams.stdin);
                Session::on_terminal(&self.context.client, target, input, &streams.stdout)
            }
            false => Session::on_pipes(&self.context.client, target, self.signals),
        }
    }
}

/// Attaches to the container's streams.
pub(super) async fn attach(
    client: &Client,
    id: &str,
    (streams, keys): (&AttachTo, &DetachKeys),
) -> Result<Hijacked, ClientError> {
    let call = Call::post(&container_path(id, "/attach"))
        .query("stream", "1")
        .query_some("detachKeys", keys.to_tell())
        .query_flag("stdin", streams.stdin)
        .query_flag("stdout", streams.stdout)
        .query_flag("stderr", streams.stderr);
    client.hijack(call).await
}

/// Begins to wait; the daemon has noted it once this returns.
pub(super) async fn wait(
    client: &Client,
    id: &str,
    condition: &str,
) -> Result<BodyStream, ClientError> {
    let call = Call::post(&container_path(id, "/wait"));
    client.stream(call.query("condition", condition)).await
}

/// Starts the container.
pub(super) async fn start(client: &Client, id: &str) -> Result<(), CliError> {
    let started = client.done(Call::post(&container_path(id, "/start"))).await;
    started.map(drop).map_err(start_error)
}

/// Gives an error of a start the exit code that shells give it.
pub(super) fn start_error(error: ClientError) -> CliError {
    let message = error.to_string();
    let says = |words: &[&str]| words.iter().any(|word| message.contains(word));
    let code = match error.status() {
        Some(_) if says(&["executable file not found", "no such file or directory"]) => NOT_FOUND,
        Some(_) if says(&["permission denied", "is a directory", "exec format error"]) => {
            CANNOT_EXECUTE
        }
        _ => BAD_OPTION,
    };
    CliError::from(error).with_code(code)
}

/// Waits for the exit and returns the container's code.
pub(super) async fn exit_code(exit: BodyStream) -> Result<ExitCode, CliError> {
    let read = exit.json::<WaitResponse>().next().await;
    let exit = read.map_err(|error| CliError::from(error).with_code(BAD_OPTION))?;
    let lost = |what: &str| Err(CliError::Usage(what.to_owned()).with_code(BAD_OPTION));
    match exit {
        None => lost("the engine ended while the container was waited for"),
        Some(WaitResponse {
            error: Some(error), ..
        }) if !error.message.is_empty() => lost(&error.message),
        Some(exit) => Ok(ExitCode::from(to_code(exit.status_code))),
    }
}

/// Returns a status as a process can have it.
pub(super) fn to_code(status: i64) -> u8 {
    status.to_le_bytes()[0]
}
