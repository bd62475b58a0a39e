//! Named volumes: made, filled from images, used, removed.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};

use base::{Failure, FailureKind};
use volumed_api::{CreateVolume, RemoveVolume, VolumeConfig, VolumeRemoved, query};

use crate::support::{Host, Propagation, mount_table, put, read, request, run, volume};

fn create(host: &mut Host, name: &str, options: &[(&str, &str)]) -> Result<VolumeConfig, Failure> {
    let options = options
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()));
    let body = CreateVolume {
        name: name.parse().unwrap(),
        driver: "local".to_owned(),
        labels: BTreeMap::from([("k".to_owned(), "v".to_owned())]),
        options: options.collect(),
    };
    host.ask(name, &body)
}

fn remove(host: &mut Host, name: &str) -> Result<VolumeRemoved, Failure> {
    let body = RemoveVolume {
        name: name.parse().unwrap(),
    };
    host.ask(name, &body)
}

#[test]
fn a_volume_is_made_once_and_removed_with_its_size() {
    let mut host = Host::new();
    let made = create(&mut host, "site", &[]).unwrap();
    assert_eq!(create(&mut host, "site", &[]).unwrap(), made);
    assert_eq!(
        query::volumes(&host.instance).unwrap(),
        std::slice::from_ref(&made)
    );
    let conflict = create(&mut host, "site", &[("type", "tmpfs"), ("device", "tmpfs")]);
    assert_eq!(conflict.unwrap_err().kind, FailureKind::Conflict);
    let data = query::data_directory(&host.instance, &made.name);
    assert_eq!(fs::metadata(&data).unwrap().mode() & 0o7777, 0o755);
    put(&data.join("deep/er/file"), &"x".repeat(100_000));
    let removed = remove(&mut host, "site").unwrap();
    assert!(
        (100_000..200_000).contains(&removed.size_bytes),
        "{removed:?}"
    );
    let missing = remove(&mut host, "site").unwrap_err();
    assert_eq!(missing.kind, FailureKind::NotFound);
    assert_eq!(missing.message, "get site: no such volume");
    host.assert_clean();
}

#[test]
fn wrong_requests_are_refused_and_change_nothing() {
    let mut host = Host::new();
    let body = CreateVolume {
        name: "data".parse().unwrap(),
        driver: "rexray".to_owned(),
        labels: BTreeMap::new(),
        options: BTreeMap::new(),
    };
    let failure = host.ask("data", &body).unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert_eq!(
        failure.message,
        "error looking up volume plugin rexray: plugin \"rexray\" not found"
    );
    let cases: [(&[(&str, &str)], FailureKind); 3] = [
        (&[("foo", "bar")], FailureKind::Invalid),
        (&[("type", "tmpfs")], FailureKind::Invalid),
        (&[("size", "1g")], FailureKind::Unsupported),
    ];
    for (options, kind) in cases {
        assert_eq!(create(&mut host, "data", options).unwrap_err().kind, kind);
    }
    host.assert_clean();
}

#[test]
fn a_volume_in_use_is_kept() {
    let mut host = Host::new();
    let run = run(1);
    let mut asked = request(&run, &[]);
    asked.volumes.push(volume("data", "/data"));
    let mounted = host.mount(&asked).unwrap();
    assert_eq!(
        mounted.volumes[0].path,
        host.instance.root().join("volumes/data/_data")
    );
    let failure = remove(&mut host, "data").unwrap_err();
    assert_eq!(failure.kind, FailureKind::Conflict);
    let expected = format!("remove data: volume is in use - [{}]", run.container);
    assert_eq!(failure.message, expected);
    host.kill();
    host.start(&[]);
    assert_eq!(
        remove(&mut host, "data").unwrap_err().kind,
        FailureKind::Conflict
    );
    host.release(&run);
    remove(&mut host, "data").unwrap();
    host.remove_files(&run.container).unwrap();
    host.assert_clean();
}

