//! Pushing images: the layers first, five at a time, then the configuration, and
//! the manifest last, so that a registry never has a name for half an image.
//!
//! An image goes as it came: with its own manifest, if its layers are kept in the
//! form that it lists. Layers that are kept without compression are compressed
//! while they are sent, and the manifest is made anew.

mod feed;
mod layer;
mod progress;

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Digest, PathContext as _, PathError};
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

pub use progress::{NoPushProgress, PushEvent, PushProgress, PushStep};

use layer::{Form, PushLayer, push_layer, retried};
use progress::LayerReport;

use crate::layer::LayerError;
use crate::layer::inflate::Compression;
use crate::manifest::{
    DOCKER_CONFIG, DOCKER_LAYER, DOCKER_MANIFEST, Descriptor, ImageManifest, OCI_CONFIG,
    OCI_MANIFEST,
};
use crate::reference::Reference;
use crate::registry::{Outgoing, RegistryAccess, RegistryError, Repository, Use};
use crate::store::{Image, ImageStore, StoreError};

const OCI_GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";
const OCI_ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

/// What to push.
#[derive(Debug, Clone)]
pub struct PushRequest {
    /// The tag to push; without one, every tag of the repository.
    pub reference: Reference,
    /// How to reach the registry; its mirrors are not asked.
    pub access: RegistryAccess,
    /// How long a second is for the pauses between attempts; tests have less time.
    pub second: Duration,
}

/// A tag that was pushed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// The tag.
    pub tag: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// The bytes of its manifest.
    pub size: u64,
}

/// Says why a push failed.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// Nothing here has such a name.
    #[error("An image does not exist locally with the tag: {0}")]
    NoImage(String),
    /// The repository is known, the tag is not.
    #[error("tag does not exist: {0}")]
    NoTag(String),
    /// All images of the repository are known by digest only.
    #[error("no tags to push for {0}")]
    NoTags(String),
    /// The registry makes the digest.
    #[error("cannot push a digest reference")]
    Digest,
    /// Talking to the registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
    /// A layer could not be compressed.
    #[error("cannot compress a layer")]
    Pack(#[source] io::Error),
    /// A layer is not what its name says.
    #[error("blob {expected} of the store is damaged: its content is {actual}")]
    Damaged {
        /// Its name.
        expected: Digest,
        /// Its content.
        actual: Digest,
    },
    /// A layer's compression is unknown.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A task of the push was ended or panicked.
    #[error("a part of the push ended unexpectedly")]
    Task(#[source] tokio::task::JoinError),
}

impl From<PathError> for PushError {
    fn from(error: PathError) -> Self {
        Self::Store(error.into())
    }
}

impl PushError {
    fn is_transient(&self) -> bool {
        match self {
            // The upload was forgotten; what else does not exist stays so.
            Self::Registry(RegistryError::NotFound(detail)) => detail.contains("upload unknown"),
            Self::Registry(RegistryError::NotTaken { .. }) => true,
            Self::Registry(error) => error.is_transient(),
            _ => false,
        }
    }
}

/// A push whose registry has answered.
pub struct Push {
    context: Arc<Context>,
    tags: Vec<(Reference, Image)>,
}

/// What all layers of a push share.
struct Context {
    store: ImageStore,
    repository: Repository,
    name: Reference,
    progress: Arc<dyn PushProgress>,
    second: Duration,
    /// What the registry has by diff id, of earlier tags.
    done: Mutex<HashMap<Digest, Descriptor>>,
}

impl Context {
    fn done(&self, diff_id: &Digest) -> Option<Descriptor> {
        let done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.get(diff_id).cloned()
    }

    fn note_done(&self, diff_id: Digest, pushed: Descriptor) {
        let mut done = self.done.lock().unwrap_or_else(PoisonError::into_inner);
        done.insert(diff_id, pushed);
    }
}

impl std::fmt::Debug for Push {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Push").finish_non_exhaustive()
    }
}

/// What an image is to be at the registry.
struct Content {
    /// Lowest first.
    layers: Vec<PushLayer>,
    /// The manifest it came with and its type, if that holds.
    original: Option<(String, Vec<u8>)>,
    is_zstd: Vec<bool>,
}

