//! Bodies and answers of `/containers`, but inspect: list, create, wait, top.

use serde::{Deserialize, Serialize};

use crate::config::{ContainerConfig, StringMap};
use crate::host_config::HostConfig;
use crate::mount::MountPoint;
use crate::network::{EndpointSettings, NetworkingConfig};
use crate::wire::{is_zero, null_is_default, wire};

/// The body of `POST /containers/create`: a `Config` with two objects more.
// Not by `wire!`: a flattened field read through an `Option` would turn every
// error below it into a silent default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct ContainerCreateBody {
    #[serde(flatten)]
    pub config: ContainerConfig,
    #[serde(default, deserialize_with = "null_is_default")]
    pub host_config: HostConfig,
    #[serde(default, deserialize_with = "null_is_default")]
    pub networking_config: NetworkingConfig,
}

wire! {
    /// The answer to `POST /containers/create`.
    pub struct ContainerCreateResponse {
        pub id: String,
        pub warnings: Vec<String>,
    }

    /// The answer to `POST /containers/{id}/update`.
    pub struct ContainerUpdateResponse {
        pub warnings: Option<Vec<String>>,
    }

    /// The answer to `POST /commit`.
    pub struct CommitResponse {
        pub id: String,
    }

    /// One row of `GET /containers/json`.
    pub struct ContainerSummary {
        pub id: String,
        /// Each begins with a slash.
        pub names: Vec<String>,
        pub image: String,
        #[serde(rename = "ImageID")]
        pub image_id: String,
        pub command: String,
        /// Seconds since 1970.
        pub created: i64,
        pub ports: Vec<Port>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_rw: Option<i64>,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_root_fs: Option<i64>,
        /// Bytes of the log. Ours: Docker counts logs nowhere.
        #[serde(skip_serializing_if = "Option::is_none")]
        pub size_log: Option<i64>,
        pub labels: StringMap,
        pub state: String,
        /// For people: `Up 3 minutes (healthy)`.
        pub status: String,
        pub host_config: SummaryHostConfig,
        pub network_settings: SummaryNetworkSettings,
        pub mounts: Vec<MountPoint>,
    }

    /// The part of `HostConfig` that a list shows.
    pub struct SummaryHostConfig {
        #[serde(skip_serializing_if = "is_zero")]
        pub network_mode: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub annotations: StringMap,
    }

    /// The part of `NetworkSettings` that a list shows.
    pub struct SummaryNetworkSettings {
        pub networks: std::collections::BTreeMap<String, EndpointSettings>,
    }

    /// A port of a running container in a list.
    pub struct Port {
        #[serde(rename = "IP", skip_serializing_if = "is_zero")]
        pub ip: String,
        pub private_port: u16,
        #[serde(skip_serializing_if = "is_zero")]
        pub public_port: u16,
        pub r#type: String,
    }

    /// The answer to `POST /containers/{id}/wait`.
    pub struct WaitResponse {
        pub status_code: i64,
        #[serde(skip_serializing_if = "Option::is_none")]
        pub error: Option<WaitError>,
    }

    /// Why a wait ended without an exit.
    pub struct WaitError {
        #[serde(skip_serializing_if = "is_zero")]
        pub message: String,
    }

    /// The answer to `GET /containers/{id}/top`.
    pub struct TopResponse {
        pub titles: Vec<String>,
        pub processes: Vec<Vec<String>>,
    }
}
