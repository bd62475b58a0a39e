//! Who sees whose mounts.

use std::fs;
use std::os::fd::AsFd as _;

use nix::sched::{CloneFlags, setns, unshare};
use rustix::mount::{MountFlags, MountPropagationFlags};
use serde_json::json;

use crate::build::{Build, Image, KERNELS, mounted, proc, separate, tmpfs};
use crate::child::in_child;

/// Returns the propagation of a mount: the words between options and dash.
fn propagation(point: &str) -> String {
    let line = mounted(point).pop().unwrap_or_default();
    let words = line.split(' ').skip(1).take_while(|word| *word != "-");
    let names = words.map(|word| word.split(':').next().unwrap().to_owned());
    names.collect::<Vec<_>>().join(" ")
}

fn share() {
    let flags = MountPropagationFlags::SHARED | MountPropagationFlags::REC;
    rustix::mount::mount_change("/", flags).unwrap();
}

#[test]
fn each_mount_gets_what_it_asks_for() {
    for kernel in KERNELS {
        let image = Image::new();
        let source = image.bundle().join("source");
        let mount = |destination: &str, options: &[&str]| json!({"destination": destination, "source": "source", "options": options});
        let mut build = Build::new(
            &image,
            json!([
                proc(),
                mount("/plain", &["rbind"]),
                mount("/private", &["rbind", "rprivate"]),
                mount("/shared", &["rbind", "rprivate", "shared"]),
                mount("/tree", &["rbind", "rshared"]),
                mount("/slave", &["rbind", "rslave"]),
                mount("/unbindable", &["bind", "unbindable"]),
                {"destination": "/t", "type": "tmpfs", "options": ["shared"]},
            ]),
        );
        build.kernel = kernel;
        build.prepare = Box::new(move || {
            tmpfs(&source.join("below"), MountFlags::empty());
            leave_a_host();
        });
        let seen = build.see(|| {
            let points = [
                "/",
                "/plain/below",
                "/private/below",
                "/shared",
                "/shared/below",
                "/tree/below",
                "/slave/below",
                "/unbindable",
                "/t",
            ];
            let all = points.map(|point| format!("{point} {}", propagation(point)));
            all.join(", ").replace(" ,", ",")
        });
        assert_eq!(
            seen,
            "/, /plain/below master, /private/below, /shared shared, /shared/below, \
             /tree/below shared master, /slave/below master, /unbindable unbindable, /t shared",
            "{kernel:?}"
        );
    }
}

#[test]
fn the_root_is_shared_or_unbindable_when_asked() {
    for (name, expected) in [
        ("", ""),
        ("private", ""),
        ("rslave", "master"),
        ("shared", "shared"),
        ("rshared", "shared"),
        ("unbindable", "unbindable"),
    ] {
        let image = Image::new();
        let mut build = Build::new(&image, json!([proc()]));
        build.linux = json!({"rootfsPropagation": name});
        build.prepare = Box::new(leave_a_host);
        assert_eq!(build.see(|| propagation("/")), expected, "{name}");
    }
}

/// Makes a copy of this namespace whose mounts are connected with the old one's.
fn leave_a_host() {
    share();
    // Open, it stays, and with it the mounts in it.
    std::mem::forget(fs::File::open("/proc/self/ns/mnt").unwrap());
    unshare(CloneFlags::CLONE_NEWNS).unwrap();
}

/// The test's process is the host; the container is a child in a copy of its
/// namespace. `rootfsPropagation` and the mount's options as given; returns
/// whether the host sees what the container mounts, and the other way round.
fn crosses(root: &str, asked: &[&str], kernel: crate::build::Kernel) -> (bool, bool) {
    let image = Image::new();
    let source = image.bundle().join("source");
    let seen = in_child(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        separate();
        // Not in the mount of the root filesystem, which is made private.
        tmpfs(&source, MountFlags::empty());
        for name in ["in", "out"] {
            fs::create_dir(source.join(name)).unwrap();
        }
        share();
        let host = fs::File::open("/proc/self/ns/mnt").unwrap();
        let point = source.join("in");
        let there = source.join("out");
        let mount = json!({"destination": "/v", "source": "source", "options": asked});
        let mut build = Build::new(&image, json!([proc(), mount]));
        build.linux = json!({"rootfsPropagation": root});
        build.kernel = kernel;
        // Instead of a private copy, one that is connected with the host's.
        build.prepare = Box::new(|| {
            setns(host.as_fd(), CloneFlags::CLONE_NEWNS).unwrap();
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
        });
        build.build().unwrap();
        let own = fs::File::open("/proc/self/ns/mnt").unwrap();
        rustix::mount::mount("tmpfs", "/v/out", "tmpfs", MountFlags::empty(), c"").unwrap();
        setns(host.as_fd(), CloneFlags::CLONE_NEWNS).unwrap();
        let heard = !mounted(there.to_str().unwrap()).is_empty();
        let leaked = mounted(image.path("proc").to_str().unwrap()).len();
        assert_eq!(
            leaked, 0,
            "the container's own mounts are the host's as well"
        );
        tmpfs(&point, MountFlags::empty());
        setns(own.as_fd(), CloneFlags::CLONE_NEWNS).unwrap();
        // Entering a namespace enters its root.
        let told = !mounted("/v/in").is_empty();
        format!("{heard} {told}")
    });
    let (heard, told) = seen.split_once(' ').unwrap();
    (heard == "true", told == "true")
}

#[test]
fn mounts_cross_only_where_they_are_allowed_to() {
    for kernel in KERNELS {
        let of = |root, asked: &[&str]| crosses(root, asked, kernel);
        assert_eq!(of("", &["rbind", "rprivate"]), (false, false), "{kernel:?}");
        assert_eq!(of("", &["rbind", "rslave"]), (false, true), "{kernel:?}");
        assert_eq!(of("", &["rbind"]), (false, true), "{kernel:?}");
        assert_eq!(
            of("rshared", &["rbind", "rshared"]),
            (true, true),
            "{kernel:?}"
        );
        assert_eq!(
            of("shared", &["rbind", "rslave"]),
            (false, true),
            "{kernel:?}"
        );
    }
}

#[test]
fn detaching_the_old_root_unmounts_nothing_on_the_host() {
    let image = Image::new();
    let point = image.bundle().join("kept");
    let seen = in_child(|| {
        unshare(CloneFlags::CLONE_NEWNS).unwrap();
        separate();
        // The mount of the root filesystem is private, but not this one.
        tmpfs(&point, MountFlags::empty());
        tmpfs(&point.join("below"), MountFlags::empty());
        share();
        let host = fs::File::open("/proc/self/ns/mnt").unwrap();
        let mut build = Build::new(&image, json!([proc()]));
        build.linux = json!({"rootfsPropagation": "rshared"});
        build.prepare = Box::new(|| {
            setns(host.as_fd(), CloneFlags::CLONE_NEWNS).unwrap();
            unshare(CloneFlags::CLONE_NEWNS).unwrap();
        });
        build.build().unwrap();
        setns(host.as_fd(), CloneFlags::CLONE_NEWNS).unwrap();
        let points = [point.clone(), point.join("below")];
        points
            .map(|point| mounted(point.to_str().unwrap()).len().to_string())
            .concat()
    });
    assert_eq!(seen, "11");
}
