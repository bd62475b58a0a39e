//! Makes an image of one layer from the archive of a root file system.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::AtomicBool;

use base::{Digest, PathError, Timestamp};
use serde_json::json;

use super::changes::{ChangeError, apply_changes};
use super::load::manifest_for;
use super::spool::{Spool, Spooled};
use crate::install::{InstallRequest, Installed, finish, install};
use crate::layer::LayerError;
use crate::platform::Platform;
use crate::reference::Reference;
use crate::store::{Image, ImageStore, NewImage, StoreError};

/// What to call the image and what to say of it.
#[derive(Debug, Clone, Default)]
pub struct ImportRequest {
    /// The name, if any; without a tag, `latest`.
    pub reference: Option<Reference>,
    /// The comment in the history.
    pub message: String,
    /// Dockerfile instructions such as `CMD ["sh"]`, applied in order.
    pub changes: Vec<String>,
    /// What it runs on; `None` means this host.
    pub platform: Option<Platform>,
}

/// Says why an import failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A change is not understood.
    #[error(transparent)]
    Change(#[from] ChangeError),
    /// An image cannot be named by a digest.
    #[error("cannot import digest reference {0}")]
    Digest(Reference),
    /// The image that a new one is to be made of is none.
    #[error("cannot parse the configuration of the parent image")]
    Parent(#[source] serde_json::Error),
    /// The archive cannot be unpacked.
    #[error("cannot import the root file system")]
    Layer(#[from] LayerError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PathError> for ImportError {
    fn from(error: PathError) -> Self {
        Self::Store(error.into())
    }
}

impl ImageStore {
    /// Imports a root file system, which may be compressed by gzip or zstd.
    ///
    /// # Errors
    /// When a change is wrong, the archive is damaged or the store cannot be
    /// written; nothing is visible then.
    pub fn import(
        &self,
        archive: impl Read,
        request: &ImportRequest,
    ) -> Result<Image, ImportError> {
        if let Some(reference) = request.reference.as_ref().filter(|r| r.digest().is_some()) {
            return Err(ImportError::Digest(reference.clone()));
        }
        let mut run_config = serde_json::Map::new();
        apply_changes(&mut run_config, &request.changes)?;
        let mut spool = Spool::new(self)?;
        let file = spool.keep_stream(archive)?;
        let lease = self.lease(vec![file.digest]);
        let imported = self.import_file(&file, request, run_config);
        drop(lease);
        imported.inspect_err(|_| self.abandon(&[file.digest]))
    }

    /// Unpacks a layer that is known by its archive alone.
    pub(super) fn install_file(&self, file: &Spooled) -> Result<Installed, ImportError> {
        let request = InstallRequest {
            blob: self.adopt(file)?,
            expected: None,
            cancel: &AtomicBool::new(false),
            progress: &|_| {},
        };
        Ok(install(self, request)?)
    }

    fn import_file(
        &self,
        file: &Spooled,
        request: &ImportRequest,
        run_config: serde_json::Map<String, serde_json::Value>,
    ) -> Result<Image, ImportError> {
        let installed = self.install_file(file)?;
        let diff_id = installed.diff_id();
        let _layer = self.lease(vec![diff_id]);
        let layers = finish(self, &[diff_id], HashMap::from([(diff_id, installed)]))?;
        let config = configuration(request, run_config, diff_id);
        Ok(self.add_image(NewImage {
            config: self.put_blob(&config)?,
            manifest: self.put_blob(&manifest_for(&config, &layers))?,
            layers,
            names: request.reference.iter().map(Reference::tagged).collect(),
        })?)
    }
}

fn configuration(
    request: &ImportRequest,
    run_config: serde_json::Map<String, serde_json::Value>,
    diff_id: Digest,
) -> Vec<u8> {
    let platform = request.platform.clone().unwrap_or_else(Platform::host);
    let now = Timestamp::now();
    let mut config = json!({
        "architecture": platform.architecture,
        "os": platform.os,
        "created": now,
        "config": run_config,
        "rootfs": { "type": "layers", "diff_ids": [diff_id] },
        "history": [{ "created": now, "comment": request.message }],
    });
    if let Some(variant) = platform.variant {
        config["variant"] = json!(variant);
    }
    config.to_string().into_bytes()
}

impl Installed {
    pub(super) fn diff_id(&self) -> Digest {
        match self {
            Self::Committed(record) => record.diff_id,
            Self::Waiting(waiting) => waiting.record().diff_id,
        }
    }
}
