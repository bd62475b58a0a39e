//! What a push tells while it works.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base::Digest;

/// A layer reports its bytes at most this often.
const INTERVAL: Duration = Duration::from_millis(100);

/// Told what a push does. Called from several threads; must not block.
pub trait PushProgress: Send + Sync {
    /// Takes note of one step.
    fn report(&self, event: &PushEvent);
}

/// Ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPushProgress;

impl PushProgress for NoPushProgress {
    fn report(&self, _event: &PushEvent) {}
}

/// One step of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PushEvent {
    /// The layer; clients show its first 12 digits.
    pub diff_id: Digest,
    /// Where it is.
    pub step: PushStep,
}

/// Where a layer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PushStep {
    /// "Preparing".
    Preparing,
    /// "Waiting" for others.
    Waiting,
    /// "Layer already exists".
    Exists,
    /// "Mounted from …".
    Mounted {
        /// The repository that had it.
        from: String,
    },
    /// "Pushing".
    Pushing {
        /// Bytes sent.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// "Retrying in … seconds".
    Retrying {
        /// The seconds.
        seconds: u32,
    },
    /// "Pushed".
    Pushed,
}

/// Reports of one layer, those of bytes not too often.
#[derive(Clone)]
pub(super) struct LayerReport {
    progress: Arc<dyn PushProgress>,
    diff_id: Digest,
    last: Arc<Mutex<Option<Instant>>>,
}

impl LayerReport {
    pub(super) fn new(progress: Arc<dyn PushProgress>, diff_id: Digest) -> Self {
        Self {
            progress,
            diff_id,
            last: Arc::default(),
        }
    }

    pub(super) fn step(&self, step: PushStep) {
        let diff_id = self.diff_id;
        self.progress.report(&PushEvent { diff_id, step });
    }

    /// Reports that `current` bytes of `total` are sent, if it is time.
    pub(super) fn bytes(&self, current: u64, total: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if current < total && last.is_some_and(|at| at.elapsed() < INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
        drop(last);
        self.step(PushStep::Pushing { current, total });
    }
}
