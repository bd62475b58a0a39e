//! `/dev/console`: the container's terminal, bound over a file there.

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::RootfsError;
use super::beneath::{Beneath, look};
use super::kernel::{self, Kernel};
use super::options::Reach;

const DEVPTS_SUPER_MAGIC: u64 = 0x1cd1;
/// The major numbers of the slave sides of pseudoterminals.
const SLAVE_MAJORS: std::ops::RangeInclusive<u32> = 136..=143;

/// Binds `slave`, a terminal of the container's own devpts, onto
/// `/dev/console`. The root must be the container's; the working directory may
/// become `/`.
///
/// Nothing there is opened but for its place: it may be a link, or the host's
/// console (CVE-2025-52565).
///
/// # Errors
/// When `slave` is no terminal, or the place is taken by something else than a
/// file or device.
pub fn console(slave: BorrowedFd<'_>) -> Result<(), RootfsError> {
    let failed = |step| move |error| RootfsError::Console(step, error);
    let status = rustix::fs::fstat(slave).map_err(failed("look at the terminal"))?;
    if !is_slave(slave, &status).map_err(failed("look at the terminal"))? {
        return Err(RootfsError::NotATerminal);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let root = rustix::fs::open("/", flags, Mode::empty()).map_err(failed("open /"))?;
    let root = Beneath::new(root);
    let (dev, name) = root
        .find_parent(Path::new("/dev/console"))
        .map_err(failed("find /dev"))?;
    let place = place(dev.handle.as_fd(), name)?;
    let kernel = Kernel::probe()?;
    let bound = match kernel.has_mount_fds {
        true => kernel::clone_tree(slave, Reach::Mount)
            .and_then(|mount| kernel::attach(mount.as_fd(), place.as_fd())),
        false => {
            let (from, to) = (kernel::path_of(slave), kernel::path_of(place.as_fd()));
            kernel.by_path(|| rustix::mount::mount_bind(from, to))
        }
    };
    bound.map_err(failed("bind the terminal"))?;
    let (_, found) = look(dev.handle.as_fd(), name).map_err(failed("look at what was bound"))?;
    match (found.st_dev, found.st_ino) == (status.st_dev, status.st_ino) {
        true => Ok(()),
        false => Err(RootfsError::ConsoleTaken),
    }
}

/// Makes the place of the terminal, where there is a `/dev` for it.
///
/// # Errors
/// When it cannot be made, or is taken by something else than a file or device.
pub(super) fn make_place(root: &Beneath) -> Result<(), RootfsError> {
    match root.find_parent(Path::new("/dev/console")) {
        // Whoever binds it will say so.
        Err(Errno::NOENT) => Ok(()),
        found => {
            let (dev, name) = found.map_err(|error| RootfsError::Console("find /dev", error))?;
            place(dev.handle.as_fd(), name).map(drop)
        }
    }
}

fn place(dev: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, RootfsError> {
    let failed = |error| RootfsError::Console("make a mount point", error);
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(dev, name, flags, Mode::empty()) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failed(error)),
    }
    let (place, status) = look(dev, name).map_err(failed)?;
    match FileType::from_raw_mode(status.st_mode) {
        FileType::RegularFile | FileType::CharacterDevice => Ok(place),
        _ => Err(RootfsError::ConsoleTaken),
    }
}

fn is_slave(slave: BorrowedFd<'_>, status: &Stat) -> Result<bool, Errno> {
    let system = rustix::fs::fstatfs(slave)?;
    let is_device = FileType::from_raw_mode(status.st_mode) == FileType::CharacterDevice;
    let is_pseudoterminal = SLAVE_MAJORS.contains(&rustix::fs::major(status.st_rdev));
    Ok(is_device && is_pseudoterminal && system.f_type as u64 == DEVPTS_SUPER_MAGIC)
}
