//! The layers of one pull: fetched three at a time, unpacked one per core.
//!
//! Only verified bytes reach the parsers, so a layer is unpacked once it is
//! downloaded; with several layers the two overlap.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::Digest;
use tokio::task::JoinSet;

use super::PullError;
use super::download::{blocking, fetch_blob};
use super::progress::{LayerProgress, LayerStep, Progress};
use crate::layer::{LayerError, UnpackRequest, Unpacked, inherit_directories, unpack};
use crate::manifest::Descriptor;
use crate::registry::Repository;
use crate::store::{ImageStore, LayerRecord, LayerWorkspace};

/// What all layers of a pull share.
#[derive(Clone)]
pub(super) struct LayerContext {
    pub(super) store: ImageStore,
    pub(super) repository: Arc<Repository>,
    pub(super) progress: Arc<dyn Progress>,
    cancel: Arc<AtomicBool>,
}

/// Stops the threads of a pull that is given up.
pub(super) struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A layer that is unpacked but waits for those below it.
struct Waiting {
    workspace: LayerWorkspace,
    unpacked: Unpacked,
    record: LayerRecord,
}

enum Outcome {
    Committed(LayerRecord),
    Waiting(Box<Waiting>),
}

impl LayerContext {
    pub(super) fn new(
        store: ImageStore,
        repository: Arc<Repository>,
        progress: Arc<dyn Progress>,
    ) -> (Self, CancelOnDrop) {
        let cancel = Arc::new(AtomicBool::new(false));
        let guard = CancelOnDrop(Arc::clone(&cancel));
        (
            Self {
                store,
                repository,
                progress,
                cancel,
            },
            guard,
        )
    }
}

/// Gets all of `layers`, lowest first, into the store; returns what they are.
pub(super) async fn fetch_layers(
    context: &LayerContext,
    layers: &[(Digest, Descriptor)],
) -> Result<Vec<LayerRecord>, PullError> {
    let mut order: Vec<usize> = Vec::new();
    for (position, (diff_id, blob)) in layers.iter().enumerate() {
        if layers[..position]
            .iter()
            .all(|(earlier, _)| earlier != diff_id)
        {
            LayerProgress::new(&*context.progress, blob.digest).step(LayerStep::Waiting);
            order.push(position);
        }
    }
    // The longest first, so that no core idles while one layer is left.
    order.sort_by_key(|position| std::cmp::Reverse(layers[*position].1.size));
    let mut tasks: JoinSet<Result<(Digest, Outcome), PullError>> = JoinSet::new();
    for position in order {
        let (diff_id, blob) = layers[position].clone();
        let context = context.clone();
        tasks.spawn(async move { Ok((diff_id, fetch_layer(&context, diff_id, blob).await?)) });
    }
    let mut done: Vec<(Digest, Outcome)> = Vec::new();
    while let Some(joined) = tasks.join_next().await {
        done.push(joined.map_err(PullError::Task)??);
    }
    finish(context, layers, done).await
}

/// Commits what waited, lowest first, and puts the records in order.
async fn finish(
    context: &LayerContext,
    layers: &[(Digest, Descriptor)],
    mut done: Vec<(Digest, Outcome)>,
) -> Result<Vec<LayerRecord>, PullError> {
    let mut records: Vec<LayerRecord> = Vec::new();
    for (position, (diff_id, blob)) in layers.iter().enumerate() {
        let Some(found) = done.iter().position(|(id, _)| id == diff_id) else {
            let earlier = records.iter().find(|record| record.diff_id == *diff_id);
            records.push(
                earlier
                    .expect("every distinct layer has an outcome")
                    .clone(),
            );
            continue;
        };
        let record = match done.swap_remove(found).1 {
            Outcome::Committed(record) => record,
            Outcome::Waiting(waiting) => {
                let below = layers[..position].iter().rev();
                let below = below.map(|(id, _)| context.store.layer_path(id)).collect();
                let record = commit_waiting(context, *waiting, below).await?;
                LayerProgress::new(&*context.progress, blob.digest).step(LayerStep::Complete);
                record
            }
        };
        records.push(record);
    }
    Ok(records)
}

