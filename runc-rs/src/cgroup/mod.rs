//! The control groups of one container: where they are, who is in them, freezing, removal.
//!
//! Making, limiting and joining them is `resources`'; this module names them,
//! refuses ones that are in use, and does all that comes later without reading
//! the mount table again, since the directories are in the container's record.

mod layout;
mod unit;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::time::{Duration, Instant};

use base::file::{PathContext as _, PathError, read_bounded};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};

pub use layout::Layout;
pub use unit::{Manager, Unit};

pub const ROOT: &str = "/sys/fs/cgroup";
/// What the tree of v2 beside those of v1 goes by: it has no controller.
pub const HYBRID: &str = "unified";
const PROCS_LIMIT_BYTES: u64 = 16 << 20;
/// Child groups of a container deeper than this are not ours to follow.
const DEPTH_LIMIT: usize = 32;
const FREEZE_LIMIT: Duration = Duration::from_secs(10);
const EMPTY_LIMIT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// Says what could not be done with a container's control groups.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("cgroup path {0:?} is not of the form /path/of/names")]
    InvalidPath(PathBuf),
    #[error("container's cgroup is not empty: {0:?} is used by another container or process")]
    InUse(PathBuf),
    #[error("container's cgroup unexpectedly frozen: what starts in {0:?} would never run")]
    Frozen(PathBuf),
    #[error("no control groups are mounted below {ROOT}")]
    NotMounted,
    #[error("the container has no freezer control group, which pause needs")]
    NoFreezer,
    #[error("cgroup {0:?} did not become {1} in time")]
    FreezeTimeout(PathBuf, &'static str),
    #[error("processes in cgroup {0:?} did not end in time after SIGKILL")]
    KillTimeout(PathBuf),
    #[error("cannot signal process {pid}")]
    Signal { pid: i32, source: io::Error },
    #[error(transparent)]
    File(#[from] PathError),
}

impl CgroupError {
    /// Returns whether the groups are somebody else's, and not to be emptied.
    pub fn is_foreign(&self) -> bool {
        matches!(self, Self::InUse(_) | Self::Frozen(_))
    }
}

/// The directories of one container's control groups.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Cgroup {
    /// The path below each hierarchy's root, as the specification has it.
    pub path: PathBuf,
    pub directories: Directories,
    /// Where systemd has made them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
}

/// Where a container's groups are in the file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Directories {
    Unified(PathBuf),
    /// By the controller's name.
    Split(BTreeMap<String, PathBuf>),
}

/// Whether the processes of a group run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Freezer {
    Frozen,
    Thawed,
}

impl Cgroup {
    /// Returns the groups a container gets: `wanted` below every hierarchy's
    /// root, or `/<id>`.
    ///
    /// # Errors
    /// When `wanted` has `..` in it or names nothing.
    pub fn plan(layout: &Layout, wanted: Option<&Path>, id: &str) -> Result<Self, CgroupError> {
        let wanted = match wanted {
            Some(path) if !path.as_os_str().is_empty() => path.to_owned(),
            _ => PathBuf::from(id),
        };
        let mut names = PathBuf::new();
        for component in wanted.components() {
            match component {
                Component::Normal(name) => names.push(name),
                Component::RootDir | Component::CurDir => {}
                Component::ParentDir | Component::Prefix(_) => {
                    return Err(CgroupError::InvalidPath(wanted));
                }
            }
        }
        if names.as_os_str().is_empty() {
            return Err(CgroupError::InvalidPath(wanted));
        }
        let directories = match layout {
            Layout::Unified => Directories::Unified(Path::new(ROOT).join(&names)),
            Layout::Split(mounts) => Directories::Split(
                mounts
                    .iter()
                    .map(|(name, mount)| (name.clone(), mount.join(&names)))
                    .collect(),
            ),
        };
        let path = Path::new("/").join(names);
        Ok(Self {
            path,
            directories,
            unit: None,
        })
    }

