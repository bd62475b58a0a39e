//! The engine's fact that netd acts on: names of a container's networks follow
//! its own.

use serde::{Deserialize, Serialize};

/// A container is called otherwise; the subject is its id.
pub const CONTAINER_RENAMED: &str = "container.renamed";

/// Payload of [`CONTAINER_RENAMED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renamed {
    pub old_name: String,
    pub name: String,
}
