//! What a registry has under a name, without fetching it.

use base::Digest;

use crate::manifest::{Descriptor, Document, MAX_CONFIG, ManifestError, OCI_INDEX, OCI_MANIFEST};
use crate::platform::Platform;
use crate::reference::Reference;
use crate::registry::{RegistryAccess, RegistryError, Repository, Use};
use crate::store::{parse_config, platform};

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inspected {
    /// The manifest or the index.
    pub descriptor: Descriptor,
    /// What its images run on.
    pub platforms: Vec<Platform>,
}

/// Says why a name cannot be looked up.
#[derive(Debug, thiserror::Error)]
pub enum InspectError {
    /// Talking to the registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// What it has is no image.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Other bytes than the digest says.
    #[error("the registry sent a manifest with digest {actual}, {expected} was asked for")]
    Digest {
        /// Asked for.
        expected: Digest,
        /// Got.
        actual: Digest,
    },
}

/// Asks a registry what it has under `reference`; without tag and digest, `latest`.
///
/// # Errors
/// When the registry cannot be reached, refuses, or has something else there.
pub async fn inspect(
    reference: &Reference,
    access: &RegistryAccess,
) -> Result<Inspected, InspectError> {
    let reference = reference.clone().or_latest();
    let repository = Repository::connect(&reference, access, Use::Pull).await?;
    let asked = match reference.digest() {
        Some(digest) => digest.to_string(),
        None => reference.tag().unwrap_or_default().to_owned(),
    };
    let bytes = repository.manifest(&asked).await?;
    let actual = Digest::of(&bytes);
    if let Some(expected) = reference.digest().filter(|expected| *expected != actual) {
        return Err(InspectError::Digest { expected, actual });
    }
    let size = bytes.len() as u64;
    let (media_type, platforms) = match Document::parse(&bytes)? {
        Document::Index(index) => {
            let media_type = named(index.media_type, OCI_INDEX);
            let entries = index.manifests.into_iter();
            let platforms = entries.filter_map(|entry| entry.platform).collect();
            (media_type, platforms)
        }
        Document::Manifest(manifest) => {
            let config = manifest.config.digest;
            // As with Docker: an image without a configuration has no platform.
            let config = repository.small_blob(&config, MAX_CONFIG).await.ok();
            let parsed = config.and_then(|bytes| parse_config(&bytes).ok());
            let platforms = parsed.iter().map(platform).collect();
            (named(manifest.media_type, OCI_MANIFEST), platforms)
        }
    };
    Ok(Inspected {
        descriptor: Descriptor::new(&media_type, actual, size),
        platforms,
    })
}

/// OCI's documents may leave their type out.
fn named(media_type: String, default: &str) -> String {
    match media_type.is_empty() {
        true => default.to_owned(),
        false => media_type,
    }
}
