//! What mounts show: binds in their order, and file systems of all kinds.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::path::Path;

use rustix::mount::MountFlags;
use serde_json::json;

use crate::build::{Build, Image, KERNELS, mounted, options, owned, proc, put, read, tmpfs, write};

#[test]
fn files_and_directories_are_bound_on_what_is_there_or_made() {
    for kernel in KERNELS {
        let image = Image::new();
        let source = image.source("source");
        image.link("etc/hosts", "/jump/hosts");
        image.link("jump", "/tmp/far");
        symlink(&source, image.bundle().join("linked")).unwrap();
        let file = source.join("file");
        let mut build = Build::new(
            &image,
            json!([
                {"destination": "/etc/hosts", "source": file, "options": ["bind"]},
                {"destination": "/new/place", "source": "linked", "options": ["rbind"]},
                {"destination": "/new/file", "type": "bind", "source": "source/file"},
                {"destination": image.path("below"), "source": "source", "options": ["bind"]},
            ]),
        );
        build.kernel = kernel;
        let seen = build.see(|| {
            let paths = [
                "/tmp/far/hosts",
                "/new/place/file",
                "/new/file",
                "/below/file",
            ];
            paths.map(read).join(" ")
        });
        assert_eq!(seen, "source source source source", "{kernel:?}");
        let mode = |name: &str| fs::metadata(image.path(name)).unwrap().mode() & 0o7777;
        assert_eq!((mode("new/file"), mode("new/place")), (0o644, 0o755));
    }
}

#[test]
fn a_source_may_be_what_an_earlier_mount_brought() {
    for kernel in KERNELS {
        let image = Image::new();
        for name in ["a/x", "b/y", "c/z"] {
            put(&image.source(name).join("file"), name);
        }
        let bind = |source: String, destination: String| json!({"destination": destination, "source": source, "options": ["rbind", "rprivate"]});
        let own = |name: &str| image.path(name).to_str().unwrap().to_owned();
        let host = |name: &str| image.bundle().join(name).to_str().unwrap().to_owned();
        let mut build = Build::new(
            &image,
            json!([
                bind(host("a"), "/mnt".into()),
                bind(host("b"), "/mnt/x".into()),
                bind(host("c"), "/mnt/x/y".into()),
                bind(host("a"), "/mnt/x/y/z".into()),
                bind(own("mnt/x"), own("mnt/x/y/z/x")),
                bind(own("mnt"), own("final")),
            ]),
        );
        build.kernel = kernel;
        let seen = build.see(|| read("/final/x/y/z/x/y/z/x/file"));
        assert_eq!(seen, "a/x", "{kernel:?}");
    }
}

#[test]
fn only_a_recursive_bind_brings_what_is_mounted_below() {
    for kernel in KERNELS {
        let image = Image::new();
        let source = image.source("tree");
        let below = source.join("below");
        let mut build = Build::new(
            &image,
            json!([
                {"destination": "/one", "source": "tree", "options": ["bind"]},
                {"destination": "/all", "source": "tree", "options": ["rbind"]},
            ]),
        );
        build.kernel = kernel;
        build.prepare = Box::new(move || {
            tmpfs(&below, MountFlags::empty());
            put(&below.join("deep"), "deep");
        });
        let seen = build.see(|| format!("{} {}", read("/all/below/deep"), read("/one/below/deep")));
        assert_eq!(
            seen, "deep No such file or directory (os error 2)",
            "{kernel:?}"
        );
    }
}

#[test]
fn a_tmpfs_has_the_mode_of_the_directory_it_hides() {
    for kernel in KERNELS {
        let image = Image::new();
        fs::create_dir(image.path("kept")).unwrap();
        fs::set_permissions(image.path("kept"), fs::Permissions::from_mode(0o710)).unwrap();
        let tmpfs = |destination: &str, options: &[&str]| json!({"destination": destination, "type": "tmpfs", "source": "tmpfs", "options": options});
        let mut build = Build::new(
            &image,
            json!([
                tmpfs("/kept", &["nodev"]),
                tmpfs("/kept2", &[]),
                tmpfs("/given", &["mode=1500"]),
            ]),
        );
        build.kernel = kernel;
        let seen = build.see(|| {
            let mode = |path: &str| fs::metadata(path).unwrap().mode() & 0o7777;
            ["/kept", "/kept2", "/given"]
                .map(|path| format!("{:o}", mode(path)))
                .join(" ")
        });
        assert_eq!(seen, "710 1777 1500", "{kernel:?}");
        let kept = fs::metadata(image.path("kept")).unwrap();
        assert_eq!(kept.mode() & 0o7777, 0o710);
    }
}

