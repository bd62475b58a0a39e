//! Named volumes: `<root>/volumes/<name>/{volume.json,_data}`.
//!
//! A volume exists when its `volume.json` does; that file is written last and, on
//! removal, goes with the whole directory by one rename to `.removing/<request>`.
//! All work on one volume is done under its lock.

pub mod backing;
pub mod copy_up;
pub mod driver;
mod removal;

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::file::{FileMode, make_directories, write_durable};
use base::{Instance, PathContext as _, PathError, RunId, Timestamp, VolumeName};
use volumed_api::query::{self, QueryError};
use volumed_api::{CreateVolume, VolumeConfig};

use crate::keyed::KeyedLocks;
use crate::trash::Trash;
use base::Steps;
use driver::DriverError;

/// The only driver there is.
pub const LOCAL: &str = "local";
const DATA: &str = "_data";
const CONFIG: &str = "volume.json";
const REMOVING: &str = ".removing";

/// Why a volume cannot be made, used or removed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("error looking up volume plugin {0}: plugin {0:?} not found")]
    UnknownDriver(String),
    #[error("create {name}")]
    Options {
        name: VolumeName,
        source: DriverError,
    },
    #[error("a volume named {0} already exists with another driver or other options")]
    Differs(VolumeName),
    #[error("get {0}: no such volume")]
    Missing(VolumeName),
    #[error("remove {name}: volume is in use - [{}]", join(.users))]
    InUse { name: VolumeName, users: Vec<RunId> },
    #[error(transparent)]
    File(#[from] PathError),
    #[error(transparent)]
    Query(#[from] QueryError),
    #[error("cannot write {name} as JSON")]
    Json {
        name: VolumeName,
        source: serde_json::Error,
    },
}

fn join(users: &[RunId]) -> String {
    let ids = users.iter().map(|run| run.container.as_str());
    ids.collect::<Vec<_>>().join(", ")
}

/// Whether a volume was there before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ensured {
    Made,
    Found,
}

/// Every volume of this installation.
#[derive(Debug)]
pub struct Volumes {
    instance: Instance,
    steps: Arc<Steps>,
    locks: KeyedLocks<VolumeName>,
}

impl Volumes {
    /// Opens the volumes of `instance`.
    ///
    /// # Errors
    /// When a directory cannot be made or examined.
    pub fn open(instance: Instance, steps: Arc<Steps>) -> Result<Self, PathError> {
        make_directories(&instance.volumes().join(REMOVING), 0o700)?;
        let locks = KeyedLocks::default();
        Ok(Self {
            instance,
            steps,
            locks,
        })
    }

    /// Runs `work` while nobody else works on the volume.
    pub fn with<T>(&self, name: &VolumeName, work: impl FnOnce() -> T) -> T {
        self.locks.with(name, work)
    }

    /// Makes a volume, or returns the one that is there if it is the same.
    ///
    /// # Errors
    /// When the request is wrong, clashes with what is there, or a file cannot be
    /// written.
    pub fn create(&self, request: &CreateVolume) -> Result<VolumeConfig, VolumeError> {
        check_driver(&request.driver)?;
        let plan = driver::parse(&request.options);
        plan.map_err(|source| VolumeError::Options {
            name: request.name.clone(),
            source,
        })?;
        let (config, _) = self.ensure(request)?;
        if config.driver == request.driver && config.options == request.options {
            return Ok(config);
        }
        Err(VolumeError::Differs(request.name.clone()))
    }

