//! A container as engines ask for it, on kernels of every age.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Mutex;

use nix::sched::{CloneFlags, unshare};
use runc_rs::create::RootSwitch;
use rustix::mount::MountFlags;
use serde_json::{Value, json};

use crate::build::{
    Build, Image, KERNELS, Kernel, mounted, options, proc, put, read, tmpfs, write,
};
use crate::child::{in_child, in_user_namespace};

fn usual_mounts() -> Value {
    json!([
        proc(),
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts", "options":
         ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]},
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm",
         "options": ["nosuid", "noexec", "nodev", "mode=1777", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue",
         "options": ["nosuid", "noexec", "nodev"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs",
         "options": ["nosuid", "noexec", "nodev", "ro"]}
    ])
}

#[test]
fn everything_is_where_it_should_be() {
    for kernel in KERNELS {
        let image = Image::new();
        put(&image.path("etc/secret"), "secret");
        fs::create_dir_all(image.path("masked/below")).unwrap();
        fs::create_dir_all(image.path("masked2")).unwrap();
        let mut build = Build::new(&image, usual_mounts());
        build.kernel = kernel;
        build.read_only = true;
        build.linux = json!({
            "maskedPaths": ["/proc/version", "/masked", "/masked2", "/etc/secret", "/absent",
                            "/etc/secret/below"],
            "readonlyPaths": ["/proc/sys", "/proc/absent", "/dev/shm"],
        });
        let seen = build.see(|| {
            assert_eq!(std::env::current_dir().unwrap().to_str(), Some("/"));
            assert_eq!(options("/"), "ro,relatime");
            assert_eq!(options("/dev"), "rw,nosuid");
            assert_eq!(options("/dev/pts"), "rw,nosuid,noexec,relatime");
            assert_eq!(options("/dev/mqueue"), "rw,nosuid,nodev,noexec,relatime");
            assert_eq!(options("/sys"), "ro,nosuid,nodev,noexec,relatime");
            assert_eq!(options("/proc/sys"), "ro,relatime");
            assert_eq!(mounted("/dev/shm").len(), 2);
            assert!(mounted("/dev/shm")[1].starts_with("ro,nosuid,nodev,noexec"));
            assert_eq!(read("/proc/version"), "");
            assert_eq!(read("/etc/secret"), "");
            assert_eq!(fs::read_dir("/masked").unwrap().count(), 0);
            let device = |path: &str| fs::metadata(path).unwrap().dev();
            assert_eq!(device("/masked"), device("/masked2"));
            assert!(write("/masked/x").contains("Read-only"));
            assert!(write("/etc/x").contains("Read-only"));
            assert_eq!(write("/dev/x"), "written");
            write("/dev/null")
        });
        assert_eq!(seen, "written", "{kernel:?}");
    }
}

#[test]
fn devices_and_links_are_complete() {
    for kernel in KERNELS {
        let image = Image::new();
        let mut build = Build::new(&image, usual_mounts());
        build.kernel = kernel;
        let seen = build.see(|| {
            let nodes = ["null", "zero", "full", "random", "urandom", "tty"];
            let nodes = nodes.map(|name| {
                let found = fs::symlink_metadata(format!("/dev/{name}")).unwrap();
                format!("{:o} {}", found.mode(), found.rdev())
            });
            let links = ["fd", "stdin", "stdout", "stderr", "core", "ptmx"];
            let links = links.map(|name| {
                let target = fs::read_link(format!("/dev/{name}")).unwrap();
                target.to_str().unwrap().to_owned()
            });
            format!("{} {}", nodes.join(" "), links.join(" "))
        });
        let number = |major: u64, minor: u64| format!("20666 {}", major * 256 + minor);
        let nodes = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0)];
        let nodes = nodes.map(|(major, minor)| number(major, minor)).join(" ");
        let links = "/proc/self/fd /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2 /proc/kcore \
            pts/ptmx";
        assert_eq!(seen, format!("{nodes} {links}"), "{kernel:?}");
    }
}

#[test]
fn nothing_of_the_host_is_left_in_the_namespace() {
    for kernel in KERNELS {
        let image = Image::new();
        let mut build = Build::new(&image, json!([proc()]));
        build.kernel = kernel;
        let seen = build.see(|| read("/proc/self/mountinfo"));
        let points: Vec<_> = seen
            .lines()
            .filter_map(|line| line.split(' ').nth(4))
            .collect();
        assert_eq!(points, ["/", "/proc"], "{kernel:?}");
    }
}

#[test]
fn hooks_come_in_their_order_and_see_the_host() {
    let image = Image::new();
    let order = Mutex::new(Vec::new());
    let seen = in_child(|| {
        let mounts = json!([proc(), {"destination": "/cg", "type": "cgroup2", "source": "cgroup"},
            {"destination": "/late", "type": "tmpfs"}]);
        let mut build = Build::new(&image, mounts);
        let point = |name: &str| mounted(image.path(name).to_str().unwrap()).len();
        build.cgroup_ready = Box::new(|| {
            let state = format!("cgroup: {} {}", point("proc"), point("cg"));
            order.lock().unwrap().push(state);
        });
        build.before_pivot = Box::new(|| {
            let state = format!("pivot: {} {} {}", point("proc"), point("cg"), point("late"));
            order.lock().unwrap().push(state);
            let device = fs::metadata(image.path("dev/null")).unwrap();
            order.lock().unwrap().push(device.rdev().to_string());
        });
        build.build().unwrap();
        order.lock().unwrap().join(", ")
    });
    assert_eq!(seen, "cgroup: 1 0, pivot: 1 1 1, 259");
}

