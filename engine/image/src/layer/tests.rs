//! Layers built field by field, right and hostile.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;

use base::Digest;

use super::*;

/// A header field by field, so that archives can be wrong in every way.
#[derive(Clone)]
struct Item {
    name: Vec<u8>,
    kind: u8,
    link: Vec<u8>,
    mode: u32,
    ids: (u64, u64),
    data: Vec<u8>,
    device: (u32, u32),
    pax: Vec<(String, Vec<u8>)>,
}

fn item(name: &str, kind: u8) -> Item {
    Item {
        name: name.as_bytes().to_vec(),
        kind,
        link: Vec::new(),
        mode: 0o644,
        ids: (0, 0),
        data: Vec::new(),
        device: (0, 0),
        pax: Vec::new(),
    }
}

fn file(name: &str, data: &str) -> Item {
    Item {
        data: data.as_bytes().to_vec(),
        ..item(name, b'0')
    }
}

fn directory(name: &str) -> Item {
    Item {
        mode: 0o755,
        ..item(name, b'5')
    }
}

fn symlink(name: &str, target: &str) -> Item {
    Item {
        link: target.as_bytes().to_vec(),
        ..item(name, b'2')
    }
}

fn hard_link(name: &str, target: &str) -> Item {
    Item {
        link: target.as_bytes().to_vec(),
        ..item(name, b'1')
    }
}

impl Item {
    fn pax(mut self, key: &str, value: &[u8]) -> Self {
        self.pax.push((key.to_owned(), value.to_vec()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        if !self.pax.is_empty() {
            let records: Vec<u8> = self
                .pax
                .iter()
                .flat_map(|(k, v)| pax_record(k, v))
                .collect();
            let extension = Item {
                data: records,
                ..item("PaxHeaders/x", b'x')
            };
            bytes.extend(extension.bytes());
        }
        bytes.extend(self.header());
        bytes.extend(&self.data);
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes
    }

    fn header(&self) -> [u8; 512] {
        let mut block = [0; 512];
        let mut put = |at: usize, text: &[u8]| block[at..at + text.len()].copy_from_slice(text);
        assert!(self.name.len() <= 100 && self.link.len() <= 100);
        put(0, &self.name);
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.ids.0).as_bytes());
        put(116, format!("{:07o}", self.ids.1).as_bytes());
        put(124, format!("{:011o}", self.data.len()).as_bytes());
        put(136, format!("{:011o}", 1_600_000_000).as_bytes());
        put(156, &[self.kind]);
        put(157, &self.link);
        put(257, b"ustar\x0000");
        put(329, format!("{:07o}", self.device.0).as_bytes());
        put(337, format!("{:07o}", self.device.1).as_bytes());
        put(148, b"        ");
        let sum: u32 = block.iter().map(|b| u32::from(*b)).sum();
        block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        block
    }
}

fn pax_record(key: &str, value: &[u8]) -> Vec<u8> {
    let body = [b" ", key.as_bytes(), b"=", value, b"\n"].concat();
    let mut length = body.len() + 1;
    while length != body.len() + length.to_string().len() {
        length += 1;
    }
    [length.to_string().as_bytes(), &body].concat()
}

