//! Answering requests: one loop that reads the log, keeps order per subject on
//! a bounded pool, answers each request once, and survives being killed.

//!
//! A record's life: read, noted in the ledger, queued with its subject, judged
//! when its turn comes, performed, answered, and only then passed by the cursor.

mod ledger;
mod mark;
mod pool;
mod work;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base::Failure;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::cursor::Cursor;
use crate::durable::guard;
use crate::log::{Log, OpenError};
use crate::position::Position;
use crate::reader::ReadError;
use crate::record::Record;

use pool::{Job, Lane};
use work::Shared;

/// How long the server waits before it looks whether it should stop.
const STOP_POLL: Duration = Duration::from_millis(250);
/// The cursor is stored at most this often, and before the server ends.
const CURSOR_INTERVAL: Duration = Duration::from_millis(250);
/// How many records before the cursor are read again for their answers.
const RECALLED_RECORDS: u64 = 4096;

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

    /// Returns whether this request or fact means slow teardown, which runs on
    /// its own low-priority queue (still in order with its subject).
    fn is_teardown(&self, record: &Record) -> bool;

    /// Returns whether this request is void once the run it is about is over.
    fn ends_with_run(&self, record: &Record) -> bool {
        !self.is_teardown(record)
    }

    /// Returns whether a record of ours with a request id tells of progress;
    /// any other is taken for the answer.
    fn is_progress(&self, record: &Record) -> bool {
        record.kind.ends_with(".progress")
    }

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

    /// Takes note of a request or fact while its turn has not come: called for
    /// all of them in the order of the log, so that a later one of another
    /// subject finds it noted. Must not block.
    fn notice(&self, _record: &Record) {}

    /// Makes up for facts that were dropped before we read them, from the
    /// state files of those who wrote them.
    ///
    /// # Errors
    /// A failure ends the server.
    fn resync(&self) -> Result<(), Failure> {
        Ok(())
    }
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
pub struct Server {
    shared: Shared,
    config: ServerConfig,
}

impl Server {
    /// Returns a server of `service` on `log`.
    pub fn new(log: Log, service: Arc<dyn Service>, config: ServerConfig) -> Self {
        let shared = Shared::new(log, service, config.queue_limit);
        Self { shared, config }
    }

    /// Reads to the end first, then runs only requests that are of this boot,
    /// unexpired, uncancelled, unanswered and whose run is not over; then
    /// follows the log until `stop` is set. A repeated request id repeats its
    /// recorded reply.
    ///
    /// # Errors
    /// When the log cannot be read or appended to.
    pub fn run(self, stop: &AtomicBool) -> Result<(), ReadError> {
        let cursor = self.shared.open_cursor()?;
        self.recall(cursor.position())?;
        let shared = &self.shared;
        let result = std::thread::scope(|scope| {
            let spawned = work::spawn(scope, shared, &self.config);
            let result = spawned.and_then(|()| Follower::new(shared, cursor, stop).run());
            shared.pool.close();
            result
        });
        match guard(&shared.broken).take() {
            Some(error) => Err(error.into()),
            None => result,
        }
    }

    /// Reads from some way before the cursor to the end, for what is answered.
    fn recall(&self, cursor: Position) -> Result<(), ReadError> {
        let start = Position {
            epoch: cursor.epoch,
            seq: cursor.seq.saturating_sub(RECALLED_RECORDS),
        };
        let mut reader = self.shared.reader(start)?;
        loop {
            let records = match reader.read_batch() {
                Err(ReadError::Gap { oldest, .. }) => {
                    reader = self.shared.reader(before(oldest))?;
                    continue;
                }
                other => other?,
            };
            if records.is_empty() {
                return Ok(());
            }
            let mut ledger = guard(&self.shared.ledger);
            for record in &records {
                ledger.recall(record, self.shared.service.as_ref());
            }
        }
    }
}

/// The reading half: follows the log and hands out the work.
struct Follower<'a> {
    shared: &'a Shared,
    cursor: Cursor,
    stored_at: Instant,
    stop: &'a AtomicBool,
}

impl<'a> Follower<'a> {
    fn new(shared: &'a Shared, cursor: Cursor, stop: &'a AtomicBool) -> Self {
        guard(&shared.mark).pass(cursor.position());
        Self {
            shared,
            cursor,
            stored_at: Instant::now(),
            stop,
        }
    }

    fn run(mut self) -> Result<(), ReadError> {
        let mut reader = self.shared.reader(self.cursor.position())?;
        while !self.is_over() {
            let records = match reader.read_batch() {
                Err(ReadError::Gap { oldest, .. }) => {
                    self.shared.resync()?;
                    reader = self.shared.reader(before(oldest))?;
                    continue;
                }
                other => other?,
            };
            if records.is_empty() {
                self.store_cursor_if_due()?;
                reader.wait(STOP_POLL)?;
            }
            for record in records {
                self.dispatch(record);
            }
        }
        self.store_cursor()
    }

    fn is_over(&self) -> bool {
        self.stop.load(Ordering::Relaxed) || guard(&self.shared.broken).is_some()
    }

    fn dispatch(&self, record: Record) {
        let service = self.shared.service.as_ref();
        guard(&self.shared.ledger).note(&record, service);
        let is_request = record.request.is_some() && service.is_request(&record);
        let is_observed = service.is_observed(&record);
        if !is_request && !is_observed {
            guard(&self.shared.mark).pass(record.position);
            return;
        }
        service.notice(&record);
        guard(&self.shared.mark).begin(record.position);
        while !self.shared.pool.wait_for_room(STOP_POLL) {
            if self.is_over() {
                return;
            }
        }
        let lane = if service.is_teardown(&record) {
            Lane::Teardown
        } else {
            Lane::Normal
        };
        self.shared.pool.push(Job {
            record,
            lane,
            is_request,
            is_observed,
        });
    }

    fn store_cursor_if_due(&mut self) -> Result<(), ReadError> {
        if self.stored_at.elapsed() < CURSOR_INTERVAL {
            return Ok(());
        }
        self.store_cursor()
    }

    fn store_cursor(&mut self) -> Result<(), ReadError> {
        let mark = guard(&self.shared.mark).low_water();
        if mark != self.cursor.position() {
            match self.cursor.store(mark) {
                // Facts come again after a crash, which is better than one now.
                Err(error) if error.is_full() => tracing::warn!(%error, "no room for the cursor"),
                stored => stored?,
            }
        }
        self.stored_at = Instant::now();
        Ok(())
    }
}

fn before(oldest: Position) -> Position {
    Position {
        epoch: oldest.epoch,
        seq: oldest.seq.saturating_sub(1),
    }
}

fn read_error(error: OpenError) -> ReadError {
    match error {
        OpenError::File(error) => ReadError::File(error),
        other => ReadError::Append(Box::new(other).into()),
    }
}
