//! New instances of file systems, complete with their attributes before
//! anybody can see them.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags, XattrFlags};
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, MountAttrFlags, MountFlags};

use super::RootfsError;
use super::kernel;
use super::options::{self, Attributes};
use super::steps::Filesystem;

/// `fsconfig(2)` takes no longer values.
const VALUE_LIMIT_BYTES: usize = 255;
/// SELinux's (mount(8), "context").
const LABEL_OPTION: &str = "context";
/// Where a file system takes no such option: its root has the label then.
const LABEL_ATTRIBUTE: &str = "security.selinux";
const LABELLED_AT_ROOT: &str = "mqueue";
/// A hierarchy of control groups that was just unmounted is busy for a moment.
const BUSY_ATTEMPTS: usize = 4;
const BUSY_PAUSE: Duration = Duration::from_millis(10);
const MESSAGE_LIMIT: usize = 8;
const MESSAGE_BYTES: usize = 512;

/// The flags of a superblock that have a name of their own.
const FLAG_NAMES: [(MountFlags, &str); 4] = [
    (MountFlags::SYNCHRONOUS, "sync"),
    (MountFlags::DIRSYNC, "dirsync"),
    (MountFlags::LAZYTIME, "lazytime"),
    (MountFlags::PERMIT_MANDATORY_FILE_LOCKING, "mand"),
];

/// Types whose instances are the kernel's own: read-only is the mount.
const VIRTUAL: [&str; 7] = [
    "cgroup", "cgroup2", "devpts", "mqueue", "proc", "sysfs", "tmpfs",
];

/// Returns whether only `mount(2)` can express `filesystem`.
pub(super) fn needs_old_call(filesystem: &Filesystem, data: &[String]) -> bool {
    let source = filesystem.source.as_deref().unwrap_or(Path::new(""));
    let mut lengths = data
        .iter()
        .map(String::len)
        .chain([source.as_os_str().len()]);
    // A subtype (`fuse.sshfs`) and inode versions have no parameter.
    lengths.any(|length| length > VALUE_LIMIT_BYTES)
        || filesystem.kind.contains('.')
        || filesystem.superblock.contains(options::INODE_VERSION)
}

/// Labels the root of a mounted file system that takes no label as an option.
///
/// # Errors
/// When the kernel refuses it.
pub(super) fn label_root(filesystem: &Filesystem, mounted: BorrowedFd<'_>) -> Result<(), Errno> {
    let Some(label) = &filesystem.label else {
        return Ok(());
    };
    if filesystem.kind != LABELLED_AT_ROOT {
        return Ok(());
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::openat(mounted, ".", flags, Mode::empty())?;
    let flags = XattrFlags::empty();
    rustix::fs::fsetxattr(root, LABEL_ATTRIBUTE, label.as_bytes(), flags)
}

fn label_option(filesystem: &Filesystem) -> Option<&str> {
    let label = filesystem.label.as_deref();
    label.filter(|_| filesystem.kind != LABELLED_AT_ROOT)
}

/// Makes `filesystem`, with the options `data`, as a mount that is attached
/// nowhere yet.
///
/// # Errors
/// When the kernel refuses it, with what it says about that.
pub(super) fn create(
    filesystem: &Filesystem,
    data: &[String],
    attributes: &Attributes,
    destination: &Path,
) -> Result<OwnedFd, RootfsError> {
    let mut attempts = 1;
    loop {
        match create_once(filesystem, data, attributes, destination) {
            Err(RootfsError::Filesystem { source, .. })
                if source == Errno::BUSY && attempts < BUSY_ATTEMPTS =>
            {
                attempts += 1;
                std::thread::sleep(BUSY_PAUSE);
            }
            created => return created,
        }
    }
}

fn create_once(
    filesystem: &Filesystem,
    data: &[String],
    attributes: &Attributes,
    destination: &Path,
) -> Result<OwnedFd, RootfsError> {
    let refused = |what: String, said: String| {
        move |source| RootfsError::Filesystem {
            destination: destination.to_owned(),
            what,
            said,
            source,
        }
    };
    let kind = filesystem.kind.as_str();
    let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC).map_err(refused(
        format!("a file system of type {kind:?}"),
        String::new(),
    ))?;
    configure(filesystem, data, attributes, context.as_fd())
        .map_err(|(what, source)| refused(what, messages(context.as_fd()))(source))?;
    let bits = attributes.change().set;
    kernel::mount_of(context.as_fd(), bits)
        .map_err(|source| refused(format!("to mount {kind:?}"), messages(context.as_fd()))(source))
}

