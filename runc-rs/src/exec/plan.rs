//! What an exec'd process will be: pure, from the container's specification
//! and the request.
//!
//! Where the request is silent the container's own process decides, so that a
//! process that enters later is never less confined than init.

use std::ffi::CString;
use std::path::PathBuf;

use libcontainer::capabilities::CapabilityExt as _;
use oci_spec::runtime::{
    BoxBuilder, Capabilities, Capability, LinuxCapabilities, LinuxPersonalityDomain, Process, Spec,
};

use super::ExecError;
use super::groups::SubGroups;
use super::user::{ResolvedUser, UserRequest};
use crate::init::scheduling::{self, SchedulingPlan};
use crate::resources::rdt::Class;
use crate::seccomp::Filter;
use crate::seccomp::notify::ContainerState;
use crate::spec::{DEFAULT_UMASK, SpecError, normalise_process, validate_process};
use crate::state::{KeyringMode, Record, Status};

/// The container that is entered.
#[derive(Debug)]
pub struct Container<'a> {
    pub spec: &'a Spec,
    pub record: &'a Record,
    pub status: Status,
    /// The filter of its specification, made.
    pub filter: Option<Filter>,
}

/// What to run: a process of its own, or the container's with changes.
#[derive(Debug, Clone, Default)]
pub struct ExecRequest {
    /// The content of `--process`.
    pub process: Option<Process>,
    pub overrides: Overrides,
    /// Where it goes below the container's own control groups.
    pub groups: SubGroups,
    pub preserve_fds: u32,
    /// Sockets of systemd's activation to pass on.
    pub activation_sockets: u32,
}

/// The options that change the container's own process.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// The command; empty only beside a process file.
    pub args: Vec<String>,
    pub cwd: Option<PathBuf>,
    /// `NAME=VALUE`, each added or replacing.
    pub env: Vec<String>,
    pub user: Option<UserRequest>,
    pub additional_gids: Vec<u32>,
    /// Capabilities added, as `CAP_…`.
    pub capabilities: Vec<String>,
    pub no_new_privileges: Option<bool>,
    pub apparmor: Option<String>,
    /// SELinux's label.
    pub label: Option<String>,
    pub terminal: Option<bool>,
}

/// The capability sets of a process, as the kernel's bit masks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CapabilityMasks {
    pub bounding: u64,
    pub effective: u64,
    pub permitted: u64,
    pub inheritable: u64,
    pub ambient: u64,
}

/// Everything about a process that is going to enter a container.
#[derive(Debug, Clone)]
pub struct ExecPlan {
    pub process: Process,
    /// `None` leaves them untouched, as an absent object means.
    pub capabilities: Option<CapabilityMasks>,
    pub filter: Option<Filter>,
    /// What the agent of the filter is told of the container.
    pub state: ContainerState,
    pub personality: Option<u64>,
    pub umask: u32,
    /// The name of the session keyring to join.
    pub keyring: Option<CString>,
    pub scheduling: SchedulingPlan,
    /// The class of service that it is of.
    pub class: Option<Class>,
    /// The `cgroup.procs` files to enter by.
    pub entrances: Vec<PathBuf>,
    /// Where it enters on v2 if the container has made groups of its own and
    /// takes no process beside them.
    pub second_entrance: Option<PathBuf>,
    /// Whether the runtime copies between its terminal and the caller's, which
    /// makes of newlines what it needs.
    pub is_proxied: bool,
    pub preserve_fds: u32,
    /// Sockets of systemd's activation that are passed on, before those.
    pub activation_sockets: u32,
    /// What of the request cannot be had, and is left out.
    pub warnings: Vec<String>,
}

impl ExecPlan {
    /// Returns the first descriptor that the process does not get.
    pub fn first_closed(&self) -> u32 {
        let passed = self.preserve_fds.saturating_add(self.activation_sockets);
        passed.saturating_add(3)
    }

