//! Seccomp filters: from the specification's section to a program in the
//! kernel, for a container's first process and for every later one alike.
//!
//! [`plan()`] checks the section and says what it means; [`prepare`] makes the
//! program of a plan, or takes it from the [`cache`]; both are done by the
//! runtime before it forks. What is forked calls [`Filter::load`] at its time:
//! one system call, for which nothing is allocated and no library is asked.
//! If the filter has a listener, [`notify`] brings it to who answers.
//!
//! libcontainer's translation is not used: it exchanges mask and datum of a
//! masked comparison, does not tell newer calls apart, and works inside the
//! container, each time anew.

pub mod cache;
pub mod notify;
pub mod plan;

mod bpf;
mod compile;
mod load;
mod newer;

#[cfg(test)]
mod interpreter;

use std::io;
use std::path::Path;

use oci_spec::runtime::{Arch, LinuxSeccompAction};

pub use bpf::{Instruction, Program};
pub use cache::Cache;
pub use compile::architectures;
pub use load::{Filter, supported_flags};
pub use plan::{Agent, FilterPlan, plan};

use libseccomp::error::SeccompError as LibraryError;

/// Says why a specification's filter cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum SeccompError {
    #[error("SCMP_ACT_NOTIFY cannot be the default action of a seccomp filter")]
    NotifyByDefault,
    #[error("SCMP_ACT_NOTIFY cannot be used for the write syscall")]
    NotifyOfWrite,
    #[error("SCMP_ACT_NOTIFY needs linux.seccomp.listenerPath")]
    NotifyWithoutListener,
    #[error("linux.seccomp.listenerMetadata needs linux.seccomp.listenerPath")]
    MetadataWithoutListener,
    #[error("a seccomp rule has an empty system call name")]
    EmptyName,
    #[error("{0} in a seccomp filter cannot have an errno")]
    ErrnoWithoutUse(LinuxSeccompAction),
    #[error("{0} is too large for the errno of a seccomp rule")]
    ErrnoTooLarge(u32),
    #[error("a seccomp rule names argument {0}; there are only 0 to 5")]
    NoSuchArgument(usize),
    #[error("cannot filter calls of {0} here")]
    Architecture(Arch, #[source] LibraryError),
    #[error("cannot add a seccomp rule for {0}")]
    Rule(String, #[source] LibraryError),
    #[error("libseccomp cannot {0}")]
    Library(&'static str, #[source] LibraryError),
    #[error("cannot read a filter from libseccomp")]
    Export(#[source] io::Error),
    #[error("the seccomp filter has {0} instructions, more than the kernel takes")]
    TooLong(usize),
}

/// Makes a filter that is ready to be loaded, with the cache below `state_root`.
///
/// # Errors
/// When its program cannot be made.
pub fn prepare(state_root: &Path, plan: FilterPlan) -> Result<Filter, SeccompError> {
    let program = Cache::below(state_root).program(&plan.program)?;
    Ok(Filter::new(program, plan.flags, plan.agent))
}

#[cfg(test)]
mod tests;
