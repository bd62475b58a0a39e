//! Reading what a container has written.

use std::path::PathBuf;

use super::Container;

/// Returns the directory that the shim writes a container's log to.
pub fn directory(container: &Container) -> PathBuf {
    container.directory().join("log")
}
