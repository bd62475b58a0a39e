//! netd's files.
//!
//! ```text
//! <root>/networks/<id>.json            a NetworkConfig each, durable
//! <run>/netd/leases/<id>.<run>.json    a Lease each: the run has all of it
//! <run>/netd/intents/<id>.<run>.json   a Lease each: being made, or being released
//! <run>/netd/removals/<request>.json   a NetworkRemoved each: the reply, if it is asked again
//! ```
//! A lease is written as an intent before anything is done for it, moved to
//! `leases` once all is done, and moved back before it is released. Whatever
//! lies in `intents` when the daemon starts is taken away.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::file::{
    FileMode, make_directories, read_bounded, remove_if_there, replace, sync_directory,
    write_durable,
};
use base::{Instance, NetworkId, PathContext as _, PathError, RequestId, RunId};
use netd_api::query::{self, QueryError};
use netd_api::{Lease, NetworkConfig, NetworkRemoved};

/// No removal's file is larger: it holds a name.
const REMOVAL_LIMIT_BYTES: u64 = 4096;
/// No request lives longer.
const KEEP_REMOVALS: Duration = Duration::from_secs(3600);

/// Why a file could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("cannot write {what} as JSON")]
    Encode {
        what: String,
        source: serde_json::Error,
    },
}

/// netd's files of one installation.
#[derive(Debug, Clone)]
pub struct Store {
    instance: Instance,
}

impl Store {
    /// Returns the files of `instance`, with the directories made.
    ///
    /// # Errors
    /// When a directory cannot be made.
    pub fn open(instance: Instance) -> Result<Self, StoreError> {
        let store = Self { instance };
        let directories = [
            store.leases(),
            store.intents(),
            store.removals(),
            store.instance.networks(),
        ];
        for directory in directories {
            make_directories(&directory, 0o700)?;
        }
        Ok(store)
    }

    /// Returns all networks.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn networks(&self) -> Result<Vec<NetworkConfig>, StoreError> {
        Ok(query::networks(&self.instance)?)
    }

    /// Returns the leases that are complete.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn complete(&self) -> Result<Vec<Lease>, StoreError> {
        Ok(query::leases(&self.instance)?)
    }

    /// Returns the leases that are being made or released.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn incomplete(&self) -> Result<Vec<Lease>, StoreError> {
        Ok(query::read_leases(&self.intents())?)
    }

    /// Writes a network so that it survives a power cut.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_network(&self, network: &NetworkConfig) -> Result<(), StoreError> {
        let what = || format!("network {}", network.name);
        let json = serde_json::to_vec_pretty(network);
        let json = json.map_err(|source| StoreError::Encode {
            what: what(),
            source,
        })?;
        Ok(write_durable(
            &self.network(&network.id),
            &json,
            FileMode::Private,
        )?)
    }

    /// Removes a network's file.
    ///
    /// # Errors
    /// When it cannot be removed.
    pub fn remove_network(&self, id: &NetworkId) -> Result<(), StoreError> {
        remove_if_there(&self.network(id))?;
        Ok(sync_directory(&self.instance.networks())?)
    }

    /// Says that a request is about to remove a network, for when it comes again
    /// after that; forgets the requests that can not.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn note_removal(
        &self,
        request: &RequestId,
        removed: &NetworkRemoved,
    ) -> Result<(), StoreError> {
        self.forget_old_removals()?;
        let json = serde_json::to_vec(removed).map_err(|source| StoreError::Encode {
            what: format!("the removal of network {}", removed.name),
            source,
        })?;
        Ok(replace(&self.removal(request), &json, FileMode::Private)?)
    }

    /// Returns what a request has removed.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn removed_by(&self, request: &RequestId) -> Result<Option<NetworkRemoved>, StoreError> {
        match read_bounded(&self.removal(request), REMOVAL_LIMIT_BYTES) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            other => Ok(serde_json::from_slice(&other?).ok()),
        }
    }

    fn forget_old_removals(&self) -> Result<(), StoreError> {
        let directory = self.removals();
        for entry in fs::read_dir(&directory).at("list", &directory)? {
            let path = entry.at("list", &directory)?.path();
            let written = fs::metadata(&path).and_then(|metadata| metadata.modified());
            let age = written.ok().and_then(|written| written.elapsed().ok());
            if age.is_some_and(|age| age > KEEP_REMOVALS) {
                remove_if_there(&path)?;
            }
        }
        Ok(())
    }

    /// Says what is about to be made.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write_intent(&self, lease: &Lease) -> Result<(), StoreError> {
        write_lease(&self.intent(&lease.request.run), lease)
    }

    /// Writes a complete lease anew: what it says has changed, not what it holds.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn rewrite(&self, lease: &Lease) -> Result<(), StoreError> {
        write_lease(&self.lease(&lease.request.run), lease)
    }

    /// Says that all of an intent is in place.
    ///
    /// # Errors
    /// When the file cannot be moved.
    pub fn complete_intent(&self, run: &RunId) -> Result<(), StoreError> {
        let lease = self.lease(run);
        Ok(fs::rename(self.intent(run), &lease).at("rename to", &lease)?)
    }

    /// Says that a lease is about to be released.
    ///
    /// # Errors
    /// When the file cannot be moved.
    pub fn begin_release(&self, run: &RunId) -> Result<(), StoreError> {
        let intent = self.intent(run);
        Ok(fs::rename(self.lease(run), &intent).at("rename to", &intent)?)
    }

    /// Says that nothing of a run is left.
    ///
    /// # Errors
    /// When the file cannot be removed.
    pub fn forget(&self, run: &RunId) -> Result<(), StoreError> {
        Ok(remove_if_there(&self.intent(run))?)
    }

    fn leases(&self) -> PathBuf {
        self.instance.netd().join("leases")
    }

    fn intents(&self) -> PathBuf {
        self.instance.netd().join("intents")
    }

    fn removals(&self) -> PathBuf {
        self.instance.netd().join("removals")
    }

    fn removal(&self, request: &RequestId) -> PathBuf {
        self.removals().join(format!("{request}.json"))
    }

    fn lease(&self, run: &RunId) -> PathBuf {
        self.leases().join(format!("{run}.json"))
    }

    fn intent(&self, run: &RunId) -> PathBuf {
        self.intents().join(format!("{run}.json"))
    }

    fn network(&self, id: &NetworkId) -> PathBuf {
        self.instance.networks().join(format!("{id}.json"))
    }
}

fn write_lease(path: &Path, lease: &Lease) -> Result<(), StoreError> {
    let json = serde_json::to_vec(lease).map_err(|source| StoreError::Encode {
        what: format!("the lease of {}", lease.request.run),
        source,
    })?;
    Ok(replace(path, &json, FileMode::Private)?)
}
