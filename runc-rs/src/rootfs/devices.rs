//! What is made in `/dev`: nodes, links, and the terminals' multiplexer, below
//! descriptors of the directories that hold them. If the image's `/dev` is a
//! link, it leads to a place in the container (CVE-2026-41579).

use std::ffi::OsStr;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{
    AtFlags, CWD, FileType, Gid, Mode, OFlags, Stat, Uid, chownat, mknodat, symlinkat, unlinkat,
};
use rustix::io::Errno;

use super::RootfsError;
use super::beneath::{self, Found, Links, Missing, look};
use super::kernel;
use super::options::Reach;
use super::perform::Builder;
use super::steps::{Link, Node, NodeKind, NodeWay};

const MULTIPLEXER: &str = "pts/ptmx";

/// Makes a node. One that is there and is the same is left as it is.
///
/// # Errors
/// When it cannot be made, or something else has its name.
pub(super) fn make_node(builder: &Builder<'_>, node: &Node) -> Result<(), RootfsError> {
    let (directory, name) = builder
        .root
        .find_parent(&node.path)
        .map_err(failed(&node.path, "find its directory"))?;
    let directory = directory.handle.as_fd();
    if node.way == NodeWay::Bind {
        return bind_node(builder, node, directory, name);
    }
    let mode = Mode::from_raw_mode(node.mode);
    match mknodat(directory, name, file_type(node), mode, device(node)) {
        Err(Errno::PERM) => bind_node(builder, node, directory, name),
        Err(Errno::EXIST) => accept_node(builder, node, directory, name),
        made => {
            made.map_err(failed(&node.path, "make the node"))?;
            give_node(node, directory, name)
        }
    }
}

fn give_node(node: &Node, directory: BorrowedFd<'_>, name: &OsStr) -> Result<(), RootfsError> {
    let (handle, status) = look(directory, name).map_err(failed(&node.path, "open the node"))?;
    if !is_node(node, &status) {
        return Err(RootfsError::DeviceTaken(node.path.clone()));
    }
    let (uid, gid) = (Uid::from_raw(node.uid), Gid::from_raw(node.gid));
    chownat(&handle, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)
        .map_err(failed(&node.path, "change its owner"))
}

/// Accepts the node an image brings. A file in its place, which some tools
/// leave there, is covered by the host's device.
fn accept_node(
    builder: &Builder<'_>,
    node: &Node,
    directory: BorrowedFd<'_>,
    name: &OsStr,
) -> Result<(), RootfsError> {
    let (_, status) = look(directory, name).map_err(failed(&node.path, "look at it"))?;
    match is_node(node, &status) {
        true => Ok(()),
        false if node.kind == NodeKind::Pipe => Err(RootfsError::DeviceTaken(node.path.clone())),
        false => bind_node(builder, node, directory, name),
    }
}

/// Binds the host's device over a file in its place.
fn bind_node(
    builder: &Builder<'_>,
    node: &Node,
    directory: BorrowedFd<'_>,
    name: &OsStr,
) -> Result<(), RootfsError> {
    let source = host_device(node)?;
    let flags = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    match rustix::fs::openat(directory, name, flags, Mode::empty()) {
        Ok(_) | Err(Errno::EXIST) => {}
        Err(error) => return Err(failed(&node.path, "make a mount point")(error)),
    }
    let (place, status) =
        look(directory, name).map_err(failed(&node.path, "open the mount point"))?;
    if matches!(kind_of(&status), FileType::Symlink | FileType::Directory) {
        return Err(RootfsError::DeviceTaken(node.path.clone()));
    }
    let bound = match builder.kernel.has_mount_fds {
        true => kernel::clone_tree(source.as_fd(), Reach::Mount)
            .and_then(|mount| kernel::attach(mount.as_fd(), place.as_fd())),
        false => {
            let (from, to) = (
                kernel::path_of(source.as_fd()),
                kernel::path_of(place.as_fd()),
            );
            builder
                .kernel
                .by_path(|| rustix::mount::mount_bind(from, to))
        }
    };
    bound.map_err(failed(&node.path, "bind the host's device"))?;
    // Found again from the directory, it must be the device.
    let (_, status) =
        look(directory, name).map_err(failed(&node.path, "look at what was bound"))?;
    match is_node(node, &status) {
        true => Ok(()),
        false => Err(RootfsError::DeviceTaken(node.path.clone())),
    }
}

