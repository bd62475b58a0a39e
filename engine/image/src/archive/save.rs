//! Saves images as a docker archive that is an OCI layout at the same time, as
//! Docker 25 and later write it; `docker load` and `podman load` read it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, Read, Write};

use base::{Digest, PathContext as _, PathError};
use serde_json::json;

use super::{
    ArchiveEntry, INDEX_FILE, LAYOUT_FILE, MANIFEST_FILE, NAME_ANNOTATION, REF_ANNOTATION,
};
use crate::manifest::{Descriptor, ImageManifest, OCI_CONFIG, OCI_MANIFEST};
use crate::reference::Reference;
use crate::store::{Image, ImageStore, ResolveError};

const FILE_MODE: u32 = 0o644;

/// Says why images could not be saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    /// A name means no image.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// The store could not be read.
    #[error(transparent)]
    File(#[from] PathError),
    /// The archive could not be written.
    #[error("cannot write the image archive")]
    Write(#[source] io::Error),
}

/// An image and the tags it is saved with.
struct Chosen {
    image: Image,
    tags: BTreeSet<Reference>,
}

impl ImageStore {
    /// Writes the images that `names` mean to `writer`; a name without a tag
    /// means every tag of its repository, an id the image without a name.
    ///
    /// # Errors
    /// When a name means nothing, or reading or writing fails.
    pub fn save(&self, names: &[String], writer: impl Write) -> Result<(), SaveError> {
        let chosen = self.choose(names)?;
        let held = chosen.values().flat_map(|c| {
            let blobs = c.image.layers.iter().map(|layer| layer.blob);
            blobs
                .chain(c.image.diff_ids())
                .chain([c.image.id, c.image.manifest])
        });
        let _lease = self.lease(held.collect());
        let mut archive = Writer::new(writer);
        let (mut entries, mut manifests) = (Vec::new(), Vec::new());
        for chosen in chosen.values() {
            let descriptor = self.save_image(&mut archive, &chosen.image)?;
            manifests.extend(index_entries(&descriptor, &chosen.tags));
            entries.push(archive_entry(chosen));
        }
        let index = json!({ "schemaVersion": 2, "manifests": manifests });
        archive.file(INDEX_FILE, index.to_string().as_bytes())?;
        let entries = serde_json::to_vec(&entries).expect("entries have no map");
        archive.file(MANIFEST_FILE, &entries)?;
        archive.file(LAYOUT_FILE, br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        archive.finish()
    }

    fn choose(&self, names: &[String]) -> Result<BTreeMap<Digest, Chosen>, SaveError> {
        let mut chosen: BTreeMap<Digest, Chosen> = BTreeMap::new();
        for name in names {
            for (image, tag) in self.meant(name)? {
                let tags = BTreeSet::new();
                let entry = chosen.entry(image.id).or_insert(Chosen { image, tags });
                entry.tags.extend(tag);
            }
        }
        Ok(chosen)
    }

    fn meant(&self, name: &str) -> Result<Vec<(Image, Option<Reference>)>, ResolveError> {
        if let Ok(reference) = name.parse::<Reference>()
            && reference.tag().is_none()
            && reference.digest().is_none()
        {
            let tagged: Vec<_> = self
                .list()
                .into_iter()
                .flat_map(|image| {
                    let tags: Vec<Reference> = image
                        .repo_tags
                        .iter()
                        .filter_map(|tag| tag.parse().ok())
                        .collect();
                    tags.into_iter().map(move |tag| (image.clone(), Some(tag)))
                })
                .filter(|(_, tag)| {
                    tag.as_ref()
                        .is_some_and(|tag| tag.same_repository(&reference))
                })
                .collect();
            if !tagged.is_empty() {
                return Ok(tagged);
            }
        }
        let image = self.resolve(name)?;
        let tag = name
            .parse::<Reference>()
            .ok()
            .filter(|r| r.digest().is_none());
        let tag = tag
            .map(|tag| tag.tagged())
            .filter(|tag| image.repo_tags.contains(&tag.to_string()));
        Ok(vec![(image, tag)])
    }

    fn save_image<W: Write>(
        &self,
        archive: &mut Writer<W>,
        image: &Image,
    ) -> Result<Descriptor, SaveError> {
        let manifest = self.manifest_of(image)?;
        archive.blob(&image.id, &image.raw_config)?;
        for layer in &image.layers {
            let path = self.layout().blob(&layer.blob);
            let file = File::open(&path).at("open", &path)?;
            archive.stream(&super::blob_name(&layer.blob), file, layer.blob_bytes)?;
        }
        let digest = Digest::of(&manifest);
        archive.blob(&digest, &manifest)?;
        Ok(Descriptor::new(OCI_MANIFEST, digest, manifest.len() as u64))
    }

    /// Returns the manifest the image came with, or a new one if its layers were
    /// already here in another form.
    fn manifest_of(&self, image: &Image) -> Result<Vec<u8>, SaveError> {
        if let Some((bytes, _)) = self.original_manifest(image)? {
            return Ok(bytes);
        }
        let config = Descriptor::new(OCI_CONFIG, image.id, image.raw_config.len() as u64);
        let layers = image
            .layers
            .iter()
            .filter_map(|layer| self.layer(&layer.diff_id));
        let manifest = ImageManifest::oci(config, layers.map(|layer| layer.blob).collect());
        Ok(serde_json::to_vec(&manifest).expect("a manifest has no map"))
    }
}

fn archive_entry(chosen: &Chosen) -> ArchiveEntry {
    let layers = chosen.image.layers.iter();
    let tags: Vec<String> = chosen.tags.iter().map(Reference::to_string).collect();
    ArchiveEntry {
        config: super::blob_name(&chosen.image.id),
        repo_tags: (!tags.is_empty()).then_some(tags),
        layers: layers.map(|layer| super::blob_name(&layer.blob)).collect(),
    }
}

fn index_entries(manifest: &Descriptor, tags: &BTreeSet<Reference>) -> Vec<serde_json::Value> {
    let entry = |annotations| {
        json!({ "mediaType": manifest.media_type, "digest": manifest.digest,
            "size": manifest.size, "annotations": annotations })
    };
    if tags.is_empty() {
        return vec![entry(json!({}))];
    }
    let named = tags.iter().map(|tag| {
        let (tag_name, digest) = (tag.tag().unwrap_or_default(), tag.name());
        entry(json!({ NAME_ANNOTATION: format!("{digest}:{tag_name}"), REF_ANNOTATION: tag_name }))
    });
    named.collect()
}

/// A tar archive being written; each name once.
struct Writer<W: Write> {
    inner: tar::Builder<W>,
    written: BTreeSet<String>,
}

impl<W: Write> Writer<W> {
    fn new(writer: W) -> Self {
        Self {
            inner: tar::Builder::new(writer),
            written: BTreeSet::new(),
        }
    }

    fn blob(&mut self, digest: &Digest, content: &[u8]) -> Result<(), SaveError> {
        self.file(&super::blob_name(digest), content)
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<(), SaveError> {
        self.stream(name, content, content.len() as u64)
    }

    fn stream(&mut self, name: &str, content: impl Read, size: u64) -> Result<(), SaveError> {
        if !self.written.insert(name.to_owned()) {
            return Ok(());
        }
        let mut header = tar::Header::new_ustar();
        header.set_size(size);
        header.set_mode(FILE_MODE);
        header.set_mtime(0);
        self.inner
            .append_data(&mut header, name, content.take(size))
            .map_err(SaveError::Write)
    }

    fn finish(self) -> Result<(), SaveError> {
        let mut writer = self.inner.into_inner().map_err(SaveError::Write)?;
        writer.flush().map_err(SaveError::Write)
    }
}
