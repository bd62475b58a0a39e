//! Why a request failed.

use base::FailureKind;
use hyper::StatusCode;

/// Why a request brought no answer, or a bad one.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    #[error("cannot connect to the engine at {endpoint}")]
    Connect {
        endpoint: String,
        source: std::io::Error,
    },
    #[error("the connection to the engine failed")]
    Http(#[source] hyper::Error),
    #[error("cannot pass on what the connection carries")]
    Relay(#[source] std::io::Error),
    #[error("cannot build the request")]
    Request(#[source] hyper::http::Error),
    #[error("cannot write the request's body as JSON")]
    Encode(#[source] serde_json::Error),
    #[error("cannot read the engine's answer")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the engine's answer is not what was expected")]
    Decode(#[source] serde_json::Error),
    #[error("the engine's answer has a line of more than {limit_bytes} bytes")]
    LongLine { limit_bytes: usize },
    #[error("{message}")]
    Refused { status: u16, message: String },
    #[error("the engine answered {status} instead of switching protocols")]
    NoUpgrade { status: u16 },
}

impl ClientError {
    pub(super) fn refused(status: StatusCode, message: String) -> Self {
        let message = match message.is_empty() {
            true => format!("the engine answered {status}"),
            false => message,
        };
        Self::Refused {
            status: status.as_u16(),
            message,
        }
    }

    /// Returns the status of a refusal.
    pub fn status(&self) -> Option<u16> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }

    /// Returns the kind of failure.
    pub fn kind(&self) -> FailureKind {
        self.status()
            .map_or(FailureKind::Internal, crate::error::kind_of)
    }

    /// Returns whether nobody listens on the socket.
    pub fn is_not_running(&self) -> bool {
        use std::io::ErrorKind as K;
        matches!(self, Self::Connect { source, .. }
            if matches!(source.kind(), K::NotFound | K::ConnectionRefused))
    }

    /// Returns whether the connection ended before the engine had read the
    /// request: a daemon that dies leaves those in its queue that it has not
    /// accepted, and they end by a reset, or by a pipe that nobody reads.
    pub fn is_unread(&self) -> bool {
        use std::io::ErrorKind as K;
        let lost =
            |error: &std::io::Error| matches!(error.kind(), K::ConnectionReset | K::BrokenPipe);
        match self {
            // Between the connection and the first look at it.
            Self::Connect { source, .. } => lost(source),
            Self::Http(error) => {
                let io = std::error::Error::source(error).and_then(|it| it.downcast_ref());
                error.is_canceled() || io.is_some_and(lost)
            }
            _ => false,
        }
    }
}
