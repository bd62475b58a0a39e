//! Mount options: the one table of their names, and what a list of them asks.
//!
//! The table is complete: a name that is not in it is an option of the file
//! system and goes to it as it is. `features` lists the table. Nothing here
//! looks at a kernel or a mount; that a bind mount keeps the access times of
//! its source, or what the kernel has locked, is decided where it is made.

use rustix::mount::{MountAttrFlags, MountFlags};

use Effect as E;

/// What a list of mount options asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParsedOptions {
    /// Of the mount itself.
    pub attributes: Attributes,
    /// Of the mount and every mount below it.
    pub tree_attributes: Attributes,
    /// Whether any option, even one that only repeats the default, is about
    /// the mount itself. A bind mount without one keeps its source's.
    pub explicit: bool,
    /// Flags of the file system, as `mount(2)` has them.
    pub superblock: MountFlags,
    /// To be set one after the other, once the mount is in its place.
    pub propagation: Vec<Propagation>,
    /// What the file system gets.
    pub data: Vec<String>,
    pub bind: BindKind,
    /// Whether an existing mount is to be changed.
    pub remount: bool,
    /// Whether a tmpfs begins with what is in the directory it hides.
    pub copy_up: bool,
    pub id_map: Option<Reach>,
}

/// Attributes to set and to clear. The kernel sees access times as one choice
/// of three, so they are not among the bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attributes {
    pub set: MountAttrFlags,
    pub clear: MountAttrFlags,
    pub access_time: Option<AccessTime>,
}

/// When reading a file updates its access time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AccessTime {
    /// Sometimes: the kernel's default.
    Relative,
    Never,
    Always,
}

/// What a mount shares with copies of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Propagation {
    pub kind: PropagationKind,
    pub reach: Reach,
}

/// The four kinds of propagation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PropagationKind {
    Private,
    Shared,
    Slave,
    Unbindable,
}

/// Whether a change is for one mount or also for all below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    Mount,
    Tree,
}

/// Whether a mount shows what is already mounted elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BindKind {
    /// It is a file system of its own.
    None,
    Bind(Reach),
}

/// What one option does.
#[derive(Debug, Clone, Copy)]
enum Effect {
    /// The kernel's default is meant.
    Default,
    Set(MountAttrFlags),
    Clear(MountAttrFlags),
    AccessTime(AccessTime),
    NotAccessTime(AccessTime),
    TreeSet(MountAttrFlags),
    TreeClear(MountAttrFlags),
    TreeAccessTime(AccessTime),
    TreeNotAccessTime(AccessTime),
    Superblock(MountFlags),
    NotSuperblock(MountFlags),
    Propagation(PropagationKind, Reach),
    Bind(Reach),
    Remount,
    CopyUp,
    IdMap(Reach),
    /// There is no flag for it: each file system has its own.
    Data,
}

const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
const NO_SUID: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID;
const NO_DEV: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODEV;
const NO_EXEC: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOEXEC;
const NO_DIR_TIME: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NODIRATIME;
const NO_SYMLINK: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSYMFOLLOW;
const MANDATORY_LOCKS: MountFlags = MountFlags::PERMIT_MANDATORY_FILE_LOCKING;
/// `MS_I_VERSION`, which `rustix` does not name.
pub(super) const INODE_VERSION: MountFlags = MountFlags::from_bits_retain(1 << 23);

