//! A container's files from outside, whether it runs or not: for `cp` and `export`.

use std::path::Path;
use std::sync::Arc;

use base::{Failure, FailureKind, RunId, RunNumber};
use engine_archive::ArchiveError;
use engine_archive::changes::Change;
use engine_archive::root::Root;
use engine_archive::view::{Access, View, ViewMount};
use engine_model::{MountConfig, MountSource};
use volumed_api::{RootfsMounted, UnmountRootfs, Upper};

use super::{Container, start};
use crate::Engine;
use crate::error::{OrFail as _, Result, conflict};
use engine_model::Status;

/// Whether volumes, binds and images are seen where the container has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Volumes {
    Mounted,
    /// What is seen is what they cover.
    Absent,
}

/// Does `work` on the files of a container. Of one that does not run they are mounted
/// meanwhile, and it is neither started nor removed.
///
/// # Errors
/// When they cannot be mounted; and those of `work`, in Docker's words.
pub async fn with_files<T: Send + 'static>(
    engine: &Arc<Engine>,
    container: &Arc<Container>,
    volumes: Volumes,
    work: impl FnOnce(&Root) -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T> {
    if let Some(mounted) = mounted_by_run(engine, container)? {
        return enter(container, mounted, volumes, work).await;
    }
    let _operation = container.operation.lock().await;
    if let Some(mounted) = mounted_by_run(engine, container)? {
        // It has been started since.
        return enter(container, mounted, volumes, work).await;
    }
    if matches!(container.state().status, Status::Removing | Status::Dead) {
        let id = &container.id;
        return Err(conflict(format!("container {id} is marked for removal")));
    }
    start::wait_cleaned(container).await?;
    let run = next_run(container);
    engine.steps.reached("archive.mount");
    // Also what was given up on may be mounted still.
    let done = match start::mount(engine, container, &run, Upper::Persistent).await {
        Ok(mounted) => enter(container, mounted, volumes, work).await,
        Err(failure) => Err(failure),
    };
    let released = release(engine, &run).await;
    let done = done?;
    released.map(|()| done)
}

/// Releases what an engine that died had mounted for work on the files.
///
/// # Errors
/// What volumed says.
pub async fn release_leftover(engine: &Engine, container: &Container) -> Result<()> {
    let run = next_run(container);
    let holder = volumed_api::query::holder(&engine.instance, &run).or_internal()?;
    match holder {
        Some(_) => release(engine, &run).await,
        None => Ok(()),
    }
}

/// The last run is over, and nothing is mounted for it again: it is done for the next,
/// which cannot begin meanwhile.
fn next_run(container: &Container) -> RunId {
    RunId::new(container.id.clone(), RunNumber(container.state().run.0 + 1))
}

/// Returns what the present run has mounted, if there is one.
fn mounted_by_run(engine: &Engine, container: &Container) -> Result<Option<RootfsMounted>> {
    if !container.state().is_live() {
        return Ok(None);
    }
    let holder = volumed_api::query::holder(&engine.instance, &container.run()).or_internal()?;
    Ok(holder.map(|holder| holder.mounted))
}

async fn release(engine: &Engine, run: &RunId) -> Result<()> {
    engine.steps.reached("archive.release");
    let body = UnmountRootfs { run: run.clone() };
    let done = engine
        .bus
        .call(&run.to_string(), &body, start::UNDO_LIMIT)
        .await;
    done.map(drop)
}

async fn enter<T: Send + 'static>(
    container: &Container,
    mounted: RootfsMounted,
    volumes: Volumes,
    work: impl FnOnce(&Root) -> Result<T, ArchiveError> + Send + 'static,
) -> Result<T> {
    let config = container.config();
    let view = View {
        access: access(config.read_only),
        mounts: match volumes {
            Volumes::Mounted => mounts(&config.mounts, &mounted),
            Volumes::Absent => Vec::new(),
        },
        mappings: config.user_namespace.clone(),
        rootfs: mounted.rootfs,
    };
    let name = container.name();
    let of_mount = !config.read_only;
    crate::blocking(move || {
        view.enter(work)
            .map_err(|error| failure(&name, of_mount, &error))
    })
    .await
}

/// Returns what the container has changed of its image's files.
///
/// # Errors
/// When its writable layer cannot be read.
pub fn changes(engine: &Engine, container: &Container) -> Result<Vec<Change>> {
    let config = container.config();
    let upper = engine.instance.container(&container.id).join("upper");
    let layers = config.layers.iter().rev();
    let lowers: Vec<_> = layers.map(|layer| engine.instance.layer(layer)).collect();
    engine_archive::changes::changes(&upper, &lowers).or_internal()
}

/// Returns the bytes of the files that the container has written.
///
/// # Errors
/// When its writable layer cannot be read.
pub async fn size(engine: &Engine, container: &Container) -> Result<u64> {
    let upper = engine.instance.container(&container.id).join("upper");
    crate::blocking(move || engine_archive::size::size_of(&upper).or_internal()).await
}

fn access(read_only: bool) -> Access {
    match read_only {
        true => Access::ReadOnly,
        false => Access::ReadWrite,
    }
}

/// Volumed's answer has volumes, binds and images apart, each in the order of the request.
fn mounts(wanted: &[MountConfig], mounted: &RootfsMounted) -> Vec<ViewMount> {
    let mut volumes = mounted.volumes.iter().map(|volume| &volume.path);
    let mut binds = mounted.binds.iter().map(|bind| &bind.source);
    let mut images = mounted.images.iter();
    let mount = |mount: &MountConfig| {
        let source = match &mount.source {
            MountSource::Volume { .. } => volumes.next()?,
            MountSource::Bind { .. } => binds.next()?,
            MountSource::Image { .. } => images.next()?,
            // Its content is in the memory of the run.
            MountSource::Tmpfs { .. } => return None,
        };
        Some(ViewMount {
            source: source.clone(),
            destination: Path::new(&mount.destination).to_owned(),
            access: access(mount.read_only),
        })
    };
    wanted.iter().filter_map(mount).collect()
}

/// Returns the failure in Docker's words; where only mounts can be read-only, one is.
fn failure(name: &str, of_mount: bool, error: &ArchiveError) -> Failure {
    use ArchiveError as E;
    let kind = match error {
        E::NotFound(path) => {
            let path = path.display();
            return Failure::new(
                FailureKind::NotFound,
                format!("Could not find the file {path} in container {name}"),
            );
        }
        E::ReadOnly(_) => {
            let what = match of_mount {
                true => "mounted volume",
                false => "container rootfs",
            };
            return Failure::new(FailureKind::Invalid, format!("{what} is marked read-only"));
        }
        E::Read(source) => {
            let message = match source.kind() {
                std::io::ErrorKind::UnexpectedEof => "unexpected EOF",
                _ => "archive/tar: invalid tar header",
            };
            return Failure::new(FailureKind::Internal, message);
        }
        E::Compression(_) => FailureKind::Unsupported,
        E::NotADirectory
        | E::Path(_)
        | E::OverDirectory(_)
        | E::OverFile(_)
        | E::Deep(_)
        | E::Owner(_)
        | E::Kind { .. } => FailureKind::Invalid,
        E::Write(_) | E::File { .. } | E::View(..) => FailureKind::Internal,
    };
    Failure::from_error(kind, error)
}
