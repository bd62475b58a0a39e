//! Manifests and indexes, OCI's and Docker's, as far as pulling needs them.
//!
//! Parsing of bytes that somebody already verified; fetching is elsewhere.

use base::Digest;
use serde::{Deserialize, Serialize};

use crate::platform::Platform;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub(crate) const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
pub(crate) const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const DOCKER_SCHEMA1: &str = "application/vnd.docker.distribution.manifest.v1";

/// What every manifest request says it takes.
pub(crate) const ACCEPT: &str = concat!(
    "application/vnd.oci.image.index.v1+json, ",
    "application/vnd.oci.image.manifest.v1+json, ",
    "application/vnd.docker.distribution.manifest.list.v2+json, ",
    "application/vnd.docker.distribution.manifest.v2+json"
);

/// More bytes than any manifest or index may have.
pub(crate) const MAX_MANIFEST: u64 = 4 << 20;
/// More bytes than any image configuration may have.
pub(crate) const MAX_CONFIG: u64 = 8 << 20;
/// As many layers as overlayfs can stack.
pub(crate) const MAX_LAYERS: usize = 500;
const MAX_MANIFESTS: usize = 1000;

/// Says why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or a field is missing or of the wrong form.
    #[error("cannot parse the manifest")]
    Parse(#[source] serde_json::Error),
    /// A kind of document this engine does not know.
    #[error("unsupported manifest type {0:?}")]
    Unsupported(String),
    /// Version 1 manifests have no digests of configurations.
    #[error("image manifests of schema version 1 are no longer supported")]
    Schema1,
    /// An artifact, such as a chart or a signature.
    #[error("the manifest is not of a container image: its configuration is {0:?}")]
    NotAnImage(String),
    /// More layers or manifests than any image has.
    #[error("the manifest lists {0} entries, more than the limit of {1}")]
    TooMany(usize, usize),
}

/// A blob by digest and size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    #[serde(default)]
    pub media_type: String,
    /// SHA-256 of its bytes.
    pub digest: Digest,
    /// Its bytes.
    pub size: u64,
    /// What it runs on, in an index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
}

/// One image: a configuration and its layers, lowest first.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageManifest {
    pub(crate) schema_version: u32,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
}

impl ImageManifest {
    /// Returns an OCI manifest.
    pub(crate) fn oci(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: OCI_MANIFEST.to_owned(),
            config,
            layers,
        }
    }
}

impl Descriptor {
    /// Returns the same under another type.
    pub(crate) fn of_type(&self, media_type: &str) -> Self {
        Self::new(media_type, self.digest, self.size)
    }

    /// Returns a descriptor without a platform.
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest,
            size,
            platform: None,
        }
    }
}

/// A choice of images by platform.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ImageIndex {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) manifests: Vec<Descriptor>,
}

/// Either form of document a reference can point to.
#[derive(Debug)]
pub(crate) enum Document {
    Manifest(ImageManifest),
    Index(ImageIndex),
}

/// The fields that tell the forms apart.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Shape {
    schema_version: Option<u32>,
    #[serde(default)]
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
}

impl Document {
    /// Parses `bytes`; what the document says of itself counts, not a transport header.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        let shape: Shape = serde_json::from_slice(bytes).map_err(ManifestError::Parse)?;
        let media_type = shape.media_type.unwrap_or_default();
        if shape.schema_version == Some(1) || media_type.starts_with(DOCKER_SCHEMA1) {
            return Err(ManifestError::Schema1);
        }
        // A document that is both could mean different images to different readers.
        match (shape.manifests.is_some(), shape.config.is_some()) {
            (true, false) if matches!(media_type.as_str(), "" | OCI_INDEX | DOCKER_INDEX) => {
                index(bytes)
            }
            (false, true) if matches!(media_type.as_str(), "" | OCI_MANIFEST | DOCKER_MANIFEST) => {
                manifest(bytes)
            }
            _ => Err(ManifestError::Unsupported(media_type)),
        }
    }
}

fn index(bytes: &[u8]) -> Result<Document, ManifestError> {
    let index: ImageIndex = serde_json::from_slice(bytes).map_err(ManifestError::Parse)?;
    if index.manifests.len() > MAX_MANIFESTS {
        return Err(ManifestError::TooMany(index.manifests.len(), MAX_MANIFESTS));
    }
    Ok(Document::Index(index))
}

fn manifest(bytes: &[u8]) -> Result<Document, ManifestError> {
    let manifest: ImageManifest = serde_json::from_slice(bytes).map_err(ManifestError::Parse)?;
    let kind = manifest.config.media_type.as_str();
    if !matches!(
        kind,
        "" | OCI_CONFIG | DOCKER_CONFIG | "application/octet-stream"
    ) {
        return Err(ManifestError::NotAnImage(kind.to_owned()));
    }
    if manifest.layers.len() > MAX_LAYERS {
        return Err(ManifestError::TooMany(manifest.layers.len(), MAX_LAYERS));
    }
    Ok(Document::Manifest(manifest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn descriptor(media_type: &str) -> serde_json::Value {
        let digest = Digest::of(b"x").to_string();
        serde_json::json!({"mediaType": media_type, "digest": digest, "size": 1})
    }

    fn parse(value: &serde_json::Value) -> Result<Document, ManifestError> {
        Document::parse(&serde_json::to_vec(value).unwrap())
    }

    #[test]
    fn the_four_forms_are_told_apart() {
        for media_type in ["", OCI_MANIFEST, DOCKER_MANIFEST] {
            let value = serde_json::json!({"schemaVersion": 2, "mediaType": media_type,
                "config": descriptor(OCI_CONFIG), "layers": [descriptor("x")]});
            assert!(
                matches!(parse(&value), Ok(Document::Manifest(_))),
                "{media_type}"
            );
        }
        for media_type in ["", OCI_INDEX, DOCKER_INDEX] {
            let value = serde_json::json!({"schemaVersion": 2, "mediaType": media_type,
                "manifests": [descriptor(OCI_MANIFEST)]});
            assert!(
                matches!(parse(&value), Ok(Document::Index(_))),
                "{media_type}"
            );
        }
    }

    #[test]
    fn other_documents_are_refused_by_name() {
        let both = serde_json::json!({"config": descriptor(""), "layers": [], "manifests": []});
        assert!(matches!(parse(&both), Err(ManifestError::Unsupported(_))));
        let old = serde_json::json!({"schemaVersion": 1, "fsLayers": []});
        assert!(matches!(parse(&old), Err(ManifestError::Schema1)));
        let chart = serde_json::json!({"schemaVersion": 2, "layers": [],
            "config": descriptor("application/vnd.cncf.helm.config.v1+json")});
        assert!(matches!(parse(&chart), Err(ManifestError::NotAnImage(_))));
        let layers = vec![descriptor(""); MAX_LAYERS + 1];
        let deep =
            serde_json::json!({"schemaVersion": 2, "config": descriptor(""), "layers": layers});
        assert!(matches!(parse(&deep), Err(ManifestError::TooMany(..))));
        assert!(matches!(
            Document::parse(b"{"),
            Err(ManifestError::Parse(_))
        ));
        let digest = serde_json::json!({"schemaVersion": 2, "layers": [],
            "config": {"digest": "sha256:../../x", "size": 1}});
        assert!(matches!(parse(&digest), Err(ManifestError::Parse(_))));
    }
}
