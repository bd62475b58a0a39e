//! Makes the control groups of a container.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base::file::{PathContext as _, PathError};
use oci_spec::runtime::LinuxResources;

use super::plan::{CpusetValues, inherited, is_joined};
use super::{ResourceError, files};
use crate::cgroup::{Cgroup, Directories, write_control};

const CPUSET: &str = "cpuset";
const MODE: u32 = 0o755;
/// A group is not further down than this many levels.
const DEPTH_LIMIT: usize = 64;

/// Which hierarchies of v1 a container joins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Those that have something to do for it.
    Needed,
    /// Every one: it may write there, and finds its own group in all.
    All,
}

/// Forgets the groups of `cgroup` that a container with `resources` does not
/// need.
pub fn narrow(cgroup: &mut Cgroup, resources: &LinuxResources, reach: Reach) {
    if let (Directories::Split(groups), Reach::Needed) = (&mut cgroup.directories, reach) {
        groups.retain(|name, _| is_joined(name, resources));
    }
}

/// Makes the groups of `cgroup`. Groups that exist already are used as they are.
///
/// # Errors
/// When one cannot be made. What this call has made is then removed again.
pub fn make(cgroup: &Cgroup) -> Result<(), ResourceError> {
    let levels = cgroup.path.components().count() - 1;
    let mut made = Made::default();
    let result = match &cgroup.directories {
        Directories::Unified(group) => make_unified(group, levels, &mut made),
        Directories::Split(groups) => {
            let cpuset = groups.get(CPUSET).cloned();
            let directories: BTreeSet<PathBuf> = groups.values().cloned().collect();
            directories
                .iter()
                .try_for_each(|group| made.make(group))
                .and_then(|()| match cpuset {
                    Some(group) => fill_cpuset(&group, levels).map(drop),
                    None => Ok(()),
                })
        }
    };
    if result.is_err() {
        made.remove();
    }
    Ok(result?)
}

/// Makes one group that needs nothing but to be there.
///
/// # Errors
/// When it cannot be made.
pub fn make_group(group: &Path) -> Result<(), ResourceError> {
    let mut made = Made::default();
    let result = made.make(group);
    if result.is_err() {
        made.remove();
    }
    Ok(result?)
}

/// Makes one group of v1.
pub(super) fn make_split(controller: &str, group: &Path, levels: usize) -> Result<(), PathError> {
    let mut made = Made::default();
    let result = made.make(group).and_then(|()| match controller {
        CPUSET => fill_cpuset(group, levels).map(drop),
        _ => Ok(()),
    });
    if result.is_err() {
        made.remove();
    }
    result
}

/// The groups made so far, those above first.
#[derive(Default)]
struct Made(Vec<PathBuf>);

impl Made {
    /// Makes a group, and those above it that are missing.
    fn make(&mut self, group: &Path) -> Result<(), PathError> {
        self.make_below(group, DEPTH_LIMIT)
    }

    fn make_below(&mut self, group: &Path, depth: usize) -> Result<(), PathError> {
        let make = || fs::DirBuilder::new().mode(MODE).create(group);
        let made = match (make(), group.parent()) {
            (Err(error), Some(parent)) if is_missing(&error) && depth > 0 => {
                self.make_below(parent, depth - 1)?;
                make()
            }
            (made, _) => made,
        };
        match made {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            made => {
                made.at("make cgroup", group)?;
                self.0.push(group.to_owned());
                Ok(())
            }
        }
    }

    fn remove(&self) {
        for group in self.0.iter().rev() {
            // Somebody else may have begun to use one; it is then his.
            drop(fs::remove_dir(group));
        }
    }
}

