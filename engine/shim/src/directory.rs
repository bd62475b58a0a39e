//! The directory of the run, and short names for the sockets in it.
//!
//! A socket's path may have 107 bytes, ours is longer with ease: sockets are
//! bound through `/proc/self/fd/<directory>/<name>`.

use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use base::{PathContext as _, PathError};
use rustix::fs::{Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};

/// Connections the kernel holds until they are accepted.
const BACKLOG: i32 = 64;

/// `<run>/shim/<id>.<run>`, held open.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    handle: OwnedFd,
}

impl Directory {
    /// Opens the directory; the path is made absolute.
    ///
    /// # Errors
    /// When it does not exist.
    pub(crate) fn open(path: &Path) -> Result<Self, PathError> {
        let path = std::path::absolute(path).at("resolve", path)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let handle = rustix::fs::open(&path, flags, Mode::empty()).at("open", &path)?;
        Ok(Self { path, handle })
    }

    /// Returns the path of the file `name` in it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Returns a short path of `name` that another process of ours may connect to.
    pub(crate) fn short_path(&self, name: &str) -> PathBuf {
        let (process, descriptor) = (std::process::id(), self.handle.as_raw_fd());
        PathBuf::from(format!("/proc/{process}/fd/{descriptor}/{name}"))
    }

    /// Removes the socket `name` if it is there.
    pub(crate) fn remove(&self, name: &str) {
        // What cannot be removed goes with the directory, which the engine removes.
        drop(std::fs::remove_file(self.file(name)));
    }

    /// Returns a socket that listens on `name`, replacing one that is left over.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub(crate) fn listen(&self, name: &str, kind: SocketType) -> Result<OwnedFd, PathError> {
        self.remove(name);
        self.bind(name, kind).at("listen on", self.file(name))
    }

    fn bind(&self, name: &str, kind: SocketType) -> rustix::io::Result<OwnedFd> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None)?;
        let address = SocketAddrUnix::new(self.short_path(name))?;
        rustix::net::bind(socket.as_fd(), &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(socket)
    }
}

/// Accepts one connection, `None` if nobody waits; peers that are neither root
/// nor our own user are dropped.
pub(crate) fn accept(listener: &OwnedFd) -> Option<OwnedFd> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::accept_with(listener, flags).ok()?;
    let peer = rustix::net::sockopt::socket_peercred(&socket).ok()?;
    let trusted = peer.uid.is_root() || peer.uid == rustix::process::geteuid();
    trusted.then_some(socket)
}
