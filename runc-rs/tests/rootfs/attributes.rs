//! Attributes of bind mounts: what is asked, what is kept, what is locked.

use std::path::PathBuf;

use rustix::mount::MountFlags;
use serde_json::{Value, json};

use crate::build::{Build, Image, KERNELS, Kernel, give, options, proc, put, tmpfs, write};
use crate::child::{in_child, in_user_namespace};

/// A tmpfs on the host, whose mount has these options.
fn host_mount(path: PathBuf, flags: MountFlags) -> Box<dyn FnMut()> {
    Box::new(move || {
        tmpfs(&path, MountFlags::STRICTATIME);
        put(&path.join("file"), "x");
        give(&path);
        rustix::mount::mount_remount(&path, MountFlags::BIND | flags, "").unwrap();
    })
}

fn bind(options: &[&str]) -> Value {
    json!({"destination": "/mnt", "source": "source", "options": options})
}

/// Returns the attributes of a bind of a mount with the attributes `flags`.
#[track_caller]
fn bound(flags: MountFlags, asked: &[&str], kernel: Kernel) -> String {
    let image = Image::new();
    let mut build = Build::new(&image, json!([proc(), bind(asked)]));
    build.prepare = host_mount(image.bundle().join("source"), flags);
    build.kernel = kernel;
    build.see(|| options("/mnt"))
}

/// The same in a user namespace, where attributes are locked; or the error.
#[track_caller]
fn bound_locked(flags: MountFlags, asked: &[&str], kernel: Kernel) -> String {
    let image = Image::new();
    image.give();
    let mount = in_namespace_of_host(&image, flags);
    let outside = json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]});
    let mut build = Build::new(&image, json!([outside, bind(asked)]));
    build.linux = json!({"namespaces": [{"type": "user"}]});
    build.kernel = kernel;
    let seen = in_user_namespace(|| match build.build() {
        Ok(()) => options("/mnt"),
        Err(error) => error,
    });
    drop(mount);
    seen
}

/// A mount of this process, unmounted in the end.
struct HostMount(PathBuf);

fn in_namespace_of_host(image: &Image, flags: MountFlags) -> HostMount {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    crate::build::separate();
    let path = image.bundle().join("source");
    host_mount(path.clone(), flags)();
    HostMount(path)
}

impl Drop for HostMount {
    fn drop(&mut self) {
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).unwrap();
    }
}

const RESTRICTED: MountFlags = MountFlags::NOSUID
    .union(MountFlags::NODEV)
    .union(MountFlags::NOEXEC)
    .union(MountFlags::NOATIME);

#[test]
fn a_bind_without_attributes_keeps_its_sources() {
    let flags = MountFlags::RDONLY | MountFlags::NOEXEC | MountFlags::NODIRATIME;
    for kernel in KERNELS {
        let expected = "ro,noexec,nodiratime,relatime";
        assert_eq!(bound(flags, &["bind"], kernel), expected, "{kernel:?}");
        assert_eq!(
            bound(flags, &["rbind", "rprivate"], kernel),
            expected,
            "{kernel:?}"
        );
    }
}

#[test]
fn a_bind_with_attributes_has_those_and_its_sources_times() {
    for kernel in KERNELS {
        let of = |flags, asked: &[&str]| bound(flags, asked, kernel);
        assert_eq!(of(RESTRICTED, &["bind", "ro"]), "ro,noatime", "{kernel:?}");
        assert_eq!(of(RESTRICTED, &["bind", "atime", "dev"]), "rw,noatime");
        assert_eq!(of(MountFlags::RDONLY, &["bind", "nosuid"]), "rw,nosuid");
        assert_eq!(of(MountFlags::RDONLY, &["bind", "rw"]), "rw");
        assert_eq!(
            of(MountFlags::NOATIME, &["bind", "relatime"]),
            "rw,relatime"
        );
        assert_eq!(
            of(MountFlags::NOATIME, &["bind", "nodiratime"]),
            "rw,nodiratime,relatime"
        );
        assert_eq!(of(MountFlags::NODIRATIME, &["bind", "strictatime"]), "rw");
        assert_eq!(
            of(MountFlags::NODIRATIME, &["bind", "diratime"]),
            "rw,nodiratime,relatime"
        );
        assert_eq!(of(MountFlags::NOSYMFOLLOW, &["bind", "ro"]), "ro");
        assert_eq!(
            of(MountFlags::empty(), &["bind", "nosymfollow"]),
            "rw,nosymfollow"
        );
    }
}

#[test]
fn attributes_locked_in_a_user_namespace_stay() {
    for kernel in KERNELS {
        let of = |flags, asked: &[&str]| bound_locked(flags, asked, kernel);
        let all = "ro,nosuid,nodev,noexec,noatime";
        assert_eq!(of(RESTRICTED, &["bind", "ro"]), all, "{kernel:?}");
        assert_eq!(of(MountFlags::RDONLY, &["bind", "nosuid"]), "ro,nosuid");
        assert_eq!(of(MountFlags::RDONLY, &["bind"]), "ro");
        let nosymlink = MountFlags::NOSYMFOLLOW | MountFlags::NODEV;
        assert_eq!(of(nosymlink, &["bind", "ro", "symfollow"]), "ro,nodev");
        assert_eq!(of(MountFlags::NOATIME, &["bind", "atime"]), "rw,noatime");
    }
}

