//! Rewrites a valid specification so that libcontainer does what it means.
//!
//! Each step stands for a defect of libcontainer 0.7 that has a way around it;
//! `docs/RUNTIME.md` lists them.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{
    Capabilities, LinuxCapabilities, LinuxSeccomp, LinuxSeccompArg, LinuxSeccompArgBuilder,
    LinuxSeccompOperator, Mount, Process, Root, Spec,
};

use super::HostFacts;
use crate::cgroup::{Cgroup, Directories};

/// The file mode mask of a process whose specification has none.
pub(crate) const DEFAULT_UMASK: u32 = 0o022;

/// The named hierarchy that libcontainer mounts besides those with controllers.
const NAMED_HIERARCHY: &str = "systemd";

/// A specification libcontainer handles rightly, and what is left to do for us.
#[derive(Debug, Clone)]
pub struct Normalised {
    pub spec: Spec,
    /// A directory to make below the root filesystem, when `process.cwd` may
    /// be missing there.
    pub working_directory: Option<PathBuf>,
}

/// Returns `spec` with its gaps filled from `facts` and its cgroup path set.
pub fn normalise(mut spec: Spec, facts: &HostFacts, cgroup: &Cgroup) -> Normalised {
    let working_directory = missing_working_directory(&spec);
    if let Some(process) = spec.process_mut() {
        normalise_process(process, &facts.home);
    }
    let read_only = spec
        .root()
        .as_ref()
        .and_then(Root::readonly)
        .unwrap_or(false);
    let mut root = Root::default();
    root.set_path(facts.rootfs.clone());
    root.set_readonly(Some(read_only));
    spec.set_root(Some(root));
    let sealed = read_only_hierarchies(&spec, cgroup);
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(cgroup.path.clone()));
        if let Some(filter) = linux.seccomp_mut() {
            exchange_masks(filter);
        }
        let mut paths = linux.readonly_paths().clone().unwrap_or_default();
        paths.extend(sealed);
        linux.set_readonly_paths(Some(paths));
    }
    Normalised {
        spec,
        working_directory,
    }
}

/// Returns the seccomp section of a normalised specification as its author
/// wrote it, for who reads it rightly: exchanging twice changes nothing.
pub(crate) fn seccomp_as_written(spec: &Spec) -> Option<LinuxSeccomp> {
    let mut filter = spec.linux().as_ref()?.seccomp().clone()?;
    exchange_masks(&mut filter);
    Some(filter)
}

/// The specification's `value` is the mask and `valueTwo` what is compared;
/// libcontainer takes them the other way round, which lets every call through.
/// This and [`seccomp_as_written`] go when it makes no filter any more.
fn exchange_masks(filter: &mut LinuxSeccomp) {
    let mut rules = filter.syscalls().clone().unwrap_or_default();
    for rule in &mut rules {
        if let Some(arguments) = rule.args() {
            rule.set_args(Some(arguments.iter().map(exchange_mask).collect()));
        }
    }
    filter.set_syscalls(Some(rules));
}

fn exchange_mask(argument: &LinuxSeccompArg) -> LinuxSeccompArg {
    if argument.op() != LinuxSeccompOperator::ScmpCmpMaskedEq {
        return *argument;
    }
    LinuxSeccompArgBuilder::default()
        .index(argument.index())
        .op(argument.op())
        .value(argument.value_two().unwrap_or(0))
        .value_two(argument.value())
        .build()
        .expect("all fields are set")
}

/// Returns what must be made read-only by hand: of a mount of v1 hierarchies
/// libcontainer ignores `ro`, and the container could lift its own limits.
fn read_only_hierarchies(spec: &Spec, cgroup: &Cgroup) -> Vec<String> {
    let Directories::Split(groups) = &cgroup.directories else {
        return Vec::new();
    };
    let is_sealed = |mount: &&Mount| {
        let options = mount.options().as_deref().unwrap_or_default();
        mount.typ().as_deref() == Some("cgroup") && options.iter().any(|option| option == "ro")
    };
    let mounts = spec.mounts().iter().flatten().filter(is_sealed);
    let below = |mount: &Mount| {
        let names = groups.keys().map(String::as_str).chain([NAMED_HIERARCHY]);
        let path = |name| mount.destination().join(name).display().to_string();
        names.map(path).collect::<Vec<_>>()
    };
    mounts.flat_map(below).collect()
}

/// Fills the gaps of a process, of the container or of an exec.
pub(crate) fn normalise_process(process: &mut Process, home: &str) {
    // An explicit false makes libcontainer load the seccomp filter after the
    // capabilities that loading needs are gone.
    if process.no_new_privileges() == Some(false) {
        process.set_no_new_privileges(None);
    }
    // A set that is absent beside present ones means empty, not "all".
    if let Some(capabilities) = process.capabilities().clone() {
        process.set_capabilities(Some(with_all_sets(capabilities)));
    }
    // runc's default; libcontainer would leave the caller's.
    let umask = process.user().umask().unwrap_or(DEFAULT_UMASK);
    process.user_mut().set_umask(Some(umask));
    // Without HOME, libcontainer would ask the name service after entering the
    // image.
    let mut variables = process.env().clone().unwrap_or_default();
    if !variables
        .iter()
        .any(|variable| variable.starts_with("HOME="))
    {
        variables.push(format!("HOME={home}"));
    }
    process.set_env(Some(variables));
}

fn with_all_sets(mut sets: LinuxCapabilities) -> LinuxCapabilities {
    let filled = |set: &Option<Capabilities>| Some(set.clone().unwrap_or_default());
    sets.set_bounding(filled(sets.bounding()));
    sets.set_effective(filled(sets.effective()));
    sets.set_inheritable(filled(sets.inheritable()));
    sets.set_permitted(filled(sets.permitted()));
    sets.set_ambient(filled(sets.ambient()));
    sets
}

/// Returns the working directory, unless a mount hides the place where it
/// would be made.
fn missing_working_directory(spec: &Spec) -> Option<PathBuf> {
    let cwd = spec.process().as_ref()?.cwd();
    let mut mounts = spec.mounts().iter().flatten();
    let hidden = mounts.any(|mount| cwd.starts_with(mount.destination()));
    (cwd != Path::new("/") && !hidden).then(|| cwd.clone())
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
