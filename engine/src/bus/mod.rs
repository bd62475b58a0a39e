//! The engine's end of the event log: publishing, calling helpers, and the one
//! thread that follows the log for the whole process.
//!
//! Every record goes, in order, to the waiting calls and to the monitor, and once
//! that has handled it to API clients (who may lag and re-read the files): whoever
//! hears of an exit finds the container exited.

mod late;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base::{Failure, FailureKind};
use events::{CallError, Draft, Log, Position, Record, RequestBody, Requester};
use serde::Serialize;
use tokio::sync::{broadcast, mpsc, oneshot, watch};

use crate::error::{OrFail as _, Result, internal};
use crate::event::SOURCE;

/// Records a slow API client may be behind before it has to re-read the files.
const BROADCAST_LIMIT: usize = 4096;
/// Records the monitor may be behind before reading pauses.
const MONITOR_LIMIT: usize = 1024;
/// How long the reader thread sleeps at most, so that it sees a shutdown.
const WAIT_LIMIT: Duration = Duration::from_secs(1);

/// The engine's end of the event log; cheap to clone.
#[derive(Debug, Clone)]
pub struct Bus {
    log: Log,
    requester: Requester,
    records: broadcast::Sender<Arc<Record>>,
    /// The last record that API clients have been told of.
    told: watch::Sender<Position>,
}

impl Bus {
    /// Returns a bus on `log` that nobody feeds yet.
    pub fn new(log: Log) -> Self {
        let requester = Requester::new(log.clone(), SOURCE);
        // Lives as long as the process, as the circle does that it closes.
        let undoing = requester.clone();
        requester.on_late_reply(move |record| late::undo(&undoing, record));
        let (records, _) = broadcast::channel(BROADCAST_LIMIT);
        Self {
            log,
            requester,
            records,
            told: watch::Sender::default(),
        }
    }

    /// Returns the log itself.
    pub fn log(&self) -> &Log {
        &self.log
    }

    /// Returns a receiver of every record from now on, and the last one's position
    /// before them.
    pub fn subscribe(&self) -> (broadcast::Receiver<Arc<Record>>, Position) {
        // While it is borrowed nothing is told.
        let told = self.told.borrow();
        (self.records.subscribe(), *told)
    }

    /// Tells API clients of a record that has been handled.
    pub fn tell(&self, record: Arc<Record>) {
        self.told.send_modify(|told| {
            *told = record.position.max(*told);
            // No API client listens: that is no error.
            drop(self.records.send(record));
        });
    }

    /// Waits until everything has been handled that the log has at this moment.
    ///
    /// # Errors
    /// When the log cannot be read, or that takes longer than `patience`.
    pub async fn catch_up(&self, patience: Duration) -> Result<()> {
        let last = self.log.last().or_internal()?;
        let mut told = self.told.subscribe();
        let handled = told.wait_for(|told| *told >= last);
        match tokio::time::timeout(patience, handled).await {
            Ok(_) => Ok(()),
            Err(_) => Err(internal(format!(
                "the event log has not been followed to {last} within {patience:?}"
            ))),
        }
    }

    /// Appends one fact of the engine's.
    ///
    /// # Errors
    /// When the log cannot be written.
    pub fn publish(
        &self,
        kind: &'static str,
        subject: impl Into<String>,
        data: &impl Serialize,
    ) -> Result<Position> {
        let draft = Draft::new(SOURCE, kind, subject, data).or_internal()?;
        let positions = self.log.append(&[draft]).or_internal()?;
        Ok(positions.first().copied().unwrap_or_default())
    }

    /// Asks a helper and waits for its answer; gives up, and says so in the
    /// log, after `patience`.
    ///
    /// # Errors
    /// The helper's refusal, or that it did not answer.
    pub async fn call<B: RequestBody>(
        &self,
        subject: &str,
        body: &B,
        patience: Duration,
    ) -> Result<B::Reply> {
        let (sender, receiver) = oneshot::channel();
        let deliver = move |reply| {
            // Nobody waits any more: the cancellation below has been recorded.
            drop(sender.send(reply));
        };
        let request = self
            .requester
            .send(subject, body, patience, deliver)
            .map_err(failure)?;
        match tokio::time::timeout(patience, receiver).await {
            Ok(Ok(reply)) => reply.map_err(failure),
            Ok(Err(_)) | Err(_) => {
                self.requester.cancel(&request).map_err(failure)?;
                Err(failure(CallError::TimedOut {
                    kind: B::KIND,
                    limit: patience,
                }))
            }
        }
    }

    /// Gives up on requests whose deadline has passed.
    pub fn expire(&self) {
        if let Err(error) = self.requester.expire() {
            tracing::warn!(
                error = base::failure::chain(&error),
                "cannot cancel overdue requests"
            );
        }
    }

    /// Starts the thread that follows the log after `from`; every record also
    /// goes to the returned receiver, which must be drained.
    ///
    /// # Errors
    /// When the log cannot be read or the thread not started.
    pub fn follow(
        &self,
        from: Position,
        stop: Arc<AtomicBool>,
    ) -> Result<mpsc::Receiver<Arc<Record>>> {
        let mut reader = self.log.read_after(from).or_internal()?;
        let last = self.log.last().or_internal()?;
        self.told.send_replace(last);
        let (sender, receiver) = mpsc::channel(MONITOR_LIMIT);
        let bus = self.clone();
        let work = move || {
            while !stop.load(Ordering::Relaxed) {
                match step(&mut reader, &bus, &sender) {
                    Ok(true) => {}
                    Ok(false) => return,
                    Err(error) => {
                        tracing::error!(
                            error = base::failure::chain(&error),
                            "cannot follow the event log"
                        );
                        return;
                    }
                }
            }
        };
        std::thread::Builder::new()
            .name("events".into())
            .spawn(work)
            .or_internal()?;
        Ok(receiver)
    }
}

/// Hands over what is there, or waits for more; false once nobody listens.
fn step(
    reader: &mut events::Reader,
    bus: &Bus,
    monitor: &mpsc::Sender<Arc<Record>>,
) -> std::result::Result<bool, events::ReadError> {
    let records = reader.read_batch()?;
    if records.is_empty() {
        reader.wait(WAIT_LIMIT)?;
    }
    for record in records {
        bus.requester.observe(&record);
        if monitor.blocking_send(Arc::new(record)).is_err() {
            return Ok(false);
        }
    }
    Ok(true)
}

fn failure(error: CallError) -> Failure {
    match error {
        CallError::Refused(failure) => failure,
        CallError::TimedOut { .. } => Failure::from_error(FailureKind::Internal, &error),
        other => Failure::from_error(FailureKind::Internal, &other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_hear_of_what_has_been_handled_only() {
        let directory = tempfile::tempdir().unwrap();
        let bus = Bus::new(Log::open(directory.path()).unwrap());
        let earlier = bus.publish("container.stopped", "a", &()).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let mut monitor = bus.follow(earlier, stop.clone()).unwrap();
        let (mut live, before) = bus.subscribe();
        assert_eq!(before, earlier);

        let position = bus.publish("container.stopped", "b", &()).unwrap();
        let record = monitor.blocking_recv().unwrap();
        assert_eq!(record.position, position);
        assert!(live.try_recv().is_err(), "it has not been handled");
        assert_eq!(bus.subscribe().1, earlier);

        bus.tell(record);
        assert_eq!(live.try_recv().unwrap().position, position);
        assert_eq!(bus.subscribe().1, position);
        stop.store(true, Ordering::Relaxed);
    }
}
