//! Everything done to images: finding, pulling, naming, removing.

use std::sync::Arc;

use base::{Digest, Failure, FailureKind};
use engine_api::config::ContainerConfig as ImageConfig;
use engine_image::{
    Credential, Force, Image, ImageUse, LayerStep, Progress, PullError, PullEvent, PullOutcome,
    PullRequest, PullStatus, Reference, RegistryAccess, RemoveError, Removed, ResolveError,
    StoreError, Trust,
};
use engine_model::Status;
use serde::Deserialize;
use tokio::sync::mpsc;

use crate::Engine;
use crate::error::{OrFail as _, Result, not_found};
use crate::event::{IMAGE_DELETED, IMAGE_PULLED, IMAGE_TAGGED, IMAGE_UNTAGGED, ImageNamed};

/// Where further authorities of registries are, one directory a registry.
const CERTIFICATES: &str = "/etc/engine/certs.d";
/// Progress messages a pull may be ahead of its client; later ones are skipped.
const MESSAGES_AHEAD: usize = 256;

/// Finds an image by name, digest or beginning of its id.
///
/// # Errors
/// Not found, with Docker's sentence, or an invalid reference.
pub fn resolve(engine: &Engine, text: &str) -> Result<Image> {
    engine.images.resolve(text).map_err(resolve_failure)
}

fn resolve_failure(error: ResolveError) -> Failure {
    match error {
        ResolveError::NotFound { reference } => not_found(format!("No such image: {reference}")),
        other => Failure::from_error(FailureKind::Invalid, &other),
    }
}

/// Returns the image's own container configuration.
///
/// # Errors
/// When it is not in Docker's form.
pub fn config_of(image: &Image) -> Result<ImageConfig> {
    #[derive(Deserialize)]
    struct Raw {
        #[serde(default)]
        config: Option<ImageConfig>,
    }
    let raw: Raw = serde_json::from_slice(&image.raw_config).or_internal()?;
    Ok(raw.config.unwrap_or_default())
}

/// Begins a pull; its steps arrive at the receiver, its end at the handle.
///
/// # Errors
/// Invalid for a reference or platform that is none.
pub fn pull(
    engine: &Arc<Engine>,
    reference: &str,
    platform: Option<&str>,
    credential: Option<Credential>,
) -> Result<(
    mpsc::Receiver<PullEvent>,
    tokio::task::JoinHandle<Result<PullOutcome>>,
)> {
    let reference: Reference = reference.parse().or_invalid()?;
    let platform = platform.map(str::parse).transpose().or_invalid()?;
    let access = access(engine, &reference, credential);
    let (sender, receiver) = mpsc::channel(MESSAGES_AHEAD);
    let engine = engine.clone();
    let work = async move {
        let name = reference.clone().or_latest().to_string();
        let request = PullRequest {
            reference,
            platform,
            access,
        };
        let outcome = engine
            .images
            .pull(&request, Arc::new(Reporter(sender)))
            .await
            .map_err(pull_failure)?;
        engine.bus.publish(
            IMAGE_PULLED,
            outcome.image.id.to_string(),
            &ImageNamed { name },
        )?;
        Ok(outcome)
    };
    Ok((receiver, tokio::spawn(work)))
}

/// Returns how the registry of an image is reached.
fn access(
    engine: &Engine,
    reference: &Reference,
    credential: Option<Credential>,
) -> RegistryAccess {
    let config = &engine.config;
    let registry = reference.domain();
    let is_insecure = config.insecure_registries.iter().any(|one| one == registry);
    RegistryAccess {
        credential,
        trust: match is_insecure {
            true => Trust::Insecure,
            false => Trust::Verified,
        },
        certificates: Some(CERTIFICATES.into()),
        mirrors: config.mirrors.get(registry).cloned().unwrap_or_default(),
    }
}

/// Hands steps on; bytes are skipped while the client is behind, the rest is
/// worth waiting for, but a pull never waits for its client.
struct Reporter(mpsc::Sender<PullEvent>);

impl Progress for Reporter {
    fn report(&self, event: &PullEvent) {
        let is_bytes = matches!(
            event,
            PullEvent::Layer {
                step: LayerStep::Downloading { .. } | LayerStep::Extracting { .. },
                ..
            }
        );
        let room = self.0.capacity() > MESSAGES_AHEAD / 2;
        if room || !is_bytes {
            // A full queue or a client that has gone loses a progress line only.
            drop(self.0.try_send(event.clone()));
        }
    }
}

fn pull_failure(error: PullError) -> Failure {
    let kind = match &error {
        PullError::NotFound { .. } | PullError::Denied { .. } | PullError::NoPlatform { .. } => {
            FailureKind::NotFound
        }
        _ => FailureKind::Internal,
    };
    Failure::from_error(kind, &error)
}

/// Returns Docker's last line of a pull.
pub fn outcome_text(reference: &str, outcome: &PullOutcome) -> String {
    let name = reference.parse::<Reference>().map_or_else(
        |_| reference.to_owned(),
        |name| name.or_latest().to_string(),
    );
    match outcome.status {
        PullStatus::UpToDate => format!("Status: Image is up to date for {name}"),
        PullStatus::Newer => format!("Status: Downloaded newer image for {name}"),
    }
}

/// Gives an image a further name.
///
/// # Errors
/// Not found, or an invalid name.
pub fn tag(engine: &Engine, source: &str, target: &str) -> Result<()> {
    let image = engine.images.tag(source, target).map_err(store_failure)?;
    let named = ImageNamed {
        name: target.to_owned(),
    };
    engine
        .bus
        .publish(IMAGE_TAGGED, image.id.to_string(), &named)
        .map(drop)
}

/// Turns an error of the store into a failure.
pub fn store_failure(error: StoreError) -> Failure {
    match error {
        StoreError::Resolve(error) => resolve_failure(error),
        other => Failure::from_error(FailureKind::Internal, &other),
    }
}

/// Removes a name, and the image with its last one.
///
/// # Errors
/// Not found, or conflict where containers need it.
pub fn remove(engine: &Engine, text: &str, force: Force) -> Result<Vec<Removed>> {
    let image = resolve(engine, text)?;
    let removed = engine
        .images
        .remove(text, force, &|id| used_by(engine, id))
        .map_err(|error| match error {
            RemoveError::Resolve(error) => resolve_failure(error),
            RemoveError::Conflict(_) => Failure::from_error(FailureKind::Conflict, &error),
            RemoveError::File(_) => Failure::from_error(FailureKind::Internal, &error),
        })?;
    for step in &removed {
        let (kind, name) = match step {
            Removed::Untagged(name) => (IMAGE_UNTAGGED, name.clone()),
            Removed::Deleted(digest) if *digest == image.id => {
                (IMAGE_DELETED, image.id.to_string())
            }
            // A layer is no image.
            Removed::Deleted(_) => continue,
        };
        engine
            .bus
            .publish(kind, image.id.to_string(), &ImageNamed { name })?;
    }
    Ok(removed)
}

/// Tells who uses an image; a running container weighs more than a stopped one.
pub fn used_by(engine: &Engine, id: &Digest) -> ImageUse {
    let mut found = ImageUse::Unused;
    for container in engine
        .containers
        .all()
        .iter()
        .filter(|container| container.config().image_id == *id)
    {
        let short = container.id.short().to_owned();
        let state = container.state();
        if state.is_live() || state.status == Status::Restarting {
            return ImageUse::Running(short);
        }
        found = ImageUse::Stopped(short);
    }
    found
}