    /// Gives the process's terminal a size, unless the request has one.
    pub fn set_console_size(&mut self, size: Option<(u16, u16)>) {
        let Some((rows, columns)) = size.filter(|_| self.process.console_size().is_none()) else {
            return;
        };
        let size = BoxBuilder::default()
            .height(rows)
            .width(columns)
            .build()
            .expect("both dimensions are set");
        self.process.set_console_size(Some(size));
    }
}

/// Returns what `request` comes to in `container`. `home` says what HOME is for
/// a user.
///
/// # Errors
/// When the request is invalid or asks for what is not supported.
pub fn plan(
    container: Container<'_>,
    request: ExecRequest,
    user: Option<ResolvedUser>,
    home: impl Fn(u32) -> String,
) -> Result<ExecPlan, ExecError> {
    let Container { spec, record, .. } = container;
    let own = spec
        .process()
        .as_ref()
        .ok_or(SpecError::Missing("process"))?;
    let mut process = match request.process {
        Some(process) => with_defaults(process, own),
        None => own.clone(),
    };
    apply(&mut process, request.overrides, user)?;
    validate_process(&process)?;
    let home = home(process.user().uid());
    normalise_process(&mut process, &home);
    let linux = spec.linux().as_ref().ok_or(SpecError::Missing("linux"))?;
    let init = record.init.map_or(0, |init| init.pid);
    let name = format!("_ses.{}", record.id);
    let keyring = CString::new(name).expect("an id has no NUL byte");
    let capabilities = process.capabilities().as_ref().map(masks);
    Ok(ExecPlan {
        warnings: capabilities.map_or_else(Vec::new, |masks| unraisable(&masks)),
        capabilities,
        umask: process.user().umask().unwrap_or(DEFAULT_UMASK),
        filter: container.filter,
        state: ContainerState::new(record, container.status, init),
        personality: linux
            .personality()
            .as_ref()
            .map(|wanted| match wanted.domain() {
                LinuxPersonalityDomain::PerLinux => 0x0000,
                LinuxPersonalityDomain::PerLinux32 => 0x0008,
            }),
        keyring: (record.keyring == KeyringMode::Fresh).then_some(keyring),
        class: record.rdt.clone(),
        entrances: request.groups.entrances(&record.cgroup)?,
        second_entrance: None,
        is_proxied: false,
        preserve_fds: request.preserve_fds,
        activation_sockets: request.activation_sockets,
        scheduling: scheduling::plan(&process, linux.memory_policy().as_ref())?,
        process,
    })
}

/// Fills what a process file leaves out and the container's process has.
fn with_defaults(mut process: Process, own: &Process) -> Process {
    if process.capabilities().is_none() {
        process.set_capabilities(own.capabilities().clone());
    }
    if process.rlimits().as_ref().is_none_or(Vec::is_empty) {
        process.set_rlimits(own.rlimits().clone());
    }
    if process
        .apparmor_profile()
        .as_ref()
        .is_none_or(String::is_empty)
    {
        process.set_apparmor_profile(own.apparmor_profile().clone());
    }
    if process
        .selinux_label()
        .as_ref()
        .is_none_or(String::is_empty)
    {
        process.set_selinux_label(own.selinux_label().clone());
    }
    if process.no_new_privileges().is_none() {
        process.set_no_new_privileges(own.no_new_privileges());
    }
    if process.exec_cpu_affinity().is_none() {
        process.set_exec_cpu_affinity(own.exec_cpu_affinity().clone());
    }
    if process.oom_score_adj().is_none() {
        process.set_oom_score_adj(own.oom_score_adj());
    }
    if process.user().umask().is_none() {
        let umask = own.user().umask();
        process.user_mut().set_umask(umask);
    }
    process
}

