//! What must be known of the host before anything is decided: read here,
//! and nowhere else in this crate.

use std::fs::{self, Metadata};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use base::file::read_bounded;
use base::{PathContext as _, PathError};
use engine_model::container::DeviceConfig;
use oci_spec::runtime::Capability;

use crate::SecurityError;
use crate::capability;
use crate::device::{DeviceKind, HostDevice, are_permissions};
use crate::seccomp::KernelVersion;

/// The name under which Docker's AppArmor profile is loaded, if it is.
pub const APPARMOR_DEFAULT: &str = "docker-default";

const APPARMOR_PROFILES: &str = "/sys/kernel/security/apparmor/profiles";
const APPARMOR_ENABLED: &str = "/sys/module/apparmor/parameters/enabled";
const PROCESSORS: &str = "/sys/devices/system/cpu";
const READ_LIMIT_BYTES: u64 = 1 << 20;
/// The most devices that one directory or a privileged container brings.
const DEVICES_LIMIT: usize = 4096;
/// How deep a directory of devices is searched.
const DEPTH_LIMIT: usize = 8;
/// Parts of `/dev` that every container has of its own.
const OWN_PARTS: [&str; 7] = ["pts", "shm", "fd", "mqueue", "console", ".lxc", ".udev"];

/// What the host offers; the same for all containers until the next boot, but
/// for loaded AppArmor profiles.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HostFacts {
    /// What this process has and can hand on.
    pub capabilities: Vec<Capability>,
    pub kernel: KernelVersion,
    pub apparmor: AppArmor,
    /// Files of this host that tell how warm a processor is.
    pub thermal_paths: Vec<String>,
}

/// What the kernel says about AppArmor.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AppArmor {
    #[default]
    Absent,
    /// The kernel has it, the default profile is not loaded.
    WithoutDefault,
    WithDefault,
}

impl HostFacts {
    /// Reads the facts.
    ///
    /// # Errors
    /// When procfs cannot be read.
    pub fn gather() -> Result<Self, PathError> {
        let uname = rustix::system::uname();
        let release = uname.release().to_string_lossy().into_owned();
        Ok(Self {
            capabilities: own_capabilities()?,
            kernel: KernelVersion::from_release(&release).unwrap_or_default(),
            apparmor: apparmor(),
            thermal_paths: thermal_paths(),
        })
    }
}

fn own_capabilities() -> Result<Vec<Capability>, PathError> {
    let status = read_bounded(Path::new("/proc/self/status"), READ_LIMIT_BYTES)?;
    let status = String::from_utf8_lossy(&status);
    let mask = |line: &str| u64::from_str_radix(line.trim(), 16).ok();
    let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    Ok(capability::from_mask(line.and_then(mask).unwrap_or(0)))
}

/// A file that cannot be read means that the kernel has no AppArmor for us.
fn apparmor() -> AppArmor {
    let read = |path: &str| read_bounded(Path::new(path), READ_LIMIT_BYTES).unwrap_or_default();
    if !read(APPARMOR_ENABLED).starts_with(b"Y") {
        return AppArmor::Absent;
    }
    let profiles = String::from_utf8_lossy(&read(APPARMOR_PROFILES)).into_owned();
    let is_default = |line: &str| line.split(' ').next() == Some(APPARMOR_DEFAULT);
    match profiles.lines().any(is_default) {
        true => AppArmor::WithDefault,
        false => AppArmor::WithoutDefault,
    }
}

pub(crate) fn thermal_paths() -> Vec<String> {
    let Ok(entries) = fs::read_dir(PROCESSORS) else {
        return Vec::new();
    };
    let is_processor = |entry: &fs::DirEntry| {
        let name = entry.file_name();
        let number = name.as_encoded_bytes().strip_prefix(b"cpu");
        number.is_some_and(|number| number.iter().all(u8::is_ascii_digit))
    };
    let mut paths: Vec<String> = entries
        .flatten()
        .filter(is_processor)
        .map(|entry| entry.path().join("thermal_throttle"))
        .filter(|path| path.is_dir())
        .map(|path| path.to_string_lossy().into_owned())
        .collect();
    paths.sort();
    paths
}