    /// Returns whether the container is in a group that limits could be set on: an
    /// ordinary user's may be in none.
    pub fn has_controllers(&self) -> bool {
        match &self.directories {
            Directories::Unified(_) => true,
            Directories::Split(groups) => groups.keys().any(|name| name != HYBRID),
        }
    }

    /// Returns whether the container is in any group.
    pub fn has_groups(&self) -> bool {
        self.all().next().is_some()
    }

    /// Returns the `cgroup.procs` files a process enters the container by.
    pub fn entrances(&self) -> Vec<PathBuf> {
        self.all().map(|group| group.join("cgroup.procs")).collect()
    }

    /// Refuses groups that hold processes already, or are frozen.
    ///
    /// # Errors
    /// `InUse` or `Frozen`; when an existing group cannot be read.
    pub fn ensure_unused(&self) -> Result<(), CgroupError> {
        for group in self.all() {
            let mut pids = Vec::new();
            collect_processes(group, DEPTH_LIMIT, &mut pids)?;
            if !pids.is_empty() {
                return Err(CgroupError::InUse(group.to_owned()));
            }
        }
        match self.freezer() {
            Some(group) if self.is_frozen() => Err(CgroupError::Frozen(group.to_owned())),
            _ => Ok(()),
        }
    }

    /// Returns the processes of the container, those of child groups included.
    ///
    /// # Errors
    /// When a group cannot be read. One that is gone is empty.
    pub fn processes(&self) -> Result<Vec<i32>, CgroupError> {
        collect(self.witness().into_iter())
    }

    /// Returns whether the container's processes are frozen.
    pub fn is_frozen(&self) -> bool {
        let Some(group) = self.freezer() else {
            return false;
        };
        match &self.directories {
            Directories::Unified(_) => {
                read_word(&group.join("cgroup.freeze")).as_deref() == Some("1")
            }
            Directories::Split(_) => matches!(
                read_word(&group.join("freezer.state")).as_deref(),
                Some("FROZEN" | "FREEZING")
            ),
        }
    }

    /// Freezes or thaws all processes of the container and waits until they are.
    ///
    /// # Errors
    /// `NoFreezer`; `FreezeTimeout` when a process cannot be frozen, in which
    /// case all are thawed again.
    pub fn set(&self, wanted: Freezer) -> Result<(), CgroupError> {
        let group = self.freezer().ok_or(CgroupError::NoFreezer)?;
        let deadline = Instant::now() + FREEZE_LIMIT;
        loop {
            self.write_freezer(group, wanted)?;
            if self.has_become(group, wanted) {
                return Ok(());
            }
            if Instant::now() > deadline {
                break;
            }
            std::thread::sleep(POLL_INTERVAL);
        }
        if wanted == Freezer::Frozen {
            self.write_freezer(group, Freezer::Thawed)?;
        }
        let word = match wanted {
            Freezer::Frozen => "frozen",
            Freezer::Thawed => "thawed",
        };
        Err(CgroupError::FreezeTimeout(group.to_owned(), word))
    }

    /// Sends `signal` to every process of the container.
    ///
    /// # Errors
    /// When one cannot be signalled; one that has ended meanwhile is no error.
    pub fn signal_all(&self, signal: Signal) -> Result<(), CgroupError> {
        for pid in self.processes()? {
            signal_one(pid, signal)?;
        }
        Ok(())
    }

    /// Kills every process of the container and waits until all have left.
    ///
    /// # Errors
    /// `KillTimeout` when some do not end.
    pub fn kill_all(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + EMPTY_LIMIT;
        loop {
            // One that is just entering is not in all of them yet.
            let pids = collect(self.all())?;
            if pids.is_empty() {
                return Ok(());
            }
            for pid in pids {
                signal_one(pid, Signal::KILL)?;
            }
            if self.is_frozen() {
                self.set(Freezer::Thawed)?;
            }
            if Instant::now() > deadline {
                return Err(CgroupError::KillTimeout(self.path.clone()));
            }
            std::thread::sleep(POLL_INTERVAL);
        }
    }

