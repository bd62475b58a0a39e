//! Root filesystems: what they show, where they are seen, when they go.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::sync::mpsc::sync_channel;

use base::{Digest, FailureKind, RunId, RunNumber};
use volumed_api::{MissingSource, RootfsUnmounted, UnmountRootfs, Upper};

use crate::support::{
    Host, Propagation, bind, enter_namespace, mount_table, put, read, request, run,
};

fn layers_show_and_writes_stay(mut host: Host) {
    let low = host.layer(&[("etc/name", "low"), ("etc/low", "1")]);
    let high = host.layer(&[("etc/name", "high"), ("home/", "")]);
    let top = host.instance.layer(&high);
    fs::set_permissions(&top, fs::Permissions::from_mode(0o751)).unwrap();
    std::os::unix::fs::chown(&top, Some(12), Some(13)).unwrap();
    let first = run(1);
    // A layer that stands in the image twice counts where it is highest.
    let mut asked = request(&first, &[high, low, high]);
    asked.binds.push(bind(host.path("made/here")));
    let mounted = host.mount(&asked).unwrap();
    assert_eq!(mounted.rootfs, host.instance.rootfs(&first));
    assert_eq!(read(mounted.rootfs.join("etc/name")), "high");
    assert_eq!(read(mounted.rootfs.join("etc/low")), "1");
    let root = fs::metadata(&mounted.rootfs).unwrap();
    assert_eq!(
        (root.mode() & 0o7777, root.uid(), root.gid()),
        (0o751, 12, 13)
    );
    let made = &mounted.binds[0];
    assert_eq!(
        (made.source.clone(), made.is_directory),
        (host.path("made/here"), true)
    );
    assert_eq!(fs::metadata(&made.source).unwrap().mode() & 0o7777, 0o755);
    put(&mounted.rootfs.join("etc/new"), "kept");

    assert_eq!(
        host.mount(&asked).unwrap(),
        mounted,
        "a repeated request repeats its result"
    );
    let mut other = asked.clone();
    other.binds.clear();
    assert_eq!(host.mount(&other).unwrap_err().kind, FailureKind::Conflict);
    host.release(&first);
    assert!(!mounted.rootfs.exists());
    a_second_run_finds_what_the_first_wrote(host, &first, [low, high]);
}

fn a_second_run_finds_what_the_first_wrote(mut host: Host, first: &RunId, layers: [Digest; 2]) {
    let second = RunId::new(first.container.clone(), RunNumber(2));
    let mounted = host.mount(&request(&second, &layers)).unwrap();
    assert_eq!(read(mounted.rootfs.join("etc/new")), "kept");
    let unmount = UnmountRootfs {
        run: second.clone(),
    };
    for _ in 0..2 {
        assert_eq!(
            host.ask(&second.to_string(), &unmount),
            Ok(RootfsUnmounted {})
        );
    }
    host.remove_files(&first.container).unwrap();
    host.assert_clean();
}

#[test]
fn layers_show_and_writes_stay_under_a_private_root() {
    layers_show_and_writes_stay(Host::new());
}

#[test]
fn layers_show_and_writes_stay_under_a_shared_root() {
    layers_show_and_writes_stay(Host::with(Propagation::Shared, None, &[]));
}

#[test]
fn older_kernels_ways_to_mount_work() {
    layers_show_and_writes_stay(Host::with(
        Propagation::Private,
        None,
        &["--mount-way", "list"],
    ));
    layers_show_and_writes_stay(Host::with(
        Propagation::Private,
        None,
        &["--mount-way", "classic"],
    ));
}

#[test]
fn as_many_layers_as_docker_allows_fit_into_every_way() {
    for way in ["append", "list", "classic"] {
        let mut host = Host::with(Propagation::Private, None, &["--mount-way", way]);
        let name = |n: usize| format!("f{n}");
        let layers: Vec<Digest> = (0..127).map(|n| host.layer(&[(&name(n), "x")])).collect();
        let run = run(1);
        let mounted = host.mount(&request(&run, &layers)).unwrap();
        assert_eq!(fs::read_dir(&mounted.rootfs).unwrap().count(), 127, "{way}");
    }
}

