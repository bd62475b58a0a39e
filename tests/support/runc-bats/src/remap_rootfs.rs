//! `remap-rootfs`: gives the files of a bundle to the users that they are to
//! belong to inside the bundle's user namespace.

use std::collections::HashSet;
use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, lchown};
use std::path::Path;

use anyhow::{Context, Result};
use oci_spec::runtime::{LinuxIdMapping, Spec};

use crate::arguments::Arguments;

/// # Errors
/// When the specification cannot be read, or a file not be changed.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let bundle = Path::new(arguments.word(0)?);
    let spec = Spec::load(bundle.join("config.json")).context("read config.json")?;
    let root = spec.root().as_ref().context("the bundle has no root")?;
    let linux = spec.linux().as_ref().context("the bundle has no linux")?;
    let (uids, gids) = (linux.uid_mappings(), linux.gid_mappings());
    let (Some(uids), Some(gids)) = (uids, gids) else {
        println!("there are no mappings");
        return Ok(());
    };
    let mut remap = Remap {
        uids,
        gids,
        seen: HashSet::new(),
    };
    remap.tree(&bundle.join(root.path()))
}

struct Remap<'a> {
    uids: &'a [LinuxIdMapping],
    gids: &'a [LinuxIdMapping],
    /// Files with several names are to be changed once.
    seen: HashSet<(u64, u64)>,
}

impl Remap<'_> {
    fn tree(&mut self, path: &Path) -> Result<()> {
        let found = fs::symlink_metadata(path).with_context(|| path.display().to_string())?;
        if found.is_symlink() {
            return Ok(());
        }
        if self.seen.insert((found.dev(), found.ino())) {
            self.one(path, &found)?;
        }
        if !found.is_dir() {
            return Ok(());
        }
        for entry in fs::read_dir(path).with_context(|| path.display().to_string())? {
            self.tree(&entry?.path())?;
        }
        Ok(())
    }

    fn one(&self, path: &Path, found: &fs::Metadata) -> Result<()> {
        let owner = host_id(self.uids, found.uid()).zip(host_id(self.gids, found.gid()));
        let Some((uid, gid)) = owner else {
            println!("skipping {}: nobody's inside", path.display());
            return Ok(());
        };
        lchown(path, Some(uid), Some(gid)).with_context(|| path.display().to_string())?;
        // The change of the owner has taken the set-id bits away.
        fs::set_permissions(path, Permissions::from_mode(found.mode()))
            .with_context(|| path.display().to_string())
    }
}

fn host_id(mappings: &[LinuxIdMapping], id: u32) -> Option<u32> {
    let offset = |map: &LinuxIdMapping| {
        let offset = id.checked_sub(map.container_id())?;
        (offset < map.size()).then(|| map.host_id() + offset)
    };
    mappings.iter().find_map(offset)
}
