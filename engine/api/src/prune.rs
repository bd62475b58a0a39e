//! Answers of the prune endpoints.

use crate::image::ImageDeleteResponse;
use crate::wire::wire;

wire! {
    /// The answer to `POST /build/prune`.
    pub struct BuildCachePruneResponse {
        pub caches_deleted: Option<Vec<String>>,
        pub space_reclaimed: u64,
    }

    /// The answer to `POST /containers/prune`.
    pub struct ContainersPruneResponse {
        pub containers_deleted: Option<Vec<String>>,
        pub space_reclaimed: u64,
    }

    /// The answer to `POST /images/prune`.
    pub struct ImagesPruneResponse {
        pub images_deleted: Option<Vec<ImageDeleteResponse>>,
        pub space_reclaimed: u64,
    }

    /// The answer to `POST /networks/prune`.
    pub struct NetworksPruneResponse {
        pub networks_deleted: Option<Vec<String>>,
    }

    /// The answer to `POST /volumes/prune`.
    pub struct VolumesPruneResponse {
        pub volumes_deleted: Option<Vec<String>>,
        pub space_reclaimed: u64,
    }
}
