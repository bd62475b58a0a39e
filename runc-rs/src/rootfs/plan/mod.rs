//! Turns a specification and what was gathered of the host into the list of
//! steps. Pure: nothing is looked at, so every list can be tested as it is.
//!
//! The order is runc's, on which configurations rely: mounts as they are
//! given, then `/dev`, then the hooks and the new root, then what makes things
//! read-only, the smallest last.

mod cgroups;
mod devices;
mod mounts;

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::{Linux, LinuxNamespaceType, Root, Spec};

use super::RootfsError;
use super::facts::RootfsFacts;
use super::options::{self, Propagation, PropagationKind, Reach};
use super::steps::{IdMappings, RootfsPlan, Step};
use crate::create::RootSwitch;

const LABELLED_BY_KERNEL: [&str; 4] = ["cgroup", "cgroup2", "proc", "sysfs"];

/// What the planning of single mounts adds to, and looks up.
#[derive(Debug)]
struct Planner<'a> {
    spec: &'a Spec,
    facts: &'a RootfsFacts,
    steps: Vec<Step>,
    id_mappings: Vec<IdMappings>,
    /// Whether a mount has to be made read-only at the end.
    seals: bool,
}

/// Returns the steps that build the root filesystem of `spec`.
///
/// # Errors
/// When the specification asks what cannot be done, or contradicts itself.
pub fn plan(spec: &Spec, facts: &RootfsFacts) -> Result<RootfsPlan, RootfsError> {
    let mut planner = Planner {
        spec,
        facts,
        steps: Vec::new(),
        id_mappings: Vec::new(),
        seals: false,
    };
    let propagation = planner.root_propagation()?;
    planner.begin(propagation);
    planner.add_mounts()?;
    planner.add_devices()?;
    planner.await_cgroup();
    planner.finish(propagation);
    Ok(RootfsPlan {
        rootfs: facts.rootfs.clone(),
        in_user_namespace: planner.is_in_user_namespace(),
        mask_label: planner.label("tmpfs"),
        id_mappings: planner.id_mappings,
        steps: planner.steps,
    })
}

impl Planner<'_> {
    fn linux(&self) -> Option<&Linux> {
        self.spec.linux().as_ref()
    }

    fn has_namespace(&self, kind: LinuxNamespaceType) -> bool {
        let mut namespaces = self.linux().into_iter().flat_map(Linux::namespaces);
        namespaces.any(|all| all.iter().any(|namespace| namespace.typ() == kind))
    }

    fn is_in_user_namespace(&self) -> bool {
        self.facts.in_user_namespace || self.has_namespace(LinuxNamespaceType::User)
    }

    /// Returns what a new file system is labelled with; the kernel labels its
    /// own itself.
    fn label(&self, kind: &str) -> Option<String> {
        let label = self.linux()?.mount_label().clone();
        label.filter(|label| !label.is_empty() && !LABELLED_BY_KERNEL.contains(&kind))
    }

    fn root_propagation(&self) -> Result<Option<Propagation>, RootfsError> {
        let name = self
            .linux()
            .and_then(|linux| linux.rootfs_propagation().as_deref());
        let Some(name) = name.filter(|name| !name.is_empty()) else {
            return Ok(None);
        };
        let propagation = options::propagation(name)
            .ok_or_else(|| RootfsError::UnknownPropagation(name.to_owned()))?;
        // Without pivot_root the host's mounts stay below the container's, and
        // private they would be held for as long as it lives.
        if propagation.kind == PropagationKind::Private
            && self.facts.root_switch == RootSwitch::MoveMount
        {
            return Err(RootfsError::PrivateWithoutPivot(name.to_owned()));
        }
        Ok(Some(propagation))
    }

    fn begin(&mut self, propagation: Option<Propagation>) {
        if self.facts.root_switch == RootSwitch::Chroot {
            self.steps.push(Step::BindRoot { parent: None });
            return;
        }
        let slave = Propagation {
            kind: PropagationKind::Slave,
            reach: Reach::Tree,
        };
        self.steps
            .push(Step::Propagate(propagation.unwrap_or(slave)));
        let parent = match propagation.map(|propagation| propagation.kind) {
            Some(PropagationKind::Slave) => PropagationKind::Slave,
            _ => PropagationKind::Private,
        };
        let parent = Some(parent);
        self.steps.push(Step::BindRoot { parent });
    }

    /// The terminal comes when the root is finished, which may then be
    /// read-only.
    fn add_console_place(&mut self) {
        let process = self.spec.process().as_ref();
        let has_terminal = process.and_then(|process| process.terminal()) == Some(true);
        let root = self.spec.root().as_ref();
        let is_read_only = self.seals || root.and_then(Root::readonly) == Some(true);
        if has_terminal && is_read_only {
            self.steps.push(Step::ConsolePlace);
        }
    }

    /// Adds the wait for the control groups, unless something has before.
    fn await_cgroup(&mut self) {
        if !self.steps.contains(&Step::AwaitCgroup) {
            self.steps.push(Step::AwaitCgroup);
        }
    }

    fn finish(&mut self, propagation: Option<Propagation>) {
        self.steps.push(Step::BeforePivot);
        self.steps.push(Step::SwitchRoot(self.facts.root_switch));
        if self.facts.root_switch == RootSwitch::Chroot {
            // The rest would change the host's mounts.
            return;
        }
        self.add_console_place();
        // A private or slave root is that already, by its parent.
        if let Some(propagation) = propagation
            && matches!(
                propagation.kind,
                PropagationKind::Shared | PropagationKind::Unbindable
            )
        {
            self.steps.push(Step::PropagateRoot(propagation));
        }
        if self.seals {
            self.steps.push(Step::SealMounts);
        }
        let root = self.spec.root().as_ref();
        if root.and_then(Root::readonly) == Some(true) {
            self.steps.push(Step::SealRoot);
        }
        let linux = self.linux();
        let read_only = linux.and_then(|linux| linux.readonly_paths().as_ref());
        let masked = linux.and_then(|linux| linux.masked_paths().as_ref());
        let read_only = without_repeats(read_only).map(Step::ReadOnly);
        let masked = without_repeats(masked).map(Step::Mask);
        let last: Vec<Step> = read_only.chain(masked).collect();
        self.steps.extend(last);
    }
}

fn without_repeats(paths: Option<&Vec<String>>) -> impl Iterator<Item = PathBuf> {
    let mut seen: Vec<PathBuf> = Vec::new();
    for path in paths.into_iter().flatten() {
        let path = in_container(Path::new(path));
        if !seen.contains(&path) {
            seen.push(path);
        }
    }
    seen.into_iter()
}

/// Returns a path of the container as an absolute one without `.` and double
/// slashes. `..` stays: where it leads is known only when links are followed.
fn in_container(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => clean.push(".."),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

/// Returns the same with `..` worked out by the text alone.
fn lexical(path: &Path) -> PathBuf {
    let mut clean = PathBuf::from("/");
    for component in path.components() {
        match component {
            Component::Normal(name) => clean.push(name),
            Component::ParentDir => drop(clean.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    clean
}

#[cfg(test)]
#[path = "../tests/plan.rs"]
mod tests;