    /// Removes the groups and their child groups. Goes on after a failure and
    /// returns the first.
    ///
    /// # Errors
    /// When a group stays populated until the limit, or cannot be removed.
    pub fn remove(&self) -> Result<(), CgroupError> {
        let deadline = Instant::now() + EMPTY_LIMIT;
        let mut first = None;
        for group in self.all() {
            if let Err(error) = remove_tree(group, DEPTH_LIMIT, deadline) {
                first.get_or_insert(error);
            }
        }
        first.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Returns the group in the hierarchy of v2, if there is one.
    pub fn v2_group(&self) -> Option<&Path> {
        match &self.directories {
            Directories::Unified(group) => Some(group),
            Directories::Split(groups) => groups.get(HYBRID).map(PathBuf::as_path),
        }
    }

    fn all(&self) -> impl Iterator<Item = &Path> {
        let (one, many) = match &self.directories {
            Directories::Unified(group) => (Some(group), None),
            Directories::Split(groups) => (None, Some(groups.values())),
        };
        let all = one.into_iter().chain(many.into_iter().flatten());
        all.map(PathBuf::as_path)
    }

    /// The group whose members are the container's: each process is in all, so
    /// one is enough; `devices` is never shared between containers.
    fn witness(&self) -> Option<&Path> {
        match &self.directories {
            Directories::Unified(group) => Some(group),
            Directories::Split(groups) => ["devices", "pids", "freezer", "memory"]
                .iter()
                .find_map(|name| groups.get(*name))
                .or_else(|| groups.values().next())
                .map(PathBuf::as_path),
        }
    }

    fn freezer(&self) -> Option<&Path> {
        match &self.directories {
            Directories::Unified(group) => Some(group),
            Directories::Split(groups) => groups.get("freezer").map(PathBuf::as_path),
        }
    }

    fn write_freezer(&self, group: &Path, wanted: Freezer) -> Result<(), CgroupError> {
        let (file, word) = match (&self.directories, wanted) {
            (Directories::Unified(_), Freezer::Frozen) => ("cgroup.freeze", "1"),
            (Directories::Unified(_), Freezer::Thawed) => ("cgroup.freeze", "0"),
            (Directories::Split(_), Freezer::Frozen) => ("freezer.state", "FROZEN"),
            (Directories::Split(_), Freezer::Thawed) => ("freezer.state", "THAWED"),
        };
        Ok(write_control(&group.join(file), word)?)
    }

    fn has_become(&self, group: &Path, wanted: Freezer) -> bool {
        match &self.directories {
            Directories::Unified(_) => {
                let events = read_word(&group.join("cgroup.events")).unwrap_or_default();
                let frozen = events.lines().any(|line| line == "frozen 1");
                frozen == (wanted == Freezer::Frozen)
            }
            Directories::Split(_) => {
                let word = read_word(&group.join("freezer.state"));
                word.as_deref()
                    == Some(match wanted {
                        Freezer::Frozen => "FROZEN",
                        Freezer::Thawed => "THAWED",
                    })
            }
        }
    }
}

/// Writes to a file of the cgroup file system, which is a command and not a
/// file to replace.
///
/// # Errors
/// When the kernel refuses the value.
pub fn write_control(path: &Path, value: &str) -> Result<(), PathError> {
    use std::io::Write as _;
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .at("open", path)?;
    file.write_all(value.as_bytes()).at("write", path)
}

fn read_word(path: &Path) -> Option<String> {
    let text = read_bounded(path, PROCS_LIMIT_BYTES).ok()?;
    Some(String::from_utf8_lossy(&text).trim().to_owned())
}

fn collect<'a>(groups: impl Iterator<Item = &'a Path>) -> Result<Vec<i32>, CgroupError> {
    let mut pids = Vec::new();
    for group in groups {
        collect_processes(group, DEPTH_LIMIT, &mut pids)?;
    }
    pids.sort_unstable();
    pids.dedup();
    Ok(pids)
}

fn signal_one(pid: i32, signal: Signal) -> Result<(), CgroupError> {
    let Some(target) = Pid::from_raw(pid) else {
        return Ok(());
    };
    match kill_process(target, signal) {
        Err(error) if error != rustix::io::Errno::SRCH => Err(CgroupError::Signal {
            pid,
            source: error.into(),
        }),
        _ => Ok(()),
    }
}

