//! Named volumes.

use std::collections::BTreeMap;

use base::{Timestamp, VolumeName};
use events::RequestBody;
use serde::{Deserialize, Serialize};

/// A volume as `<root>/volumes/<name>/volume.json` holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeConfig {
    pub name: VolumeName,
    /// `local`.
    pub driver: String,
    pub created: Timestamp,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

/// Makes a volume; one that exists with the same driver and options is returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateVolume {
    pub name: VolumeName,
    pub driver: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
}

impl RequestBody for CreateVolume {
    const KIND: &'static str = "volume.create";
    const REPLY: &'static str = "volume.created";
    const FAILED: &'static str = "volume.create_failed";
    type Reply = VolumeConfig;
}

/// Removes a volume and its data; one that a run holds: conflict. Stopped
/// containers that name it are the engine's to check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveVolume {
    pub name: VolumeName,
}

/// The volume is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRemoved {
    /// What its data took on disk.
    pub size_bytes: u64,
}

impl RequestBody for RemoveVolume {
    const KIND: &'static str = "volume.remove";
    const REPLY: &'static str = "volume.removed";
    const FAILED: &'static str = "volume.remove_failed";
    type Reply = VolumeRemoved;
}
