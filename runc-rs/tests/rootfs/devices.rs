//! Nodes, links and the console, and images that have their own.

use std::fs;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::MetadataExt as _;

use runc_rs::rootfs::console;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use serde_json::{Value, json};

use crate::build::{Build, Image, KERNELS, Kernel, proc, put, read, tmpfs, write};
use crate::child::in_user_namespace;

fn describe(path: &str) -> String {
    match fs::symlink_metadata(path) {
        Ok(found) => format!(
            "{:o} {} {}:{}",
            found.mode(),
            found.rdev(),
            found.uid(),
            found.gid()
        ),
        Err(error) => error.to_string(),
    }
}

#[test]
fn devices_of_the_specification_are_made_as_they_are_described() {
    let image = Image::new();
    let mut build = Build::new(&image, json!([]));
    build.linux = json!({"devices": [
        {"path": "/dev/disk/a", "type": "b", "major": 8, "minor": 300, "fileMode": 0o640,
         "uid": 5, "gid": 6},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600, "uid": 1},
        {"path": "/dev/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o444},
        {"path": "/run/kmsg", "type": "u", "major": 1, "minor": 11},
    ]});
    let seen = build.see(|| {
        ["/dev/disk/a", "/dev/pipe", "/dev/zero", "/run/kmsg"]
            .map(describe)
            .join(", ")
    });
    // Minor numbers above 255 continue above the major one.
    let disk = 8 << 8 | (300 & 0xff) | (300 & !0xff) << 12;
    assert_eq!(
        seen,
        format!("60640 {disk} 5:6, 10600 0 1:0, 20444 261 0:0, 20666 267 0:0")
    );
}

#[test]
fn what_an_image_brings_is_kept_if_it_is_right() {
    for kernel in KERNELS {
        let image = Image::new();
        let make = |name: &str, minor| {
            let mode = Mode::from_raw_mode(0o600);
            let device = rustix::fs::makedev(1, minor);
            let path = image.path(name);
            rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, mode, device).unwrap();
        };
        make("dev/null", 3);
        // Another device, and a file, in the place of one.
        make("dev/zero", 11);
        put(&image.path("dev/full"), "");
        image.link("dev/ptmx", "pts/ptmx");
        image.link("dev/fd", "/elsewhere");
        let mut build = Build::new(&image, json!([]));
        build.kernel = kernel;
        let seen = build.see(|| {
            let nodes = ["/dev/null", "/dev/zero", "/dev/full"];
            let nodes = nodes.map(|path| fs::symlink_metadata(path).unwrap());
            let nodes = nodes.map(|node| format!("{:o} {}", node.mode() & 0o170777, node.rdev()));
            let link = |path| fs::read_link(path).unwrap().display().to_string();
            format!(
                "{} {} {}",
                nodes.join(" "),
                link("/dev/ptmx"),
                link("/dev/fd")
            )
        });
        let expected = "20600 259 20666 261 20666 263 pts/ptmx /elsewhere";
        assert_eq!(seen, expected, "{kernel:?}");
    }
}

#[test]
fn a_link_or_directory_is_not_taken_for_a_device() {
    let image = Image::new();
    image.link("dev/zero", image.outside().join("x"));
    Build::new(&image, json!([])).fails("\"/dev/zero\": something else is in its place");
    let image = Image::new();
    fs::create_dir(image.path("dev/zero")).unwrap();
    Build::new(&image, json!([])).fails("\"/dev/zero\": something else is in its place");
    image.assert_untouched_outside();
}

#[test]
fn the_multiplexer_is_the_containers_unless_something_is_mounted_there() {
    let image = Image::new();
    put(&image.path("dev/ptmx"), "a file of the image");
    let seen = Build::new(&image, json!([]))
        .see(|| fs::read_link("/dev/ptmx").unwrap().display().to_string());
    assert_eq!(seen, "pts/ptmx");
    let image = Image::new();
    image.source("source");
    let mount = json!({"destination": "/dev/ptmx", "source": "source/file", "options": ["bind"]});
    assert_eq!(
        Build::new(&image, json!([mount])).see(|| read("/dev/ptmx")),
        "source"
    );
}

