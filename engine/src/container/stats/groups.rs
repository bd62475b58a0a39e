//! The files of a container's control groups. One that is not there, since the
//! container has ended or the kernel does not count it, says nothing.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const MOUNT: &str = "/sys/fs/cgroup";

/// Where the groups of one container are.
#[derive(Debug)]
pub(super) struct Groups {
    mount: PathBuf,
    /// Relative to each hierarchy.
    path: String,
    /// Whether all is v2.
    pub(super) is_unified: bool,
}

impl Groups {
    /// Returns the groups with this path below each hierarchy of the host.
    pub(super) fn of(path: &str) -> Self {
        Self::below(Path::new(MOUNT), path)
    }

    pub(super) fn below(mount: &Path, path: &str) -> Self {
        Self {
            mount: mount.to_owned(),
            path: path.trim_start_matches('/').to_owned(),
            is_unified: mount.join("cgroup.controllers").exists(),
        }
    }

    /// Returns the content of a file: `hierarchy` counts on v1 only.
    pub(super) fn text(&self, hierarchy: &str, file: &str) -> String {
        let top = match self.is_unified {
            true => self.mount.clone(),
            false => self.mount.join(hierarchy),
        };
        std::fs::read_to_string(top.join(&self.path).join(file)).unwrap_or_default()
    }

    /// Returns the number in a file; the largest there is for `max`.
    pub(super) fn number(&self, hierarchy: &str, file: &str) -> u64 {
        match self.text(hierarchy, file).trim() {
            "max" => u64::MAX,
            text => text.parse().unwrap_or(0),
        }
    }

    /// Returns a file of lines `name number`.
    pub(super) fn table(&self, hierarchy: &str, file: &str) -> BTreeMap<String, u64> {
        let text = self.text(hierarchy, file);
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        lines
            .filter_map(|(name, number)| Some((name.to_owned(), number.trim().parse().ok()?)))
            .collect()
    }
}

/// Returns a value of such a file.
pub(super) fn value(table: &BTreeMap<String, u64>, name: &str) -> u64 {
    table.get(name).copied().unwrap_or(0)
}

/// Returns the numbers of a device, `8:16` say.
pub(super) fn device(text: &str) -> Option<(u64, u64)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}
