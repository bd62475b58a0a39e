//! Adds a v1 group to a container that was created without it, because a
//! limit of its controller is only now set.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use base::file::PathContext as _;
use oci_spec::runtime::LinuxResources;

use super::join::enter;
use super::make::make_split;
use super::plan::is_joined;
use super::{ResourceError, files};
use crate::cgroup::{Cgroup, Directories, Layout, write_control};

/// Processes that fork while they are moved make another round necessary.
const ROUNDS: usize = 100;

/// Makes the groups `resources` need and the container lacks, moves all its
/// processes there, and returns whether `cgroup` has changed.
///
/// # Errors
/// When a group cannot be made, or processes cannot be moved there. It is then
/// gone again.
pub(crate) fn widen(
    cgroup: &mut Cgroup,
    resources: &LinuxResources,
) -> Result<bool, ResourceError> {
    let Directories::Split(groups) = &cgroup.directories else {
        return Ok(false);
    };
    let is_lacking = |name: &str| is_joined(name, resources) && !groups.contains_key(name);
    let might = ["cpuset", "hugetlb", "net_cls", "net_prio", "rdma"];
    if !might.into_iter().any(is_lacking) {
        return Ok(false);
    }
    let Layout::Split(mounts) = Layout::detect()? else {
        return Ok(false);
    };
    let names = cgroup.path.strip_prefix("/").unwrap_or(&cgroup.path);
    let lacking = mounts.iter().filter(|(name, _)| is_lacking(name));
    let lacking: Vec<_> = lacking
        .map(|(name, mount)| (name.clone(), mount.join(names)))
        .collect();
    let levels = names.components().count();
    for (name, group) in &lacking {
        make_split(name, group, levels)?;
        if let Err(error) = move_all(cgroup, group) {
            abandon(group);
            return Err(error);
        }
    }
    let changed = !lacking.is_empty();
    if let Directories::Split(groups) = &mut cgroup.directories {
        groups.extend(lacking);
    }
    Ok(changed)
}

/// Moves processes until none of the container is outside of `group`.
fn move_all(cgroup: &Cgroup, group: &Path) -> Result<(), ResourceError> {
    for _ in 0..ROUNDS {
        let inside = members(group)?;
        let all = cgroup.processes()?;
        let mut outside = all
            .into_iter()
            .filter(|pid| !inside.contains(pid))
            .peekable();
        if outside.peek().is_none() {
            return Ok(());
        }
        for pid in outside {
            match enter(group, pid) {
                // It has ended, which is as good.
                Err(ResourceError::File(error))
                    if error.source.raw_os_error() == Some(libc::ESRCH) => {}
                moved => moved?,
            }
        }
    }
    Err(ResourceError::Unsettled(group.to_owned()))
}

fn members(group: &Path) -> Result<BTreeSet<i32>, ResourceError> {
    let text = files::read(&group.join("cgroup.procs"))?;
    Ok(text.lines().filter_map(|line| line.parse().ok()).collect())
}

/// Puts processes back above the group and removes it. The failure that led
/// here is the one to report.
fn abandon(group: &Path) {
    let Some(parent) = group.parent() else { return };
    let entrance = parent.join("cgroup.procs");
    for pid in members(group).unwrap_or_default() {
        drop(write_control(&entrance, &pid.to_string()));
    }
    drop(fs::remove_dir(group).at("remove cgroup", group));
}
