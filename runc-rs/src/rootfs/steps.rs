//! The steps a root filesystem is built in: what the plan lists and what is
//! performed, one type per kind. They say what, never how.

use std::path::PathBuf;

use oci_spec::runtime::LinuxIdMapping;
use rustix::mount::MountFlags;

use super::options::{Attributes, Propagation, PropagationKind, Reach};
use crate::create::RootSwitch;

/// Everything that is done between the new mount namespace and the final root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RootfsPlan {
    /// The root filesystem on the host: absolute, without symbolic links.
    pub rootfs: PathBuf,
    /// Whether whoever performs this is privileged in a user namespace only.
    pub in_user_namespace: bool,
    /// SELinux's label of what directories are covered with.
    pub mask_label: Option<String>,
    /// The user namespaces that id-mapped mounts need, by number.
    pub id_mappings: Vec<IdMappings>,
    pub steps: Vec<Step>,
}

/// One small operation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Sets the propagation of the mounts that came with the new namespace.
    Propagate(Propagation),
    /// Makes the root filesystem a mount of its own, below one that shares
    /// nothing: `pivot_root` demands both. The host's is left as it is.
    BindRoot {
        parent: Option<PropagationKind>,
    },
    Mount(MountStep),
    /// Waits until this process is in the container's control groups.
    AwaitCgroup,
    Node(Node),
    /// Makes `/dev/ptmx` the multiplexer of the container's own terminals.
    Multiplexer,
    Link(Link),
    /// Lets hooks see the finished root beside the host's.
    BeforePivot,
    SwitchRoot(RootSwitch),
    /// Sets the propagation of the new root.
    PropagateRoot(Propagation),
    /// Makes the place that the terminal is bound on later.
    ConsolePlace,
    /// Makes read-only what had to stay writable while it was filled.
    SealMounts,
    SealRoot,
    ReadOnly(PathBuf),
    Mask(PathBuf),
}

/// One mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountStep {
    /// Where, in the container.
    pub destination: PathBuf,
    pub content: Content,
    pub attributes: Attributes,
    /// Attributes of the mounts below as well.
    pub tree_attributes: Attributes,
    pub propagation: Vec<Propagation>,
    /// Whether [`Step::SealMounts`] makes it read-only.
    pub sealed: bool,
}

/// What a mount shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    Bind(Bind),
    Filesystem(Filesystem),
    /// What is mounted there already, with other flags.
    Remount {
        superblock: MountFlags,
        data: Vec<String>,
    },
    /// The hierarchy of control groups v2 or, where the kernel refuses another
    /// mount of it, the directory.
    Unified {
        filesystem: Filesystem,
        directory: PathBuf,
    },
}

/// Something of the host, or of the container made so far.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bind {
    /// The place of the mount in the specification, if it is there: the parent
    /// can be asked to open the source.
    pub index: Option<usize>,
    pub source: PathBuf,
    pub reach: Reach,
    /// Whether attributes that are not asked for are cleared; else the mount
    /// keeps its source's.
    pub explicit: bool,
    pub id_map: Option<IdMap>,
}

/// How the owners of files are shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdMap {
    /// Which of [`RootfsPlan::id_mappings`].
    pub number: usize,
    pub reach: Reach,
}

/// The user namespace that an id-mapped mount takes its mappings from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum IdMappings {
    /// The container's own.
    Container,
    /// One that is made for it.
    Own {
        uids: Vec<LinuxIdMapping>,
        gids: Vec<LinuxIdMapping>,
    },
}

/// A new instance of a file system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filesystem {
    /// Its type, as the kernel names it.
    pub kind: String,
    pub source: Option<PathBuf>,
    pub superblock: MountFlags,
    pub data: Vec<String>,
    pub place: Place,
    /// Whether it begins with what is in the directory it hides.
    pub copy_up: bool,
    /// SELinux's label for everything in it.
    pub label: Option<String>,
}

/// What a file system demands of the place it is mounted on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    Any,
    /// Its root has the mode of a directory that is there.
    KeepsMode,
    /// A directory and no symbolic link on the way: the place says to the
    /// kernel and to us that this is the container's proc or sys.
    Ordinary,
}

/// A device or a pipe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    pub path: PathBuf,
    pub kind: NodeKind,
    pub major: u32,
    pub minor: u32,
    /// Permission bits.
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    pub way: NodeWay,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeKind {
    Character,
    Block,
    Pipe,
}

/// How a node comes to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeWay {
    /// It is made or, where that is not permitted, bound.
    Make,
    /// The host's is bound: devices cannot be made in a user namespace.
    Bind,
}

/// A symbolic link; whatever has its name already stays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub directory: PathBuf,
    pub name: String,
    pub target: String,
}

/// What the parent opens for a child that may not reach or map it itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SourceRequest {
    /// The place of the mount in the specification.
    pub index: usize,
    pub path: PathBuf,
    pub reach: Reach,
    pub id_map: Option<IdMap>,
}