#[test]
fn cve_2021_25741_and_cve_2025_9566_hostile_links_in_a_volume_lead_a_folder_of_it_nowhere() {
    let mut host = Host::new();
    create(&mut host, "data", &[]).unwrap();
    let data = host.instance.root().join("volumes/data/_data");
    put(&data.join("sub/file"), "below");
    symlink("/etc", data.join("out")).unwrap();
    symlink("../../..", data.join("up")).unwrap();
    let folder = |subpath: &str| {
        let mut volume = volume("data", "/d");
        (volume.subpath, volume.copy_up) = (Some(subpath.to_owned()), false);
        volume
    };
    let run = run(1);
    for (subpath, expected) in [
        ("out", "escapes the volume"),
        ("up/volumes", "escapes the volume"),
        ("none", "no such file or directory"),
    ] {
        let mut asked = request(&run, &[]);
        asked.volumes.push(folder(subpath));
        let failure = host.mount(&asked).unwrap_err();
        assert_eq!(failure.kind, FailureKind::Invalid);
        assert!(failure.message.contains(expected), "{}", failure.message);
    }
    let mut asked = request(&run, &[]);
    asked.volumes.extend([folder("sub"), folder("sub/file")]);
    let mounted = host.mount(&asked).unwrap();
    // What is put in its place later is not what the run has.
    fs::rename(data.join("sub"), data.join("away")).unwrap();
    symlink("/", data.join("sub")).unwrap();
    assert_eq!(read(mounted.volumes[0].path.join("file")), "below");
    assert_eq!(read(&mounted.volumes[1].path), "below");
    host.kill();
    host.start(&[]);
    assert_eq!(read(&mounted.volumes[1].path), "below");
    host.release(&run);
    assert!(!mounted.volumes[0].path.exists() && !mounted.volumes[1].path.exists());
    remove(&mut host, "data").unwrap();
    host.remove_files(&run.container).unwrap();
    host.assert_clean();
}

#[test]
fn shared_memory_is_there_as_long_as_its_run() {
    let mut host = Host::new();
    let run = run(1);
    let mut asked = request(&run, &[]);
    asked.shared_memory_bytes = Some(1 << 20);
    host.mount(&asked).unwrap();
    let memory = volumed_api::shared_memory(&host.instance, &run);
    put(&memory.join("file"), "shared");
    assert_eq!(fs::metadata(&memory).unwrap().mode() & 0o7777, 0o1777);
    let line = mount_table();
    let line = line.lines().find(|line| line.contains(".shm ")).unwrap();
    for word in ["nosuid", "nodev", "noexec", "size=1024k"] {
        assert!(line.contains(word), "{word}: {line}");
    }
    host.kill();
    host.start(&[]);
    assert_eq!(read(memory.join("file")), "shared");
    host.release(&run);
    assert!(!memory.exists());
    host.remove_files(&run.container).unwrap();
    host.assert_clean();
}

#[test]
fn an_empty_volume_starts_with_the_images_content_and_a_used_one_does_not() {
    let mut host = Host::new();
    let low = host.layer(&[("srv/data/a", "low"), ("srv/data/sub/b", "b")]);
    let high = host.layer(&[("srv/data/a", "high")]);
    let source = host.instance.layer(&high).join("srv/data");
    std::os::unix::fs::chown(&source, Some(999), Some(998)).unwrap();
    fs::set_permissions(&source, fs::Permissions::from_mode(0o750)).unwrap();
    let first = run(1);
    let mut asked = request(&first, &[low, high]);
    asked.volumes.push(volume("data", "/srv/data"));
    asked.volumes.push(volume("bare", "/srv/data"));
    asked.volumes[1].copy_up = false;
    asked.volumes.push(volume("none", "/not/there"));
    let mounted = host.mount(&asked).unwrap();
    let data = &mounted.volumes[0].path;
    assert_eq!(read(data.join("a")), "high");
    assert_eq!(read(data.join("sub/b")), "b");
    let root = fs::metadata(data).unwrap();
    assert_eq!(
        (root.uid(), root.gid(), root.mode() & 0o7777),
        (999, 998, 0o750)
    );
    for empty in [1, 2] {
        assert_eq!(
            fs::read_dir(&mounted.volumes[empty].path).unwrap().count(),
            0
        );
    }
    assert_eq!(
        fs::read_dir(data.parent().unwrap()).unwrap().count(),
        2,
        "no copy left aside"
    );
    fs::remove_file(data.join("a")).unwrap();
    host.release(&first);

    let second = run(1);
    asked.run = second.clone();
    let mounted = host.mount(&asked).unwrap();
    assert!(!mounted.volumes[0].path.join("a").exists());
    host.release(&second);
    for name in ["data", "bare", "none"] {
        remove(&mut host, name).unwrap();
    }
    for run in [first, second] {
        host.remove_files(&run.container).unwrap();
    }
    host.assert_clean();
}

