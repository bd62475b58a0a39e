//! The answer to `GET /system/df`.

use serde_json::Value;

use crate::container::ContainerSummary;
use crate::image::ImageSummary;
use crate::volume::Volume;
use crate::wire::{is_zero, wire};

wire! {
    /// What takes room on the disk; a kind that was not asked for is absent.
    pub struct DiskUsageResponse {
        /// Bytes of the layers of all images.
        pub layers_size: i64,
        pub images: Option<Vec<ImageSummary>>,
        pub containers: Option<Vec<ContainerSummary>>,
        pub volumes: Option<Vec<Volume>>,
        pub build_cache: Option<Vec<Value>>,
        #[serde(skip_serializing_if = "is_zero")]
        pub builder_size: i64,
    }
}
