//! What a pull tells while it works.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use base::Digest;

/// A layer reports its bytes at most this often.
const INTERVAL: Duration = Duration::from_millis(100);

/// Told what a pull does. Called from several threads; must not block.
pub trait Progress: Send + Sync {
    /// Takes note of one step.
    fn report(&self, event: &PullEvent);
}

/// Ignores everything.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoProgress;

impl Progress for NoProgress {
    fn report(&self, _event: &PullEvent) {}
}

/// One step of a pull.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PullEvent {
    /// The manifest is known: Docker's "Digest: …".
    Resolved {
        /// What the reference points to.
        digest: Digest,
    },
    /// A layer went on.
    Layer {
        /// The blob; clients show its first 12 digits.
        blob: Digest,
        /// Where it is.
        step: LayerStep,
    },
}

/// Where a layer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerStep {
    /// "Pulling fs layer".
    Waiting,
    /// "Already exists".
    Exists,
    /// "Downloading".
    Downloading {
        /// Bytes on disk.
        current: u64,
        /// Bytes in all.
        total: u64,
    },
    /// "Retrying in … seconds".
    Retrying {
        /// The pause.
        pause: Duration,
    },
    /// "Download complete", and its digest is right.
    Downloaded,
    /// "Extracting".
    Extracting {
        /// Compressed bytes used.
        current: u64,
        /// Compressed bytes in all.
        total: u64,
    },
    /// "Pull complete": on disk and synced.
    Complete,
}

/// Reports of one layer, those of bytes not too often.
pub(super) struct LayerProgress<'a> {
    progress: &'a dyn Progress,
    blob: Digest,
    last: Mutex<Option<Instant>>,
}

impl<'a> LayerProgress<'a> {
    pub(super) fn new(progress: &'a dyn Progress, blob: Digest) -> Self {
        Self {
            progress,
            blob,
            last: Mutex::new(None),
        }
    }

    pub(super) fn step(&self, step: LayerStep) {
        self.progress.report(&PullEvent::Layer {
            blob: self.blob,
            step,
        });
    }

    /// Reports `step`, of which `current` of `total` is done, if it is time.
    pub(super) fn bytes(&self, step: LayerStep, current: u64, total: u64) {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if current < total && last.is_some_and(|at| at.elapsed() < INTERVAL) {
            return;
        }
        *last = Some(Instant::now());
        drop(last);
        self.step(step);
    }
}