/// Opens the host's node of the device: at the same path or, if that is
/// another device, where device managers list all of them by number.
fn host_device(node: &Node) -> Result<OwnedFd, RootfsError> {
    let list = match node.kind {
        NodeKind::Block => "/dev/block",
        NodeKind::Character | NodeKind::Pipe => "/dev/char",
    };
    let listed = Path::new(list).join(format!("{}:{}", node.major, node.minor));
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    for path in [&node.path, &listed] {
        let Ok(handle) = rustix::fs::openat(CWD, path, flags, Mode::empty()) else {
            continue;
        };
        let status = rustix::fs::fstat(&handle);
        if is_node(
            node,
            &status.map_err(failed(&node.path, "look at the host's device"))?,
        ) {
            return Ok(handle);
        }
    }
    Err(RootfsError::NotTheDevice(node.path.clone()))
}

/// Makes `/dev/ptmx` a link to the multiplexer of the container's devpts,
/// unless something is mounted there.
///
/// # Errors
/// When it cannot be made.
pub(super) fn make_multiplexer(builder: &Builder<'_>) -> Result<(), RootfsError> {
    let path = PathBuf::from("/dev/ptmx");
    let directory = directory(builder, Path::new("/dev"))?;
    let directory = directory.handle.as_fd();
    if beneath::link_text(directory, c"ptmx").is_some_and(|text| text == MULTIPLEXER) {
        return Ok(());
    }
    match unlinkat(directory, "ptmx", AtFlags::empty()) {
        Err(Errno::BUSY) => return Ok(()),
        Err(Errno::NOENT) => {}
        removed => removed.map_err(failed(&path, "replace what is there"))?,
    }
    symlinkat(MULTIPLEXER, directory, "ptmx").map_err(failed(&path, "make the link"))
}

/// Makes a link; whatever has its name stays.
///
/// # Errors
/// When it cannot be made.
pub(super) fn make_link(builder: &Builder<'_>, link: &Link) -> Result<(), RootfsError> {
    let directory = directory(builder, &link.directory)?;
    match symlinkat(link.target.as_str(), &directory.handle, link.name.as_str()) {
        Err(Errno::EXIST) => Ok(()),
        made => made.map_err(failed(&link.directory.join(&link.name), "make the link")),
    }
}

fn directory(builder: &Builder<'_>, path: &Path) -> Result<Found, RootfsError> {
    let found = builder.root.find(path, Links::Follow, Missing::Directory);
    found.map_err(failed(path, "find it"))
}

fn failed(path: &Path, step: &'static str) -> impl Fn(Errno) -> RootfsError {
    let path = path.to_owned();
    move |source| RootfsError::Device {
        path: path.clone(),
        step,
        source,
    }
}

fn file_type(node: &Node) -> FileType {
    match node.kind {
        NodeKind::Character => FileType::CharacterDevice,
        NodeKind::Block => FileType::BlockDevice,
        NodeKind::Pipe => FileType::Fifo,
    }
}

fn device(node: &Node) -> rustix::fs::Dev {
    rustix::fs::makedev(node.major, node.minor)
}

fn kind_of(status: &Stat) -> FileType {
    FileType::from_raw_mode(status.st_mode)
}

fn is_node(node: &Node, status: &Stat) -> bool {
    let is_device = node.kind == NodeKind::Pipe || status.st_rdev == device(node);
    kind_of(status) == file_type(node) && is_device
}
