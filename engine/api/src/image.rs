//! Answers of `/images`; pull and load answer with [`crate::progress`] messages.

use crate::config::{Healthcheck, StringMap, StringSet};
use crate::inspect::GraphDriver;
use crate::wire::{StringList, is_zero, wire};

wire! {
    /// One row of `GET /images/json`.
    pub struct ImageSummary {
        pub id: String,
        pub parent_id: String,
        pub repo_tags: Vec<String>,
        pub repo_digests: Vec<String>,
        /// Seconds since 1970.
        pub created: i64,
        pub size: i64,
        /// `-1` is not counted.
        pub shared_size: i64,
        pub labels: Option<StringMap>,
        /// `-1` is not counted.
        pub containers: i64,
    }

    /// The answer to `GET /images/{name}/json`.
    pub struct ImageInspect {
        pub id: String,
        pub repo_tags: Vec<String>,
        pub repo_digests: Vec<String>,
        pub parent: String,
        pub comment: String,
        pub created: String,
        pub docker_version: String,
        pub author: String,
        pub config: ImageConfig,
        pub architecture: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub variant: String,
        pub os: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub os_version: String,
        pub size: i64,
        pub graph_driver: GraphDriver,
        #[serde(rename = "RootFS")]
        pub root_fs: RootFs,
        pub metadata: ImageMetadata,
    }

    /// What containers of an image run unless they say something else.
    pub struct ImageConfig {
        pub user: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub exposed_ports: StringSet,
        pub env: Option<Vec<String>>,
        pub cmd: Option<StringList>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub healthcheck: Option<Healthcheck>,
        #[serde(skip_serializing_if = "is_zero")]
        pub args_escaped: bool,
        pub volumes: Option<StringSet>,
        pub working_dir: String,
        pub entrypoint: Option<StringList>,
        pub on_build: Option<Vec<String>>,
        pub labels: Option<StringMap>,
        #[serde(skip_serializing_if = "is_zero")]
        pub stop_signal: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub shell: Vec<String>,
    }

    /// The layers of an image, as diff ids.
    pub struct RootFs {
        pub r#type: String,
        pub layers: Vec<String>,
    }

    /// What the engine itself notes about an image.
    pub struct ImageMetadata {
        pub last_tag_time: String,
    }

    /// One row of `GET /images/{name}/history`.
    pub struct ImageHistory {
        pub id: String,
        pub created: i64,
        pub created_by: String,
        pub tags: Option<Vec<String>>,
        pub size: i64,
        pub comment: String,
    }

    /// One step of `DELETE /images/{name}`: one of the two is set.
    pub struct ImageDeleteResponse {
        #[serde(skip_serializing_if = "is_zero")]
        pub untagged: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub deleted: String,
    }
}
