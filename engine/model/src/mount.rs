//! What a container mounts beside its root filesystem.

use base::{Digest, VolumeName};
use serde::{Deserialize, Serialize};

/// One mount of a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountConfig {
    /// An absolute path in the container.
    pub destination: String,
    pub read_only: bool,
    pub source: MountSource,
}

/// Where a mount's content comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MountSource {
    Bind {
        host_path: String,
        propagation: Propagation,
        /// Whether a missing source is made as a directory (`-v` does, `--mount` does not).
        create: bool,
        recursive: bool,
    },
    Volume {
        name: VolumeName,
        copy_up: bool,
        /// Made for this container and removed with it.
        anonymous: bool,
        /// What of the volume is mounted, a relative path; all of it if nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<String>,
    },
    /// The files of an image, which nothing writes to.
    Image {
        /// As the user gave it.
        reference: String,
        /// What it meant when the container was made, and means for good.
        id: Digest,
        /// Diff ids, the lowest layer first.
        layers: Vec<Digest>,
        /// What of the image is mounted, a relative path; all of it if nothing is said.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        subpath: Option<String>,
    },
    Tmpfs {
        size_bytes: Option<u64>,
        mode: Option<u32>,
        /// Further options as given (`exec`, `uid=…`).
        options: Vec<String>,
    },
}

/// Mount propagation of a bind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    #[default]
    Rprivate,
    Private,
    Rshared,
    Shared,
    Rslave,
    Slave,
}

impl Propagation {
    /// Returns the mount option.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rprivate => "rprivate",
            Self::Private => "private",
            Self::Rshared => "rshared",
            Self::Shared => "shared",
            Self::Rslave => "rslave",
            Self::Slave => "slave",
        }
    }

    /// Returns the propagation an option names.
    pub fn from_option(text: &str) -> Option<Self> {
        let all = [
            Self::Rprivate,
            Self::Private,
            Self::Rshared,
            Self::Shared,
            Self::Rslave,
            Self::Slave,
        ];
        all.into_iter()
            .find(|propagation| propagation.as_str() == text)
    }
}
