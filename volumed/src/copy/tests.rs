//! Trees with everything in them, and trees made to hurt.

use super::*;
use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, symlink};

struct Trees {
    _directory: tempfile::TempDir,
    source: PathBuf,
    target: PathBuf,
}

impl Trees {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("source");
        let target = directory.path().join("target");
        fs::create_dir(&source).unwrap();
        fs::create_dir(&target).unwrap();
        Self {
            source,
            target,
            _directory: directory,
        }
    }

    fn copy(&self) -> Result<Copied, CopyError> {
        let open = |path: &Path| OwnedFd::from(File::open(path).unwrap());
        copy_tree(&open(&self.source), &open(&self.target))
    }

    fn stat(&self, name: &str) -> fs::Metadata {
        fs::symlink_metadata(self.target.join(name)).unwrap()
    }
}

fn put(path: PathBuf, content: &[u8]) {
    base::file::replace(&path, content, base::file::FileMode::Public).unwrap();
}

fn make_every_kind(source: &Path, mode: Mode) {
    let at = |name: &str| source.join(name);
    fs::create_dir(at("d")).unwrap();
    put(at("d/file"), b"content");
    std::os::unix::fs::chown(at("d/file"), Some(7), Some(8)).unwrap();
    fs::set_permissions(
        at("d/file"),
        std::os::unix::fs::PermissionsExt::from_mode(0o4751),
    )
    .unwrap();
    rustix::fs::setxattr(
        at("d/file"),
        "user.k",
        b"v",
        rustix::fs::XattrFlags::empty(),
    )
    .unwrap();
    fs::hard_link(at("d/file"), at("again")).unwrap();
    symlink("/etc/passwd", at("link")).unwrap();
    let cwd = rustix::fs::CWD;
    let null = rustix::fs::makedev(1, 3);
    rustix::fs::mknodat(cwd, at("null"), FileType::CharacterDevice, mode, null).unwrap();
    rustix::fs::mknodat(cwd, at("pipe"), FileType::Fifo, mode, 0).unwrap();
    fs::set_permissions(
        at("null"),
        std::os::unix::fs::PermissionsExt::from_mode(mode.bits()),
    )
    .unwrap();
}

#[test]
fn every_kind_of_file_is_copied_with_its_metadata() {
    let trees = Trees::new();
    let mode = Mode::from_raw_mode(0o666);
    make_every_kind(&trees.source, mode);
    let at = |name: &str| trees.source.join(name);
    assert_eq!(trees.copy().unwrap(), Copied { entries: 6 });

    let (file, again) = (trees.stat("d/file"), trees.stat("again"));
    assert_eq!(
        (file.uid(), file.gid(), file.mode() & 0o7777),
        (7, 8, 0o4751)
    );
    assert_eq!((file.ino(), file.nlink()), (again.ino(), 2));
    assert_eq!(
        file.mtime_nsec(),
        fs::metadata(at("d/file")).unwrap().mtime_nsec()
    );
    let mut value = [0; 4];
    let length = rustix::fs::getxattr(trees.target.join("again"), "user.k", &mut value[..]);
    assert_eq!(length, Ok(1));
    let link = fs::read_link(trees.target.join("link")).unwrap();
    assert_eq!(link, Path::new("/etc/passwd"));
    let null = trees.stat("null");
    assert!(null.file_type().is_char_device());
    assert_eq!(
        (null.rdev(), null.mode() & 0o777),
        (rustix::fs::makedev(1, 3), mode.bits())
    );
    assert!(trees.stat("pipe").file_type().is_fifo());
}

#[test]
fn holes_stay_holes() {
    let trees = Trees::new();
    let file = File::create(trees.source.join("sparse")).unwrap();
    file.write_all_at(b"begin", 0).unwrap();
    file.write_all_at(b"end", 50 << 20).unwrap();
    file.set_len(80 << 20).unwrap();
    trees.copy().unwrap();
    let copied = File::open(trees.target.join("sparse")).unwrap();
    assert_eq!(copied.metadata().unwrap().len(), 80 << 20);
    assert!(copied.metadata().unwrap().blocks() * 512 < 1 << 20);
    let mut end = [0; 3];
    copied.read_exact_at(&mut end, 50 << 20).unwrap();
    assert_eq!(&end, b"end");
}

#[test]
fn the_root_gets_the_owner_and_mode_of_the_source() {
    let trees = Trees::new();
    std::os::unix::fs::chown(&trees.source, Some(70), Some(71)).unwrap();
    fs::set_permissions(
        &trees.source,
        std::os::unix::fs::PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    assert_eq!(trees.copy().unwrap(), Copied { entries: 0 });
    let root = fs::metadata(&trees.target).unwrap();
    assert_eq!(
        (root.uid(), root.gid(), root.mode() & 0o7777),
        (70, 71, 0o700)
    );
}

#[test]
fn a_tree_that_is_too_deep_is_refused() {
    let trees = Trees::new();
    let mut path = trees.source.clone();
    for _ in 0..=DEPTH_LIMIT {
        path.push("d");
    }
    fs::create_dir_all(&path).unwrap();
    assert!(matches!(trees.copy(), Err(CopyError::TooDeep(_))));
}