#[test]
fn mounts_do_not_reach_other_namespaces_of_a_shared_root() {
    let mut host = Host::with(Propagation::Shared, None, &[]);
    host.stop();
    let (ready, wait_ready) = sync_channel(1);
    let (go, wait_go) = sync_channel::<()>(1);
    std::thread::scope(|scope| {
        let peer = scope.spawn(move || {
            // A copy of the namespace, whose mounts are peers of the originals.
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            ready.send(()).unwrap();
            wait_go.recv().unwrap();
            mount_table()
        });
        wait_ready.recv().unwrap();
        host.start(&[]);
        let run = run(1);
        let rootfs = host.mount(&request(&run, &[])).unwrap().rootfs;
        // What a shared mount does, to know that the peer would see it.
        let canary = host.path("canary");
        fs::create_dir(&canary).unwrap();
        rustix::mount::mount_bind(&canary, &canary).unwrap();
        go.send(()).unwrap();
        let seen = peer.join().unwrap();
        assert!(seen.contains(canary.to_str().unwrap()));
        assert!(!seen.contains(rootfs.to_str().unwrap()), "{seen}");
        assert!(mount_table().contains(rootfs.to_str().unwrap()));
        rustix::mount::unmount(&canary, rustix::mount::UnmountFlags::DETACH).unwrap();
    });
}

#[test]
fn an_image_without_layers_is_an_empty_directory() {
    let mut host = Host::new();
    let run = run(1);
    let rootfs = host.mount(&request(&run, &[])).unwrap().rootfs;
    assert_eq!(fs::read_dir(&rootfs).unwrap().count(), 0);
    assert_eq!(fs::metadata(&rootfs).unwrap().mode() & 0o7777, 0o755);
    put(&rootfs.join("file"), "x");
    host.release(&run);
    host.remove_files(&run.container).unwrap();
    host.assert_clean();
}

#[test]
fn a_volatile_upper_outlives_its_run_and_no_crash() {
    let mut host = Host::new();
    let layer = host.layer(&[("file", "image")]);
    let first = run(1);
    let mut asked = request(&first, &[layer]);
    asked.upper = Upper::Volatile;
    let rootfs = host.mount(&asked).unwrap().rootfs;
    assert!(
        mount_table()
            .lines()
            .any(|l| l.contains(rootfs.to_str().unwrap()) && l.contains("volatile"))
    );
    put(&rootfs.join("file"), "written");
    host.release(&first);

    // A machine that crashed: the mount is gone, its holder too, the upper is not.
    asked.run = RunId::new(first.container.clone(), RunNumber(2));
    let rootfs = host.mount(&asked).unwrap().rootfs;
    assert_eq!(read(rootfs.join("file")), "written");
    put(&rootfs.join("file"), "perhaps lost");
    host.kill();
    rustix::mount::unmount(&rootfs, rustix::mount::UnmountFlags::DETACH).unwrap();
    fs::remove_file(host.holder(&asked.run)).unwrap();
    host.start(&[]);
    asked.run = RunId::new(first.container.clone(), RunNumber(3));
    asked.upper = Upper::Persistent;
    let rootfs = host.mount(&asked).unwrap().rootfs;
    assert_eq!(read(rootfs.join("file")), "image");
    host.release(&asked.run);
    host.remove_files(&first.container).unwrap();
    host.assert_clean();
}

