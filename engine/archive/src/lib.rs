//! The files of a container as archives: reading some, writing some, telling what
//! it has changed.
//!
//! Whatever the container has there is hostile. Every path is resolved by the kernel
//! below a descriptor of its root (`openat2`, Linux 5.6), with links that lead no
//! further; nothing is opened that is no file or directory, nothing executed.
//!
//! - [`view`]: a mount namespace in which volumes are where the container has them.
//! - [`root`]: the root, and what is at a path of it.
//! - [`changes`]: what a writable layer has changed.
//! - [`size`]: how much a directory holds.
//! - [`pack`]: files to an archive. [`unpack`]: an archive to files.
#![forbid(unsafe_code)]

pub mod changes;
pub mod pack;
pub mod root;
pub mod size;
pub mod unpack;
pub mod view;

use std::io;
use std::path::PathBuf;

/// Says why files could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// Nothing is at a path of the container.
    #[error("no such file or directory: {0:?}")]
    NotFound(PathBuf),
    /// What an archive is to be unpacked into is no directory.
    #[error("extraction point is not a directory")]
    NotADirectory,
    #[error("the path {0:?} cannot be used")]
    Path(PathBuf),
    #[error("cannot overwrite directory {0:?} with non-directory")]
    OverDirectory(PathBuf),
    #[error("cannot overwrite non-directory {0:?} with directory")]
    OverFile(PathBuf),
    #[error("the file system at {0:?} is read-only")]
    ReadOnly(PathBuf),
    #[error("{0:?} has more than {limit} directories above it", limit = pack::DEPTH_LIMIT)]
    Deep(PathBuf),
    /// The archive is damaged, or its sender has gone.
    #[error("cannot read the archive")]
    Read(#[source] io::Error),
    /// Of whom the files are to be.
    #[error("cannot find the user: {0}")]
    Owner(String),
    #[error("archives compressed by {0} are not supported")]
    Compression(&'static str),
    #[error("archive entry {path:?} is of a kind ({kind:?}) that cannot be written")]
    Kind { path: PathBuf, kind: char },
    /// The receiver of an archive has gone.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    #[error("cannot {action} {path:?}")]
    File {
        action: &'static str,
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot {0}")]
    View(&'static str, #[source] io::Error),
}

/// Says what failed on which file.
fn file<E: Into<io::Error>>(
    action: &'static str,
    path: impl Into<PathBuf>,
) -> impl FnOnce(E) -> ArchiveError {
    let path = path.into();
    move |error| {
        let source = error.into();
        match source.kind() {
            io::ErrorKind::ReadOnlyFilesystem => ArchiveError::ReadOnly(path),
            _ => ArchiveError::File {
                action,
                path,
                source,
            },
        }
    }
}
