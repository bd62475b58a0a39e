//! Turns blobs of the store into layers of the store, whoever brought them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;

use base::{Digest, PathError};

use crate::layer::{LayerError, UnpackRequest, Unpacked, inherit_directories, unpack};
use crate::manifest::Descriptor;
use crate::store::{ImageStore, LayerRecord, LayerWorkspace};

/// A blob of the store to be unpacked.
pub(crate) struct InstallRequest<'a> {
    pub(crate) blob: Descriptor,
    /// What its archive must hash to, if that is known.
    pub(crate) expected: Option<Digest>,
    pub(crate) cancel: &'a AtomicBool,
    /// Called with the compressed bytes used so far.
    pub(crate) progress: &'a (dyn Fn(u64) + Sync),
}

/// A layer that is on disk, committed or nearly so.
pub(crate) enum Installed {
    Committed(LayerRecord),
    Waiting(Box<WaitingLayer>),
}

/// An unpacked layer that needs to look at the layers below it.
pub(crate) struct WaitingLayer {
    workspace: LayerWorkspace,
    unpacked: Unpacked,
    record: LayerRecord,
}

/// Unpacks a blob and commits the layer, unless it depends on those below.
pub(crate) fn install(
    store: &ImageStore,
    request: InstallRequest<'_>,
) -> Result<Installed, LayerError> {
    let workspace = store.layer_workspace()?;
    let blob = request.blob;
    let unpacked = unpack(&UnpackRequest {
        blob: &store.layout().blob(&blob.digest),
        target: &workspace.path,
        expected: request.expected,
        limits: store.limits(),
        cancel: request.cancel,
        progress: request.progress,
    })?;
    let (diff_id, size_bytes) = (unpacked.diff_id, unpacked.size_bytes);
    let record = LayerRecord {
        diff_id,
        size_bytes,
        blob,
        packed: None,
    };
    if unpacked.implied.is_empty() {
        store.commit_layer(&unpacked.root, &record)?;
        return Ok(Installed::Committed(record));
    }
    let waiting = WaitingLayer {
        workspace,
        unpacked,
        record,
    };
    Ok(Installed::Waiting(Box::new(waiting)))
}

/// Commits what waits, lowest first; returns the records in the order of `diff_ids`.
///
/// `done` has an entry for each distinct one of `diff_ids`.
pub(crate) fn finish(
    store: &ImageStore,
    diff_ids: &[Digest],
    mut done: HashMap<Digest, Installed>,
) -> Result<Vec<LayerRecord>, PathError> {
    let mut records: Vec<LayerRecord> = Vec::with_capacity(diff_ids.len());
    for (position, diff_id) in diff_ids.iter().enumerate() {
        let record = match done.remove(diff_id) {
            Some(Installed::Committed(record)) => record,
            Some(Installed::Waiting(waiting)) => {
                let below = diff_ids[..position].iter().rev();
                let below: Vec<PathBuf> = below.map(|id| store.layer_path(id)).collect();
                waiting.commit(store, &below)?
            }
            None => {
                let earlier = records.iter().find(|record| record.diff_id == *diff_id);
                earlier
                    .expect("a repeated layer has an earlier record")
                    .clone()
            }
        };
        records.push(record);
    }
    Ok(records)
}

impl WaitingLayer {
    /// Returns what the layer is.
    pub(crate) fn record(&self) -> &LayerRecord {
        &self.record
    }

    fn commit(self, store: &ImageStore, below: &[PathBuf]) -> Result<LayerRecord, PathError> {
        let root = &self.unpacked.root;
        inherit_directories(root, &self.unpacked.implied, below)?;
        store.commit_layer(root, &self.record)?;
        drop(self.workspace);
        Ok(self.record)
    }
}
