//! Named steps, so that a test can kill the daemon at each one in turn.
//!
//! Everything that changes a container or the host calls [`Steps::reached`]
//! right before it acts. In normal service that is one atomic increment and
//! nothing else. netd and volumed count their own steps.

use std::sync::atomic::{AtomicU64, Ordering};

/// Counts the steps this process has reached.
#[derive(Debug, Default)]
pub struct Steps {
    reached: AtomicU64,
    fault_at: Option<u64>,
}

impl Steps {
    /// Returns a counter that kills the process when it reaches step `fault_at`,
    /// counted from 1; `None` never does.
    pub fn new(fault_at: Option<u64>) -> Self {
        Self {
            reached: AtomicU64::new(0),
            fault_at,
        }
    }

    /// Takes note that the step `name` is about to be performed.
    pub fn reached(&self, name: &'static str) {
        let number = self.reached.fetch_add(1, Ordering::Relaxed) + 1;
        let Some(fatal) = self.fault_at else {
            return;
        };
        tracing::info!(number, name, "step");
        if number == fatal {
            die(number, name);
        }
    }
}

/// Ends the process as a crash would: nothing is flushed, nothing is dropped.
fn die(number: u64, name: &str) {
    tracing::error!(number, name, "killed at this step, as --fault-step asked");
    let own = rustix::process::getpid();
    let killed = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    killed.expect("a process may always signal itself");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_without_a_fault_are_only_counted() {
        let steps = Steps::new(None);
        steps.reached("one");
        steps.reached("two");
        assert_eq!(steps.reached.load(Ordering::Relaxed), 2);
    }
}
