//! Performing a plan, and taking back what was done of one that failed.

use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};

use base::failure::chain;
use base::{PathContext as _, PathError, RunId, VolumeName};
use volumed_api::VolumeConfig;

use super::parts::{self, PartError};
use super::plan::Operation;
use crate::holders::HolderError;
use crate::overlay::{self, OverlayError};
use crate::storage::Storage;
use crate::volume::backing::{self, BackingError};
use crate::volume::copy_up::{self, CopyUpError};
use crate::volume::{Ensured, VolumeError, implicit};
use crate::{metadata, mounts};

/// Why an operation failed.
#[derive(Debug, thiserror::Error)]
pub enum OperationError {
    #[error(transparent)]
    Holder(#[from] HolderError),
    #[error(transparent)]
    File(#[from] PathError),
    #[error(transparent)]
    Volume(#[from] VolumeError),
    #[error(transparent)]
    Backing(#[from] BackingError),
    #[error(transparent)]
    Overlay(#[from] OverlayError),
    #[error(transparent)]
    Part(#[from] PartError),
    #[error(transparent)]
    CopyUp(#[from] CopyUpError),
}

/// Why a plan failed, and what of it could not be taken back.
#[derive(Debug, thiserror::Error)]
#[error("cannot prepare the root filesystem of {run}{}", describe(.not_undone))]
pub struct ApplyError {
    pub run: RunId,
    pub not_undone: Vec<String>,
    pub source: OperationError,
}

fn describe(not_undone: &[String]) -> String {
    match not_undone {
        [] => String::new(),
        some => format!(" (nor take back what was done: {})", some.join("; ")),
    }
}

/// What takes back one operation.
#[derive(Debug)]
enum Undo {
    ForgetHolder,
    RemoveDirectory(PathBuf),
    DiscardVolume(VolumeName),
    UnmountVolume(VolumeName),
    DiscardUpper(PathBuf),
    Unmount(PathBuf),
}

/// Performs `operations` for `run`, or takes back those it performed. Returns
/// the volumes it made.
///
/// # Errors
/// The operation that failed, and every undo that did.
pub fn apply(
    storage: &Storage,
    run: &RunId,
    operations: &[Operation],
) -> Result<Vec<VolumeConfig>, Box<ApplyError>> {
    let mut performer = Performer {
        storage,
        run,
        undo: Vec::new(),
        made: Vec::new(),
    };
    for operation in operations {
        if let Err(source) = performer.perform(operation) {
            return Err(Box::new(ApplyError {
                run: run.clone(),
                not_undone: performer.take_back(),
                source,
            }));
        }
    }
    Ok(performer.made)
}

struct Performer<'a> {
    storage: &'a Storage,
    run: &'a RunId,
    /// In the order in which it was done.
    undo: Vec<Undo>,
    made: Vec<VolumeConfig>,
}

impl Performer<'_> {
    fn perform(&mut self, operation: &Operation) -> Result<(), OperationError> {
        let storage = self.storage;
        match operation {
            Operation::BeginHolder(holder) => {
                storage.steps.reached("holder.begin");
                self.undo.push(Undo::ForgetHolder);
                storage.holders.begin(holder.as_ref().clone())?;
            }
            Operation::MakeBindSource(path) => self.make_directory("bind.create", path, 0o755)?,
            Operation::EnsureVolume { name, labels } => {
                let (config, ensured) = storage.volumes.ensure(&implicit(name, labels))?;
                if ensured == Ensured::Made {
                    self.undo.push(Undo::DiscardVolume(name.clone()));
                    self.made.push(config);
                }
            }
            Operation::MountVolume { name, backing } => self.mount_volume(name, backing)?,
            Operation::MountFolder { target, .. } | Operation::MountMemory { target, .. } => {
                storage.steps.reached("mount.part");
                self.undo.push(Undo::Unmount(target.clone()));
                parts::mount(operation)?;
            }
            Operation::DiscardUpper(directory) => discard_upper(storage, directory)?,
            Operation::MakeUpper { upper, like } => self.make_upper(upper, like)?,
            Operation::MakeWork(work) => self.make_directory("upper.work", work, 0o700)?,
            Operation::MakeMountPoint(path) => self.make_directory("mount.point", path, 0o700)?,
            Operation::MountOverlay(overlay) => {
                storage.steps.reached("mount.overlay");
                overlay::mount(storage.mount_way, overlay, &storage.steps)?;
                self.undo.push(Undo::Unmount(overlay.target.clone()));
            }
            Operation::GiveVolume { name, data, owner } => {
                storage.volumes.with(name, || copy_up::give(data, *owner))?;
            }
            Operation::CopyUp { name, .. } => {
                storage
                    .volumes
                    .with(name, || copy_up::fill(&storage.steps, operation))?;
            }
            Operation::CommitHolder => {
                storage.steps.reached("holder.commit");
                storage.holders.commit(self.run)?;
            }
        }
        Ok(())
    }

    fn make_directory(
        &mut self,
        step: &'static str,
        path: &Path,
        mode: u32,
    ) -> Result<(), PathError> {
        self.storage.steps.reached(step);
        match DirBuilder::new().mode(mode).create(path) {
            Ok(()) => self.undo.push(Undo::RemoveDirectory(path.to_owned())),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.is_dir() => {}
            Err(error) => return Err(error).at("make directory", path),
        }
        Ok(())
    }

    fn mount_volume(
        &mut self,
        name: &VolumeName,
        backing: &crate::volume::driver::Backing,
    ) -> Result<(), OperationError> {
        let storage = self.storage;
        storage.steps.reached("volume.mount");
        let mount = || backing::ensure_mounted(&storage.instance, name, backing);
        if storage.volumes.with(name, mount)? {
            self.undo.push(Undo::UnmountVolume(name.clone()));
        }
        Ok(())
    }

    /// Makes it aside and renames it, so that an upper directory which is there
    /// always has the right owner and mode.
    fn make_upper(&mut self, upper: &Path, like: &Path) -> Result<(), PathError> {
        let aside = upper.with_extension("new");
        let container = upper.parent().unwrap_or(upper);
        self.storage.steps.reached("upper.make");
        base::file::make_directories(container, 0o700)?;
        base::file::make_directories(&aside, 0o755)?;
        self.undo.push(Undo::DiscardUpper(container.to_owned()));
        let from = File::open(like).at("open", like)?;
        let to = File::open(&aside).at("open", &aside)?;
        metadata::copy(&from, &to).at("copy the top layer's metadata to", &aside)?;
        self.storage.steps.reached("upper.rename");
        fs::rename(&aside, upper).at("rename to", upper)
    }

    /// Takes everything back, the latest first; returns what failed.
    fn take_back(self) -> Vec<String> {
        let mut failures = Vec::new();
        for undo in self.undo.iter().rev() {
            if let Err(error) = take_back(self.storage, self.run, undo) {
                tracing::error!(?undo, error = %chain(&error), "cannot take back");
                failures.push(chain(&error));
            }
        }
        failures
    }
}

fn take_back(storage: &Storage, run: &RunId, undo: &Undo) -> Result<(), PathError> {
    match undo {
        Undo::ForgetHolder => storage.holders.remove(run),
        Undo::RemoveDirectory(path) => match fs::remove_dir(path) {
            // Somebody else found it useful by now, or removed it.
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotFound
                ) =>
            {
                Ok(())
            }
            other => other.at("remove directory", path),
        },
        Undo::DiscardVolume(name) => {
            let others = || others_using(storage, name, run);
            storage.volumes.discard_unused(name, others)
        }
        Undo::UnmountVolume(name) => unmount_unused(storage, name, run),
        Undo::DiscardUpper(directory) => discard_upper(storage, directory),
        Undo::Unmount(path) => mounts::detach_and_remove(path),
    }
}

fn others_using(storage: &Storage, name: &VolumeName, run: &RunId) -> usize {
    let users = storage.holders.of_volume(name);
    users.iter().filter(|user| *user != run).count()
}

/// Unmounts the backing store of a volume that no run but `run` uses.
///
/// # Errors
/// When it is mounted and cannot be unmounted.
pub fn unmount_unused(storage: &Storage, name: &VolumeName, run: &RunId) -> Result<(), PathError> {
    storage.volumes.with(name, || {
        if others_using(storage, name, run) > 0 {
            return Ok(());
        }
        mounts::detach_and_remove(&backing::mount_point(&storage.instance, name))
    })
}

/// Throws away the writable layer in a container's directory.
///
/// # Errors
/// When it is there and cannot be thrown away.
pub fn discard_upper(storage: &Storage, container: &Path) -> Result<(), PathError> {
    // The upper first: without its work directory's mark, a volatile upper that
    // may be incomplete would look usable.
    for name in ["upper", "upper.new", "work"] {
        storage.steps.reached("upper.discard");
        storage.trash.discard(&container.join(name))?;
    }
    Ok(())
}
