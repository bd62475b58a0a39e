//! Pushing one tag of a repository, or all of them.

use std::sync::Arc;
use std::time::Duration;

use base::{Failure, FailureKind};
use engine_image::{
    Credential, PushError, PushEvent, PushProgress, PushRequest, PushStep, Pushed, Reference,
    RegistryError,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{MESSAGES_AHEAD, access};
use crate::Engine;
use crate::error::{Result, not_found};
use crate::event::{IMAGE_PUSHED, ImageNamed};

/// What there is to tell of a push.
#[derive(Debug, Clone)]
pub enum PushNews {
    /// A layer went on.
    Layer(PushEvent),
    /// A tag is at the registry.
    Pushed(Pushed),
}

/// Begins a push; its news arrive at the receiver, its end at the handle. A
/// reference without a tag means every tag.
pub fn push(
    engine: &Arc<Engine>,
    reference: Reference,
    credential: Option<Credential>,
) -> (mpsc::Receiver<PushNews>, JoinHandle<Result<()>>) {
    let request = PushRequest {
        access: access(engine, reference.domain(), credential),
        reference,
        second: Duration::from_secs(1),
    };
    let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
    let engine = engine.clone();
    let work = async move { push_each(&engine, &request, sender).await };
    (receiver, tokio::spawn(work))
}

async fn push_each(
    engine: &Engine,
    request: &PushRequest,
    sender: mpsc::Sender<PushNews>,
) -> Result<()> {
    let reporter = Arc::new(Reporter(sender.clone()));
    let push = engine.images.push(request, reporter).await;
    let push = push.map_err(push_failure)?;
    for number in 0..push.count() {
        let pushed = push.push(number).await.map_err(push_failure)?;
        // A client that has gone is told nothing.
        drop(sender.send(PushNews::Pushed(pushed)).await);
    }
    let image = push.image();
    let named = ImageNamed::new(request.reference.to_string(), image);
    let id = image.id.to_string();
    engine.bus.publish(IMAGE_PUSHED, id, &named)?;
    Ok(())
}

/// Hands steps on; bytes are skipped while the client is behind.
struct Reporter(mpsc::Sender<PushNews>);

impl PushProgress for Reporter {
    fn report(&self, event: &PushEvent) {
        let is_bytes = matches!(event.step, PushStep::Pushing { .. });
        if !is_bytes || self.0.capacity() > MESSAGES_AHEAD / 2 {
            // A full queue or a client that has gone loses a progress line only.
            drop(self.0.try_send(PushNews::Layer(event.clone())));
        }
    }
}

fn push_failure(error: PushError) -> Failure {
    match &error {
        PushError::NoImage(_) | PushError::NoTag(_) | PushError::NoTags(_) => not_found(error),
        PushError::Registry(RegistryError::NotFound(detail)) => {
            not_found(detail.trim_start_matches(": "))
        }
        _ => Failure::from_error(FailureKind::Internal, &error),
    }
}
