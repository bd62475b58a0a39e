//! Mounts, as they are asked for and as they are reported.

use crate::config::StringMap;
use crate::wire::{is_zero, wire};

wire! {
    /// A mount a client asks for (`--mount`).
    pub struct Mount {
        /// `bind`, `volume`, `tmpfs` or `image`; Docker knows `npipe` and `cluster` too.
        #[serde(skip_serializing_if = "is_zero")]
        pub r#type: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub source: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub target: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub read_only: bool,
        #[serde(skip_serializing_if = "is_zero")]
        pub consistency: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub bind_options: Option<BindOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub volume_options: Option<VolumeOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub tmpfs_options: Option<TmpfsOptions>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub image_options: Option<ImageOptions>,
    }

    /// What only a bind can say.
    pub struct BindOptions {
        #[serde(skip_serializing_if = "is_zero")]
        pub propagation: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub non_recursive: bool,
        #[serde(skip_serializing_if = "is_zero")]
        pub create_mountpoint: bool,
        #[serde(skip_serializing_if = "is_zero")]
        pub read_only_non_recursive: bool,
        #[serde(skip_serializing_if = "is_zero")]
        pub read_only_force_recursive: bool,
    }

    /// What only a volume can say.
    pub struct VolumeOptions {
        #[serde(skip_serializing_if = "is_zero")]
        pub no_copy: bool,
        #[serde(skip_serializing_if = "is_zero")]
        pub labels: StringMap,
        #[serde(skip_serializing_if = "is_zero")]
        pub subpath: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub driver_config: Option<DriverConfig>,
    }

    /// The driver of a volume that is made on first use.
    pub struct DriverConfig {
        #[serde(skip_serializing_if = "is_zero")]
        pub name: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub options: StringMap,
    }

    /// What only a tmpfs can say.
    pub struct TmpfsOptions {
        #[serde(skip_serializing_if = "is_zero")]
        pub size_bytes: i64,
        /// File mode bits.
        #[serde(skip_serializing_if = "is_zero")]
        pub mode: u32,
        #[serde(skip_serializing_if = "is_zero")]
        pub options: Vec<Vec<String>>,
    }

    /// What only an image can say.
    pub struct ImageOptions {
        /// A path below the image's root.
        #[serde(skip_serializing_if = "is_zero")]
        pub subpath: String,
    }

    /// A mount a container has.
    pub struct MountPoint {
        #[serde(skip_serializing_if = "is_zero")]
        pub r#type: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub name: String,
        pub source: String,
        pub destination: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub driver: String,
        pub mode: String,
        #[serde(rename = "RW")]
        pub rw: bool,
        pub propagation: String,
    }
}
