//! What of a container comes from outside of it: named when it is dumped, given
//! by these names when it is restored.

use std::fs::File;
use std::path::{Path, PathBuf};

use base::file::{PathContext as _, read_bounded};
use oci_spec::runtime::{LinuxNamespaceType as T, Spec};

use super::CheckpointError;
use super::rpc::ExternalMount;
use crate::rootfs::{self, CgroupMounts, Content, RootfsFacts, RootfsPlan, Step};

const TABLE_LIMIT_BYTES: u64 = 64 << 20;
/// The host's devices that containers have mounts of.
const DEVICES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Returns what is mounted from outside: where in the container, which is also
/// its name, and the source on the host.
pub(super) fn mounts(
    plan: &RootfsPlan,
    facts: &RootfsFacts,
) -> Result<Vec<(PathBuf, PathBuf)>, CheckpointError> {
    let root = File::open(&plan.rootfs).at("open root filesystem", &plan.rootfs)?;
    let mut found = Vec::new();
    for step in &plan.steps {
        let Step::Mount(mount) = step else {
            continue;
        };
        let source = match &mount.content {
            Content::Bind(bind) => bind.source.clone(),
            // CRIU would make a hierarchy of v1 anew, at its root.
            Content::Filesystem(filesystem) if filesystem.kind == "cgroup" => {
                match group_of(facts, &mount.destination) {
                    Some(group) => group,
                    None => continue,
                }
            }
            _ => continue,
        };
        found.push((rootfs::resolve(&root, &mount.destination), source));
    }
    Ok(found)
}

/// Returns the container's group in the hierarchy that is mounted at a place.
fn group_of(facts: &RootfsFacts, place: &Path) -> Option<PathBuf> {
    let CgroupMounts::Split(hierarchies) = &facts.cgroups else {
        return None;
    };
    let name = place.file_name()?.to_str()?;
    let mut hierarchies = hierarchies.iter();
    let hierarchy = hierarchies.find(|hierarchy| hierarchy.name == name)?;
    Some(hierarchy.group.clone())
}

/// Returns the mounts of the host's devices that a process has, as over masked
/// files.
pub(super) fn devices(mountinfo: &Path) -> Result<Vec<ExternalMount>, CheckpointError> {
    let table = read_bounded(mountinfo, TABLE_LIMIT_BYTES)?;
    let table = String::from_utf8_lossy(&table);
    let mounts = table.lines().filter_map(device);
    Ok(mounts.collect())
}

fn device(line: &str) -> Option<ExternalMount> {
    let (front, back) = line.split_once(" - ")?;
    if !back.starts_with("devtmpfs ") && !back.starts_with("tmpfs ") {
        return None;
    }
    let mut fields = front.split(' ').skip(3);
    let (root, place) = (fields.next()?, fields.next()?);
    let name = root.strip_prefix('/')?;
    DEVICES.contains(&name).then(|| ExternalMount {
        key: place.to_owned(),
        val: format!("/dev/{name}"),
    })
}

/// Returns the host's devices by the names that [`devices`] gives them.
pub(super) fn all_devices() -> impl Iterator<Item = ExternalMount> {
    DEVICES.iter().map(|name| ExternalMount {
        key: format!("/dev/{name}"),
        val: format!("/dev/{name}"),
    })
}

/// A namespace that the specification has a path of.
#[derive(Debug)]
pub(super) struct Namespace {
    /// What CRIU calls it.
    pub name: &'static str,
    pub word: &'static str,
    pub file: File,
}

/// Returns the namespaces from outside that CRIU can join again.
pub(super) fn namespaces(spec: &Spec) -> Result<Vec<Namespace>, CheckpointError> {
    let linux = spec.linux().iter();
    let wanted = linux.flat_map(|linux| linux.namespaces().iter().flatten());
    let mut found = Vec::new();
    for namespace in wanted {
        let (name, word) = match namespace.typ() {
            T::Network => ("extRootNetNS", "net"),
            T::Pid => ("extRootPidNS", "pid"),
            _ => continue,
        };
        let Some(path) = namespace.path() else {
            continue;
        };
        let file = File::open(path).at("open namespace", path)?;
        found.push(Namespace { name, word, file });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn masked_files_are_mounts_of_the_null_device() {
        let masked = "600 500 0:5 /null /proc/kcore rw,nosuid - devtmpfs devtmpfs rw,size=1k";
        let found = device(masked).unwrap();
        assert_eq!(
            (found.key.as_str(), found.val.as_str()),
            ("/proc/kcore", "/dev/null")
        );
        for other in [
            "601 500 0:50 / /proc/acpi ro - tmpfs tmpfs ro",
            "602 500 0:51 /0 /dev/console rw - devpts devpts rw",
            "603 500 8:1 /null /x rw - ext4 /dev/sda rw",
            "nothing",
        ] {
            assert_eq!(device(other), None, "{other}");
        }
    }
}
