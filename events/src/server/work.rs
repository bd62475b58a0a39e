//! The workers' half of a server: judging, performing, answering.

use std::fmt;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread::{Builder, Scope};
use std::time::Duration;

use base::{Failure, FailureKind, PathContext as _};
use serde_json::value::{RawValue, to_raw_value};

use super::ledger::{Ledger, Verdict};
use super::mark::Mark;
use super::pool::{Job, Lane, Pool};
use super::{ServerConfig, Service, before, read_error};
use crate::cursor::Cursor;
use crate::durable::guard;
use crate::format::Entry;
use crate::log::{AppendError, Log};
use crate::position::Position;
use crate::reader::{ReadError, Reader};
use crate::record::Record;

/// How often a fact is offered to the service before it is given up.
const OBSERVE_ATTEMPTS: u32 = 5;
/// The pause after the first failed attempt; it doubles each time.
const OBSERVE_PAUSE: Duration = Duration::from_millis(50);

/// How often an answer is tried on a full disk before the server ends.
const FULL_DISK_ATTEMPTS: u32 = 100;
const FULL_DISK_PAUSE: Duration = Duration::from_millis(100);

/// What the reading thread and the workers share.
pub(super) struct Shared {
    pub(super) log: Log,
    pub(super) service: Arc<dyn Service>,
    pub(super) ledger: Mutex<Ledger>,
    pub(super) mark: Mutex<Mark>,
    pub(super) pool: Pool,
    /// An answer could not be appended: the server ends.
    pub(super) broken: Mutex<Option<AppendError>>,
}

