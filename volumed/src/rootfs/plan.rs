//! The plan of a root filesystem: what has to be done, from facts gathered
//! before. Pure; golden-tested without root.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use base::{Digest, Instance, VolumeName};
use volumed_api::{Holder, ImageUse, MountRootfs, MountedVolume, RootfsMounted, Upper};

use crate::bind::VettedBind;
use crate::overlay::{Durability, Overlay, Writable};
use crate::storage::empty_layers;
use crate::volume::backing::mount_point;
use crate::volume::driver::Backing;

/// What overlayfs can stack (`OVL_MAX_STACK`).
pub const LAYER_LIMIT: usize = 500;
/// Volumes, binds and images of one run.
pub const USE_LIMIT: usize = 1000;

/// Lower layers that overlayfs wants, by whether there is an upper one.
const LOWERS_WITH_UPPER: usize = 1;
const LOWERS_WITHOUT_UPPER: usize = 2;

/// What is there before anything is done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub missing_layers: Vec<Digest>,
    pub upper: UpperState,
    /// In the order of the request.
    pub binds: Vec<VettedBind>,
    /// What volumes that exist are backed by; others will be plain directories.
    pub volumes: BTreeMap<VolumeName, Backing>,
}

/// What a former run of the container left.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UpperState {
    #[default]
    Absent,
    Usable,
    /// Of a volatile mount that was not released: it may be incomplete.
    Incomplete,
}

/// One thing to do. Each is safe to repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Write down what is about to be done.
    BeginHolder(Box<Holder>),
    MakeBindSource(PathBuf),
    EnsureVolume {
        name: VolumeName,
        labels: BTreeMap<String, String>,
    },
    MountVolume {
        name: VolumeName,
        backing: Backing,
    },
    /// Mount a folder of a volume or an image.
    MountFolder {
        data: PathBuf,
        subpath: String,
        target: PathBuf,
    },
    /// Mount memory that others may share.
    MountMemory {
        target: PathBuf,
        size_bytes: u64,
    },
    DiscardUpper(PathBuf),
    /// Make the upper directory look like the top-most layer.
    MakeUpper {
        upper: PathBuf,
        like: PathBuf,
    },
    MakeWork(PathBuf),
    MakeMountPoint(PathBuf),
    MountOverlay(Overlay),
    /// Fill an empty volume from the image.
    CopyUp {
        name: VolumeName,
        data: PathBuf,
        rootfs: PathBuf,
        destination: PathBuf,
    },
    /// Give an empty volume that is nobody's yet to the container's root.
    GiveVolume {
        name: VolumeName,
        data: PathBuf,
        owner: (u32, u32),
    },
    /// Write down that all of it is done.
    CommitHolder,
}

/// Why a request cannot be planned.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PlanError {
    #[error("layer {0} is not there")]
    MissingLayer(Digest),
    #[error("an image of {0} layers is not supported: overlayfs stacks at most {LAYER_LIMIT}")]
    TooManyLayers(usize),
    #[error("{0} volumes, binds and images are too many: at most {USE_LIMIT} are supported")]
    TooManyUses(usize),
    #[error("invalid volume destination {0:?}: the path must be absolute")]
    RelativeDestination(PathBuf),
}

/// Returns what mounts the root filesystem that `request` asks for.
///
/// # Errors
/// When the request is wrong or names a layer that is not there.
pub fn plan(
    instance: &Instance,
    request: &MountRootfs,
    facts: &Facts,
) -> Result<(Vec<Operation>, RootfsMounted), PlanError> {
    check(request, facts)?;
    let mounted = mounted(instance, request, facts);
    let holder = Holder {
        request: request.clone(),
        mounted: mounted.clone(),
    };
    let mut operations = vec![Operation::BeginHolder(Box::new(holder))];
    let missing = facts.binds.iter().flat_map(|bind| &bind.create);
    operations.extend(missing.cloned().map(Operation::MakeBindSource));
    plan_volumes(request, facts, &mut operations);
    plan_parts(instance, request, facts, &mut operations);
    plan_images(instance, request, &mut operations);
    plan_overlay(instance, request, facts, &mut operations);
    plan_copies(request, &mounted, &mut operations);
    operations.push(Operation::CommitHolder);
    Ok((operations, mounted))
}

