//! Containers: what is kept of them, and everything that is done to them.
//!
//! One file per operation. An operation that changes a container holds its
//! `operation` lock, so that two never interleave; state changes go through
//! [`Container::apply`], which asks the model, writes `state.json` and wakes
//! whoever waits.

pub mod adopt;
pub mod archive;
pub mod attach;
pub mod commit;
pub mod connect;
pub mod create;
pub mod exec;
pub mod exit;
pub mod files;
pub mod group_moves;
pub mod health;
pub mod links;
pub mod log;
pub mod logs;
pub mod network;
pub mod registry;
pub mod remove;
pub mod shim;
pub mod start;
pub mod stats;
pub mod stop;
pub mod store;
pub mod told;
pub mod update;
pub mod user;
pub mod wait;

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::{ContainerId, RunId, RunNumber};
use engine_api::config::ContainerConfig as RequestedConfig;
use engine_api::host_config::HostConfig;
use engine_api::network::NetworkingConfig;
use engine_model::{ContainerConfig, ContainerEvent, ContainerState, HealthState, Status};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::error::{OrFail as _, Result, conflict};

/// The request a container was made by, completed from its image: what
/// inspecting it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Requested {
    pub config: RequestedConfig,
    pub host_config: HostConfig,
    #[serde(default)]
    pub networking_config: NetworkingConfig,
}

/// A container, shared by everything that deals with it.
#[derive(Debug)]
pub struct Container {
    pub id: ContainerId,
    /// Who it belongs to, where its creator may only have containers of its own.
    pub owner: Option<String>,
    definition: Mutex<Definition>,
    directory: PathBuf,
    name: Mutex<String>,
    snapshot: watch::Sender<Snapshot>,
    /// Makes read, decide, write of the state one step.
    writing: Mutex<()>,
    /// Held by operations, so that start, stop and remove never interleave.
    pub operation: tokio::sync::Mutex<()>,
    pub(crate) health: Mutex<health::HealthReport>,
    pub(crate) waiting: attach::Waiting,
    /// The run whose end is one of a restart, and removes nothing; no run has the 0.
    kept_run: AtomicU64,
}

/// What a container is, as a whole that is replaced when a part of it is updated.
#[derive(Debug, Clone)]
struct Definition {
    config: Arc<ContainerConfig>,
    requested: Arc<Requested>,
}

/// What waiters see.
#[derive(Debug, Clone, PartialEq)]
pub struct Snapshot {
    pub state: ContainerState,
    pub health: Option<HealthState>,
    /// Name and record are free.
    pub removed: bool,
}

impl Container {
    /// Returns a container with this state.
    pub fn new(stored: store::StoredContainer, state: ContainerState, directory: PathBuf) -> Self {
        let snapshot = Snapshot {
            state,
            health: None,
            removed: false,
        };
        Self {
            id: stored.config.id.clone(),
            owner: stored.owner,
            definition: Mutex::new(Definition {
                config: Arc::new(stored.config),
                requested: Arc::new(stored.requested),
            }),
            directory,
            name: Mutex::new(stored.name),
            snapshot: watch::Sender::new(snapshot),
            writing: Mutex::new(()),
            operation: tokio::sync::Mutex::new(()),
            health: Mutex::default(),
            waiting: attach::Waiting::default(),
            kept_run: AtomicU64::new(0),
        }
    }

    /// Returns what every start is planned from.
    pub fn config(&self) -> Arc<ContainerConfig> {
        lock(&self.definition).config.clone()
    }

    /// Returns the request it was made by, with the updates since.
    pub fn requested(&self) -> Arc<Requested> {
        lock(&self.definition).requested.clone()
    }

    /// Replaces what the container is, durably; the caller holds `operation`.
    ///
    /// # Errors
    /// When it cannot be written; nothing changes then.
    pub fn redefine(&self, config: ContainerConfig, requested: Requested) -> Result<()> {
        let stored = store::StoredContainer {
            name: self.name(),
            config,
            requested,
            owner: self.owner.clone(),
        };
        store::write_config(&self.directory, &stored).or_internal()?;
        *lock(&self.definition) = Definition {
            config: Arc::new(stored.config),
            requested: Arc::new(stored.requested),
        };
        Ok(())
    }

    /// Returns the container's directory.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the name at the moment, without a slash.
    pub fn name(&self) -> String {
        lock(&self.name).clone()
    }

    /// Returns the state at the moment.
    pub fn state(&self) -> ContainerState {
        self.snapshot.borrow().state.clone()
    }

    /// Returns its health at the moment, if it is looked after.
    pub fn health(&self) -> Option<HealthState> {
        self.snapshot.borrow().health
    }

    /// Returns the latest run.
    pub fn run(&self) -> RunId {
        RunId::new(self.id.clone(), self.snapshot.borrow().state.run)
    }

    /// Returns a receiver that is told every change.
    pub fn watch(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.subscribe()
    }

    /// Moves the container on: asks the model, writes `state.json`, wakes
    /// waiters. Returns the state before and after.
    ///
    /// # Errors
    /// Conflict when the event cannot happen now; internal when the state
    /// cannot be written, and is then unchanged.
    pub fn apply(&self, event: ContainerEvent) -> Result<(ContainerState, ContainerState)> {
        self.apply_then(event, |_| None)
    }

    /// The same, with what `then` says of a state that is new: both are written
    /// at once, so that no crash comes between them.
    ///
    /// # Errors
    /// As [`Container::apply`].
    pub fn apply_then(
        &self,
        event: ContainerEvent,
        then: impl FnOnce(&ContainerState) -> Option<ContainerEvent>,
    ) -> Result<(ContainerState, ContainerState)> {
        let _writing = lock(&self.writing);
        let before = self.state();
        let mut after = before.on(event).map_err(conflict)?;
        if after != before {
            if let Some(next) = then(&after) {
                after = after.on(next).map_err(conflict)?;
            }
            store::write_state(&self.directory, &after).or_internal()?;
            self.snapshot
                .send_modify(|snapshot| snapshot.state = after.clone());
        }
        Ok((before, after))
    }

    /// Keeps the end of a run from removing it, until another run is named.
    pub(crate) fn keep_after(&self, run: RunNumber) {
        self.kept_run.store(run.0, Ordering::SeqCst);
    }

    /// Whether it goes now that its run `run` has ended.
    pub(crate) fn goes_after(&self, run: RunNumber) -> bool {
        let state = self.state();
        let has_ended = state.run == run && state.status == Status::Exited;
        let is_kept = self.kept_run.load(Ordering::SeqCst) == run.0;
        has_ended && !is_kept && self.config().auto_remove
    }

    /// Tells waiters that name and record are free.
    pub(crate) fn mark_removed(&self) {
        self.snapshot
            .send_modify(|snapshot| snapshot.removed = true);
    }

    pub(crate) fn set_health(&self, health: Option<HealthState>) {
        self.snapshot
            .send_modify(|snapshot| snapshot.health = health);
    }

    pub(crate) fn set_name(&self, name: String) {
        *lock(&self.name) = name;
    }

    pub(crate) fn stored(&self) -> store::StoredContainer {
        store::StoredContainer {
            name: self.name(),
            config: ContainerConfig::clone(&self.config()),
            requested: Requested::clone(&self.requested()),
            owner: self.owner.clone(),
        }
    }
}

/// Locks a mutex whose data stays valid even if a holder panicked: every
/// holder in this crate only replaces whole values.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
