//! Lookups in a directory with hostile links in it.

use std::os::unix::fs::symlink;

use super::*;

struct Image {
    _directory: tempfile::TempDir,
    root: Beneath,
    path: PathBuf,
}

fn image() -> Image {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("root");
    for name in ["etc", "real/deep", "../outside"] {
        std::fs::create_dir_all(path.join(name)).unwrap();
    }
    for (name, target) in [
        ("absolute", "/real"),
        ("relative", "real/deep"),
        ("climbs", "../../../../../../../etc"),
        ("dangles", "/new/place"),
        ("loop", "loop"),
        ("through", "/absolute/deep"),
        ("real/up", ".."),
        ("etc/hosts", "/jump/hosts"),
        ("jump", "/tmp/far"),
    ] {
        symlink(target, path.join(name)).unwrap();
    }
    std::fs::File::create(path.join("etc/file")).unwrap();
    let root = rustix::fs::open(&path, LOOK, Mode::empty()).unwrap();
    Image {
        root: Beneath::new(root),
        path,
        _directory: directory,
    }
}

fn found(image: &Image, path: &str, missing: Missing) -> Result<(String, bool), Errno> {
    let found = image.root.find(Path::new(path), Links::Follow, missing)?;
    let direct = std::fs::symlink_metadata(image.path.join(found.path.strip_prefix("/").unwrap()));
    let direct = direct.unwrap();
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(
        (direct.dev(), direct.ino()),
        (found.status.st_dev, found.status.st_ino)
    );
    Ok((found.path.to_str().unwrap().to_owned(), found.is_new))
}

#[test]
fn no_path_leads_out() {
    let image = image();
    let find = |path| found(&image, path, Missing::Fail).map(|(path, _)| path);
    for (path, expected) in [
        ("/", "/"),
        ("..", "/"),
        ("/../../etc", "/etc"),
        ("etc/../../../etc", "/etc"),
        ("climbs", "/etc"),
        ("climbs/file", "/etc/file"),
        ("absolute/deep", "/real/deep"),
        ("through", "/real/deep"),
        ("relative/../..", "/"),
        ("real/up/etc", "/etc"),
        ("./real//deep/.", "/real/deep"),
    ] {
        assert_eq!(find(path).as_deref(), Ok(expected), "{path}");
    }
    for (path, expected) in [
        ("absent", Errno::NOENT),
        ("loop", Errno::LOOP),
        ("etc/file/x", Errno::NOTDIR),
        ("etc/file/..", Errno::NOTDIR),
        ("dangles", Errno::NOENT),
        ("../outside", Errno::NOENT),
    ] {
        assert_eq!(find(path), Err(expected), "{path}");
    }
}

#[test]
fn what_is_missing_is_made_where_links_lead() {
    let image = image();
    let make = |path, missing| found(&image, path, missing);
    let new = |path: &str| Ok((path.to_owned(), true));
    assert_eq!(make("a/b/c", Missing::Directory), new("/a/b/c"));
    assert_eq!(
        make("a/b/c", Missing::Directory),
        Ok(("/a/b/c".to_owned(), false))
    );
    assert_eq!(make("etc/hosts", Missing::File), new("/tmp/far/hosts"));
    assert_eq!(make("dangles", Missing::Directory), new("/new/place"));
    assert_eq!(make("climbs/x", Missing::File), new("/etc/x"));
    assert!(image.path.join("tmp/far/hosts").is_file());
    assert!(image.path.join("new/place").is_dir());
    assert_eq!(make("etc/file/x", Missing::Directory), Err(Errno::NOTDIR));
    assert_eq!(make("gone/../x", Missing::Directory), Err(Errno::NOENT));
    assert!(!image.path.join("gone").exists());
    let outside = image.path.parent().unwrap().join("outside");
    assert_eq!(std::fs::read_dir(outside).unwrap().count(), 0);
}

#[test]
fn links_can_be_refused() {
    let image = image();
    let find = |path: &str| {
        let found = image
            .root
            .find(Path::new(path), Links::Refuse, Missing::Fail);
        found.map(|found| found.path)
    };
    assert_eq!(find("real/deep"), Ok(PathBuf::from("/real/deep")));
    assert_eq!(find("absolute"), Err(Errno::LOOP));
    assert_eq!(find("absolute/deep"), Err(Errno::LOOP));
}

#[test]
fn the_directory_of_a_name_is_found_and_the_name_is_not_followed() {
    let image = image();
    let (directory, name) = image.root.find_parent(Path::new("/absolute/up")).unwrap();
    assert_eq!(
        (directory.path.to_str(), name.to_str()),
        (Some("/real"), Some("up"))
    );
    assert!(image.root.find_parent(Path::new("/a/..")).is_err());
    assert!(image.root.find_parent(Path::new("/")).is_err());
}
