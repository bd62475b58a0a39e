//! The daemon's life: lock, open, reconcile, serve until stopped.

use std::io::{Seek as _, Write as _};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;

use base::lock::FileLock;
use base::{Instance, PathContext as _, PathError};
use events::{Log, OpenError, ReadError, Server, ServerConfig};

use crate::config::StorageSection;
use crate::overlay::MountWay;
use crate::reconcile;
use crate::service::VolumeService;
use crate::storage::Storage;
use base::Steps;

/// Why the daemon cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum DaemonError {
    #[error("another volumed serves {run:?} (its lock {lock:?} is held)")]
    Running { run: PathBuf, lock: PathBuf },
    #[error("cannot take the daemon's lock")]
    Lock(#[source] PathError),
    #[error("cannot open the storage")]
    Storage(#[source] PathError),
    #[error("cannot open the event log")]
    Log(#[source] OpenError),
    #[error("cannot examine what a former volumed left")]
    Reconcile(#[source] PathError),
    #[error("cannot go on with the event log")]
    Serve(#[source] ReadError),
}

/// What a daemon is started with.
#[derive(Debug)]
pub struct Daemon {
    pub instance: Instance,
    pub config: StorageSection,
    pub steps: Steps,
    /// Forces a way to mount; a test of kernels we do not run.
    pub mount_way: Option<MountWay>,
}

impl Daemon {
    /// Serves until `stop` is set.
    ///
    /// # Errors
    /// When another one serves, or the step that failed.
    pub fn run(self, stop: &AtomicBool) -> Result<(), DaemonError> {
        let _lock = lock(&self.instance)?;
        let log = Log::open(&self.instance.events()).map_err(DaemonError::Log)?;
        let storage = Storage::open(self.instance, self.steps, self.mount_way);
        let storage = Arc::new(storage.map_err(DaemonError::Storage)?);
        reconcile::reconcile(&storage).map_err(DaemonError::Reconcile)?;
        let service = VolumeService::new(Arc::clone(&storage), log.clone());
        let config = ServerConfig {
            workers: self.config.workers,
            teardown_workers: self.config.teardown_workers,
            ..ServerConfig::default()
        };
        let server = Server::new(log, Arc::new(service), config);
        thread::scope(|scope| {
            let janitor = thread::Builder::new().name("volumed-trash".to_owned());
            let spawned = janitor.spawn_scoped(scope, || storage.trash.empty_until_closed());
            spawned
                .at("start the janitor of", storage.instance.volumes())
                .map_err(DaemonError::Storage)?;
            tracing::info!(mount_way = ?storage.mount_way, "serving");
            let served = server.run(stop).map_err(DaemonError::Serve);
            storage.trash.close();
            served
        })
    }
}

/// Takes the lock that makes volumed single, and writes pid and version into it.
fn lock(instance: &Instance) -> Result<FileLock, DaemonError> {
    let path = instance.daemon_lock("volumed");
    let taken = FileLock::try_acquire(&path).map_err(DaemonError::Lock)?;
    let Some(lock) = taken else {
        return Err(DaemonError::Running {
            run: instance.run().to_owned(),
            lock: path,
        });
    };
    let text = format!("{} {}\n", std::process::id(), env!("CARGO_PKG_VERSION"));
    let mut file = lock.file();
    let written = file
        .set_len(0)
        .and_then(|()| file.rewind())
        .and_then(|()| file.write_all(text.as_bytes()));
    written.at("write", &path).map_err(DaemonError::Lock)?;
    Ok(lock)
}
