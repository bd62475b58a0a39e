//! Pulling an image: resolve, choose, fetch, verify, unpack, name.
//!
//! Nothing is visible before the last step, one write of the references. A
//! pull that is broken off before leaves verified blobs, whole layers and
//! beginnings of downloads, which the next pull of the same content uses. One
//! that was refused for its content, or found no room, leaves nothing.

mod download;
mod error;
pub(crate) mod ingest;
mod layers;
mod progress;

use std::sync::Arc;

use base::Digest;

pub use error::PullError;
pub use progress::{LayerStep, NoProgress, Progress, PullEvent};

use layers::{LayerContext, fetch_layers};

use crate::manifest::{Descriptor, Document, ImageIndex, ImageManifest, MAX_CONFIG, MAX_MANIFEST};
use crate::platform::{Platform, choose};
use crate::reference::Reference;
use crate::registry::{Mirror, RegistryAccess, RegistryError, Repository, Use};
use crate::store::{Image, ImageStore, NewImage, diff_ids, parse_config, platform};

/// What to pull.
#[derive(Debug, Clone)]
pub struct PullRequest {
    /// The image; without tag and digest, `latest`.
    pub reference: Reference,
    /// What it must run on; `None` means this host, and then an image that is
    /// offered for one platform only is taken whatever that is, as Docker does.
    pub platform: Option<Platform>,
    /// How to reach the registry.
    pub access: RegistryAccess,
}

/// Whether a pull changed anything.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PullStatus {
    /// The name already meant this image.
    UpToDate,
    /// The name means another image than before, or is new.
    Newer,
}

/// A pull that succeeded.
#[derive(Debug, Clone)]
pub struct PullOutcome {
    /// The image.
    pub image: Image,
    /// What the reference points to at the registry: a manifest or an index.
    pub digest: Digest,
    /// Whether anything changed.
    pub status: PullStatus,
}

/// A manifest whose digest is right, with its bytes.
struct Chosen {
    /// What the reference points to.
    top: Digest,
    digest: Digest,
    bytes: Vec<u8>,
    manifest: ImageManifest,
}

/// What an image consists of, and its names to be.
struct Content {
    /// Diff ids and blobs, lowest first.
    layers: Vec<(Digest, Descriptor)>,
    config: Vec<u8>,
    manifest: Vec<u8>,
    names: Vec<Reference>,
}

impl ImageStore {
    /// Pulls an image. Dropping the future gives up; what was fetched is kept.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses, anything is not what its
    /// digest says, or the disk fails; nothing is visible then.
    pub async fn pull(
        &self,
        request: &PullRequest,
        progress: Arc<dyn Progress>,
    ) -> Result<PullOutcome, PullError> {
        let reference = request.reference.clone().or_latest();
        let pulled = self.pull_named(request, &reference, progress).await;
        pulled.map_err(|error| error.about(&reference))
    }

    /// Returns the names of every tag that the repository of the request has.
    ///
    /// # Errors
    /// When the registry cannot be reached or refuses.
    pub async fn remote_tags(&self, request: &PullRequest) -> Result<Vec<Reference>, PullError> {
        let name = &request.reference;
        let tags = tags(request).await;
        let tags = tags.map_err(|error| PullError::from(error).about(name))?;
        let named = tags.iter().map(|tag| name.with_tag(tag));
        named.collect::<Result<_, _>>().map_err(PullError::Tag)
    }

    async fn pull_named(
        &self,
        request: &PullRequest,
        reference: &Reference,
        progress: Arc<dyn Progress>,
    ) -> Result<PullOutcome, PullError> {
        let (repository, chosen) = find(request, reference).await?;
        let digest = chosen.top;
        progress.report(&PullEvent::Resolved { digest });
        let names = names(reference, digest);
        if let Some(image) = self.up_to_date(&chosen, &names) {
            return Ok(PullOutcome {
                image,
                digest,
                status: PullStatus::UpToDate,
            });
        }
        let image = self
            .fetch(request, repository, chosen, (names, progress))
            .await?;
        Ok(PullOutcome {
            image,
            digest,
            status: PullStatus::Newer,
        })
    }

