//! The mount table below `<run>/mnt`: making that directory a private self-bind,
//! telling what is mounted there, and detaching it.
//!
//! Nothing outside that directory is ever mounted or unmounted. Since it is
//! private, nothing mounted below it propagates to another mount namespace,
//! whether `/` is private or shared.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};

use base::{PathContext as _, PathError};
use rustix::fs::{AtFlags, CWD, StatxAttributes, StatxFlags};
use rustix::mount::{MountPropagationFlags, UnmountFlags};

const MOUNT_TABLE: &str = "/proc/self/mountinfo";
/// Mounts stacked on one mount point that are taken off, one after another.
const STACK_LIMIT: usize = 64;

/// Makes `directory` a mount point of its own that shares nothing; safe to
/// repeat, also after a crash between the two calls.
///
/// # Errors
/// When it cannot be bound or made private.
pub fn ensure_private_bind(directory: &Path) -> Result<(), PathError> {
    if !is_mount_point(directory)? {
        rustix::mount::mount_bind(directory, directory).at("bind to itself", directory)?;
    }
    rustix::mount::mount_change(directory, MountPropagationFlags::PRIVATE)
        .at("make private", directory)
}

/// Returns whether something is mounted exactly at `path`; a missing path is not.
///
/// # Errors
/// When the path cannot be examined.
pub fn is_mount_point(path: &Path) -> Result<bool, PathError> {
    let found = rustix::fs::statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, StatxFlags::TYPE);
    let found = match found {
        Err(rustix::io::Errno::NOENT) => return Ok(false),
        other => other.at("examine", path)?,
    };
    if found
        .stx_attributes_mask
        .contains(StatxAttributes::MOUNT_ROOT)
    {
        return Ok(found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT));
    }
    // Before Linux 5.8 only the mount table tells.
    Ok(mount_points()?.iter().any(|point| point == path))
}

/// Returns every mount point strictly below `directory`, the newest last.
///
/// # Errors
/// When the mount table cannot be read.
pub fn below(directory: &Path) -> Result<Vec<PathBuf>, PathError> {
    let mut points = mount_points()?;
    points.retain(|point| point.starts_with(directory) && point != directory);
    Ok(points)
}

/// Takes everything off the mount point `path`, also while it is in use, and
/// removes the directory or file; neither being there is no error.
///
/// # Errors
/// When something stays mounted or the mount point cannot be removed.
pub fn detach_and_remove(path: &Path) -> Result<(), PathError> {
    detach(path)?;
    let removed = match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => fs::remove_file(path),
        other => other,
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove mount point", path),
    }
}

/// Makes whatever is mounted at `path` private first: a recursive bind that was
/// killed halfway may still share with the host, and then taking it off would
/// unmount the host's own mounts below it.
fn detach(path: &Path) -> Result<(), PathError> {
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    for _ in 0..STACK_LIMIT {
        let taken_off = rustix::mount::mount_change(path, private)
            .and_then(|()| rustix::mount::unmount(path, flags));
        match taken_off {
            Ok(()) => {}
            // Not a mount point (any more), or not there at all.
            Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOENT) => return Ok(()),
            Err(error) => return Err(error).at("unmount", path),
        }
    }
    Err(rustix::io::Errno::BUSY).at("unmount", path)
}

fn mount_points() -> Result<Vec<PathBuf>, PathError> {
    // The table is as long as the host's; it is the kernel's, hence trusted.
    let table = fs::read(MOUNT_TABLE).at("read", MOUNT_TABLE)?;
    Ok(parse_mount_points(&table))
}

/// Returns the fifth field of every line of a mountinfo table.
fn parse_mount_points(table: &[u8]) -> Vec<PathBuf> {
    let lines = table.split(|byte| *byte == b'\n');
    let fields = lines.filter_map(|line| line.split(|byte| *byte == b' ').nth(4));
    fields
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
        .collect()
}

/// Undoes the kernel's `\ooo` for space, tab, newline and backslash.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let octal = (first == b'\\').then(|| after.get(..3)).flatten();
        let code = octal.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = code.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            plain.push(byte);
            rest = &after[3..];
        } else {
            plain.push(first);
            rest = after;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mount_points_are_read_with_their_escapes() {
        let table = b"22 27 0:21 / /proc rw - proc proc rw\n\
            23 27 0:22 / /a\\040b\\134c rw shared:1 - sysfs sysfs rw\n";
        let expected = [PathBuf::from("/proc"), PathBuf::from("/a b\\c")];
        assert_eq!(parse_mount_points(table), expected);
    }

    #[test]
    fn the_root_is_a_mount_point_and_a_new_directory_is_not() {
        let directory = tempfile::tempdir().unwrap();
        assert!(is_mount_point(Path::new("/proc")).unwrap());
        assert!(!is_mount_point(directory.path()).unwrap());
        assert!(!is_mount_point(&directory.path().join("missing")).unwrap());
    }

    #[test]
    fn detaching_what_is_not_there_is_no_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x");
        detach_and_remove(&path).unwrap();
        fs::create_dir(&path).unwrap();
        detach_and_remove(&path).unwrap();
        assert!(!path.exists());
    }
}
