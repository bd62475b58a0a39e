//! Making the host agree with what is written down, at start: what a killed
//! volumed left half done is undone, mounts that nobody holds are unmounted.
//!
//! Facts first, then a pure plan, then a loop. Only what lies below `<run>/mnt`
//! and bears a name of ours is touched; nothing that a run holds is made again.
//! Runs that ended while nobody watched are released by their events, which come
//! after this.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use base::failure::chain;
use base::lock::FileLock;
use base::{Instance, PathContext as _, PathError, RunId, VolumeName};

use crate::holders::{Held, Phase};
use crate::id_map::CLONES;
use crate::mounts;
use crate::rootfs::{self, RootfsError};
use crate::storage::Storage;
use crate::volume::backing;

/// What is there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub holders: Vec<HolderFact>,
    /// Mount points below `<run>/mnt`, and the directories there.
    pub mounted: BTreeSet<PathBuf>,
    pub directories: BTreeSet<PathBuf>,
}

/// A holder and whether its run lives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HolderFact {
    pub held: Held,
    /// Whether the run's shim lives.
    pub lives: bool,
}

/// One thing to put right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Undo what was done for a run.
    Release(RunId),
    /// Unmount and remove what nobody holds.
    Remove(PathBuf),
    /// A name that is none of ours: only told.
    LeaveAlone(PathBuf),
}

/// Puts right what it can; what fails is logged, and tried again at the next
/// start.
///
/// # Errors
/// When the host cannot be examined.
pub fn reconcile(storage: &Storage) -> Result<(), PathError> {
    let facts = gather(storage)?;
    for action in plan(&storage.instance, &facts) {
        tracing::info!(?action, "reconciling");
        if let Err(error) = apply(storage, &action) {
            tracing::error!(?action, error = %chain(&error), "cannot reconcile");
        }
    }
    let discarded = storage.volumes.discard_unfinished(&storage.trash);
    if let Err(error) = discarded {
        tracing::error!(error = %chain(&error), "cannot discard unfinished volumes");
    }
    Ok(())
}

/// Releases every run whose shim is gone, when the events that would have told
/// of its end are lost.
///
/// # Errors
/// The first run that cannot be released; the others are.
pub fn release_dead(storage: &Storage) -> Result<(), RootfsError> {
    let mut first = Ok(());
    for held in storage.holders.all() {
        let run = &held.holder.request.run;
        if !lives(&storage.instance, run)? {
            tracing::info!(%run, "releasing a run whose end was not seen");
            first = first.and(rootfs::release(storage, run));
        }
    }
    first
}

/// Returns what is to be done, from what is there.
pub fn plan(instance: &Instance, facts: &Facts) -> Vec<Action> {
    let mut actions = Vec::new();
    let mut kept = BTreeSet::new();
    for fact in &facts.holders {
        let request = &fact.held.holder.request;
        let rootfs = instance.rootfs(&request.run);
        let is_whole = fact.held.phase == Phase::Ready && facts.mounted.contains(&rootfs);
        if !is_whole && !fact.lives {
            actions.push(Action::Release(request.run.clone()));
        }
        // What is released below removes its own mounts.
        kept.insert(rootfs);
        let volumes = request.volumes.iter();
        kept.extend(volumes.map(|volume| backing::mount_point(instance, &volume.name)));
        kept.extend(rootfs::plan::parts(instance, request));
    }
    let strays = facts.mounted.union(&facts.directories);
    for path in strays.filter(|path| !kept.contains(*path)) {
        actions.extend(judge(instance, path));
    }
    actions
}

fn judge(instance: &Instance, path: &Path) -> Option<Action> {
    let (mounts, volumes) = (instance.mounts(), backing::directory(instance));
    let parts = volumed_api::parts(instance);
    let is_part = |name: &str| {
        let name = name.split_once(CLONES).map_or(name, |(part, _)| part);
        let run = name.rsplit_once('.').map(|(run, _)| run);
        run.is_some_and(|run| run.parse::<RunId>().is_ok())
    };
    let name = path.file_name().and_then(|name| name.to_str());
    let is_ours = match path.parent() {
        Some(parent) if parent == mounts => name.is_some_and(is_of_run),
        Some(parent) if parent == volumes => name.is_some_and(|n| n.parse::<VolumeName>().is_ok()),
        Some(parent) if parent == parts => name.is_some_and(is_part),
        // Deeper: goes with what it is mounted on.
        _ => return None,
    };
    match is_ours {
        true => Some(Action::Remove(path.to_owned())),
        false if path == volumes || path == parts => None,
        false => Some(Action::LeaveAlone(path.to_owned())),
    }
}

/// A root filesystem, or what it was being mounted from.
fn is_of_run(name: &str) -> bool {
    let run = name.split_once(CLONES).map_or(name, |(run, _)| run);
    run.parse::<RunId>().is_ok()
}

fn apply(storage: &Storage, action: &Action) -> Result<(), RootfsError> {
    match action {
        Action::Release(run) => rootfs::release(storage, run),
        Action::Remove(path) => {
            storage.steps.reached("reconcile.remove");
            Ok(mounts::detach_and_remove(path)?)
        }
        Action::LeaveAlone(_) => Ok(()),
    }
}

fn gather(storage: &Storage) -> Result<Facts, PathError> {
    let instance = &storage.instance;
    let mut facts = Facts::default();
    for held in storage.holders.all() {
        let lives = lives(instance, &held.holder.request.run)?;
        facts.holders.push(HolderFact { held, lives });
    }
    facts.mounted.extend(mounts::below(&instance.mounts())?);
    let of_volumes = backing::directory(instance);
    for directory in [instance.mounts(), of_volumes, volumed_api::parts(instance)] {
        for entry in fs::read_dir(&directory).at("list", &directory)? {
            facts
                .directories
                .insert(entry.at("list", &directory)?.path());
        }
    }
    Ok(facts)
}

fn lives(instance: &Instance, run: &RunId) -> Result<bool, PathError> {
    FileLock::is_held(&instance.shim(run).join("lock"))
}

#[cfg(test)]
#[path = "reconcile/tests.rs"]
mod tests;
