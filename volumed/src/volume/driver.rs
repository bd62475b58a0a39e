//! The options of the driver `local`, in Docker's words: `type`, `device`, `o`.
//!
//! Without options a volume is a directory. With them it is whatever `mount(8)`
//! would mount; parsing is pure and decides flags and data.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustix::mount::MountFlags;

/// Why options cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum DriverError {
    #[error("invalid option: {0:?}")]
    Unknown(String),
    #[error("missing required option: {0:?}")]
    Required(&'static str),
    #[error(
        "the option \"size\" needs project quotas, which are not supported; for tmpfs, use o=size=…"
    )]
    Quota,
    #[error("the device {0:?} of a bind is not an absolute path")]
    RelativeDevice(String),
    #[error("the mount option {0:?} is not supported")]
    MountOption(String),
    #[error("a host name in \"addr\" is not supported, only an address: {0:?}")]
    HostName(String),
    #[error("{0:?} holds a NUL byte")]
    Nul(&'static str),
}

/// What a volume's data is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Backing {
    /// A directory of ours.
    Directory,
    /// A directory of the host.
    Bind(BindBacking),
    /// A file system of its own.
    FileSystem(FileSystemBacking),
}

/// `o=bind`: the directory, bound with or without what is mounted below it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindBacking {
    pub device: PathBuf,
    /// `MountFlags::BIND`, and `REC` bits are told apart by `is_recursive`.
    pub is_recursive: bool,
    pub flags: MountFlags,
}

/// Anything else: what `mount(2)` is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileSystemBacking {
    pub kind: String,
    pub device: String,
    pub flags: MountFlags,
    pub data: String,
}

/// Returns what the options of a volume mean.
///
/// # Errors
/// The first option that is unknown, missing or wrong.
pub fn parse(options: &BTreeMap<String, String>) -> Result<Backing, DriverError> {
    if let Some(unknown) = options.keys().find(|key| !is_known(key)) {
        return Err(DriverError::Unknown(unknown.clone()));
    }
    if options.contains_key("size") {
        return Err(DriverError::Quota);
    }
    if options.is_empty() {
        return Ok(Backing::Directory);
    }
    let required = |key: &'static str| {
        let value = options.get(key).filter(|value| !value.is_empty());
        let value = value.ok_or(DriverError::Required(key))?;
        match value.contains('\0') {
            true => Err(DriverError::Nul(key)),
            false => Ok(value.clone()),
        }
    };
    let (kind, device) = (required("type")?, required("device")?);
    let o = options.get("o").map_or("", String::as_str);
    build(kind, device, o)
}

fn is_known(key: &str) -> bool {
    matches!(key, "type" | "device" | "o" | "size")
}

