//! How content becomes part of the store: verified, synced, then renamed.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base::file::{FileMode, read_bounded, replace, sync_directory, write_durable};
use base::{Digest, PathContext as _, PathError, Timestamp};
use rustix::io::Errno;

use super::image::{Image, ParsedConfig, parse_config};
use super::layout::TEMPORARY;
use super::record::{ImageRecord, LayerRecord};
use super::{ImageStore, StoreError};
use crate::layer::LayerError;
use crate::manifest::Descriptor;
use crate::reference::Reference;

const MAX_LAYER_RECORD: u64 = 64 << 10;

/// An image all of whose content is in the store.
#[derive(Debug)]
pub(crate) struct NewImage {
    pub(crate) config: Digest,
    pub(crate) manifest: Digest,
    pub(crate) layers: Vec<LayerRecord>,
    /// Names to give, with a tag or with a digest.
    pub(crate) names: Vec<Reference>,
}

/// A place to unpack a layer in, thrown away when dropped.
#[derive(Debug)]
pub(crate) struct LayerWorkspace {
    pub(crate) path: PathBuf,
    store: ImageStore,
}

impl Drop for LayerWorkspace {
    fn drop(&mut self) {
        if let Err(error) = self.store.inner.trash.take(&self.path) {
            let error = base::failure::chain(&error);
            tracing::warn!(%error, "a temporary layer stays until the store is opened again");
        }
    }
}