#[test]
fn a_read_only_tmpfs_is_that_only_in_the_end() {
    for kernel in KERNELS {
        let image = Image::new();
        image.source("source");
        let mut build = Build::new(
            &image,
            json!([
                proc(),
                {"destination": "/t", "type": "tmpfs", "options": ["ro", "nosuid"]},
                {"destination": "/t/below", "source": "source", "options": ["bind"]},
                {"destination": "/dev", "type": "tmpfs", "options": ["ro", "noexec"]},
            ]),
        );
        build.kernel = kernel;
        let seen = build.see(|| {
            assert_eq!(options("/dev"), "ro,noexec,relatime");
            format!(
                "{} {} {}",
                options("/t"),
                read("/t/below/file"),
                write("/t/x")
            )
        });
        let expected = "ro,nosuid,relatime source Read-only file system (os error 30)";
        assert_eq!(seen, expected, "{kernel:?}");
    }
}

#[test]
fn a_tmpfs_can_begin_with_what_it_hides() {
    for kernel in KERNELS {
        let image = Image::new();
        let hidden = image.path("var");
        fs::create_dir_all(hidden.join("open/deep")).unwrap();
        put(&hidden.join("open/deep/file"), "text");
        fs::set_permissions(hidden.join("open"), fs::Permissions::from_mode(0o1777)).unwrap();
        let file = hidden.join("open/deep/file");
        owned(&file, 7, 8);
        fs::set_permissions(&file, fs::Permissions::from_mode(0o4751)).unwrap();
        symlink("/etc/shadow", hidden.join("link")).unwrap();
        let pipe = hidden.join("pipe");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &pipe,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o600),
            0,
        )
        .unwrap();
        let time = fs::metadata(&file).unwrap().modified().unwrap();
        let mount = json!({"destination": "/var", "type": "tmpfs", "source": "tmpfs",
            "options": ["tmpcopyup", "ro", "nosuid"]});
        let mut build = Build::new(&image, json!([mount]));
        build.kernel = kernel;
        let seen = build.see(|| {
            let of = |path: &str| {
                let found = fs::symlink_metadata(path).unwrap();
                format!("{:o} {}:{}", found.mode(), found.uid(), found.gid())
            };
            let link = fs::read_link("/var/link").unwrap();
            let kept = fs::metadata("/var/open/deep/file")
                .unwrap()
                .modified()
                .unwrap()
                == time;
            let write = write("/var/x").contains("Read-only");
            let text = read("/var/open/deep/file");
            let paths = ["/var/open", "/var/open/deep/file", "/var/pipe"]
                .map(of)
                .join(" ");
            format!("{paths} {} {kept} {write} {text}", link.display())
        });
        assert_eq!(
            seen, "41777 0:0 104751 7:8 10600 0:0 /etc/shadow true true text",
            "{kernel:?}"
        );
    }
}

#[test]
fn directories_to_copy_up_have_a_limit() {
    let image = Image::new();
    let mut deep = image.path("var");
    for _ in 0..140 {
        deep.push("d");
    }
    fs::create_dir_all(deep).unwrap();
    let mount = json!({"destination": "/var", "type": "tmpfs", "options": ["tmpcopyup"]});
    Build::new(&image, json!([mount])).fails("nested too deep");
}

#[test]
fn other_file_systems_are_mounted_by_name() {
    for kernel in KERNELS {
        let image = Image::new();
        let long = "l".repeat(200);
        let lower = image.source(&long);
        let upper = image.source("upper");
        put(&lower.join("low"), "low");
        let work = image.bundle().join("work");
        fs::create_dir(&work).unwrap();
        let overlay = |lower: &Path| {
            let options = [
                ("lowerdir", lower),
                ("upperdir", &upper),
                ("workdir", &work),
            ];
            options.map(|(name, path)| format!("{name}={}", path.display()))
        };
        // The second lower directory is longer than a parameter can be.
        let both = format!("{}:{}", lower.display(), image.source("second").display());
        let mut build = Build::new(
            &image,
            json!([
                {"destination": "/o", "type": "overlay", "source": "overlay",
                 "options": overlay(Path::new(&both))},
                {"destination": "/ram", "type": "ramfs", "source": "ram", "options": ["mode=700,"]},
            ]),
        );
        build.kernel = kernel;
        let seen = build.see(|| format!("{} {}", read("/o/low"), read("/o/file")));
        assert_eq!(seen, "low upper", "{kernel:?}");
    }
}

#[test]
fn a_mount_can_be_changed_by_a_later_entry() {
    for kernel in KERNELS {
        let image = Image::new();
        let mut build = Build::new(
            &image,
            json!([
                proc(),
                {"destination": "/t", "type": "tmpfs", "source": "tmpfs"},
                {"destination": "/t", "type": "tmpfs", "options": ["remount", "noexec", "size=64k"]},
            ]),
        );
        build.kernel = kernel;
        let seen = build.see(|| mounted("/t").join("|"));
        assert!(
            seen.starts_with("rw,noexec,relatime - tmpfs tmpfs rw,size=64k"),
            "{seen}"
        );
    }
}
