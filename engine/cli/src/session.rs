//! What goes on beside an attachment: signals are passed on, or the terminal's
//! size is; the terminal's own mode comes back whatever happens.

use std::fs::File;
use std::future::poll_fn;
use std::task::Poll;

use engine_api::client::{Call, Client, encode};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::attach::{Attachment, End};
use crate::error::CliError;
use crate::terminal::{self, RawMode};

/// Signals passed on to a container, with the names the API takes.
const FORWARDED: [(&str, i32); 8] = [
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("USR1", libc::SIGUSR1),
    ("USR2", libc::SIGUSR2),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CONT", libc::SIGCONT),
];

/// Signals that end a command whose terminal is raw, once that is undone.
const ENDING: [i32; 2] = [libc::SIGHUP, libc::SIGTERM];

/// What a session is attached to.
#[derive(Debug, Clone)]
pub(crate) enum Target {
    Container(String),
    Exec(String),
}

impl Target {
    fn resize(&self, size: terminal::Size) -> Call {
        let path = match self {
            Self::Container(id) => format!("/containers/{}/resize", encode(id)),
            Self::Exec(id) => format!("/exec/{}/resize", encode(id)),
        };
        Call::post(&path)
            .query("h", size.height.to_string())
            .query("w", size.width.to_string())
    }

    fn kill(&self, name: &str) -> Option<Call> {
        match self {
            Self::Container(id) => {
                let path = format!("/containers/{}/kill", encode(id));
                Some(Call::post(&path).query("signal", name))
            }
            Self::Exec(_) => None,
        }
    }
}

/// What the session does with signals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signals {
    /// They are the container's.
    Forward,
    /// They keep their meaning for this process.
    Keep,
}

/// A session, from before the container starts until its output is over.
#[derive(Debug)]
pub(crate) struct Session<'a> {
    client: &'a Client,
    target: Target,
    /// The terminal whose size is passed on.
    terminal: Option<&'a File>,
    raw: Option<RawMode>,
    watched: Vec<(Watched, Signal)>,
}

/// A signal that is watched for, and what it means.
#[derive(Debug, Clone, Copy)]
enum Watched {
    Resize,
    Forward(&'static str),
    End(i32),
}

impl<'a> Session<'a> {
    /// Returns the session of a container with a terminal: `input` becomes raw
    /// if it is one, `output` gives the size.
    ///
    /// # Errors
    /// When the terminal cannot be set up.
    pub(crate) fn on_terminal(
        client: &'a Client,
        target: Target,
        input: Option<&File>,
        output: &'a File,
    ) -> Result<Self, CliError> {
        let raw = match input.filter(|input| terminal::is_terminal(input)) {
            Some(input) => Some(RawMode::enter(input).map_err(CliError::Terminal)?),
            None => None,
        };
        let mut watched = vec![(Watched::Resize, watch(libc::SIGWINCH)?)];
        if raw.is_some() {
            for number in ENDING {
                watched.push((Watched::End(number), watch(number)?));
            }
        }
        Ok(Self {
            client,
            target,
            terminal: terminal::is_terminal(output).then_some(output),
            raw,
            watched,
        })
    }

    /// Returns the session of a container without a terminal.
    ///
    /// # Errors
    /// When signals cannot be watched.
    pub(crate) fn on_pipes(
        client: &'a Client,
        target: Target,
        signals: Signals,
    ) -> Result<Self, CliError> {
        let mut watched = Vec::new();
        if signals == Signals::Forward {
            for (name, number) in FORWARDED {
                watched.push((Watched::Forward(name), watch(number)?));
            }
        }
        Ok(Self {
            client,
            target,
            terminal: None,
            raw: None,
            watched,
        })
    }

    /// Passes the terminal's size on; a container that has just ended takes none.
    pub(crate) async fn resize(&self) {
        if let Some(size) = self.terminal.and_then(terminal::size) {
            drop(self.client.done(self.target.resize(size)).await);
        }
    }

    /// Passes a wrong size on and then the right one, so that a program that
    /// has been running draws itself anew.
    pub(crate) async fn redraw(&self) {
        if let Some(terminal::Size { height, width }) = self.terminal.and_then(terminal::size) {
            let (height, width) = (height.saturating_add(1), width.saturating_add(1));
            let wrong = terminal::Size { height, width };
            drop(self.client.done(self.target.resize(wrong)).await);
        }
        self.resize().await;
    }

    /// Waits for the end of `attachment`, and passes signals on meanwhile.
    /// The terminal's mode is back when this returns.
    ///
    /// # Errors
    /// When a signal ends this command.
    pub(crate) async fn follow(mut self, attachment: &mut Attachment) -> Result<End, CliError> {
        loop {
            let caught = tokio::select! {
                end = attachment.end() => return Ok(end),
                caught = self.caught() => caught,
            };
            match caught {
                Watched::Resize => self.resize().await,
                // One that arrives after the exit has nobody to go to.
                Watched::Forward(name) => {
                    if let Some(call) = self.target.kill(name) {
                        drop(self.client.done(call).await);
                    }
                }
                Watched::End(number) => {
                    drop(self.raw.take());
                    let code = u8::try_from(128 + number).unwrap_or(u8::MAX);
                    return Err(CliError::Reported.with_code(code));
                }
            }
        }
    }

    async fn caught(&mut self) -> Watched {
        poll_fn(|context| {
            for (watched, signal) in &mut self.watched {
                if signal.poll_recv(context).is_ready() {
                    return Poll::Ready(*watched);
                }
            }
            Poll::Pending
        })
        .await
    }
}

fn watch(number: i32) -> Result<Signal, CliError> {
    signal(SignalKind::from_raw(number)).map_err(CliError::Signals)
}
