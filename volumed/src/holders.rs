//! Who holds what: `<run>/volumed/holders/`.
//!
//! A run that is being prepared has `.<id>.<run>.preparing` there, written before
//! anything is done for it; once everything is in place that file is renamed to
//! `<id>.<run>.json`. So a restart knows what to undo and what to keep. The map in
//! memory mirrors the directory; the directory is the truth.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use base::file::{FileMode, make_directories, read_bounded, remove_if_there, replace};
use base::{ContainerId, PathContext as _, PathError, RunId, RunNumber, VolumeName};
use volumed_api::Holder;

/// No holder file of ours is larger: a request is at most one event.
const FILE_LIMIT_BYTES: u64 = 1 << 20;
const READY_SUFFIX: &str = ".json";
const PREPARING_SUFFIX: &str = ".preparing";

/// How far the work for a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Begun; what is there is to be undone after a crash.
    Preparing,
    /// Everything the holder names is in place.
    Ready,
}

/// A holder and how far it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Held {
    pub holder: Holder,
    pub phase: Phase,
}

/// Why a holder cannot be stored.
#[derive(Debug, thiserror::Error)]
pub enum HolderError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot write the holder of {run} as JSON")]
    Json {
        run: RunId,
        source: serde_json::Error,
    },
}

/// Every holder of this installation.
#[derive(Debug)]
pub struct Holders {
    directory: PathBuf,
    held: Mutex<BTreeMap<RunId, Held>>,
}

impl Holders {
    /// Reads the holders in `directory`, which is made if it is not there.
    /// Files that are no holders are removed: only volumed writes here, by
    /// rename, so they are temporaries of a writer that died.
    ///
    /// # Errors
    /// When the directory or a file in it cannot be read.
    pub fn load(directory: PathBuf) -> Result<Self, PathError> {
        make_directories(&directory, 0o700)?;
        let mut held = BTreeMap::new();
        for entry in fs::read_dir(&directory).at("list", &directory)? {
            let path = entry.at("list", &directory)?.path();
            if let Some(found) = read(&path)? {
                held.insert(found.holder.request.run.clone(), found);
            } else {
                tracing::warn!(?path, "removing a file that is no holder");
                remove_if_there(&path)?;
            }
        }
        let held = Mutex::new(held);
        Ok(Self { directory, held })
    }

    /// Writes down that work for a run begins.
    ///
    /// # Errors
    /// When the file cannot be written; nothing is held then.
    pub fn begin(&self, holder: Holder) -> Result<(), HolderError> {
        let run = holder.request.run.clone();
        let content = serde_json::to_vec(&holder).map_err(|source| HolderError::Json {
            run: run.clone(),
            source,
        })?;
        let phase = Phase::Preparing;
        let held = Held { holder, phase };
        self.map().insert(run.clone(), held);
        let written = replace(&self.preparing(&run), &content, FileMode::Private);
        written.inspect_err(|_| drop(self.map().remove(&run)))?;
        Ok(())
    }

    /// Writes down that everything of a run is in place.
    ///
    /// # Errors
    /// When the file cannot be renamed.
    pub fn commit(&self, run: &RunId) -> Result<(), PathError> {
        let ready = self.ready(run);
        fs::rename(self.preparing(run), &ready).at("rename to", &ready)?;
        if let Some(held) = self.map().get_mut(run) {
            held.phase = Phase::Ready;
        }
        Ok(())
    }

    /// Forgets a run; one that holds nothing is no error.
    ///
    /// # Errors
    /// When a file cannot be removed; the run is still held then.
    pub fn remove(&self, run: &RunId) -> Result<(), PathError> {
        remove_if_there(&self.preparing(run))?;
        remove_if_there(&self.ready(run))?;
        self.map().remove(run);
        Ok(())
    }

    /// Returns what a run holds.
    pub fn get(&self, run: &RunId) -> Option<Held> {
        self.map().get(run).cloned()
    }

