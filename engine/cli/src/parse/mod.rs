//! The little languages of options: ports, mounts, durations and so on. Every
//! parser is pure; what it needs of the host is passed in.

pub(crate) mod cpus;
pub(crate) mod csv;
pub(crate) mod device;
pub(crate) mod duration;
pub(crate) mod env;
pub(crate) mod filter;
pub(crate) mod host;
pub(crate) mod label;
pub(crate) mod mount;
pub(crate) mod network;
pub(crate) mod port;
pub(crate) mod reference;
pub(crate) mod restart;
pub(crate) mod security;
pub(crate) mod size;
pub(crate) mod time;
pub(crate) mod ulimit;
pub(crate) mod volume;

/// What is wrong with the value of an option.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct ParseError(String);

impl ParseError {
    /// Returns an error that says `message`.
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

/// Returns an error that says `message`.
pub(crate) fn refuse<T>(message: impl Into<String>) -> Result<T, ParseError> {
    Err(ParseError::new(message))
}