fn archive(items: &[Item]) -> Vec<u8> {
    let mut bytes: Vec<u8> = items.iter().flat_map(Item::bytes).collect();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(super) struct Case {
    directory: tempfile::TempDir,
    limits: Limits,
    expected: Option<Digest>,
}

impl Case {
    pub(super) fn new() -> Self {
        let limits = Limits {
            reserve_bytes: 0,
            ..Limits::default()
        };
        Self {
            directory: tempfile::tempdir().unwrap(),
            limits,
            expected: None,
        }
    }

    pub(super) fn unpack(&self, blob: &[u8]) -> Result<Unpacked, LayerError> {
        let path = self.directory.path().join("blob");
        #[expect(clippy::disallowed_methods, reason = "a test's input")]
        fs::write(&path, blob).unwrap();
        let target = self.directory.path().join("layer");
        if target.exists() {
            fs::remove_dir_all(&target).unwrap();
        }
        fs::create_dir(&target).unwrap();
        unpack(&UnpackRequest {
            blob: &path,
            target: &target,
            expected: self.expected,
            limits: self.limits,
            cancel: &AtomicBool::new(false),
            progress: &|_| {},
        })
    }

    pub(super) fn root(&self) -> PathBuf {
        self.directory.path().join("layer/root")
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }
}

fn unpacked(items: &[Item]) -> Case {
    let case = Case::new();
    case.unpack(&archive(items))
        .unwrap_or_else(|e| panic!("{}", base::failure::chain(&e)));
    case
}

fn refused(items: &[Item]) -> LayerError {
    Case::new().unpack(&archive(items)).unwrap_err()
}

fn metadata(case: &Case, path: &str) -> fs::Metadata {
    case.root().join(path).symlink_metadata().unwrap()
}

fn is_whiteout(case: &Case, path: &str) -> bool {
    let metadata = metadata(case, path);
    metadata.file_type().is_char_device() && metadata.rdev() == 0
}

fn is_opaque(case: &Case, path: &str) -> bool {
    let mut value = [0; 8];
    let path = case.root().join(path);
    let length = rustix::fs::lgetxattr(&path, "trusted.overlay.opaque", &mut value[..]);
    length.is_ok_and(|length| &value[..length] == b"y")
}

#[test]
fn entries_of_every_kind_are_written() {
    let mut suid = file("bin/su", "x");
    (suid.mode, suid.ids) = (0o4755, (1, 2));
    let node = |name, kind, device| Item {
        device,
        mode: 0o666,
        ..item(name, kind)
    };
    let case = unpacked(&[
        Item {
            mode: 0o1777,
            ..directory("tmp/")
        },
        directory("bin"),
        suid,
        symlink("bin/sh", "/bin/busybox"),
        hard_link("bin/su2", "bin/su"),
        node("null", b'3', (1, 3)),
        node("sda", b'4', (8, 0)),
        node("pipe", b'6', (0, 0)),
        file("./odd//./name/../name2", "y"),
        file("/absolute", "z"),
    ]);
    assert_eq!(metadata(&case, "tmp").mode() & 0o7777, 0o1777);
    assert_eq!(metadata(&case, "tmp").mtime(), 1_600_000_000);
    let suid = metadata(&case, "bin/su");
    assert_eq!(
        (suid.mode() & 0o7777, suid.uid(), suid.gid(), suid.nlink()),
        (0o4755, 1, 2, 2)
    );
    assert_eq!(
        fs::read_link(case.root().join("bin/sh")).unwrap(),
        Path::new("/bin/busybox")
    );
    assert_eq!(metadata(&case, "bin/sh").mtime(), 1_600_000_000);
    assert_eq!(metadata(&case, "null").rdev(), rustix::fs::makedev(1, 3));
    assert_eq!(metadata(&case, "null").mode() & 0o7777, 0o666);
    assert!(metadata(&case, "sda").file_type().is_block_device());
    assert!(metadata(&case, "pipe").file_type().is_fifo());
    assert_eq!(
        (case.read("odd/name2"), case.read("absolute")),
        ("y".into(), "z".into())
    );
}

#[test]
fn names_that_climb_out_are_refused() {
    for name in ["../x", "a/../../x", "..", "/../x"] {
        assert!(
            matches!(refused(&[file(name, "")]), LayerError::Escape(_)),
            "{name}"
        );
    }
    assert!(matches!(
        refused(&[hard_link("x", "../../etc/passwd")]),
        LayerError::Escape(_)
    ));
    assert!(matches!(refused(&[file("./", "")]), LayerError::Name(_)));
}

/// Every way through a link ends within the layer.
#[test]
fn links_never_lead_out() {
    let outside = tempfile::tempdir().unwrap();
    let target = outside.path().to_str().unwrap();
    let deep = "../../../../../../../../../..".to_owned() + target;
    for link in [target, &deep] {
        let case = unpacked(&[
            symlink("out", link),
            file("out/direct", "1"),
            symlink("chain", "out"),
            file("chain/second", "2"),
            hard_link("hard", "out/direct"),
            directory("out/made"),
        ]);
        assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0, "{link}");
        let inside = target.trim_start_matches('/');
        assert_eq!(case.read(&format!("{inside}/direct")), "1");
        assert_eq!(case.read(&format!("{inside}/second")), "2");
        assert_eq!(case.read("hard"), "1");
    }
}

