//! Putting a filter into the kernel.

use std::io;
use std::os::fd::OwnedFd;

use oci_spec::runtime::LinuxSeccompFilterFlag;

use super::bpf::Program;
use super::plan::{Agent, FLAGS, LoadFlags, kernel_flag};
use crate::sys::seccomp;

/// A filter that only needs to be loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    program: Program,
    flags: LoadFlags,
    agent: Option<Agent>,
}

impl Filter {
    pub(super) fn new(program: Program, flags: LoadFlags, agent: Option<Agent>) -> Self {
        Self {
            program,
            flags,
            agent,
        }
    }

    /// Returns who answers the calls of this filter that are notified.
    pub fn agent(&self) -> Option<&Agent> {
        self.agent.as_ref()
    }

    /// Confines this process, and all it forks and executes from now on. With
    /// an agent, returns the descriptor of the listener, which is closed on
    /// exec. The caller must have `no_new_privs` or CAP_SYS_ADMIN in its user
    /// namespace. Allocates nothing.
    ///
    /// # Errors
    /// When the kernel refuses it.
    pub fn load(&self) -> io::Result<Option<OwnedFd>> {
        let listener = match self.agent {
            Some(_) => libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            None => 0,
        };
        let required = self.flags.required | listener;
        let instructions = self.program.instructions();
        let loaded = seccomp::load_seccomp_filter(instructions, required | self.flags.wanted);
        match loaded {
            // Perhaps for a flag that would only have been nice to have.
            Err(error) if error.raw_os_error() == Some(libc::EINVAL) && self.flags.wanted != 0 => {
                seccomp::load_seccomp_filter(instructions, required)
            }
            loaded => loaded,
        }
    }
}

/// Returns the flags the running kernel knows.
pub fn supported_flags() -> Vec<LinuxSeccompFilterFlag> {
    let is_known = |flag: &LinuxSeccompFilterFlag| {
        let bits = match flag {
            // Known only together.
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                kernel_flag(*flag) | libc::SECCOMP_FILTER_FLAG_NEW_LISTENER
            }
            flag => kernel_flag(*flag),
        };
        seccomp::knows_seccomp_flags(bits)
    };
    FLAGS.into_iter().filter(is_known).collect()
}
