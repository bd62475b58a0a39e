//! What pulls in progress hold: content that must not be removed, and turns.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use base::Digest;
use tokio::sync::{OwnedMutexGuard, OwnedRwLockReadGuard, Semaphore};

use super::ImageStore;

/// Downloads at the same time, of all pulls together; Docker's default.
const DOWNLOADS: usize = 3;
/// Uploads at the same time, of all pushes together; Docker's default.
const UPLOADS: usize = 5;

/// Keeps blobs and layers from being removed until dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    store: ImageStore,
    digests: Vec<Digest>,
}

impl ImageStore {
    /// Leases `digests`, of blobs or of layers.
    pub(crate) fn lease(&self, digests: Vec<Digest>) -> Lease {
        let mut state = self.state();
        for digest in &digests {
            *state.leases.entry(*digest).or_default() += 1;
        }
        drop(state);
        Lease {
            store: self.clone(),
            digests,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut state = self.store.state();
        for digest in &self.digests {
            if let Some(count) = state.leases.get_mut(digest) {
                *count -= 1;
                if *count == 0 {
                    state.leases.remove(digest);
                }
            }
        }
    }
}

/// The right to fetch and unpack one blob, and the sign that its pull is at work;
/// threads that outlive the task that started them hold a clone.
pub(crate) type Turn = Arc<(OwnedMutexGuard<()>, OwnedRwLockReadGuard<()>)>;

/// Bounds on work, and one turn per blob.
#[derive(Debug)]
pub(crate) struct Workers {
    pub(crate) downloads: Arc<Semaphore>,
    pub(crate) uploads: Arc<Semaphore>,
    pub(crate) unpacks: Arc<Semaphore>,
    turns: Mutex<HashMap<Digest, Weak<tokio::sync::Mutex<()>>>>,
}

impl Workers {
    pub(super) fn new() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self {
            downloads: Arc::new(Semaphore::new(DOWNLOADS)),
            uploads: Arc::new(Semaphore::new(UPLOADS)),
            unpacks: Arc::new(Semaphore::new(cores)),
            turns: Mutex::default(),
        }
    }

    /// Waits until nobody else fetches or unpacks the blob `digest`; `work` lasts
    /// as long as the turn.
    pub(crate) async fn turn(&self, digest: Digest, work: OwnedRwLockReadGuard<()>) -> Turn {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            turns.retain(|_, turn| turn.strong_count() > 0);
            let known = turns.get(&digest).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                let turn = Arc::new(tokio::sync::Mutex::new(()));
                turns.insert(digest, Arc::downgrade(&turn));
                turn
            })
        };
        Arc::new((turn.lock_owned().await, work))
    }
}
