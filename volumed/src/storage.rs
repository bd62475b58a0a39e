//! Everything that the work on one installation shares.

use std::sync::Arc;

use base::file::make_directories;
use base::{ContainerId, Instance, PathError};

use crate::holders::Holders;
use crate::keyed::KeyedLocks;
use crate::mounts;
use crate::overlay::MountWay;
use crate::trash::Trash;
use crate::volume::{Volumes, backing};
use base::Steps;

/// The storage of one installation. Lock order: container, then volume.
#[derive(Debug)]
pub struct Storage {
    pub instance: Instance,
    pub steps: Arc<Steps>,
    pub holders: Holders,
    /// All work on the files and mounts of one container is done under its lock.
    pub containers: KeyedLocks<ContainerId>,
    pub volumes: Volumes,
    pub trash: Trash,
    pub mount_way: MountWay,
}

impl Storage {
    /// Opens the storage of `instance`: makes its directories, the private
    /// self-bind among them, and reads who holds what. `mount_way` forces one,
    /// else the kernel's best is taken.
    ///
    /// # Errors
    /// When a directory cannot be made, bound or read.
    pub fn open(
        instance: Instance,
        steps: Steps,
        mount_way: Option<MountWay>,
    ) -> Result<Self, PathError> {
        let steps = Arc::new(steps);
        steps.reached("storage.directories");
        make_directories(&instance.mounts(), 0o700)?;
        make_directories(&instance.volumed(), 0o700)?;
        for empty in empty_layers(&instance) {
            make_directories(&empty, 0o755)?;
        }
        steps.reached("storage.bind");
        mounts::ensure_private_bind(&instance.mounts())?;
        make_directories(&backing::directory(&instance), 0o700)?;
        make_directories(&volumed_api::parts(&instance), 0o700)?;
        Ok(Self {
            holders: Holders::load(instance.volumed().join("holders"))?,
            containers: KeyedLocks::default(),
            volumes: Volumes::open(instance.clone(), Arc::clone(&steps))?,
            trash: Trash::open(instance.volumes().join(".trash"))?,
            mount_way: mount_way.unwrap_or_else(MountWay::detect),
            steps,
            instance,
        })
    }
}

/// Returns the layers that stand below an image where it has too few of its own.
pub fn empty_layers(instance: &Instance) -> [std::path::PathBuf; 2] {
    ["empty", "empty-too"].map(|name| instance.volumed().join(name))
}
