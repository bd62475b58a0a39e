//! What may be mounted on `/proc` and below it.
//!
//! Programs, and the runtime when it enters a container, believe what they
//! read there, and write to it. So it is a procfs or nothing, and below it only
//! the files that are replaced to show a container its own numbers. What is
//! checked is the place that was found, so a link on the way does not help
//! (CVE-2019-19921, CVE-2023-28642).

use std::os::fd::BorrowedFd;
use std::path::Path;

use super::RootfsError;
use super::beneath::Found;

const PROC_SUPER_MAGIC: u64 = 0x9fa0;

/// Files whose content says nothing that anything relies on.
const REPLACEABLE: [&str; 11] = [
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/loadavg",
    "/proc/meminfo",
    "/proc/net/dev",
    "/proc/slabinfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/sys/crypto/fips_enabled",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/uptime",
];

/// Checks the place of a new file system of type `kind`.
///
/// # Errors
/// `InsideProc`, `NotProcfs`.
pub(super) fn check_new(destination: &Path, found: &Found, kind: &str) -> Result<(), RootfsError> {
    check(destination, &found.path, kind == "proc")
}

/// Checks the place of a bind mount of `source`.
///
/// # Errors
/// `InsideProc`, `NotProcfs`.
pub(super) fn check_bind(
    destination: &Path,
    found: &Found,
    source: BorrowedFd<'_>,
) -> Result<(), RootfsError> {
    let system = rustix::fs::fstatfs(source).map(|system| system.f_type as u64);
    check(destination, &found.path, system == Ok(PROC_SUPER_MAGIC))
}

fn check(destination: &Path, place: &Path, is_procfs: bool) -> Result<(), RootfsError> {
    let Ok(below) = place.strip_prefix("/proc") else {
        return Ok(());
    };
    if below.as_os_str().is_empty() {
        return match is_procfs {
            true => Ok(()),
            false => Err(RootfsError::NotProcfs(destination.to_owned())),
        };
    }
    match REPLACEABLE.iter().any(|file| place == Path::new(file)) {
        true => Ok(()),
        false => Err(RootfsError::InsideProc {
            destination: destination.to_owned(),
            place: place.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_procfs_and_replaceable_files_are_mounted_on_proc() {
        let cases = [
            ("/proc", true, true),
            ("/proc", false, false),
            ("/proc/meminfo", false, true),
            ("/proc/sys/kernel/ns_last_pid", false, true),
            ("/proc/meminfo/x", false, false),
            ("/proc/sys", false, false),
            ("/proc/self/attr", true, false),
            ("/procfs", false, true),
            ("/a/proc", false, true),
        ];
        for (place, is_procfs, expected) in cases {
            let checked = check(Path::new("/given"), Path::new(place), is_procfs);
            assert_eq!(checked.is_ok(), expected, "{place}");
        }
    }
}
