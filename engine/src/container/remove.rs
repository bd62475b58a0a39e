//! Removing a container: name and record first, which is what a client waits
//! for, its files behind it.

use std::sync::Arc;
use std::time::Duration;

use base::{PathContext as _, VolumeName};
use engine_model::{ContainerEvent, MountSource, Status};
use volumed_api::{RemoveFiles, RemoveVolume};

use super::{Container, shim, stop, told};
use crate::Engine;
use crate::error::{OrFail as _, Result, conflict};
use crate::event::ContainerNamed;

/// How long the files' removal waits for the last run to be cleaned up.
const CLEANED_LIMIT: Duration = Duration::from_secs(120);
/// How long volumed may take to remove a writable layer or a volume.
const FILES_LIMIT: Duration = Duration::from_secs(120);

/// Whether a running container is killed first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    Yes,
    No,
}

/// Whether the volumes made for the container go with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnonymousVolumes {
    Remove,
    Keep,
}

/// Removes a container at a user's wish; its name is free when this returns.
///
/// # Errors
/// Conflict, with Docker's sentence, when it runs and is not to be killed.
pub async fn remove(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    force: Force,
    volumes: AnonymousVolumes,
) -> Result<()> {
    let _operation = container.operation.lock().await;
    let state = container.state();
    if state.is_live() || state.status == Status::Restarting {
        if force == Force::No {
            return Err(refuse_running(state.status));
        }
        let now = stop::StopRequest {
            signal: None,
            timeout_seconds: Some(0),
        };
        stop::stop_locked(engine, container, now).await?;
    }
    if free(engine, container)? == Freed::Now {
        finish(engine, container, volumes);
    }
    Ok(())
}

fn refuse_running(status: Status) -> base::Failure {
    conflict(match status {
        Status::Paused => "container is paused and must be unpaused first",
        Status::Restarting => {
            "container is restarting: stop the container before removing or force remove"
        }
        _ => "container is running: stop the container before removing or force remove",
    })
}

/// Removes a container whose run is over by its own option.
///
/// # Errors
/// When the state cannot be written.
pub fn remove_after_exit(engine: &Arc<Engine>, container: &Arc<Container>) -> Result<()> {
    if free(engine, container)? == Freed::Now {
        finish(engine, container, AnonymousVolumes::Remove);
    }
    Ok(())
}

/// Who frees a container finishes its removal.
#[derive(Debug, PartialEq, Eq)]
enum Freed {
    Now,
    /// By its own end, say, when a user stopped it to remove it.
    Before,
}

/// Frees name and record, and tells whoever waits.
fn free(engine: &Engine, container: &Arc<Container>) -> Result<Freed> {
    engine.steps.reached("remove.state");
    let (before, state) = container.apply(ContainerEvent::RemoveRequested)?;
    if before.status == Status::Removing {
        return Ok(Freed::Before);
    }
    if !state.cleaned {
        engine.leaving.keep(container);
    }
    engine.containers.remove(container);
    engine.steps.reached("remove.tell");
    told::tell_removed(engine, container)?;
    container.mark_removed();
    Ok(Freed::Now)
}

/// Returns what events say of a container.
pub fn named(container: &Container) -> ContainerNamed {
    ContainerNamed {
        name: container.name(),
        image: container.config().image.clone(),
        labels: container.config().labels.clone(),
    }
}

/// Removes the files in the background; what fails is tried again when the
/// engine starts next.
pub fn finish(engine: &Arc<Engine>, container: &Arc<Container>, volumes: AnonymousVolumes) {
    let (engine, container) = (engine.clone(), container.clone());
    tokio::spawn(async move {
        // After a restart two may come to it.
        let _operation = container.operation.lock().await;
        if let Err(error) = remove_files(&engine, &container, volumes).await {
            tracing::error!(container = %container.id, %error, "cannot remove the container's files");
        }
    });
}

async fn remove_files(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    volumes: AnonymousVolumes,
) -> Result<()> {
    let mut watch = container.watch();
    let cleaned = watch.wait_for(|snapshot| snapshot.state.cleaned);
    if tokio::time::timeout(CLEANED_LIMIT, cleaned).await.is_err() {
        tracing::warn!(container = %container.id, "removing files although the last run is not cleaned up");
    }
    engine.steps.reached("remove.files");
    let body = RemoveFiles {
        container: container.id.clone(),
    };
    engine
        .bus
        .call(container.id.as_str(), &body, FILES_LIMIT)
        .await?;
    if volumes == AnonymousVolumes::Remove {
        remove_anonymous_volumes(engine, container).await?;
    }
    engine.steps.reached("remove.shim");
    shim::forget(engine, &container.run())?;
    engine.steps.reached("remove.record");
    let directory = container.directory().to_owned();
    crate::blocking(move || delete(&directory)).await
}

/// A volume that another container got by `--volumes-from` stays.
async fn remove_anonymous_volumes(engine: &Engine, container: &Container) -> Result<()> {
    for mount in &container.config().mounts {
        if let MountSource::Volume {
            name,
            anonymous: true,
            ..
        } = &mount.source
            && !is_used(engine, name)
        {
            engine.steps.reached("remove.volume");
            let body = RemoveVolume { name: name.clone() };
            match engine.bus.call(name.as_str(), &body, FILES_LIMIT).await {
                Err(error) if error.kind != base::FailureKind::NotFound => return Err(error),
                _ => {}
            }
        }
    }
    Ok(())
}

/// Returns whether a container that is still there names a volume.
fn is_used(engine: &Engine, wanted: &VolumeName) -> bool {
    let uses = |container: &Arc<Container>| {
        let config = container.config();
        let mut sources = config.mounts.iter().map(|mount| &mount.source);
        sources.any(|source| matches!(source, MountSource::Volume { name, .. } if name == wanted))
    };
    engine.containers.unordered().iter().any(uses)
}

/// The record goes last: a directory without one is deleted at the next start,
/// one with it is finished as a removal, which includes helpers' parts.
fn delete(directory: &std::path::Path) -> Result<()> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.at("list", directory).or_internal()?,
    };
    for entry in entries {
        let entry = entry.at("list", directory).or_internal()?;
        let path = entry.path();
        if matches!(
            entry.file_name().to_str(),
            Some("config.json" | "state.json")
        ) {
            continue;
        }
        let is_directory = entry.file_type().at("read", &path).or_internal()?.is_dir();
        let removed = if is_directory {
            std::fs::remove_dir_all(&path)
        } else {
            std::fs::remove_file(&path)
        };
        removed.at("remove", &path).or_internal()?;
    }
    base::file::remove_if_there(&directory.join("config.json")).or_internal()?;
    std::fs::remove_dir_all(directory)
        .at("remove", directory)
        .or_internal()
}
