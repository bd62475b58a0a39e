//! Loads images from a docker archive (`docker save`) or an OCI archive.

use std::collections::HashMap;
use std::io::Read;
use std::sync::atomic::AtomicBool;

use base::{Digest, PathError};
use serde::Deserialize;

use super::spool::{Spool, Spooled};
use super::{ArchiveEntry, INDEX_FILE, MANIFEST_FILE, NAME_ANNOTATION, REF_ANNOTATION};
use crate::install::{InstallRequest, Installed, finish, install};
use crate::layer::LayerError;
use crate::layer::inflate::Compression;
use crate::manifest::{
    Descriptor, Document, ImageManifest, MAX_CONFIG, MAX_LAYERS, MAX_MANIFEST, ManifestError,
    OCI_CONFIG,
};
use crate::platform::{Platform, choose};
use crate::reference::{Reference, ReferenceError};
use crate::store::{
    Image, ImageStore, LayerRecord, NewImage, StoreError, diff_ids, parse_config, platform,
};

/// Images of one archive at most.
const MAX_IMAGES: usize = 1000;

/// One image that was loaded.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The image.
    pub image: Image,
    /// The names it was given, in the familiar form; empty if the archive has none.
    pub names: Vec<String>,
}

/// Says why an archive could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The archive itself cannot be read.
    #[error("cannot read the image archive")]
    Archive(#[source] LayerError),
    /// It has neither `manifest.json` nor `index.json`.
    #[error("the archive holds no images: it has neither manifest.json nor index.json")]
    NoImages,
    /// A description cannot be parsed.
    #[error("cannot parse {file:?} of the archive")]
    Parse {
        /// Which one.
        file: String,
        /// What is wrong.
        #[source]
        source: serde_json::Error,
    },
    /// A manifest cannot be used.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// A file that a description names is not there or not what it should be.
    #[error("{0:?} is missing from the archive or damaged")]
    Missing(String),
    /// A name is no image reference.
    #[error("the archive names an image wrongly")]
    Name(#[from] ReferenceError),
    /// A layer is named by something else than a digest.
    #[error("an image configuration of the archive names an invalid layer")]
    DiffId(#[from] base::digest::DigestError),
    /// Too many images, or layers that do not fit the configuration.
    #[error("the archive has {found} {what}, expected {expected}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many.
        found: usize,
        /// How many there should be, or may be.
        expected: usize,
    },
    /// No image is of the platform that was asked for, or of an index none runs here.
    #[error("the archive has no image for {0}")]
    NoPlatform(Platform),
    /// A layer cannot be unpacked.
    #[error("failed to register layer {layer:?}")]
    Layer {
        /// Its name in the archive.
        layer: String,
        /// Why.
        #[source]
        source: LayerError,
    },
    /// The store could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PathError> for LoadError {
    fn from(error: PathError) -> Self {
        Self::Store(error.into())
    }
}

/// One image as the archive describes it.
struct Described {
    config: String,
    layers: Vec<String>,
    names: Vec<Reference>,
    /// The manifest's bytes, if the archive has one.
    manifest: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Index {
    manifests: Vec<IndexEntry>,
}

#[derive(Deserialize)]
struct IndexEntry {
    #[serde(flatten)]
    descriptor: Descriptor,
    #[serde(default)]
    annotations: HashMap<String, String>,
}

impl ImageStore {
    /// Loads every image of an archive, which may be compressed by gzip or zstd; where a
    /// platform is wanted, those of that platform.
    ///
    /// # Errors
    /// When the archive or an image in it is damaged or the store cannot be
    /// written; images before the damaged one stay loaded.
    pub fn load(
        &self,
        archive: impl Read + Send,
        wanted: Option<&Platform>,
    ) -> Result<Vec<Loaded>, LoadError> {
        let mut spool = Spool::new(self)?;
        spool.fill(archive).map_err(LoadError::Archive)?;
        let described = describe(&spool, wanted)?;
        if described.len() > MAX_IMAGES {
            let (found, expected) = (described.len(), MAX_IMAGES);
            return Err(LoadError::Count {
                what: "images",
                found,
                expected,
            });
        }
        let mut all = Vec::new();
        for image in described {
            all.extend(self.load_one(&spool, image, wanted)?);
        }
        match wanted {
            Some(wanted) if all.is_empty() => Err(LoadError::NoPlatform(wanted.clone())),
            _ => Ok(all),
        }
    }

    /// Loads an image unless it is of another platform than the one that is wanted.
    fn load_one(
        &self,
        spool: &Spool,
        image: Described,
        wanted: Option<&Platform>,
    ) -> Result<Option<Loaded>, LoadError> {
        let missing = |name: &str| LoadError::Missing(name.to_owned());
        let config_file = spool
            .get(&image.config)
            .ok_or_else(|| missing(&image.config))?;
        let config = spool.read(config_file, MAX_CONFIG)?;
        let parsed = parse_config(&config).map_err(|source| LoadError::Parse {
            file: image.config.clone(),
            source,
        })?;
        if wanted.is_some_and(|wanted| !wanted.accepts(&platform(&parsed))) {
            return Ok(None);
        }
        let diff_ids = diff_ids(&parsed)?;
        if diff_ids.len() != image.layers.len() || diff_ids.len() > MAX_LAYERS {
            let (found, expected) = (image.layers.len(), diff_ids.len());
            return Err(LoadError::Count {
                what: "layers",
                found,
                expected,
            });
        }
        let files = image
            .layers
            .iter()
            .map(|name| spool.get(name).ok_or_else(|| missing(name)));
        let files: Vec<&Spooled> = files.collect::<Result<_, _>>()?;
        let mut held = diff_ids.clone();
        held.extend(files.iter().map(|file| file.digest));
        held.push(config_file.digest);
        held.extend(image.manifest.as_deref().map(Digest::of));
        let lease = self.lease(held.clone());
        let loaded = self.load_content(&config, &diff_ids, &files, image);
        drop(lease);
        loaded.map(Some).inspect_err(|_| self.abandon(&held))
    }

    fn load_content(
        &self,
        config: &[u8],
        diff_ids: &[Digest],
        files: &[&Spooled],
        image: Described,
    ) -> Result<Loaded, LoadError> {
        let mut done = HashMap::new();
        for ((diff_id, file), name) in diff_ids.iter().zip(files).zip(&image.layers) {
            if !done.contains_key(diff_id) {
                let layer = self.load_layer(*diff_id, file);
                let layer = layer.map_err(|source| LoadError::Layer {
                    layer: name.clone(),
                    source,
                })?;
                done.insert(*diff_id, layer);
            }
        }
        let layers = finish(self, diff_ids, done)?;
        let manifest = image
            .manifest
            .unwrap_or_else(|| manifest_for(config, &layers));
        let names = image.names.iter().map(Reference::to_string).collect();
        let image = self.add_image(NewImage {
            config: self.put_blob(config)?,
            manifest: self.put_blob(&manifest)?,
            layers,
            names: image.names,
        })?;
        Ok(Loaded { image, names })
    }

    fn load_layer(&self, diff_id: Digest, file: &Spooled) -> Result<Installed, LayerError> {
        if let Some(record) = self.layer(&diff_id) {
            return Ok(Installed::Committed(record));
        }
        let blob = self.adopt(file)?;
        install(
            self,
            InstallRequest {
                blob,
                expected: Some(diff_id),
                cancel: &AtomicBool::new(false),
                progress: &|_| {},
            },
        )
    }

    /// Makes a spooled layer a blob; the same file may serve several layers.
    pub(super) fn adopt(&self, file: &Spooled) -> Result<Descriptor, LayerError> {
        use std::os::unix::fs::FileExt as _;
        let mut start = [0; 8];
        let opened = base::PathContext::at(std::fs::File::open(&file.path), "open", &file.path)?;
        let length = base::PathContext::at(opened.read_at(&mut start, 0), "read", &file.path)?;
        let media_type = match Compression::of(&start[..length])? {
            Compression::Plain => "application/vnd.oci.image.layer.v1.tar",
            Compression::Gzip => "application/vnd.oci.image.layer.v1.tar+gzip",
            Compression::Zstd => "application/vnd.oci.image.layer.v1.tar+zstd",
        };
        self.link_blob(&file.path, &file.digest)?;
        Ok(Descriptor::new(media_type, file.digest, file.size))
    }
}

/// Returns a manifest for an image that came without one.
pub(super) fn manifest_for(config: &[u8], layers: &[LayerRecord]) -> Vec<u8> {
    let config = Descriptor::new(OCI_CONFIG, Digest::of(config), config.len() as u64);
    let blobs = layers.iter().map(|layer| layer.blob.clone()).collect();
    serde_json::to_vec(&ImageManifest::oci(config, blobs)).expect("a manifest has no map")
}

fn describe(spool: &Spool, wanted: Option<&Platform>) -> Result<Vec<Described>, LoadError> {
    if let Some(file) = spool.get(MANIFEST_FILE) {
        let entries: Vec<ArchiveEntry> = parse(MANIFEST_FILE, &spool.read(file, MAX_MANIFEST)?)?;
        return entries
            .into_iter()
            .map(|entry| from_docker(spool, entry))
            .collect();
    }
    let index = read_index(spool)?.ok_or(LoadError::NoImages)?;
    index
        .manifests
        .iter()
        .map(|entry| from_oci(spool, entry, wanted))
        .collect()
}

fn parse<T: serde::de::DeserializeOwned>(file: &str, bytes: &[u8]) -> Result<T, LoadError> {
    serde_json::from_slice(bytes).map_err(|source| LoadError::Parse {
        file: file.to_owned(),
        source,
    })
}

fn read_index(spool: &Spool) -> Result<Option<Index>, LoadError> {
    match spool.get(INDEX_FILE) {
        Some(file) => parse(INDEX_FILE, &spool.read(file, MAX_MANIFEST)?).map(Some),
        None => Ok(None),
    }
}

fn from_docker(spool: &Spool, entry: ArchiveEntry) -> Result<Described, LoadError> {
    let manifest = manifest_of(spool, &entry)?;
    let names = entry.repo_tags.unwrap_or_default();
    let names = names
        .iter()
        .map(|name| Ok(name.parse::<Reference>()?.tagged()));
    Ok(Described {
        manifest,
        names: names.collect::<Result<_, LoadError>>()?,
        config: entry.config,
        layers: entry.layers,
    })
}

/// Returns the manifest that Docker 25 and later put beside `manifest.json`.
fn manifest_of(spool: &Spool, entry: &ArchiveEntry) -> Result<Option<Vec<u8>>, LoadError> {
    let Some(index) = read_index(spool)? else {
        return Ok(None);
    };
    for candidate in &index.manifests {
        let Some(file) = spool.blob(&candidate.descriptor.digest) else {
            continue;
        };
        let bytes = spool.read(file, MAX_MANIFEST)?;
        if let Ok(Document::Manifest(manifest)) = Document::parse(&bytes)
            && super::blob_name(&manifest.config.digest) == entry.config
            && manifest
                .layers
                .iter()
                .map(|l| super::blob_name(&l.digest))
                .eq(entry.layers.iter().cloned())
        {
            return Ok(Some(bytes));
        }
    }
    Ok(None)
}

fn from_oci(
    spool: &Spool,
    entry: &IndexEntry,
    wanted: Option<&Platform>,
) -> Result<Described, LoadError> {
    let (bytes, manifest) = oci_manifest(spool, &entry.descriptor, wanted)?;
    Ok(Described {
        config: super::blob_name(&manifest.config.digest),
        layers: manifest
            .layers
            .iter()
            .map(|layer| super::blob_name(&layer.digest))
            .collect(),
        names: oci_name(&entry.annotations).into_iter().collect(),
        manifest: Some(bytes),
    })
}

/// Returns the manifest a descriptor means, by way of one index at most.
fn oci_manifest(
    spool: &Spool,
    descriptor: &Descriptor,
    wanted: Option<&Platform>,
) -> Result<(Vec<u8>, ImageManifest), LoadError> {
    let read = |digest: &Digest| {
        let missing = || LoadError::Missing(super::blob_name(digest));
        let file = spool.blob(digest).ok_or_else(missing)?;
        Ok::<_, LoadError>(spool.read(file, MAX_MANIFEST)?)
    };
    let bytes = read(&descriptor.digest)?;
    let index = match Document::parse(&bytes)? {
        Document::Manifest(manifest) => return Ok((bytes, manifest)),
        Document::Index(index) => index,
    };
    let wanted = wanted.cloned().unwrap_or_else(Platform::host);
    // Archives often hold one platform of a longer index.
    let there = index
        .manifests
        .iter()
        .filter(|entry| spool.blob(&entry.digest).is_some());
    let there: Vec<&Descriptor> = there.collect();
    let chosen = choose(&wanted, there.iter().map(|entry| entry.platform.as_ref()));
    let chosen = there[chosen.ok_or(LoadError::NoPlatform(wanted))?];
    let bytes = read(&chosen.digest)?;
    match Document::parse(&bytes)? {
        Document::Manifest(manifest) => Ok((bytes, manifest)),
        Document::Index(_) => {
            Err(ManifestError::Unsupported("index within an index".to_owned()).into())
        }
    }
}

/// Returns the name of an index entry: a full one, else what only looks like one.
fn oci_name(annotations: &HashMap<String, String>) -> Option<Reference> {
    let full = annotations.get(NAME_ANNOTATION);
    let tag = annotations
        .get(REF_ANNOTATION)
        .filter(|text| text.contains([':', '/']));
    let name = full.or(tag)?.parse::<Reference>().ok()?;
    Some(name.tagged())
}
