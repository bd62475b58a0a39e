//! Gives a container's v2 group to the container, so that an init system in
//! there can make groups below it.

use std::io;
use std::path::Path;

use base::file::PathContext as _;
use oci_spec::runtime::{Linux, LinuxNamespaceType, Mount, Spec};
use rustix::fs::{AtFlags, CWD, Uid};

use super::{ResourceError, files};
use crate::cgroup::{Cgroup, Directories};

/// Where the kernel lists the files that may be given away.
const DELEGATE: &str = "/sys/kernel/cgroup/delegate";
/// What kernels before 4.15 had, and what belongs to whoever runs groups.
const FILES: [&str; 4] = [
    "cgroup.procs",
    "cgroup.subtree_control",
    "cgroup.threads",
    "memory.oom.group",
];

/// Returns who is to own the container's group, as a user id of the host: the
/// container's user, if it sees the group as its root and may write there.
pub fn delegation_owner(spec: &Spec) -> Option<u32> {
    let linux = spec.linux().as_ref()?;
    let mut namespaces = linux.namespaces().iter().flatten();
    let is_private = namespaces.any(|namespace| {
        namespace.typ() == LinuxNamespaceType::Cgroup && namespace.path().is_none()
    });
    if !is_private || !spec.mounts().iter().flatten().any(is_writable_cgroup) {
        return None;
    }
    let user = spec.process().as_ref()?.user().uid();
    host_id(linux, user)
}

fn is_writable_cgroup(mount: &Mount) -> bool {
    let options = mount.options().as_deref().unwrap_or_default();
    let read_only = options
        .iter()
        .rfind(|option| matches!(option.as_str(), "ro" | "rw"));
    matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"))
        && mount.destination() == Path::new("/sys/fs/cgroup")
        && read_only.is_none_or(|option| option == "rw")
}

fn host_id(linux: &Linux, user: u32) -> Option<u32> {
    let mut mappings = linux.uid_mappings().iter().flatten();
    mappings.find_map(|mapping| {
        let offset = user.checked_sub(mapping.container_id())?;
        let is_mapped = offset < mapping.size();
        is_mapped.then(|| mapping.host_id().checked_add(offset))?
    })
}

/// Makes `owner` the owner of the group and of the files in it that processes
/// are moved by. On v1 nothing is given away: it is not safe there.
///
/// # Errors
/// When the owner of one cannot be changed.
pub fn delegate(cgroup: &Cgroup, owner: u32) -> Result<(), ResourceError> {
    let Directories::Unified(group) = &cgroup.directories else {
        return Ok(());
    };
    let listed = files::read_if_there(Path::new(DELEGATE))?.unwrap_or_default();
    let owner = Uid::from_raw(owner);
    rustix::fs::chown(group, Some(owner), None).at("change the owner of", group)?;
    let names = listed.lines().filter(|name| !FILES.contains(name));
    for name in FILES.into_iter().chain(names) {
        if name.is_empty() || name.contains('/') {
            continue;
        }
        let path = group.join(name);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        match rustix::fs::chownat(CWD, &path, Some(owner), None, flags) {
            Err(error) if io::Error::from(error).kind() == io::ErrorKind::NotFound => {}
            changed => changed.at("change the owner of", &path)?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(change: impl FnOnce(&mut Value), expected: Option<u32>) {
        let mut value = json!({
            "ociVersion": "1.1.0",
            "process": {"cwd": "/", "args": ["sh"], "user": {"uid": 5, "gid": 0}},
            "mounts": [{"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
                "options": ["ro", "nosuid", "rw"]}],
            "linux": {
                "namespaces": [{"type": "cgroup"}],
                "uidMappings": [
                    {"containerID": 0, "hostID": 1000, "size": 1},
                    {"containerID": 1, "hostID": 100_000, "size": 100},
                ],
            },
        });
        change(&mut value);
        let spec: Spec = serde_json::from_value(value.clone()).unwrap();
        assert_eq!(delegation_owner(&spec), expected, "{value}");
    }

    #[test]
    fn a_group_is_given_to_a_container_that_sees_it_as_its_own() {
        check(|_| {}, Some(100_004));
        check(|spec| spec["process"]["user"]["uid"] = json!(0), Some(1000));
        check(|spec| spec["process"]["user"]["uid"] = json!(101), None);
        check(|spec| spec["linux"]["uidMappings"] = json!([]), None);
        check(
            |spec| spec["mounts"][0]["options"] = json!(["rw", "ro"]),
            None,
        );
        check(
            |spec| spec["mounts"][0]["destination"] = json!("/cgroup"),
            None,
        );
        check(|spec| spec["mounts"][0]["type"] = json!("bind"), None);
        check(
            |spec| spec["linux"]["namespaces"] = json!([{"type": "pid"}]),
            None,
        );
        let joined = json!([{"type": "cgroup", "path": "/proc/1/ns/cgroup"}]);
        check(|spec| spec["linux"]["namespaces"] = joined, None);
    }
}