fn build(kind: String, device: String, o: &str) -> Result<Backing, DriverError> {
    let parsed = MountOptions::parse(o)?;
    if parsed.bind == BindKind::None {
        return Ok(Backing::FileSystem(FileSystemBacking {
            kind,
            device,
            flags: parsed.flags,
            data: parsed.data.join(","),
        }));
    }
    if let Some(left) = parsed.data.first() {
        return Err(DriverError::MountOption(left.clone()));
    }
    if !device.starts_with('/') {
        return Err(DriverError::RelativeDevice(device));
    }
    Ok(Backing::Bind(BindBacking {
        device: device.into(),
        is_recursive: parsed.bind == BindKind::Recursive,
        flags: parsed.flags,
    }))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum BindKind {
    None,
    Single,
    Recursive,
}

struct MountOptions {
    flags: MountFlags,
    bind: BindKind,
    data: Vec<String>,
}

impl MountOptions {
    fn parse(o: &str) -> Result<Self, DriverError> {
        if o.contains('\0') {
            return Err(DriverError::Nul("o"));
        }
        let mut parsed = Self {
            flags: MountFlags::empty(),
            bind: BindKind::None,
            data: Vec::new(),
        };
        for word in o.split(',').filter(|word| !word.is_empty()) {
            parsed.take(word)?;
        }
        Ok(parsed)
    }

    fn take(&mut self, word: &str) -> Result<(), DriverError> {
        match word {
            "bind" => self.bind = BindKind::Single,
            "rbind" => self.bind = BindKind::Recursive,
            "shared" | "rshared" | "slave" | "rslave" | "unbindable" | "remount" | "move" => {
                return Err(DriverError::MountOption(word.to_owned()));
            }
            // Nothing of ours propagates anyway.
            "private" | "rprivate" | "defaults" => {}
            _ => match flag(word) {
                Some((flag, true)) => self.flags |= flag,
                Some((flag, false)) => self.flags -= flag,
                None => self.take_data(word)?,
            },
        }
        Ok(())
    }

    fn take_data(&mut self, word: &str) -> Result<(), DriverError> {
        if let Some(host) = word.strip_prefix("addr=")
            && host.parse::<std::net::IpAddr>().is_err()
        {
            return Err(DriverError::HostName(host.to_owned()));
        }
        self.data.push(word.to_owned());
        Ok(())
    }
}

/// Returns the flag a word sets (`true`) or clears.
fn flag(word: &str) -> Option<(MountFlags, bool)> {
    Some(match word {
        "ro" => (MountFlags::RDONLY, true),
        "rw" => (MountFlags::RDONLY, false),
        "nosuid" => (MountFlags::NOSUID, true),
        "suid" => (MountFlags::NOSUID, false),
        "nodev" => (MountFlags::NODEV, true),
        "dev" => (MountFlags::NODEV, false),
        "noexec" => (MountFlags::NOEXEC, true),
        "exec" => (MountFlags::NOEXEC, false),
        "sync" => (MountFlags::SYNCHRONOUS, true),
        "async" => (MountFlags::SYNCHRONOUS, false),
        "dirsync" => (MountFlags::DIRSYNC, true),
        "noatime" => (MountFlags::NOATIME, true),
        "atime" => (MountFlags::NOATIME, false),
        "nodiratime" => (MountFlags::NODIRATIME, true),
        "diratime" => (MountFlags::NODIRATIME, false),
        "relatime" => (MountFlags::RELATIME, true),
        "norelatime" => (MountFlags::RELATIME, false),
        "strictatime" => (MountFlags::STRICTATIME, true),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(options: &[(&str, &str)]) -> Result<Backing, String> {
        let options = options.iter().map(|(k, v)| ((*k).into(), (*v).into()));
        parse(&options.collect()).map_err(|error| error.to_string())
    }

    fn file_system(kind: &str, device: &str, flags: MountFlags, data: &str) -> Backing {
        Backing::FileSystem(FileSystemBacking {
            kind: kind.into(),
            device: device.into(),
            flags,
            data: data.into(),
        })
    }

    #[test]
    fn options_mean_what_mount_would_make_of_them() {
        assert_eq!(check(&[]), Ok(Backing::Directory));
        assert_eq!(
            check(&[
                ("type", "tmpfs"),
                ("device", "tmpfs"),
                ("o", "size=1m,nodev,uid=7")
            ]),
            Ok(file_system(
                "tmpfs",
                "tmpfs",
                MountFlags::NODEV,
                "size=1m,uid=7"
            )),
        );
        assert_eq!(
            check(&[
                ("type", "nfs"),
                ("device", ":/x"),
                ("o", "addr=10.0.0.1,ro,rw,nolock")
            ]),
            Ok(file_system(
                "nfs",
                ":/x",
                MountFlags::empty(),
                "addr=10.0.0.1,nolock"
            )),
        );
        assert_eq!(
            check(&[("type", "none"), ("device", "/srv/x"), ("o", "rbind,ro")]),
            Ok(Backing::Bind(BindBacking {
                device: "/srv/x".into(),
                is_recursive: true,
                flags: MountFlags::RDONLY,
            })),
        );
    }

    #[test]
    fn wrong_options_are_named() {
        let cases: &[(&[(&str, &str)], &str)] = &[
            (&[("foo", "x")], "invalid option: \"foo\""),
            (&[("o", "bind")], "missing required option: \"type\""),
            (&[("type", "none")], "missing required option: \"device\""),
            (&[("size", "1g")], "project quotas"),
            (
                &[("type", "none"), ("device", "x"), ("o", "bind")],
                "absolute",
            ),
            (
                &[("type", "none"), ("device", "/x"), ("o", "bind,size=1")],
                "size=1",
            ),
            (
                &[("type", "none"), ("device", "/x"), ("o", "bind,rshared")],
                "rshared",
            ),
            (
                &[("type", "nfs"), ("device", ":/x"), ("o", "addr=nas")],
                "host name",
            ),
            (&[("type", "a\0b"), ("device", "x")], "NUL"),
        ];
        for (options, expected) in cases {
            let error = check(options).unwrap_err();
            assert!(error.contains(expected), "{options:?}: {error}");
        }
    }
}