    /// Returns the image if it has all `names` already.
    fn up_to_date(&self, chosen: &Chosen, names: &[Reference]) -> Option<Image> {
        let image = self.image(&chosen.manifest.config.digest)?;
        let has = |name: &Reference| {
            let text = name.to_string();
            image.repo_tags.contains(&text) || image.repo_digests.contains(&text)
        };
        names.iter().all(has).then_some(image)
    }

    async fn fetch(
        &self,
        request: &PullRequest,
        repository: Repository,
        chosen: Chosen,
        (names, progress): (Vec<Reference>, Arc<dyn Progress>),
    ) -> Result<Image, PullError> {
        let manifest = &chosen.manifest;
        let mut held: Vec<Digest> = manifest.layers.iter().map(|layer| layer.digest).collect();
        held.extend([chosen.digest, manifest.config.digest]);
        let blobs_lease = self.lease(held.clone());
        let config = self.fetch_config(&repository, &manifest.config).await?;
        let config_digest = manifest.config.digest;
        let parsed = parse_config(&config).map_err(|source| PullError::Config {
            digest: config_digest,
            source,
        })?;
        check_platform(request.platform.as_ref(), &platform(&parsed))?;
        let diff_ids = diff_ids(&parsed)?;
        if diff_ids.len() != manifest.layers.len() {
            let (manifest, config) = (manifest.layers.len(), diff_ids.len());
            return Err(PullError::LayerCount { manifest, config });
        }
        let layers_lease = self.lease(diff_ids.clone());
        held.extend(&diff_ids);
        let content = Content {
            layers: diff_ids.into_iter().zip(chosen.manifest.layers).collect(),
            config,
            manifest: chosen.bytes,
            names,
        };
        let fetched = self.fetch_content(repository, content, progress).await;
        drop((blobs_lease, layers_lease));
        fetched.inspect_err(|error| {
            if !error.is_interruption() {
                self.abandon(&held);
            }
        })
    }

    async fn fetch_content(
        &self,
        repository: Repository,
        content: Content,
        progress: Arc<dyn Progress>,
    ) -> Result<Image, PullError> {
        let (context, _cancel) = LayerContext::new(self.clone(), Arc::new(repository), progress);
        let layers = fetch_layers(&context, &content.layers).await?;
        let store = self.clone();
        download::blocking(move || {
            let config = store.put_blob(&content.config)?;
            let manifest = store.put_blob(&content.manifest)?;
            store.add_image(NewImage {
                config,
                manifest,
                layers,
                names: content.names,
            })
        })
        .await
    }

    async fn fetch_config(
        &self,
        repository: &Repository,
        config: &Descriptor,
    ) -> Result<Vec<u8>, PullError> {
        let expected = config.digest;
        if let Some(bytes) = self.get_blob(&expected, MAX_CONFIG)? {
            return Ok(bytes);
        }
        let bytes = repository.small_blob(&expected, MAX_CONFIG).await?;
        let actual = Digest::of(&bytes);
        if actual != expected {
            return Err(PullError::BlobDigest { expected, actual });
        }
        Ok(bytes)
    }
}

/// Returns the names that a pull gives: the tag asked for, and the digest found.
fn names(reference: &Reference, digest: Digest) -> Vec<Reference> {
    let by_digest = reference.with_digest(digest);
    match (reference.tag(), reference.digest()) {
        // As with Docker, a digest beside the tag wins and the tag is not set.
        (Some(_), None) => vec![reference.tagged(), by_digest],
        _ => vec![by_digest],
    }
}

fn check_platform(wanted: Option<&Platform>, found: &Platform) -> Result<(), PullError> {
    match wanted {
        Some(wanted) if !wanted.accepts(found) => Err(PullError::OtherPlatform {
            wanted: Box::new(wanted.clone()),
            found: Box::new(found.clone()),
        }),
        _ => Ok(()),
    }
}

