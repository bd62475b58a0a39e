//! The engine daemon: images, containers and Docker's API, on top of the
//! event log, netd, volumed, one shim per container and an OCI runtime.
//!
//! - [`daemon`]: starting up, supervising the helpers, shutting down.
//! - [`bus`], [`event`]: the event log's end here and the engine's own facts.
//! - [`container`]: everything done to containers.
//! - [`image`]: everything done to images that are here; [`distribution`]: to and
//!   from registries.
//! - [`api`]: HTTP, who may do what, routes, and what clients see.
//! - [`metrics`]: what the daemon counts of itself.
#![deny(unsafe_code)]

pub mod api;
pub mod bus;
pub mod config;
pub mod container;
pub mod daemon;
pub mod distribution;
pub mod error;
pub mod event;
pub mod image;
pub mod metrics;
pub mod names;
#[expect(
    unsafe_code,
    reason = "the groups of a socket's peer have no safe wrapper in rustix or nix"
)]
mod sys;
mod user_namespace;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use base::{Instance, RunId, Timestamp};
use engine_image::ImageStore;

use crate::container::exec::Execs;
use crate::container::group_moves::GroupMoves;
use crate::container::registry::Registry;
use crate::container::{Container, lock};
use crate::error::{Result, internal};

/// The programs the engine starts, found beside its own.
#[derive(Debug, Clone)]
pub struct Binaries {
    pub netd: PathBuf,
    pub volumed: PathBuf,
    pub shim: PathBuf,
    pub runtime: PathBuf,
}

/// The daemon's state, shared by every task.
#[derive(Debug)]
pub struct Engine {
    pub instance: Instance,
    pub config: config::EngineConfig,
    pub binaries: Binaries,
    pub bus: bus::Bus,
    pub images: Arc<ImageStore>,
    pub containers: Registry,
    pub execs: Execs,
    /// Containers that are gone for clients while their last run ends.
    pub leaving: Leaving,
    pub group_moves: GroupMoves,
    pub started: Timestamp,
    pub metrics: metrics::Metrics,
    /// How many refused requests of whom are in the event log.
    pub audit: api::Audit,
    pub steps: base::Steps,
    stopping: Arc<AtomicBool>,
}

impl Engine {
    /// Returns whether the daemon is shutting down.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Returns the container of a run, be it registered or leaving.
    pub fn container_of(&self, run: &RunId) -> Option<Arc<Container>> {
        self.containers
            .by_id(&run.container)
            .or_else(|| self.leaving.find(run))
    }
}

/// Containers that are removed for clients but whose last run is not cleaned up.
#[derive(Debug, Default)]
pub struct Leaving {
    by_run: Mutex<HashMap<RunId, Arc<Container>>>,
}

impl Leaving {
    /// Keeps a container until [`Leaving::forget`] is told its run is over.
    pub fn keep(&self, container: &Arc<Container>) {
        lock(&self.by_run).insert(container.run(), container.clone());
    }

    /// Forgets the run.
    pub fn forget(&self, run: &RunId) {
        lock(&self.by_run).remove(run);
    }

    /// Returns every container that is leaving.
    pub fn all(&self) -> Vec<Arc<Container>> {
        lock(&self.by_run).values().cloned().collect()
    }

    fn find(&self, run: &RunId) -> Option<Arc<Container>> {
        lock(&self.by_run).get(run).cloned()
    }
}

/// Runs blocking work off the async threads.
///
/// # Errors
/// What `work` returns, or that it panicked.
pub async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let joined = tokio::task::spawn_blocking(work).await;
    joined.unwrap_or_else(|error| Err(internal(format!("blocking work failed: {error}"))))
}

/// Runs `work` to its end even if the caller is dropped, as a request handler
/// is when its client goes away.
///
/// # Errors
/// What `work` returns, or that it panicked.
pub async fn uninterrupted<T: Send + 'static>(
    work: impl Future<Output = Result<T>> + Send + 'static,
) -> Result<T> {
    let joined = tokio::spawn(work).await;
    joined.unwrap_or_else(|error| Err(internal(format!("the operation was cut short: {error}"))))
}