#[test]
fn in_a_user_namespace_devices_are_the_hosts() {
    for kernel in KERNELS {
        let image = Image::new();
        image.give();
        let tmpfs = json!({"destination": "/dev", "type": "tmpfs", "options": ["nosuid"]});
        let mut build = Build::new(&image, json!([tmpfs]));
        build.kernel = kernel;
        build.linux = json!({"namespaces": [{"type": "user"}], "devices": [
            {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
            {"path": "/dev/other", "type": "c", "major": 1, "minor": 5}]});
        let said = in_user_namespace(|| {
            build
                .build()
                .map_or_else(|error| error, |()| "built".to_owned())
        });
        let has_list = fs::exists("/dev/char/1:5").unwrap();
        let expected = match has_list {
            true => "built",
            false => "cannot make \"/dev/other\": the host has no such device there",
        };
        assert_eq!(said, expected, "{kernel:?}");
        let mut build = Build::new(&image, json!([tmpfs]));
        build.kernel = kernel;
        build.linux = json!({"namespaces": [{"type": "user"}]});
        let seen = in_user_namespace(|| {
            build.build().unwrap();
            let null = fs::symlink_metadata("/dev/null").unwrap();
            let link = fs::read_link("/dev/ptmx").unwrap();
            format!("{} {} {}", null.rdev(), link.display(), write("/dev/null"))
        });
        assert_eq!(seen, "259 pts/ptmx written", "{kernel:?}");
    }
}

#[test]
fn devices_that_must_not_be_made_are_the_hosts() {
    for kernel in KERNELS {
        let image = Image::new();
        let mut build = Build::new(&image, json!([]));
        build.kernel = kernel;
        build.linux = json!({"devices": [
            {"path": "/dev/zero", "type": "c", "major": 1, "minor": 3}]});
        build.prepare = Box::new(|| {
            let mut sets = rustix::thread::capabilities(None).unwrap();
            sets.effective.remove(rustix::thread::CapabilitySet::MKNOD);
            rustix::thread::set_capabilities(None, sets).unwrap();
        });
        let has_list = fs::exists("/dev/char/1:3").unwrap();
        let said = crate::child::in_child(|| match build.build() {
            Ok(()) => fs::metadata("/dev/zero").unwrap().rdev().to_string(),
            Err(error) => error,
        });
        // The host's node there is another device.
        let other = "cannot make \"/dev/zero\": the host has no such device there";
        assert_eq!(said, if has_list { "259" } else { other }, "{kernel:?}");
    }
}

/// Makes a container with a devpts and gives it a console.
fn with_console(image: &Image, kernel: Kernel, prepare: impl FnOnce(), foreign: bool) -> String {
    let mounts = json!([proc(), {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
        "options": ["newinstance", "ptmxmode=0666"]}]);
    let mut build = Build::new(image, mounts);
    build.kernel = kernel;
    crate::child::in_child(|| {
        prepare();
        build.build().unwrap();
        let (_master, slave) = match foreign {
            false => terminal(),
            true => (open("/dev/null"), open("/dev/null")),
        };
        match console(slave.as_fd()) {
            Ok(()) => {
                let (console, slave) = (fs::metadata("/dev/console").unwrap(), slave);
                let slave = rustix::fs::fstat(slave).unwrap();
                format!(
                    "{}",
                    (console.dev(), console.ino()) == (slave.st_dev, slave.st_ino)
                )
            }
            Err(error) => base::failure::chain(&error),
        }
    })
}

fn open(path: &str) -> OwnedFd {
    let flags = OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).unwrap()
}

fn terminal() -> (OwnedFd, OwnedFd) {
    use rustix::pty::{OpenptFlags, ioctl_tiocgptpeer, unlockpt};
    let master = open("/dev/pts/ptmx");
    unlockpt(&master).unwrap();
    let slave = ioctl_tiocgptpeer(&master, OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    (master, slave)
}

#[test]
fn the_console_is_the_containers_terminal() {
    for kernel in KERNELS {
        let image = Image::new();
        assert_eq!(
            with_console(&image, kernel, || (), false),
            "true",
            "{kernel:?}"
        );
        // Again, over what is there.
        assert_eq!(
            with_console(&image, kernel, || (), false),
            "true",
            "{kernel:?}"
        );
        let image = Image::new();
        let node = image.path("dev/console");
        let mode = Mode::from_raw_mode(0o600);
        let host = rustix::fs::makedev(5, 1);
        rustix::fs::mknodat(CWD, node, FileType::CharacterDevice, mode, host).unwrap();
        assert_eq!(
            with_console(&image, kernel, || (), false),
            "true",
            "{kernel:?}"
        );
        let said = with_console(&image, kernel, || (), true);
        assert!(said.contains("not a pseudoterminal"), "{said}");
    }
}

/// CVE-2025-52565: what is bound must be bound on the console, not on what an
/// image's link points to.
#[test]
fn a_console_that_is_a_link_is_refused() {
    for kernel in KERNELS {
        for target in ["/proc/sysrq-trigger", "/etc/target", "/absent"] {
            let image = Image::new();
            put(&image.path("etc/target"), "");
            image.link("dev/console", target);
            let said = with_console(&image, kernel, || (), false);
            assert!(
                said.contains("something else is in its place"),
                "{kernel:?}: {said}"
            );
            assert!(!image.path("absent").exists());
        }
    }
}

#[test]
fn a_dev_of_the_host_is_left_alone() {
    for kernel in KERNELS {
        let image = Image::new();
        let foreign: Value =
            json!({"destination": "/dev", "source": "outside", "options": ["rbind"]});
        let mut build = Build::new(&image, json!([foreign]));
        build.kernel = kernel;
        build.linux = json!({"devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}]});
        let seen = build.see(|| fs::read_dir("/dev").unwrap().count().to_string());
        assert_eq!(seen, "0", "{kernel:?}");
        image.assert_untouched_outside();
    }
}

#[test]
fn nodes_are_made_in_a_mount_on_dev() {
    let image = Image::new();
    let path = image.path("dev");
    let mut build = Build::new(&image, json!([]));
    build.prepare = Box::new(move || tmpfs(&path, rustix::mount::MountFlags::empty()));
    assert_eq!(build.see(|| describe("/dev/null")), "20666 259 0:0");
}
