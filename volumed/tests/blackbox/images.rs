//! Images that a run sees beside its root filesystem: read-only, shared by many,
//! and no way out of one.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;

use base::{Digest, FailureKind, RunId};
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount_remount};

use crate::support::{Host, Propagation, bind, id_mappings, image, put, read, request, run};

/// A whiteout as layers have it.
fn hide(path: &Path) {
    mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).unwrap();
}

fn assert_read_only(directory: &Path) {
    let refused = fs::create_dir(directory.join("new")).unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ReadOnlyFilesystem);
    // Whoever may mount cannot turn it into a place for writes either.
    let turned = mount_remount(directory, MountFlags::empty(), c"");
    assert_eq!(turned, Err(Errno::ROFS));
}

fn entries(directory: &Path) -> Vec<String> {
    let name = |entry: fs::DirEntry| entry.file_name().into_string().unwrap();
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| name(entry.unwrap()))
        .collect();
    names.sort();
    names
}

#[test]
fn images_of_any_number_of_layers_are_seen_and_not_written() {
    for way in ["append", "list", "classic"] {
        let mut host = Host::with(Propagation::Shared, None, &["--mount-way", way]);
        let low = host.layer(&[("name", "low"), ("gone", "x"), ("low", "")]);
        let high = host.layer(&[("name", "high"), ("high/deep", "in")]);
        hide(&host.instance.layer(&high).join("gone"));
        hide(&host.instance.layer(&low).join("never"));
        let run = run(1);
        let mut asked = request(&run, &[low]);
        asked.images = vec![
            image(&[low, high], None),
            image(&[low], None),
            image(&[], None),
            image(&[low, high, low], Some("high")),
        ];
        let mounted = host.mount(&asked).unwrap();
        let [both, one, none, part] = &mounted.images[..] else {
            panic!("{way}: {mounted:?}")
        };
        assert_eq!(entries(both), ["high", "low", "name"], "{way}");
        assert_eq!(read(both.join("name")), "high");
        // A whiteout with nothing below it is not there all the same.
        assert_eq!(entries(one), ["gone", "low", "name"], "{way}");
        assert_eq!(entries(none), [""; 0], "{way}");
        assert_eq!(read(part.join("deep")), "in");
        mounted
            .images
            .iter()
            .for_each(|image| assert_read_only(image));
        assert_eq!(host.mount(&asked).unwrap(), mounted, "repeated");
        host.release(&run);
        host.remove_files(&run.container).unwrap();
        host.assert_clean();
    }
}

#[test]
fn an_image_is_its_runs_own_until_the_run_is_over() {
    let mut host = Host::new();
    let layer = host.layer(&[("file", "shared"), ("sub/file", "below")]);
    let runs = [run(1), run(1)];
    let ask = |host: &mut Host, run: &RunId| {
        let mut asked = request(run, &[]);
        asked.images = vec![image(&[layer], None), image(&[layer], Some("sub/file"))];
        host.mount(&asked).unwrap().images
    };
    let [first, second] = [ask(&mut host, &runs[0]), ask(&mut host, &runs[1])];
    assert_ne!(first, second);
    host.kill();
    // What a volumed leaves that was killed while it mounted with mapped owners.
    let stray = format!("{}.layers0", host.instance.rootfs(&run(3)).display());
    let stray_part = host
        .instance
        .mounts()
        .join(format!("parts/{}.image0.layers0", run(3)));
    for stray in [Path::new(&stray), &stray_part] {
        fs::create_dir(stray).unwrap();
        rustix::mount::mount_bind(host.directory.path(), stray).unwrap();
    }
    host.start(&[]);
    host.release(&runs[0]);
    assert!(!first[0].exists() && !first[1].exists());
    assert_eq!(read(second[0].join("file")), "shared");
    assert_eq!(read(&second[1]), "below");
    host.release(&runs[1]);
    for run in &runs {
        host.remove_files(&run.container).unwrap();
    }
    host.assert_clean();
}

#[test]
fn cve_2021_25741_hostile_links_in_an_image_lead_a_part_of_it_nowhere() {
    let mut host = Host::new();
    let layer = host.layer(&[("sub/file", "below")]);
    let root = host.instance.layer(&layer);
    symlink("/etc", root.join("out")).unwrap();
    symlink("../../../..", root.join("sub/up")).unwrap();
    symlink("/proc/self/root", root.join("magic")).unwrap();
    symlink("round", root.join("round")).unwrap();
    symlink("sub", root.join("inside")).unwrap();
    mknodat(CWD, root.join("pipe"), FileType::Fifo, Mode::RUSR, 0).unwrap();
    let run = run(1);
    for (subpath, expected) in [
        ("out", "escapes the volume or image"),
        ("out/passwd", "escapes the volume or image"),
        ("sub/up", "escapes the volume or image"),
        ("magic/etc", "escapes the volume or image"),
        ("round", "escapes the volume or image"),
        ("../x", "escapes the volume or image"),
        ("/etc", "escapes the volume or image"),
        ("none", "no such file or directory"),
        ("pipe", "neither a directory nor a regular file"),
    ] {
        let mut asked = request(&run, &[]);
        asked.binds.push(bind(host.path("made")));
        asked.images.push(image(&[layer], Some(subpath)));
        let failure = host.mount(&asked).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid, "{subpath}");
        assert!(failure.message.contains(expected), "{subpath}: {failure}");
        assert!(!host.path("made").exists(), "{subpath}");
    }
    let mut asked = request(&run, &[]);
    asked.images.push(image(&[layer], Some("inside/file")));
    assert_eq!(read(&host.mount(&asked).unwrap().images[0]), "below");
    host.release(&run);
    host.remove_files(&run.container).unwrap();
    host.assert_clean();
}

#[test]
fn a_layer_of_an_image_that_is_not_there_is_refused() {
    let mut host = Host::new();
    let missing = Digest::of(b"missing");
    let run = run(1);
    let mut asked = request(&run, &[]);
    asked.images.push(image(&[missing], None));
    let failure = host.mount(&asked).unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert_eq!(failure.message, format!("layer {missing} is not there"));
    host.assert_clean();
}

#[test]
fn owners_of_an_image_are_those_of_the_runs_user_namespace() {
    let mut host = Host::new();
    let layer = host.layer(&[("own", ""), ("other", "x")]);
    put(&host.instance.layer(&layer).join("dir/file"), "deep");
    let other = host.instance.layer(&layer).join("other");
    std::os::unix::fs::chown(&other, Some(7), Some(8)).unwrap();
    let second = host.layer(&[("second", "")]);
    let run = run(1);
    let mut asked = request(&run, &[layer]);
    asked.user_namespace = Some(id_mappings(100_000, 200_000));
    asked.images = vec![
        image(&[layer], None),
        image(&[layer, second], Some("dir")),
        image(&[], None),
    ];
    let mounted = host.mount(&asked).unwrap();
    let owner = |path: &Path| {
        let stat = fs::metadata(path).unwrap();
        (stat.uid(), stat.gid())
    };
    let root = (100_000, 200_000);
    assert_eq!(owner(&mounted.images[0]), root);
    assert_eq!(owner(&mounted.images[0].join("other")), (100_007, 200_008));
    assert_eq!(owner(&mounted.images[1].join("file")), root);
    assert_eq!(owner(&other), (7, 8), "on disk nothing changes");
    assert_eq!(entries(&mounted.images[2]), [""; 0]);
    assert_read_only(&mounted.images[0]);
    host.release(&run);
    host.remove_files(&run.container).unwrap();
    host.assert_clean();
}