const TABLE: &[(&str, Effect)] = &[
    ("acl", E::Data),
    ("async", E::NotSuperblock(MountFlags::SYNCHRONOUS)),
    ("atime", E::NotAccessTime(AccessTime::Never)),
    ("bind", E::Bind(Reach::Mount)),
    ("defaults", E::Default),
    ("dev", E::Clear(NO_DEV)),
    ("diratime", E::Clear(NO_DIR_TIME)),
    ("dirsync", E::Superblock(MountFlags::DIRSYNC)),
    ("exec", E::Clear(NO_EXEC)),
    ("idmap", E::IdMap(Reach::Mount)),
    ("iversion", E::Superblock(INODE_VERSION)),
    ("lazytime", E::Superblock(MountFlags::LAZYTIME)),
    ("loud", E::NotSuperblock(MountFlags::SILENT)),
    ("mand", E::Superblock(MANDATORY_LOCKS)),
    ("noacl", E::Data),
    ("noatime", E::AccessTime(AccessTime::Never)),
    ("nodev", E::Set(NO_DEV)),
    ("nodiratime", E::Set(NO_DIR_TIME)),
    ("noexec", E::Set(NO_EXEC)),
    ("noiversion", E::NotSuperblock(INODE_VERSION)),
    ("nolazytime", E::NotSuperblock(MountFlags::LAZYTIME)),
    ("nomand", E::NotSuperblock(MANDATORY_LOCKS)),
    ("norelatime", E::NotAccessTime(AccessTime::Relative)),
    ("nostrictatime", E::NotAccessTime(AccessTime::Always)),
    ("nosuid", E::Set(NO_SUID)),
    ("nosymfollow", E::Set(NO_SYMLINK)),
    (
        "private",
        E::Propagation(PropagationKind::Private, Reach::Mount),
    ),
    ("ratime", E::TreeNotAccessTime(AccessTime::Never)),
    ("rbind", E::Bind(Reach::Tree)),
    ("rdev", E::TreeClear(NO_DEV)),
    ("rdiratime", E::TreeClear(NO_DIR_TIME)),
    ("relatime", E::AccessTime(AccessTime::Relative)),
    ("remount", E::Remount),
    ("rexec", E::TreeClear(NO_EXEC)),
    ("ridmap", E::IdMap(Reach::Tree)),
    ("rnoatime", E::TreeAccessTime(AccessTime::Never)),
    ("rnodev", E::TreeSet(NO_DEV)),
    ("rnodiratime", E::TreeSet(NO_DIR_TIME)),
    ("rnoexec", E::TreeSet(NO_EXEC)),
    ("rnorelatime", E::TreeNotAccessTime(AccessTime::Relative)),
    ("rnostrictatime", E::TreeNotAccessTime(AccessTime::Always)),
    ("rnosuid", E::TreeSet(NO_SUID)),
    ("rnosymfollow", E::TreeSet(NO_SYMLINK)),
    ("ro", E::Set(READ_ONLY)),
    (
        "rprivate",
        E::Propagation(PropagationKind::Private, Reach::Tree),
    ),
    ("rrelatime", E::TreeAccessTime(AccessTime::Relative)),
    ("rro", E::TreeSet(READ_ONLY)),
    ("rrw", E::TreeClear(READ_ONLY)),
    (
        "rshared",
        E::Propagation(PropagationKind::Shared, Reach::Tree),
    ),
    (
        "rslave",
        E::Propagation(PropagationKind::Slave, Reach::Tree),
    ),
    ("rstrictatime", E::TreeAccessTime(AccessTime::Always)),
    ("rsuid", E::TreeClear(NO_SUID)),
    ("rsymfollow", E::TreeClear(NO_SYMLINK)),
    (
        "runbindable",
        E::Propagation(PropagationKind::Unbindable, Reach::Tree),
    ),
    ("rw", E::Clear(READ_ONLY)),
    (
        "shared",
        E::Propagation(PropagationKind::Shared, Reach::Mount),
    ),
    ("silent", E::Superblock(MountFlags::SILENT)),
    (
        "slave",
        E::Propagation(PropagationKind::Slave, Reach::Mount),
    ),
    ("strictatime", E::AccessTime(AccessTime::Always)),
    ("suid", E::Clear(NO_SUID)),
    ("symfollow", E::Clear(NO_SYMLINK)),
    ("sync", E::Superblock(MountFlags::SYNCHRONOUS)),
    ("tmpcopyup", E::CopyUp),
    (
        "unbindable",
        E::Propagation(PropagationKind::Unbindable, Reach::Mount),
    ),
];

/// Returns every option that is known by name, in order.
pub fn names() -> impl Iterator<Item = &'static str> {
    TABLE.iter().map(|(name, _)| *name)
}

/// Returns what `options` ask together; of contradicting ones the last counts.
pub fn parse<'a>(options: impl IntoIterator<Item = &'a str>) -> ParsedOptions {
    let mut parsed = ParsedOptions::default();
    for option in options {
        match find(option) {
            Some(effect) => parsed.apply(option, effect),
            None if option.is_empty() => {}
            None => parsed.data.push(option.to_owned()),
        }
    }
    parsed
}

/// Returns the propagation that `name` means.
pub fn propagation(name: &str) -> Option<Propagation> {
    match find(name) {
        Some(Effect::Propagation(kind, reach)) => Some(Propagation { kind, reach }),
        _ => None,
    }
}

fn find(name: &str) -> Option<Effect> {
    let found = TABLE.binary_search_by_key(&name, |(name, _)| name);
    found.ok().map(|index| TABLE[index].1)
}

