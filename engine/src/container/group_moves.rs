//! Lets the kernel get ready to move a process into control groups of v1.
//!
//! The first move after a pause waits 10 to 15 ms until every processor has taken
//! notice of it (an RCU grace period); for about as long afterwards no other one
//! waits. The runtime moves a container's first process late in a start, so the
//! engine asks for a move as soon as it knows that one is to come: of itself, to
//! where it is already, which changes nothing. On v2 alone the runtime has its
//! process cloned into the group instead, and nothing is done.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::lock;

const MOUNT: &str = "/sys/fs/cgroup";
/// A hierarchy that every container joins. One lock is behind all of them.
const HIERARCHY: &str = "pids";
/// For so long after a move the next ones do not wait for sure.
const READY_TIME: Duration = Duration::from_millis(5);

/// Remembers when it was asked for last.
#[derive(Debug, Default)]
pub struct GroupMoves {
    last: Mutex<Option<Instant>>,
}

impl GroupMoves {
    /// Gets the kernel ready, behind the caller's back. What does not work only costs
    /// time later, and is told where the processes really are moved.
    pub fn prepare(&self) {
        if self.is_to_be_asked() {
            drop(tokio::task::spawn_blocking(get_ready));
        }
    }

    /// Takes note that the kernel is asked, unless it was a moment ago.
    fn is_to_be_asked(&self) -> bool {
        let now = Instant::now();
        let mut last = lock(&self.last);
        let is_due = last.is_none_or(|last| now.duration_since(last) >= READY_TIME);
        if is_due {
            *last = Some(now);
        }
        is_due
    }

    /// Returns when the kernel is ready: for whoever can say when it begins, as a health
    /// check can.
    pub async fn ready(&self) {
        if self.is_to_be_asked() {
            // One that was cut short only costs time later.
            tokio::task::spawn_blocking(get_ready)
                .await
                .unwrap_or_default();
        }
    }
}

fn get_ready() {
    let group = own_group(Path::new("/proc/self/cgroup"), Path::new(MOUNT));
    if let Some(group) = group {
        stay_in(&group).unwrap_or_default();
    }
}

/// Moves this process to where it is.
fn stay_in(group: &Path) -> std::io::Result<()> {
    let mut processes = OpenOptions::new()
        .write(true)
        .open(group.join("cgroup.procs"))?;
    processes.write_all(std::process::id().to_string().as_bytes())
}

/// Returns the group that this process is in, where v1 is mounted.
fn own_group(groups: &Path, mount: &Path) -> Option<PathBuf> {
    let text = std::fs::read_to_string(groups).ok()?;
    let path = group_in(&text, HIERARCHY)?;
    let group = mount.join(HIERARCHY).join(path.trim_start_matches('/'));
    group.exists().then_some(group)
}

/// Finds the group of a hierarchy in the lines of `/proc/self/cgroup`.
fn group_in<'a>(text: &'a str, hierarchy: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
        let is_it = controllers.split(',').any(|name| name == hierarchy);
        is_it.then_some(path)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_own_group_is_found_by_its_hierarchy() {
        let text = "9:cpu,cpuacct:/a\n4:pids:/engine/shims\n0::/user.slice\n";
        assert_eq!(group_in(text, "pids"), Some("/engine/shims"));
        assert_eq!(group_in(text, "cpuacct"), Some("/a"));
        assert_eq!(group_in("0::/user.slice\n", "pids"), None);
    }

    #[tokio::test]
    async fn one_that_was_asked_for_a_moment_ago_is_enough() {
        let moves = GroupMoves::default();
        moves.prepare();
        let first = *lock(&moves.last);
        moves.prepare();
        assert!(first.is_some());
        assert!(*lock(&moves.last) == first || first.is_some_and(|it| it.elapsed() > READY_TIME));
    }
}
