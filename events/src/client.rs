//! Asking another daemon: a request event now, its reply event later.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::boot::BootInstant;
use base::{Failure, RequestId};

use crate::durable::guard;
use crate::log::{AppendError, Log};
use crate::record::{Draft, Record};
use crate::request::{CANCELLED, Request, RequestBody, Requester as Signature};

/// The most calls that may be open at once.
pub const OPEN_CALLS_LIMIT: usize = 4096;
/// How many given-up calls are remembered, to notice a reply that comes late.
const GIVEN_UP_LIMIT: usize = 1024;

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
    #[error("{limit} requests are waiting for replies already")]
    TooMany { limit: usize },
}

/// Sends requests and matches replies. It has no thread of its own: whoever
/// reads the log feeds every record to [`Requester::observe`] and calls
/// [`Requester::expire`] now and then.
#[derive(Debug, Clone)]
pub struct Requester {
    inner: Arc<Inner>,
}

struct Inner {
    log: Log,
    source: &'static str,
    calls: Mutex<Calls>,
}

#[derive(Default)]
struct Calls {
    open: HashMap<RequestId, Call>,
    /// With the type of the reply that would grant it.
    given_up: VecDeque<(RequestId, &'static str)>,
    on_late: Option<LateHandler>,
}

type LateHandler = Arc<dyn Fn(&Record) + Send + Sync>;

struct Call {
    kind: &'static str,
    reply: &'static str,
    failed: &'static str,
    subject: String,
    patience: Duration,
    deadline: BootInstant,
    finish: Box<dyn FnOnce(Outcome<'_>) + Send>,
}

/// How a call ended.
enum Outcome<'a> {
    Granted(&'a Record),
    Refused(&'a Record),
    Expired,
}

/// A call that ended, to be told once no lock is held.
type Ended<'a> = (Call, Outcome<'a>);

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Requester")
            .field("source", &self.source)
            .field("open", &guard(&self.calls).open.len())
            .finish()
    }
}

impl Requester {
    /// Returns a requester that signs its requests as `source`.
    pub fn new(log: Log, source: &'static str) -> Self {
        let calls = Mutex::default();
        Self {
            inner: Arc::new(Inner { log, source, calls }),
        }
    }

    /// Sets what to do with a reply that grants a request after it was given
    /// up: the undo. It runs in the thread that observes the reply.
    pub fn on_late_reply(&self, handler: impl Fn(&Record) + Send + Sync + 'static) {
        guard(&self.inner.calls).on_late = Some(Arc::new(handler));
    }

    /// Appends a request about `subject` and calls `on_reply` once, from the
    /// thread that observes the reply. The number of open calls is bounded.
    ///
    /// # Errors
    /// When the request cannot be appended; `on_reply` is not called then.
    pub fn send<B: RequestBody>(
        &self,
        subject: &str,
        body: &B,
        patience: Duration,
        on_reply: impl FnOnce(Result<B::Reply, CallError>) + Send + 'static,
    ) -> Result<RequestId, CallError> {
        let (draft, deadline) = self.draft(subject, body, patience)?;
        let id = RequestId::random();
        let call = Call {
            kind: B::KIND,
            reply: B::REPLY,
            failed: B::FAILED,
            subject: subject.to_owned(),
            patience,
            deadline,
            finish: Box::new(move |outcome| on_reply(read_outcome::<B>(outcome, patience))),
        };
        // Before the append: the reply may be read before this returns.
        self.register(id.clone(), call)?;
        let appended = self.inner.log.append(&[draft.with_request(id.clone())]);
        if let Err(error) = appended {
            guard(&self.inner.calls).open.remove(&id);
            return Err(error.into());
        }
        Ok(id)
    }

    /// Gives up on a request: appends `request.cancelled`, forgets the callback.
    ///
    /// # Errors
    /// When the cancellation cannot be appended.
    pub fn cancel(&self, request: &RequestId) -> Result<(), CallError> {
        match guard(&self.inner.calls).give_up(request) {
            Some(call) => self.append_cancelled(request, &call.subject),
            None => Ok(()),
        }
    }

    /// Takes note of a record; a reply that is waited for is handed over.
    pub fn observe(&self, record: &Record) {
        let Some(request) = &record.request else {
            return;
        };
        let mut calls = guard(&self.inner.calls);
        if let Some((call, outcome)) = calls.end(request, record) {
            drop(calls);
            (call.finish)(outcome);
        } else if let Some(handler) = calls.late(request, record) {
            drop(calls);
            handler(record);
        }
    }

