//! System call filters: the default profile, profiles that users bring in
//! Docker's format, and what either says about a call.
//!
//! Both kinds of profile are the same thing first: rules with conditions. They
//! become the OCI form once the architecture, kernel and capabilities are known.

mod default_profile;
mod file;
mod table;
mod verdict;

use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArg, LinuxSeccompBuilder,
    LinuxSeccompFilterFlag, LinuxSyscall, LinuxSyscallBuilder,
};

pub use default_profile::default_profile;
pub use file::{PROFILE_LIMIT_BYTES, ProfileError, parse_profile};
pub use verdict::{Verdict, verdict};

/// A profile whose conditions have not been decided yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    pub(crate) default_action: LinuxSeccompAction,
    pub(crate) default_errno: Option<u32>,
    pub(crate) architectures: Vec<Arch>,
    pub(crate) flags: Vec<LinuxSeccompFilterFlag>,
    pub(crate) rules: Vec<Rule>,
}

/// What happens to some calls, under conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    pub(crate) names: Vec<String>,
    pub(crate) action: LinuxSeccompAction,
    pub(crate) errno: Option<u32>,
    pub(crate) arguments: Vec<LinuxSeccompArg>,
    /// All of these must hold.
    pub(crate) includes: Conditions,
    /// None of these may hold.
    pub(crate) excludes: Conditions,
}

/// What a rule may depend on.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Conditions {
    pub(crate) capabilities: Vec<Capability>,
    /// Docker's names for architectures: `amd64`, `x86`.
    pub(crate) architectures: Vec<String>,
    pub(crate) kernel: Option<KernelVersion>,
}

/// Major and minor number of a kernel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct KernelVersion {
    pub major: u32,
    pub minor: u32,
}

/// What decides the conditions of a profile.
#[derive(Debug, Clone, Copy)]
pub struct Circumstances<'a> {
    /// The bounding set of the container.
    pub capabilities: &'a [Capability],
    pub kernel: KernelVersion,
}

/// Docker's name of the architecture this is built for.
#[cfg(target_arch = "x86_64")]
pub(crate) const ARCHITECTURE: &str = "amd64";
#[cfg(target_arch = "aarch64")]
pub(crate) const ARCHITECTURE: &str = "arm64";

impl KernelVersion {
    /// Reads the beginning of a release, `6.18.3-cloud-amd64`.
    pub fn from_release(release: &str) -> Option<Self> {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit());
        Some(Self {
            major: numbers.next()?.parse().ok()?,
            minor: numbers.next()?.parse().ok()?,
        })
    }
}

impl Profile {
    /// Decides all conditions and returns the OCI form.
    ///
    /// # Errors
    /// When a rule has a part that the specification does not allow.
    pub fn resolve(
        &self,
        circumstances: &Circumstances<'_>,
    ) -> Result<LinuxSeccomp, oci_spec::OciSpecError> {
        let rules = self.rules.iter().filter(|rule| rule.applies(circumstances));
        let syscalls = rules.map(Rule::to_oci).collect::<Result<Vec<_>, _>>()?;
        let built = LinuxSeccompBuilder::default()
            .default_action(self.default_action)
            .architectures(self.architectures.clone())
            .syscalls(syscalls);
        let built = match self.default_errno {
            Some(errno) => built.default_errno_ret(errno),
            None => built,
        };
        if self.flags.is_empty() {
            return built.build();
        }
        built.flags(self.flags.clone()).build()
    }
}

impl Rule {
    fn applies(&self, circumstances: &Circumstances<'_>) -> bool {
        let Circumstances {
            capabilities,
            kernel,
        } = circumstances;
        let has = |capability: &Capability| capabilities.contains(capability);
        let is_here = |name: &String| name == ARCHITECTURE;
        let (wanted, unwanted) = (&self.includes, &self.excludes);
        wanted.capabilities.iter().all(has)
            && (wanted.architectures.is_empty() || wanted.architectures.iter().any(is_here))
            && wanted.kernel.is_none_or(|least| *kernel >= least)
            && !unwanted.capabilities.iter().any(has)
            && !unwanted.architectures.iter().any(is_here)
            && unwanted.kernel.is_none_or(|least| *kernel < least)
    }

    fn to_oci(&self) -> Result<LinuxSyscall, oci_spec::OciSpecError> {
        let built = LinuxSyscallBuilder::default()
            .names(self.names.clone())
            .action(self.action);
        let built = match self.errno {
            Some(errno) => built.errno_ret(errno),
            None => built,
        };
        if self.arguments.is_empty() {
            return built.build();
        }
        built.args(self.arguments.clone()).build()
    }
}
