//! Forwarding of the host: on, for each family, as soon as there is a bridge with
//! addresses of it. Where we were the ones to turn it on, forwarding between
//! interfaces that are not ours is dropped (the forwarding guard), as if it were
//! still off.
//!
//! A host that forwards IPv6 no longer listens to the routers of its links, and
//! forgets the routes it has from them, unless an interface says that it does so
//! all the same (`accept_ra` 2). So that the host keeps its way out, interfaces
//! that listened (1) are told to first.
//!
//! `<run>/netd/forwarding-on` and `<run>/netd/forwarding6-on` say that it was us,
//! written before it is done; the latter holds the interfaces, one a line.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use base::file::{FileMode, read_bounded, remove_if_there, replace};
use base::{PathContext as _, PathError};

use crate::apply::OperationError;
use crate::family::Family;
use crate::firewall::{Element, Firewall};
use crate::sysctl;

const SETTING: &str = "net/ipv4/ip_forward";
const IPV6_SETTING: &str = "net/ipv6/conf/all/forwarding";
const INTERFACES: &str = "/proc/sys/net/ipv6/conf";
/// Names of as many interfaces as a host may have.
const MARKER_LIMIT_BYTES: u64 = 1 << 20;
/// Not interfaces, but what all of them and new ones have.
const NO_INTERFACES: [&str; 2] = ["all", "default"];

/// Remembers whether it was us.
#[derive(Debug)]
pub struct Forwarding {
    marker: PathBuf,
    ipv6_marker: PathBuf,
}

impl Forwarding {
    /// Returns the memory that is kept in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self {
            marker: directory.join("forwarding-on"),
            ipv6_marker: directory.join("forwarding6-on"),
        }
    }

    /// Returns whether it was us who turned a family's forwarding on.
    pub fn is_ours(&self, family: Family) -> bool {
        self.marker(family).exists()
    }

    /// Turns forwarding off again where it was us.
    ///
    /// # Errors
    /// When a setting or a marker cannot be written.
    pub fn restore(&self) -> Result<(), PathError> {
        if self.is_ours(Family::V4) {
            sysctl::write(SETTING, "0")?;
        }
        if self.is_ours(Family::V6) {
            sysctl::write(IPV6_SETTING, "0")?;
            for name in self.told()? {
                sysctl::write_if_there(&accept(&name), "1")?;
            }
        }
        self.forget()
    }

    /// Forgets that it was us.
    ///
    /// # Errors
    /// When a marker cannot be removed.
    pub fn forget(&self) -> Result<(), PathError> {
        remove_if_there(&self.marker)?;
        remove_if_there(&self.ipv6_marker)
    }

    /// Returns the interfaces that were told to listen all the same.
    fn told(&self) -> Result<BTreeSet<String>, PathError> {
        match read_bounded(&self.ipv6_marker, MARKER_LIMIT_BYTES) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(BTreeSet::new()),
            names => {
                let names = names?;
                let names = String::from_utf8_lossy(&names);
                Ok(names.lines().map(str::to_owned).collect())
            }
        }
    }

    fn marker(&self, family: Family) -> &Path {
        match family {
            Family::V4 => &self.marker,
            Family::V6 => &self.ipv6_marker,
        }
    }
}

/// Turns IPv4 forwarding on, the guard first.
///
/// # Errors
/// When a step fails.
pub fn ensure_on(forwarding: &Forwarding, firewall: &mut Firewall) -> Result<(), OperationError> {
    if sysctl::read(SETTING)? != "0" {
        return Ok(());
    }
    replace(&forwarding.marker, b"", FileMode::Private)?;
    firewall.add(&[Element::Guarded(Family::V4)])?;
    sysctl::write(SETTING, "1")?;
    tracing::info!("turned on IPv4 forwarding; between foreign interfaces it stays off");
    Ok(())
}

/// Turns IPv6 forwarding on, the guard first.
///
/// # Errors
/// When a step fails.
pub fn ensure_ipv6_on(
    forwarding: &Forwarding,
    firewall: &mut Firewall,
) -> Result<(), OperationError> {
    if sysctl::read(IPV6_SETTING)? != "0" {
        return Ok(());
    }
    // Those of a daemon that was killed here do not listen as they did any more.
    let mut listening = forwarding.told()?;
    for name in interfaces()? {
        if sysctl::read(&accept(&name)).is_ok_and(|value| value == "1") {
            listening.insert(name);
        }
    }
    let lines: String = listening.iter().map(|name| format!("{name}\n")).collect();
    replace(&forwarding.ipv6_marker, lines.as_bytes(), FileMode::Private)?;
    firewall.add(&[Element::Guarded(Family::V6)])?;
    for name in &listening {
        // One that has gone meanwhile listens to nobody.
        sysctl::write_if_there(&accept(name), "2")?;
    }
    sysctl::write(IPV6_SETTING, "1")?;
    tracing::info!("turned on IPv6 forwarding; between foreign interfaces it stays off");
    Ok(())
}

fn interfaces() -> Result<Vec<String>, PathError> {
    let directory = Path::new(INTERFACES);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory).at("list", directory)? {
        let name = entry.at("list", directory)?.file_name();
        if let Ok(name) = name.into_string()
            && !NO_INTERFACES.contains(&name.as_str())
        {
            names.push(name);
        }
    }
    Ok(names)
}

fn accept(interface: &str) -> String {
    format!("net/ipv6/conf/{interface}/accept_ra")
}
