//! One layer on its way: known, mounted or sent, and sent again where it breaks off.

use std::path::PathBuf;
use std::sync::Arc;

use base::Digest;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;

use super::progress::{LayerReport, PushStep};
use super::{Context, PushError, feed};
use crate::manifest::Descriptor;
use crate::registry::{Begun, Outgoing, Session};

/// Attempts of one layer, as Docker makes.
const ATTEMPTS: u32 = 5;
/// Each further pause is longer by so many seconds.
const PAUSE_SECONDS: u32 = 5;
/// Other repositories that are asked for a layer.
const MAX_MOUNTS: usize = 4;

/// A layer to be pushed.
#[derive(Debug, Clone)]
pub(super) struct PushLayer {
    pub(super) diff_id: Digest,
    /// What the store keeps.
    pub(super) blob: Descriptor,
    pub(super) form: Form,
}

/// What the registry gets of a layer.
#[derive(Debug, Clone)]
pub(super) enum Form {
    /// The blob as it is kept.
    Kept,
    /// What gzip makes of it, if that is known from an earlier push.
    Packed(Option<Descriptor>),
}

impl PushLayer {
    /// Returns what the registry is to have, as far as it is known.
    fn known(&self) -> Option<&Descriptor> {
        match &self.form {
            Form::Kept => Some(&self.blob),
            Form::Packed(known) => known.as_ref(),
        }
    }
}

/// Gets a layer to the registry; returns what it has then.
pub(super) async fn push_layer(
    context: &Arc<Context>,
    layer: &PushLayer,
) -> Result<Descriptor, PushError> {
    let report = LayerReport::new(Arc::clone(&context.progress), layer.diff_id);
    if let Some(known) = context.done(&layer.diff_id) {
        report.step(PushStep::Exists);
        return Ok(known);
    }
    let slots = Arc::clone(&context.store.workers().uploads);
    let _slot = match Arc::clone(&slots).try_acquire_owned() {
        Ok(slot) => slot,
        Err(_) => {
            report.step(PushStep::Waiting);
            let slot = slots.acquire_owned().await;
            slot.expect("the semaphore is never closed")
        }
    };
    let pushed = retried(context, Some(&report), || attempt(context, layer, &report)).await?;
    context.note_done(layer.diff_id, pushed.clone());
    Ok(pushed)
}

/// Does `work` until it succeeds, fails for good or has failed too often.
pub(super) async fn retried<T, F: Future<Output = Result<T, PushError>>>(
    context: &Context,
    report: Option<&LayerReport>,
    work: impl Fn() -> F,
) -> Result<T, PushError> {
    let mut failures = 0;
    loop {
        let error = match work().await {
            Err(error) => error,
            done => return done,
        };
        failures += 1;
        if !error.is_transient() || failures == ATTEMPTS {
            return Err(error);
        }
        let text = base::failure::chain(&error);
        tracing::info!(
            error = text,
            failures,
            "a push broke off and is tried again"
        );
        for seconds in (1..=failures * PAUSE_SECONDS).rev() {
            if let Some(report) = report {
                report.step(PushStep::Retrying { seconds });
            }
            tokio::time::sleep(context.second).await;
        }
    }
}

async fn attempt(
    context: &Arc<Context>,
    layer: &PushLayer,
    report: &LayerReport,
) -> Result<Descriptor, PushError> {
    let repository = &context.repository;
    let Some(known) = layer.known() else {
        let session = repository.begin_upload().await?;
        return upload(context, layer, session, report).await;
    };
    if repository.has_blob(&known.digest).await? {
        report.step(PushStep::Exists);
        return Ok(known.clone());
    }
    let mut session = None;
    let others = context
        .store
        .repositories_with(&layer.diff_id, &context.name);
    for from in others.into_iter().take(MAX_MOUNTS) {
        match repository.mount(&known.digest, &from).await {
            Ok(Begun::Mounted) => {
                report.step(PushStep::Mounted { from });
                return Ok(known.clone());
            }
            Ok(Begun::Session(begun)) => session = Some(begun),
            // It is sent then; whatever stands in the way of that is told.
            Err(error) => tracing::debug!(%error, from, "a layer cannot be mounted"),
        }
    }
    let session = match session {
        Some(session) => session,
        None => repository.begin_upload().await?,
    };
    upload(context, layer, session, report).await
}

async fn upload(
    context: &Arc<Context>,
    layer: &PushLayer,
    session: Session,
    report: &LayerReport,
) -> Result<Descriptor, PushError> {
    let sending = Sending {
        path: context.store.layout().blob(&layer.blob.digest),
        blob: layer.blob.clone(),
        report: report.clone(),
    };
    let pushed = match &layer.form {
        Form::Kept => sending.send_kept(context, session).await?,
        Form::Packed(_) => {
            let packed = sending.send_packed(context, session).await?;
            context.store.note_packed(&layer.diff_id, &packed)?;
            packed
        }
    };
    report.step(PushStep::Pushed);
    Ok(pushed)
}

struct Sending {
    path: PathBuf,
    blob: Descriptor,
    report: LayerReport,
}

impl Sending {
    async fn send_kept(self, context: &Context, session: Session) -> Result<Descriptor, PushError> {
        let blob = self.blob.clone();
        let (pieces, body) = body(Some(blob.size));
        let feeder = spawn_blocking(move || {
            let meter = |current| self.report.bytes(current, self.blob.size);
            feed::as_it_is(&self.path, &pieces, &meter)
        });
        let sent = context.repository.send_blob(session, &blob.digest, body);
        let sent = sent.await;
        feeder.await.map_err(PushError::Task)??;
        sent?;
        Ok(blob)
    }

    async fn send_packed(
        self,
        context: &Context,
        session: Session,
    ) -> Result<Descriptor, PushError> {
        let (pieces, body) = body(None);
        let feeder = spawn_blocking(move || {
            let meter = |current| self.report.bytes(current, self.blob.size);
            feed::packed(&self.path, self.blob.digest, &pieces, &meter)
        });
        let sent = context.repository.send_bytes(session, body).await;
        let packed = match (feeder.await.map_err(PushError::Task)?, sent) {
            // Nobody wanted the rest: the registry's answer says why.
            (Err(PushError::Pack(_)), Err(error)) => return Err(error.into()),
            (packed, sent) => {
                let packed = packed?;
                context.repository.end_upload(sent?, &packed.digest).await?;
                packed
            }
        };
        Ok(packed)
    }
}

fn body(length: Option<u64>) -> (mpsc::Sender<Bytes>, Outgoing) {
    let (sender, receiver) = mpsc::channel(feed::PIECES_AHEAD);
    (sender, Outgoing::pieces(receiver, length))
}
