//! A container's state as the specification and runc print it, which hooks
//! get on their standard input too.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::time::Timestamp;
use serde::Serialize;

use crate::state::{Record, Status};

/// The state of one container.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OciState {
    oci_version: String,
    pub(crate) id: String,
    /// Zero unless the container has a process.
    pub(crate) pid: i32,
    pub(crate) status: Status,
    pub(crate) bundle: PathBuf,
    rootfs: PathBuf,
    pub(crate) created: Timestamp,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    pub(crate) owner: String,
}

impl OciState {
    /// Returns the state of the container of `record`.
    pub(crate) fn new(record: Record, status: Status) -> Self {
        let pid = record.init.map_or(0, |init| init.pid);
        Self {
            oci_version: record.oci_version,
            id: record.id.into(),
            pid: if status == Status::Stopped { 0 } else { pid },
            status,
            bundle: record.bundle,
            rootfs: record.rootfs,
            created: record.created,
            annotations: record.annotations,
            owner: owner_name(record.owner_uid),
        }
    }

    /// Returns the state as JSON on one line.
    pub(crate) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a state always serializes")
    }
}

/// Returns what a hook of a container that is being made is told, as JSON.
pub(crate) fn of_creation(record: &Record, status: Status, pid: i32) -> Vec<u8> {
    let mut state = OciState::new(record.clone(), status);
    state.pid = pid;
    state.to_json()
}

/// Who created it, by name where that is plain; the name service is not asked.
fn owner_name(uid: u32) -> String {
    match uid {
        0 => "root".to_owned(),
        uid => format!("#{uid}"),
    }
}
