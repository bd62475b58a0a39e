//! Small files of a container that its processes see.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use base::PathContext as _;
use base::file::read_bounded;

use crate::error::{OrFail as _, Result};

/// The host's files are not expected to be larger.
const HOST_FILE_LIMIT_BYTES: u64 = 1 << 20;

/// Writes a file without replacing it: it is bind-mounted, and a mount follows
/// the inode, not the name.
///
/// # Errors
/// When it cannot be written.
pub fn write_in_place(path: &Path, content: &str) -> Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(path)
        .at("open", path)
        .or_internal()?;
    file.write_all(content.as_bytes())
        .at("write", path)
        .or_internal()
}

/// Returns a file of the host's; one that is not there is empty.
///
/// # Errors
/// When it is there and cannot be read.
pub fn host_file(path: &Path) -> Result<String> {
    match read_bounded(path, HOST_FILE_LIMIT_BYTES) {
        Ok(content) => Ok(String::from_utf8_lossy(&content).into_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error).or_internal(),
    }
}
