//! What callers see of an image.

use std::collections::HashMap;
use std::sync::Arc;

use base::{Digest, Timestamp};
use oci_spec::image::ImageConfiguration;

use super::record::{ImageRecord, LayerRecord};
use crate::platform::Platform;
use crate::reference::Reference;

/// An image all of whose layers are on disk; cheap to clone.
#[derive(Debug, Clone)]
pub struct Image {
    /// The digest of the configuration, which is the image's id.
    pub id: Digest,
    /// The digest of the manifest the image was made from.
    pub manifest: Digest,
    /// Names with a tag, in the familiar form.
    pub repo_tags: Vec<String>,
    /// Names with a digest, in the familiar form.
    pub repo_digests: Vec<String>,
    /// The configuration.
    pub config: Arc<ImageConfiguration>,
    /// The configuration's bytes: Docker's own fields (`Healthcheck`, `Shell`,
    /// `OnBuild`) are only here.
    pub raw_config: Arc<[u8]>,
    /// The layers, lowest first.
    pub layers: Vec<ImageLayer>,
    /// When the image was built, if it says so.
    pub created: Option<Timestamp>,
    /// When a tag of the image was last set here.
    pub last_tagged: Timestamp,
    /// Bytes of the files of all layers.
    pub size_bytes: u64,
    /// What it runs on.
    pub platform: Platform,
}

/// One layer of an image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageLayer {
    /// The digest of the uncompressed archive; names the directory.
    pub diff_id: Digest,
    /// Bytes of its files.
    pub size_bytes: u64,
    /// The archive as it came.
    pub blob: Digest,
    /// Bytes of the archive as it came.
    pub blob_bytes: u64,
}

impl Image {
    /// Returns the digests of the layers, lowest first.
    pub fn diff_ids(&self) -> impl DoubleEndedIterator<Item = Digest> + '_ {
        self.layers.iter().map(|layer| layer.diff_id)
    }

    /// Returns the labels of the configuration.
    pub fn labels(&self) -> HashMap<String, String> {
        let config = self.config.config().as_ref();
        config.and_then(|c| c.labels().clone()).unwrap_or_default()
    }
}

/// A configuration as read and parsed once.
#[derive(Debug, Clone)]
pub(super) struct ParsedConfig {
    pub(super) config: Arc<ImageConfiguration>,
    pub(super) raw: Arc<[u8]>,
}

/// Parses a configuration.
pub(crate) fn parse_config(raw: &[u8]) -> Result<ImageConfiguration, serde_json::Error> {
    serde_json::from_slice(raw)
}

/// Returns the digests of the layers a configuration names, lowest first.
pub(crate) fn diff_ids(
    config: &ImageConfiguration,
) -> Result<Vec<Digest>, base::digest::DigestError> {
    config
        .rootfs()
        .diff_ids()
        .iter()
        .map(|text| text.parse())
        .collect()
}

/// Returns what an image of `config` runs on.
pub(crate) fn platform(config: &ImageConfiguration) -> Platform {
    Platform {
        os: config.os().to_string(),
        architecture: config.architecture().to_string(),
        variant: config.variant().clone().filter(|v| !v.is_empty()),
    }
}

impl Image {
    pub(super) fn new(record: &ImageRecord, parsed: &ParsedConfig) -> Self {
        let created = parsed.config.created().as_ref();
        Self {
            id: record.id,
            manifest: record.manifest,
            repo_tags: record.tags.iter().map(Reference::to_string).collect(),
            repo_digests: record.digests.iter().map(Reference::to_string).collect(),
            platform: platform(&parsed.config),
            config: Arc::clone(&parsed.config),
            raw_config: Arc::clone(&parsed.raw),
            layers: record.layers.iter().map(ImageLayer::from).collect(),
            created: created.and_then(|text| text.parse().ok()),
            last_tagged: record.last_tagged,
            size_bytes: record.layers.iter().map(|layer| layer.size_bytes).sum(),
        }
    }
}

impl From<&LayerRecord> for ImageLayer {
    fn from(layer: &LayerRecord) -> Self {
        Self {
            diff_id: layer.diff_id,
            size_bytes: layer.size_bytes,
            blob: layer.blob.digest,
            blob_bytes: layer.blob.size,
        }
    }
}