#[test]
fn links_in_an_image_do_not_lead_out_of_it() {
    let mut host = Host::new();
    let secret = host.path("secret");
    put(&secret.join("key"), "the host's");
    let layer = host.layer(&[("etc/inside", "the image's")]);
    let directory = host.instance.layer(&layer);
    symlink("/etc", directory.join("absolute")).unwrap();
    symlink(&secret, directory.join("host")).unwrap();
    symlink("../../../../../../../../../etc", directory.join("up")).unwrap();
    fs::create_dir(directory.join("tree")).unwrap();
    symlink(&secret, directory.join("tree/link")).unwrap();
    let run = run(1);
    let mut asked = request(&run, &[layer]);
    for (name, destination) in [
        ("absolute", "/absolute"),
        ("host", "/host"),
        ("up", "/up"),
        ("dots", "/../../etc"),
        ("tree", "/tree"),
        ("through", "/host/.."),
    ] {
        asked.volumes.push(volume(name, destination));
    }
    let mounted = host.mount(&asked).unwrap();
    let path = |n: usize| &mounted.volumes[n].path;
    for inside in [0, 2, 3] {
        let names: Vec<_> = fs::read_dir(path(inside)).unwrap().collect();
        assert_eq!(names.len(), 1);
        assert_eq!(read(path(inside).join("inside")), "the image's");
    }
    for empty in [1, 5] {
        assert_eq!(fs::read_dir(path(empty)).unwrap().count(), 0);
    }
    assert_eq!(fs::read_link(path(4).join("link")).unwrap(), secret);
}

#[test]
fn volumes_with_options_are_mounted_while_used() {
    for propagation in [Propagation::Private, Propagation::Shared] {
        let mut host = Host::with(propagation, None, &[]);
        let layer = host.layer(&[("t/file", "copied"), ("b/file", "copied")]);
        let device = host.path("device");
        fs::create_dir(&device).unwrap();
        let bind = [
            ("type", "none"),
            ("device", device.to_str().unwrap()),
            ("o", "bind"),
        ];
        create(&mut host, "bound", &bind).unwrap();
        let tmpfs = [
            ("type", "tmpfs"),
            ("device", "tmpfs"),
            ("o", "size=64k,mode=0711"),
        ];
        create(&mut host, "memory", &tmpfs).unwrap();
        two_runs_share_them(&mut host, layer, &device);
        for name in ["memory", "bound"] {
            remove(&mut host, name).unwrap();
        }
        assert_eq!(
            read(device.join("file")),
            "copied",
            "the device is the user's"
        );
        host.assert_clean();
    }
}

fn two_runs_share_them(host: &mut Host, layer: base::Digest, device: &std::path::Path) {
    let (first, second) = (run(1), run(1));
    let mut asked = request(&first, &[layer]);
    asked.volumes = vec![volume("memory", "/t"), volume("bound", "/b")];
    let mounted = host.mount(&asked).unwrap();
    asked.run = second.clone();
    assert_eq!(host.mount(&asked).unwrap().volumes, mounted.volumes);
    let memory = &mounted.volumes[0].path;
    assert!(memory.starts_with(host.instance.mounts()));
    assert_eq!(read(memory.join("file")), "copied");
    assert_eq!(read(device.join("file")), "copied");
    assert_eq!(fs::read_dir(device).unwrap().count(), 1);
    host.release(&first);
    assert_eq!(
        read(memory.join("file")),
        "copied",
        "the other run still uses it"
    );
    host.release(&second);
    host.wait_for("backing stores unmounted", |_| !memory.exists());
    assert!(!mount_table().contains(memory.to_str().unwrap()));
    assert_eq!(
        read(device.join("file")),
        "copied",
        "the device is the user's"
    );
    for run in [first, second] {
        host.remove_files(&run.container).unwrap();
    }
}

