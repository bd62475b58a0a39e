//! The layers of one pull: fetched three at a time, unpacked one per core.
//!
//! Only verified bytes reach the parsers, so a layer is unpacked once it is
//! downloaded; with several layers the two overlap.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use base::Digest;
use tokio::sync::RwLock;
use tokio::task::JoinSet;

use super::PullError;
use super::download::{blocking, fetch_blob};
use super::progress::{LayerProgress, LayerStep, Progress};
use crate::install::{InstallRequest, Installed, finish, install};
use crate::layer::LayerError;
use crate::manifest::Descriptor;
use crate::registry::Repository;
use crate::store::{ImageStore, LayerRecord, Turn};

/// What all layers of a pull share.
#[derive(Clone)]
pub(super) struct LayerContext {
    pub(super) store: ImageStore,
    pub(super) repository: Arc<Repository>,
    pub(super) progress: Arc<dyn Progress>,
    cancel: Arc<AtomicBool>,
    /// Read-held by each task and thread that fetches or unpacks.
    working: Arc<RwLock<()>>,
}

/// Stops the threads of a pull that is given up.
pub(super) struct CancelOnDrop(Arc<AtomicBool>);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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
                working: Arc::default(),
            },
            guard,
        )
    }

    /// Ends `tasks` and waits for their threads, so that nothing is left half-done.
    async fn stop(&self, mut tasks: LayerTasks) {
        self.cancel.store(true, Ordering::Relaxed);
        tasks.shutdown().await;
        drop(self.working.write().await);
    }
}

type LayerTasks = JoinSet<Result<(Digest, Installed), PullError>>;

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
    let mut tasks: LayerTasks = JoinSet::new();
    for position in order {
        let (diff_id, blob) = layers[position].clone();
        let context = context.clone();
        tasks.spawn(async move { Ok((diff_id, fetch_layer(&context, diff_id, blob).await?)) });
    }
    let done = match join_all(&mut tasks).await {
        Ok(done) => done,
        Err(error) => {
            context.stop(tasks).await;
            return Err(error);
        }
    };
    let store = context.store.clone();
    let diff_ids: Vec<Digest> = layers.iter().map(|(diff_id, _)| *diff_id).collect();
    blocking(move || finish(&store, &diff_ids, done)).await
}

async fn join_all(tasks: &mut LayerTasks) -> Result<HashMap<Digest, Installed>, PullError> {
    let mut done = HashMap::new();
    while let Some(joined) = tasks.join_next().await {
        let (diff_id, installed) = joined.map_err(PullError::Task)??;
        done.insert(diff_id, installed);
    }
    Ok(done)
}

async fn fetch_layer(
    context: &LayerContext,
    diff_id: Digest,
    blob: Descriptor,
) -> Result<Installed, PullError> {
    let store = &context.store;
    let work = Arc::clone(&context.working).read_owned().await;
    let turn = store.workers().turn(blob.digest, work).await;
    let progress = LayerProgress::new(&*context.progress, blob.digest);
    if let Some(record) = store.layer(&diff_id) {
        progress.step(LayerStep::Exists);
        return Ok(Installed::Committed(record));
    }
    let was_there = store.has_blob(&blob);
    download(context, &blob, &progress, &turn).await?;
    match extract(context, diff_id, &blob, &turn).await {
        // The blob was left by a crash and its end never reached the disk.
        Err(error) if was_there && error.is_damage() => {
            tracing::warn!(blob = %blob.digest, %error, "a blob of the store is damaged and fetched again");
            store.discard_blob(&blob.digest)?;
            download(context, &blob, &progress, &turn).await?;
            extract(context, diff_id, &blob, &turn).await
        }
        other => other,
    }
}

async fn download(
    context: &LayerContext,
    blob: &Descriptor,
    progress: &LayerProgress<'_>,
    turn: &Turn,
) -> Result<(), PullError> {
    let slots = Arc::clone(&context.store.workers().downloads);
    let _slot = slots
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    fetch_blob(&context.store, &context.repository, blob, progress, turn).await
}

async fn extract(
    context: &LayerContext,
    diff_id: Digest,
    blob: &Descriptor,
    turn: &Turn,
) -> Result<Installed, PullError> {
    let slots = Arc::clone(&context.store.workers().unpacks);
    let slot = slots
        .acquire_owned()
        .await
        .expect("the semaphore is never closed");
    let (context, blob, turn) = (context.clone(), blob.clone(), Arc::clone(turn));
    blocking(move || {
        // Held by the thread, which may outlive the pull.
        let _held = (slot, turn);
        extract_now(&context, diff_id, blob)
    })
    .await
}

fn extract_now(
    context: &LayerContext,
    diff_id: Digest,
    blob: Descriptor,
) -> Result<Installed, PullError> {
    let progress = LayerProgress::new(&*context.progress, blob.digest);
    let (digest, total) = (blob.digest, blob.size);
    let report = |current| progress.bytes(LayerStep::Extracting { current, total }, current, total);
    let request = InstallRequest {
        blob,
        expected: Some(diff_id),
        cancel: &context.cancel,
        progress: &report,
    };
    let installed = install(&context.store, request);
    let installed = installed.map_err(|source| PullError::Layer {
        blob: digest,
        source,
    })?;
    progress.step(LayerStep::Complete);
    Ok(installed)
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