    /// Makes a volume for a run that names one, or takes the one that is there,
    /// whatever its options.
    ///
    /// # Errors
    /// When a file cannot be read or written.
    pub fn ensure(&self, request: &CreateVolume) -> Result<(VolumeConfig, Ensured), VolumeError> {
        self.with(&request.name, || {
            if let Some(config) = query::volume(&self.instance, &request.name)? {
                // Whoever removed the directory by hand gets an empty volume.
                let data = query::data_directory(&self.instance, &config.name);
                make_directories(&data, 0o755)?;
                return Ok((config, Ensured::Found));
            }
            let config = VolumeConfig {
                name: request.name.clone(),
                driver: request.driver.clone(),
                created: Timestamp::now(),
                labels: request.labels.clone(),
                options: request.options.clone(),
            };
            let written = self.write(&config);
            // Nothing but an empty directory can be there yet.
            written.inspect_err(|_| drop(self.remove_empty(&config.name)))?;
            Ok((config, Ensured::Made))
        })
    }

    /// Takes back a volume that [`Self::ensure`] made, unless somebody has put
    /// something into it or uses it by now.
    ///
    /// # Errors
    /// When it is empty and cannot be removed.
    pub fn discard_unused(
        &self,
        name: &VolumeName,
        users: impl FnOnce() -> usize,
    ) -> Result<(), PathError> {
        self.with(name, || match users() {
            0 => self.remove_empty(name),
            _ => Ok(()),
        })
    }

    /// Throws away what a volume that was never finished left; one that holds
    /// data is only told of, whatever became of its `volume.json`.
    ///
    /// # Errors
    /// When a directory cannot be read or thrown away.
    pub fn discard_unfinished(&self, trash: &Trash) -> Result<(), PathError> {
        let directory = self.directory();
        for entry in fs::read_dir(&directory).at("list", &directory)? {
            let path = entry.at("list", &directory)?.path();
            let name = path.file_name().and_then(|name| name.to_str());
            let is_volume = name.is_some_and(base::id::is_valid_name);
            if !is_volume || path.join(CONFIG).symlink_metadata().is_ok() {
                continue;
            }
            if holds_something(&path.join(DATA))? {
                tracing::warn!(?path, "a directory with data but without volume.json stays");
                continue;
            }
            self.steps.reached("volume.unfinished");
            trash.discard(&path)?;
        }
        Ok(())
    }

    fn write(&self, config: &VolumeConfig) -> Result<(), VolumeError> {
        let directory = self.instance.volume(&config.name);
        let data = query::data_directory(&self.instance, &config.name);
        self.steps.reached("volume.directory");
        make_directories(&directory, 0o701)?;
        make_directories(&data, 0o755)?;
        let content = serde_json::to_vec(config).map_err(|source| VolumeError::Json {
            name: config.name.clone(),
            source,
        })?;
        self.steps.reached("volume.config");
        write_durable(&directory.join(CONFIG), &content, FileMode::Private)?;
        base::file::sync_directory(&self.instance.volumes())?;
        Ok(())
    }

    /// Removes a volume whose data is empty; another stays.
    fn remove_empty(&self, name: &VolumeName) -> Result<(), PathError> {
        let directory = self.instance.volume(name);
        self.steps.reached("volume.discard");
        match remove_directory(&directory.join(DATA)) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => return Ok(()),
            other => other?,
        }
        base::file::remove_if_there(&directory.join(CONFIG))?;
        remove_directory(&directory)
    }

    fn directory(&self) -> PathBuf {
        self.instance.volumes()
    }
}

fn holds_something(directory: &Path) -> Result<bool, PathError> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        other => Ok(other.at("list", directory)?.next().is_some()),
    }
}

fn check_driver(driver: &str) -> Result<(), VolumeError> {
    if driver == LOCAL {
        return Ok(());
    }
    Err(VolumeError::UnknownDriver(driver.to_owned()))
}

fn remove_directory(path: &Path) -> Result<(), PathError> {
    match fs::remove_dir(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.at("remove directory", path),
    }
}

/// Returns the request that makes a volume for a run that names it.
pub fn implicit(name: &VolumeName, labels: &BTreeMap<String, String>) -> CreateVolume {
    CreateVolume {
        name: name.clone(),
        driver: LOCAL.to_owned(),
        labels: labels.clone(),
        options: BTreeMap::new(),
    }
}
