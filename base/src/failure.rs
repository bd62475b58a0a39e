//! What went wrong, in the form that crosses process borders.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The few kinds an error has at the outermost layer; each picks an exit code
/// and an HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FailureKind {
    /// The request itself is wrong (400).
    Invalid,
    /// Who asks has not shown who it is, or not rightly (401).
    Unauthorized,
    /// Who asks may not have it (403).
    Forbidden,
    /// What it names does not exist (404).
    NotFound,
    /// It clashes with what exists: a name, a port, a use (409).
    Conflict,
    /// Not built, or the kernel lacks it (501).
    Unsupported,
    /// The host is not in the state that is needed (503).
    Unavailable,
    /// The requester gave up, or the deadline passed (504).
    Cancelled,
    /// A resource ran out: disk, addresses (500 with its own text).
    Exhausted,
    /// Our fault or the host's (500).
    Internal,
}

/// A failed request as its reply carries it: the kind and one clear sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    pub kind: FailureKind,
    pub message: String,
}

impl Failure {
    /// Returns a failure of `kind` that says `message`.
    pub fn new(kind: FailureKind, message: impl fmt::Display) -> Self {
        Self {
            kind,
            message: message.to_string(),
        }
    }

    /// Returns a failure that prints `error` and every cause below it.
    pub fn from_error(kind: FailureKind, error: &dyn std::error::Error) -> Self {
        Self {
            kind,
            message: chain(error),
        }
    }
}

/// Returns `error` and its causes, outermost first, joined by colons.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}