#[test]
fn what_is_locked_cannot_be_asked_away() {
    for kernel in KERNELS {
        let fails = |flags, asked: &[&str], text: &str| {
            let said = bound_locked(flags, asked, kernel);
            assert!(said.contains(text), "{kernel:?}: {said:?} lacks {text:?}");
        };
        fails(
            MountFlags::RDONLY,
            &["bind", "rw"],
            "locked flags ro: Operation not permitted",
        );
        fails(
            RESTRICTED,
            &["bind", "dev", "suid"],
            "locked flags nosuid,nodev",
        );
        for (has, asked) in [
            (MountFlags::RELATIME, "strictatime"),
            (MountFlags::NOATIME, "relatime"),
            (MountFlags::STRICTATIME, "relatime"),
            (MountFlags::RELATIME, "nodiratime"),
        ] {
            fails(has, &["bind", asked], "locked flags");
        }
    }
}

#[test]
fn a_tree_is_read_only_to_the_bottom_when_asked() {
    let seen = |asked: &[&str], kernel| {
        let image = Image::new();
        let source = image.bundle().join("source");
        let mut build = Build::new(&image, json!([proc(), bind(asked)]));
        build.kernel = kernel;
        build.prepare = Box::new(move || {
            tmpfs(&source, MountFlags::empty());
            tmpfs(&source.join("below"), MountFlags::empty());
        });
        in_child(|| match build.build() {
            Ok(()) => format!("{} {}", write("/mnt/x"), write("/mnt/below/x")),
            Err(error) => error,
        })
    };
    let read_only = "Read-only file system (os error 30)";
    for asked in [&["rbind", "rro"][..], &["rbind", "ro", "rro"]] {
        assert_eq!(
            seen(asked, Kernel::Todays),
            format!("{read_only} {read_only}")
        );
    }
    for kernel in KERNELS {
        assert_eq!(
            seen(&["rbind", "ro"], kernel),
            format!("{read_only} written")
        );
    }
    for kernel in [Kernel::Old, Kernel::WithoutAttributes] {
        assert!(seen(&["rbind", "rro"], kernel).contains("a recursive attribute needs Linux 5.12"));
    }
}

#[test]
fn every_recursive_option_reaches_the_bottom() {
    let of = |option: &'static str| {
        let image = Image::new();
        let source = image.bundle().join("source");
        let mount =
            json!({"destination": "/mnt", "source": "source", "options": ["rbind", option]});
        let mut build = Build::new(&image, json!([proc(), mount]));
        build.prepare = Box::new(move || {
            tmpfs(&source, MountFlags::NOSUID | MountFlags::NOATIME);
            tmpfs(
                &source.join("below"),
                MountFlags::NODEV | MountFlags::NODIRATIME,
            );
        });
        build.see(|| format!("{} {}", options("/mnt"), options("/mnt/below")))
    };
    for (option, expected) in [
        (
            "rnoexec",
            "rw,nosuid,noexec,noatime rw,nodev,noexec,nodiratime,relatime",
        ),
        ("rsuid", "rw,noatime rw,nodev,nodiratime,relatime"),
        ("rdev", "rw,nosuid,noatime rw,nodiratime,relatime"),
        ("ratime", "rw,nosuid,relatime rw,nodev,nodiratime,relatime"),
        ("rnoatime", "rw,nosuid,noatime rw,nodev,noatime,nodiratime"),
        ("rstrictatime", "rw,nosuid rw,nodev,nodiratime"),
        (
            "rnostrictatime",
            "rw,nosuid,relatime rw,nodev,nodiratime,relatime",
        ),
        (
            "rrelatime",
            "rw,nosuid,relatime rw,nodev,nodiratime,relatime",
        ),
        ("rdiratime", "rw,nosuid,noatime rw,nodev,relatime"),
        (
            "rnosymfollow",
            "rw,nosuid,noatime,nosymfollow rw,nodev,nodiratime,relatime,nosymfollow",
        ),
    ] {
        assert_eq!(of(option), expected, "{option}");
    }
}

#[test]
fn new_file_systems_have_the_attributes_and_flags_they_are_given() {
    for kernel in KERNELS {
        let image = Image::new();
        let mount = json!({"destination": "/t", "type": "tmpfs", "source": "t", "options":
            ["nosuid", "nodev", "noexec", "noatime", "nodiratime", "sync", "dirsync", "mode=700"]});
        let mut build = Build::new(&image, json!([proc(), mount]));
        build.kernel = kernel;
        let seen = build.see(|| crate::build::mounted("/t").concat());
        let expected =
            "rw,nosuid,nodev,noexec,noatime,nodiratime - tmpfs t rw,sync,dirsync,mode=700";
        assert!(seen.starts_with(expected), "{kernel:?}: {seen}");
    }
}