#[test]
fn a_root_that_cannot_be_pivoted_to_is_moved() {
    for kernel in KERNELS {
        let image = Image::new();
        let mut build = Build::new(&image, json!([proc()]));
        build.root_switch = RootSwitch::MoveMount;
        build.kernel = kernel;
        let outside = image.outside();
        let seen = build.see(|| {
            assert!(!outside.exists());
            let table = read("/proc/self/mountinfo");
            let full = |line: &&str| line.contains(" - proc ") || line.contains(" - sysfs ");
            let lines: Vec<_> = table.lines().filter(full).collect();
            format!("{}", lines.len())
        });
        assert_eq!(seen, "1", "{kernel:?}");
    }
}

/// With the host's proc still in the namespace, the kernel would let a process
/// of the container mount one without masks, in a user namespace of its own.
#[test]
fn a_moved_root_lets_nobody_mount_a_proc_without_masks() {
    for kernel in KERNELS {
        let image = Image::new();
        let mut build = Build::new(&image, json!([proc()]));
        build.root_switch = RootSwitch::MoveMount;
        build.kernel = kernel;
        build.linux = json!({"maskedPaths": ["/proc/version"]});
        let seen = build.see(|| {
            let all =
                CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID;
            unshare(all).unwrap();
            // A process of the new namespace; this one only makes them.
            in_child(|| {
                let flags = MountFlags::empty();
                format!(
                    "{:?}",
                    rustix::mount::mount("proc", "/proc", "proc", flags, c"")
                )
            })
        });
        assert!(
            seen.contains(&format!("{:?}", rustix::io::Errno::PERM)),
            "{kernel:?}: {seen}"
        );
    }
}

#[test]
fn root_of_a_user_namespace_can_build_as_well() {
    for kernel in KERNELS {
        for root_switch in [RootSwitch::PivotRoot, RootSwitch::MoveMount] {
            let image = Image::new();
            put(&image.path("etc/secret"), "secret");
            for name in ["masked", "masked2"] {
                fs::create_dir(image.path(name)).unwrap();
            }
            image.give();
            let outside = json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]});
            let mut build = Build::new(
                &image,
                json!([outside, {"destination": "/dev", "type": "tmpfs", "options": ["ro"]},
                    {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
                     "options": ["newinstance", "ptmxmode=0666"]}]),
            );
            build.kernel = kernel;
            build.root_switch = root_switch;
            build.read_only = true;
            build.linux = json!({"namespaces": [{"type": "user"}],
                "maskedPaths": ["/etc/secret", "/masked", "/masked2", "/proc/version"],
                "readonlyPaths": ["/proc/sys", "/tmp"]});
            let host = image.outside();
            let seen = in_user_namespace(|| {
                build.build().unwrap();
                assert!(!host.exists());
                assert!(options("/").starts_with("ro,"));
                assert!(options("/dev").starts_with("ro,"));
                assert!(options("/proc/sys").starts_with("ro,"));
                assert!(options("/masked2").starts_with("ro,"));
                assert!(write("/tmp/x").contains("Read-only"));
                assert_eq!(read("/proc/version"), "");
                read("/etc/secret") + &write("/dev/null")
            });
            assert_eq!(seen, "written", "{kernel:?} {root_switch:?}");
        }
    }
}

#[test]
fn a_root_filesystem_that_is_a_shared_mount_can_be_the_root() {
    for kernel in KERNELS {
        let image = Image::new();
        let root = image.path("");
        let mut build = Build::new(&image, json!([proc()]));
        build.kernel = kernel;
        build.prepare = Box::new(move || {
            tmpfs(&root, MountFlags::NOSUID);
            for name in ["proc", "dev"] {
                fs::create_dir(root.join(name)).unwrap();
            }
            let shared = rustix::mount::MountPropagationFlags::SHARED;
            rustix::mount::mount_change("/", shared | rustix::mount::MountPropagationFlags::REC)
                .unwrap();
        });
        let seen = build.see(|| mounted("/").concat());
        assert!(
            seen.starts_with("rw,nosuid,relatime - tmpfs"),
            "{kernel:?}: {seen}"
        );
    }
}

#[test]
fn the_callers_file_mode_mask_is_put_back() {
    let image = Image::new();
    let seen = in_child(|| {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
        let build = Build::new(
            &image,
            json!([proc(), {"destination": "/a/b", "type": "tmpfs"}]),
        );
        build.build().unwrap();
        let mode = |path: &str| fs::metadata(path).unwrap().mode() & 0o7777;
        let mask = rustix::process::umask(rustix::fs::Mode::empty());
        format!(
            "{:o} {:o} {:o}",
            mode("/a"),
            mode("/a/b"),
            mask.as_raw_mode()
        )
    });
    assert_eq!(seen, "755 1777 77");
}

#[test]
fn errors_name_the_mount_and_what_the_kernel_said() {
    let image = Image::new();
    let fails = |mount: Value, kernel, text| {
        let mut build = Build::new(&image, json!([mount]));
        build.kernel = kernel;
        build.fails(text);
    };
    let todays = Kernel::Todays;
    fails(
        json!({"destination": "/a", "type": "tmpfs", "options": ["size=lots"]}),
        todays,
        "error mounting \"/a\": the kernel refuses option \"size=lots\" (tmpfs: Bad value for 'size'): \
         Invalid argument",
    );
    fails(
        json!({"destination": "/a", "type": "nofs"}),
        todays,
        "a file system of type \"nofs\": No such device",
    );
    fails(
        json!({"destination": "/a", "type": "nofs"}),
        Kernel::Old,
        "a file system of type \"nofs\": No such device",
    );
    for kernel in KERNELS {
        fails(
            json!({"destination": "/a", "source": "gone", "options": ["bind"]}),
            kernel,
            "error mounting \"/a\": cannot open source",
        );
    }
}
