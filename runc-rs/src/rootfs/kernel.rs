//! The mount calls, all on descriptors: the ones of Linux 5.2 and 5.12 where
//! the kernel has them, `mount(2)` where it has not.
//!
//! `mount(2)` knows only paths. A descriptor's is `self/fd/N`, looked up in a
//! procfs that nobody else can mount on; nothing of a container is on the way.
//! It names what was under a descriptor before a mount, so whoever uses the old
//! way must look the new mount up again.

use std::cell::OnceCell;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;

use pathrs::procfs::{ProcfsHandle, ProcfsHandleBuilder};
use rustix::fs::{CWD, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags, OpenTreeFlags,
};

use super::RootfsError;
use super::options::{Attributes, Propagation, PropagationKind, Reach};
use crate::sys::mounts::{self, MountChange};

const ACCESS_TIME: MountAttrFlags = MountAttrFlags::MOUNT_ATTR__ATIME;
/// All that is about access times.
pub(super) const TIMES: MountAttrFlags = ACCESS_TIME.union(MountAttrFlags::MOUNT_ATTR_NODIRATIME);
/// The attributes, without times, that the kernel locks in a user namespace.
pub(super) const LOCKABLE: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);
/// The attributes, without times, that are on or off.
pub(super) const SWITCHES: MountAttrFlags = LOCKABLE.union(NO_SYMLINK);
/// Read-only, and nothing else changed.
pub(super) const READ_ONLY: Change = Change {
    set: MountAttrFlags::MOUNT_ATTR_RDONLY,
    clear: MountAttrFlags::empty(),
};
const NO_SYMLINK: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW;
/// `ST_NOSYMFOLLOW`, which `rustix` does not name.
const NO_SYMLINK_STATUS: StatVfsMountFlags = StatVfsMountFlags::from_bits_retain(0x2000);

/// The attributes of a mount as the different calls name them.
const NAMES: [(MountAttrFlags, MountFlags, StatVfsMountFlags, &str); 6] = [
    (
        MountAttrFlags::MOUNT_ATTR_RDONLY,
        MountFlags::RDONLY,
        StatVfsMountFlags::RDONLY,
        "ro",
    ),
    (
        MountAttrFlags::MOUNT_ATTR_NOSUID,
        MountFlags::NOSUID,
        StatVfsMountFlags::NOSUID,
        "nosuid",
    ),
    (
        MountAttrFlags::MOUNT_ATTR_NODEV,
        MountFlags::NODEV,
        StatVfsMountFlags::NODEV,
        "nodev",
    ),
    (
        MountAttrFlags::MOUNT_ATTR_NOEXEC,
        MountFlags::NOEXEC,
        StatVfsMountFlags::NOEXEC,
        "noexec",
    ),
    (
        MountAttrFlags::MOUNT_ATTR_NODIRATIME,
        MountFlags::NODIRATIME,
        StatVfsMountFlags::NODIRATIME,
        "nodiratime",
    ),
    (
        NO_SYMLINK,
        MountFlags::NOSYMFOLLOW,
        NO_SYMLINK_STATUS,
        "nosymfollow",
    ),
];

/// Which mount calls there are, and the way to use the old one.
#[derive(Debug)]
pub(super) struct Kernel {
    /// Whether mounts can be made and moved by descriptor (5.2).
    pub(super) has_mount_fds: bool,
    /// Whether attributes can be set by descriptor (5.12).
    pub(super) has_attributes: bool,
    procfs: OnceCell<ProcfsHandle>,
}

/// A change of attributes in the kernel's terms: what is in both is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) set: MountAttrFlags,
    pub(super) clear: MountAttrFlags,
}

impl Kernel {
    /// Asks the kernel, or whoever filters its calls.
    ///
    /// # Errors
    /// When the old way is needed and there is no procfs to trust.
    pub(super) fn probe() -> Result<Self, RootfsError> {
        // Calls with nonsense in them, which whoever knows them calls invalid.
        let nonsense = OpenTreeFlags::from_bits_retain(!0);
        let tree = rustix::mount::open_tree(CWD, "", nonsense).err();
        let filesystem = rustix::mount::fsopen("tmpfs", rustix::mount::FsOpenFlags::all()).err();
        let nothing = MountChange::default();
        let attributes = mounts::change_mount(CWD, !0, &nothing).err();
        let attributes = attributes.as_ref().and_then(Errno::from_io_error);
        let has_mount_fds = [tree, filesystem] == [Some(Errno::INVAL); 2];
        let has_attributes = attributes == Some(Errno::INVAL);
        let procfs = match has_mount_fds && has_attributes {
            true => OnceCell::new(),
            false => OnceCell::from(procfs()?),
        };
        Ok(Self {
            has_mount_fds,
            has_attributes,
            procfs,
        })
    }