fn is_missing(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Makes the group of v2, and lets the groups above pass on every controller
/// they have.
fn make_unified(group: &Path, levels: usize, made: &mut Made) -> Result<(), PathError> {
    made.make(group)?;
    let Some(root) = group.ancestors().nth(levels) else {
        return Ok(());
    };
    let wanted = controllers(root)?;
    if controllers(group)?.is_superset(&wanted) {
        return Ok(());
    }
    let mut above: Vec<&Path> = group.ancestors().skip(1).take(levels).collect();
    above.reverse();
    for parent in above {
        pass_on(parent)?;
    }
    Ok(())
}

/// Lets the groups below `parent` have what it has itself. What the kernel
/// refuses is missed later, by a limit that needs it, and named there.
fn pass_on(parent: &Path) -> Result<(), PathError> {
    let file = parent.join("cgroup.subtree_control");
    let enabled = files::read(&file)?;
    let enabled: BTreeSet<&str> = enabled.split_whitespace().collect();
    let own = controllers(parent)?;
    let missing = own.iter().filter(|name| !enabled.contains(name.as_str()));
    let missing: Vec<String> = missing.map(|name| format!("+{name}")).collect();
    if missing.is_empty() || write_control(&file, &missing.join(" ")).is_ok() {
        return Ok(());
    }
    for controller in missing {
        // One that cannot be passed on must not hold back the others.
        drop(write_control(&file, &controller));
    }
    Ok(())
}

fn controllers(group: &Path) -> Result<BTreeSet<String>, PathError> {
    let text = files::read(&group.join("cgroup.controllers"))?;
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

/// Gives an empty cpuset, and empty ones above it, what the next one above
/// has; the uppermost is never empty.
fn fill_cpuset(group: &Path, levels: usize) -> Result<CpusetValues, PathError> {
    let read = |file: &str| files::read(&group.join(file));
    let own = CpusetValues {
        cpus: read("cpuset.cpus")?,
        mems: read("cpuset.mems")?,
    };
    let is_full = !own.cpus.is_empty() && !own.mems.is_empty();
    let parent = match group.parent() {
        Some(parent) if !is_full && levels > 0 => parent,
        _ => return Ok(own),
    };
    let parent = fill_cpuset(parent, levels - 1)?;
    for write in inherited(&own, &parent) {
        write_control(&group.join(&*write.file), &write.value)?;
    }
    let filled = |own: String, parent: String| if own.is_empty() { parent } else { own };
    Ok(CpusetValues {
        cpus: filled(own.cpus, parent.cpus),
        mems: filled(own.mems, parent.mems),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_removes_what_was_made_and_nothing_else() {
        let directory = tempfile::tempdir().unwrap();
        let there = directory.path().join("there");
        fs::create_dir(&there).unwrap();
        let mut made = Made::default();
        made.make(&there.join("a/b")).unwrap();
        made.make(&there.join("a/b")).unwrap();
        assert_eq!(made.0, [there.join("a"), there.join("a/b")]);
        made.remove();
        assert!(there.is_dir() && !there.join("a").exists());
    }

    #[test]
    fn empty_cpusets_take_what_is_above_them() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("a/b");
        fs::create_dir_all(&group).unwrap();
        let levels = [root.path(), &root.path().join("a"), &group];
        let texts = [("0-3\n", "0\n"), ("\n", "\n"), ("1\n", "\n")];
        for (level, (cpus, mems)) in levels.iter().zip(texts) {
            for (file, text) in [("cpuset.cpus", cpus), ("cpuset.mems", mems)] {
                let mode = base::file::FileMode::Public;
                base::file::replace(&level.join(file), text.as_bytes(), mode).unwrap();
            }
        }
        let filled = fill_cpuset(&group, 2).unwrap();
        assert_eq!((filled.cpus.as_str(), filled.mems.as_str()), ("1", "0"));
        let read = |level: &Path, file: &str| fs::read_to_string(level.join(file)).unwrap();
        assert_eq!(read(levels[1], "cpuset.cpus").trim(), "0-3");
        assert_eq!(read(&group, "cpuset.cpus"), "1\n");
        assert_eq!(read(&group, "cpuset.mems").trim(), "0");
    }

    #[test]
    fn controllers_are_passed_on_level_by_level() {
        let root = tempfile::tempdir().unwrap();
        let group = root.path().join("a/b");
        fs::create_dir_all(&group).unwrap();
        let levels = [root.path(), &root.path().join("a"), &group];
        let own = ["cpu memory pids", "cpu pids", ""];
        for (level, own) in levels.iter().zip(own) {
            for (file, text) in [("cgroup.controllers", own), ("cgroup.subtree_control", "")] {
                let mode = base::file::FileMode::Public;
                base::file::replace(&level.join(file), text.as_bytes(), mode).unwrap();
            }
        }
        make_unified(&group, 2, &mut Made::default()).unwrap();
        let passed = |level: &Path| files::read(&level.join("cgroup.subtree_control")).unwrap();
        assert_eq!(passed(levels[0]), "+cpu +memory +pids");
        assert_eq!(passed(levels[1]), "+cpu +pids");
        assert_eq!(passed(&group), "");
    }
}