    /// Gives up on requests whose deadline has passed; their callbacks are
    /// told `TimedOut`. Returns the time until the next deadline.
    ///
    /// # Errors
    /// When a cancellation cannot be appended; the callbacks are told anyway.
    pub fn expire(&self) -> Result<Option<Duration>, CallError> {
        let (expired, next) = guard(&self.inner.calls).take_expired();
        let mut result = Ok(next.map(BootInstant::remaining));
        for (id, call) in expired {
            if let Err(error) = self.append_cancelled(&id, &call.subject) {
                result = Err(error);
            }
            (call.finish)(Outcome::Expired);
        }
        result
    }

    /// Returns the number of calls that wait for a reply.
    pub fn open_calls(&self) -> usize {
        guard(&self.inner.calls).open.len()
    }

    fn draft<B: RequestBody>(
        &self,
        subject: &str,
        body: &B,
        patience: Duration,
    ) -> Result<(Draft, BootInstant), CallError> {
        let log = &self.inner.log;
        let boot_id = log.boot_id().map_err(AppendError::from)?;
        let requester = Signature::new(log.epoch(), boot_id, patience);
        let deadline = requester.deadline;
        let request = Request { requester, body };
        let draft =
            Draft::new(self.inner.source, B::KIND, subject, &request).map_err(|source| {
                CallError::Encode {
                    kind: B::KIND,
                    source,
                }
            })?;
        Ok((draft, deadline))
    }

    fn register(&self, id: RequestId, call: Call) -> Result<(), CallError> {
        let mut calls = guard(&self.inner.calls);
        if calls.open.len() >= OPEN_CALLS_LIMIT {
            return Err(CallError::TooMany {
                limit: OPEN_CALLS_LIMIT,
            });
        }
        calls.open.insert(id, call);
        Ok(())
    }

    fn append_cancelled(&self, request: &RequestId, subject: &str) -> Result<(), CallError> {
        let draft = Draft::new(self.inner.source, CANCELLED, subject, &()).map_err(|source| {
            CallError::Encode {
                kind: CANCELLED,
                source,
            }
        })?;
        self.inner
            .log
            .append(&[draft.with_request(request.clone())])?;
        Ok(())
    }
}

impl Calls {
    /// Takes the call that `record` answers.
    fn end<'a>(&mut self, request: &RequestId, record: &'a Record) -> Option<Ended<'a>> {
        let call = self.open.get(request)?;
        let outcome = if record.kind == call.reply {
            Outcome::Granted(record)
        } else if record.kind == call.failed {
            Outcome::Refused(record)
        } else {
            return None;
        };
        Some((self.open.remove(request)?, outcome))
    }

    fn give_up(&mut self, request: &RequestId) -> Option<Call> {
        let call = self.open.remove(request)?;
        if self.given_up.len() >= GIVEN_UP_LIMIT {
            self.given_up.pop_front();
        }
        self.given_up.push_back((request.clone(), call.reply));
        Some(call)
    }

    fn take_expired(&mut self) -> (Vec<(RequestId, Call)>, Option<BootInstant>) {
        let now = BootInstant::now();
        let expired: Vec<RequestId> = self
            .open
            .iter()
            .filter(|(_, call)| call.deadline <= now)
            .map(|(id, _)| id.clone())
            .collect();
        let taken = expired
            .into_iter()
            .filter_map(|id| self.give_up(&id).map(|call| (id, call)))
            .collect();
        let next = self.open.values().map(|call| call.deadline).min();
        (taken, next)
    }

    /// Returns the handler if `record` grants a request that was given up.
    fn late(&mut self, request: &RequestId, record: &Record) -> Option<LateHandler> {
        let grants = |(id, reply): &(RequestId, &str)| id == request && *reply == record.kind;
        let index = self.given_up.iter().position(grants)?;
        self.given_up.remove(index);
        self.on_late.clone()
    }
}

impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Call")
            .field("kind", &self.kind)
            .field("subject", &self.subject)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

fn read_outcome<B: RequestBody>(
    outcome: Outcome<'_>,
    limit: Duration,
) -> Result<B::Reply, CallError> {
    let unreadable = |source| CallError::Reply {
        kind: B::KIND,
        source,
    };
    match outcome {
        Outcome::Granted(record) => record.payload().map_err(unreadable),
        Outcome::Refused(record) => Err(CallError::Refused(record.payload().map_err(unreadable)?)),
        Outcome::Expired => Err(CallError::TimedOut {
            kind: B::KIND,
            limit,
        }),
    }
}
