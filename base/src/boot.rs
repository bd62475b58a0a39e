//! What tells one boot of the host from another, and its clock.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::file::{PathError, read_bounded};

/// The kernel's boot id, `/proc/sys/kernel/random/boot_id`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootId(String);

impl BootId {
    /// Reads the id of the running boot.
    ///
    /// # Errors
    /// When procfs is not mounted.
    pub fn current() -> Result<Self, PathError> {
        let text = read_bounded(Path::new("/proc/sys/kernel/random/boot_id"), 64)?;
        Ok(Self(String::from_utf8_lossy(&text).trim().to_owned()))
    }
}

impl FromStr for BootId {
    type Err = std::convert::Infallible;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(text.trim().to_owned()))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A moment on `CLOCK_BOOTTIME`, in nanoseconds since boot: the same for all
/// processes of one boot, and it never jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BootInstant(pub u64);

impl BootInstant {
    /// Returns the present moment.
    pub fn now() -> Self {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        Self(now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64)
    }

    /// Returns the moment `duration` later.
    pub fn after(self, duration: std::time::Duration) -> Self {
        Self(
            self.0
                .saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)),
        )
    }

    /// Returns the time from now until this moment, zero if it has passed.
    pub fn remaining(self) -> std::time::Duration {
        std::time::Duration::from_nanos(self.0.saturating_sub(Self::now().0))
    }
}
