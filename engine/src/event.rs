//! The facts the engine itself appends to the event log.
//!
//! Those about one run have `<id>.<run>` as their subject, those about a
//! container its id, those about an image its id.

use std::collections::BTreeMap;

use engine_image::Image;
use events::{Class, EventType};
pub use netd_api::{CONTAINER_RENAMED, Renamed};
use serde::{Deserialize, Serialize};

/// Bytes of labels that a record about an image has at most.
const MAX_LABELS_BYTES: usize = 16 << 10;

/// The name the engine's events carry as their source.
pub const SOURCE: &str = "engine";

pub const CONTAINER_CREATED: &str = "container.created";
pub const CONTAINER_START_FAILED: &str = "container.start_failed";
pub const CONTAINER_KILLED: &str = "container.killed";
pub const CONTAINER_STOPPED: &str = "container.stopped";
pub const CONTAINER_RESTARTED: &str = "container.restarted";
pub const CONTAINER_PAUSED: &str = "container.paused";
pub const CONTAINER_RESUMED: &str = "container.resumed";
pub const CONTAINER_UPDATED: &str = "container.updated";
pub const CONTAINER_ARCHIVED: &str = "container.archived";
pub const CONTAINER_EXTRACTED: &str = "container.extracted";
pub const CONTAINER_EXPORTED: &str = "container.exported";
pub const CONTAINER_COMMITTED: &str = "container.committed";
pub const CONTAINER_ATTACHED: &str = "container.attached";
pub const CONTAINER_REMOVED: &str = "container.removed";
pub const CONTAINER_HEALTH: &str = "container.health";
pub const EXEC_CREATED: &str = "exec.created";
pub const IMAGE_PULLED: &str = "image.pulled";
pub const IMAGE_PUSHED: &str = "image.pushed";
pub const IMAGE_TAGGED: &str = "image.tagged";
pub const IMAGE_UNTAGGED: &str = "image.untagged";
pub const IMAGE_DELETED: &str = "image.deleted";
pub const IMAGE_LOADED: &str = "image.loaded";
pub const IMAGE_SAVED: &str = "image.saved";
pub const IMAGE_IMPORTED: &str = "image.imported";
pub const API_REFUSED: &str = "api.refused";

const fn fact(kind: &'static str, payload: &'static str) -> EventType {
    EventType {
        kind,
        class: Class::Fact,
        writer: "engine",
        payload,
        readers: "engine",
    }
}

/// The event types of one package.
#[derive(Debug, Clone, Copy)]
pub struct EventTable {
    pub package: &'static str,
    pub events: &'static [EventType],
}

/// Every event type there is, by the package that defines it.
pub const TABLES: &[EventTable] = &[
    EventTable {
        package: "engine",
        events: EVENTS,
    },
    EventTable {
        package: "engine-shim-api",
        events: engine_shim_api::event::EVENTS,
    },
    EventTable {
        package: "netd-api",
        events: netd_api::EVENTS,
    },
    EventTable {
        package: "volumed-api",
        events: volumed_api::EVENTS,
    },
    EventTable {
        package: "events",
        events: events::EVENTS,
    },
];

/// Every type of event that the engine writes.
pub const EVENTS: &[EventType] = &[
    fact(CONTAINER_CREATED, "ContainerNamed"),
    fact(CONTAINER_START_FAILED, "StartFailed"),
    fact(CONTAINER_KILLED, "Killed"),
    fact(CONTAINER_STOPPED, "{}"),
    fact(CONTAINER_RESTARTED, "{}"),
    fact(CONTAINER_PAUSED, "{}"),
    fact(CONTAINER_RESUMED, "{}"),
    fact(CONTAINER_UPDATED, "{}"),
    fact(CONTAINER_ARCHIVED, "{}"),
    fact(CONTAINER_EXTRACTED, "{}"),
    fact(CONTAINER_EXPORTED, "{}"),
    fact(CONTAINER_COMMITTED, "Committed"),
    EventType {
        readers: "engine, netd",
        ..fact(CONTAINER_RENAMED, "Renamed")
    },
    fact(CONTAINER_ATTACHED, "{}"),
    fact(CONTAINER_REMOVED, "ContainerNamed"),
    fact(CONTAINER_HEALTH, "Health"),
    fact(EXEC_CREATED, "ExecCreated"),
    fact(IMAGE_PULLED, "ImageNamed"),
    fact(IMAGE_PUSHED, "ImageNamed"),
    fact(IMAGE_TAGGED, "ImageNamed"),
    fact(IMAGE_UNTAGGED, "ImageNamed"),
    fact(IMAGE_DELETED, "ImageNamed"),
    fact(IMAGE_LOADED, "ImageNamed"),
    fact(IMAGE_SAVED, "ImageNamed"),
    fact(IMAGE_IMPORTED, "ImageNamed"),
    EventType {
        readers: "people",
        ..fact(API_REFUSED, "Refused")
    },
];

/// What a container is called, for readers who come after it is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ContainerNamed {
    pub name: String,
    pub image: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// Payload of [`CONTAINER_START_FAILED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StartFailed {
    pub message: String,
    pub exit_code: i32,
}

/// Payload of [`CONTAINER_KILLED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Killed {
    pub signal: u32,
}

/// Payload of [`CONTAINER_COMMITTED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Committed {
    /// Its id.
    pub image: String,
    /// Its name; empty where it has none.
    pub reference: String,
    pub comment: String,
}

/// Payload of [`CONTAINER_HEALTH`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    pub status: engine_model::HealthStatus,
}

/// Payload of [`EXEC_CREATED`]. The arguments stay out of the log: they may
/// hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecCreated {
    pub exec: String,
}

/// Payload of the image events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageNamed {
    pub name: String,
    /// Those of the image, if they are not too many for a record.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
}

impl ImageNamed {
    /// Returns what is said of `image` under `name`.
    pub fn new(name: impl Into<String>, image: &Image) -> Self {
        let labels = image.labels();
        let bytes: usize = labels
            .iter()
            .map(|(key, text)| key.len() + text.len())
            .sum();
        let is_small = bytes <= MAX_LABELS_BYTES;
        Self {
            name: name.into(),
            labels: labels.into_iter().filter(|_| is_small).collect(),
        }
    }

    /// Returns what is said of an image that is gone.
    pub fn gone(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            labels: BTreeMap::new(),
        }
    }
}

/// Payload of [`API_REFUSED`]; its subject is `uid:<uid>`, `cn:<name>`, `loopback`
/// or `metrics`. The query stays out of the log: it may hold secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Of a client of the unix socket, as it was when it connected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<i32>,
    /// Of a TLS client's certificate.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub common_name: Option<String>,
    pub policy: String,
    pub method: String,
    pub path: String,
    pub reason: String,
    /// Refusals of this client since the last one recorded: there were too many.
    pub unrecorded: u64,
}

#[cfg(test)]
mod tests;
