//! Why a pull failed, in Docker's words where it has some.

use base::{Digest, PathError};

use crate::layer::LayerError;
use crate::manifest::ManifestError;
use crate::platform::Platform;
use crate::reference::{Reference, ReferenceError};
use crate::registry::RegistryError;
use crate::store::StoreError;

/// Says which step of a pull failed.
#[derive(Debug, thiserror::Error)]
pub enum PullError {
    /// The registry has no such image.
    #[error("manifest for {reference} not found{detail}")]
    NotFound {
        /// What was asked for.
        reference: String,
        /// What the registry says.
        detail: String,
    },
    /// The registry has no such repository.
    #[error("repository {repository} not found{detail}")]
    NoRepository {
        /// What was asked for.
        repository: String,
        /// What the registry says.
        detail: String,
    },
    /// The registry does not let us.
    #[error(
        "pull access denied for {repository}, repository does not exist or may require 'docker login': {detail}"
    )]
    Denied {
        /// What was asked for.
        repository: String,
        /// What the registry says.
        detail: String,
    },
    /// Talking to the registry failed.
    #[error(transparent)]
    Registry(RegistryError),
    /// The manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Other bytes than the digest says.
    #[error("the registry sent a manifest with digest {actual}, {expected} was asked for")]
    ManifestDigest {
        /// Asked for.
        expected: Digest,
        /// Got.
        actual: Digest,
    },
    /// Other bytes than the digest says.
    #[error("the registry sent a blob with digest {actual}, {expected} was asked for")]
    BlobDigest {
        /// Asked for.
        expected: Digest,
        /// Got.
        actual: Digest,
    },
    /// Fewer bytes than the manifest says.
    #[error("the registry ended blob {digest} before its {size} bytes")]
    BlobShort {
        /// The blob.
        digest: Digest,
        /// Its size by the manifest.
        size: u64,
    },
    /// More bytes than the manifest says.
    #[error("the registry sent more than the {size} bytes of blob {digest}")]
    BlobLong {
        /// The blob.
        digest: Digest,
        /// Its size by the manifest.
        size: u64,
    },
    /// Nothing of the index fits.
    #[error("no matching manifest for {platform} in the manifest list entries")]
    NoPlatform {
        /// What was wanted.
        platform: Platform,
    },
    /// The only image there is for something else.
    #[error(
        "image was found but its platform ({found}) does not match the specified platform ({wanted})"
    )]
    OtherPlatform {
        /// What was wanted.
        wanted: Box<Platform>,
        /// What there is.
        found: Box<Platform>,
    },
    /// An index within an index.
    #[error("the index refers to another index")]
    NestedIndex,
    /// The configuration cannot be parsed.
    #[error("cannot parse the image's configuration {digest}")]
    Config {
        /// Its digest.
        digest: Digest,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A layer of the configuration is named by something else than a digest.
    #[error("the image's configuration names an invalid layer")]
    DiffId(#[from] base::digest::DigestError),
    /// Manifest and configuration do not belong together.
    #[error("the manifest has {manifest} layers, the configuration {config}")]
    LayerCount {
        /// Layers of the manifest.
        manifest: usize,
        /// Layers of the configuration.
        config: usize,
    },
    /// A layer cannot be unpacked.
    #[error("failed to register layer {blob}")]
    Layer {
        /// The layer as it came.
        blob: Digest,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// The registry lists a tag that is none.
    #[error("the registry lists a tag that cannot be one")]
    Tag(#[source] ReferenceError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task of the pull was ended or panicked.
    #[error("a part of the pull ended unexpectedly")]
    Task(#[source] tokio::task::JoinError),
}

impl From<RegistryError> for PullError {
    fn from(error: RegistryError) -> Self {
        Self::Registry(error)
    }
}

impl From<PathError> for PullError {
    fn from(error: PathError) -> Self {
        Self::Store(error.into())
    }
}

impl PullError {
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Registry(error) => error.is_transient(),
            Self::BlobShort { .. } => true,
            _ => false,
        }
    }

    /// Returns whether a later attempt could go on with what this one has fetched.
    pub(super) fn is_interruption(&self) -> bool {
        match self {
            Self::Registry(_) | Self::BlobShort { .. } | Self::Task(_) => true,
            Self::Layer { source, .. } => matches!(source, LayerError::Cancelled),
            _ => false,
        }
    }

    /// Gives what the registry refused the name that was asked for.
    pub(super) fn about(self, reference: &Reference) -> Self {
        match self {
            Self::Registry(RegistryError::NotFound(detail))
                if detail.starts_with(": name unknown") =>
            {
                Self::NoRepository {
                    repository: reference.familiar_name(),
                    detail,
                }
            }
            Self::Registry(RegistryError::NotFound(detail)) => Self::NotFound {
                reference: reference.to_string(),
                detail,
            },
            Self::Registry(RegistryError::Denied(detail)) => Self::Denied {
                repository: reference.familiar_name(),
                detail,
            },
            other => other,
        }
    }
}
