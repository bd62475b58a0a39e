//! The root filesystem of a run: layers below, a writable upper, volumes ready
//! to be bound, bind sources vetted.

use std::collections::BTreeMap;
use std::path::PathBuf;

use base::{ContainerId, Digest, Instance, RunId, VolumeName};
use events::RequestBody;
use serde::{Deserialize, Serialize};

/// Returns the directory of the mount points of the runs' parts: folders of
/// volumes, and memory that is shared.
pub fn parts(instance: &Instance) -> PathBuf {
    instance.mounts().join("parts")
}

/// Returns where the folder of a run's volume is mounted, by the volume's place
/// in the request.
pub fn part(instance: &Instance, run: &RunId, place: usize) -> PathBuf {
    parts(instance).join(format!("{run}.{place}"))
}

/// Returns where the memory is mounted that other containers may share with a run.
pub fn shared_memory(instance: &Instance, run: &RunId) -> PathBuf {
    parts(instance).join(format!("{run}.shm"))
}

/// Returns where an image is mounted that a run uses, by the image's place in the
/// request.
pub fn image(instance: &Instance, run: &RunId, place: usize) -> PathBuf {
    parts(instance).join(format!("{run}.image{place}"))
}

/// Returns where the part of such an image is mounted that the run sees of it.
pub fn image_part(instance: &Instance, run: &RunId, place: usize) -> PathBuf {
    parts(instance).join(format!("{run}.image{place}-part"))
}

/// Asks for the root filesystem of a run at `<run>/mnt/<id>.<run>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountRootfs {
    pub run: RunId,
    /// Diff ids, the lowest layer first; each is `<root>/images/layers/<hex>`.
    pub layers: Vec<Digest>,
    pub upper: Upper,
    #[serde(default)]
    pub volumes: Vec<VolumeUse>,
    #[serde(default)]
    pub binds: Vec<BindUse>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<ImageUse>,
    /// The size of the memory that other containers may share with this one,
    /// mounted at [`shared_memory`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_memory_bytes: Option<u64>,
    /// How the run sees the owners of files: the layers are mounted so, and on
    /// disk they stay as they are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_namespace: Option<base::IdMappings>,
}

/// How the writable layer `<root>/containers/<id>/{upper,work}` is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upper {
    /// Kept until the container is removed.
    Persistent,
    /// Thrown away with the run: mounted `volatile`, never synced.
    Volatile,
}

/// A named volume the run uses; it is made if it is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeUse {
    pub name: VolumeName,
    /// The absolute path in the container whose content an empty volume starts
    /// with; resolved inside the root filesystem.
    pub destination: PathBuf,
    /// Whether that content is copied into an empty volume (`nocopy` turns it off).
    pub copy_up: bool,
    /// What of the volume is used, a path below its data; mounted at [`part`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
    /// Set on volumes that were made for this container (anonymous ones).
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

/// A path of the host the run binds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BindUse {
    pub source: PathBuf,
    pub missing: MissingSource,
}

/// An image whose files the run sees, read-only, beside its own root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageUse {
    /// Diff ids, the lowest layer first.
    pub layers: Vec<Digest>,
    /// What of the image is used, a path below its root; mounted at [`image_part`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subpath: Option<String>,
}

/// What happens when a bind's source is not there: `-v` makes a directory,
/// `--mount` refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingSource {
    Create,
    Refuse,
}

/// The root filesystem is in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootfsMounted {
    pub rootfs: PathBuf,
    /// In the order of the request.
    pub volumes: Vec<MountedVolume>,
    /// In the order of the request.
    pub binds: Vec<ResolvedBind>,
    /// Where each image is, or its part; in the order of the request.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub images: Vec<PathBuf>,
}

/// Where a volume's data is on the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MountedVolume {
    pub name: VolumeName,
    pub path: PathBuf,
}

/// A vetted bind source, without symbolic links.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResolvedBind {
    pub source: PathBuf,
    pub is_directory: bool,
}

impl RequestBody for MountRootfs {
    const KIND: &'static str = "rootfs.mount";
    const REPLY: &'static str = "rootfs.mounted";
    const FAILED: &'static str = "rootfs.mount_failed";
    type Reply = RootfsMounted;
}

/// Who keeps a root filesystem mounted, `<run>/volumed/holders/<id>.<run>.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    pub request: MountRootfs,
    pub mounted: RootfsMounted,
}

/// Unmounts; a run that holds nothing is no error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnmountRootfs {
    pub run: RunId,
}

/// Nothing of the run is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootfsUnmounted {}

impl RequestBody for UnmountRootfs {
    const KIND: &'static str = "rootfs.unmount";
    const REPLY: &'static str = "rootfs.unmounted";
    const FAILED: &'static str = "rootfs.unmount_failed";
    type Reply = RootfsUnmounted;
}

/// Removes the writable layer of a container whose last run is released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveFiles {
    pub container: ContainerId,
}

/// The container's writable layer is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilesRemoved {}

impl RequestBody for RemoveFiles {
    const KIND: &'static str = "rootfs.remove";
    const REPLY: &'static str = "rootfs.removed";
    const FAILED: &'static str = "rootfs.remove_failed";
    type Reply = FilesRemoved;
}