fn collect_processes(group: &Path, depth: usize, pids: &mut Vec<i32>) -> Result<(), PathError> {
    let procs = group.join("cgroup.procs");
    match read_bounded(&procs, PROCS_LIMIT_BYTES) {
        Err(error) if is_gone(&error) => return Ok(()),
        // A threaded group of v2 names its processes only in the group above
        // that is not.
        Err(error) if error.source.raw_os_error() == Some(nix::libc::EOPNOTSUPP) => {}
        text => {
            let text = text?;
            let text = String::from_utf8_lossy(&text);
            pids.extend(text.lines().filter_map(|line| line.parse::<i32>().ok()));
        }
    }
    if depth == 0 {
        return Ok(());
    }
    for child in child_groups(group)? {
        collect_processes(&child, depth - 1, pids)?;
    }
    Ok(())
}

fn child_groups(group: &Path) -> Result<Vec<PathBuf>, PathError> {
    let entries = match fs::read_dir(group).at("read", group) {
        Err(error) if is_gone(&error) => return Ok(Vec::new()),
        entries => entries?,
    };
    let children = entries.filter_map(Result::ok);
    let children = children.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    Ok(children.map(|entry| entry.path()).collect())
}

fn remove_tree(group: &Path, depth: usize, deadline: Instant) -> Result<(), PathError> {
    loop {
        let removed = fs::remove_dir(group).at("remove cgroup", group);
        let Err(error) = removed else {
            return Ok(());
        };
        if is_gone(&error) {
            return Ok(());
        }
        if error.kind() != io::ErrorKind::ResourceBusy || Instant::now() > deadline {
            return Err(error);
        }
        let children = child_groups(group)?;
        if children.is_empty() {
            // The last processes are on their way out.
            std::thread::sleep(POLL_INTERVAL);
        }
        for child in children {
            if depth > 0 {
                remove_tree(&child, depth - 1, deadline)?;
            }
        }
    }
}

fn is_gone(error: &PathError) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.source.raw_os_error() == Some(nix::libc::ENODEV)
}

#[cfg(test)]
mod tests {
    use super::layout::parse_v1_mounts;
    use super::*;

    fn split() -> Layout {
        parse_table(
            "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
             36 31 0:33 / /sys/fs/cgroup/memory rw shared:9 - cgroup cgroup rw,memory\n\
             40 31 0:37 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n\
             41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
             42 31 0:33 / /mnt/memory rw - cgroup cgroup rw,memory\n",
        )
    }

    fn parse_table(table: &str) -> Layout {
        Layout::Split(parse_v1_mounts(table))
    }

    #[test]
    fn every_hierarchy_is_known_once() {
        let group = Cgroup::plan(&split(), Some(Path::new("/a/b")), "id").unwrap();
        let directories: Vec<_> = group.all().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(
            directories,
            [
                "/sys/fs/cgroup/cpu,cpuacct/a/b",
                "/sys/fs/cgroup/cpu,cpuacct/a/b",
                "/sys/fs/cgroup/memory/a/b",
                "/sys/fs/cgroup/systemd/a/b",
                "/sys/fs/cgroup/unified/a/b",
            ]
        );
        assert_eq!(
            group.v2_group(),
            Some(Path::new("/sys/fs/cgroup/unified/a/b"))
        );
        let alone = "41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        assert!(parse_v1_mounts(alone).is_empty());
        assert_eq!(group.path, Path::new("/a/b"));
    }

    #[test]
    fn a_path_that_leaves_the_hierarchy_is_refused() {
        let plan = |path: &str| Cgroup::plan(&Layout::Unified, Some(Path::new(path)), "id");
        for bad in ["/a/../../b", "..", "/", "."] {
            assert!(plan(bad).is_err(), "{bad}");
        }
        assert_eq!(plan("").unwrap().path, Path::new("/id"));
        assert_eq!(plan("a/./b").unwrap().path, Path::new("/a/b"));
    }
}
