//! Named steps, so that a test can kill a daemon right before each of them.
//!
//! Everything that changes the host calls [`Steps::reached`] before it acts. In
//! normal service that is one look at an absent option and nothing else.
//!
//! A step is named by its place in the whole run, or by its name and how often
//! that name was reached: tasks that run side by side change the first from one
//! run to the next, the second hardly ever.

use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};

/// A step to die at: `12`, the twelfth of all, or `exit.state#2`, the second of
/// this name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FaultStep {
    /// `None` counts every step.
    name: Option<String>,
    occurrence: NonZeroU64,
}

/// Why a text names no step.
#[derive(Debug, thiserror::Error)]
#[error("a step is N or NAME#N, with N counted from 1, not {0:?}")]
pub struct FaultStepError(String);

impl FromStr for FaultStep {
    type Err = FaultStepError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, number) = match text.rsplit_once('#') {
            Some((name, number)) => (Some(name.to_owned()), number),
            None => (None, text),
        };
        let occurrence = number
            .parse()
            .map_err(|_| FaultStepError(text.to_owned()))?;
        Ok(Self { name, occurrence })
    }
}

impl fmt::Display for FaultStep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(name) = &self.name {
            write!(f, "{name}#")?;
        }
        write!(f, "{}", self.occurrence)
    }
}

/// The steps of one daemon, and the one at which it is to die.
#[derive(Debug)]
pub struct Steps {
    daemon: &'static str,
    fault: Option<FaultStep>,
    /// How often the fatal step's name was reached.
    matching: AtomicU64,
}

impl Steps {
    /// Returns the steps of `daemon`, which ends at `fault`; `None` never does.
    pub fn new(daemon: &'static str, fault: Option<FaultStep>) -> Self {
        Self {
            daemon,
            fault,
            matching: AtomicU64::new(0),
        }
    }

    /// Returns steps at which nothing dies.
    pub fn harmless() -> Self {
        Self::new("", None)
    }

    /// Says that the step `name` is about to be performed.
    pub fn reached(&self, name: &str) {
        let Some(fault) = &self.fault else {
            return;
        };
        tracing::info!(daemon = self.daemon, name, "step");
        if self.is_fatal(fault, name) {
            die(self.daemon, name);
        }
    }

    fn is_fatal(&self, fault: &FaultStep, name: &str) -> bool {
        let counts = fault.name.as_deref().is_none_or(|fatal| fatal == name);
        counts && self.matching.fetch_add(1, Ordering::Relaxed) + 1 == fault.occurrence.get()
    }
}

/// Ends the process as a crash would: nothing is flushed, nothing is dropped.
fn die(daemon: &str, name: &str) {
    tracing::error!(daemon, name, "killed at this step, as --fault-step asked");
    let own = rustix::process::getpid();
    let killed = rustix::process::kill_process(own, rustix::process::Signal::KILL);
    killed.expect("a process may always signal itself");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(fault: &str, reached: &[&str], expected: Option<usize>) {
        let fault: FaultStep = fault.parse().unwrap();
        let steps = Steps::new("test", Some(fault.clone()));
        let died = reached.iter().position(|name| steps.is_fatal(&fault, name));
        assert_eq!(died, expected, "{fault}");
    }

    #[test]
    fn a_number_counts_every_step() {
        check("1", &["a", "b", "a"], Some(0));
        check("3", &["a", "b", "a"], Some(2));
        check("4", &["a", "b", "a"], None);
    }

    #[test]
    fn a_name_counts_its_own_steps() {
        check("a#1", &["b", "a", "b", "a"], Some(1));
        check("a#2", &["b", "a", "b", "a"], Some(3));
        check("c#1", &["b", "a"], None);
    }

    #[test]
    fn what_names_no_step_is_refused() {
        for text in ["", "0", "a", "a#", "a#0", "-1", "a#b"] {
            let refused = text.parse::<FaultStep>();
            assert!(refused.is_err(), "{text:?} became {refused:?}");
        }
        let spaced: FaultStep = "write network#2".parse().unwrap();
        assert_eq!(spaced.to_string(), "write network#2");
    }

    #[test]
    fn without_a_fault_nothing_is_counted() {
        let steps = Steps::harmless();
        steps.reached("one");
        assert_eq!(steps.matching.load(Ordering::Relaxed), 0);
    }
}
