//! From the bytes of a layer to a directory that overlayfs can stack.
//!
//! A layer passes three threads: one inflates ([`inflate`]), one hashes what
//! came out, one reads the archive ([`tar`]) and writes files ([`apply`],
//! [`tree`]). Nothing here makes a layer visible: the caller commits.

mod apply;
mod header;
pub(crate) mod inflate;
mod inherit;
mod pax;
mod pipe;
mod sparse;
pub(crate) mod tar;
mod tree;
mod unpack;

#[cfg(test)]
mod differential;
#[cfg(test)]
mod tests;

pub(crate) use inherit::inherit_directories;
pub(crate) use unpack::{UnpackRequest, Unpacked, unpack};

use std::io;
use std::path::PathBuf;

use base::{Digest, PathError};

pub use tar::TarError;

/// Says which step of unpacking a layer failed.
#[derive(Debug, thiserror::Error)]
pub enum LayerError {
    /// The compressed stream is damaged or cut.
    #[error("cannot decompress the layer")]
    Inflate(#[source] io::Error),
    /// The compression is one this engine does not read.
    #[error("unsupported layer compression {0}")]
    Compression(&'static str),
    /// The archive is damaged, cut or of an unknown kind.
    #[error("cannot read the layer's archive")]
    Archive(#[from] TarError),
    /// A name leads out of the layer.
    #[error("layer entry {0:?} leads out of the layer")]
    Escape(String),
    /// A name that no layer may have.
    #[error("layer entry {0:?} has an invalid name")]
    Name(String),
    /// A hard link to something this layer does not contain.
    #[error("hard link {link:?} refers to {target:?}, which is not a file of this layer")]
    HardLink {
        /// The link.
        link: String,
        /// What it should be the same file as.
        target: String,
    },
    /// An attribute only the engine may set.
    #[error("layer entry {path:?} carries the reserved attribute {name:?}")]
    Attribute {
        /// The entry.
        path: String,
        /// The attribute.
        name: String,
    },
    /// A system call on an entry failed.
    #[error("cannot {action} layer entry {path:?}")]
    Entry {
        /// What was tried.
        action: &'static str,
        /// The entry.
        path: String,
        /// What the kernel said.
        #[source]
        source: io::Error,
    },
    /// More bytes than a layer may expand to.
    #[error("the layer expands to more than the limit of {limit} bytes")]
    TooLarge {
        /// The limit.
        limit: u64,
    },
    /// More entries than a layer may have.
    #[error("the layer has more than {limit} entries")]
    TooMany {
        /// The limit.
        limit: u64,
    },
    /// The file system is about to be full.
    #[error("no space left for the layer: {available} bytes are free and {reserve} are kept back")]
    NoSpace {
        /// Free bytes.
        available: u64,
        /// Bytes that images may not use.
        reserve: u64,
    },
    /// The archive is not the one the configuration names.
    #[error("the layer's content is {actual}, the image's configuration says {expected}")]
    DiffId {
        /// What the configuration says.
        expected: Digest,
        /// What the bytes are.
        actual: Digest,
    },
    /// The pull was given up.
    #[error("unpacking was cancelled")]
    Cancelled,
    /// A thread could not be started.
    #[error("cannot start a thread for the layer")]
    Thread(#[source] io::Error),
    /// A file of the store failed.
    #[error(transparent)]
    File(#[from] PathError),
}

/// What a layer may use at most.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the uncompressed archive.
    pub layer_bytes: u64,
    /// Entries of the archive.
    pub layer_entries: u64,
    /// Bytes of an archive that is loaded or imported.
    pub archive_bytes: u64,
    /// Bytes left free on the file system.
    pub reserve_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            layer_bytes: 64 << 30,
            layer_entries: 10_000_000,
            archive_bytes: 256 << 30,
            reserve_bytes: 64 << 20,
        }
    }
}

/// Prints a name from an archive, whatever bytes it has.
fn printable(name: &[u8]) -> String {
    String::from_utf8_lossy(name).into_owned()
}

/// Returns the path of an entry with `.` and `..` resolved by name alone.
///
/// This only decides what the entry is called: a name that climbs over the
/// top is an escape. That links cannot lead out is the descriptors' matter.
pub(crate) fn clean_path(name: &[u8]) -> Result<PathBuf, LayerError> {
    use std::os::unix::ffi::OsStringExt as _;
    let mut clean = Vec::with_capacity(name.len());
    for part in name.split(|b| *b == b'/') {
        match part {
            b"" | b"." => {}
            b".." if clean.is_empty() => return Err(LayerError::Escape(printable(name))),
            b".." => clean.truncate(clean.iter().rposition(|b| *b == b'/').unwrap_or(0)),
            part => {
                if !clean.is_empty() {
                    clean.push(b'/');
                }
                clean.extend_from_slice(part);
            }
        }
    }
    Ok(PathBuf::from(std::ffi::OsString::from_vec(clean)))
}
