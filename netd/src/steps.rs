//! Named steps of everything that changes the host, so that a test can end the
//! daemon at each of them, and at no other moment.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the steps that are reached and ends the process at one of them.
#[derive(Debug, Default)]
pub struct Steps {
    reached: AtomicU64,
    /// The number of the step to die at; 0 never.
    fatal: u64,
}

impl Steps {
    /// Returns a counter that ends the process at step `fatal`, counted from 1;
    /// 0 for never.
    pub fn new(fatal: u64) -> Self {
        Self {
            reached: AtomicU64::new(0),
            fatal,
        }
    }

    /// Says that step `name` is about to happen.
    pub fn reached(&self, name: &str) {
        let number = self.reached.fetch_add(1, Ordering::Relaxed) + 1;
        if self.fatal != 0 {
            tracing::info!(number, name, "step");
        }
        if number == self.fatal {
            tracing::error!(
                number,
                name,
                "killed at this step, as the command line asked"
            );
            let killed = rustix::process::kill_process(
                rustix::process::getpid(),
                rustix::process::Signal::KILL,
            );
            panic!("a process may kill itself: {killed:?}");
        }
    }
}
