//! Refuses specifications that would be run wrongly or dangerously.
//!
//! Namespaces, sysctls and the like are validated where they are planned
//! (`docs/RUNTIME.md` lists each refusal with its reason).

use std::path::{Component, Path};

use oci_spec::runtime::{Linux, LinuxNamespaceType, Mount, Process, Spec, User};

use super::{HostFacts, NO_ID, SpecError};
use crate::seccomp;

/// Refuses what this runtime cannot do rightly.
///
/// # Errors
/// The first thing wrong with the specification.
pub fn validate(spec: &Spec, facts: &HostFacts) -> Result<(), SpecError> {
    if !spec.version().starts_with("1.") {
        return Err(SpecError::Version(spec.version().clone()));
    }
    let linux = spec.linux().as_ref().ok_or(SpecError::Missing("linux"))?;
    let process = spec
        .process()
        .as_ref()
        .ok_or(SpecError::Missing("process"))?;
    validate_process(process)?;
    validate_paths(linux)?;
    for label in [linux.mount_label(), process.selinux_label()] {
        validate_label(label.as_deref(), facts.has_selinux)?;
    }
    if let Some(section) = linux.seccomp() {
        seccomp::plan(section)?;
    }
    if facts.rootfs == Path::new("/") {
        return Err(SpecError::Invalid("root.path is the host's root"));
    }
    spec.mounts().iter().flatten().try_for_each(validate_mount)
}

/// Paths cannot be covered or made read-only in the host's mount namespace: the
/// host would have them so too.
fn validate_paths(linux: &Linux) -> Result<(), SpecError> {
    let mut namespaces = linux.namespaces().iter().flatten();
    if namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::Mount) {
        return Ok(());
    }
    let lists = [linux.masked_paths(), linux.readonly_paths()];
    match lists.into_iter().flatten().all(Vec::is_empty) {
        true => Ok(()),
        false => Err(SpecError::Invalid(
            "maskedPaths and readonlyPaths need a mount namespace",
        )),
    }
}

/// Refuses a process, of the container or of an exec, that cannot be run.
///
/// # Errors
/// The first thing wrong with it.
pub(crate) fn validate_process(process: &Process) -> Result<(), SpecError> {
    let has_arguments = process.args().as_ref().is_some_and(|args| !args.is_empty());
    if !has_arguments {
        return Err(SpecError::Missing("process.args"));
    }
    if !process.cwd().is_absolute() {
        return Err(SpecError::Invalid("process.cwd is not an absolute path"));
    }
    let variables = process.env().iter().flatten();
    let arguments = process.args().iter().flatten();
    if variables.chain(arguments).any(|text| text.contains('\0')) {
        return Err(SpecError::Invalid(
            "process.args or process.env has a NUL byte",
        ));
    }
    validate_user(process.user())?;
    process
        .env()
        .iter()
        .flatten()
        .try_for_each(|variable| match variable.split_once('=') {
            Some((name, _)) if !name.is_empty() => Ok(()),
            _ => Err(SpecError::Variable(variable.clone())),
        })
}

/// A process that was to become nobody in particular would stay root.
fn validate_user(user: &User) -> Result<(), SpecError> {
    let gids = user.additional_gids().iter().flatten();
    match user {
        user if user.uid() == NO_ID => Err(SpecError::NoId("process.user.uid")),
        user if user.gid() == NO_ID => Err(SpecError::NoId("process.user.gid")),
        _ if gids.into_iter().any(|gid| *gid == NO_ID) => {
            Err(SpecError::NoId("one of process.user.additionalGids"))
        }
        _ => Ok(()),
    }
}

/// Silently running without the label would be worse than not running.
///
/// # Errors
/// When there is a label and nobody to give it.
pub(crate) fn validate_label(label: Option<&str>, has_selinux: bool) -> Result<(), SpecError> {
    match label {
        Some(label) if label.contains(['"', '\0']) => Err(SpecError::Label(label.to_owned())),
        Some(label) if !label.is_empty() && !has_selinux => Err(SpecError::NoSelinux),
        _ => Ok(()),
    }
}

fn validate_mount(mount: &Mount) -> Result<(), SpecError> {
    // A relative one is taken as below the root, as by runc.
    if lexical(mount.destination()).is_empty() {
        return Err(SpecError::Unsupported("a mount on /"));
    }
    Ok(())
}

/// The names of a path inside the container, with `.` and `..` worked out as
/// far as that is possible without looking.
fn lexical(path: &Path) -> Vec<&str> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name.to_str().unwrap_or("?")),
            Component::ParentDir => drop(names.pop()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    names
}
