//! Archives, good and hostile, into a root beside which is what must not change.

use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use base::file::{FileMode, replace};
use tar::{Builder, Header};

use super::*;

/// A container's root beside a folder that is the host's.
struct Place {
    folder: tempfile::TempDir,
    root: Root,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("root/data")).unwrap();
        std::fs::create_dir(folder.path().join("host")).unwrap();
        let root = Root::open(&folder.path().join("root")).unwrap();
        Self { folder, root }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn unpack(&self, archive: &[u8]) -> Result<(), ArchiveError> {
        let options = UnpackOptions::default();
        unpack(&self.root, Path::new("/data"), archive, options)
    }

    #[track_caller]
    fn assert_host_untouched(&self) {
        let entries = std::fs::read_dir(self.path("host")).unwrap();
        assert_eq!(entries.count(), 0);
    }
}

struct Maker(Builder<Vec<u8>>);

impl Maker {
    fn new() -> Self {
        Self(Builder::new(Vec::new()))
    }

    /// Adds an entry whose names are written as they are, however bad.
    fn raw(mut self, kind: EntryType, path: &str, link: &str, content: &[u8]) -> Self {
        let mut header = Header::new_gnu();
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.as_old_mut().linkname[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_000_000);
        header.set_size(content.len() as u64);
        header.set_cksum();
        self.0.append(&header, content).unwrap();
        self
    }

    fn file(self, path: &str, content: &[u8]) -> Self {
        self.raw(EntryType::Regular, path, "", content)
    }

    fn done(self) -> Vec<u8> {
        self.0.into_inner().unwrap()
    }
}

#[test]
fn files_have_content_owner_mode_and_time() {
    let place = Place::new();
    let archive = Maker::new()
        .raw(EntryType::Directory, "sub/", "", b"")
        .file("sub/file", b"content")
        .raw(EntryType::Link, "again", "sub/file", b"")
        .raw(EntryType::Symlink, "link", "/etc/x", b"")
        .done();
    place.unpack(&archive).unwrap();
    let file = place.path("root/data/sub/file").metadata().unwrap();
    assert_eq!(
        std::fs::read(place.path("root/data/again")).unwrap(),
        b"content"
    );
    assert_eq!(
        (file.uid(), file.gid(), file.mode() & 0o7777),
        (7, 8, 0o640)
    );
    assert_eq!((file.mtime(), file.nlink()), (1_000_000, 2));
    let directory = place.path("root/data/sub").metadata().unwrap();
    assert_eq!((directory.uid(), directory.mtime()), (7, 1_000_000));
    let link = std::fs::read_link(place.path("root/data/link")).unwrap();
    assert_eq!(link, Path::new("/etc/x"));
}

#[test]
fn an_owner_may_be_given_to_all() {
    let place = Place::new();
    let options = UnpackOptions {
        owner: Some((33, 34)),
        ..UnpackOptions::default()
    };
    let archive = Maker::new().file("a", b"").done();
    unpack(&place.root, Path::new("/data"), &archive[..], options).unwrap();
    let file = place.path("root/data/a").metadata().unwrap();
    assert_eq!((file.uid(), file.gid()), (33, 34));
}

#[test]
fn the_first_name_may_be_another() {
    let archive = Maker::new()
        .raw(EntryType::Directory, "sub/", "", b"")
        .file("sub/file", b"")
        .raw(EntryType::Link, "sub/again", "sub/file", b"")
        .done();
    for (name, expected) in [("new", "root/data/new/again"), ("", "root/data/again")] {
        let place = Place::new();
        let options = UnpackOptions {
            rename: Some(name.into()),
            ..UnpackOptions::default()
        };
        unpack(&place.root, Path::new("/data"), &archive[..], options).unwrap();
        assert!(place.path(expected).exists(), "{name:?}");
    }
}

#[test]
fn packed_archives_are_unpacked() {
    use std::io::Write as _;
    let archive = Maker::new().file("a", b"content").done();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&archive).unwrap();
    let packings = [
        gzip.finish().unwrap(),
        zstd::encode_all(&archive[..], 1).unwrap(),
    ];
    for packed in packings {
        let place = Place::new();
        place.unpack(&packed).unwrap();
        assert_eq!(
            std::fs::read(place.path("root/data/a")).unwrap(),
            b"content"
        );
    }
    let place = Place::new();
    let refused = place.unpack(b"BZh91AY&SY");
    assert!(matches!(refused, Err(ArchiveError::Compression("bzip2"))));
}

