//! Everything done to images that are here: finding, naming, removing.

use base::{Digest, Failure, FailureKind};
use engine_image::{
    Force, Image, ImageUse, Platform, RemoveError, Removed, ResolveError, StoreError,
};
use engine_model::{ContainerConfig, MountSource, Status};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::Engine;
use crate::error::{OrFail as _, Result, not_found};
use crate::event::{IMAGE_DELETED, IMAGE_TAGGED, IMAGE_UNTAGGED, ImageNamed};

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

/// Returns the image's own container configuration, in one form or another.
///
/// # Errors
/// When it is not in Docker's form.
pub fn config_of<T: DeserializeOwned + Default>(image: &Image) -> Result<T> {
    #[derive(Deserialize)]
    #[serde(bound = "T: DeserializeOwned")]
    struct Raw<T> {
        #[serde(default = "no_config")]
        config: Option<T>,
    }
    let raw: Raw<T> = serde_json::from_slice(&image.raw_config).or_internal()?;
    Ok(raw.config.unwrap_or_default())
}

fn no_config<T>() -> Option<T> {
    None
}

/// Gives an image a further name.
///
/// # Errors
/// Not found, or an invalid name.
pub fn tag(engine: &Engine, source: &str, target: &str) -> Result<()> {
    let image = engine.images.tag(source, target).map_err(store_failure)?;
    let named = ImageNamed::new(target, &image);
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
        let (kind, named) = match step {
            Removed::Untagged(name) => (IMAGE_UNTAGGED, ImageNamed::new(name, &image)),
            Removed::Deleted(digest) if *digest == image.id => {
                (IMAGE_DELETED, ImageNamed::gone(digest.to_string()))
            }
            // A layer is no image.
            Removed::Deleted(_) => continue,
        };
        engine.bus.publish(kind, image.id.to_string(), &named)?;
    }
    Ok(removed)
}

/// Tells who uses an image; a running container weighs more than a stopped one, and
/// of those one that has it mounted.
pub fn used_by(engine: &Engine, id: &Digest) -> ImageUse {
    let mut found = ImageUse::Unused;
    for container in &engine.containers.all() {
        let config = container.config();
        let is_mounted = mounts(&config, id);
        if config.image_id != *id && !is_mounted {
            continue;
        }
        let short = container.id.short().to_owned();
        let state = container.state();
        if state.is_live() || state.status == Status::Restarting {
            return ImageUse::Running(short);
        }
        if is_mounted {
            found = ImageUse::Mounted(short);
        } else if found == ImageUse::Unused {
            found = ImageUse::Stopped(short);
        }
    }
    found
}

/// Whether a container has an image mounted beside its own.
fn mounts(config: &ContainerConfig, wanted: &Digest) -> bool {
    let is_it =
        |source: &MountSource| matches!(source, MountSource::Image { id, .. } if id == wanted);
    config.mounts.iter().any(|mount| is_it(&mount.source))
}

/// Refuses an image of another platform than asked for.
///
/// # Errors
/// Not found for an image that is not there, or not of that platform.
pub fn check_platform(engine: &Engine, name: &str, wanted: &Platform) -> Result<()> {
    let found = resolve(engine, name)?;
    let (os, architecture) = (found.config.os(), found.config.architecture());
    if wanted.os == os.to_string() && wanted.architecture == architecture.to_string() {
        return Ok(());
    }
    Err(not_found(format!(
        "image with reference {name} was found but its platform ({os}/{architecture}) does not match the specified platform ({}/{})",
        wanted.os, wanted.architecture
    )))
}
