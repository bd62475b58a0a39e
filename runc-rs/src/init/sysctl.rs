//! Kernel parameters of a container's namespaces.
//!
//! Only parameters that belong to a namespace of the container's own may be
//! set: any other would change the host. They are written through a procfs
//! handle of our own, never through what the container has mounted.

use std::io::Write as _;

use oci_spec::runtime::{Linux, LinuxNamespaceType};
use pathrs::flags::OpenFlags;
use pathrs::procfs::{ProcfsBase, ProcfsHandle};

use super::namespaces::NamespacePlan;
use crate::spec::SpecError;

/// Parameters of the IPC namespace that have no common beginning.
const OF_IPC: [&str; 8] = [
    "kernel/msgmax",
    "kernel/msgmnb",
    "kernel/msgmni",
    "kernel/sem",
    "kernel/shmall",
    "kernel/shmmax",
    "kernel/shmmni",
    "kernel/shm_rmid_forced",
];

/// One parameter.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Sysctl {
    /// Below `/proc/sys`.
    path: String,
    value: String,
}

/// Returns the parameters that `linux` sets, sorted.
///
/// # Errors
/// When one is not of a namespace of the container's own.
pub(super) fn plan(linux: &Linux, namespaces: &NamespacePlan) -> Result<Vec<Sysctl>, SpecError> {
    let wanted = linux.sysctl().iter().flatten();
    let sysctls = wanted.map(|(name, value)| {
        let path = path(name);
        let is_plain = path
            .split('/')
            .all(|part| !part.is_empty() && part != ".." && part != ".");
        match owner(&path) {
            Some(kind) if is_plain && has(namespaces, kind) => Ok(Sysctl {
                path,
                value: value.clone(),
            }),
            _ => Err(SpecError::ForeignSysctl(name.clone())),
        }
    });
    let mut sysctls = sysctls.collect::<Result<Vec<_>, _>>()?;
    sysctls.sort();
    Ok(sysctls)
}

/// Whichever separator comes first separates; the other is part of a name, as
/// in `net/ipv4/conf/eth0.100/forwarding`.
fn path(name: &str) -> String {
    match name.find(['.', '/']).map(|at| name.as_bytes()[at]) {
        Some(b'.') => name
            .chars()
            .map(|letter| match letter {
                '.' => '/',
                '/' => '.',
                other => other,
            })
            .collect(),
        _ => name.to_owned(),
    }
}

/// Returns the kind of namespace that a parameter belongs to.
fn owner(path: &str) -> Option<LinuxNamespaceType> {
    if OF_IPC.contains(&path) || path.starts_with("fs/mqueue/") {
        return Some(LinuxNamespaceType::Ipc);
    }
    if path.starts_with("net/") {
        return Some(LinuxNamespaceType::Network);
    }
    // `kernel/hostname` would contradict the specification's own field.
    (path == "kernel/domainname").then_some(LinuxNamespaceType::Uts)
}

fn has(namespaces: &NamespacePlan, kind: LinuxNamespaceType) -> bool {
    namespaces.is_new(kind) || namespaces.is_joined(kind)
}

/// Sets all of them for the caller's namespaces.
///
/// # Errors
/// A message that names the parameter.
pub(super) fn apply(sysctls: &[Sysctl]) -> Result<(), String> {
    if sysctls.is_empty() {
        return Ok(());
    }
    let handle = ProcfsHandle::new().map_err(|error| format!("cannot open procfs: {error}"))?;
    for Sysctl { path, value } in sysctls {
        let failed = |error: &dyn std::fmt::Display| format!("cannot set sysctl {path}: {error}");
        let name = format!("sys/{path}");
        let opened = handle.open(ProcfsBase::ProcRoot, name, OpenFlags::O_WRONLY);
        let mut file = opened.map_err(|error| failed(&error))?;
        file.write_all(value.as_bytes())
            .map_err(|error| failed(&error))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::namespaces;

    fn planned(namespaces: &str, name: &str) -> Result<Vec<Sysctl>, SpecError> {
        let value = serde_json::json!({"sysctl": {name: "1"}});
        let linux: Linux = serde_json::from_value(value).unwrap();
        let namespaces = serde_json::from_str::<Vec<_>>(namespaces).unwrap();
        plan(&linux, &namespaces::plan(&namespaces).unwrap())
    }

    const ALL: &str = r#"[{"type":"network"},{"type":"ipc"},{"type":"uts"}]"#;

    #[test]
    fn parameters_of_own_namespaces_are_set() {
        for (name, path) in [
            ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
            (
                "net/ipv4/conf/eth0.100/forwarding",
                "net/ipv4/conf/eth0.100/forwarding",
            ),
            (
                "net.ipv4.conf.eth0/100.forwarding",
                "net/ipv4/conf/eth0.100/forwarding",
            ),
            ("kernel.shmmax", "kernel/shmmax"),
            ("fs.mqueue.msg_max", "fs/mqueue/msg_max"),
            ("kernel.domainname", "kernel/domainname"),
        ] {
            assert_eq!(planned(ALL, name).unwrap()[0].path, path);
            assert!(planned("[]", name).is_err(), "{name} would be the host's");
        }
    }

    #[test]
    fn parameters_of_the_host_are_refused() {
        for name in [
            "kernel.hostname",
            "kernel.core_pattern",
            "vm.swappiness",
            "net/../vm/x",
            "net..x",
        ] {
            assert!(planned(ALL, name).is_err(), "{name}");
        }
    }
}
