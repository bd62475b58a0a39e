//! Waiting until records are on disk: of all threads that wait, one syncs for
//! all, and never while it holds the log's lock.

use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use base::PathContext as _;

use crate::log::AppendError;
use crate::position::Position;
use crate::writer::{Trust, Writer};

/// What of the log this process knows to be on disk.
#[derive(Debug, Default)]
pub(crate) struct Durability {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Everything up to this seq is on disk.
    durable_seq: u64,
    /// A sync failed: nobody knows about records up to this seq any more.
    lost_seq: u64,
    syncing: bool,
}

impl Durability {
    /// Returns once everything up to `position` is on disk.
    pub(crate) fn wait(
        &self,
        position: Position,
        writer: &Mutex<Writer>,
    ) -> Result<(), AppendError> {
        let mut state = guard(&self.state);
        loop {
            if state.durable_seq >= position.seq {
                return Ok(());
            }
            if state.lost_seq >= position.seq {
                return Err(AppendError::NotDurable { position });
            }
            if state.syncing {
                state = self
                    .changed
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            }
            state.syncing = true;
            drop(state);
            let result = sync(position, writer);
            state = guard(&self.state);
            state.syncing = false;
            self.changed.notify_all();
            match result {
                Ok(seq) => state.durable_seq = state.durable_seq.max(seq),
                Err((seq, error)) => {
                    state.lost_seq = state.lost_seq.max(seq);
                    return Err(error);
                }
            }
        }
    }
}

/// Syncs the active segment. Older ones were synced when they were sealed.
/// Returns the seq up to which the log is durable now.
fn sync(position: Position, writer: &Mutex<Writer>) -> Result<u64, (u64, AppendError)> {
    let (file, path, last_seq) = {
        let mut writer = guard(writer);
        if writer.active.last_seq < position.seq {
            writer.refresh().map_err(|error| (0, error))?;
        }
        writer.sync_target()
    };
    if last_seq < position.seq {
        return Err((0, AppendError::NotInLog { position }));
    }
    match file.sync_data().at("sync", &path) {
        Ok(()) => Ok(last_seq),
        Err(error) => {
            guard(writer).trust = Trust::Lost;
            Err((last_seq, error.into()))
        }
    }
}

/// Locks a mutex whose content every panic leaves consistent.
pub(crate) fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
