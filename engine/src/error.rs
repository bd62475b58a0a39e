//! The engine's errors: a kind that picks the HTTP status, and one clear sentence.
//!
//! Every module below returns [`base::Failure`], the form that also crosses
//! process borders; this file holds the short ways to make one.

use std::error::Error;
use std::fmt::Display;

use base::{Failure, FailureKind};

/// What the engine's functions return.
pub type Result<T, E = Failure> = std::result::Result<T, E>;

/// Returns a failure that blames the request.
pub fn invalid(message: impl Display) -> Failure {
    Failure::new(FailureKind::Invalid, message)
}

/// Returns a failure about something that is not there.
pub fn not_found(message: impl Display) -> Failure {
    Failure::new(FailureKind::NotFound, message)
}

/// Returns a failure about a clash with what exists.
pub fn conflict(message: impl Display) -> Failure {
    Failure::new(FailureKind::Conflict, message)
}

/// Returns a failure that is ours or the host's.
pub fn internal(message: impl Display) -> Failure {
    Failure::new(FailureKind::Internal, message)
}

/// Returns a failure about something that is not built.
pub fn unsupported(message: impl Display) -> Failure {
    Failure::new(FailureKind::Unsupported, message)
}

/// Returns a failure about a state that the host would have to be in.
pub fn unavailable(message: impl Display) -> Failure {
    Failure::new(FailureKind::Unavailable, message)
}

/// Returns several sentences as Docker's server joins them: one alone as it is,
/// more each on a line with a star.
pub fn listed(sentences: &[String]) -> String {
    match sentences {
        [one] => one.clone(),
        many => {
            let lines: Vec<String> = many.iter().map(|it| format!("* {it}")).collect();
            lines.join("\n")
        }
    }
}

/// Turns any error, with its causes, into a failure of one kind.
pub trait OrFail<T> {
    /// Blames the request.
    ///
    /// # Errors
    /// The error it was called on.
    fn or_invalid(self) -> Result<T>;

    /// Blames us or the host.
    ///
    /// # Errors
    /// The error it was called on.
    fn or_internal(self) -> Result<T>;
}

impl<T, E: Error> OrFail<T> for std::result::Result<T, E> {
    fn or_invalid(self) -> Result<T> {
        self.map_err(|error| Failure::from_error(FailureKind::Invalid, &error))
    }

    fn or_internal(self) -> Result<T> {
        self.map_err(|error| Failure::from_error(FailureKind::Internal, &error))
    }
}