impl ImageStore {
    /// Finds what is to be pushed and the registry; [`Push::push`] then does it.
    ///
    /// # Errors
    /// When there is no such image, or the registry does not answer.
    pub async fn push(
        &self,
        request: &PushRequest,
        progress: Arc<dyn PushProgress>,
    ) -> Result<Push, PushError> {
        let name = &request.reference;
        let familiar = name.familiar_name();
        let tagged = self.tagged(name);
        let mut tags = tagged.ok_or_else(|| PushError::NoImage(familiar.clone()))?;
        if name.digest().is_some() {
            return Err(PushError::Digest);
        }
        if name.tag().is_some() {
            tags.retain(|(tag, _)| tag == name);
            if tags.is_empty() {
                return Err(PushError::NoTag(name.to_string()));
            }
        }
        if tags.is_empty() {
            return Err(PushError::NoTags(familiar));
        }
        let repository = Repository::connect(name, &request.access, Use::Push).await?;
        let context = Context {
            store: self.clone(),
            repository,
            name: name.clone(),
            progress,
            second: request.second,
            done: Mutex::default(),
        };
        Ok(Push {
            context: Arc::new(context),
            tags,
        })
    }

    /// Says what an image is made of for a registry.
    fn content(&self, image: &Image) -> Result<Content, PushError> {
        let mut layers = Vec::new();
        let mut is_zstd = Vec::new();
        for layer in &image.layers {
            let compression = self.compression(&layer.blob)?;
            is_zstd.push(compression == Compression::Zstd);
            let record = self.layer(&layer.diff_id);
            let record = record.ok_or(StoreError::NoLayer(layer.diff_id))?;
            layers.push(PushLayer {
                diff_id: layer.diff_id,
                blob: Descriptor::new(&record.blob.media_type, layer.blob, layer.blob_bytes),
                form: match compression {
                    Compression::Plain => Form::Packed(record.packed.map(|packed| *packed)),
                    Compression::Gzip | Compression::Zstd => Form::Kept,
                },
            });
        }
        let is_kept = |layer: &PushLayer| matches!(layer.form, Form::Kept);
        let original = match layers.iter().all(is_kept) {
            true => self.original_manifest(image)?,
            false => None,
        };
        let original = original.map(|(bytes, manifest)| match manifest.media_type.as_str() {
            "" => (OCI_MANIFEST.to_owned(), bytes),
            media_type => (media_type.to_owned(), bytes),
        });
        Ok(Content {
            layers,
            original,
            is_zstd,
        })
    }

    fn compression(&self, blob: &Digest) -> Result<Compression, PushError> {
        use std::os::unix::fs::FileExt as _;
        let path = self.layout().blob(blob);
        let file = std::fs::File::open(&path).at("open", &path)?;
        let mut start = [0; 8];
        let length = file.read_at(&mut start, 0).at("read", &path)?;
        Ok(Compression::of(&start[..length])?)
    }
}

impl Push {
    /// Returns how many tags there are to push.
    pub fn count(&self) -> usize {
        self.tags.len()
    }

    /// Returns the last of the images to push.
    ///
    /// # Panics
    /// Never: there is a tag to push.
    pub fn image(&self) -> &Image {
        &self.tags.last().expect("there is a tag to push").1
    }

    /// Pushes one of the tags, by number. Dropping the future gives it up; layers
    /// that have arrived stay at the registry.
    ///
    /// # Errors
    /// When the registry refuses or breaks off too often, or the store cannot be
    /// read; the tag is then what it was.
    ///
    /// # Panics
    /// When there are fewer tags.
    pub async fn push(&self, number: usize) -> Result<Pushed, PushError> {
        let (reference, image) = &self.tags[number];
        let context = &self.context;
        let mut held: Vec<Digest> = image.diff_ids().collect();
        held.extend(image.layers.iter().map(|layer| layer.blob));
        held.extend([image.id, image.manifest]);
        let _lease = context.store.lease(held);
        let content = context.store.content(image)?;
        let layers = push_layers(context, &content.layers).await?;
        push_config(context, image).await?;
        let (media_type, bytes) = match content.original {
            Some(original) => original,
            None => new_manifest(image, &layers, &content.is_zstd),
        };
        let (digest, size) = (Digest::of(&bytes), bytes.len() as u64);
        let tag = reference.tag().unwrap_or_default();
        let put = || async {
            let repository = &context.repository;
            let put = repository.put_manifest(tag, &media_type, bytes.clone());
            Ok(put.await?)
        };
        retried(context, None, put).await?;
        let by_digest = reference.with_digest(digest);
        context.store.note_pushed(image.id, by_digest)?;
        Ok(Pushed {
            tag: tag.to_owned(),
            digest,
            size,
        })
    }
}

