//! Fills the gaps of a valid specification the way runc means them.

use std::collections::HashSet;

use oci_spec::runtime::{Capabilities, LinuxCapabilities, Process, Root, Spec};

use super::HostFacts;
use crate::cgroup::Cgroup;

/// The file mode mask of a process whose specification has none.
pub(crate) const DEFAULT_UMASK: u32 = 0o022;

/// Returns `spec` with its gaps filled from `facts` and its cgroup path set.
pub fn normalise(mut spec: Spec, facts: &HostFacts, cgroup: &Cgroup) -> Spec {
    if let Some(process) = spec.process_mut() {
        normalise_process(process, &facts.home);
    }
    let read_only = spec.root().as_ref().and_then(Root::readonly);
    let mut root = Root::default();
    root.set_path(facts.rootfs.clone());
    root.set_readonly(Some(read_only.unwrap_or(false)));
    spec.set_root(Some(root));
    if let Some(linux) = spec.linux_mut() {
        linux.set_cgroups_path(Some(cgroup.path.clone()));
    }
    spec
}

/// Fills the gaps of a process, of the container or of an exec.
pub(crate) fn normalise_process(process: &mut Process, home: &str) {
    // A set that is absent beside present ones means empty, not "all".
    if let Some(capabilities) = process.capabilities().clone() {
        process.set_capabilities(Some(with_all_sets(capabilities)));
    }
    // runc's default.
    let umask = process.user().umask().unwrap_or(DEFAULT_UMASK);
    process.user_mut().set_umask(Some(umask));
    // Looked up here, where the image's own name service has no say.
    let mut variables = last_of_each(process.env().clone().unwrap_or_default());
    variables.retain(|variable| variable != "HOME=");
    if !variables
        .iter()
        .any(|variable| variable.starts_with("HOME="))
    {
        variables.push(format!("HOME={home}"));
    }
    process.set_env(Some(variables));
}

/// Keeps the last value of each variable, as runc does.
fn last_of_each(variables: Vec<String>) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    let mut seen = HashSet::new();
    let mut kept: Vec<String> = variables.into_iter().rev().collect();
    kept.retain(|variable| seen.insert(name(variable)));
    kept.reverse();
    kept
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

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