/// Hands over all options and lets the kernel make the file system. An error
/// comes with what was refused.
fn configure(
    filesystem: &Filesystem,
    data: &[String],
    attributes: &Attributes,
    context: BorrowedFd<'_>,
) -> Result<(), (String, Errno)> {
    if let Some(source) = filesystem
        .source
        .as_deref()
        .filter(|s| !s.as_os_str().is_empty())
    {
        rustix::mount::fsconfig_set_string(context, "source", source)
            .map_err(|error| (format!("source {source:?}"), error))?;
    }
    for name in flags(filesystem, attributes) {
        rustix::mount::fsconfig_set_flag(context, name)
            .map_err(|error| (format!("option {name:?}"), error))?;
    }
    for option in data.iter().flat_map(|options| split(options)) {
        let set = match option.split_once('=') {
            Some((name, value)) => rustix::mount::fsconfig_set_string(context, name, value),
            None => rustix::mount::fsconfig_set_flag(context, option),
        };
        set.map_err(|error| (format!("option {option:?}"), error))?;
    }
    if let Some(label) = label_option(filesystem) {
        rustix::mount::fsconfig_set_string(context, LABEL_OPTION, label)
            .map_err(|error| (format!("label {label:?}"), error))?;
    }
    rustix::mount::fsconfig_create(context)
        .map_err(|error| (format!("to make {:?}", filesystem.kind), error))
}

fn flags(filesystem: &Filesystem, attributes: &Attributes) -> impl Iterator<Item = &'static str> {
    let superblock = filesystem.superblock;
    let named = FLAG_NAMES
        .iter()
        .filter(move |(flag, _)| superblock.contains(*flag));
    // A disk that is read-only can be mounted in no other way.
    let is_read_only = attributes.set.contains(MountAttrFlags::MOUNT_ATTR_RDONLY);
    let read_only = is_read_only && !VIRTUAL.contains(&filesystem.kind.as_str());
    named
        .map(|(_, name)| *name)
        .chain(read_only.then_some("ro"))
}

/// Splits what was given as one option with commas in it, as `mount(2)` does;
/// a comma after a backslash is part of a value.
fn split(options: &str) -> impl Iterator<Item = &str> {
    let mut is_escaped = false;
    let parts = options.split(move |character| {
        let ends = character == ',' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
        ends
    });
    parts.filter(|part| !part.is_empty())
}

/// Returns what the kernel said about a file system, ready to be appended.
fn messages(context: BorrowedFd<'_>) -> String {
    let mut said = Vec::new();
    let mut bytes = [0; MESSAGE_BYTES];
    while said.len() < MESSAGE_LIMIT
        && let Ok(length) = rustix::io::read(context, &mut bytes)
    {
        let text = String::from_utf8_lossy(&bytes[..length]);
        // Each begins with a letter for its severity.
        let text = text.split_once(' ').map_or(&*text, |(_, text)| text);
        said.push(text.trim().to_owned());
    }
    match said.is_empty() {
        true => String::new(),
        false => format!(" ({})", said.join("; ")),
    }
}

/// Mounts with `mount(2)` on `place`, which is a path.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn mount_old(
    filesystem: &Filesystem,
    data: &[String],
    flags: MountFlags,
    place: &str,
) -> Result<(), Errno> {
    let source = filesystem.source.as_deref().unwrap_or(Path::new("none"));
    // A label has commas in it.
    let label = label_option(filesystem);
    let label = label.map(|label| format!("{LABEL_OPTION}=\"{label}\""));
    let data: Vec<&str> = data.iter().chain(&label).map(String::as_str).collect();
    let data = std::ffi::CString::new(data.join(",")).map_err(|_| Errno::INVAL)?;
    let kind = filesystem.kind.as_str();
    rustix::mount::mount(source, place, kind, flags | filesystem.superblock, &*data)
}

#[cfg(test)]
#[path = "tests/filesystem.rs"]
mod tests;
