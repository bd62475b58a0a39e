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
    /// A container that does not run and has it mounted beside its own image.
    Mounted(String),
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
    /// A stopped container shall find it at its next start.
    #[error(
        "unable to delete {image} (cannot be forced) - image is mounted by stopped container {container}"
    )]
    Mounted {
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
            let blobs: Vec<Digest> = record.blobs().collect();
            let layers: Vec<Digest> = record.layers.iter().rev().map(|l| l.diff_id).collect();
            let gone = self.discard_unused(&state, &blobs, &layers)?;
            removed.extend(gone.into_iter().map(Removed::Deleted));
        }
        Ok(removed)
    }

    /// Moves to the trash those of `blobs` and `layers` that no image names and no
    /// pull holds; returns the layers that went.
    fn discard_unused(
        &self,
        state: &State,
        blobs: &[Digest],
        layers: &[Digest],
    ) -> Result<Vec<Digest>, PathError> {
        let images = || state.records.0.values();
        let mut kept: HashSet<Digest> = images().flat_map(ImageRecord::blobs).collect();
        let named: HashSet<Digest> = images()
            .flat_map(|image| &image.layers)
            .map(|layer| layer.diff_id)
            .collect();
        let is_leased = |digest: &Digest| state.leases.contains_key(digest);
        let mut gone = Vec::new();
        for id in layers {
            if is_leased(id) {
                // A pull that found a layer here relies on the blob it came from, too.
                kept.extend(self.layer(id).map(|layer| layer.blob.digest));
            } else if !named.contains(id) && !gone.contains(id) {
                self.inner.trash.take(&self.inner.layout.layer(id))?;
                self.inner.trash.take(&self.inner.layout.layer_record(id))?;
                gone.push(*id);
            }
        }
        for blob in blobs {
            if !kept.contains(blob) && !is_leased(blob) {
                self.inner.trash.take(&self.inner.layout.blob(blob))?;
                self.inner.trash.take(&self.inner.layout.ingest(blob))?;
            }
        }
        Ok(gone)
    }

    /// Throws away what a failed pull, load or import brought, unless others use it.
    pub(crate) fn abandon(&self, digests: &[Digest]) {
        let state = self.state();
        if let Err(error) = self.discard_unused(&state, digests, digests) {
            let error = base::failure::chain(&error);
            tracing::warn!(%error, "content that is not used stays for some days");
        }
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
        (ImageUse::Mounted(container), _) => Err(RemoveConflict::Mounted {
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
        ImageUse::Stopped(container)
        | ImageUse::Mounted(container)
        | ImageUse::Running(container) => Some(container),
    }
}

fn short(id: &Digest) -> String {
    id.hex()[..12].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(tags: &[&str], digests: &[&str]) -> ImageRecord {
        let parse = |name: &&str| {
            name.replace("@d", &format!("@{}", Digest::of(b"d")))
                .parse()
                .unwrap()
        };
        ImageRecord {
            id: Digest::of(b"image"),
            manifest: Digest::of(b"manifest"),
            layers: Vec::new(),
            tags: tags.iter().map(parse).collect(),
            digests: digests.iter().map(parse).collect(),
            last_tagged: base::Timestamp::default(),
        }
    }

    /// What `docker rmi NAME` does: names that go, and whether the image goes.
    fn check(
        (tags, digests): (&[&str], &[&str]),
        name: &str,
        (force, in_use): (Force, &ImageUse),
        expected: Result<(usize, bool), &str>,
    ) {
        let record = record(tags, digests);
        let plan = plan(&record, given_name(&record, name).as_ref(), force, in_use);
        match (plan, expected) {
            (Ok(plan), Ok(expected)) => {
                assert_eq!((plan.names.len(), plan.delete), expected, "{name}")
            }
            (Err(error), Err(text)) => assert!(error.to_string().contains(text), "{name}: {error}"),
            (plan, _) => panic!("{name} {force:?} {in_use:?}: {plan:?}"),
        }
    }

    #[test]
    fn names_and_images_go_by_dockers_rules() {
        use Force::{No, Yes};
        let free = &ImageUse::Unused;
        let stopped = &ImageUse::Stopped("c1".to_owned());
        let running = &ImageUse::Running("c2".to_owned());
        let mounted = &ImageUse::Mounted("c3".to_owned());
        let one: (&[&str], &[&str]) = (&["a:1"], &["a@d"]);
        let two: (&[&str], &[&str]) = (&["a:1", "a:2"], &["a@d"]);
        let other: (&[&str], &[&str]) = (&["a:1", "b:1"], &["a@d"]);
        check(one, "a:1", (No, free), Ok((2, true)));
        check(one, "a:1", (No, stopped), Err("must force"));
        check(one, "a:1", (No, running), Err("must force"));
        check(one, "a:1", (Yes, stopped), Ok((2, true)));
        check(one, "a:1", (Yes, running), Ok((2, false)));
        check(one, "a:1", (No, mounted), Err("must force"));
        check(one, "a:1", (Yes, mounted), Ok((2, false)));
        check(one, "1234", (Yes, mounted), Err("is mounted by stopped"));
        check(two, "a:1", (No, running), Ok((1, false)));
        check(other, "a:1", (No, free), Ok((2, false)));
        check(other, "b:1", (No, stopped), Ok((1, false)));
        check(one, "1234", (No, free), Ok((2, true)));
        check(one, "1234", (No, stopped), Err("must be forced"));
        check(one, "1234", (Yes, stopped), Ok((2, true)));
        check(one, "1234", (Yes, running), Err("cannot be forced"));
        check(two, "1234", (No, free), Err("multiple repositories"));
        check(two, "1234", (Yes, free), Ok((3, true)));
        check((&[], &[]), "1234", (No, free), Ok((0, true)));
        check(
            (&[], &["a@d"]),
            &format!("a@{}", Digest::of(b"d")),
            (No, free),
            Ok((1, true)),
        );
    }
}
