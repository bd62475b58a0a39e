//! Work items by subject: within a subject one after another in the order of
//! the log, different subjects side by side, slow teardown on its own lane.

use std::collections::{HashMap, VecDeque};
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::durable::guard;
use crate::record::Record;

/// Which threads run an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lane {
    Normal,
    Teardown,
}

/// One record to be handled.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) record: Record,
    pub(super) lane: Lane,
    pub(super) is_request: bool,
    pub(super) is_observed: bool,
}

/// The queues; shared by the reading thread and the workers.
#[derive(Debug)]
pub(super) struct Pool {
    state: Mutex<State>,
    normal: Condvar,
    teardown: Condvar,
    room: Condvar,
    limit: usize,
}

#[derive(Debug, Default)]
struct State {
    /// A subject is in here while it has items or one of them runs.
    subjects: HashMap<String, VecDeque<Job>>,
    ready: VecDeque<String>,
    ready_teardown: VecDeque<String>,
    items: usize,
    closed: bool,
}

impl Pool {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            state: Mutex::default(),
            normal: Condvar::new(),
            teardown: Condvar::new(),
            room: Condvar::new(),
            limit: limit.max(1),
        }
    }

    /// Waits for room, at most `limit`; returns whether there is some.
    pub(super) fn wait_for_room(&self, limit: Duration) -> bool {
        let state = guard(&self.state);
        let full = |state: &mut State| state.items >= self.limit && !state.closed;
        let (state, _) = self
            .room
            .wait_timeout_while(state, limit, full)
            .unwrap_or_else(PoisonError::into_inner);
        state.items < self.limit
    }

    pub(super) fn push(&self, job: Job) {
        let mut state = guard(&self.state);
        state.items += 1;
        let subject = job.record.subject.clone();
        let lane = job.lane;
        if let Some(waiting) = state.subjects.get_mut(&subject) {
            waiting.push_back(job);
            return;
        }
        state
            .subjects
            .insert(subject.clone(), VecDeque::from([job]));
        self.make_ready(&mut state, subject, lane);
    }

    /// Waits for the next item of `lane`; nothing once the pool is closed.
    pub(super) fn take(&self, lane: Lane) -> Option<Job> {
        let mut state = guard(&self.state);
        loop {
            if state.closed {
                return None;
            }
            if let Some(subject) = state.lane(lane).pop_front() {
                return state.subjects.get_mut(&subject)?.pop_front();
            }
            state = self
                .wakers(lane)
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The item of `subject` that was taken is done.
    pub(super) fn finish(&self, subject: &str) {
        let mut state = guard(&self.state);
        state.items -= 1;
        self.room.notify_one();
        let next = state.subjects.get(subject).and_then(VecDeque::front);
        match next.map(|job| job.lane) {
            Some(lane) => self.make_ready(&mut state, subject.to_owned(), lane),
            None => {
                state.subjects.remove(subject);
            }
        }
    }

    /// Ends all waits; items that have not begun are dropped.
    pub(super) fn close(&self) {
        guard(&self.state).closed = true;
        self.normal.notify_all();
        self.teardown.notify_all();
        self.room.notify_all();
    }

    fn make_ready(&self, state: &mut State, subject: String, lane: Lane) {
        state.lane(lane).push_back(subject);
        self.wakers(lane).notify_one();
    }

    fn wakers(&self, lane: Lane) -> &Condvar {
        match lane {
            Lane::Normal => &self.normal,
            Lane::Teardown => &self.teardown,
        }
    }
}

impl State {
    fn lane(&mut self, lane: Lane) -> &mut VecDeque<String> {
        match lane {
            Lane::Normal => &mut self.ready,
            Lane::Teardown => &mut self.ready_teardown,
        }
    }
}
