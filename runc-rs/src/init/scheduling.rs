//! How a process is scheduled: policy, I/O priority and memory policy, as the
//! numbers the kernel takes.

use oci_spec::runtime::{
    IOPriorityClass, LinuxIOPriority, LinuxMemoryPolicy, LinuxSchedulerFlag as F,
    LinuxSchedulerPolicy as P, MemoryPolicyFlagType, MemoryPolicyModeType, Process, Scheduler,
};

use crate::spec::SpecError;
use crate::sys::process::{self, SchedulingAttributes};

const CLASS_SHIFT: u32 = 13;
/// The kernel's limit of NUMA nodes.
const NODES: usize = 1024;
/// The kernel's limit of CPUs.
const CPUS: usize = 8192;
const WORD_BITS: usize = u64::BITS as usize;

/// What is set of a process before it executes its program.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SchedulingPlan {
    scheduler: Option<SchedulingAttributes>,
    io_priority: Option<i32>,
    memory: Option<MemoryPolicy>,
    affinity: Affinity,
}

/// The CPUs a process may be on, as bit masks. `None` leaves that to the
/// kernel, but for what the caller was bound to: that is taken back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Affinity {
    /// Before it is moved into the container's control groups.
    initial: Option<Vec<u64>>,
    /// After that.
    last: Option<Vec<u64>>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct MemoryPolicy {
    mode: i32,
    nodes: Vec<u64>,
}

/// Returns the plan for a process and the memory policy of its container.
///
/// # Errors
/// When a number or list is out of range.
pub fn plan(
    process: &Process,
    memory: Option<&LinuxMemoryPolicy>,
) -> Result<SchedulingPlan, SpecError> {
    Ok(SchedulingPlan {
        scheduler: process.scheduler().as_ref().map(attributes),
        io_priority: process
            .io_priority()
            .as_ref()
            .map(io_priority)
            .transpose()?,
        memory: memory.map(memory_policy).transpose()?,
        affinity: match process.exec_cpu_affinity() {
            Some(wanted) => Affinity {
                initial: cpus(wanted.initial().as_deref())?,
                last: cpus(wanted.cpu_affinity_final().as_deref())?,
            },
            None => Affinity::default(),
        },
    })
}

fn cpus(list: Option<&str>) -> Result<Option<Vec<u64>>, SpecError> {
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return Ok(None);
    };
    let wrong = SpecError::Invalid("process.execCPUAffinity is not made of lists of CPUs");
    mask(list, CPUS).map(Some).ok_or(wrong)
}

impl SchedulingPlan {
    /// Forgets what is meant for later processes only.
    pub fn without_exec_affinity(self) -> Self {
        Self {
            affinity: Affinity::default(),
            ..self
        }
    }

    /// Returns the CPUs a process begins on, as a hexadecimal mask.
    pub fn initial_affinity(&self) -> Option<String> {
        let words = self.affinity.initial.as_ref()?.iter().rev();
        let digits: String = words.map(|word| format!("{word:016x}")).collect();
        Some(format!("0x{}", digits.trim_start_matches('0')))
    }

    /// Binds the calling process before it enters its control groups.
    ///
    /// # Errors
    /// A message, when none of the CPUs can be had.
    pub fn apply_initial(&self) -> Result<(), String> {
        match &self.affinity.initial {
            Some(mask) => process::set_affinity(mask)
                .map_err(|error| format!("cannot set the initial CPU affinity: {error}")),
            None => Ok(()),
        }
    }

    fn apply_last(&self) -> Result<(), String> {
        let Affinity { initial, last } = &self.affinity;
        match (last, initial) {
            (Some(mask), _) => process::set_affinity(mask)
                .map_err(|error| format!("cannot set the final CPU affinity: {error}")),
            (None, Some(_)) => Ok(()),
            // As runc: a caller's own affinity is not the container's. What the
            // kernel does not allow is no reason not to run.
            (None, None) => {
                process::set_affinity(&[u64::MAX; CPUS / WORD_BITS]).ok();
                Ok(())
            }
        }
    }

    /// Sets all of it for the calling process.
    ///
    /// # Errors
    /// A message that names what the kernel refused.
    pub fn apply(&self) -> Result<(), String> {
        self.apply_last()?;
        if let Some(attributes) = &self.scheduler {
            process::set_scheduling(attributes).map_err(scheduler_error)?;
        }
        if let Some(priority) = self.io_priority {
            process::set_io_priority(priority)
                .map_err(|error| format!("cannot set the I/O priority: {error}"))?;
        }
        if let Some(MemoryPolicy { mode, nodes }) = &self.memory {
            process::set_memory_policy(*mode, nodes)
                .map_err(|error| format!("cannot set the memory policy: {error}"))?;
        }
        Ok(())
    }
}

/// Says what is behind a refusal, in runc's words: a deadline needs all CPUs.
fn scheduler_error(error: std::io::Error) -> String {
    let hint = match error.raw_os_error() {
        Some(libc::EPERM) => " (process scheduler can't be used together with AllowedCPUs)",
        _ => "",
    };
    format!("cannot set the scheduler: {error}{hint}")
}