    /// Calls `mount(2)` or the like for descriptors whose paths `call` builds
    /// with [`path_of`]. Changes the working directory.
    pub(super) fn by_path(&self, call: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let procfs = match self.procfs.get() {
            Some(procfs) => procfs,
            None => {
                let opened = procfs().map_err(|_| Errno::NOSYS)?;
                self.procfs.get_or_init(|| opened)
            }
        };
        rustix::process::fchdir(procfs.as_fd())?;
        let called = call();
        rustix::process::chdir("/")?;
        called
    }

    /// Changes the attributes of the mount that `mount` is the root of.
    pub(super) fn change(
        &self,
        mount: BorrowedFd<'_>,
        change: Change,
        reach: Reach,
    ) -> Result<(), Errno> {
        if self.has_attributes {
            return match set_attributes(mount, change, reach) {
                // Linux 5.12 and 5.13 do not know this one.
                Err(Errno::INVAL) if change.clear.contains(NO_SYMLINK) => {
                    let clear = change.clear.difference(NO_SYMLINK);
                    set_attributes(mount, Change { clear, ..change }, reach)
                }
                set => set,
            };
        }
        match reach {
            Reach::Mount => self.remount(mount, change),
            Reach::Tree => Err(Errno::NOSYS),
        }
    }

    /// The old call sets all attributes at once; only access times stay when
    /// none is named.
    fn remount(&self, mount: BorrowedFd<'_>, change: Change) -> Result<(), Errno> {
        let wanted = attributes_of(mount)?
            .difference(change.clear)
            .union(change.set);
        let keeps_time = !change.clear.contains(ACCESS_TIME);
        let mut flags = MountFlags::BIND;
        for (attribute, flag, ..) in NAMES {
            let is_time = attribute == MountAttrFlags::MOUNT_ATTR_NODIRATIME;
            if wanted.contains(attribute) && !(keeps_time && is_time) {
                flags.insert(flag);
            }
        }
        if !keeps_time {
            flags.insert(access_time_flag(wanted));
        }
        self.by_path(|| rustix::mount::mount_remount(path_of(mount), flags, ""))
    }

    /// Sets the propagation of the mount that `mount` is the root of.
    pub(super) fn propagate(
        &self,
        mount: BorrowedFd<'_>,
        propagation: Propagation,
    ) -> Result<(), Errno> {
        if !self.has_attributes {
            let flags = propagation_flags(propagation);
            return self.by_path(|| rustix::mount::mount_change(path_of(mount), flags));
        }
        let kind = kind_flag(propagation.kind);
        let change = MountChange {
            propagation: u64::from(kind.bits()),
            ..MountChange::default()
        };
        let reach = flags_of(propagation.reach);
        to_errno(mounts::change_mount(mount, reach, &change))
    }
}

/// Opens a procfs of our own or, where that is not possible, the host's after
/// a look at what is mounted on it.
pub(super) fn procfs() -> Result<ProcfsHandle, RootfsError> {
    let procfs = ProcfsHandleBuilder::new().build();
    procfs.map_err(|error| RootfsError::Procfs(Box::new(error)))
}

/// Returns the path of `descriptor` in a procfs.
pub(super) fn path_of(descriptor: BorrowedFd<'_>) -> String {
    format!("self/fd/{}", descriptor.as_raw_fd())
}

/// Returns a copy, attached nowhere, of the mount that shows `path`.
pub(super) fn clone_path(path: &Path, reach: Reach) -> Result<OwnedFd, Errno> {
    rustix::mount::open_tree(CWD, path, clone_flags(reach))
}

/// Returns a copy, attached nowhere, of the mount that shows `shown`.
pub(super) fn clone_tree(shown: BorrowedFd<'_>, reach: Reach) -> Result<OwnedFd, Errno> {
    let flags = clone_flags(reach) | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(shown, "", flags)
}

fn clone_flags(reach: Reach) -> OpenTreeFlags {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    match reach {
        Reach::Mount => flags,
        Reach::Tree => flags | OpenTreeFlags::AT_RECURSIVE,
    }
}

/// Attaches a mount to `place`; its descriptor stays its root's.
pub(super) fn attach(mount: BorrowedFd<'_>, place: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(mount, "", place, "", flags)
}

