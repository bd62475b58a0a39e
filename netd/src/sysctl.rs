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

/// Gives the interface `name` IPv6 or none, in a kernel that has it. It believes
/// no router that announces itself on the link, where containers are, and asks
/// nobody whether its addresses are free: netd knows.
///
/// # Errors
/// When the kernel refuses a value, or has no IPv6 and it is wanted.
pub fn set_ipv6(name: &str, is_wanted: bool) -> Result<(), PathError> {
    let setting = |setting: &str| format!("net/ipv6/conf/{name}/{setting}");
    if !is_wanted {
        return write_if_there(&setting("disable_ipv6"), "1");
    }
    write(&setting("accept_ra"), "0")?;
    write(&setting("accept_dad"), "0")?;
    write(&setting("disable_ipv6"), "0")
}

fn path(name: &str) -> PathBuf {
    Path::new("/proc/sys").join(name)
}