    /// Returns every run of a container that holds something.
    pub fn of_container(&self, container: &ContainerId) -> Vec<RunId> {
        let first = RunId::new(container.clone(), RunNumber(0));
        let last = RunId::new(container.clone(), RunNumber(u64::MAX));
        let map = self.map();
        map.range(first..=last)
            .map(|(run, _)| run.clone())
            .collect()
    }

    /// Returns every run that uses a volume.
    pub fn of_volume(&self, name: &VolumeName) -> Vec<RunId> {
        let map = self.map();
        let uses = |held: &Held| held.holder.request.volumes.iter().any(|v| v.name == *name);
        let users = map.iter().filter(|(_, held)| uses(held));
        users.map(|(run, _)| run.clone()).collect()
    }

    /// Returns everything that is held.
    pub fn all(&self) -> Vec<Held> {
        self.map().values().cloned().collect()
    }

    fn map(&self) -> MutexGuard<'_, BTreeMap<RunId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn preparing(&self, run: &RunId) -> PathBuf {
        self.directory.join(format!(".{run}{PREPARING_SUFFIX}"))
    }

    fn ready(&self, run: &RunId) -> PathBuf {
        self.directory.join(format!("{run}{READY_SUFFIX}"))
    }
}

fn read(path: &Path) -> Result<Option<Held>, PathError> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let Some((run, phase)) = parse_name(&name) else {
        return Ok(None);
    };
    let content = read_bounded(path, FILE_LIMIT_BYTES)?;
    let holder: Option<Holder> = serde_json::from_slice(&content).ok();
    let holder = holder.filter(|holder| holder.request.run == run);
    Ok(holder.map(|holder| Held { holder, phase }))
}

fn parse_name(name: &str) -> Option<(RunId, Phase)> {
    let preparing = name
        .strip_prefix('.')
        .and_then(|rest| rest.strip_suffix(PREPARING_SUFFIX));
    if let Some(run) = preparing {
        return Some((run.parse().ok()?, Phase::Preparing));
    }
    let run = name.strip_suffix(READY_SUFFIX)?;
    Some((run.parse().ok()?, Phase::Ready))
}

#[cfg(test)]
mod tests {
    use super::*;
    use volumed_api::{MountRootfs, RootfsMounted, Upper};

    fn holder(run: &RunId) -> Holder {
        Holder {
            request: MountRootfs {
                user_namespace: None,
                run: run.clone(),
                layers: Vec::new(),
                upper: Upper::Persistent,
                volumes: Vec::new(),
                binds: Vec::new(),
                images: Vec::new(),
                shared_memory_bytes: None,
            },
            mounted: RootfsMounted {
                rootfs: "/x".into(),
                volumes: Vec::new(),
                binds: Vec::new(),
                images: Vec::new(),
            },
        }
    }

    #[test]
    fn a_restart_tells_begun_from_done_and_drops_what_is_neither() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        let holders = Holders::load(path.clone()).unwrap();
        let container = ContainerId::random();
        let at = |number| RunId::new(container.clone(), RunNumber(number));
        holders.begin(holder(&at(1))).unwrap();
        holders.begin(holder(&at(2))).unwrap();
        holders.commit(&at(2)).unwrap();
        let lying = path.join(format!("{}.json", at(3)));
        let content = serde_json::to_vec(&holder(&at(9))).unwrap();
        replace(&lying, &content, FileMode::Private).unwrap();
        replace(&path.join(".torn.tmp"), b"{", FileMode::Private).unwrap();

        let holders = Holders::load(path.clone()).unwrap();
        let phase = |number| holders.get(&at(number)).map(|held| held.phase);
        assert_eq!(phase(1), Some(Phase::Preparing));
        assert_eq!(phase(2), Some(Phase::Ready));
        assert_eq!(holders.of_container(&container), [at(1), at(2)]);
        for number in [1, 2, 2] {
            holders.remove(&at(number)).unwrap();
        }
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        assert!(holders.all().is_empty());
    }
}
