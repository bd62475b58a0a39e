//! Kernel settings below /proc/sys. Those of `net` are those of the calling
//! thread's network namespace.

use std::fs::OpenOptions;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use base::file::read_bounded;
use base::{PathContext as _, PathError};

/// No setting we read is longer.
const VALUE_LIMIT_BYTES: u64 = 4096;

/// Returns the value of `name`, `net/ipv4/ip_forward`.
///
/// # Errors
/// When there is no such setting.
pub fn read(name: &str) -> Result<String, PathError> {
    let value = read_bounded(&path(name), VALUE_LIMIT_BYTES)?;
    Ok(String::from_utf8_lossy(&value).trim().to_owned())
}

/// Sets `name` to `value`.
///
/// # Errors
/// When there is no such setting or the kernel refuses the value.
pub fn write(name: &str, value: &str) -> Result<(), PathError> {
    let path = path(name);
    let mut file = OpenOptions::new()
        .write(true)
        .open(&path)
        .at("open", &path)?;
    file.write_all(value.as_bytes()).at("write", &path)
}

/// Sets `name` to `value` where the kernel has such a setting.
///
/// # Errors
/// When the kernel refuses the value.
pub fn write_if_there(name: &str, value: &str) -> Result<(), PathError> {
    match write(name, value) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
