//! What every command is given: the client, the streams, the environment.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::pin::pin;

use engine_api::client::{Call, Client, ClientError, Endpoint};
use futures_util::stream::{self, Stream, StreamExt as _};

use crate::arguments::GlobalOptions;
use crate::daemon::{self, is_gone};
use crate::error::CliError;
use crate::remote;

/// As many calls are made at once where each may take long.
pub(crate) const CALLS_AT_ONCE: usize = 64;

/// The three streams of a command, as files of their own so that threads can
/// hold them and tests can be pipes or terminals.
#[derive(Debug)]
pub(crate) struct Streams {
    pub stdin: File,
    pub stdout: File,
    pub stderr: File,
}

impl Streams {
    fn of_process() -> io::Result<Self> {
        let duplicate = |fd: std::os::fd::BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
        Ok(Self {
            stdin: duplicate(io::stdin().as_fd())?,
            stdout: duplicate(io::stdout().as_fd())?,
            stderr: duplicate(io::stderr().as_fd())?,
        })
    }
}

/// The client's own environment and directory, read once.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub variables: HashMap<String, String>,
    pub directory: PathBuf,
}

impl Environment {
    fn of_process() -> Self {
        let text = |word: std::ffi::OsString| word.into_string().ok();
        Self {
            variables: std::env::vars_os()
                .filter_map(|(name, value)| Some((text(name)?, text(value)?)))
                .collect(),
            // Only a relative bind needs it, and that then fails by itself.
            directory: std::env::current_dir().unwrap_or_default(),
        }
    }
}

/// What a command works with.
#[derive(Debug)]
pub(crate) struct Context {
    pub global: GlobalOptions,
    pub client: Client,
    /// Whether the user said where the daemon is: one that is not there is then
    /// not ours to start.
    pub has_host: bool,
    pub streams: Streams,
    pub environment: Environment,
}

impl Context {
    /// Returns the context of this process.
    ///
    /// # Errors
    /// When a standard stream is closed.
    pub(crate) fn of_process(global: &GlobalOptions) -> Result<Self, CliError> {
        let environment = Environment::of_process();
        let endpoint = remote::endpoint(global, &environment)?;
        Self::with(global, environment, endpoint)
    }

    /// Returns the context of a command that is about this host, whatever `DOCKER_HOST`
    /// and the context in use say.
    ///
    /// # Errors
    /// As [`Context::of_process`].
    pub(crate) fn of_own_daemon(global: &GlobalOptions) -> Result<Self, CliError> {
        let socket = Endpoint::Unix(global.socket());
        let has_host = global.host().is_some();
        Self::with(global, Environment::of_process(), (socket, has_host))
    }

    fn with(
        global: &GlobalOptions,
        environment: Environment,
        (endpoint, has_host): (Endpoint, bool),
    ) -> Result<Self, CliError> {
        Ok(Self {
            global: global.clone(),
            client: Client::at(endpoint),
            has_host,
            streams: Streams::of_process().map_err(CliError::Streams)?,
            environment,
        })
    }

    /// Connects to the daemon, which is started if it is ours and not running.
    /// It must have answered: one that is just dying still has connections made
    /// to it.
    ///
    /// # Errors
    /// When it cannot be reached or started.
    pub(crate) async fn connect(&self) -> Result<&Client, CliError> {
        match self.client.done(Call::get("/_ping")).await {
            Ok(_) => Ok(&self.client),
            Err(error) if is_gone(&error) && !self.has_host => {
                daemon::start(&self.global.daemon_options(), &self.client).await?;
                Ok(&self.client)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Returns whether the daemon is not the one whose directories are named.
    pub(crate) fn is_elsewhere(&self) -> bool {
        let own = self.global.socket();
        !matches!(self.client.endpoint(), Endpoint::Unix(socket) if *socket == own)
    }

    /// Writes `text` to stdout.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn print(&self, text: &str) -> Result<(), CliError> {
        (&self.streams.stdout)
            .write_all(text.as_bytes())
            .map_err(CliError::Output)
    }

    /// Writes `line` and a newline to stdout.
    ///
    /// # Errors
    /// When that fails.
    pub(crate) fn print_line(&self, line: &str) -> Result<(), CliError> {
        self.print(&format!("{line}\n"))
    }

    /// Writes `line` to stderr; a stderr that is gone is nobody's loss.
    pub(crate) fn warn(&self, line: &str) {
        drop(writeln!(&self.streams.stderr, "{line}"));
    }

    /// Makes the call for every one of `names` in turn and prints the name of
    /// each that worked; an error is printed and the others are done all the same.
    ///
    /// # Errors
    /// `Reported`, when one failed.
    pub(crate) async fn for_each(
        &self,
        names: &[String],
        call: impl Fn(&str) -> Result<Call, ClientError>,
    ) -> Result<(), CliError> {
        self.connect().await?;
        self.report(self.outcomes(names, call, 1)).await
    }

    /// As [`for_each`](Self::for_each), many at once: each may take long.
    ///
    /// # Errors
    /// `Reported`, when one failed.
    pub(crate) async fn for_all(
        &self,
        names: &[String],
        call: impl Fn(&str) -> Result<Call, ClientError>,
    ) -> Result<(), CliError> {
        self.connect().await?;
        self.report(self.outcomes(names, call, CALLS_AT_ONCE)).await
    }

    /// Makes the call for every one of `names` and returns how each went, in
    /// their order.
    pub(crate) fn outcomes<'a>(
        &'a self,
        names: &'a [String],
        call: impl Fn(&str) -> Result<Call, ClientError>,
        at_once: usize,
    ) -> impl Stream<Item = (&'a str, Result<(), CliError>)> {
        let made = stream::iter(names).map(move |name| {
            let call = call(name);
            async move {
                let done = match call {
                    Ok(call) => self.client.done(call).await.map(drop),
                    Err(error) => Err(error),
                };
                (name.as_str(), done.map_err(CliError::from))
            }
        });
        made.buffered(at_once)
    }

    async fn report(
        &self,
        outcomes: impl Stream<Item = (&str, Result<(), CliError>)>,
    ) -> Result<(), CliError> {
        let mut outcomes = pin!(outcomes);
        let mut all = Ok(());
        while let Some((name, done)) = outcomes.next().await {
            match done {
                Ok(()) => self.print_line(name)?,
                Err(error) => {
                    self.warn(&error.message());
                    all = Err(CliError::Reported);
                }
            }
        }
        all
    }
}
