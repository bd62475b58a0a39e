//! What pushes need to know of images, and what they leave behind.

use std::collections::BTreeSet;

use base::file::{FileMode, write_durable};
use base::{Digest, PathError};

use super::ImageStore;
use super::image::Image;
use crate::manifest::{Descriptor, Document, ImageManifest, MAX_MANIFEST};
use crate::reference::Reference;

impl ImageStore {
    /// Returns the images with a tag in the repository of `name`, by tag; `None`
    /// if nothing is named so, by tag or by digest.
    pub(crate) fn tagged(&self, name: &Reference) -> Option<Vec<(Reference, Image)>> {
        let state = self.state();
        let mut found = Vec::new();
        let mut is_known = false;
        for record in state.records.0.values() {
            let of_it = |one: &&Reference| one.same_repository(name);
            is_known |= record.digests.iter().any(|one| of_it(&one));
            for tag in record.tags.iter().filter(of_it) {
                is_known = true;
                found.extend(state.image(record).map(|image| (tag.clone(), image)));
            }
        }
        found.sort_by(|(a, _), (b, _)| a.cmp(b));
        is_known.then_some(found)
    }

    /// Returns the manifest the image came with, if its layers are kept in the
    /// form that it lists.
    pub(crate) fn original_manifest(
        &self,
        image: &Image,
    ) -> Result<Option<(Vec<u8>, ImageManifest)>, PathError> {
        let Some(bytes) = self.get_blob(&image.manifest, MAX_MANIFEST)? else {
            return Ok(None);
        };
        let Ok(Document::Manifest(manifest)) = Document::parse(&bytes) else {
            return Ok(None);
        };
        let listed = manifest.layers.iter().map(|layer| layer.digest);
        let is_kept = listed.eq(image.layers.iter().map(|layer| layer.blob));
        Ok(is_kept.then_some((bytes, manifest)))
    }

    /// Returns other repositories of the registry of `name` that have the layer,
    /// as far as it is known here.
    pub(crate) fn repositories_with(&self, diff_id: &Digest, name: &Reference) -> Vec<String> {
        let state = self.state();
        let with_it = state
            .records
            .0
            .values()
            .filter(|record| record.layers.iter().any(|layer| layer.diff_id == *diff_id));
        // By digest: what only has a tag may never have been there.
        let names = with_it.flat_map(|record| &record.digests);
        let others = names.filter(|one| one.domain() == name.domain() && one.path() != name.path());
        let paths: BTreeSet<&str> = others.map(Reference::path).collect();
        paths.into_iter().map(str::to_owned).collect()
    }

    /// Notes what a push made of a layer, so that the next one need not.
    pub(crate) fn note_packed(
        &self,
        diff_id: &Digest,
        packed: &Descriptor,
    ) -> Result<(), PathError> {
        let Some(mut record) = self.layer(diff_id) else {
            return Ok(());
        };
        record.packed = Some(Box::new(packed.clone()));
        let bytes = serde_json::to_vec(&record).expect("a record has no map");
        let path = self.layout().layer_record(diff_id);
        write_durable(&path, &bytes, FileMode::Private)
    }

    /// Gives an image that was pushed its name by digest, if it is still here.
    pub(crate) fn note_pushed(&self, id: Digest, name: Reference) -> Result<(), PathError> {
        let mut state = self.state();
        self.change(&mut state, |records| {
            if let Some(image) = records.0.get_mut(&id) {
                image.digests.insert(name);
            }
        })
    }
}
