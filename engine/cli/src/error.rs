//! Why a command failed, how that is printed, and what the process exits with.

use std::io;
use std::process::ExitCode;

use base::PathError;
use engine_api::client::ClientError;

use crate::attach::AttachError;
use crate::parse::ParseError;
use crate::template::TemplateError;

/// A failed command.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CliError {
    #[error("cannot start the asynchronous runtime")]
    Runtime(#[source] io::Error),
    #[error("cannot use the standard streams")]
    Streams(#[source] io::Error),
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    #[error("cannot set up the terminal")]
    Terminal(#[source] io::Error),
    #[error("cannot watch for signals")]
    Signals(#[source] io::Error),
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("cannot set up TLS")]
    Tls(#[from] engine_api::client::ClientTlsError),
    #[error(transparent)]
    File(#[from] PathError),
    #[error(transparent)]
    Contexts(#[from] crate::stored_contexts::ContextsError),
    #[error(transparent)]
    Install(#[from] crate::install::InstallError),
    #[error(transparent)]
    Parse(#[from] ParseError),
    #[error("cannot use the format")]
    Template(#[from] TemplateError),
    #[error(transparent)]
    Start(#[from] crate::daemon::StartError),
    #[error(transparent)]
    Stop(#[from] crate::daemon::StopError),
    #[error(transparent)]
    Credentials(#[from] crate::credentials::CredentialError),
    #[error("Error saving credentials")]
    Saving(#[source] crate::credentials::CredentialError),
    #[error("cannot read the event log")]
    Events(#[from] EventsError),
    #[error("the stream with the container broke")]
    Attach(#[from] AttachError),
    /// What the daemon reported within a stream of progress.
    #[error("{0}")]
    Progress(String),
    /// The command makes no sense as it was given.
    #[error("{0}")]
    Usage(String),
    /// Several objects were named and some failed; each has been printed.
    #[error("not everything could be done")]
    Reported,
    /// An error with an exit code of its own.
    #[error("{source}")]
    WithCode { code: u8, source: Box<CliError> },
}

/// Why the event log could not be read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventsError {
    #[error(transparent)]
    Open(#[from] events::OpenError),
    #[error(transparent)]
    Read(#[from] events::ReadError),
    #[error(transparent)]
    Repair(#[from] events::MaintainError),
}

impl CliError {
    /// Returns the error with the exit code `code`.
    pub(crate) fn with_code(self, code: u8) -> Self {
        Self::WithCode {
            code,
            source: Box::new(self),
        }
    }

    /// Returns the error with the exit code that errors have by default.
    pub(crate) fn without_code(self) -> Self {
        match self {
            Self::WithCode { source, .. } => *source,
            error => error,
        }
    }

    /// Returns the exit code.
    pub(crate) fn code(&self) -> u8 {
        match self {
            Self::WithCode { code, .. } => *code,
            _ => 1,
        }
    }

    /// Returns the sentence a person reads, causes included.
    pub(crate) fn message(&self) -> String {
        match self {
            Self::WithCode { source, .. } => source.message(),
            Self::Client(error) if error.status().is_some() => {
                format!("Error response from daemon: {error}")
            }
            error => base::failure::chain(error),
        }
    }

    /// Prints the error on stderr, once, and returns the exit code.
    pub(crate) fn report(&self, prefix: &str) -> ExitCode {
        let said = self.is_reported() || self.is_broken_pipe();
        if !said {
            eprint_line(&format!("{prefix}{}", self.message()));
        }
        ExitCode::from(self.code())
    }

    fn is_reported(&self) -> bool {
        match self {
            Self::WithCode { source, .. } => source.is_reported(),
            error => matches!(error, Self::Reported),
        }
    }

    /// Returns whether the reader of our output went away, as `head` does.
    fn is_broken_pipe(&self) -> bool {
        let error = match self {
            Self::WithCode { source, .. } => return source.is_broken_pipe(),
            Self::Output(error) | Self::Attach(AttachError::Write(error)) => error,
            _ => return false,
        };
        error.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Prints a line on stderr; a stderr that is gone is nobody's loss.
pub(crate) fn eprint_line(line: &str) {
    use std::io::Write as _;
    drop(writeln!(io::stderr(), "{line}"));
}
