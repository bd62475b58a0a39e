//! What the plan must know of the host: gathered first, by the parent, so that
//! planning itself reads nothing.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use base::file::read_bounded;

use super::RootfsError;
use crate::cgroup::{Cgroup, Directories};
use crate::create::RootSwitch;

const LIMIT_BYTES: u64 = 64 << 20;
const UNIFIED: &str = "/sys/fs/cgroup";
/// What the map of the initial user namespace covers.
const ALL_IDS: &str = "4294967295";

/// What the host and the caller say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsFacts {
    /// The root filesystem: absolute, without symbolic links.
    pub rootfs: PathBuf,
    /// What relative sources are relative to.
    pub bundle: PathBuf,
    pub root_switch: RootSwitch,
    /// Whether this process is in a user namespace already.
    pub in_user_namespace: bool,
    /// Whether the kernel shows its memory as `/proc/kcore`.
    pub has_kcore: bool,
    pub cgroups: CgroupMounts,
}

/// What a mount of control groups can show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CgroupMounts {
    /// One hierarchy, and the container's group in it.
    Unified {
        root: PathBuf,
        group: PathBuf,
    },
    Split(Vec<Hierarchy>),
}

/// One hierarchy of control groups v1.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// The directory it is mounted on, and is called in containers.
    pub name: String,
    /// Its controllers or, as `name=…`, its name: what it is mounted by.
    pub options: Vec<String>,
    /// The group a container is shown.
    pub group: PathBuf,
    /// Whether that is the container's own, or only the one of the caller.
    pub is_joined: bool,
}

/// One line of a mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TableLine {
    /// What of its file system is mounted.
    pub(super) root: PathBuf,
    pub(super) mount_point: PathBuf,
    pub(super) kind: String,
    pub(super) superblock: String,
}

impl RootfsFacts {
    /// Asks the host, for a container of `bundle` that gets the groups `cgroup`.
    ///
    /// # Errors
    /// When a file of the kernel cannot be read.
    pub fn gather(
        rootfs: &Path,
        bundle: &Path,
        cgroup: &Cgroup,
        root_switch: RootSwitch,
    ) -> Result<Self, RootfsError> {
        let cgroups = match &cgroup.directories {
            Directories::Unified(group) => CgroupMounts::Unified {
                root: PathBuf::from(UNIFIED),
                group: group.clone(),
            },
            Directories::Split(_) => {
                let table = read("/proc/self/mountinfo")?;
                let own = read("/proc/self/cgroup")?;
                let found = hierarchies(&table, &own, &cgroup.directories);
                // The group of a caller who may make none.
                let group = own.lines().find_map(|line| line.strip_prefix("0::/"));
                match group.filter(|_| found.is_empty()) {
                    Some(group) => CgroupMounts::Unified {
                        root: PathBuf::from(UNIFIED),
                        group: Path::new(UNIFIED).join(group),
                    },
                    None => CgroupMounts::Split(found),
                }
            }
        };
        Ok(Self {
            rootfs: rootfs.to_owned(),
            bundle: bundle.to_owned(),
            root_switch,
            in_user_namespace: !is_whole_map(&read("/proc/self/uid_map")?),
            has_kcore: Path::new("/proc/kcore").exists(),
            cgroups,
        })
    }
}

fn read(path: &'static str) -> Result<String, RootfsError> {
    let text = read_bounded(Path::new(path), LIMIT_BYTES);
    let text = text.map_err(|error| RootfsError::Facts(path, error))?;
    Ok(String::from_utf8_lossy(&text).into_owned())
}

fn is_whole_map(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", ALL_IDS])
}

/// Returns the v1 hierarchies of a mount table that this process's groups,
/// given as in `/proc/self/cgroup`, are in.
fn hierarchies(table: &str, own: &str, directories: &Directories) -> Vec<Hierarchy> {
    let mounts: Vec<TableLine> = parse_table(table).collect();
    let mut found: Vec<Hierarchy> = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(options), Some(path)) = (fields.next(), fields.next()) else {
            continue;
        };
        // The hierarchy without controllers and name is v2's.
        let hierarchy = (!options.is_empty())
            .then(|| hierarchy(&mounts, options, Path::new(path), directories))
            .flatten();
        if let Some(hierarchy) = hierarchy
            && !found.iter().any(|other| other.name == hierarchy.name)
        {
            found.push(hierarchy);
        }
    }
    found
}

fn hierarchy(
    mounts: &[TableLine],
    options: &str,
    own: &Path,
    directories: &Directories,
) -> Option<Hierarchy> {
    let options: Vec<String> = options.split(',').map(str::to_owned).collect();
    let mount = mounts.iter().find(|mount| {
        let has = |option: &String| mount.superblock.split(',').any(|one| one == option);
        mount.kind == "cgroup" && options.iter().all(has)
    })?;
    let joined = match directories {
        Directories::Split(groups) => options.iter().find_map(|name| groups.get(name)),
        Directories::Unified(_) => None,
    };
    let below = own.strip_prefix(&mount.root).unwrap_or(Path::new(""));
    Some(Hierarchy {
        name: mount.mount_point.file_name()?.to_str()?.to_owned(),
        group: joined.map_or_else(|| mount.mount_point.join(below), PathBuf::clone),
        is_joined: joined.is_some(),
        options,
    })
}

/// Returns the lines of a mount table in the form of `/proc/self/mountinfo`.
pub(super) fn parse_table(table: &str) -> impl Iterator<Item = TableLine> {
    table.lines().filter_map(|line| {
        let (front, back) = line.split_once(" - ")?;
        let mut front = front.split(' ').skip(3);
        let mut back = back.split(' ');
        Some(TableLine {
            root: unescape(front.next()?),
            mount_point: unescape(front.next()?),
            kind: back.next()?.to_owned(),
            superblock: back.nth(1)?.to_owned(),
        })
    })
}

/// Undoes how the kernel writes blanks and the like: a backslash and three
/// octal digits.
fn unescape(text: &str) -> PathBuf {
    let bytes = text.as_bytes();
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, after)) = rest.split_first() {
        let digits = after.first_chunk::<3>().filter(|_| *first == b'\\');
        let code = digits.and_then(|digits| std::str::from_utf8(digits).ok());
        match code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) => {
                plain.push(byte);
                rest = &after[3..];
            }
            None => {
                plain.push(*first);
                rest = after;
            }
        }
    }
    PathBuf::from(OsString::from_vec(plain))
}

#[cfg(test)]
#[path = "tests/facts.rs"]
mod tests;
