//! Facts on their way into the event log: in order, retried while the disk is
//! full.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use engine_shim_api::SOURCE;
use events::{AppendError, Draft, Log};
use serde::Serialize;

/// Facts that wait at most; past it, facts about execs are given up.
const LIMIT: usize = 256;
/// The first and the longest pause between two attempts.
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_RETRY: Duration = Duration::from_secs(5);

/// The queue of facts that are not in the log yet.
#[derive(Debug)]
pub(crate) struct Outbox {
    log: Log,
    subject: String,
    waiting: VecDeque<Draft>,
    retry: Option<(Instant, Duration)>,
}

/// Whether a fact may be given up when the log cannot be written for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Weight {
    /// Of the container: never.
    Vital,
    /// Of an exec.
    Droppable,
}

impl Outbox {
    pub(crate) fn new(log: Log, subject: String) -> Self {
        Self {
            log,
            subject,
            waiting: VecDeque::new(),
            retry: None,
        }
    }

    /// Queues one fact and appends what waits.
    ///
    /// # Errors
    /// When the fact is given up, or the append failed and will be retried.
    pub(crate) fn push(
        &mut self,
        kind: &'static str,
        payload: &impl Serialize,
        weight: Weight,
    ) -> Result<(), OutboxError> {
        if weight == Weight::Droppable && self.waiting.len() >= LIMIT {
            return Err(OutboxError::Dropped { kind });
        }
        let draft = Draft::new(SOURCE, kind, &*self.subject, payload)
            .map_err(|source| OutboxError::Encode { kind, source })?;
        self.waiting.push_back(draft);
        self.flush()
    }

    /// Appends all that waits as one batch.
    ///
    /// # Errors
    /// When it failed; [`Outbox::deadline`] says when to try again.
    pub(crate) fn flush(&mut self) -> Result<(), OutboxError> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        match self.append() {
            Ok(()) => {
                self.waiting.clear();
                self.retry = None;
                Ok(())
            }
            Err(source) => {
                self.forget_recorded(&source);
                let pause = self
                    .retry
                    .map_or(FIRST_RETRY, |(_, pause)| (pause * 2).min(LAST_RETRY));
                self.retry = Some((Instant::now() + pause, pause));
                Err(OutboxError::Append { source })
            }
        }
    }

    fn append(&mut self) -> Result<(), AppendError> {
        if self.retry.is_some() {
            self.log.reopen()?;
        }
        self.log.append(self.waiting.make_contiguous()).map(|_| ())
    }

    /// A batch may have been recorded in part.
    fn forget_recorded(&mut self, error: &AppendError) {
        if let AppendError::Partial { recorded, .. } = error {
            self.waiting.drain(..recorded.len().min(self.waiting.len()));
        }
    }

    /// Returns when the next attempt is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.retry.map(|(due, _)| due)
    }

    /// Returns whether all facts are in the log.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

/// Why a fact is not in the log.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OutboxError {
    #[error("cannot append to the event log, will retry")]
    Append {
        #[source]
        source: AppendError,
    },
    #[error("gave up event {kind}: too many wait for the log")]
    Dropped { kind: &'static str },
    #[error("cannot encode event {kind}")]
    Encode {
        kind: &'static str,
        #[source]
        source: serde_json::Error,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recorded(directory: &std::path::Path) -> Vec<String> {
        let log = Log::open_read_only(directory).unwrap();
        let mut reader = log.read_after(events::Position::default()).unwrap();
        let records = reader.read_batch().unwrap();
        records.into_iter().map(|record| record.kind).collect()
    }

    #[test]
    fn facts_wait_in_order_while_the_log_cannot_be_written() {
        let directory = tempfile::tempdir().unwrap();
        let writable = Log::open(directory.path()).unwrap();
        let refusing = Log::open_read_only(directory.path()).unwrap();
        let mut outbox = Outbox::new(refusing, "subject".to_owned());
        for kind in ["started", "exited"] {
            let error = outbox.push(kind, &(), Weight::Vital).unwrap_err();
            assert!(matches!(error, OutboxError::Append { .. }), "{error}");
        }
        assert!(outbox.deadline().is_some() && !outbox.is_empty());
        outbox.log = writable;
        outbox.push("cleaned", &(), Weight::Vital).unwrap();
        assert!(outbox.deadline().is_none() && outbox.is_empty());
        assert_eq!(recorded(directory.path()), ["started", "exited", "cleaned"]);
    }

    #[test]
    fn facts_about_execs_are_given_up_when_too_many_wait_and_those_of_the_container_never() {
        let directory = tempfile::tempdir().unwrap();
        drop(Log::open(directory.path()).unwrap());
        let refusing = Log::open_read_only(directory.path()).unwrap();
        let mut outbox = Outbox::new(refusing, "subject".to_owned());
        for _ in 0..LIMIT {
            outbox.push("exec", &(), Weight::Droppable).unwrap_err();
        }
        let error = outbox.push("exec", &(), Weight::Droppable).unwrap_err();
        assert!(matches!(error, OutboxError::Dropped { .. }), "{error}");
        outbox.push("exited", &(), Weight::Vital).unwrap_err();
        assert_eq!(outbox.waiting.len(), LIMIT + 1);
    }
}
