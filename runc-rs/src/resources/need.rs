//! Whether a container needs control groups: an ordinary user may not be able to
//! make any.

use std::collections::BTreeMap;
use std::path::Path;

use oci_spec::runtime::LinuxResources;
use rustix::fs::{Access, AtFlags, CWD};

use super::plan::{Existing, Version, plan};
use super::{ResourceError, files};
use crate::cgroup::{Cgroup, Directories, HYBRID};

/// What a container without control groups is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// A failure.
    Always,
    /// Good enough where nothing is limited and none may be made.
    ForLimits,
}

/// Forgets the groups of `cgroup` where they are not needed and may not be made.
/// That of v2 beside v1 is done without anyway.
///
/// # Errors
/// When limits need what may not be made.
pub fn forget_refused(
    cgroup: &mut Cgroup,
    resources: &LinuxResources,
    need: Need,
) -> Result<(), ResourceError> {
    let is_refused = need == Need::ForLimits && !files::groups(cgroup).into_iter().all(may_be_made);
    if !is_refused {
        return Ok(());
    }
    if has_limits(files::version(cgroup), resources)? {
        return Err(ResourceError::Unprivileged);
    }
    match &mut cgroup.directories {
        Directories::Split(groups) => groups.retain(|name, _| name == HYBRID),
        unified => *unified = Directories::Split(BTreeMap::new()),
    }
    Ok(())
}

/// Returns whether this process may make a directory, or go into it.
fn may_be_made(group: &Path) -> bool {
    let wanted = Access::WRITE_OK | Access::EXEC_OK;
    let there = group.ancestors().find(|path| path.exists());
    there.is_some_and(|path| rustix::fs::accessat(CWD, path, wanted, AtFlags::EACCESS).is_ok())
}

fn has_limits(version: Version, resources: &LinuxResources) -> Result<bool, ResourceError> {
    let every = [
        "cpu", "cpuset", "dmem", "hugetlb", "io", "memory", "misc", "pids", "rdma",
    ];
    let existing = Existing {
        controllers: every.map(str::to_owned).into(),
        ..Existing::default()
    };
    Ok(!plan(version, resources, &existing)?.is_empty())
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
        let mut cgroup = refused(Directories::Split([group("pids"), group(HYBRID)].into()));
        forget_refused(&mut cgroup, &limits("{}"), Need::ForLimits).unwrap();
        assert_eq!(
            cgroup.directories,
            Directories::Split([group(HYBRID)].into())
        );
    }
}
