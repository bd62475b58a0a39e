//! The kernel's netlink interfaces, synchronous and in-process.
//!
//! `base::netlink` frames messages, `route` asks rtnetlink for links, addresses
//! and routes. nf_tables' messages are in [`crate::firewall`].

pub mod route;
pub mod sublink;

use std::io;

/// A request the kernel refused.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action}")]
pub struct NetlinkError {
    /// What was attempted, on what.
    pub action: String,
    #[source]
    pub source: io::Error,
}

impl NetlinkError {
    /// Returns the kernel's error number, 0 if the failure was not the kernel's.
    pub fn errno(&self) -> i32 {
        self.source.raw_os_error().unwrap_or(0)
    }
}

/// Adds what was attempted to an I/O error.
pub(crate) trait NetlinkContext<T> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, NetlinkError>;
}

impl<T> NetlinkContext<T> for io::Result<T> {
    fn doing(self, action: impl FnOnce() -> String) -> Result<T, NetlinkError> {
        self.map_err(|source| NetlinkError {
            action: action(),
            source,
        })
    }
}