/// Returns the devices that `--device` options name; a directory means all
/// devices in it.
pub(crate) fn devices(configs: &[DeviceConfig]) -> Result<Vec<HostDevice>, SecurityError> {
    let mut found = Vec::new();
    for config in configs {
        let permissions = match config.permissions.as_str() {
            "" => "rwm",
            some if are_permissions(some) => some,
            bad => return Err(SecurityError::DevicePermissions(bad.to_owned())),
        };
        let gather = || -> Result<Vec<HostDevice>, PathError> {
            let path = Path::new(&config.host_path);
            let metadata = fs::metadata(path).at("find device", path)?;
            let inside = PathBuf::from(container_path(config));
            let mut search = Search::new(permissions);
            search.visit(path, &inside, &metadata, 0)?;
            Ok(search.found)
        };
        let devices = gather().map_err(|source| unusable(&config.host_path, source))?;
        if devices.is_empty() {
            return Err(SecurityError::NotADevice(config.host_path.clone()));
        }
        found.extend(devices);
    }
    Ok(found)
}

/// A device that is not there at all is refused in Docker's words, by which
/// clients choose their exit status.
fn unusable(path: &str, source: PathError) -> SecurityError {
    let path = path.to_owned();
    match source.source.kind() {
        std::io::ErrorKind::NotFound => SecurityError::NoDevice(path),
        _ => SecurityError::Device { path, source },
    }
}

fn container_path(config: &DeviceConfig) -> &str {
    match config.container_path.as_str() {
        "" => &config.host_path,
        path => path,
    }
}

/// Returns all devices of the host, for a privileged container.
pub(crate) fn all_devices() -> Result<Vec<HostDevice>, SecurityError> {
    let path = Path::new("/dev");
    let gather = || -> Result<Vec<HostDevice>, PathError> {
        let metadata = fs::metadata(path).at("find device", path)?;
        let mut search = Search::new("rwm");
        search.visit(path, path, &metadata, 0)?;
        Ok(search.found)
    };
    gather().map_err(|source| SecurityError::Device {
        path: "/dev".to_owned(),
        source,
    })
}

/// A walk through a directory of devices.
struct Search<'a> {
    permissions: &'a str,
    found: Vec<HostDevice>,
}

impl<'a> Search<'a> {
    fn new(permissions: &'a str) -> Self {
        Self {
            permissions,
            found: Vec::new(),
        }
    }

    fn visit(
        &mut self,
        path: &Path,
        inside: &Path,
        metadata: &Metadata,
        depth: usize,
    ) -> Result<(), PathError> {
        if metadata.is_dir() {
            return self.visit_directory(path, inside, depth);
        }
        let kind = metadata.file_type();
        let kind = match (kind.is_block_device(), kind.is_char_device()) {
            (true, _) => DeviceKind::Block,
            (_, true) => DeviceKind::Character,
            _ => return Ok(()),
        };
        if self.found.len() < DEVICES_LIMIT {
            self.found.push(HostDevice {
                container_path: inside.to_owned(),
                kind,
                major: rustix::fs::major(metadata.rdev()),
                minor: rustix::fs::minor(metadata.rdev()),
                mode: metadata.mode() & 0o7777,
                uid: metadata.uid(),
                gid: metadata.gid(),
                permissions: self.permissions.to_owned(),
            });
        }
        Ok(())
    }

    /// Devices come and go: what vanishes during the walk is passed over.
    fn visit_directory(
        &mut self,
        path: &Path,
        inside: &Path,
        depth: usize,
    ) -> Result<(), PathError> {
        if depth >= DEPTH_LIMIT {
            return Ok(());
        }
        for entry in fs::read_dir(path).at("list", path)?.flatten() {
            let name = entry.file_name();
            let is_own = name.to_str().is_some_and(|name| OWN_PARTS.contains(&name));
            // Not through links: `/dev` has many to what it holds anyway.
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if !is_own {
                self.visit(&path.join(&name), &inside.join(&name), &metadata, depth + 1)?;
            }
        }
        Ok(())
    }
}
