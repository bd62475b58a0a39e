//! Kernel settings below /proc/sys. Those of `net` are those of the calling
//! thread's network namespace.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, OwnedFd};
use std::path::{Path, PathBuf};

use base::file::read_bounded;
use base::{PathContext as _, PathError};
use rustix::fs::{Mode, OFlags};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};

/// No setting we read is longer.
const VALUE_LIMIT_BYTES: u64 = 4096;

/// The settings as one instance of /proc has them. In one that has been used for
/// many network namespaces, a namespace's own are found the more slowly the more
/// there are, since all of them have the same names.
#[derive(Debug)]
pub struct View(Option<OwnedFd>);

impl View {
    /// Returns one that nobody has looked anything up in, where the kernel gives
    /// such to us; else that of everybody.
    pub fn fresh() -> Self {
        let made = || {
            let context = fsopen("proc", FsOpenFlags::FSOPEN_CLOEXEC)?;
            fsconfig_create(context.as_fd())?;
            let attributes = MountAttrFlags::empty();
            fsmount(context.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
        };
        Self(made().ok())
    }

    fn open(&self, name: &str) -> io::Result<File> {
        let Some(proc) = &self.0 else {
            return OpenOptions::new().write(true).open(path(name));
        };
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(proc, format!("sys/{name}"), flags, Mode::empty())?;
        Ok(File::from(file))
    }

    /// Sets `name` to `value`.
    ///
    /// # Errors
    /// When there is no such setting or the kernel refuses the value.
    pub fn write(&self, name: &str, value: &str) -> Result<(), PathError> {
        let path = path(name);
        let mut file = self.open(name).at("open", &path)?;
        file.write_all(value.as_bytes()).at("write", &path)
    }

    /// Sets `name` to `value` where the kernel has such a setting.
    ///
    /// # Errors
    /// When the kernel refuses the value.
    pub fn write_if_there(&self, name: &str, value: &str) -> Result<(), PathError> {
        match self.write(name, value) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }

    /// Gives the interface `name` IPv6 or none, in a kernel that has it. It believes
    /// no router that announces itself on the link, where containers are, and asks
    /// nobody whether its addresses are free: netd knows.
    ///
    /// # Errors
    /// When the kernel refuses a value, or has no IPv6 and it is wanted.
    pub fn set_ipv6(&self, name: &str, is_wanted: bool) -> Result<(), PathError> {
        let setting = |setting: &str| format!("net/ipv6/conf/{name}/{setting}");
        if !is_wanted {
            return self.write_if_there(&setting("disable_ipv6"), "1");
        }
        self.write(&setting("accept_ra"), "0")?;
        self.write(&setting("accept_dad"), "0")?;
        self.write(&setting("disable_ipv6"), "0")
    }
}

/// Returns the value of `name`, `net/ipv4/ip_forward`.
///
/// # Errors
/// When there is no such setting.
pub fn read(name: &str) -> Result<String, PathError> {
    let value = read_bounded(&path(name), VALUE_LIMIT_BYTES)?;
    Ok(String::from_utf8_lossy(&value).trim().to_owned())
}

/// The same as [`View::write`], as everybody sees them.
///
/// # Errors
/// When there is no such setting or the kernel refuses the value.
pub fn write(name: &str, value: &str) -> Result<(), PathError> {
    View(None).write(name, value)
}

/// The same as [`View::write_if_there`], as everybody sees them.
///
/// # Errors
/// When the kernel refuses the value.
pub fn write_if_there(name: &str, value: &str) -> Result<(), PathError> {
    View(None).write_if_there(name, value)
}

/// Returns whether the kernel has IPv6 at all.
pub fn is_ipv6_there() -> bool {
    path("net/ipv6").exists()
}

/// Returns whether bridges hand IPv6 packets to the firewall (`br_netfilter`,
/// which container managers may have loaded). Answers to IPv6 loopback are
/// translated too early then, and the kernel drops them.
pub fn do_bridges_filter_ipv6() -> bool {
    read("net/bridge/bridge-nf-call-ip6tables").is_ok_and(|value| value != "0")
}

/// Returns whether bridges hand packets of both families to the firewall.
pub fn do_bridges_filter() -> bool {
    let ipv4 = read("net/bridge/bridge-nf-call-iptables").is_ok_and(|value| value != "0");
    ipv4 && do_bridges_filter_ipv6()
}

/// The same as [`View::set_ipv6`], as everybody sees them.
///
/// # Errors
/// When the kernel refuses a value, or has no IPv6 and it is wanted.
pub fn set_ipv6(name: &str, is_wanted: bool) -> Result<(), PathError> {
    View(None).set_ipv6(name, is_wanted)
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
