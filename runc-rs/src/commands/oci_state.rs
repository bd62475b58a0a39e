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
pub(super) struct OciState {
    oci_version: String,
    pub(super) id: String,
    /// Zero unless the container has a process.
    pub(super) pid: i32,
    pub(super) status: Status,
    pub(super) bundle: PathBuf,
    rootfs: PathBuf,
    pub(super) created: Timestamp,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
    pub(super) owner: String,
}

impl OciState {
    /// Returns the state of the container of `record`.
    pub(super) fn new(record: Record, status: Status) -> Self {
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
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a state always serializes")
    }
}

/// Who created it, by name where that is plain; the name service is not asked.
fn owner_name(uid: u32) -> String {
    match uid {
        0 => "root".to_owned(),
        uid => format!("#{uid}"),
    }
}
