//! Taking names from images and images from the store, by Docker's rules.
//!
//! What is to happen is decided by [`plan`] alone. It is then committed by one
//! write of `refs.json`; content that nothing names any more is renamed into
//! the trash. A crash between the two leaves content that the next open or
//! pull finds.

use std::collections::HashSet;

use base::{Digest, PathError};

use super::record::{ImageRecord, Records};
use super::resolve::{ResolveError, resolve};
use super::{ImageStore, State};
use crate::reference::Reference;

/// Whether an image may be removed although stopped containers use it or
/// several repositories name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Force {
    /// It may not.
    No,
    /// It may.
    Yes,
}

/// Who uses an image, in the caller's knowledge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ImageUse {
    /// No container.
    Unused,
    /// A container that does not run, by its short id.
    Stopped(String),
    /// A running container, by its short id.
    Running(String),
}

/// One step of a removal, as reported to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Untagged(String),
    /// An image or a layer is gone.
    Deleted(Digest),
}

/// Says why an image stays.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum RemoveConflict {
    /// Its last name is needed by a container.
    #[error(
        "unable to remove repository reference {reference:?} (must force) - container {container} is using its referenced image {image}"
    )]
    NameInUse {
        /// The name.
        reference: String,
        /// The container.
        container: String,
        /// The image, shortened.
        image: String,
    },
    /// A container runs on it.
    #[error(
        "unable to delete {image} (cannot be forced) - image is being used by running container {container}"
    )]
    Running {
        /// The image, shortened.
        image: String,
        /// The container.
        container: String,
    },
    /// A stopped container was made from it.
    #[error(
        "unable to delete {image} (must be forced) - image is being used by stopped container {container}"
    )]
    Stopped {
        /// The image, shortened.
        image: String,
        /// The container.
        container: String,
    },
    /// Given by id, but it has names in several repositories.
    #[error(
        "unable to delete {image} (must be forced) - image is referenced in multiple repositories"
    )]
    ManyNames {
        /// The image, shortened.
        image: String,
    },
}

/// Says why a removal failed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is no such image.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
    /// It is needed.
    #[error("conflict: {0}")]
    Conflict(RemoveConflict),
    /// The store could not be written.
    #[error(transparent)]
    File(#[from] PathError),
}

/// What to take away.
#[derive(Debug, PartialEq, Eq)]
struct RemovalPlan {
    names: Vec<Reference>,
    delete: bool,
}

impl ImageStore {
    /// Removes the name `text`, and the image if that was its last one; an id
    /// removes the image. `in_use` tells who uses it.
    ///
    /// # Errors
    /// When there is no such image, it is needed, or the store cannot be written.
    pub fn remove(
        &self,
        text: &str,
        force: Force,
        in_use: &dyn Fn(&Digest) -> ImageUse,
    ) -> Result<Vec<Removed>, RemoveError> {
        let mut state = self.state();
        let record = resolve(&state.records, text)?.clone();
        let given = given_name(&record, text);
        let plan = plan(&record, given.as_ref(), force, &in_use(&record.id));
        let plan = plan.map_err(RemoveError::Conflict)?;
        self.change(&mut state, |records| apply(records, record.id, &plan))?;
        let mut removed: Vec<Removed> = plan
            .names
            .iter()
            .map(|name| Removed::Untagged(name.to_string()))
            .collect();
        if plan.delete {
            state.configs.remove(&record.id);
            removed.push(Removed::Deleted(record.id));
            removed.extend(
                self.discard_unused(&state, &record)?
                    .into_iter()
                    .map(Removed::Deleted),
            );
        }
        Ok(removed)
    }

