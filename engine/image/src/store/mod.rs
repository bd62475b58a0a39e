//! The content store: blobs, unpacked layers and the images made of them.
//!
//! ```text
//! lock                     held by the one process that uses the store
//! refs.json                images, their names and layers: the only roots
//! blobs/sha256/<hex>       manifests, configurations, layers as they came
//! layers/<hex>/            a layer by diff id, read-only once it has this name
//! layers/<hex>.json        its size and blob
//! layers/.tmp-…/           a layer being unpacked
//! ingest/<hex>             the beginning of a download
//! trash/                   what is being removed
//! ```
//!
//! Lock rule: `state` is held for a look or a change of `refs.json`, never while
//! a layer is unpacked or a byte fetched. What a pull needs before it names its
//! image is leased: nothing leased is removed.

mod commit;
mod image;
mod layout;
mod lease;
mod open;
mod pushed;
mod record;
mod remove;
mod resolve;
mod trash;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use base::lock::FileLock;
use base::{Digest, PathError, Timestamp};

pub use image::{Image, ImageLayer};
pub use record::RecordError;
pub use remove::{Force, ImageUse, RemoveConflict, RemoveError, Removed};
pub use resolve::ResolveError;

pub(crate) use commit::{LayerWorkspace, NewImage};
pub(crate) use image::{diff_ids, parse_config, platform};
pub(crate) use layout::Layout;
pub(crate) use lease::Turn;
pub(crate) use record::LayerRecord;

use image::ParsedConfig;
use record::Records;
use trash::Trash;

use crate::layer::Limits;
use crate::reference::Reference;

/// Says why a store could not be opened or changed.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the store.
    #[error("the image store {0:?} is in use by another process")]
    Locked(PathBuf),
    /// The references could not be read.
    #[error(transparent)]
    Records(#[from] RecordError),
    /// A file of the store failed.
    #[error(transparent)]
    File(#[from] PathError),
    /// There is no such image.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// A blob is not what its name says.
    #[error("blob {expected} of the store is damaged: its content is {actual}")]
    Damaged {
        /// Its name.
        expected: Digest,
        /// Its content.
        actual: Digest,
    },
    /// A layer has gone.
    #[error("the store has no layer {0}")]
    NoLayer(Digest),
    /// A configuration cannot be parsed.
    #[error("cannot parse the configuration of image {id}")]
    Config {
        /// The image.
        id: Digest,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
}

/// The images of one installation; clones share one store.
#[derive(Debug, Clone)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    layout: Layout,
    limits: Limits,
    state: Mutex<State>,
    trash: Trash,
    pub(crate) workers: lease::Workers,
    /// Last, so that the sweeper has stopped when another process may come.
    _lock: FileLock,
}

#[derive(Debug, Default)]
struct State {
    records: Records,
    configs: HashMap<Digest, ParsedConfig>,
    leases: HashMap<Digest, usize>,
}

impl ImageStore {
    fn state(&self) -> MutexGuard<'_, State> {
        // A panic cannot leave the state half changed: records are replaced whole.
        self.inner
            .state
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn layout(&self) -> &Layout {
        &self.inner.layout
    }

    pub(crate) fn limits(&self) -> Limits {
        self.inner.limits
    }

    pub(crate) fn workers(&self) -> &lease::Workers {
        &self.inner.workers
    }

    /// Returns the directory of a layer, for use as an overlay's lower directory.
    pub fn layer_path(&self, diff_id: &Digest) -> PathBuf {
        self.inner.layout.layer(diff_id)
    }

    /// Returns all images, the newest first.
    pub fn list(&self) -> Vec<Image> {
        let state = self.state();
        let mut images: Vec<Image> = state
            .records
            .0
            .values()
            .filter_map(|r| state.image(r))
            .collect();
        drop(state);
        images.sort_by(|a, b| b.created.cmp(&a.created).then_with(|| a.id.cmp(&b.id)));
        images
    }

    /// Returns the image with this id.
    pub fn image(&self, id: &Digest) -> Option<Image> {
        let state = self.state();
        state
            .records
            .0
            .get(id)
            .and_then(|record| state.image(record))
    }

    /// Returns the image that `text` names: `name[:tag]`, `name@digest`, or the
    /// beginning of an id.
    ///
    /// # Errors
    /// When the text is no reference, names nothing, or begins several ids.
    pub fn resolve(&self, text: &str) -> Result<Image, ResolveError> {
        let state = self.state();
        let record = resolve::resolve(&state.records, text)?;
        state
            .image(record)
            .ok_or_else(|| ResolveError::not_found(text))
    }

    /// Gives the image `source` the further name `target`; returns the image.
    ///
    /// # Errors
    /// When there is no such image, the new name is invalid or has a digest, or
    /// the references cannot be written.
    pub fn tag(&self, source: &str, target: &str) -> Result<Image, StoreError> {
        let name: Reference = target.parse().map_err(ResolveError::Invalid)?;
        if name.digest().is_some() {
            return Err(ResolveError::TagWithDigest(target.to_owned()).into());
        }
        let mut state = self.state();
        let id = resolve::resolve(&state.records, source)?.id;
        self.change(&mut state, |records| {
            records.name(id, &name.tagged(), Timestamp::now());
        })?;
        let image = state
            .records
            .0
            .get(&id)
            .and_then(|record| state.image(record));
        Ok(image.ok_or_else(|| ResolveError::not_found(source))?)
    }

    /// Applies `edit` to the references, on disk first.
    fn change(&self, state: &mut State, edit: impl FnOnce(&mut Records)) -> Result<(), PathError> {
        let mut records = state.records.clone();
        edit(&mut records);
        if records != state.records {
            records.write(&self.inner.layout.refs())?;
            state.records = records;
        }
        Ok(())
    }

    /// Waits until the files of removed images are gone.
    pub fn wait_for_removals(&self) {
        self.inner.trash.wait_until_empty();
    }
}

impl State {
    fn image(&self, record: &record::ImageRecord) -> Option<Image> {
        let parsed = self.configs.get(&record.id)?;
        Some(Image::new(record, parsed))
    }
}
