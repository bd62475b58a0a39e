//! `engine exec`.

use std::path::PathBuf;
use std::process::ExitCode;

use base::file::read_bounded;
use clap::Args;
use engine_api::client::{Call, encode};
use engine_api::detach_keys::{self, DetachKeys};
use engine_api::exec::{ExecCreateBody, ExecCreateResponse, ExecInspect, ExecStartBody};
use engine_api::wire::StringList;

use super::attach::DETACHED;
use super::container_path;
use super::run::{Watcher, check_terminal, start_error, to_code};
use crate::attach::End;
use crate::context::Context;
use crate::error::CliError;
use crate::parse::env;
use crate::session::{Session, Signals, Target};
use crate::terminal;

/// Bytes of an environment file.
const FILE_LIMIT_BYTES: u64 = 1024 * 1024;

/// Executes a command in a container.
#[derive(Debug, Args)]
#[command(override_usage = "engine exec [OPTIONS] CONTAINER COMMAND [ARG...]")]
pub(crate) struct Exec {
    /// Run in the background
    #[arg(short, long)]
    detach: bool,
    /// The keys that leave the command running
    #[arg(long, value_name = "KEYS", default_value = detach_keys::DEFAULT)]
    detach_keys: DetachKeys,
    /// Set an environment variable; without a value, the client's own
    #[arg(short, long, value_name = "NAME[=VALUE]", value_parser = env::parse)]
    env: Vec<String>,
    /// Read environment variables from a file
    #[arg(long, value_name = "FILE")]
    env_file: Vec<PathBuf>,
    /// Keep stdin open
    #[arg(short, long)]
    interactive: bool,
    /// Give extended privileges
    #[arg(long)]
    privileged: bool,
    /// Allocate a terminal
    #[arg(short, long)]
    tty: bool,
    /// User, <name|uid>[:<group|gid>]
    #[arg(short, long, value_name = "USER")]
    user: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    workdir: Option<String>,
    /// The container, then the command and its arguments
    #[arg(required = true, trailing_var_arg = true, num_args = 2..)]
    #[arg(value_names = ["CONTAINER", "COMMAND"])]
    container_and_command: Vec<String>,
}

impl Exec {
    pub(super) async fn run(self, context: &Context) -> Result<ExitCode, CliError> {
        let Some((container, command)) = self.container_and_command.split_first() else {
            return Err(CliError::Usage(
                "a container and a command are needed".to_owned(),
            ));
        };
        let attach_stdin = self.interactive && !self.detach;
        check_terminal(context, attach_stdin, self.tty)?;
        let size = terminal::size(&context.streams.stdout).filter(|_| self.tty);
        let size = size.map(|size| [u32::from(size.height), u32::from(size.width)]);
        let body = ExecCreateBody {
            user: self.user.clone().unwrap_or_default(),
            privileged: self.privileged,
            tty: self.tty,
            console_size: size,
            attach_stdin,
            attach_stdout: !self.detach,
            attach_stderr: !self.detach,
            detach: self.detach,
            detach_keys: self.detach_keys.to_tell().unwrap_or_default(),
            env: Some(self.variables(context)?),
            working_dir: self.workdir.clone().unwrap_or_default(),
            cmd: StringList(command.to_vec()),
        };
        let create = Call::post(&container_path(container, "/exec")).json(&body)?;
        let exec: ExecCreateResponse = context.connect().await?.json(create).await?;
        let body = ExecStartBody {
            detach: self.detach,
            tty: self.tty,
            console_size: size,
        };
        let start = Call::post(&format!("/exec/{}/start", encode(&exec.id))).json(&body)?;
        if self.detach {
            context.client.done(start).await.map_err(start_error)?;
            return Ok(ExitCode::SUCCESS);
        }
        self.watch(context, &exec.id, start).await
    }

    async fn watch(self, context: &Context, id: &str, start: Call) -> Result<ExitCode, CliError> {
        let client = &context.client;
        let hijacked = client.hijack(start).await.map_err(start_error)?;
        let watcher = Watcher {
            context,
            id,
            tty: self.tty,
            signals: Signals::Keep,
        };
        let mut attachment =
            watcher.begin(hijacked, self.interactive.then_some(self.detach_keys))?;
        let (target, streams) = (Target::Exec(id.to_owned()), &context.streams);
        let session = match self.tty {
            true => {
                let input = self.interactive.then_some(&streams.stdin);
                Session::on_terminal(client, target, input, &streams.stdout)?
            }
            false => Session::on_pipes(client, target, Signals::Keep)?,
        };
        session.resize().await;
        match session.follow(&mut attachment).await? {
            End::Detached => Err(CliError::Usage(DETACHED.to_owned())),
            End::Output(copied) => {
                copied?;
                let inspect = Call::get(&format!("/exec/{}/json", encode(id)));
                let exec: ExecInspect = client.json(inspect).await?;
                Ok(ExitCode::from(to_code(exec.exit_code.unwrap_or_default())))
            }
        }
    }

    fn variables(&self, context: &Context) -> Result<Vec<String>, CliError> {
        let mut variables = Vec::new();
        for path in &self.env_file {
            let content = read_bounded(path, FILE_LIMIT_BYTES)?;
            let content = String::from_utf8_lossy(&content);
            variables.extend(env::parse_file(&path.display().to_string(), &content)?);
        }
        variables.extend(self.env.iter().cloned());
        Ok(env::resolve(variables, &context.environment.variables))
    }
}