#[test]
fn a_file_over_a_link_replaces_the_link() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    let target = outside.path().to_str().unwrap();
    let replaced = Item {
        mode: 0o777,
        ..file("passwd", "new")
    };
    let node = Item {
        device: (1, 3),
        mode: 0o666,
        ..item("dev", b'3')
    };
    let case = unpacked(&[
        symlink("passwd", target),
        replaced,
        symlink("dev", target),
        node,
    ]);
    assert_eq!(case.read("passwd"), "new");
    assert!(metadata(&case, "dev").file_type().is_char_device());
    let untouched = outside.as_file().metadata().unwrap();
    assert_eq!((untouched.len(), untouched.mode() & 0o777), (0, 0o600));
}

#[test]
fn a_directory_entry_never_follows_a_link_there() {
    let outside = tempfile::tempdir().unwrap();
    let before = outside.path().metadata().unwrap().mode();
    let made = Item {
        mode: 0o777,
        ..directory("d")
    };
    let case = unpacked(&[
        symlink("d", outside.path().to_str().unwrap()),
        made,
        file("d/f", "x"),
    ]);
    assert!(metadata(&case, "d").is_dir());
    assert_eq!(case.read("d/f"), "x");
    assert_eq!(outside.path().metadata().unwrap().mode(), before);
}

#[test]
fn the_later_entry_wins() {
    let case = unpacked(&[
        file("a", "first, and longer"),
        file("a", "second"),
        directory("b"),
        file("b/x", ""),
        file("b", "now a file"),
        file("c", ""),
        directory("c"),
        file("c/y", "z"),
        directory("d"),
        file("d/kept", "k"),
        Item {
            mode: 0o700,
            ..directory("d")
        },
        directory("e"),
        file("e/f", ""),
        symlink("e", "d"),
        file("e/g", "through"),
        file("h", "same"),
        hard_link("h", "h"),
    ]);
    assert_eq!(case.read("a"), "second");
    assert_eq!(case.read("b"), "now a file");
    assert_eq!(case.read("c/y"), "z");
    assert_eq!(case.read("d/kept"), "k");
    assert_eq!(metadata(&case, "d").mode() & 0o777, 0o700);
    assert_eq!(case.read("d/g"), "through");
    assert_eq!(case.read("h"), "same");
}

#[test]
fn whiteouts_take_overlayfs_form() {
    let case = unpacked(&[
        directory("d"),
        file("d/.wh.gone", ""),
        file(".wh.top", ""),
        directory("o"),
        file("o/.wh..wh..opq", ""),
        file("o/new", ""),
        file("implied/.wh..wh..opq", ""),
        file(".wh..wh.plnk", ""),
        directory(".wh..wh.aufs"),
    ]);
    assert!(is_whiteout(&case, "d/gone") && is_whiteout(&case, "top"));
    assert!(is_opaque(&case, "o") && is_opaque(&case, "implied") && !is_opaque(&case, "d"));
    assert_eq!(fs::read_dir(case.root().join("o")).unwrap().count(), 1);
    assert_eq!(fs::read_dir(case.root()).unwrap().count(), 4);
}

/// A whiteout speaks of lower layers: files of this one stay, in either order.
#[test]
fn a_whiteout_never_hides_its_own_layer() {
    let case = unpacked(&[
        file("a", "x"),
        file(".wh.a", ""),
        file(".wh.b", ""),
        file("b", "y"),
        directory("c"),
        file("c/f", ""),
        file(".wh.c", ""),
        file(".wh.d", ""),
        directory("d"),
        file("d/f", ""),
        file(".wh.e", ""),
        file("e/f", ""),
        file(".wh.g", ""),
        file(".wh.g", ""),
    ]);
    assert_eq!((case.read("a"), case.read("b")), ("x".into(), "y".into()));
    for path in ["c", "d", "e"] {
        assert!(is_opaque(&case, path), "{path}");
        assert!(case.root().join(path).join("f").is_file(), "{path}");
    }
    assert!(is_whiteout(&case, "g"));
}

#[test]
fn whiteouts_of_nothing_nameable_are_refused() {
    for name in [".wh.", ".wh..", ".wh...", "d/.wh..."] {
        assert!(
            matches!(refused(&[file(name, "")]), LayerError::Name(_)),
            "{name}"
        );
    }
}