#[test]
fn a_backing_store_that_cannot_be_mounted_is_a_clear_failure() {
    let mut host = Host::new();
    let nowhere = [
        ("type", "none"),
        ("device", "/nowhere/at/all"),
        ("o", "bind"),
    ];
    create(&mut host, "lost", &nowhere).unwrap();
    let unknown = [
        ("type", "nosuchfs"),
        ("device", "x"),
        ("o", "password=hunter2"),
    ];
    create(&mut host, "odd", &unknown).unwrap();
    for (name, kind) in [
        ("lost", FailureKind::Invalid),
        ("odd", FailureKind::Unsupported),
    ] {
        let run = run(1);
        let mut asked = request(&run, &[]);
        asked.volumes.push(volume(name, "/x"));
        let failure = host.mount(&asked).unwrap_err();
        assert_eq!(failure.kind, kind, "{failure}");
        assert!(failure.message.contains(name) && !failure.message.contains("hunter2"));
        remove(&mut host, name).unwrap();
        host.remove_files(&run.container).unwrap();
    }
    host.assert_clean();
}

#[test]
fn a_full_disk_is_told_and_nothing_is_left() {
    let mut host = Host::with(Propagation::Private, Some("40m"), &[]);
    let layer = host.layer(&[("data/a", "small")]);
    let big = host.instance.layer(&layer).join("data/big");
    fs::File::create(&big).unwrap();
    let free = rustix::fs::statvfs(host.instance.root()).unwrap();
    let fits_once = free.f_bfree * free.f_frsize * 2 / 3;
    put(&big, &"x".repeat(usize::try_from(fits_once).unwrap()));
    let run = run(1);
    let mut asked = request(&run, &[layer]);
    asked.volumes.push(volume("data", "/data"));
    let failure = host.mount(&asked).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Exhausted, "{failure}");
    assert!(failure.message.contains("big"), "{failure}");
    host.remove_files(&run.container).unwrap();
    host.assert_clean();
    asked.volumes[0].copy_up = false;
    host.mount(&asked).unwrap();
}

#[test]
fn what_is_mounted_below_a_recursive_bind_stays_the_hosts() {
    let mut host = Host::with(Propagation::Shared, None, &[]);
    let device = host.path("device");
    let below = device.join("below");
    fs::create_dir_all(&below).unwrap();
    let flags = rustix::mount::MountFlags::empty();
    rustix::mount::mount("tmpfs", &below, "tmpfs", flags, None).unwrap();
    put(&below.join("file"), "the host's");
    let bind = [
        ("type", "none"),
        ("device", device.to_str().unwrap()),
        ("o", "rbind"),
    ];
    create(&mut host, "bound", &bind).unwrap();
    let run = run(1);
    let mut asked = request(&run, &[]);
    asked.volumes.push(volume("bound", "/b"));
    let mounted = host.mount(&asked).unwrap();
    assert_eq!(
        read(mounted.volumes[0].path.join("below/file")),
        "the host's"
    );
    host.release(&run);
    assert_eq!(read(below.join("file")), "the host's");

    // Killed before it was made private.
    host.kill();
    let stray = host.instance.mounts().join("volumes/bound");
    fs::create_dir_all(&stray).unwrap();
    rustix::mount::mount_bind_recursive(&device, &stray).unwrap();
    host.start(&[]);
    host.wait_for("the stray gone", |_| !stray.exists());
    assert_eq!(read(below.join("file")), "the host's");
    rustix::mount::unmount(&below, rustix::mount::UnmountFlags::DETACH).unwrap();
}
