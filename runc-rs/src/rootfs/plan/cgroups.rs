//! Mounts of the type `cgroup`: one mount, or one for each hierarchy.

use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Mount};
use rustix::mount::{MountAttrFlags, MountFlags};

use super::Planner;
use crate::rootfs::facts::{CgroupMounts, Hierarchy};
use crate::rootfs::options::{Attributes, ParsedOptions, Reach};
use crate::rootfs::steps::{Bind, Content, Filesystem, Link, MountStep, Place, Step};

const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY;
/// What nothing in a file system of control groups needs.
const RESTRICTED: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_NOSUID
    .union(MountAttrFlags::MOUNT_ATTR_NODEV)
    .union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

impl Planner<'_> {
    pub(super) fn add_cgroup(&mut self, mount: &Mount, options: ParsedOptions) {
        match &self.facts.cgroups {
            CgroupMounts::Unified { root, group } => {
                let is_private = self.has_namespace(LinuxNamespaceType::Cgroup);
                let directory = if is_private { group } else { root };
                self.add_unified(mount, options, directory.clone());
            }
            CgroupMounts::Split(hierarchies) => {
                let destination = self.destination(mount);
                self.add_cgroup_directory(&destination, &options);
                for hierarchy in hierarchies {
                    self.add_hierarchy(&destination, hierarchy, &options);
                }
            }
        }
    }

    fn add_unified(&mut self, mount: &Mount, options: ParsedOptions, directory: PathBuf) {
        self.steps.push(Step::Mount(MountStep {
            destination: self.destination(mount),
            content: Content::Unified {
                filesystem: Filesystem {
                    kind: "cgroup2".to_owned(),
                    source: mount.source().clone(),
                    superblock: options.superblock,
                    data: options.data,
                    place: Place::Any,
                    copy_up: false,
                    label: None,
                },
                directory,
            },
            attributes: options.attributes.then(options.tree_attributes),
            tree_attributes: Attributes::default(),
            propagation: options.propagation,
            sealed: false,
        }));
    }

    /// Adds the tmpfs that the hierarchies are mounted in.
    fn add_cgroup_directory(&mut self, destination: &Path, options: &ParsedOptions) {
        self.seals |= options.is_read_only();
        self.steps.push(Step::Mount(MountStep {
            destination: destination.to_owned(),
            content: Content::Filesystem(Filesystem {
                kind: "tmpfs".to_owned(),
                source: Some(PathBuf::from("tmpfs")),
                superblock: MountFlags::empty(),
                data: vec!["mode=755".to_owned()],
                place: Place::Any,
                copy_up: false,
                label: self.label("tmpfs"),
            }),
            attributes: Attributes::setting(RESTRICTED),
            tree_attributes: Attributes::default(),
            propagation: options.propagation.clone(),
            sealed: options.is_read_only(),
        }));
    }

    /// Adds one hierarchy. One that the container has no group of its own in
    /// is the caller's business: it can be looked at, whatever the options.
    fn add_hierarchy(&mut self, directory: &Path, hierarchy: &Hierarchy, options: &ParsedOptions) {
        let read_only = match options.is_read_only() || !hierarchy.is_joined {
            true => Attributes::setting(READ_ONLY),
            false => Attributes::default(),
        };
        let (content, attributes) = match self.has_namespace(LinuxNamespaceType::Cgroup) {
            true => (new_hierarchy(hierarchy), Attributes::setting(RESTRICTED)),
            false => (group_of(hierarchy), options.attributes),
        };
        self.steps.push(Step::Mount(MountStep {
            destination: directory.join(&hierarchy.name),
            content,
            attributes: attributes.then(read_only),
            tree_attributes: Attributes::default(),
            propagation: options.propagation.clone(),
            sealed: false,
        }));
        let names = hierarchy
            .options
            .iter()
            .filter(|name| **name != hierarchy.name);
        let links = names.filter(|name| !name.starts_with("name=")).map(|name| {
            Step::Link(Link {
                directory: directory.to_owned(),
                name: name.clone(),
                target: hierarchy.name.clone(),
            })
        });
        self.steps.extend(links);
    }
}

/// A mount whose root is the root of the cgroup namespace.
fn new_hierarchy(hierarchy: &Hierarchy) -> Content {
    Content::Filesystem(Filesystem {
        kind: "cgroup".to_owned(),
        source: Some(PathBuf::from("cgroup")),
        superblock: MountFlags::empty(),
        data: hierarchy.options.clone(),
        place: Place::Any,
        copy_up: false,
        label: None,
    })
}

/// The container's group alone, where the namespace would show all of them.
fn group_of(hierarchy: &Hierarchy) -> Content {
    Content::Bind(Bind {
        index: None,
        source: hierarchy.group.clone(),
        reach: Reach::Tree,
        explicit: true,
        id_map: None,
    })
}