fn check(request: &MountRootfs, facts: &Facts) -> Result<(), PlanError> {
    if let Some(missing) = facts.missing_layers.first() {
        return Err(PlanError::MissingLayer(*missing));
    }
    let of_images = request.images.iter().map(|image| image.layers.len());
    let deepest = of_images.fold(request.layers.len(), usize::max);
    if deepest > LAYER_LIMIT {
        return Err(PlanError::TooManyLayers(deepest));
    }
    let uses = request.volumes.len() + request.binds.len() + request.images.len();
    if uses > USE_LIMIT {
        return Err(PlanError::TooManyUses(uses));
    }
    let mut destinations = request.volumes.iter().map(|volume| &volume.destination);
    match destinations.find(|destination| !destination.is_absolute()) {
        Some(relative) => Err(PlanError::RelativeDestination(relative.clone())),
        None => Ok(()),
    }
}

fn mounted(instance: &Instance, request: &MountRootfs, facts: &Facts) -> RootfsMounted {
    let volumes = request.volumes.iter().enumerate();
    let volumes = volumes.map(|(place, volume)| MountedVolume {
        name: volume.name.clone(),
        path: match volume.subpath {
            None => data(instance, facts, &volume.name),
            Some(_) => volumed_api::part(instance, &request.run, place),
        },
    });
    let images = request.images.iter().enumerate();
    let seen = |place, image: &ImageUse| match image.subpath {
        None => volumed_api::image(instance, &request.run, place),
        Some(_) => volumed_api::image_part(instance, &request.run, place),
    };
    RootfsMounted {
        rootfs: instance.rootfs(&request.run),
        volumes: volumes.collect(),
        binds: facts.binds.iter().map(|b| b.resolved.clone()).collect(),
        images: images.map(|(place, image)| seen(place, image)).collect(),
    }
}

/// Returns where all of a volume is.
fn data(instance: &Instance, facts: &Facts, name: &VolumeName) -> PathBuf {
    match facts.volumes.get(name) {
        None | Some(Backing::Directory) => volumed_api::query::data_directory(instance, name),
        Some(_) => mount_point(instance, name),
    }
}

fn plan_parts(
    instance: &Instance,
    request: &MountRootfs,
    facts: &Facts,
    operations: &mut Vec<Operation>,
) {
    for (place, volume) in request.volumes.iter().enumerate() {
        if let Some(subpath) = &volume.subpath {
            operations.push(Operation::MountFolder {
                data: data(instance, facts, &volume.name),
                subpath: subpath.clone(),
                target: volumed_api::part(instance, &request.run, place),
            });
        }
    }
    if let Some(size_bytes) = request.shared_memory_bytes {
        operations.push(Operation::MountMemory {
            target: volumed_api::shared_memory(instance, &request.run),
            size_bytes,
        });
    }
}

/// Returns the mount points beside the root filesystem that a request has.
pub fn parts(instance: &Instance, request: &MountRootfs) -> Vec<PathBuf> {
    let volumes = request.volumes.iter().enumerate();
    let folders = volumes.filter(|(_, volume)| volume.subpath.is_some());
    let folders = folders.map(|(place, _)| volumed_api::part(instance, &request.run, place));
    let memory = request.shared_memory_bytes.is_some();
    let memory = memory.then(|| volumed_api::shared_memory(instance, &request.run));
    let images = request.images.iter().enumerate();
    let images = images.flat_map(|(place, image)| {
        let part = image.subpath.is_some();
        let part = part.then(|| volumed_api::image_part(instance, &request.run, place));
        // The part first: it is a mount of what is mounted there.
        part.into_iter()
            .chain([volumed_api::image(instance, &request.run, place)])
    });
    folders.chain(memory).chain(images).collect()
}

