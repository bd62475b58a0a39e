//! An image of what a container is now.

use std::sync::Arc;
use std::time::Duration;

use base::FailureKind;
use engine_api::config::ContainerConfig as RequestedConfig;
use engine_archive::ArchiveError;
use engine_archive::pack::Packer;
use engine_archive::root::Root;
use engine_image::{CommitRequest, Image, Reference};
use engine_model::Status;
use serde_json::{Map, Value};

use super::create::process::complete;
use super::{Container, stop};
use crate::Engine;
use crate::error::{OrFail as _, Result, conflict, internal, invalid};
use crate::event::{CONTAINER_COMMITTED, Committed};

/// How long after its end a container may seem to run.
const END_LIMIT: Duration = Duration::from_secs(2);

/// What the image is to be.
#[derive(Debug, Clone, Default)]
pub struct CommitOptions {
    pub reference: Option<Reference>,
    pub author: String,
    pub comment: String,
    pub changes: Vec<String>,
    /// In place of the container's own, where it says anything.
    pub config: Option<RequestedConfig>,
    /// Whether the container stands still meanwhile.
    pub pause: bool,
}

/// Makes an image of a container.
///
/// # Errors
/// Conflict while it is removed; when a change is wrong or its files cannot be read.
pub async fn commit(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    options: CommitOptions,
) -> Result<Image> {
    if matches!(container.state().status, Status::Removing | Status::Dead) {
        let id = &container.id;
        return Err(conflict(format!(
            "You cannot commit container {id} which is being removed"
        )));
    }
    let mut pauses = options.pause && container.state().status == Status::Running;
    if pauses {
        match stop::pause(engine, container).await {
            // It has ended since, or somebody else pauses it.
            Err(failure) if failure.kind == FailureKind::Conflict => pauses = false,
            Err(_) if ends_now(container).await => pauses = false,
            paused => paused?,
        }
    }
    let made = {
        let (engine, container) = (engine.clone(), container.clone());
        crate::blocking(move || make(&engine, &container, options)).await
    };
    if pauses {
        stop::unpause(engine, container).await?;
    }
    made
}

/// Returns whether a container that could not be paused is one whose end has only
/// not been told yet.
async fn ends_now(container: &Container) -> bool {
    let mut watch = container.watch();
    let ended = watch.wait_for(|snapshot| !snapshot.state.is_live());
    matches!(tokio::time::timeout(END_LIMIT, ended).await, Ok(Ok(_)))
}

fn make(engine: &Engine, container: &Container, options: CommitOptions) -> Result<Image> {
    let config = container.config();
    let parent = engine.images.image(&config.image_id);
    let parent = parent.ok_or_else(|| invalid("the container's image is gone"))?;
    let requested = container.requested();
    let reference = options.reference.as_ref().map(Reference::to_string);
    let comment = options.comment.clone();
    let request = CommitRequest {
        parent,
        reference: options.reference,
        config: image_config(&completed(options.config, &requested.config))?,
        changes: options.changes,
        author: options.author,
        comment: options.comment,
        created_by: config.process.arguments.join(" "),
    };
    let upper = engine.instance.container(&container.id).join("upper");
    let (layer, out) = std::io::pipe().or_internal()?;
    let image = std::thread::scope(|scope| {
        // What it could not pack the other end sees as a damaged archive.
        let packing = scope.spawn(move || pack(&upper, out));
        let image = engine.images.commit(layer, request).or_invalid();
        match packing.join() {
            // The reader has gone, and says why.
            Ok(Ok(()) | Err(ArchiveError::Write(_))) => image,
            Ok(Err(error)) => Err(error).or_internal(),
            Err(_) => Err(internal("packing the files panicked")),
        }
    })?;
    let fact = Committed {
        image: image.id.to_string(),
        reference: reference.unwrap_or_default(),
        comment,
    };
    engine
        .bus
        .publish(CONTAINER_COMMITTED, container.id.to_string(), &fact)?;
    Ok(image)
}

/// A container that has never been started has changed nothing.
fn pack(upper: &std::path::Path, out: impl std::io::Write) -> Result<(), ArchiveError> {
    let mut packer = Packer::layer(out);
    if upper.is_dir() {
        let root = Root::open(upper)?;
        packer.add(&root.find("/".as_ref())?, "".as_ref())?;
    }
    packer.finish().map(drop)
}

/// What a request leaves open the container says.
fn completed(wanted: Option<RequestedConfig>, own: &RequestedConfig) -> RequestedConfig {
    let Some(mut config) = wanted else {
        return own.clone();
    };
    complete(&mut config, own);
    config
}

/// Returns the part of a container's configuration that images have.
fn image_config(config: &RequestedConfig) -> Result<Map<String, Value>> {
    const OF_CONTAINERS: [&str; 11] = [
        "Hostname",
        "Domainname",
        "Image",
        "AttachStdin",
        "AttachStdout",
        "AttachStderr",
        "OpenStdin",
        "StdinOnce",
        "Tty",
        "NetworkDisabled",
        "MacAddress",
    ];
    let Value::Object(mut config) = serde_json::to_value(config).or_internal()? else {
        return Ok(Map::new());
    };
    config.retain(|name, value| !OF_CONTAINERS.contains(&name.as_str()) && !value.is_null());
    Ok(config)
}
