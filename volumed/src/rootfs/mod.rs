//! Root filesystems: mounting one for a run, releasing it, and removing the
//! writable layer of a container.

pub mod apply;
pub mod parts;
pub mod plan;

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use base::failure::chain;
use base::lock::FileLock;
use base::{ContainerId, PathContext as _, PathError, RunId, VolumeName};
use engine_shim_api::EXIT_FILE;
use volumed_api::query::{self, QueryError};
use volumed_api::{MountRootfs, RootfsMounted, Upper, VolumeConfig};

use crate::bind::{self, BindError};
use crate::holders::{Held, Phase};
use crate::storage::Storage;
use crate::volume::driver::{self, DriverError};
use crate::{mounts, overlay};
use apply::ApplyError;
use plan::{Facts, PlanError, UpperState};

/// How long a run that is over may take to be gone: its shim has appended its
/// last event and is about to end.
const OVER_WITHIN: Duration = Duration::from_secs(5);
/// How long the release of a run may take whose end is in the log.
const RELEASED_WITHIN: Duration = Duration::from_secs(1);
const OVER_POLL: Duration = Duration::from_millis(2);

/// Why a root filesystem cannot be mounted, released or removed.
#[derive(Debug, thiserror::Error)]
pub enum RootfsError {
    #[error(transparent)]
    Bind(#[from] BindError),
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Apply(#[from] Box<ApplyError>),
    #[error("run {0} is mounted already, for another request")]
    Differs(RunId),
    #[error("container {container} is in use by its run {run}")]
    InUse { container: ContainerId, run: RunId },
    #[error("cannot release {run}: {}", .failures.join("; "))]
    Release { run: RunId, failures: Vec<String> },
    #[error("invalid options of volume {name}")]
    Volume {
        name: VolumeName,
        source: DriverError,
    },
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error(transparent)]
    File(#[from] PathError),
}

/// What a mount request brought.
#[derive(Debug)]
pub struct Mounted {
    pub rootfs: RootfsMounted,
    /// The volumes that were made for it.
    pub made: Vec<VolumeConfig>,
}

/// Mounts what `request` asks for; for a run that has it, repeats the result.
///
/// # Errors
/// What is wrong with the request, or the step that failed; everything done for
/// it is then taken back.
pub fn mount(storage: &Storage, request: &MountRootfs) -> Result<Mounted, RootfsError> {
    let run = &request.run;
    storage.containers.with(&run.container, || {
        match storage.holders.get(run) {
            Some(held) if held.phase == Phase::Ready => return repeat(request, held),
            Some(_) => release_locked(storage, run)?,
            None => {}
        }
        release_others(storage, &run.container, Some(run))?;
        let facts = gather(storage, request)?;
        let (operations, rootfs) = plan::plan(&storage.instance, request, &facts)?;
        let made = apply::apply(storage, run, &operations)?;
        Ok(Mounted { rootfs, made })
    })
}

fn repeat(request: &MountRootfs, held: Held) -> Result<Mounted, RootfsError> {
    if held.holder.request != *request {
        return Err(RootfsError::Differs(request.run.clone()));
    }
    Ok(Mounted {
        rootfs: held.holder.mounted,
        made: Vec::new(),
    })
}

/// Releases everything a run holds; one that holds nothing is no error.
///
/// # Errors
/// Everything that could not be released; the rest is.
pub fn release(storage: &Storage, run: &RunId) -> Result<(), RootfsError> {
    storage
        .containers
        .with(&run.container, || release_locked(storage, run))
}

/// Removes the writable layer of a container.
///
/// # Errors
/// When a run of it lives, or its files cannot be thrown away.
pub fn remove_files(storage: &Storage, container: &ContainerId) -> Result<(), RootfsError> {
    storage.containers.with(container, || {
        release_others(storage, container, None)?;
        let directory = storage.instance.container(container);
        apply::discard_upper(storage, &directory)?;
        // What else is in it is the engine's, who may have removed it already.
        match fs::remove_dir(&directory) {
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty
                ) =>
            {
                Ok(())
            }
            other => Ok(other.at("remove directory", &directory)?),
        }
    })
}

/// Releases runs of a container that are over but whose end was not seen yet:
/// events of different subjects are worked on side by side.
fn release_others(
    storage: &Storage,
    container: &ContainerId,
    but: Option<&RunId>,
) -> Result<(), RootfsError> {
    for run in storage.holders.of_container(container) {
        if Some(&run) == but {
            continue;
        }
        if !is_over(storage, &run)? {
            let container = container.clone();
            return Err(RootfsError::InUse { container, run });
        }
        release_locked(storage, &run)?;
    }
    Ok(())
}

/// Releases the runs that hold a volume and are over, as those of a container
/// that was removed a moment ago. One whose shim was forgotten has its release
/// in the log, which is waited for; one that has no shim yet is not over.
///
/// # Errors
/// What could not be released.
pub fn release_users_over(storage: &Storage, volume: &VolumeName) -> Result<(), RootfsError> {
    for run in storage.holders.of_volume(volume) {
        let shim = storage.instance.shim(&run);
        if !shim.exists() {
            wait_released(storage, &run);
        } else if shim.join(EXIT_FILE).exists() && is_over(storage, &run)? {
            release(storage, &run)?;
        }
    }
    Ok(())
}

fn wait_released(storage: &Storage, run: &RunId) {
    let started = Instant::now();
    while storage.holders.get(run).is_some() && started.elapsed() < RELEASED_WITHIN {
        thread::sleep(OVER_POLL);
    }
}

/// Returns whether a run's shim is gone, after waiting a little for it.
fn is_over(storage: &Storage, run: &RunId) -> Result<bool, PathError> {
    let lock = storage.instance.shim(run).join("lock");
    let started = Instant::now();
    while FileLock::is_held(&lock)? {
        if started.elapsed() > OVER_WITHIN {
            return Ok(false);
        }
        thread::sleep(OVER_POLL);
    }
    Ok(true)
}

fn release_locked(storage: &Storage, run: &RunId) -> Result<(), RootfsError> {
    let Some(held) = storage.holders.get(run) else {
        return Ok(());
    };
    let failures = give_back(storage, &held.holder.request);
    if !failures.is_empty() {
        let run = run.clone();
        return Err(RootfsError::Release { run, failures });
    }
    storage.steps.reached("release.holder");
    Ok(storage.holders.remove(run)?)
}

/// Takes everything down that a request had put up, whatever fails of it;
/// returns what did.
fn give_back(storage: &Storage, request: &MountRootfs) -> Vec<String> {
    let run = &request.run;
    storage.steps.reached("release.unmount");
    let mut results = vec![mounts::detach_and_remove(&storage.instance.rootfs(run))];
    // Before the volumes, whose backing stores they keep busy.
    for part in plan::parts(&storage.instance, request) {
        storage.steps.reached("release.part");
        results.push(mounts::detach_and_remove(&part));
    }
    if request.upper == Upper::Volatile && results.iter().all(Result::is_ok) {
        let work = storage.instance.container(&run.container).join("work");
        storage.steps.reached("release.settle");
        results.push(overlay::settle_volatile(&work));
    }
    for volume in &request.volumes {
        storage.steps.reached("release.volume");
        results.push(apply::unmount_unused(storage, &volume.name, run));
    }
    let failures = results.into_iter().filter_map(Result::err);
    failures.map(|error| chain(&error)).collect()
}

fn gather(storage: &Storage, request: &MountRootfs) -> Result<Facts, RootfsError> {
    let instance = &storage.instance;
    let mut facts = Facts::default();
    let of_images = request.images.iter().flat_map(|image| &image.layers);
    for layer in request.layers.iter().chain(of_images) {
        let found = fs::symlink_metadata(instance.layer(layer));
        if !found.is_ok_and(|metadata| metadata.is_dir()) {
            facts.missing_layers.push(*layer);
        }
    }
    let directory = instance.container(&request.run.container);
    facts.upper = if overlay::is_volatile_leftover(&directory.join("work")) {
        UpperState::Incomplete
    } else if directory.join("upper").is_dir() {
        UpperState::Usable
    } else {
        UpperState::Absent
    };
    for bind in &request.binds {
        facts.binds.push(bind::vet(instance, bind)?);
    }
    for volume in &request.volumes {
        let Some(config) = query::volume(instance, &volume.name)? else {
            continue;
        };
        let backing = driver::parse(&config.options).map_err(|source| RootfsError::Volume {
            name: volume.name.clone(),
            source,
        })?;
        facts.volumes.insert(volume.name.clone(), backing);
    }
    Ok(facts)
}
