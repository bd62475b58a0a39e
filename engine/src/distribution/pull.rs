//! Pulling one tag of a repository, or all of them.

use std::sync::Arc;

use base::{Digest, Failure, FailureKind};
use engine_image::{
    Credential, LayerStep, Progress, PullError, PullEvent, PullRequest, PullStatus, Reference,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{MESSAGES_AHEAD, access, registry_failure};
use crate::Engine;
use crate::error::{Result, not_found};
use crate::event::{IMAGE_PULLED, ImageNamed};

/// What there is to tell of a pull.
#[derive(Debug, Clone)]
pub enum PullNews {
    /// The registry has the image: what follows is about it.
    Found(Reference),
    /// A layer went on.
    Layer { blob: Digest, step: LayerStep },
    /// The image that was found is here.
    Pulled(Digest),
}

/// Begins a pull; its news arrive at the receiver, Docker's last line at the handle.
/// A reference with neither tag nor digest means every tag.
pub fn pull(
    engine: &Arc<Engine>,
    mut request: PullRequest,
    credential: Option<Credential>,
) -> (mpsc::Receiver<PullNews>, JoinHandle<Result<String>>) {
    request.access = access(engine, request.reference.domain(), credential);
    let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
    let engine = engine.clone();
    let work = async move {
        let references = match is_all(&request.reference) {
            false => vec![request.reference.clone()],
            true => {
                let tags = engine.images.remote_tags(&request).await;
                tags.map_err(pull_failure)?
            }
        };
        pull_each(&engine, &request, references, &sender).await
    };
    (receiver, tokio::spawn(work))
}

fn is_all(reference: &Reference) -> bool {
    reference.tag().is_none() && reference.digest().is_none()
}

async fn pull_each(
    engine: &Engine,
    request: &PullRequest,
    references: Vec<Reference>,
    sender: &mpsc::Sender<PullNews>,
) -> Result<String> {
    let mut last = None;
    let mut status = PullStatus::UpToDate;
    for reference in references {
        let request = PullRequest {
            reference: reference.clone(),
            ..request.clone()
        };
        let reporter = Reporter {
            reference,
            to: sender.clone(),
        };
        let pulled = engine.images.pull(&request, Arc::new(reporter)).await;
        let pulled = pulled.map_err(pull_failure)?;
        // A client that has gone is told nothing.
        drop(sender.send(PullNews::Pulled(pulled.digest)).await);
        if pulled.status == PullStatus::Newer {
            status = PullStatus::Newer;
        }
        last = Some(pulled.image);
    }
    let name = request.reference.to_string();
    let image = last.ok_or_else(|| not_found(format!("repository {name} has no tags")))?;
    let named = ImageNamed::new(&name, &image);
    let id = image.id.to_string();
    engine.bus.publish(IMAGE_PULLED, id, &named)?;
    Ok(match status {
        PullStatus::UpToDate => format!("Status: Image is up to date for {name}"),
        PullStatus::Newer => format!("Status: Downloaded newer image for {name}"),
    })
}

/// Hands steps on; bytes are skipped while the client is behind, the rest is
/// worth waiting for, but a pull never waits for its client.
struct Reporter {
    reference: Reference,
    to: mpsc::Sender<PullNews>,
}

impl Progress for Reporter {
    fn report(&self, event: &PullEvent) {
        let news = match event {
            PullEvent::Resolved { .. } => PullNews::Found(self.reference.clone()),
            PullEvent::Layer { blob, step } => PullNews::Layer {
                blob: *blob,
                step: *step,
            },
        };
        let is_bytes = matches!(
            event,
            PullEvent::Layer {
                step: LayerStep::Downloading { .. } | LayerStep::Extracting { .. },
                ..
            }
        );
        if !is_bytes || self.to.capacity() > MESSAGES_AHEAD / 2 {
            // A full queue or a client that has gone loses a progress line only.
            drop(self.to.try_send(news));
        }
    }
}

fn pull_failure(error: PullError) -> Failure {
    match &error {
        PullError::NotFound { .. }
        | PullError::NoRepository { .. }
        | PullError::Denied { .. }
        | PullError::NoPlatform { .. } => Failure::from_error(FailureKind::NotFound, &error),
        PullError::Registry(error) => registry_failure(error),
        _ => Failure::from_error(FailureKind::Internal, &error),
    }
}