fn apply(
    process: &mut Process,
    overrides: Overrides,
    user: Option<ResolvedUser>,
) -> Result<(), ExecError> {
    if !overrides.args.is_empty() {
        process.set_args(Some(overrides.args));
    }
    if let Some(cwd) = overrides.cwd {
        process.set_cwd(cwd);
    }
    let env = with_variables(process.env().clone().unwrap_or_default(), overrides.env);
    process.set_env(Some(env));
    if let Some(user) = user {
        let gid = user.gid.unwrap_or(process.user().gid());
        process.user_mut().set_uid(user.uid).set_gid(gid);
        // HOME was the other user's.
        let env = process.env().clone().unwrap_or_default();
        let env = env
            .into_iter()
            .filter(|variable| !variable.starts_with("HOME="));
        process.set_env(Some(env.collect()));
    }
    if !overrides.additional_gids.is_empty() {
        let mut gids = process.user().additional_gids().clone().unwrap_or_default();
        gids.extend(overrides.additional_gids);
        process.user_mut().set_additional_gids(Some(gids));
    }
    if let Some(no_new_privileges) = overrides.no_new_privileges {
        process.set_no_new_privileges(Some(no_new_privileges));
    }
    // An empty one says nothing, as with runc.
    let given = |text: &String| !text.is_empty();
    if let Some(profile) = overrides.apparmor.filter(given) {
        process.set_apparmor_profile(Some(profile));
    }
    if let Some(label) = overrides.label.filter(given) {
        process.set_selinux_label(Some(label));
    }
    if let Some(terminal) = overrides.terminal {
        process.set_terminal(Some(terminal));
    }
    add_capabilities(process, &overrides.capabilities)
}

/// A later variable of the same name replaces an earlier one.
fn with_variables(mut variables: Vec<String>, added: Vec<String>) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    for variable in added {
        variables.retain(|known| name(known) != name(&variable));
        variables.push(variable);
    }
    variables
}

fn add_capabilities(process: &mut Process, added: &[String]) -> Result<(), ExecError> {
    if added.is_empty() {
        return Ok(());
    }
    let mut sets = process
        .capabilities()
        .clone()
        .unwrap_or_else(no_capabilities);
    let with = |set: &Option<Capabilities>| -> Result<Option<Capabilities>, ExecError> {
        let mut set = set.clone().unwrap_or_default();
        for name in added {
            set.insert(parse_capability(name)?);
        }
        Ok(Some(set))
    };
    let (bounding, effective, permitted) = (
        with(sets.bounding())?,
        with(sets.effective())?,
        with(sets.permitted())?,
    );
    // As runc: an ambient one must be inheritable, which is the container's.
    if sets
        .inheritable()
        .as_ref()
        .is_some_and(|set| !set.is_empty())
    {
        let ambient = with(sets.ambient())?;
        sets.set_ambient(ambient);
    }
    sets.set_bounding(bounding);
    sets.set_effective(effective);
    sets.set_permitted(permitted);
    process.set_capabilities(Some(sets));
    Ok(())
}

fn no_capabilities() -> LinuxCapabilities {
    let mut sets = LinuxCapabilities::default();
    let none = || Some(Capabilities::new());
    sets.set_bounding(none())
        .set_effective(none())
        .set_permitted(none());
    sets.set_inheritable(none()).set_ambient(none());
    sets
}

fn parse_capability(name: &str) -> Result<Capability, ExecError> {
    serde_json::from_value(serde_json::Value::from(name))
        .map_err(|_| ExecError::UnknownCapability(name.to_owned()))
}

/// Says which ambient capabilities the kernel will refuse.
fn unraisable(masks: &CapabilityMasks) -> Vec<String> {
    let refused = masks.ambient & !(masks.permitted & masks.inheritable);
    let refused = caps::all()
        .into_iter()
        .filter(|capability| refused & capability.bitmask() != 0);
    let warning = |capability: caps::Capability| {
        let why = "it is not both permitted and inheritable";
        format!("can't raise ambient capability {capability}: {why}")
    };
    let mut warnings: Vec<String> = refused.map(warning).collect();
    warnings.sort();
    warnings
}

fn masks(sets: &LinuxCapabilities) -> CapabilityMasks {
    let mask = |set: &Option<Capabilities>| {
        let set = set.iter().flatten();
        set.fold(0, |mask, capability| mask | capability.to_cap().bitmask())
    };
    CapabilityMasks {
        bounding: mask(sets.bounding()),
        effective: mask(sets.effective()),
        permitted: mask(sets.permitted()),
        inheritable: mask(sets.inheritable()),
        ambient: mask(sets.ambient()),
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
