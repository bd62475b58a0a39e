//! IPv4 forwarding of the host: on as soon as there is a bridge. Where we were
//! the ones to turn it on, forwarding between interfaces that are not ours is
//! dropped (the forwarding guard), as if it were still off.
//!
//! `<run>/netd/forwarding-on` says that it was us, written before it is done.

use std::path::{Path, PathBuf};

use base::PathError;
use base::file::{FileMode, remove_if_there, replace};

use crate::apply::OperationError;
use crate::firewall::{Element, Firewall};
use crate::sysctl;

const SETTING: &str = "net/ipv4/ip_forward";

/// Remembers whether it was us.
#[derive(Debug)]
pub struct Forwarding {
    marker: PathBuf,
}

impl Forwarding {
    /// Returns the memory that is kept in `directory`.
    pub fn new(directory: &Path) -> Self {
        Self {
            marker: directory.join("forwarding-on"),
        }
    }

    /// Returns whether it was us who turned forwarding on.
    pub fn is_ours(&self) -> bool {
        self.marker.exists()
    }

    /// Turns forwarding off again if it was us.
    ///
    /// # Errors
    /// When the setting or the marker cannot be written.
    pub fn restore(&self) -> Result<(), PathError> {
        if self.is_ours() {
            sysctl::write(SETTING, "0")?;
        }
        self.forget()
    }

    /// Forgets that it was us.
    ///
    /// # Errors
    /// When the marker cannot be removed.
    pub fn forget(&self) -> Result<(), PathError> {
        remove_if_there(&self.marker)
    }
}

/// Turns forwarding on, the guard first.
///
/// # Errors
/// When a step fails.
pub fn ensure_on(forwarding: &Forwarding, firewall: &mut Firewall) -> Result<(), OperationError> {
    if sysctl::read(SETTING)? != "0" {
        return Ok(());
    }
    replace(&forwarding.marker, b"", FileMode::Private)?;
    firewall.add(&[Element::Guarded])?;
    sysctl::write(SETTING, "1")?;
    tracing::info!("turned on IPv4 forwarding; between foreign interfaces it stays off");
    Ok(())
}
