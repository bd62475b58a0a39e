//! What must hold for an archive that is unpacked whatever it holds: it is written within
//! the container's root, links of which lead out of it.

use std::os::unix::fs::symlink;
use std::path::Path;

use engine_archive::root::Root;
use engine_archive::unpack::{UnpackOptions, unpack};

const KEPT: &[u8] = b"the host's";

/// Panics if anything beside the root changes.
pub(crate) fn check(bytes: &[u8]) {
    let place = tempfile::tempdir().expect("there is room for a folder");
    let path = |name: &str| place.path().join(name);
    for name in ["root", "root/data", "host"] {
        std::fs::create_dir(path(name)).expect("the folder is new");
    }
    std::fs::write(path("host/kept"), KEPT).expect("the folder is new");
    for (target, link) in [
        ("../../host", "root/data/up"),
        ("../host", "root/up"),
        ("/proc/self/root", "root/data/proc"),
    ] {
        symlink(target, path(link)).expect("the folder is new");
    }
    symlink(path("host"), path("root/data/host")).expect("the folder is new");
    let root = Root::open(&path("root")).expect("it is there");
    // An error is as good an answer as any.
    unpack(&root, Path::new("/data"), bytes, UnpackOptions::default()).ok();
    assert_eq!(names(&path("host")), ["kept"]);
    assert_eq!(std::fs::read(path("host/kept")).expect("it is there"), KEPT);
    assert_eq!(names(place.path()), ["host", "root"]);
}

fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).expect("it is there");
    let mut names: Vec<_> = entries
        .map(|entry| {
            entry
                .expect("it is there")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    names.sort();
    names
}
