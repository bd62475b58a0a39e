//! Bodies and answers of `/volumes`.

use serde_json::Value;

use crate::config::StringMap;
use crate::wire::{is_zero, wire};

wire! {
    /// A volume, in a list and alone.
    pub struct Volume {
        #[serde(skip_serializing_if = "is_zero")]
        pub created_at: String,
        pub driver: String,
        pub labels: Option<StringMap>,
        pub mountpoint: String,
        pub name: String,
        pub options: Option<StringMap>,
        pub scope: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub status: Option<Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub usage_data: Option<VolumeUsage>,
    }

    /// How much a volume holds and who uses it; `-1` is not counted.
    pub struct VolumeUsage {
        pub size: i64,
        pub ref_count: i64,
    }

    /// The answer to `GET /volumes`.
    pub struct VolumeListResponse {
        pub volumes: Vec<Volume>,
        pub warnings: Option<Vec<String>>,
    }

    /// The body of `POST /volumes/create`.
    pub struct VolumeCreateBody {
        #[serde(skip_serializing_if = "is_zero")]
        pub name: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub driver: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub driver_opts: StringMap,
        #[serde(skip_serializing_if = "is_zero")]
        pub labels: StringMap,
        /// Swarm's volumes; kept to be refused.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub cluster_volume_spec: Option<Value>,
    }
}
