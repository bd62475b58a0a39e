//! What a server knows about requests: which are answered, withdrawn or void
//! because their run is over. It decides, once per request, what to do.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use base::boot::BootId;
use base::{Failure, FailureKind, RequestId};
use serde::Deserialize;

use super::Service;
use crate::position::Position;
use crate::record::Record;
use crate::request::{CANCELLED, Requester};

/// How many answers, cancellations and ended runs are remembered. What falls
/// out is far older than any deadline.
const REMEMBERED: usize = 4096;

/// The facts that end a run.
const RUN_ENDS: [&str; 2] = ["container.exited", "container.cleaned"];

/// What to do about a request.
#[derive(Debug)]
pub(super) enum Verdict {
    Perform,
    /// It was answered before, by the record at this position.
    Repeat(Position),
    /// Nobody may perform it any more, but somebody waits.
    Refuse(Failure),
    /// Nobody waits.
    Skip,
}

/// The state; updated in the order of the log.
#[derive(Debug)]
pub(super) struct Ledger {
    boot_id: BootId,
    answered: Remembered<RequestId, Position>,
    cancelled: Remembered<RequestId, ()>,
    ended_runs: Remembered<String, ()>,
    /// Requests that were unanswered at the end of the log as it was found;
    /// of everything up to that end only these may still be performed.
    backlog: HashMap<RequestId, Position>,
    backlog_end: Position,
}

/// What every request's payload has.
#[derive(Deserialize)]
struct Envelope {
    requester: Requester,
}

impl Ledger {
    pub(super) fn new(boot_id: BootId) -> Self {
        Self {
            boot_id,
            answered: Remembered::default(),
            cancelled: Remembered::default(),
            ended_runs: Remembered::default(),
            backlog: HashMap::new(),
            backlog_end: Position::default(),
        }
    }

    /// Takes note of a record that was in the log before the server started.
    pub(super) fn recall(&mut self, record: &Record, service: &dyn Service) {
        self.note(record, service);
        self.backlog_end = record.position;
        let Some(id) = &record.request else {
            return;
        };
        if !service.is_request(record) {
            if record.kind == CANCELLED || is_answer(record, service) {
                self.backlog.remove(id);
            }
        } else if self.is_waited_for(record) {
            self.backlog.insert(id.clone(), record.position);
        }
    }

    /// Takes note of a record.
    pub(super) fn note(&mut self, record: &Record, service: &dyn Service) {
        if RUN_ENDS.contains(&record.kind.as_str()) {
            self.ended_runs.insert(record.subject.clone(), ());
        }
        let Some(id) = &record.request else {
            return;
        };
        if record.kind == CANCELLED {
            self.cancelled.insert(id.clone(), ());
        } else if is_answer(record, service) {
            self.answered.insert(id.clone(), record.position);
        }
    }

    /// Takes note of an answer of ours before it is read back.
    pub(super) fn answered(&mut self, id: &RequestId, position: Position) {
        self.answered.insert(id.clone(), position);
    }

    /// Decides what to do about a request, at the moment its turn has come.
    pub(super) fn verdict(&self, record: &Record, service: &dyn Service) -> Verdict {
        let Some(id) = &record.request else {
            return Verdict::Skip;
        };
        let is_old = record.position.seq <= self.backlog_end.seq;
        if is_old && self.backlog.get(id) != Some(&record.position) {
            return Verdict::Skip;
        }
        if self.cancelled.get(id).is_some() {
            return Verdict::Skip;
        }
        let Ok(envelope) = record.payload::<Envelope>() else {
            let text = format!("cannot read who asks for {}", record.kind);
            return Verdict::Refuse(Failure::new(FailureKind::Invalid, text));
        };
        if !envelope.requester.is_waiting(&self.boot_id) {
            return Verdict::Skip;
        }
        if let Some(position) = self.answered.get(id) {
            return Verdict::Repeat(*position);
        }
        if service.ends_with_run(record) && self.ended_runs.get(&record.subject).is_some() {
            let text = format!("the run {} is over", record.subject);
            return Verdict::Refuse(Failure::new(FailureKind::Cancelled, text));
        }
        Verdict::Perform
    }

    fn is_waited_for(&self, record: &Record) -> bool {
        record
            .payload::<Envelope>()
            .is_ok_and(|envelope| envelope.requester.is_waiting(&self.boot_id))
    }
}

fn is_answer(record: &Record, service: &dyn Service) -> bool {
    record.source == service.name()
        && record.request.is_some()
        && record.kind != CANCELLED
        && !service.is_request(record)
        && !service.is_progress(record)
}

/// A map that forgets its oldest entries.
#[derive(Debug)]
struct Remembered<K, V> {
    entries: HashMap<K, V>,
    order: VecDeque<K>,
}

impl<K, V> Default for Remembered<K, V> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
        }
    }
}

impl<K: Clone + Eq + Hash, V> Remembered<K, V> {
    fn insert(&mut self, key: K, value: V) {
        if self.entries.insert(key.clone(), value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.entries.remove(&oldest);
        }
    }

    fn get(&self, key: &K) -> Option<&V> {
        self.entries.get(key)
    }
}