impl Default for ParsedOptions {
    fn default() -> Self {
        Self {
            attributes: Attributes::default(),
            tree_attributes: Attributes::default(),
            explicit: false,
            superblock: MountFlags::empty(),
            propagation: Vec::new(),
            data: Vec::new(),
            bind: BindKind::None,
            remount: false,
            copy_up: false,
            id_map: None,
        }
    }
}

impl ParsedOptions {
    fn apply(&mut self, option: &str, effect: Effect) {
        self.explicit |= effect.is_explicit();
        match effect {
            E::Default => {}
            E::Set(bits) => self.attributes.add(bits),
            E::Clear(bits) => self.attributes.remove(bits),
            E::AccessTime(choice) => self.attributes.access_time = Some(choice),
            E::NotAccessTime(choice) => self.attributes.take_back(choice),
            E::TreeSet(bits) => self.tree_attributes.add(bits),
            E::TreeClear(bits) => self.tree_attributes.remove(bits),
            E::TreeAccessTime(choice) => self.tree_attributes.access_time = Some(choice),
            E::TreeNotAccessTime(choice) => self.tree_attributes.fall_back(choice),
            E::Superblock(bits) => self.superblock.insert(bits),
            E::NotSuperblock(bits) => self.superblock.remove(bits),
            E::Propagation(kind, reach) => self.propagation.push(Propagation { kind, reach }),
            // A recursive bind stays one, whatever the order.
            E::Bind(Reach::Mount) if self.bind != BindKind::None => {}
            E::Bind(reach) => self.bind = BindKind::Bind(reach),
            E::Remount => self.remount = true,
            E::CopyUp => self.copy_up = true,
            E::IdMap(reach) => self.id_map = Some(reach),
            E::Data => self.data.push(option.to_owned()),
        }
    }

    pub(super) fn is_read_only(&self) -> bool {
        self.attributes.set.contains(READ_ONLY)
    }
}

impl Effect {
    fn is_explicit(self) -> bool {
        match self {
            E::Set(_)
            | E::Clear(_)
            | E::AccessTime(_)
            | E::NotAccessTime(_)
            | E::Superblock(_)
            | E::NotSuperblock(_) => true,
            E::Default
            | E::TreeSet(_)
            | E::TreeClear(_)
            | E::TreeAccessTime(_)
            | E::TreeNotAccessTime(_)
            | E::Propagation(..)
            | E::Bind(_)
            | E::Remount
            | E::CopyUp
            | E::IdMap(_)
            | E::Data => false,
        }
    }
}

impl Default for Attributes {
    fn default() -> Self {
        Self {
            set: MountAttrFlags::empty(),
            clear: MountAttrFlags::empty(),
            access_time: None,
        }
    }
}

impl Attributes {
    /// Returns attributes that are only set.
    pub(super) fn setting(set: MountAttrFlags) -> Self {
        Self {
            set,
            ..Self::default()
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Returns the attributes with those of `other` on top.
    pub(super) fn then(mut self, other: Self) -> Self {
        self.remove(other.clear);
        self.add(other.set);
        self.access_time = other.access_time.or(self.access_time);
        self
    }

    fn add(&mut self, bits: MountAttrFlags) {
        self.set.insert(bits);
        self.clear.remove(bits);
    }

    fn remove(&mut self, bits: MountAttrFlags) {
        self.set.remove(bits);
        self.clear.insert(bits);
    }

    /// Takes `choice` back if it was made: like mount(8), "not that one" alone
    /// leaves the choice as it is.
    fn take_back(&mut self, choice: AccessTime) {
        if self.access_time == Some(choice) {
            self.access_time = None;
        }
    }

    /// In a tree, "not that one" means the kernel's default.
    fn fall_back(&mut self, choice: AccessTime) {
        if self.access_time.is_none_or(|chosen| chosen == choice) {
            self.access_time = Some(AccessTime::Relative);
        }
    }
}

impl AccessTime {
    /// Returns the bits the mount calls know the choice by.
    pub(super) fn bits(self) -> MountAttrFlags {
        match self {
            Self::Relative => MountAttrFlags::MOUNT_ATTR_RELATIME,
            Self::Never => MountAttrFlags::MOUNT_ATTR_NOATIME,
            Self::Always => MountAttrFlags::MOUNT_ATTR_STRICTATIME,
        }
    }
}

#[cfg(test)]
#[path = "tests/options.rs"]
mod tests;
