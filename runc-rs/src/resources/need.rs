//! Whether a container needs control groups: an ordinary user may not be able to
//! make any.

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Access, AtFlags, CWD};

use super::ResourceError;
use super::plan::{Existing, Version, plan};
use crate::cgroup::{Cgroup, Directories, HYBRID};

/// What a container without control groups is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A failure.
    Always,
    /// Good enough where nothing is limited and none may be made.
    ForLimits,
}

/// Forgets those groups of `cgroup` that are not needed and may not be made. That
/// of v2 beside v1 is done without anyway.
///
/// # Errors
/// When limits need what may not be made.
pub fn forget_refused(
    cgroup: &mut Cgroup,
    resources: &LinuxResources,
    need: Need,
) -> Result<(), ResourceError> {
    if need == Need::Always {
        return Ok(());
    }
    match &mut cgroup.directories {
        Directories::Unified(group) if may_be_made(group) => {}
        Directories::Unified(_) => {
            if !limited(Version::V2, resources)?.is_empty() {
                return Err(ResourceError::Unprivileged);
            }
            cgroup.directories = Directories::Split(BTreeMap::new());
        }
        Directories::Split(groups) => {
            groups.retain(|name, group| name == HYBRID || may_be_made(group));
            let is_there = |name: &&str| groups.contains_key(*name);
            if !limited(Version::V1, resources)?.iter().all(is_there) {
                return Err(ResourceError::Unprivileged);
            }
        }
    }
    Ok(())
}

/// Returns whether this process may make a directory, or go into it.
fn may_be_made(group: &Path) -> bool {
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    let there = group.ancestors().find(|path| path.exists());
    there.is_some_and(|path| rustix::fs::accessat(CWD, path, wanted, AtFlags::EACCESS).is_ok())
}

/// Returns the controllers that have something to limit.
fn limited(
    version: Version,
    resources: &LinuxResources,
) -> Result<Vec<&'static str>, ResourceError> {
    let every = [
        "cpu", "cpuset", "dmem", "hugetlb", "io", "memory", "misc", "pids", "rdma",
    ];
    let existing = Existing {
        controllers: every.map(str::to_owned).into(),
        ..Existing::default()
    };
    let writes = plan(version, resources, &existing)?;
    Ok(writes.iter().map(|write| write.controller.name()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Even root makes nothing below a file.
    fn refused(directories: Directories) -> Cgroup {
        Cgroup {
            path: "/c".into(),
            directories,
            unit: None,
        }
    }

    fn unified() -> Cgroup {
        refused(Directories::Unified("/proc/self/stat/c".into()))
    }

    fn limits(text: &str) -> LinuxResources {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn without_limits_a_container_can_be_without_groups() {
        let devices = limits(r#"{"devices": [{"allow": false, "access": "rwm"}]}"#);
        let mut cgroup = unified();
        forget_refused(&mut cgroup, &devices, Need::ForLimits).unwrap();
        assert_eq!(cgroup.directories, Directories::Split(BTreeMap::new()));
        let mut cgroup = unified();
        forget_refused(&mut cgroup, &devices, Need::Always).unwrap();
        assert_eq!(cgroup, unified());
    }

    #[test]
    fn a_limit_needs_a_group() {
        for text in [
            r#"{"pids": {"limit": 9}}"#,
            r#"{"unified": {"memory.max": "9"}}"#,
        ] {
            let error = forget_refused(&mut unified(), &limits(text), Need::ForLimits);
            let text = error.unwrap_err().to_string();
            assert!(
                text.starts_with("rootless needs no limits + no cgrouppath"),
                "{text}"
            );
        }
    }

    #[test]
    fn what_may_be_made_is_kept() {
        let directory = tempfile::tempdir().unwrap();
        let wanted = Directories::Unified(directory.path().join("a/b"));
        let mut cgroup = refused(wanted.clone());
        forget_refused(&mut cgroup, &limits("{}"), Need::ForLimits).unwrap();
        assert_eq!(cgroup.directories, wanted);
        let group = |name: &str| (name.to_owned(), Path::new("/proc/self/stat").join(name));
        let cpu = ("cpu".to_owned(), directory.path().join("c"));
        let split = [group("pids"), group(HYBRID), cpu.clone()];
        let mut cgroup = refused(Directories::Split(split.clone().into()));
        let shares = limits(r#"{"cpu": {"shares": 9}}"#);
        forget_refused(&mut cgroup, &shares, Need::ForLimits).unwrap();
        let expected = Directories::Split([group(HYBRID), cpu].into());
        assert_eq!(cgroup.directories, expected);
        let mut cgroup = refused(Directories::Split(split.into()));
        let pids = limits(r#"{"pids": {"limit": 9}}"#);
        forget_refused(&mut cgroup, &pids, Need::ForLimits).unwrap_err();
        let mut cgroup = refused(Directories::Split([group("pids"), group(HYBRID)].into()));
        forget_refused(&mut cgroup, &limits("{}"), Need::ForLimits).unwrap();
        assert_eq!(
            cgroup.directories,
            Directories::Split([group(HYBRID)].into())
        );
    }
}