#[test]
fn nothing_is_written_outside_of_the_root() {
    let place = Place::new();
    let host = place.path("host");
    // Links of the container, and of the archive itself.
    symlink(&host, place.path("root/data/absolute")).unwrap();
    symlink("../../host", place.path("root/data/relative")).unwrap();
    let out = host.to_str().unwrap();
    for (link, name) in [("absolute", "absolute/x"), ("relative", "relative/x")] {
        drop(place.unpack(&Maker::new().file(name, b"x").done()));
        // Made anew below the root, or refused.
        assert!(
            place
                .path("root/data")
                .join(link)
                .symlink_metadata()
                .is_ok()
        );
        place.assert_host_untouched();
    }
    let archive = Maker::new()
        .raw(EntryType::Symlink, "own", out, b"")
        .file("own/x", b"x")
        .done();
    drop(place.unpack(&archive));
    place.assert_host_untouched();
    for bad in ["../x", "a/../../x", "../../host/x"] {
        let refused = place.unpack(&Maker::new().file(bad, b"x").done());
        assert!(matches!(refused, Err(ArchiveError::Path(_))), "{bad}");
    }
    let archive = Maker::new()
        .raw(EntryType::Link, "hard", "../../host", b"")
        .done();
    assert!(place.unpack(&archive).is_err());
    place.assert_host_untouched();
}

/// CVE-2019-14271 and CVE-2018-15664 led out through links; those of a container are
/// followed as it would itself, which images rely on.
#[test]
fn cve_2019_14271_and_cve_2018_15664_links_of_the_container_are_followed_within() {
    let place = Place::new();
    std::fs::create_dir(place.path("root/run")).unwrap();
    symlink("/run", place.path("root/data/run")).unwrap();
    place
        .unpack(&Maker::new().file("run/pid", b"1").done())
        .unwrap();
    assert_eq!(std::fs::read(place.path("root/run/pid")).unwrap(), b"1");
}

#[test]
fn a_last_name_is_replaced_and_never_followed() {
    let place = Place::new();
    let secret = place.path("host-file");
    replace(&secret, b"secret", FileMode::Public).unwrap();
    symlink(&secret, place.path("root/data/file")).unwrap();
    place
        .unpack(&Maker::new().file("file", b"new").done())
        .unwrap();
    assert_eq!(std::fs::read(&secret).unwrap(), b"secret");
    let file = place.path("root/data/file");
    assert!(file.symlink_metadata().unwrap().is_file());
    assert_eq!(std::fs::read(&file).unwrap(), b"new");
}

#[test]
fn kinds_are_kept_where_that_is_asked_for() {
    let place = Place::new();
    std::fs::create_dir_all(place.path("root/data/dir/full")).unwrap();
    replace(&place.path("root/data/dir/full/x"), b"", FileMode::Public).unwrap();
    replace(&place.path("root/data/file"), b"", FileMode::Public).unwrap();
    let over_directory = Maker::new().file("dir", b"").done();
    let over_file = Maker::new()
        .raw(EntryType::Directory, "file/", "", b"")
        .done();
    let keep = UnpackOptions {
        keep_kinds: true,
        ..UnpackOptions::default()
    };
    let unpack_keeping =
        |archive: &[u8]| unpack(&place.root, Path::new("/data"), archive, keep.clone());
    assert!(matches!(
        unpack_keeping(&over_directory),
        Err(ArchiveError::OverDirectory(_))
    ));
    assert!(matches!(
        unpack_keeping(&over_file),
        Err(ArchiveError::OverFile(_))
    ));
    place.unpack(&over_directory).unwrap();
    assert!(place.path("root/data/dir").is_file());
    place.unpack(&over_file).unwrap();
    assert!(place.path("root/data/file").is_dir());
}

#[test]
fn where_it_goes_must_be_a_directory() {
    let place = Place::new();
    replace(&place.path("root/file"), b"", FileMode::Public).unwrap();
    let to = |path: &str| {
        let options = UnpackOptions::default();
        unpack(&place.root, Path::new(path), &b""[..], options)
    };
    assert!(matches!(to("/file"), Err(ArchiveError::NotADirectory)));
    assert!(matches!(to("/nope"), Err(ArchiveError::NotFound(_))));
    to("/data").unwrap();
}

#[test]
fn a_damaged_archive_is_an_error_and_ids_that_are_none_are_refused() {
    let place = Place::new();
    let archive = Maker::new().file("a", &[1; 2000]).done();
    assert!(matches!(
        place.unpack(&archive[..1000]),
        Err(ArchiveError::Read(_))
    ));
    let mut header = Header::new_gnu();
    header.set_path("b").unwrap();
    header.set_uid(u64::from(u32::MAX));
    header.set_size(0);
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, &b""[..]).unwrap();
    let refused = place.unpack(&builder.into_inner().unwrap());
    assert!(matches!(refused, Err(ArchiveError::Read(_))));
    assert!(!place.path("root/data/b").exists());
}

#[test]
fn setuid_survives_the_owner() {
    let place = Place::new();
    let mut header = Header::new_gnu();
    header.set_path("su").unwrap();
    header.set_uid(0);
    header.set_mode(0o4755);
    header.set_size(0);
    header.set_cksum();
    let mut builder = Builder::new(Vec::new());
    builder.append(&header, &b""[..]).unwrap();
    place.unpack(&builder.into_inner().unwrap()).unwrap();
    let mode = place
        .path("root/data/su")
        .metadata()
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o7777, 0o4755);
}
