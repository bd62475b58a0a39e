//! The unit of systemd's that groups may be of.

use serde::{Deserialize, Serialize};

/// Which systemd.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Manager {
    System,
    /// The one of an ordinary user.
    User,
}

/// The unit that a container's groups are of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Unit {
    pub name: String,
    pub slice: String,
    pub manager: Manager,
}