/// Gets the layers to the registry; returns what it has, in the same order.
async fn push_layers(
    context: &Arc<Context>,
    layers: &[PushLayer],
) -> Result<Vec<Descriptor>, PushError> {
    let mut tasks = JoinSet::new();
    let mut begun = Vec::new();
    // From the top, as Docker lists them.
    for layer in layers.iter().rev() {
        let progress = Arc::clone(&context.progress);
        LayerReport::new(progress, layer.diff_id).step(PushStep::Preparing);
        if begun.contains(&layer.diff_id) {
            continue;
        }
        begun.push(layer.diff_id);
        let (context, layer) = (Arc::clone(context), layer.clone());
        tasks.spawn(async move {
            let pushed = push_layer(&context, &layer).await?;
            Ok::<_, PushError>((layer.diff_id, pushed))
        });
    }
    let mut pushed = HashMap::new();
    while let Some(joined) = tasks.join_next().await {
        // The others are given up with the set.
        let (diff_id, descriptor) = joined.map_err(PushError::Task)??;
        pushed.insert(diff_id, descriptor);
    }
    let all = layers.iter().map(|layer| pushed[&layer.diff_id].clone());
    Ok(all.collect())
}

async fn push_config(context: &Context, image: &Image) -> Result<(), PushError> {
    let repository = &context.repository;
    let attempt = || async {
        if repository.has_blob(&image.id).await? {
            return Ok(());
        }
        let session = repository.begin_upload().await?;
        let (pieces, receiver) = mpsc::channel(1);
        let config = Bytes::copy_from_slice(&image.raw_config);
        let body = Outgoing::pieces(receiver, Some(config.len() as u64));
        // There is room for one; a body that is not wanted is told by the answer.
        drop(pieces.try_send(config));
        drop(pieces);
        repository.send_blob(session, &image.id, body).await?;
        Ok(())
    };
    retried(context, None, attempt).await
}

/// Returns a manifest of Docker's kind, or of OCI's where Docker's has no name for
/// the compression.
fn new_manifest(image: &Image, layers: &[Descriptor], is_zstd: &[bool]) -> (String, Vec<u8>) {
    let is_oci = is_zstd.contains(&true);
    let (manifest, config) = match is_oci {
        true => (OCI_MANIFEST, OCI_CONFIG),
        false => (DOCKER_MANIFEST, DOCKER_CONFIG),
    };
    let types = is_zstd.iter().map(|is_zstd| match (is_oci, is_zstd) {
        (false, _) => DOCKER_LAYER,
        (true, false) => OCI_GZIP,
        (true, true) => OCI_ZSTD,
    });
    let layers = layers.iter().zip(types);
    let document = ImageManifest {
        schema_version: 2,
        media_type: manifest.to_owned(),
        config: Descriptor::new(config, image.id, image.raw_config.len() as u64),
        layers: layers
            .map(|(layer, media_type)| layer.of_type(media_type))
            .collect(),
    };
    let bytes = serde_json::to_vec(&document).expect("a manifest has no map");
    (manifest.to_owned(), bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn not_found(detail: &str) -> PushError {
        RegistryError::NotFound(detail.to_owned()).into()
    }

    #[test]
    fn only_what_may_pass_is_tried_again() {
        assert!(not_found(": blob upload unknown: x").is_transient());
        assert!(!not_found(": name unknown: x").is_transient());
        assert!(!not_found("").is_transient());
        for error in [
            RegistryError::Unauthorized(String::new()),
            RegistryError::Denied(String::new()),
            RegistryError::NoCredentials {
                request: String::new(),
            },
        ] {
            assert!(!PushError::from(error).is_transient());
        }
    }

    #[test]
    fn a_new_manifest_has_the_kind_that_names_its_layers() {
        let directory = tempfile::tempdir().unwrap();
        let store = ImageStore::open(directory.path()).unwrap();
        let request = crate::ImportRequest::default();
        let image = store.import(&[0; 1024][..], &request).unwrap();
        let layers = [1, 2].map(|size| Descriptor::new("", Digest::of(b"x"), size));
        for (is_zstd, kind, types) in [
            (
                [false, false],
                DOCKER_MANIFEST,
                [DOCKER_LAYER, DOCKER_LAYER],
            ),
            ([false, true], OCI_MANIFEST, [OCI_GZIP, OCI_ZSTD]),
        ] {
            let (media_type, bytes) = new_manifest(&image, &layers, &is_zstd);
            let document: ImageManifest = serde_json::from_slice(&bytes).unwrap();
            assert_eq!((&*media_type, &*document.media_type), (kind, kind));
            let found: Vec<&str> = document
                .layers
                .iter()
                .map(|layer| layer.media_type.as_str())
                .collect();
            assert_eq!(found, types);
            assert_eq!(document.config.digest, image.id);
            assert_eq!(document.layers[1].size, 2);
        }
    }
}
