//! Unix sockets at paths that do not fit into a socket address.
//!
//! An address holds 107 bytes of path; a longer one is reached through a
//! descriptor of its directory, `/proc/self/fd/<n>/<name>`.

use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Bytes of path in a socket address, without the final zero.
const ADDRESS_LIMIT_BYTES: usize = 107;

/// A path of a socket short enough to bind or connect, as long as this lives.
#[derive(Debug)]
pub struct ShortPath {
    path: PathBuf,
    _directory: Option<OwnedFd>,
}

impl ShortPath {
    /// Returns a short path of `socket`; its directory must exist.
    ///
    /// # Errors
    /// When the directory cannot be opened or the path names no file.
    pub fn new(socket: &Path) -> io::Result<Self> {
        if socket.as_os_str().len() <= ADDRESS_LIMIT_BYTES {
            return Ok(Self {
                path: socket.to_owned(),
                _directory: None,
            });
        }
        let (Some(directory), Some(name)) = (socket.parent(), socket.file_name()) else {
            return Err(io::ErrorKind::InvalidInput.into());
        };
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory = rustix::fs::open(directory, flags, Mode::empty())?;
        Ok(Self {
            path: PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd())).join(name),
            _directory: Some(directory),
        })
    }

    /// Returns the short path.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