fn attributes(scheduler: &Scheduler) -> SchedulingAttributes {
    let policy = match scheduler.policy() {
        P::SchedOther => 0,
        P::SchedFifo => 1,
        P::SchedRr => 2,
        P::SchedBatch => 3,
        P::SchedIso => 4,
        P::SchedIdle => 5,
        P::SchedDeadline => 6,
    };
    let flags = scheduler.flags().iter().flatten();
    let flags = flags.map(|flag| match flag {
        F::SchedResetOnFork => 0x01,
        F::SchedFlagReclaim => 0x02,
        F::SchedFlagDLOverrun => 0x04,
        F::SchedFlagKeepPolicy => 0x08,
        F::SchedFlagKeepParams => 0x10,
        F::SchedFlagUtilClampMin => 0x20,
        F::SchedFlagUtilClampMax => 0x40,
    });
    SchedulingAttributes {
        policy,
        flags: flags.fold(0, |all, flag| all | flag),
        nice: scheduler.nice().unwrap_or(0),
        priority: scheduler
            .priority()
            .and_then(|n| n.try_into().ok())
            .unwrap_or(0),
        runtime_ns: scheduler.runtime().unwrap_or(0),
        deadline_ns: scheduler.deadline().unwrap_or(0),
        period_ns: scheduler.period().unwrap_or(0),
    }
}

fn io_priority(wanted: &LinuxIOPriority) -> Result<i32, SpecError> {
    let class = match wanted.class() {
        IOPriorityClass::IoprioClassRt => 1,
        IOPriorityClass::IoprioClassBe => 2,
        IOPriorityClass::IoprioClassIdle => 3,
    };
    match i32::try_from(wanted.priority()) {
        Ok(priority @ 0..=7) => Ok(class << CLASS_SHIFT | priority),
        _ => Err(SpecError::Invalid(
            "process.ioPriority.priority is not between 0 and 7",
        )),
    }
}

fn memory_policy(policy: &LinuxMemoryPolicy) -> Result<MemoryPolicy, SpecError> {
    use MemoryPolicyModeType as M;
    let mode = match policy.mode() {
        M::MpolDefault => 0,
        M::MpolPreferred => 1,
        M::MpolBind => 2,
        M::MpolInterleave => 3,
        M::MpolLocal => 4,
        M::MpolPreferredMany => 5,
        M::MpolWeightedInterleave => 6,
    };
    let flags = policy.flags().iter().flatten().map(|flag| match flag {
        MemoryPolicyFlagType::MpolFNumaBalancing => 1 << 13,
        MemoryPolicyFlagType::MpolFRelativeNodes => 1 << 14,
        MemoryPolicyFlagType::MpolFStaticNodes => 1 << 15,
    });
    Ok(MemoryPolicy {
        mode: flags.fold(mode, |all, flag| all | flag),
        nodes: nodes(policy.nodes().as_deref().unwrap_or_default())?,
    })
}

fn nodes(list: &str) -> Result<Vec<u64>, SpecError> {
    let wrong = SpecError::Invalid("linux.memoryPolicy.nodes is not a list of nodes");
    mask(list, NODES).ok_or(wrong)
}

/// Returns a list such as `0-1,3` as the kernel's bit mask, if it is one of
/// numbers below `limit`.
fn mask(list: &str, limit: usize) -> Option<Vec<u64>> {
    let number = |text: &str| text.trim().parse::<usize>().ok().filter(|n| *n < limit);
    let mut mask = vec![0_u64; limit / WORD_BITS];
    for range in list.split(',').filter(|range| !range.trim().is_empty()) {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last) = (number(first)?, number(last)?);
        if first > last {
            return None;
        }
        for bit in first..=last {
            mask[bit / WORD_BITS] |= 1 << (bit % WORD_BITS);
        }
    }
    let length = mask.iter().rposition(|word| *word != 0);
    mask.truncate(length.map_or(0, |last| last + 1));
    Some(mask)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_lists_become_masks() {
        assert_eq!(nodes("").unwrap(), [0; 0]);
        assert_eq!(nodes("0-1,3").unwrap(), [0b1011]);
        assert_eq!(nodes("64").unwrap(), [0, 1]);
        for wrong in ["a", "3-1", "-1", "1024", "0-"] {
            assert!(nodes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn cpus_are_told_as_one_number() {
        let affinity = |initial| SchedulingPlan {
            affinity: Affinity {
                initial: cpus(initial).unwrap(),
                last: None,
            },
            ..SchedulingPlan::default()
        };
        let told = |initial| affinity(initial).initial_affinity();
        assert_eq!(told(Some("1")).as_deref(), Some("0x2"));
        assert_eq!(told(Some("0-1")).as_deref(), Some("0x3"));
        assert_eq!(told(Some("64")).as_deref(), Some("0x10000000000000000"));
        assert_eq!(told(Some("")), None);
        assert!(cpus(Some("9000")).is_err());
    }

    #[test]
    fn priorities_have_their_class_above_the_number() {
        let wanted = |text: &str| io_priority(&serde_json::from_str(text).unwrap());
        let best_effort = r#"{"class":"IOPRIO_CLASS_BE","priority":4}"#;
        assert_eq!(wanted(best_effort).unwrap(), 2 << 13 | 4);
        assert!(wanted(r#"{"class":"IOPRIO_CLASS_BE","priority":8}"#).is_err());
    }

    #[test]
    fn a_scheduler_keeps_its_numbers() {
        let text = r#"{"policy":"SCHED_BATCH","nice":19,"flags":["SCHED_RESET_ON_FORK"]}"#;
        let found = attributes(&serde_json::from_str(text).unwrap());
        assert_eq!((found.policy, found.nice, found.flags), (3, 19, 1));
    }
}
