//! What `archive` says of a path, in a header.

use serde::{Deserialize, Serialize};

/// The header that has a [`PathStat`], as JSON in base64.
pub const PATH_STAT_HEADER: &str = "X-Docker-Container-Path-Stat";

/// What is at a path of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PathStat {
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// As Go's `os.FileMode`; see [`go_mode`].
    pub mode: u32,
    /// RFC 3339.
    pub mtime: String,
    /// Where a link leads within the container.
    pub link_target: String,
}

/// A path that differs from the image's.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct FilesystemChange {
    pub path: String,
    /// 0 is modified, 1 added, 2 deleted.
    pub kind: u8,
}

/// Returns the kernel's mode as Go has it: permissions as they are, kinds from the
/// topmost bit down.
pub fn go_mode(mode: u32) -> u32 {
    const DIRECTORY: u32 = 1 << 31;
    const SYMLINK: u32 = 1 << 27;
    const DEVICE: u32 = 1 << 26;
    const FIFO: u32 = 1 << 25;
    const SOCKET: u32 = 1 << 24;
    const SETUID: u32 = 1 << 23;
    const SETGID: u32 = 1 << 22;
    const CHARACTER: u32 = 1 << 21;
    const STICKY: u32 = 1 << 20;
    let kind = match mode & 0o170_000 {
        0o040_000 => DIRECTORY,
        0o120_000 => SYMLINK,
        0o060_000 => DEVICE,
        0o020_000 => DEVICE | CHARACTER,
        0o010_000 => FIFO,
        0o140_000 => SOCKET,
        _ => 0,
    };
    let bits = [(0o4000, SETUID), (0o2000, SETGID), (0o1000, STICKY)];
    let set = bits.iter().filter(|(bit, _)| mode & bit != 0);
    set.fold(kind | mode & 0o777, |all, (_, bit)| all | bit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_are_gos() {
        assert_eq!(go_mode(0o100_644), 0o644);
        assert_eq!(go_mode(0o040_755), 0o755 | 1 << 31);
        assert_eq!(go_mode(0o104_755), 0o755 | 1 << 23);
        assert_eq!(go_mode(0o041_777), 0o777 | 1 << 31 | 1 << 20);
        assert_eq!(go_mode(0o020_666), 0o666 | 1 << 26 | 1 << 21);
        assert_eq!(go_mode(0o120_777), 0o777 | 1 << 27);
    }
}
