//! Ids in a new user namespace: their maps, written from outside, and becoming
//! its root from inside.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use base::file::{PathContext as _, PathError};
use oci_spec::runtime::{Linux, LinuxIdMapping};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, WaitOptions, kill_process, waitpid};

use crate::cgroup::write_control;
use crate::sys::{self, Fork};

/// How long a process sleeps at a time that is only there to be killed.
const HOLD: Duration = Duration::from_secs(60);

/// Who is who in a new user namespace.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMaps {
    uids: Vec<LinuxIdMapping>,
    gids: Vec<LinuxIdMapping>,
}

/// Says why the maps could not be written.
#[derive(Debug, thiserror::Error)]
pub enum IdMapError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot make a user namespace")]
    Namespace(#[source] std::io::Error),
    #[error("cannot run {0}")]
    Run(&'static str, #[source] std::io::Error),
    #[error("{0} failed: {1}")]
    Failed(&'static str, String),
}

impl IdMaps {
    /// Returns the maps that `linux` has.
    pub fn of(linux: &Linux) -> Self {
        Self {
            uids: linux.uid_mappings().clone().unwrap_or_default(),
            gids: linux.gid_mappings().clone().unwrap_or_default(),
        }
    }

    /// Returns whether there are none.
    pub fn is_empty(&self) -> bool {
        self.uids.is_empty() && self.gids.is_empty()
    }

    /// Writes them for the process `pid`, the first of its user namespace. Who
    /// is not root may map only himself, and has helpers for more.
    ///
    /// # Errors
    /// When the kernel or a helper refuses.
    pub fn write(&self, pid: i32) -> Result<(), IdMapError> {
        if rustix::process::geteuid().is_root() {
            return self.write_directly(pid);
        }
        let is_own = |maps: &[LinuxIdMapping]| maps.len() == 1 && maps[0].size() == 1;
        if is_own(&self.uids) && is_own(&self.gids) {
            let file = format!("/proc/{pid}/setgroups");
            write_control(Path::new(&file), "deny")?;
            return self.write_directly(pid);
        }
        run_helper("newuidmap", pid, &self.uids)?;
        run_helper("newgidmap", pid, &self.gids)
    }

    fn write_directly(&self, pid: i32) -> Result<(), IdMapError> {
        let write = |name: &str, maps: &[LinuxIdMapping]| {
            let file = format!("/proc/{pid}/{name}");
            write_control(Path::new(&file), &lines(maps))
        };
        write("uid_map", &self.uids)?;
        Ok(write("gid_map", &self.gids)?)
    }
}

/// The kernel takes a map as one write of lines.
fn lines(maps: &[LinuxIdMapping]) -> String {
    let lines = maps.iter().map(|map| {
        let (inside, outside, size) = (map.container_id(), map.host_id(), map.size());
        format!("{inside} {outside} {size}\n")
    });
    lines.collect()
}

fn run_helper(name: &'static str, pid: i32, maps: &[LinuxIdMapping]) -> Result<(), IdMapError> {
    let numbers = maps
        .iter()
        .flat_map(|map| [map.container_id(), map.host_id(), map.size()]);
    let output = Command::new(name)
        .arg(pid.to_string())
        .args(numbers.map(|number| number.to_string()))
        .output()
        .map_err(|error| IdMapError::Run(name, error))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(IdMapError::Failed(name, said))
}

/// Returns a user namespace with these maps and nobody in it, for id-mapped
/// mounts.
///
/// # Errors
/// When it cannot be made or mapped.
pub fn user_namespace(
    uids: &[LinuxIdMapping],
    gids: &[LinuxIdMapping],
) -> Result<OwnedFd, IdMapError> {
    let made = sys::process::clone_process(libc::CLONE_NEWUSER as u64, None);
    let Fork::Parent(holder) = made.map_err(IdMapError::Namespace)? else {
        // Holds it until it is open here, and is killed then, or with us.
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).ok();
        loop {
            std::thread::sleep(HOLD);
        }
    };
    let pid = holder.as_raw_nonzero().get();
    let maps = IdMaps {
        uids: uids.to_vec(),
        gids: gids.to_vec(),
    };
    let path = PathBuf::from(format!("/proc/{pid}/ns/user"));
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let opened = maps.write(pid).and_then(|()| {
        let namespace = rustix::fs::open(&path, flags, Mode::empty());
        Ok(namespace.at("open", &path)?)
    });
    // It is our child and not yet waited for: the pid is its own.
    kill_process(holder, Signal::KILL).ok();
    waitpid(Some(holder), WaitOptions::empty()).ok();
    opened
}

/// Makes the caller root of the user namespace it is in.
///
/// # Errors
/// A message; where nobody is mapped to root.
pub(super) fn become_root() -> Result<(), String> {
    let (gid, uid) = (rustix::process::Gid::ROOT, rustix::process::Uid::ROOT);
    rustix::thread::set_thread_res_gid(gid, gid, gid)
        .map_err(|error| format!("cannot become the user namespace's group 0: {error}"))?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)
        .map_err(|error| format!("cannot become the user namespace's user 0: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_map_is_one_text_of_lines() {
        let maps: Vec<LinuxIdMapping> = serde_json::from_str(
            r#"[{"containerID":0,"hostID":1000,"size":1},{"containerID":1,"hostID":100000,"size":65536}]"#,
        )
        .unwrap();
        assert_eq!(lines(&maps), "0 1000 1\n1 100000 65536\n");
    }
}
