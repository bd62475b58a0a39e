//! How control groups are mounted on this host.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::file::{PathContext as _, read_bounded};

use super::{CgroupError, HYBRID, ROOT};

/// What begins the name of a v1 hierarchy without a controller.
const NAMED: &str = "name=";
/// The v1 controllers whose hierarchies a container joins, by the name of the
/// directory they are mounted on.
const V1_CONTROLLERS: [&str; 13] = [
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
    "rdma",
];
const MOUNTS_LIMIT_BYTES: u64 = 64 << 20;

/// How control groups are mounted on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Layout {
    /// One hierarchy (v2).
    Unified,
    /// One hierarchy per controller (v1, also hybrid): name to mount point.
    Split(BTreeMap<String, PathBuf>),
}

impl Layout {
    /// Asks the host.
    ///
    /// # Errors
    /// When no control groups are mounted.
    pub fn detect() -> Result<Self, CgroupError> {
        const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
        let root = rustix::fs::statfs(ROOT).at("look at", ROOT)?;
        if root.f_type as u64 == CGROUP2_SUPER_MAGIC {
            return Ok(Self::Unified);
        }
        let table = Path::new("/proc/self/mountinfo");
        let table = read_bounded(table, MOUNTS_LIMIT_BYTES)?;
        let mounts = parse_v1_mounts(&String::from_utf8_lossy(&table));
        match mounts.is_empty() {
            true => Err(CgroupError::NotMounted),
            false => Ok(Self::Split(mounts)),
        }
    }
}

/// Returns the mount points of v1 controllers in a mountinfo table; where one
/// is mounted twice, the first.
pub(super) fn parse_v1_mounts(table: &str) -> BTreeMap<String, PathBuf> {
    let mut mounts = BTreeMap::new();
    for line in table.lines() {
        let Some((front, back)) = line.split_once(" - ") else {
            continue;
        };
        let Some(mount_point) = front.split(' ').nth(4).map(Path::new) else {
            continue;
        };
        for name in hierarchy_names(mount_point, back) {
            let place = mounts.entry(name.to_owned());
            place.or_insert_with(|| mount_point.to_owned());
        }
    }
    // Alone it is none of v1's.
    if mounts.keys().eq([HYBRID]) {
        mounts.clear();
    }
    mounts
}

/// Returns what a mounted hierarchy goes by: its controllers, or its name.
fn hierarchy_names<'a>(mount_point: &'a Path, back: &'a str) -> Vec<&'a str> {
    // One elsewhere is somebody's own and may go away.
    if back.starts_with("cgroup2 ") && mount_point == Path::new(ROOT).join(HYBRID) {
        return vec![HYBRID];
    }
    if !back.starts_with("cgroup ") {
        return Vec::new();
    }
    let options = back.rsplit(' ').next().unwrap_or_default();
    let mut options = options.split(',');
    if let Some(name) = options.find(|option| option.starts_with(NAMED)) {
        return vec![name];
    }
    let name = mount_point.file_name().and_then(|name| name.to_str());
    let names = name.unwrap_or_default().split(',');
    names.filter(|name| V1_CONTROLLERS.contains(name)).collect()
}
