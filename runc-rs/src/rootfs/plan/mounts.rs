//! The specification's mounts, one by one.

use std::path::{Path, PathBuf};

use oci_spec::runtime::Mount;
use rustix::mount::MountAttrFlags;

use super::{Planner, in_container, lexical};
use crate::rootfs::RootfsError;
use crate::rootfs::options::{self, BindKind, ParsedOptions, Reach};
use crate::rootfs::steps::{Bind, Content, Filesystem, IdMap, IdMappings, MountStep, Place, Step};

impl Planner<'_> {
    pub(super) fn add_mounts(&mut self) -> Result<(), RootfsError> {
        let spec = self.spec;
        for (index, mount) in spec.mounts().iter().flatten().enumerate() {
            self.add_mount(index, mount)?;
        }
        Ok(())
    }

    fn add_mount(&mut self, index: usize, mount: &Mount) -> Result<(), RootfsError> {
        let options = parse(mount);
        let destination = self.destination(mount);
        if lexical(&destination) == Path::new("/") {
            return Err(RootfsError::MountOnRoot(destination));
        }
        let kind = mount.typ().as_deref().unwrap_or_default();
        if let BindKind::Bind(reach) = options.bind {
            return self.add_bind(index, reach, mount, options);
        }
        if options.id_map.is_some() || has_mappings(mount) {
            return Err(RootfsError::IdMapWithoutBind(destination));
        }
        if matches!(kind, "cgroup" | "cgroup2") {
            self.await_cgroup();
        }
        match kind {
            "cgroup" => self.add_cgroup(mount, options),
            "" if !options.remount => return Err(RootfsError::NoType(destination)),
            _ => self.add_filesystem(mount, options),
        }
        Ok(())
    }

    /// Returns where `mount` goes in the container. Like runc, this takes a
    /// path on the host below the root filesystem for the same place.
    pub(super) fn destination(&self, mount: &Mount) -> PathBuf {
        let given = mount.destination();
        let below = given.strip_prefix(&self.facts.rootfs);
        in_container(below.unwrap_or(given))
    }

    fn add_bind(
        &mut self,
        index: usize,
        reach: Reach,
        mount: &Mount,
        options: ParsedOptions,
    ) -> Result<(), RootfsError> {
        let destination = self.destination(mount);
        // The kernel would ignore it, and a wish of this kind is not one to be
        // lost in silence.
        if let Some(option) = options.data.into_iter().next() {
            return Err(RootfsError::BindWithData {
                destination,
                option,
            });
        }
        let Some(source) = mount.source() else {
            return Err(RootfsError::NoSource(destination));
        };
        let id_map = match options.id_map {
            None if !has_mappings(mount) => None,
            reach => Some(IdMap {
                number: self.id_mappings(mount, &destination)?,
                reach: reach.unwrap_or(Reach::Mount),
            }),
        };
        self.steps.push(Step::Mount(MountStep {
            destination,
            content: Content::Bind(Bind {
                index: Some(index),
                source: self.facts.bundle.join(source),
                reach,
                explicit: options.explicit,
                id_map,
            }),
            attributes: options.attributes,
            tree_attributes: options.tree_attributes,
            propagation: options.propagation,
            sealed: false,
        }));
        Ok(())
    }

    /// Returns the number of the mappings of `mount`; equal ones share it.
    fn id_mappings(&mut self, mount: &Mount, destination: &Path) -> Result<usize, RootfsError> {
        let uids = mount.uid_mappings().clone().unwrap_or_default();
        let gids = mount.gid_mappings().clone().unwrap_or_default();
        let mappings = match (uids.is_empty(), gids.is_empty()) {
            (true, true) if self.is_in_user_namespace() => IdMappings::Container,
            (true, true) => {
                return Err(RootfsError::IdMapWithoutMappings(destination.to_owned()));
            }
            (false, false) => IdMappings::Own { uids, gids },
            _ => return Err(RootfsError::IdMapIncomplete(destination.to_owned())),
        };
        let known = self.id_mappings.iter().position(|other| *other == mappings);
        Ok(known.unwrap_or_else(|| {
            self.id_mappings.push(mappings);
            self.id_mappings.len() - 1
        }))
    }

    fn add_filesystem(&mut self, mount: &Mount, options: ParsedOptions) {
        let destination = self.destination(mount);
        let kind = mount.typ().clone().unwrap_or_default();
        // Nodes and links are still to be made in /dev, and mount points and
        // copies in a tmpfs.
        let waits = kind == "tmpfs" || lexical(&destination) == Path::new("/dev");
        let filesystem = Filesystem {
            source: mount.source().clone(),
            superblock: options.superblock,
            data: options.data,
            place: match kind.as_str() {
                "tmpfs" => Place::KeepsMode,
                "proc" | "sysfs" => Place::Ordinary,
                _ => Place::Any,
            },
            copy_up: kind == "tmpfs" && options.copy_up,
            label: self.label(&kind),
            kind,
        };
        // Below a new file system is nothing, so its tree is itself.
        let mut attributes = options.attributes.then(options.tree_attributes);
        let read_only = MountAttrFlags::MOUNT_ATTR_RDONLY;
        let sealed = waits && !options.remount && attributes.set.contains(read_only);
        if sealed {
            attributes.set.remove(read_only);
            self.seals = true;
        }
        let content = match options.remount {
            false => Content::Filesystem(filesystem),
            true => Content::Remount {
                superblock: filesystem.superblock,
                data: filesystem.data,
            },
        };
        self.steps.push(Step::Mount(MountStep {
            destination,
            content,
            attributes,
            tree_attributes: Default::default(),
            propagation: options.propagation,
            sealed,
        }));
    }
}

/// Returns the options of `mount`. The type `bind` alone means a bind mount as
/// well: many write it without the option.
fn parse(mount: &Mount) -> ParsedOptions {
    let options = mount.options().iter().flatten().map(String::as_str);
    let mut parsed = options::parse(options);
    if mount.typ().as_deref() == Some("bind") && parsed.bind == BindKind::None {
        parsed.bind = BindKind::Bind(Reach::Mount);
    }
    parsed
}

fn has_mappings(mount: &Mount) -> bool {
    mount.uid_mappings().is_some() || mount.gid_mappings().is_some()
}

/// Returns whether `/dev` of the container is the host's or somebody else's,
/// in which nothing may be made.
pub(super) fn has_foreign_dev(planner: &Planner<'_>) -> bool {
    let mut mounts = planner.spec.mounts().iter().flatten();
    mounts.any(|mount| {
        parse(mount).bind != BindKind::None
            && lexical(&planner.destination(mount)) == Path::new("/dev")
    })
}