fn plan_images(instance: &Instance, request: &MountRootfs, operations: &mut Vec<Operation>) {
    for (place, image) in request.images.iter().enumerate() {
        let target = volumed_api::image(instance, &request.run, place);
        operations.push(Operation::MakeMountPoint(target.clone()));
        let lowers = lowers(instance, &image.layers);
        operations.push(Operation::MountOverlay(Overlay {
            padding: padding(instance, &lowers, LOWERS_WITHOUT_UPPER),
            lowers,
            writable: None,
            target: target.clone(),
            mappings: request.user_namespace.clone(),
        }));
        if let Some(subpath) = &image.subpath {
            operations.push(Operation::MountFolder {
                data: target,
                subpath: subpath.clone(),
                target: volumed_api::image_part(instance, &request.run, place),
            });
        }
    }
}

fn plan_volumes(request: &MountRootfs, facts: &Facts, operations: &mut Vec<Operation>) {
    let mut seen = BTreeSet::new();
    for volume in &request.volumes {
        if !seen.insert(&volume.name) {
            continue;
        }
        operations.push(Operation::EnsureVolume {
            name: volume.name.clone(),
            labels: volume.labels.clone(),
        });
        match facts.volumes.get(&volume.name) {
            None | Some(Backing::Directory) => {}
            Some(backing) => operations.push(Operation::MountVolume {
                name: volume.name.clone(),
                backing: backing.clone(),
            }),
        }
    }
}

fn plan_overlay(
    instance: &Instance,
    request: &MountRootfs,
    facts: &Facts,
    operations: &mut Vec<Operation>,
) {
    let directory = instance.container(&request.run.container);
    let (upper, work) = (directory.join("upper"), directory.join("work"));
    let lowers = lowers(instance, &request.layers);
    let padding = padding(instance, &lowers, LOWERS_WITH_UPPER);
    if facts.upper == UpperState::Incomplete {
        operations.push(Operation::DiscardUpper(directory));
    }
    if facts.upper != UpperState::Usable {
        let like = lowers.first().or(padding.first());
        let like = like.expect("there is always a lowest layer");
        operations.push(Operation::MakeUpper {
            upper: upper.clone(),
            like: like.clone(),
        });
    }
    operations.push(Operation::MakeWork(work.clone()));
    let target = instance.rootfs(&request.run);
    operations.push(Operation::MakeMountPoint(target.clone()));
    let durability = match request.upper {
        Upper::Persistent => Durability::Synced,
        Upper::Volatile => Durability::Volatile,
    };
    operations.push(Operation::MountOverlay(Overlay {
        lowers,
        padding,
        writable: Some(Writable {
            upper,
            work,
            durability,
        }),
        target,
        mappings: request.user_namespace.clone(),
    }));
}

/// Returns the layers' directories, the top-most first. A layer that stands in
/// an image twice counts where it is highest: below, it can show nothing that
/// it does not show above, and overlayfs refuses to stack a directory twice.
fn lowers(instance: &Instance, layers: &[Digest]) -> Vec<PathBuf> {
    let mut seen = BTreeSet::new();
    let top_first = layers.iter().rev().filter(|layer| seen.insert(**layer));
    top_first.map(|layer| instance.layer(layer)).collect()
}

/// Returns empty layers for a stack that has fewer than `wanted`.
fn padding(instance: &Instance, lowers: &[PathBuf], wanted: usize) -> Vec<PathBuf> {
    let missing = wanted.saturating_sub(lowers.len());
    empty_layers(instance).into_iter().take(missing).collect()
}

fn plan_copies(request: &MountRootfs, mounted: &RootfsMounted, operations: &mut Vec<Operation>) {
    let uses = request.volumes.iter().zip(&mounted.volumes);
    if let Some(mappings) = &request.user_namespace {
        // A folder of a volume may be a file, and is its users' own.
        let whole = uses.clone().filter(|(volume, _)| volume.subpath.is_none());
        operations.extend(whole.map(|(_, place)| Operation::GiveVolume {
            name: place.name.clone(),
            data: place.path.clone(),
            owner: mappings.root(),
        }));
    }
    for (volume, place) in uses.filter(|(volume, _)| volume.copy_up) {
        operations.push(Operation::CopyUp {
            name: volume.name.clone(),
            data: place.path.clone(),
            rootfs: mounted.rootfs.clone(),
            destination: volume.destination.clone(),
        });
    }
}

#[cfg(test)]
#[path = "plan/tests.rs"]
mod tests;
