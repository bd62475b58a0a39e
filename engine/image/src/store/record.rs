//! The file `refs.json`: which images there are, what they are called, what they consist of.
//!
//! The form is described in `docs/formats/images.md`. The whole file is
//! replaced on every change, so it is right or the one before.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use base::file::{FileMode, read_bounded, write_durable};
use base::{Digest, PathError, Timestamp};
use serde::{Deserialize, Serialize};

use crate::manifest::Descriptor;
use crate::reference::Reference;

const FORMAT: u32 = 1;
/// Some ten thousand images.
const MAX_FILE: u64 = 256 << 20;

/// Says why the references cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] PathError),
    /// The file is not what this engine writes.
    #[error("cannot parse the image references in {path:?}")]
    Parse {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A newer engine wrote the file.
    #[error("the image references in {path:?} have format {found}, this engine knows {FORMAT}")]
    Format {
        /// The file.
        path: std::path::PathBuf,
        /// Its format.
        found: u32,
    },
}

/// One image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ImageRecord {
    pub(crate) id: Digest,
    pub(crate) manifest: Digest,
    pub(crate) layers: Vec<LayerRecord>,
    #[serde(with = "as_text")]
    pub(crate) tags: BTreeSet<Reference>,
    #[serde(with = "as_text")]
    pub(crate) digests: BTreeSet<Reference>,
    pub(crate) last_tagged: Timestamp,
}

/// One layer of an image; also the content of `layers/<hex>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LayerRecord {
    pub(crate) diff_id: Digest,
    pub(crate) size_bytes: u64,
    pub(crate) blob: Descriptor,
    /// What a push made of a blob that is not compressed; it is not kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) packed: Option<Box<Descriptor>>,
}

impl ImageRecord {
    /// Returns every blob the image needs.
    pub(crate) fn blobs(&self) -> impl Iterator<Item = Digest> + '_ {
        let layers = self.layers.iter().map(|layer| layer.blob.digest);
        [self.id, self.manifest].into_iter().chain(layers)
    }

    /// Returns how many names the image has.
    pub(crate) fn names(&self) -> usize {
        self.tags.len() + self.digests.len()
    }
}

/// All images by id.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Records(pub(crate) BTreeMap<Digest, ImageRecord>);

#[derive(Serialize, Deserialize)]
struct File<T> {
    format: u32,
    #[serde(default)]
    images: T,
}

impl Records {
    /// Reads the file; a missing one holds no images.
    pub(crate) fn read(path: &Path) -> Result<Self, RecordError> {
        let bytes = match read_bounded(path, MAX_FILE) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            other => other?,
        };
        let parse = |source| RecordError::Parse {
            path: path.to_owned(),
            source,
        };
        let head: File<serde::de::IgnoredAny> = serde_json::from_slice(&bytes).map_err(parse)?;
        if head.format != FORMAT {
            let path = path.to_owned();
            return Err(RecordError::Format {
                path,
                found: head.format,
            });
        }
        let file: File<Vec<ImageRecord>> = serde_json::from_slice(&bytes).map_err(parse)?;
        let by_id = file.images.into_iter().map(|image| (image.id, image));
        Ok(Self(by_id.collect()))
    }

    /// Replaces the file; when this returns the images are there after a power cut.
    pub(crate) fn write(&self, path: &Path) -> Result<(), PathError> {
        let images: Vec<&ImageRecord> = self.0.values().collect();
        let file = File {
            format: FORMAT,
            images,
        };
        let bytes = serde_json::to_vec(&file).expect("records have no map with other keys");
        write_durable(path, &bytes, FileMode::Private)
    }

    /// Returns the image that has the name `reference`, which has a tag or a digest.
    pub(crate) fn named(&self, reference: &Reference) -> Option<&ImageRecord> {
        if let Some(digest) = reference.digest() {
            let by_digest = reference.with_digest(digest);
            return self
                .0
                .values()
                .find(|image| image.digests.contains(&by_digest));
        }
        self.0.values().find(|image| image.tags.contains(reference))
    }

    /// Gives `reference` to the image `id` and takes it from any other.
    pub(crate) fn name(&mut self, id: Digest, reference: &Reference, now: Timestamp) {
        for image in self.0.values_mut() {
            if image.id == id {
                let names = if reference.digest().is_some() {
                    &mut image.digests
                } else {
                    &mut image.tags
                };
                names.insert(reference.clone());
                image.last_tagged = now;
            } else if reference.digest().is_none() {
                image.tags.remove(reference);
            }
        }
    }
}

/// References as their full text.
mod as_text {
    use super::{BTreeSet, Reference};
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(
        names: &BTreeSet<Reference>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(names.iter().map(Reference::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeSet<Reference>, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        let parse = |name: String| name.parse().map_err(D::Error::custom);
        names.into_iter().map(parse).collect()
    }
}
