//! Whether the kernel killed a process of the container for want of memory.

use std::path::{Path, PathBuf};

/// The counter's files are a few lines long.
const LIMIT_BYTES: u64 = 4096;

/// Returns whether a process in the cgroup `cgroup` was killed; no such cgroup,
/// or no memory controller, means no.
pub(crate) fn was_killed(cgroup: &str) -> bool {
    counters(Path::new("/sys/fs/cgroup"), cgroup)
        .iter()
        .filter_map(|path| base::file::read_bounded(path, LIMIT_BYTES).ok())
        .any(|text| kills(&text) > 0)
}

/// The files that may hold the counter, of cgroup v1 and v2.
fn counters(mount: &Path, cgroup: &str) -> [PathBuf; 2] {
    let cgroup = cgroup.trim_start_matches('/');
    [
        mount.join("memory").join(cgroup).join("memory.oom_control"),
        mount.join(cgroup).join("memory.events"),
    ]
}

/// Reads the line `oom_kill N`, which both files have.
fn kills(text: &[u8]) -> u64 {
    let text = String::from_utf8_lossy(text);
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .and_then(|number| number.trim().parse().ok())
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_counter_is_read_from_either_version() {
        let v1 = b"oom_kill_disable 0\nunder_oom 0\noom_kill 2\n";
        let v2 = b"low 0\nhigh 0\nmax 12\noom 1\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(kills(v1), 2);
        assert_eq!(kills(v2), 1);
        assert_eq!(kills(b"oom_kill_disable 0\nunder_oom 0\noom_kill 0\n"), 0);
        assert_eq!(kills(b""), 0);
    }

    #[test]
    fn both_mounts_are_looked_at_for_an_absolute_cgroup() {
        let [v1, v2] = counters(Path::new("/c"), "/engine/abc");
        assert_eq!(v1, Path::new("/c/memory/engine/abc/memory.oom_control"));
        assert_eq!(v2, Path::new("/c/engine/abc/memory.events"));
    }
}