    /// Moves to the trash what only `record` named; returns the layers, topmost first.
    fn discard_unused(
        &self,
        state: &State,
        record: &ImageRecord,
    ) -> Result<Vec<Digest>, PathError> {
        let images = || state.records.0.values();
        let blobs: HashSet<Digest> = images().flat_map(ImageRecord::blobs).collect();
        let layers: HashSet<Digest> = images()
            .flat_map(|image| &image.layers)
            .map(|layer| layer.diff_id)
            .collect();
        let is_leased = |digest: &Digest| state.leases.contains_key(digest);
        // A pull that found a layer here relies on the blob it came from, too.
        let of_leased = record
            .layers
            .iter()
            .filter(|layer| is_leased(&layer.diff_id));
        let of_leased: HashSet<Digest> = of_leased.map(|layer| layer.blob.digest).collect();
        let is_kept = |digest: &Digest| is_leased(digest) || of_leased.contains(digest);
        let mut gone = Vec::new();
        for layer in record.layers.iter().rev() {
            let id = layer.diff_id;
            if layers.contains(&id) || is_kept(&id) || gone.contains(&id) {
                continue;
            }
            self.inner.trash.take(&self.inner.layout.layer(&id))?;
            self.inner
                .trash
                .take(&self.inner.layout.layer_record(&id))?;
            gone.push(id);
        }
        for blob in record
            .blobs()
            .filter(|blob| !blobs.contains(blob) && !is_kept(blob))
        {
            self.inner.trash.take(&self.inner.layout.blob(&blob))?;
        }
        Ok(gone)
    }
}

fn apply(records: &mut Records, id: Digest, plan: &RemovalPlan) {
    if plan.delete {
        records.0.remove(&id);
        return;
    }
    if let Some(image) = records.0.get_mut(&id) {
        for name in &plan.names {
            image.tags.remove(name);
            image.digests.remove(name);
        }
    }
}

/// Returns the name of `record` that `text` is, `None` if it is an id.
fn given_name(record: &ImageRecord, text: &str) -> Option<Reference> {
    let reference = text.parse::<Reference>().ok()?.or_latest();
    let name = match reference.digest() {
        Some(digest) => reference.with_digest(digest),
        None => reference,
    };
    (record.tags.contains(&name) || record.digests.contains(&name)).then_some(name)
}

fn plan(
    record: &ImageRecord,
    given: Option<&Reference>,
    force: Force,
    in_use: &ImageUse,
) -> Result<RemovalPlan, RemoveConflict> {
    let Some(name) = given else {
        if !is_single_name(record) && force == Force::No {
            return Err(RemoveConflict::ManyNames {
                image: short(&record.id),
            });
        }
        check_use(record, force, in_use)?;
        return Ok(RemovalPlan {
            names: all_names(record),
            delete: true,
        });
    };
    if force == Force::No
        && is_single_name(record)
        && let Some(container) = container(in_use)
    {
        return Err(RemoveConflict::NameInUse {
            reference: name.to_string(),
            container: container.to_owned(),
            image: short(&record.id),
        });
    }
    let names = names_with(record, name);
    let is_last = names.len() == record.names();
    // A container that still needs the image keeps it, without a name.
    let delete = is_last && check_use(record, force, in_use).is_ok();
    Ok(RemovalPlan { names, delete })
}

/// Returns `name` and, if no tag of its repository is left, the digests there.
fn names_with(record: &ImageRecord, name: &Reference) -> Vec<Reference> {
    let mut names = vec![name.clone()];
    let other_tags = record.tags.iter().filter(|tag| *tag != name);
    if name.digest().is_none() && !other_tags.into_iter().any(|tag| tag.same_repository(name)) {
        names.extend(
            record
                .digests
                .iter()
                .filter(|d| d.same_repository(name))
                .cloned(),
        );
    }
    names
}

fn all_names(record: &ImageRecord) -> Vec<Reference> {
    record.tags.iter().chain(&record.digests).cloned().collect()
}

/// Returns whether there is at most one tag and all names are of one repository.
fn is_single_name(record: &ImageRecord) -> bool {
    let names = all_names(record);
    record.tags.len() <= 1
        && names
            .windows(2)
            .all(|pair| pair[0].same_repository(&pair[1]))
}

fn check_use(record: &ImageRecord, force: Force, in_use: &ImageUse) -> Result<(), RemoveConflict> {
    let image = short(&record.id);
    match (in_use, force) {
        (ImageUse::Running(container), _) => Err(RemoveConflict::Running {
            image,
            container: container.clone(),
        }),
        (ImageUse::Stopped(container), Force::No) => Err(RemoveConflict::Stopped {
            image,
            container: container.clone(),
        }),
        (ImageUse::Stopped(_), Force::Yes) | (ImageUse::Unused, _) => Ok(()),
    }
}

fn container(in_use: &ImageUse) -> Option<&str> {
    match in_use {
        ImageUse::Unused => None,
        ImageUse::Stopped(container) | ImageUse::Running(container) => Some(container),
    }
}

fn short(id: &Digest) -> String {
    id.hex()[..12].to_owned()
}
