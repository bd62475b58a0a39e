//! One cgroup in every hierarchy for what xtask runs in namespaces, and its end.
//!
//! Never touches a cgroup that it did not make.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::workspace::read_text;

const TOP: &str = "/sys/fs/cgroup";
/// How long the kernel may take to let go of ended processes.
const REMOVE_LIMIT: Duration = Duration::from_secs(10);

/// A cgroup hierarchy that is mounted on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Hierarchy {
    /// v1: one controller, or a name without one.
    Legacy { folder: String, options: String },
    /// v2 beside them, without controllers.
    Hybrid,
    /// v2.
    Unified,
}

/// Where a hybrid layout has v2.
pub(crate) const HYBRID_FOLDER: &str = "unified";

impl Hierarchy {
    fn path(&self, cgroup: &str) -> PathBuf {
        match self {
            Self::Legacy { folder, .. } => Path::new(TOP).join(folder).join(cgroup),
            Self::Hybrid => Path::new(TOP).join(HYBRID_FOLDER).join(cgroup),
            Self::Unified => Path::new(TOP).join(cgroup),
        }
    }
}

/// Returns the hierarchies of this host: v1 ones with v2 beside them where it
/// is mounted, or else the one of v2.
///
/// # Errors
/// Fails when the kernel's list cannot be read.
pub(crate) fn hierarchies() -> Result<Vec<Hierarchy>> {
    let text = read_text(Path::new("/proc/self/cgroup"))?;
    let top = Path::new(TOP);
    let mut found = parse(&text, |folder| top.join(folder).is_dir());
    if found.is_empty() {
        return Ok(vec![Hierarchy::Unified]);
    }
    if top.join(HYBRID_FOLDER).join("cgroup.procs").exists() {
        found.push(Hierarchy::Hybrid);
    }
    Ok(found)
}

fn parse(text: &str, mounted: impl Fn(&str) -> bool) -> Vec<Hierarchy> {
    let legacy = |line: &str| {
        let controllers = line.split(':').nth(1).filter(|list| !list.is_empty())?;
        let name = controllers.strip_prefix("name=");
        let folder = name.unwrap_or(controllers).to_owned();
        let options = if name.is_some() {
            format!("none,{controllers}")
        } else {
            controllers.into()
        };
        mounted(&folder).then_some(Hierarchy::Legacy { folder, options })
    };
    text.lines().filter_map(legacy).collect()
}

/// Makes the cgroup in each hierarchy and moves this process into it.
///
/// # Errors
/// Fails when a cgroup cannot be made or joined.
pub(crate) fn join(cgroup: &str, hierarchies: &[Hierarchy]) -> Result<()> {
    for hierarchy in hierarchies {
        let folder = hierarchy.path(cgroup);
        fs::create_dir(&folder).with_context(|| format!("create {}", folder.display()))?;
        // A new cpuset is empty and takes nobody before it has both.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            let parent = folder.parent().expect("a cgroup has a parent").join(file);
            if matches!(hierarchy, Hierarchy::Legacy { .. }) && parent.exists() {
                write_value(&folder.join(file), read_text(&parent)?.trim())?;
            }
        }
        write_value(&folder.join("cgroup.procs"), "0")?;
    }
    Ok(())
}

/// Enters a group of v2 below `cgroup`, to be the top of what is seen from a cgroup
/// namespace. The process before this one stays where it is.
///
/// # Errors
/// Fails when there is no v2, or the group cannot be made or entered.
pub(crate) fn enter_top(cgroup: &str, hierarchies: &[Hierarchy]) -> Result<()> {
    enter_new(&top(cgroup, hierarchies)?)
}

/// Moves on to a group below the top: one with a process in it cannot pass its
/// controllers on. On a machine with systemd the top has none.
///
/// # Errors
/// Fails like `enter_top`.
pub(crate) fn leave_top(cgroup: &str, hierarchies: &[Hierarchy]) -> Result<()> {
    enter_new(&top(cgroup, hierarchies)?.join("init.scope"))
}

