//! Fetches one blob into the store, through breaks of the connection.

use std::sync::Arc;
use std::time::Duration;

use base::PathError;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::PullError;
use super::ingest::Ingest;
use super::progress::{LayerProgress, LayerStep};
use crate::manifest::Descriptor;
use crate::registry::{BlobStream, Repository};
use crate::store::{ImageStore, Turn};

/// Attempts without a byte of progress between them.
const ATTEMPTS: u32 = 5;
/// Attempts in all, against a server that sends a byte at a time.
const MAX_ATTEMPTS: u32 = 50;
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Pieces of the body that wait for the disk.
const PIECES_AHEAD: usize = 32;

/// Fetches `blob` unless the store has it; afterwards it is verified and there.
pub(super) async fn fetch_blob(
    store: &ImageStore,
    repository: &Repository,
    blob: &Descriptor,
    progress: &LayerProgress<'_>,
    turn: &Turn,
) -> Result<(), PullError> {
    if store.has_blob(blob) {
        return Ok(());
    }
    let path = store.layout().ingest(&blob.digest);
    let size = blob.size;
    let turn = Some(Arc::clone(turn));
    let mut ingest = blocking(move || Ingest::open(&path, size, turn)).await?;
    let was_resumed = ingest.length() > 0;
    let space = store.check_space(size - ingest.length());
    space.map_err(|source| PullError::Layer {
        blob: blob.digest,
        source,
    })?;
    ingest = complete(repository, blob, ingest, progress).await?;
    if ingest.digest() != blob.digest && was_resumed {
        // The beginning, of an earlier process, was damaged.
        ingest.restart()?;
        ingest = complete(repository, blob, ingest, progress).await?;
    }
    let actual = ingest.digest();
    if actual != blob.digest {
        ingest.restart()?;
        return Err(PullError::BlobDigest {
            expected: blob.digest,
            actual,
        });
    }
    store.commit_ingest(&blob.digest)?;
    progress.step(LayerStep::Downloaded);
    Ok(())
}

/// Appends to `ingest` until all bytes are there.
async fn complete(
    repository: &Repository,
    blob: &Descriptor,
    mut ingest: Ingest,
    progress: &LayerProgress<'_>,
) -> Result<Ingest, PullError> {
    let mut failures = 0;
    for _ in 0..MAX_ATTEMPTS {
        if ingest.length() == blob.size {
            return Ok(ingest);
        }
        let before = ingest.length();
        let error = match repository.blob(&blob.digest, before).await {
            Ok(stream) => {
                let ended;
                (ingest, ended) = receive(stream, blob, ingest, progress).await?;
                match ended {
                    Ok(()) if ingest.length() == blob.size => return Ok(ingest),
                    Ok(()) => PullError::BlobShort {
                        digest: blob.digest,
                        size: blob.size,
                    },
                    Err(error) => PullError::from(error),
                }
            }
            Err(error) => PullError::from(error),
        };
        failures = if ingest.length() > before {
            1
        } else {
            failures + 1
        };
        if !error.is_transient() || failures >= ATTEMPTS {
            return Err(error);
        }
        if before > 0 && ingest.length() == before && is_range_refused(&error) {
            ingest.restart()?;
        }
        let pause = FIRST_PAUSE * 2_u32.pow(failures - 1);
        tracing::debug!(blob = %blob.digest, %error, ?pause, "download broke off");
        progress.step(LayerStep::Retrying { pause });
        tokio::time::sleep(pause).await;
    }
    Err(PullError::BlobShort {
        digest: blob.digest,
        size: blob.size,
    })
}

fn is_range_refused(error: &PullError) -> bool {
    use crate::registry::RegistryError as E;
    match error {
        PullError::Registry(E::Range { .. }) => true,
        PullError::Registry(E::Status { status, .. }) => status.as_u16() == 416,
        _ => false,
    }
}

type Received = (Ingest, Result<(), crate::registry::RegistryError>);

/// Writes the body behind the network, so that a slow disk does not stop it at once.
async fn receive(
    mut stream: BlobStream,
    blob: &Descriptor,
    mut ingest: Ingest,
    progress: &LayerProgress<'_>,
) -> Result<Received, PullError> {
    if stream.offset != ingest.length() {
        ingest.restart()?;
    }
    let mut received = ingest.length();
    let (to_disk, mut pieces) = mpsc::channel::<Bytes>(PIECES_AHEAD);
    let writer = spawn_blocking(move || -> Result<Ingest, PathError> {
        while let Some(piece) = pieces.blocking_recv() {
            ingest.append(&piece)?;
        }
        Ok(ingest)
    });
    let mut ended = Ok(());
    loop {
        let piece = match stream.answer.chunk().await {
            Ok(Some(piece)) => piece,
            Ok(None) => break,
            Err(error) => {
                ended = Err(error);
                break;
            }
        };
        received += piece.len() as u64;
        if received > blob.size {
            return Err(PullError::BlobLong {
                digest: blob.digest,
                size: blob.size,
            });
        }
        if to_disk.send(piece).await.is_err() {
            // The writer failed; it says why.
            break;
        }
        let step = LayerStep::Downloading {
            current: received,
            total: blob.size,
        };
        progress.bytes(step, received, blob.size);
    }
    drop(to_disk);
    let ingest = writer.await.map_err(PullError::Task)??;
    Ok((ingest, ended))
}

/// Runs `work` where it may block.
pub(super) async fn blocking<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, PullError>
where
    T: Send + 'static,
    E: Send + 'static,
    PullError: From<E>,
{
    Ok(spawn_blocking(work).await.map_err(PullError::Task)??)
}
