//! Where the files of a store are.

use std::path::{Path, PathBuf};

use base::Digest;

/// The paths below `<root>/images`.
#[derive(Debug, Clone)]
pub(crate) struct Layout(PathBuf);

/// Begins the name of a layer that is being unpacked.
pub(crate) const TEMPORARY: &str = ".tmp-";

impl Layout {
    pub(crate) fn new(root: &Path) -> Self {
        Self(root.to_owned())
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("lock")
    }

    pub(crate) fn refs(&self) -> PathBuf {
        self.0.join("refs.json")
    }

    pub(crate) fn blobs(&self) -> PathBuf {
        self.0.join("blobs/sha256")
    }

    pub(crate) fn blob(&self, digest: &Digest) -> PathBuf {
        self.blobs().join(digest.hex())
    }

    pub(crate) fn layers(&self) -> PathBuf {
        self.0.join("layers")
    }

    pub(crate) fn layer(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(diff_id.hex())
    }

    pub(crate) fn layer_record(&self, diff_id: &Digest) -> PathBuf {
        self.layers().join(format!("{}.json", diff_id.hex()))
    }

    pub(crate) fn ingests(&self) -> PathBuf {
        self.0.join("ingest")
    }

    pub(crate) fn ingest(&self, digest: &Digest) -> PathBuf {
        self.ingests().join(digest.hex())
    }

    pub(crate) fn trash(&self) -> PathBuf {
        self.0.join("trash")
    }

    pub(crate) fn directories(&self) -> [PathBuf; 4] {
        [self.blobs(), self.layers(), self.ingests(), self.trash()]
    }
}
