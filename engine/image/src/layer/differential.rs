//! What GNU tar packs, in each of its formats, comes out as GNU tar unpacks it.

use std::ffi::OsString;
use std::fs::{self, File, Metadata};
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, chown, lchown, symlink};
use std::path::Path;
use std::process::Command;

use base::Digest;
use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::tests::Case;

const ATTRIBUTES: &str = "--xattrs --xattrs-include=*";

#[test]
fn unpacking_agrees_with_gnu_tar() {
    let work = tempfile::tempdir().unwrap();
    let source = work.path().join("source");
    make_files(&source);
    make_odd_files(&source);
    for options in [
        format!("--format=posix {ATTRIBUTES}"),
        format!("--format=posix {ATTRIBUTES} -S"),
        format!("--format=posix {ATTRIBUTES} -S --sparse-version=0.1"),
        format!("--format=posix {ATTRIBUTES} -S --sparse-version=0.0"),
        "--format=gnu".to_owned(),
        "--format=gnu -S".to_owned(),
    ] {
        let packed = work.path().join("a.tar");
        tar(&options, "-cf", &packed, &source, &["."]);
        let expected = work.path().join(&options);
        fs::create_dir(&expected).unwrap();
        tar(ATTRIBUTES, "-xpf", &packed, &expected, &[]);
        let case = Case::new();
        let unpacked = case.unpack(&fs::read(&packed).unwrap());
        unpacked.unwrap_or_else(|e| panic!("{options}: {}", base::failure::chain(&e)));
        let (ours, theirs) = (describe(&case.root()), describe(&expected));
        for (our, their) in ours.iter().zip(&theirs) {
            assert_eq!(our, their, "{options}");
        }
        assert_eq!(ours.len(), theirs.len(), "{options}");
        let sparse = case.root().join("sparse").metadata().unwrap();
        let has_holes = sparse.blocks() * 512 < 1_000_000;
        assert_eq!(has_holes, options.contains("-S"), "{options}");
    }
}

fn tar(options: &str, action: &str, archive: &Path, directory: &Path, names: &[&str]) {
    let mut command = Command::new("tar");
    command.args(options.split(' ')).arg("--numeric-owner");
    command
        .arg(action)
        .arg(archive)
        .arg("-C")
        .arg(directory)
        .args(names);
    assert!(command.status().unwrap().success(), "{command:?}");
}

/// One line for each file: path, mode, owner, size, links, time, device, content, attributes.
fn describe(root: &Path) -> Vec<String> {
    let mut lines = Vec::new();
    let mut pending = vec![root.to_owned()];
    while let Some(path) = pending.pop() {
        let metadata = path.symlink_metadata().unwrap();
        if metadata.is_dir() {
            let entries = fs::read_dir(&path).unwrap();
            pending.extend(entries.map(|entry| entry.unwrap().path()));
        }
        // Size and links of a directory are the file system's affair.
        let counts = (!metadata.is_dir()).then(|| (metadata.size(), metadata.nlink()));
        lines.push(format!(
            "{:?} {:o} {}:{} {counts:?} {}.{} {} {} {:?}",
            path.strip_prefix(root).unwrap(),
            metadata.mode(),
            metadata.uid(),
            metadata.gid(),
            metadata.mtime(),
            metadata.mtime_nsec(),
            metadata.rdev(),
            content(&path, &metadata),
            attributes(&path),
        ));
    }
    lines.sort();
    lines
}

fn content(path: &Path, metadata: &Metadata) -> String {
    if metadata.is_symlink() {
        return fs::read_link(path).unwrap().display().to_string();
    }
    if metadata.is_file() {
        return Digest::of(&fs::read(path).unwrap()).to_string();
    }
    String::new()
}

fn attributes(path: &Path) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut names = vec![0; 4096];
    let length = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let names = names[..length]
        .split(|b| *b == 0)
        .filter(|name| !name.is_empty());
    let with_value = names.map(|name| {
        let mut value = vec![0; 4096];
        let length = rustix::fs::lgetxattr(path, name, &mut value[..]).unwrap();
        value.truncate(length);
        (name.to_vec(), value)
    });
    let mut attributes: Vec<_> = with_value.collect();
    attributes.sort();
    attributes
}

/// Many files, long names, links, owners and modes.
fn make_files(root: &Path) {
    let path = |name: &str| root.join(name);
    let deep = format!("{}/{}", "long".repeat(40), "name".repeat(50));
    fs::create_dir_all(path("usr/bin")).unwrap();
    fs::create_dir_all(path(&deep)).unwrap();
    for number in 0..200 {
        let file = File::create(path(&format!("usr/f{number}"))).unwrap();
        file.write_all_at(&vec![b'x'; number * 37], 0).unwrap();
    }
    File::create(path(&format!("{deep}/{}", "file".repeat(60)))).unwrap();
    File::create(root.join(OsString::from_vec(b"not-utf8-\xff\xfe".to_vec()))).unwrap();
    symlink("t/".repeat(120), path("usr/longlink")).unwrap();
    symlink("f7", path("usr/soft")).unwrap();
    fs::hard_link(path("usr/f7"), path("usr/bin/hard")).unwrap();
    chown(path("usr/f8"), Some(3_000_000_000), Some(77)).unwrap();
    lchown(path("usr/soft"), Some(9), Some(9)).unwrap();
    rustix::fs::chmod(path("usr/bin"), Mode::from(0o2775)).unwrap();
    rustix::fs::chmod(path("usr/f9"), Mode::from(0o6711)).unwrap();
}

/// Holes, devices and attributes.
fn make_odd_files(root: &Path) {
    let path = |name: &str| root.join(name);
    let sparse = File::create(path("sparse")).unwrap();
    for block in 0..30 {
        sparse
            .write_all_at(b"data here", block * 1_000_000)
            .unwrap();
    }
    sparse.set_len(50_000_000).unwrap();
    let null = rustix::fs::makedev(1, 3);
    for (name, kind, device) in [
        ("null", FileType::CharacterDevice, null),
        ("fifo", FileType::Fifo, 0),
    ] {
        rustix::fs::mknodat(CWD, path(name), kind, Mode::from(0o640), device).unwrap();
    }
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let set = |name: &str, key: &str, value: &[u8]| {
        rustix::fs::setxattr(path(name), key, value, XattrFlags::empty()).unwrap();
    };
    set("usr/f10", "security.capability", &capability);
    set("usr/f11", "user.note", b"with\nnewline and \0 byte");
    set("usr/bin", "user.dir", b"yes");
}