impl ImageStore {
    /// Makes an empty place for a layer to be unpacked in.
    pub(crate) fn layer_workspace(&self) -> Result<LayerWorkspace, PathError> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{TEMPORARY}{}-{number}", std::process::id());
        let path = self.layout().layers().join(name);
        std::fs::create_dir(&path).at("make directory", &path)?;
        Ok(LayerWorkspace {
            path,
            store: self.clone(),
        })
    }

    /// Gives an unpacked layer its name, with one sync for all its files and the
    /// blob it came from.
    pub(crate) fn commit_layer(&self, root: &Path, record: &LayerRecord) -> Result<(), PathError> {
        let layout = self.layout();
        let target = layout.layer(&record.diff_id);
        let bytes = serde_json::to_vec(record).expect("a record has no map");
        replace(
            &layout.layer_record(&record.diff_id),
            &bytes,
            FileMode::Private,
        )?;
        let directory = File::open(layout.layers()).at("open", layout.layers())?;
        rustix::fs::syncfs(&directory).at("sync the file system of", &target)?;
        match rustix::fs::rename(root, &target) {
            // Another pull was faster with the same layer.
            Err(Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            other => other.at("rename to", &target),
        }?;
        directory.sync_all().at("sync", layout.layers())
    }

    /// Returns what is known of a layer that is in the store.
    pub(crate) fn layer(&self, diff_id: &Digest) -> Option<LayerRecord> {
        let layout = self.layout();
        if !layout.layer(diff_id).is_dir() {
            return None;
        }
        let bytes = read_bounded(&layout.layer_record(diff_id), MAX_LAYER_RECORD).ok()?;
        let record: LayerRecord = serde_json::from_slice(&bytes).ok()?;
        (record.diff_id == *diff_id && layout.blob(&record.blob.digest).is_file()).then_some(record)
    }

    /// Returns whether the blob is in the store.
    pub(crate) fn has_blob(&self, blob: &Descriptor) -> bool {
        let metadata = self.layout().blob(&blob.digest).metadata();
        metadata.is_ok_and(|metadata| metadata.is_file() && metadata.len() == blob.size)
    }

    /// Stores a small blob; returns its digest.
    pub(crate) fn put_blob(&self, bytes: &[u8]) -> Result<Digest, PathError> {
        let digest = Digest::of(bytes);
        let path = self.layout().blob(&digest);
        // One that a power cut damaged is written anew.
        if self.get_blob(&digest, bytes.len() as u64)?.is_none() {
            write_durable(&path, bytes, FileMode::Private)?;
        }
        Ok(digest)
    }

    /// Returns a small blob if it is in the store and undamaged.
    pub(crate) fn get_blob(
        &self,
        digest: &Digest,
        limit: u64,
    ) -> Result<Option<Vec<u8>>, PathError> {
        match read_bounded(&self.layout().blob(digest), limit) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok(None),
            Ok(bytes) if Digest::of(&bytes) != *digest => Ok(None),
            other => other.map(Some),
        }
    }

    /// Throws away whatever is at `path` in the store.
    pub(crate) fn discard(&self, path: &Path) -> Result<(), PathError> {
        self.inner.trash.take(path)
    }

    /// Makes a complete, verified file of the store's file system a blob as well.
    pub(crate) fn link_blob(&self, path: &Path, digest: &Digest) -> Result<(), PathError> {
        let to = self.layout().blob(digest);
        match std::fs::hard_link(path, &to) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            other => return other.at("link to", &to),
        }
        // What is there may be the unsynced rest of a crash: this file is right.
        let beside = self
            .layout()
            .blobs()
            .join(format!("{TEMPORARY}{}", digest.hex()));
        base::file::remove_if_there(&beside)?;
        std::fs::hard_link(path, &beside).at("link to", &beside)?;
        rustix::fs::rename(&beside, &to).at("rename to", &to)?;
        // A rename between two names of one file does nothing.
        base::file::remove_if_there(&beside)
    }

    /// Returns if `bytes` more can be stored without touching the reserve.
    pub(crate) fn check_space(&self, bytes: u64) -> Result<(), LayerError> {
        let directory = self.layout().ingests();
        let stat = rustix::fs::statvfs(&directory).at("examine", &directory)?;
        let available = stat.f_bavail.saturating_mul(stat.f_frsize);
        let reserve = self.limits().reserve_bytes;
        if available < bytes.saturating_add(reserve) {
            return Err(LayerError::NoSpace { available, reserve });
        }
        Ok(())
    }

    /// Throws away a blob that turned out to be damaged.
    pub(crate) fn discard_blob(&self, digest: &Digest) -> Result<(), PathError> {
        self.inner.trash.take(&self.layout().blob(digest))
    }

    /// Makes a complete, verified download a blob; a layer's sync covers it.
    pub(crate) fn commit_ingest(&self, digest: &Digest) -> Result<(), PathError> {
        let (from, to) = (self.layout().ingest(digest), self.layout().blob(digest));
        rustix::fs::rename(&from, &to).at("rename to", &to)
    }

    /// Lists an image under its names; everything it needs is in the store.
    pub(crate) fn add_image(&self, new: NewImage) -> Result<Image, StoreError> {
        let raw = read_bounded(
            &self.layout().blob(&new.config),
            crate::manifest::MAX_CONFIG,
        )?;
        let config = parse_config(&raw).map_err(|source| StoreError::Config {
            id: new.config,
            source,
        })?;
        let parsed = ParsedConfig {
            config: Arc::new(config),
            raw: raw.into(),
        };
        sync_directory(&self.layout().blobs())?;
        let mut state = self.state();
        let now = Timestamp::now();
        self.change(&mut state, |records| {
            let record = records.0.entry(new.config).or_insert_with(|| ImageRecord {
                id: new.config,
                manifest: new.manifest,
                layers: Vec::new(),
                tags: BTreeSet::new(),
                digests: BTreeSet::new(),
                last_tagged: now,
            });
            (record.manifest, record.layers) = (new.manifest, new.layers.clone());
            for name in &new.names {
                records.name(new.config, name, now);
            }
        })?;
        state.configs.insert(new.config, parsed);
        let record = state.records.0.get(&new.config);
        let image = record.and_then(|record| state.image(record));
        Ok(image.expect("the record was just written"))
    }
}