#[test]
fn attributes_are_kept_but_not_the_engines_own() {
    let capability = [1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let owned = Item {
        ids: (5, 5),
        ..file("ping", "x")
    };
    let case = unpacked(&[
        owned
            .pax("SCHILY.xattr.security.capability", &capability)
            .pax("SCHILY.xattr.user.x", b"a\0b"),
        directory("d").pax("SCHILY.xattr.user.dir", b"1"),
        symlink("l", "d").pax("SCHILY.xattr.user.refused-by-the-kernel", b"1"),
    ]);
    let get = |path: &str, name: &str| {
        let mut value = vec![0; 64];
        let length = rustix::fs::lgetxattr(case.root().join(path), name, &mut value[..]).unwrap();
        value.truncate(length);
        value
    };
    assert_eq!(get("ping", "security.capability"), capability);
    assert_eq!(get("ping", "user.x"), b"a\0b");
    assert_eq!(get("d", "user.dir"), b"1");
    for name in [
        "trusted.overlay.opaque",
        "trusted.overlay.redirect",
        "user.overlay.opaque",
    ] {
        let entry = directory("d").pax(&format!("SCHILY.xattr.{name}"), b"y");
        assert!(
            matches!(refused(&[entry]), LayerError::Attribute { .. }),
            "{name}"
        );
    }
}

#[test]
fn numbers_too_large_for_octal_come_by_pax() {
    let long = format!("{}/{}", "d".repeat(200), "f".repeat(200));
    let case = unpacked(&[file("short", "x")
        .pax("path", long.as_bytes())
        .pax("uid", b"4000000000")
        .pax("gid", b"3000000000")
        .pax("mtime", b"1234567890.123456789")]);
    let metadata = metadata(&case, &long);
    assert_eq!(
        (metadata.uid(), metadata.gid()),
        (4_000_000_000, 3_000_000_000)
    );
    assert_eq!(
        (metadata.mtime(), metadata.mtime_nsec()),
        (1_234_567_890, 123_456_789)
    );
    for bad in [b"4294967295".as_slice(), b"4294967296", b"-1"] {
        let error = refused(&[file("x", "").pax("uid", bad)]);
        assert!(matches!(error, LayerError::Archive(_)), "{error:?}");
    }
}

#[test]
fn hard_links_stay_within_the_layer() {
    for target in ["missing", "d", "white", "/etc/passwd", ""] {
        let items = [
            directory("d"),
            file(".wh.white", ""),
            hard_link("x", target),
        ];
        assert!(
            matches!(refused(&items), LayerError::HardLink { .. }),
            "{target}"
        );
    }
    let case = unpacked(&[symlink("s", "/etc/passwd"), hard_link("x", "s")]);
    assert!(metadata(&case, "x").is_symlink());
}

#[test]
fn directories_without_an_entry_are_reported_and_inherit() {
    let case = Case::new();
    let items = [
        file("var/tmp/f", ""),
        directory("etc"),
        file("etc/f", ""),
        file("late/f", ""),
        directory("late"),
    ];
    let unpacked = case.unpack(&archive(&items)).unwrap();
    assert_eq!(
        unpacked.implied,
        [PathBuf::from("var"), PathBuf::from("var/tmp")]
    );
    let lower = tempfile::tempdir().unwrap();
    let upper = tempfile::tempdir().unwrap();
    fs::create_dir_all(lower.path().join("var/tmp")).unwrap();
    fs::create_dir_all(upper.path().join("var")).unwrap();
    let set = |path: PathBuf, mode| {
        rustix::fs::chmod(path, rustix::fs::Mode::from_raw_mode(mode)).unwrap()
    };
    set(lower.path().join("var/tmp"), 0o1777);
    set(lower.path().join("var"), 0o700);
    set(upper.path().join("var"), 0o711);
    let below = [upper.path().to_owned(), lower.path().to_owned()];
    inherit_directories(&unpacked.root, &unpacked.implied, &below).unwrap();
    assert_eq!(
        metadata(&case, "var").mode() & 0o7777,
        0o711,
        "the nearest layer counts"
    );
    assert_eq!(metadata(&case, "var/tmp").mode() & 0o7777, 0o1777);
}

#[test]
fn an_archive_cut_anywhere_is_an_error_or_ends_between_entries() {
    let items = [
        directory("d"),
        file("d/f", &"x".repeat(1000)),
        file("g", "y").pax("mtime", b"1.5"),
    ];
    let whole = archive(&items);
    let expected = Digest::of(&whole);
    for length in (0..whole.len()).step_by(61) {
        let mut case = Case::new();
        case.expected = Some(expected);
        assert!(
            case.unpack(&whole[..length]).is_err(),
            "plain, cut at {length}"
        );
    }
    let packed = gzip(&whole);
    for length in 1..packed.len() {
        assert!(
            Case::new().unpack(&packed[..length]).is_err(),
            "gzip, cut at {length}"
        );
    }
}

#[test]
fn another_content_than_the_configuration_names_is_refused() {
    let mut case = Case::new();
    case.expected = Some(Digest::of(b"something else"));
    let error = case.unpack(&archive(&[file("a", "b")])).unwrap_err();
    assert!(matches!(error, LayerError::DiffId { .. }), "{error}");
}

#[test]
fn bombs_stop_at_the_limit() {
    let mut case = Case::new();
    case.limits.layer_bytes = 1 << 20;
    let big = Item {
        data: vec![0; 8 << 20],
        ..file("zeros", "")
    };
    let packed = gzip(&archive(&[big]));
    assert!(packed.len() < 100_000);
    let error = case.unpack(&packed).unwrap_err();
    assert!(
        matches!(error, LayerError::TooLarge { limit } if limit == 1 << 20),
        "{error}"
    );
    case.limits.layer_entries = 3;
    let many: Vec<Item> = (0..4).map(|n| file(&n.to_string(), "")).collect();
    let error = case.unpack(&archive(&many)).unwrap_err();
    assert!(matches!(error, LayerError::TooMany { limit: 3 }), "{error}");
}

#[test]
fn a_file_system_about_to_be_full_is_left_alone() {
    let mut case = Case::new();
    case.limits.reserve_bytes = u64::MAX;
    let error = case.unpack(&archive(&[file("a", "")])).unwrap_err();
    assert!(matches!(error, LayerError::NoSpace { .. }), "{error}");
}

#[test]
fn what_is_no_layer_is_refused() {
    for (blob, what) in [
        (b"hello, this is no archive".repeat(50), "text"),
        (
            gzip(b"neither is this, although it is compressed").repeat(1),
            "short",
        ),
        (b"BZh91AY&SY".to_vec(), "bzip2"),
        (b"\xfd7zXZ\0\0\0".to_vec(), "xz"),
        (
            [&gzip(&archive(&[])), b"garbage".as_slice()].concat(),
            "trailing bytes",
        ),
    ] {
        assert!(Case::new().unpack(&blob).is_err(), "{what}");
    }
    let unknown = item("x", b'Z');
    assert!(matches!(
        refused(&[unknown]),
        LayerError::Archive(TarError::Kind { kind: 'Z', .. })
    ));
    let nothing = Case::new();
    assert_eq!(nothing.unpack(&[]).unwrap().size_bytes, 0);
}

#[test]
fn zstd_and_plain_layers_give_the_same_tree() {
    let plain = archive(&[file("a/b", "content")]);
    let packed = zstd::stream::encode_all(plain.as_slice(), 3).unwrap();
    let joined = [
        zstd::stream::encode_all(&plain[..512], 3).unwrap(),
        gzip(&[]),
    ]
    .concat();
    assert!(Case::new().unpack(&joined).is_err(), "mixed");
    for blob in [
        plain.clone(),
        packed,
        gzip(&plain),
        [gzip(&plain[..512]), gzip(&plain[512..])].concat(),
    ] {
        let mut case = Case::new();
        case.expected = Some(Digest::of(&plain));
        case.unpack(&blob).unwrap();
        assert_eq!(case.read("a/b"), "content");
    }
}

/// Deep chains of dangling links cannot exhaust the stack or run for ever.
#[test]
fn endless_links_end_with_an_error() {
    let items = [symlink("a", "b"), symlink("b", "a"), file("a/f", "")];
    assert!(matches!(refused(&items), LayerError::Entry { .. }));
    let own = [symlink("a", "a/a/a"), file("a/f", "")];
    assert!(matches!(refused(&own), LayerError::Entry { .. }));
    let deep = "d/".repeat(1500) + "f";
    assert!(matches!(
        refused(&[file("x", "").pax("path", deep.as_bytes())]),
        LayerError::Entry { .. }
    ));
}
