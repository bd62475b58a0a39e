//! What is done to a created container from outside, before its program runs.

use std::io;
use std::path::Path;

use base::file::{PathContext as _, read_bounded};
use oci_spec::runtime::{LinuxNamespaceType, Spec};
use rustix::fs::{FileType, Uid};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use rustix::thread::{ThreadNameSpaceType, move_into_thread_name_spaces};
use std::os::fd::AsFd as _;

use super::CreateError;
use crate::proc::ProcessIdentity;
use crate::sys;

const ID_MAP_LIMIT_BYTES: u64 = 1 << 20;

/// Completes the container of `spec` whose init waits.
///
/// # Errors
/// The step that failed.
pub(super) fn complete(spec: &Spec, init: ProcessIdentity) -> Result<(), CreateError> {
    if has_new_network(spec) {
        set_loopback_up(init).map_err(CreateError::Loopback)?;
    }
    let user = spec
        .process()
        .as_ref()
        .map_or(0, |process| process.user().uid());
    if user != 0 {
        give_streams(init, user)?;
    }
    Ok(())
}

/// Ends an init whose creation failed later on. It is this process's child
/// and not yet waited for, so its pid is still its own.
pub(super) fn kill_init(init: ProcessIdentity) {
    if let Some(pid) = Pid::from_raw(init.pid) {
        // It may have ended by itself, which is as good.
        kill_process(pid, Signal::KILL).ok();
        rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty()).ok();
    }
}

fn has_new_network(spec: &Spec) -> bool {
    let linux = spec.linux().as_ref();
    let mut namespaces = linux
        .into_iter()
        .flat_map(|linux| linux.namespaces().iter().flatten());
    namespaces.any(|namespace| {
        namespace.typ() == LinuxNamespaceType::Network && namespace.path().is_none()
    })
}

/// Sets `lo` up in the container's network namespace, from a thread of its
/// own so that this one stays where it is.
fn set_loopback_up(init: ProcessIdentity) -> io::Result<()> {
    let pid = Pid::from_raw(init.pid).ok_or(io::ErrorKind::NotFound)?;
    let pidfd = pidfd_open(pid, PidfdFlags::empty())?;
    let inside = std::thread::spawn(move || {
        move_into_thread_name_spaces(pidfd.as_fd(), ThreadNameSpaceType::NETWORK)?;
        sys::set_loopback_up()
    });
    inside.join().expect("the thread does not panic")
}

/// Gives the standard streams of `init` to the container's user, so that it
/// can open `/dev/stdout` and the like. `/dev/null` is everybody's.
fn give_streams(init: ProcessIdentity, user: u32) -> Result<(), CreateError> {
    let map = format!("/proc/{}/uid_map", init.pid);
    let map = read_bounded(Path::new(&map), ID_MAP_LIMIT_BYTES)?;
    let Some(owner) = host_id(&String::from_utf8_lossy(&map), user) else {
        return Ok(());
    };
    for stream in 0..3 {
        let path = format!("/proc/{}/fd/{stream}", init.pid);
        let Ok(status) = rustix::fs::stat(&path) else {
            continue;
        };
        let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
        let is_null = is_device && status.st_rdev == rustix::fs::makedev(1, 3);
        if is_null || status.st_uid == owner {
            continue;
        }
        match rustix::fs::chown(&path, Some(Uid::from_raw(owner)), None) {
            // Sockets on other file systems, read-only ones: as runc, no error.
            Err(error) if is_tolerated(error) => {}
            changed => changed.at("change the owner of", &path)?,
        }
    }
    Ok(())
}

fn is_tolerated(error: rustix::io::Errno) -> bool {
    use rustix::io::Errno;
    matches!(error, Errno::INVAL | Errno::PERM | Errno::ROFS)
}

/// Returns what `id` of a user namespace is outside, by its map.
fn host_id(map: &str, id: u32) -> Option<u32> {
    map.lines().find_map(|line| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (inside, outside, count) = match (numbers.next(), numbers.next(), numbers.next()) {
            (Some(Ok(inside)), Some(Ok(outside)), Some(Ok(count))) => (inside, outside, count),
            _ => return None,
        };
        let offset = id.checked_sub(inside).filter(|offset| *offset < count)?;
        outside.checked_add(offset)
    })
}

#[cfg(test)]
mod tests {
    use super::host_id;

    #[test]
    fn ids_map_out_of_a_user_namespace() {
        let map = "         0     100000      1000\n      1000          5         1\n";
        assert_eq!(host_id(map, 0), Some(100_000));
        assert_eq!(host_id(map, 999), Some(100_999));
        assert_eq!(host_id(map, 1000), Some(5));
        assert_eq!(host_id(map, 1001), None);
        assert_eq!(host_id("0 0 4294967295", 7), Some(7));
    }
}