#[test]
fn a_request_that_is_refused_changes_nothing() {
    let mut host = Host::new();
    let run = run(1);
    let missing = Digest::of(b"missing");
    let failure = host.mount(&request(&run, &[missing])).unwrap_err();
    assert_eq!(failure.kind, FailureKind::NotFound);
    assert_eq!(failure.message, format!("layer {missing} is not there"));

    let mut asked = request(&run, &[]);
    asked.binds.push(bind(host.path("a/b")));
    let source = host.path("gone");
    asked.binds.push(volumed_api::BindUse {
        source: source.clone(),
        missing: MissingSource::Refuse,
    });
    let failure = host.mount(&asked).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Invalid);
    let expected = format!("bind source path does not exist: {}", source.display());
    assert_eq!(failure.message, expected);
    assert!(!host.path("a").exists());

    asked.binds[1].source = host.instance.root().to_owned();
    assert_eq!(host.mount(&asked).unwrap_err().kind, FailureKind::Invalid);
    assert!(!host.path("a").exists());
    host.assert_clean();
}

#[test]
fn a_mount_that_fails_late_is_taken_back() {
    let mut host = Host::new();
    let run = run(1);
    let mut asked = request(&run, &[]);
    asked.binds.push(bind(host.path("a/b")));
    asked.volumes.push(crate::support::volume("fresh", "/data"));
    // Overlay refuses a work directory that is a file.
    let container = host.instance.container(&run.container);
    fs::create_dir_all(&container).unwrap();
    put(&container.join("work"), "");
    let failure = host.mount(&asked).unwrap_err();
    assert_eq!(failure.kind, FailureKind::Internal);
    assert!(failure.message.contains("make directory"), "{failure}");
    assert!(!host.path("a").exists());
    host.remove_files(&run.container).unwrap();
    host.assert_clean();
}

#[test]
fn one_daemon_serves_and_stops_when_told() {
    let mut host = Host::new();
    host.mount(&request(&run(1), &[])).unwrap();
    let second = host.command().output().unwrap();
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert_eq!(second.status.code(), Some(1));
    assert!(told.contains("another volumed serves"), "{told}");
    assert_eq!(host.stop(), Some(0));
}

#[test]
fn what_runs_is_kept_through_a_restart_and_strays_are_not() {
    let mut host = Host::new();
    let (kept, ended) = (run(1), run(1));
    let rootfs = host.mount(&request(&kept, &[])).unwrap().rootfs;
    put(&rootfs.join("file"), "x");
    let gone = host.mount(&request(&ended, &[])).unwrap().rootfs;
    host.kill();
    let stray = host.instance.rootfs(&run(7));
    fs::create_dir(&stray).unwrap();
    rustix::mount::mount_bind(host.directory.path(), &stray).unwrap();
    let temporary = host.instance.volumed().join("holders/.x.tmp");
    put(&temporary, "");
    host.tell("container.cleaned", &ended);
    host.start(&[]);
    host.wait_for("strays gone", |_| {
        !stray.exists() && !gone.exists() && !temporary.exists()
    });
    assert_eq!(read(rootfs.join("file")), "x");
    let table = mount_table();
    let binds = table
        .lines()
        .filter(|l| l.split(' ').nth(4) == host.instance.mounts().to_str());
    assert_eq!(binds.count(), 1, "the self-bind is not stacked");
    host.release(&kept);
    for run in [kept, ended] {
        host.remove_files(&run.container).unwrap();
    }
    host.assert_clean();
}

#[test]
fn a_mount_in_use_elsewhere_does_not_keep_its_run() {
    let mut host = Host::new();
    let run = run(1);
    let rootfs = host.mount(&request(&run, &[])).unwrap().rootfs;
    let (entered, wait_entered) = sync_channel(1);
    let (leave, wait_leave) = sync_channel::<()>(1);
    let holder = std::thread::spawn(move || {
        enter_namespace(Propagation::Private);
        let open = fs::File::open(&rootfs).unwrap();
        entered.send(()).unwrap();
        wait_leave.recv().unwrap();
        drop(open);
    });
    wait_entered.recv().unwrap();
    host.release(&run);
    host.remove_files(&run.container).unwrap();
    host.assert_clean();
    leave.send(()).unwrap();
    holder.join().unwrap();
}