async fn commit_waiting(
    context: &LayerContext,
    waiting: Waiting,
    below: Vec<PathBuf>,
) -> Result<LayerRecord, PullError> {
    let store = context.store.clone();
    blocking(move || {
        let Waiting {
            workspace,
            unpacked,
            record,
        } = waiting;
        inherit_directories(&unpacked.root, &unpacked.implied, &below)?;
        store.commit_layer(&unpacked.root, &record)?;
        drop(workspace);
        Ok::<_, PullError>(record)
    })
    .await
}

async fn fetch_layer(
    context: &LayerContext,
    diff_id: Digest,
    blob: Descriptor,
) -> Result<Outcome, PullError> {
    let store = &context.store;
    let _turn = store.workers().turn(blob.digest).await;
    let progress = LayerProgress::new(&*context.progress, blob.digest);
    if let Some(record) = store.layer(&diff_id) {
        progress.step(LayerStep::Exists);
        return Ok(Outcome::Committed(record));
    }
    let was_there = store.has_blob(&blob);
    download(context, &blob, &progress).await?;
    match extract(context, diff_id, &blob).await {
        // The blob was left by a crash and its end never reached the disk.
        Err(error) if was_there && error.is_damage() => {
            tracing::warn!(blob = %blob.digest, %error, "a blob of the store is damaged and fetched again");
            store.discard_blob(&blob.digest)?;
            download(context, &blob, &progress).await?;
            extract(context, diff_id, &blob).await
        }
        other => other,
    }
}

async fn download(
    context: &LayerContext,
    blob: &Descriptor,
    progress: &LayerProgress<'_>,
) -> Result<(), PullError> {
    let slots = Arc::clone(&context.store.workers().downloads);
    let _slot = slots
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    fetch_blob(&context.store, &context.repository, blob, progress).await
}

async fn extract(
    context: &LayerContext,
    diff_id: Digest,
    blob: &Descriptor,
) -> Result<Outcome, PullError> {
    let slots = Arc::clone(&context.store.workers().unpacks);
    let slot = slots
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let (context, blob) = (context.clone(), blob.clone());
    blocking(move || {
        let _slot = slot;
        extract_now(&context, diff_id, blob)
    })
    .await
}

fn extract_now(
    context: &LayerContext,
    diff_id: Digest,
    blob: Descriptor,
) -> Result<Outcome, PullError> {
    let store = &context.store;
    let workspace = store.layer_workspace()?;
    let progress = LayerProgress::new(&*context.progress, blob.digest);
    let total = blob.size;
    let report = |current| progress.bytes(LayerStep::Extracting { current, total }, current, total);
    let unpacked = unpack(&UnpackRequest {
        blob: &store.layout().blob(&blob.digest),
        target: &workspace.path,
        expected: Some(diff_id),
        limits: store.limits(),
        cancel: &context.cancel,
        progress: &report,
    });
    let unpacked = unpacked.map_err(|source| PullError::Layer {
        blob: blob.digest,
        source,
    })?;
    let record = LayerRecord {
        diff_id,
        size_bytes: unpacked.size_bytes,
        blob,
    };
    if !unpacked.implied.is_empty() {
        return Ok(Outcome::Waiting(Box::new(Waiting {
            workspace,
            unpacked,
            record,
        })));
    }
    store.commit_layer(&unpacked.root, &record)?;
    progress.step(LayerStep::Complete);
    Ok(Outcome::Committed(record))
}

impl PullError {
    /// Returns whether the bytes of a layer, not the archive in them, are bad.
    fn is_damage(&self) -> bool {
        matches!(
            self,
            Self::Layer {
                source: LayerError::Inflate(_) | LayerError::DiffId { .. } | LayerError::Archive(_),
                ..
            }
        )
    }
}