/// Makes a mount, attached nowhere, of a configured file system.
pub(super) fn mount_of(
    filesystem: BorrowedFd<'_>,
    attributes: MountAttrFlags,
) -> Result<OwnedFd, Errno> {
    rustix::mount::fsmount(filesystem, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

fn set_attributes(mount: BorrowedFd<'_>, change: Change, reach: Reach) -> Result<(), Errno> {
    let change = MountChange {
        set: u64::from(change.set.bits()),
        clear: u64::from(change.clear.bits()),
        ..MountChange::default()
    };
    to_errno(mounts::change_mount(mount, flags_of(reach), &change))
}

/// Shows the owners of files in the tree as `user_namespace` maps them.
pub(super) fn map_ids(
    mount: BorrowedFd<'_>,
    user_namespace: BorrowedFd<'_>,
    reach: Reach,
) -> Result<(), Errno> {
    let change = MountChange {
        set: libc::MOUNT_ATTR_IDMAP,
        user_namespace: Some(user_namespace),
        ..MountChange::default()
    };
    to_errno(mounts::change_mount(mount, flags_of(reach), &change))
}

/// Returns the attributes of the mount a descriptor is in.
pub(super) fn attributes_of(mount: BorrowedFd<'_>) -> Result<MountAttrFlags, Errno> {
    let found = rustix::fs::fstatvfs(mount)?.f_flag;
    let mut attributes = if found.contains(StatVfsMountFlags::NOATIME) {
        MountAttrFlags::MOUNT_ATTR_NOATIME
    } else if found.contains(StatVfsMountFlags::RELATIME) {
        MountAttrFlags::MOUNT_ATTR_RELATIME
    } else {
        MountAttrFlags::MOUNT_ATTR_STRICTATIME
    };
    for (attribute, _, flag, _) in NAMES {
        if found.contains(flag) {
            attributes.insert(attribute);
        }
    }
    Ok(attributes)
}

/// Returns the names of attributes as options, for messages.
pub(super) fn names_of(attributes: MountAttrFlags) -> String {
    let named = NAMES.iter().filter(|(bit, ..)| attributes.contains(*bit));
    let names: Vec<&str> = named.map(|(.., name)| *name).collect();
    names.join(",")
}

fn access_time_flag(attributes: MountAttrFlags) -> MountFlags {
    match attributes & ACCESS_TIME {
        MountAttrFlags::MOUNT_ATTR_NOATIME => MountFlags::NOATIME,
        MountAttrFlags::MOUNT_ATTR_STRICTATIME => MountFlags::STRICTATIME,
        _ => MountFlags::RELATIME,
    }
}

/// Returns attributes as flags of `mount(2)`.
pub(super) fn mount_flags(attributes: &Attributes) -> MountFlags {
    let mut flags = attributes
        .access_time
        .map_or(MountFlags::empty(), |choice| {
            access_time_flag(choice.bits())
        });
    for (attribute, flag, ..) in NAMES {
        if attributes.set.contains(attribute) {
            flags.insert(flag);
        }
    }
    flags
}

/// Returns a propagation as flags of `mount(2)`.
pub(super) fn propagation_flags(propagation: Propagation) -> MountPropagationFlags {
    match propagation.reach {
        Reach::Mount => kind_flag(propagation.kind),
        Reach::Tree => kind_flag(propagation.kind) | MountPropagationFlags::REC,
    }
}

fn kind_flag(kind: PropagationKind) -> MountPropagationFlags {
    match kind {
        PropagationKind::Private => MountPropagationFlags::PRIVATE,
        PropagationKind::Shared => MountPropagationFlags::SHARED,
        PropagationKind::Slave => MountPropagationFlags::DOWNSTREAM,
        PropagationKind::Unbindable => MountPropagationFlags::UNBINDABLE,
    }
}

fn flags_of(reach: Reach) -> libc::c_int {
    match reach {
        Reach::Mount => 0,
        Reach::Tree => libc::AT_RECURSIVE,
    }
}

fn to_errno(result: std::io::Result<()>) -> Result<(), Errno> {
    result.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
}

impl Attributes {
    /// Returns the change that leaves everything not named as it is.
    pub(super) fn change(&self) -> Change {
        let time = self.access_time;
        Change {
            set: self.set | time.map_or(MountAttrFlags::empty(), |choice| choice.bits()),
            clear: self.clear | time.map_or(MountAttrFlags::empty(), |_| ACCESS_TIME),
        }
    }

    /// Returns the change that clears everything not named. Access times stay,
    /// unless one is set; then they are as set and not otherwise. To clear one
    /// alone changes nothing: `mount(2)` cannot express it.
    pub(super) fn change_all(&self) -> Change {
        let mut change = self.change();
        change.clear |= SWITCHES.difference(change.set);
        change.clear.remove(TIMES);
        if self.sets_times() {
            change.clear |= TIMES.difference(change.set);
            change.clear |= ACCESS_TIME;
        }
        change
    }

    pub(super) fn sets_times(&self) -> bool {
        self.access_time.is_some() || self.set.intersects(TIMES)
    }
}