/// Finds the image at a mirror or, where none has it or answers, at its registry.
async fn find(
    request: &PullRequest,
    reference: &Reference,
) -> Result<(Repository, Chosen), PullError> {
    for mirror in &request.access.mirrors {
        match find_at(request, reference, Some(mirror)).await {
            Ok(found) => return Ok(found),
            Err(error) => note_unusable(&error, mirror, reference),
        }
    }
    find_at(request, reference, None).await
}

async fn find_at(
    request: &PullRequest,
    reference: &Reference,
    mirror: Option<&Mirror>,
) -> Result<(Repository, Chosen), PullError> {
    let repository = connect(request, reference, mirror).await?;
    let chosen = choose_manifest(&repository, reference, request.platform.as_ref()).await?;
    Ok((repository, chosen))
}

/// Finds the tags at a mirror or, where none has them or answers, at the registry.
async fn tags(request: &PullRequest) -> Result<Vec<String>, RegistryError> {
    let name = &request.reference;
    for mirror in &request.access.mirrors {
        match tags_at(request, Some(mirror)).await {
            Ok(tags) => return Ok(tags),
            Err(error) => note_unusable(&error, mirror, name),
        }
    }
    tags_at(request, None).await
}

async fn tags_at(
    request: &PullRequest,
    mirror: Option<&Mirror>,
) -> Result<Vec<String>, RegistryError> {
    let repository = connect(request, &request.reference, mirror).await?;
    repository.tags().await
}

/// Connects to a mirror, or without one to the registry itself.
async fn connect(
    request: &PullRequest,
    reference: &Reference,
    mirror: Option<&Mirror>,
) -> Result<Repository, RegistryError> {
    match mirror {
        Some(mirror) => Repository::connect_mirror(reference, mirror, &request.access).await,
        None => Repository::connect(reference, &request.access, Use::Pull).await,
    }
}

fn note_unusable(error: &dyn std::error::Error, mirror: &Mirror, reference: &Reference) {
    let error = base::failure::chain(error);
    tracing::info!(error, %mirror, %reference, "a mirror cannot be used");
}

async fn choose_manifest(
    repository: &Repository,
    reference: &Reference,
    platform: Option<&Platform>,
) -> Result<Chosen, PullError> {
    let asked = match reference.digest() {
        Some(digest) => digest.to_string(),
        None => reference.tag().unwrap_or_default().to_owned(),
    };
    let bytes = repository.manifest(&asked).await?;
    let top = Digest::of(&bytes);
    verify(&bytes, reference.digest())?;
    let index = match Document::parse(&bytes)? {
        Document::Manifest(manifest) => {
            return Ok(Chosen {
                top,
                digest: top,
                bytes,
                manifest,
            });
        }
        Document::Index(index) => index,
    };
    let digest = choose_entry(&index, platform)?;
    let bytes = repository.manifest(&digest.to_string()).await?;
    verify(&bytes, Some(digest))?;
    match Document::parse(&bytes)? {
        Document::Manifest(manifest) => Ok(Chosen {
            top,
            digest,
            bytes,
            manifest,
        }),
        Document::Index(_) => Err(PullError::NestedIndex),
    }
}

fn verify(bytes: &[u8], expected: Option<Digest>) -> Result<(), PullError> {
    debug_assert!(bytes.len() as u64 <= MAX_MANIFEST);
    let actual = Digest::of(bytes);
    match expected {
        Some(expected) if expected != actual => Err(PullError::ManifestDigest { expected, actual }),
        _ => Ok(()),
    }
}

fn choose_entry(index: &ImageIndex, platform: Option<&Platform>) -> Result<Digest, PullError> {
    let wanted = platform.cloned().unwrap_or_else(Platform::host);
    let offers = index.manifests.iter().map(|entry| entry.platform.as_ref());
    let chosen = choose(&wanted, offers).ok_or(PullError::NoPlatform { platform: wanted })?;
    Ok(index.manifests[chosen].digest)
}