fn top(cgroup: &str, hierarchies: &[Hierarchy]) -> Result<PathBuf> {
    let is_v2 = |one: &&Hierarchy| matches!(one, Hierarchy::Hybrid | Hierarchy::Unified);
    let v2 = hierarchies.iter().find(is_v2);
    Ok(v2
        .context("there is no cgroup v2")?
        .path(cgroup)
        .join("top"))
}

fn enter_new(group: &Path) -> Result<()> {
    fs::create_dir(group).with_context(|| format!("create {}", group.display()))?;
    write_value(&group.join("cgroup.procs"), "0")
}

/// Removes the cgroup and all below it from each hierarchy.
///
/// # Errors
/// Fails when a process of it does not end.
pub(crate) fn remove(cgroup: &str) -> Result<()> {
    for hierarchy in hierarchies()? {
        remove_tree(&hierarchy.path(cgroup))?;
    }
    Ok(())
}

/// Kills every process in a cgroup below those that are mounted in `top`, thawed
/// where it is frozen.
///
/// # Errors
/// Fails when the hierarchies cannot be read.
pub(crate) fn kill_below(top: &Path) -> Result<()> {
    for hierarchy in fs::read_dir(top).with_context(|| format!("read {}", top.display()))? {
        let hierarchy = hierarchy.context("read a hierarchy")?.path();
        for group in folders(&hierarchy) {
            kill_in(&group)?;
        }
    }
    Ok(())
}

fn folders(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    let folders = entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.map(|entry| entry.path()).collect()
}

fn kill_in(group: &Path) -> Result<()> {
    for below in folders(group) {
        kill_in(&below)?;
    }
    // One that is gone meanwhile has nobody in it.
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    let pids = members.lines().filter_map(|line| line.parse().ok());
    for pid in pids.filter_map(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).ok();
    }
    for (file, word) in [("freezer.state", "THAWED"), ("cgroup.freeze", "0")] {
        if group.join(file).exists() {
            write_value(&group.join(file), word)?;
        }
    }
    Ok(())
}

fn remove_tree(folder: &Path) -> Result<()> {
    let Ok(entries) = fs::read_dir(folder) else {
        return Ok(()); // It was never made, or is gone already.
    };
    for entry in entries
        .flatten()
        .filter(|e| e.file_type().is_ok_and(|kind| kind.is_dir()))
    {
        remove_tree(&entry.path())?;
    }
    let deadline = Instant::now() + REMOVE_LIMIT;
    while let Err(error) = fs::remove_dir(folder) {
        if error.kind() == std::io::ErrorKind::NotFound {
            break;
        }
        if Instant::now() > deadline {
            bail!("remove the cgroup {}: {error}", folder.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    Ok(())
}

/// Writes a file that is there already.
///
/// # Errors
/// Fails when the kernel refuses the value.
pub(crate) fn write_value(file: &Path, value: &str) -> Result<()> {
    OpenOptions::new()
        .write(true)
        .open(file)
        .and_then(|mut file| file.write_all(value.as_bytes()))
        .with_context(|| format!("write {value} to {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn v1_hierarchies_are_named_by_their_folder() {
        let text = "9:name=systemd:/\n4:memory:/x\n3:cpu,cpuacct:/\n0::/\n";
        let found = parse(text, |folder| folder != "cpu,cpuacct");
        let legacy = |folder: &str, options: &str| Hierarchy::Legacy {
            folder: folder.into(),
            options: options.into(),
        };
        assert_eq!(
            found,
            [
                legacy("systemd", "none,name=systemd"),
                legacy("memory", "memory")
            ]
        );
    }

    #[test]
    fn a_host_with_v2_only_has_no_v1_hierarchy() {
        assert_eq!(parse("0::/user.slice\n", |_| true), []);
    }
}