/// An answer, of this moment or repeated.
struct Answer<'a> {
    kind: &'a str,
    data: &'a RawValue,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shared")
            .field("log", &self.log)
            .field("service", &self.service.name())
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(log: Log, service: Arc<dyn Service>, queue_limit: usize) -> Self {
        let boot_id = log.current_boot().clone();
        Self {
            log,
            service,
            ledger: Mutex::new(Ledger::new(boot_id)),
            mark: Mutex::new(Mark::new(Position::default())),
            pool: Pool::new(queue_limit),
            broken: Mutex::new(None),
        }
    }

    pub(super) fn open_cursor(&self) -> Result<Cursor, ReadError> {
        self.log.cursor(self.service.name()).map_err(read_error)
    }

    pub(super) fn reader(&self, after: Position) -> Result<Reader, ReadError> {
        self.log.read_after(after).map_err(read_error)
    }

    pub(super) fn resync(&self) -> Result<(), ReadError> {
        self.service.resync().map_err(ReadError::Resync)
    }

    fn work(&self, lane: Lane) {
        while let Some(job) = self.pool.take(lane) {
            match self.handle(&job) {
                Ok(()) => guard(&self.mark).end(job.record.position),
                Err(error) => {
                    // The record stays open: it comes again after a restart.
                    guard(&self.broken).get_or_insert(error);
                }
            }
            self.pool.finish(&job.record.subject);
        }
    }

    fn handle(&self, job: &Job) -> Result<(), AppendError> {
        if job.is_request {
            self.handle_request(&job.record)?;
        }
        if job.is_observed {
            self.observe(&job.record);
        }
        Ok(())
    }

    fn handle_request(&self, record: &Record) -> Result<(), AppendError> {
        let verdict = guard(&self.ledger).verdict(record, self.service.as_ref());
        match verdict {
            Verdict::Skip => Ok(()),
            Verdict::Refuse(failure) => self.refuse(record, &failure),
            Verdict::Repeat(position) => self.repeat(record, position),
            Verdict::Perform => self.perform(record),
        }
    }

    fn perform(&self, record: &Record) -> Result<(), AppendError> {
        let performed = catch_unwind(AssertUnwindSafe(|| self.service.perform(record)));
        let reply = match performed.unwrap_or_else(|_| Err(panicked(record))) {
            Ok(reply) => reply,
            Err(failure) => return self.refuse(record, &failure),
        };
        let answer = Answer {
            kind: reply.kind,
            data: &reply.data,
        };
        match self.append(record, &answer) {
            Err(AppendError::TooLarge { .. }) => {
                let text = format!("the reply to {} is too large", record.kind);
                self.refuse(record, &Failure::new(FailureKind::Internal, text))
            }
            other => other,
        }
    }

    fn refuse(&self, record: &Record, failure: &Failure) -> Result<(), AppendError> {
        let mut failure = failure.clone();
        truncate(&mut failure.message, FAILURE_LIMIT_BYTES);
        let data = to_raw_value(&failure).expect("a kind and a text are JSON");
        let answer = Answer {
            kind: self.service.failed_kind(&record.kind),
            data: &data,
        };
        self.append(record, &answer)
    }

    /// Appends the answer that was given before once more.
    fn repeat(&self, record: &Record, position: Position) -> Result<(), AppendError> {
        let mut reader = self
            .log
            .read_after(before(position))
            .map_err(|error| AppendError::Epoch(Box::new(error)))?;
        let recorded = reader.read_batch().ok().and_then(|records| {
            let mut records = records.into_iter();
            records.next().filter(|found| found.position == position)
        });
        let Some(recorded) = recorded else {
            let text = format!("the recorded reply to {} is gone", record.kind);
            return self.refuse(record, &Failure::new(FailureKind::Internal, text));
        };
        let answer = Answer {
            kind: &recorded.kind,
            data: &recorded.data,
        };
        self.append(record, &answer)
    }

    fn append(&self, record: &Record, answer: &Answer<'_>) -> Result<(), AppendError> {
        let entry = Entry {
            source: self.service.name(),
            kind: answer.kind,
            subject: &record.subject,
            request: record.request.as_ref(),
            data: answer.data,
        };
        let positions = self.append_when_there_is_room(entry)?;
        if let (Some(id), Some(position)) = (&record.request, positions.first()) {
            guard(&self.ledger).answered(id, *position);
        }
        Ok(())
    }

    /// A full disk may have room again soon; what was done must be told.
    fn append_when_there_is_room(&self, entry: Entry<'_>) -> Result<Vec<Position>, AppendError> {
        for _ in 1..FULL_DISK_ATTEMPTS {
            match self.log.append_entries(std::iter::once(entry)) {
                Err(AppendError::File(error)) if error.kind() == ErrorKind::StorageFull => {
                    tracing::warn!(subject = entry.subject, "no room to record an answer");
                    std::thread::sleep(FULL_DISK_PAUSE);
                }
                other => return other,
            }
        }
        self.log.append_entries(std::iter::once(entry))
    }

    fn observe(&self, record: &Record) {
        let mut pause = OBSERVE_PAUSE;
        for attempt in 1..=OBSERVE_ATTEMPTS {
            let observed = catch_unwind(AssertUnwindSafe(|| self.service.observe(record)));
            let Err(failure) = observed.unwrap_or_else(|_| Err(panicked(record))) else {
                return;
            };
            let (kind, subject) = (&record.kind, &record.subject);
            tracing::warn!(attempt, kind, subject, %failure, "cannot act on an event");
            if attempt < OBSERVE_ATTEMPTS {
                std::thread::sleep(pause);
                pause *= 2;
            }
        }
    }
}

/// The longest message of a refusal; far below what a record may hold.
const FAILURE_LIMIT_BYTES: usize = 16 * 1024;

/// Starts the workers; they end when the pool is closed.
pub(super) fn spawn<'scope, 'shared: 'scope>(
    scope: &'scope Scope<'scope, '_>,
    shared: &'shared Shared,
    config: &ServerConfig,
) -> Result<(), ReadError> {
    let lanes = [
        (Lane::Normal, config.workers, "work"),
        (Lane::Teardown, config.teardown_workers, "teardown"),
    ];
    for (lane, count, role) in lanes {
        for number in 0..count.max(1) {
            let name = format!("{}-{role}-{number}", shared.service.name());
            Builder::new()
                .name(name)
                .spawn_scoped(scope, move || shared.work(lane))
                .at("start a worker for", shared.log.directory())?;
        }
    }
    Ok(())
}

fn panicked(record: &Record) -> Failure {
    Failure::new(
        FailureKind::Internal,
        format!("handling {} panicked", record.kind),
    )
}

fn truncate(text: &mut String, limit_bytes: usize) {
    if text.len() > limit_bytes {
        let end = text.floor_char_boundary(limit_bytes);
        text.truncate(end);
    }
}
