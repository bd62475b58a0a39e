//! Deleting a tree that a container could write, whatever it made of it.
//!
//! Nothing is followed out of the tree, and neither the stack nor the number of
//! open files grows with its depth: a directory too deep below is first moved to
//! the top of the tree being deleted. A file that cannot be deleted does not keep
//! the others.

use std::ffi::CStr;
use std::path::Path;

use base::{PathContext as _, PathError, RequestId};
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;

/// Directories open at once.
const DEPTH_LIMIT: usize = 64;
const BLOCK_BYTES: u64 = 512;

/// What a purge did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Purged {
    /// Disk space of the files that are gone.
    pub size_bytes: u64,
    /// Entries that are gone.
    pub entries: u64,
}

/// Deletes everything in `directory`, which stays; a missing one is empty.
///
/// # Errors
/// The first entry that could not be deleted, after all others are.
pub fn purge(directory: &Path) -> Result<Purged, PathError> {
    let top = match open(CWD, directory) {
        Err(Errno::NOENT) => return Ok(Purged::default()),
        other => other.at("open", directory)?,
    };
    let mut purged = Purged::default();
    loop {
        let before = purged.entries;
        let mut pass = Pass {
            top: &top,
            purged: &mut purged,
            failed: None,
            moved: false,
        };
        pass.run().at("delete in", directory)?;
        match (pass.failed, pass.moved) {
            (None, false) => return Ok(purged),
            (Some(error), _) if purged.entries == before => {
                return Err(error).at("delete in", directory);
            }
            _ => {}
        }
    }
}

/// Deletes `directory` and everything in it; a missing one is no error.
///
/// # Errors
/// As [`purge`], and when the directory itself cannot be removed.
pub fn purge_with_root(directory: &Path) -> Result<Purged, PathError> {
    let purged = purge(directory)?;
    match std::fs::remove_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(purged),
        other => other.map(|()| purged).at("remove directory", directory),
    }
}

fn open(parent: impl std::os::fd::AsFd, name: impl rustix::path::Arg) -> Result<Dir, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Dir::new(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// One walk over the tree.
struct Pass<'a> {
    top: &'a Dir,
    purged: &'a mut Purged,
    /// The first entry that stays.
    failed: Option<Errno>,
    /// Whether a deep directory was moved to the top, where it may be missed.
    moved: bool,
}

impl Pass<'_> {
    fn run(&mut self) -> Result<(), Errno> {
        let mut levels = vec![Dir::read_from(self.top.fd()?)?];
        let mut names = Vec::new();
        while let Some(level) = levels.last_mut() {
            match level.read() {
                Some(entry) => {
                    let entry = entry?;
                    if let Some(below) = self.visit(level, entry.file_name(), names.len()) {
                        levels.push(below);
                        names.push(entry.file_name().to_owned());
                    }
                }
                None => {
                    levels.pop();
                    if let (Some(parent), Some(name)) = (levels.last(), names.pop()) {
                        let removed = rustix::fs::unlinkat(parent.fd()?, &name, AtFlags::REMOVEDIR);
                        self.note(removed);
                    }
                }
            }
        }
        Ok(())
    }

    /// Deletes one entry, or returns the directory to be emptied first.
    fn visit(&mut self, parent: &Dir, name: &CStr, depth: usize) -> Option<Dir> {
        if name == c"." || name == c".." {
            return None;
        }
        match self.try_visit(parent, name, depth) {
            Ok(below) => below,
            Err(error) => {
                self.note(Err(error));
                None
            }
        }
    }

    fn try_visit(&mut self, parent: &Dir, name: &CStr, depth: usize) -> Result<Option<Dir>, Errno> {
        let parent = parent.fd()?;
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            rustix::fs::unlinkat(parent, name, AtFlags::empty())?;
            // The last of several names is the one that frees the space.
            if stat.st_nlink == 1 {
                self.purged.size_bytes += stat.st_blocks.cast_unsigned() * BLOCK_BYTES;
            }
            self.purged.entries += 1;
            return Ok(None);
        }
        if depth < DEPTH_LIMIT {
            return open(parent, name).map(Some);
        }
        let target = RequestId::random();
        rustix::fs::renameat_with(
            parent,
            name,
            self.top.fd()?,
            target.as_str(),
            RenameFlags::NOREPLACE,
        )?;
        self.moved = true;
        Ok(None)
    }

    fn note(&mut self, removed: Result<(), Errno>) {
        match removed {
            Ok(()) => self.purged.entries += 1,
            Err(Errno::NOENT) => {}
            Err(error) => self.failed = self.failed.or(Some(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::Write as _;

    #[test]
    fn a_tree_is_deleted_with_its_size_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (tree, outside) = (directory.path().join("tree"), directory.path().join("out"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&outside).unwrap();
        File::create(outside.join("kept")).unwrap();
        std::os::unix::fs::symlink(&outside, tree.join("a/link")).unwrap();
        let mut file = File::create(tree.join("a/file")).unwrap();
        file.write_all(&[1; 40_000]).unwrap();
        file.sync_all().unwrap();
        fs::hard_link(tree.join("a/file"), tree.join("a/b/again")).unwrap();
        let purged = purge_with_root(&tree).unwrap();
        assert!((40_000..80_000).contains(&purged.size_bytes), "{purged:?}");
        assert_eq!(purged.entries, 5);
        assert!(!tree.exists() && outside.join("kept").exists());
        assert_eq!(purge_with_root(&tree).unwrap(), Purged::default());
    }

    #[test]
    fn a_tree_deeper_than_any_limit_is_deleted() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("tree");
        fs::create_dir(&tree).unwrap();
        let mut at = rustix::fs::open(&tree, OFlags::DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..1000 {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = rustix::fs::openat(&at, "d", OFlags::DIRECTORY, Mode::empty()).unwrap();
        }
        drop(at);
        assert_eq!(purge_with_root(&tree).unwrap().entries, 1000);
        assert!(!tree.exists());
    }
}
