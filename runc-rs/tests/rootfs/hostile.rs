//! Images and volumes that try to reach the host through the runtime, and
//! configurations that would deceive it. Each known attack has its number.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, symlink};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{CWD, RenameFlags, renameat_with};
use serde_json::{Value, json};

use crate::build::{Build, Image, KERNELS, mounted, proc, put, read};
use crate::child::in_child;

/// Rounds of each race.
const ROUNDS: usize = 60;

fn tmpfs(destination: &str) -> Value {
    json!({"destination": destination, "type": "tmpfs", "source": "tmpfs"})
}

fn bind(source: &str, destination: &str) -> Value {
    json!({"destination": destination, "source": source, "options": ["bind"]})
}

/// CVE-2026-41579, CVE-2026-47766: devices and links were made, and a file
/// called ptmx removed, where the image's `/dev` led on the host.
#[test]
fn a_dev_that_is_a_link_leads_to_a_place_in_the_container() {
    for kernel in KERNELS {
        for deep in [false, true] {
            let image = Image::new();
            let outside = image.outside();
            put(&outside.join("ptmx"), "the host's");
            match deep {
                true => image.link("dev", "../../../../../../outside"),
                false => image.link("dev", &outside),
            }
            let mut build = Build::new(&image, json!([proc()]));
            build.kernel = kernel;
            let seen = build.see(|| {
                let found = fs::metadata("/dev/null").unwrap();
                format!(
                    "{} {}",
                    found.rdev(),
                    fs::read_link("/dev/ptmx").unwrap().display()
                )
            });
            assert_eq!(seen, "259 pts/ptmx", "{kernel:?}");
            let left: Vec<_> = fs::read_dir(&outside)
                .unwrap()
                .map(|e| e.unwrap().file_name())
                .collect();
            assert_eq!(left, ["ptmx"], "{kernel:?}");
            assert_eq!(
                fs::read_to_string(outside.join("ptmx")).unwrap(),
                "the host's"
            );
        }
    }
}

#[test]
fn device_nodes_are_made_in_the_container_wherever_links_lead() {
    let image = Image::new();
    image.link("away", image.outside());
    image.link("climbs", "../../../../../../../../..");
    let mut build = Build::new(&image, json!([]));
    let inside = format!("/climbs{}/y", image.outside().display());
    build.linux = json!({"devices": [
        {"path": "/away/x", "type": "c", "major": 1, "minor": 3},
        {"path": inside, "type": "c", "major": 1, "minor": 5},
        {"path": "/../../../../z", "type": "p"},
    ]});
    let path = image.outside();
    let seen = build.see(|| {
        let nodes = [path.join("x"), path.join("y"), "/z".into()];
        nodes
            .map(|path| fs::metadata(path).unwrap().rdev().to_string())
            .join(" ")
    });
    assert_eq!(seen, "259 261 0");
    image.assert_untouched_outside();
}

#[test]
fn mount_points_are_made_and_mounted_in_the_container_wherever_links_lead() {
    for kernel in KERNELS {
        let image = Image::new();
        image.source("source");
        image.link("away", image.outside());
        image.link("climbs", "../../../../../../../../..");
        let outside = image.outside().display().to_string();
        let mut build = Build::new(
            &image,
            json!([
                bind("source", "/away/a"),
                tmpfs("/away/b"),
                bind("source/file", &format!("/climbs{outside}/c")),
                bind("source/file", "/../../../d"),
            ]),
        );
        build.kernel = kernel;
        let seen = build.see(|| {
            let files = [
                format!("{outside}/a/file"),
                format!("{outside}/c"),
                "/d".to_owned(),
            ];
            files.map(|file| read(&file)).join(" ")
        });
        assert_eq!(seen, "source source source", "{kernel:?}");
        image.assert_untouched_outside();
    }
}

/// CVE-2023-27561, CVE-2019-19921: with `/proc` or `/sys` a link, what is
/// masked is not what is mounted.
#[test]
fn proc_and_sys_are_mounted_on_directories_only() {
    for kernel in KERNELS {
        for (name, target) in [
            ("proc", "/tmp"),
            ("proc", "tmp"),
            ("sys", "/tmp"),
            ("proc", "/x"),
        ] {
            let image = Image::new();
            image.link(name, target);
            let kind = if name == "sys" { "sysfs" } else { name };
            let mount = json!({"destination": format!("/{name}"), "type": kind, "source": kind});
            let mut build = Build::new(&image, json!([mount]));
            build.kernel = kernel;
            build.fails("must be mounted on ordinary directory");
        }
        let image = Image::new();
        image.link("etc/up", "..");
        let mount = json!({"destination": "/etc/up/proc", "type": "proc", "source": "proc"});
        let mut build = Build::new(&image, json!([mount]));
        build.kernel = kernel;
        build.fails("must be mounted on ordinary directory");
        let image = Image::new();
        fs::remove_dir(image.path("proc")).unwrap();
        put(&image.path("proc"), "a file");
        Build::new(&image, json!([proc()])).fails("must be mounted on ordinary directory");
    }
}

/// CVE-2019-16884, CVE-2023-28642, CVE-2025-52881: nothing hides the container's
/// proc, or leads the runtime's writes to it (labels, sysctls) elsewhere, whatever way
/// the mount takes there.
#[test]
fn nothing_but_a_procfs_is_mounted_on_proc() {
    for kernel in KERNELS {
        let refused = |mounts: Value, links: &[(&str, &str)], text: &str| {
            let image = Image::new();
            image.source("source");
            for (name, target) in links {
                image.link(name, target);
            }
            let mut build = Build::new(&image, mounts);
            build.kernel = kernel;
            build.fails(text);
        };
        let only = "only a procfs can be mounted on /proc";
        refused(json!([tmpfs("/proc")]), &[], only);
        refused(json!([bind("source", "/proc")]), &[], only);
        refused(json!([proc(), tmpfs("/tmp/../proc")]), &[], only);
        refused(
            json!([proc(), bind("source", "/a")]),
            &[("a", "/proc")],
            only,
        );
        refused(json!([bind("source", "/a")]), &[("a", "proc")], only);
        let inside = "is inside /proc";
        refused(json!([proc(), tmpfs("/proc/sys")]), &[], inside);
        refused(
            json!([proc(), tmpfs("/a/attr")]),
            &[("a", "/proc/1")],
            inside,
        );
        refused(
            json!([proc(), bind("source/file", "/proc/self/attr/exec")]),
            &[],
            inside,
        );
        refused(
            json!([proc(), bind("source/file", "/proc/sys/kernel/core_pattern")]),
            &[],
            inside,
        );
        refused(json!([proc(), bind("/proc", "/proc/1")]), &[], inside);
        refused(
            json!([proc(), {"destination": "/proc/sys", "type": "proc", "source": "proc"}]),
            &[],
            inside,
        );
    }
}

#[test]
fn a_procfs_and_replaced_numbers_are_mounted_on_proc() {
    for kernel in KERNELS {
        let image = Image::new();
        image.source("source");
        let whole = json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]});
        let mut build = Build::new(&image, json!([whole, bind("source/file", "/proc/uptime")]));
        build.kernel = kernel;
        assert_eq!(build.see(|| read("/proc/uptime")), "source", "{kernel:?}");
    }
}

#[test]
fn a_mount_never_hides_the_root() {
    for kernel in KERNELS {
        let image = Image::new();
        image.source("source");
        image.link("self", "/");
        let mut build = Build::new(&image, json!([bind("source", "/self")]));
        build.kernel = kernel;
        build.fails("would hide the whole container");
    }
}

/// A magic link in a procfs of the container would lead to the host's root.
#[test]
fn magic_links_are_text() {
    for kernel in KERNELS {
        let image = Image::new();
        image.source("source");
        let target = format!("/proc/self/root{}/x", image.outside().display());
        let mut build = Build::new(&image, json!([proc(), bind("source/file", &target)]));
        build.kernel = kernel;
        let outside = image.outside().join("x");
        assert_eq!(
            build.see(|| read(outside.to_str().unwrap())),
            "source",
            "{kernel:?}"
        );
        image.assert_untouched_outside();
        let mut build = Build::new(&image, json!([proc()]));
        build.kernel = kernel;
        build.linux = json!({"devices": [{"path": format!("{target}/node"), "type": "p"}]});
        build.fails("Not a directory");
    }
}

#[test]
fn paths_are_masked_where_they_lead_in_the_container() {
    for kernel in KERNELS {
        let image = Image::new();
        put(&image.outside().join("secret"), "the host's");
        put(&image.path("etc/secret"), "secret");
        image.link("alias", "/etc/secret");
        image.link("away", image.outside());
        let mut build = Build::new(&image, json!([proc()]));
        build.kernel = kernel;
        build.linux = json!({"maskedPaths": ["/alias", "/away/secret", "/away"],
            "readonlyPaths": ["/away", "/tmp"]});
        let seen = build.see(|| format!("[{}] {}", read("/etc/secret"), mounted("/tmp").len()));
        assert_eq!(seen, "[] 1", "{kernel:?}");
        let kept = fs::read_to_string(image.outside().join("secret")).unwrap();
        assert_eq!(kept, "the host's");
    }
}

/// CVE-2025-31133: a null device of the image's making was bound over masked
/// paths, and showed and took what it was a link to.
#[test]
fn masks_are_made_of_the_null_device() {
    for kernel in KERNELS {
        let image = Image::new();
        put(&image.path("etc/masked"), "secret");
        let mounts = json!([proc(), bind("/proc/sys/kernel/core_pattern", "/dev/null")]);
        let mut build = Build::new(&image, mounts);
        build.kernel = kernel;
        build.linux = json!({"maskedPaths": ["/etc/masked"]});
        let said = in_child(|| match build.build() {
            Ok(()) => {
                let found = fs::metadata("/etc/masked").unwrap();
                format!("{} {}", found.rdev(), read("/etc/masked"))
            }
            Err(error) => error,
        });
        // Made in its own time, the node covers the file bound there.
        assert_eq!(said, "259 ", "{kernel:?}");
        let image = Image::new();
        image.link("dev/null", "/proc/sys/kernel/core_pattern");
        let mut build = Build::new(&image, json!([proc()]));
        build.kernel = kernel;
        build.fails("\"/dev/null\": something else is in its place");
        let image = Image::new();
        put(&image.path("etc/masked"), "secret");
        let mut build = Build::new(&image, json!([proc()]));
        build.kernel = kernel;
        build.linux = json!({"maskedPaths": ["/etc/masked"]});
        build.prepare = Box::new(|| rustix::mount::mount_bind("/dev/zero", "/dev/null").unwrap());
        build.fails("the host's /dev/null is not the null device");
    }
}

/// Exchanges two names until told to stop.
fn exchange(one: &Path, other: &Path, stop: &AtomicBool) {
    while !stop.load(Ordering::Relaxed) {
        renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).unwrap();
    }
}

/// Returns the mount points that are neither the machine's nor in the image.
fn strangers(image: &Image, before: &[String]) -> Vec<String> {
    let root = image.path("").canonicalize().unwrap();
    let points = mount_points().into_iter();
    points
        .filter(|point| !before.contains(point) && !Path::new(point).starts_with(&root))
        .collect()
}

fn mount_points() -> Vec<String> {
    let table = fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.map(str::to_owned).collect()
}

/// CVE-2021-30465, CVE-2024-45310: a directory of a volume is a link when the
/// runtime makes or mounts, and a directory when it looks.
#[test]
fn exchanging_a_directory_and_a_link_reaches_nothing_outside() {
    for kernel in KERNELS {
        let image = Image::new();
        image.source("source");
        let volume = image.source("volume");
        fs::create_dir_all(volume.join("place/deep")).unwrap();
        symlink(image.outside(), volume.join("link")).unwrap();
        let outside = image.outside().display().to_string();
        // Found by its text, the link leads here in the container.
        fs::create_dir_all(image.path(outside.trim_start_matches('/'))).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| exchange(&volume.join("place"), &volume.join("link"), &stop));
            let before = mount_points();
            for _ in 0..ROUNDS {
                let mut build = Build::new(
                    &image,
                    json!([
                        bind("volume", "/v"),
                        tmpfs("/v/place/deep"),
                        bind("source/file", "/v/place/new/file"),
                        tmpfs("/v/place/made/here"),
                    ]),
                );
                build.kernel = kernel;
                build.linux = json!({"devices": [
                    {"path": "/v/place/node", "type": "p"}]});
                let seen = in_child(|| {
                    build.before_pivot = Box::new(|| {
                        let strangers = strangers(&image, &before);
                        assert!(strangers.is_empty(), "{strangers:?}");
                    });
                    // Losing the race may fail the build, never the host.
                    drop(build.build());
                    String::new()
                });
                assert_eq!(seen, "");
                image.assert_untouched_outside();
            }
            stop.store(true, Ordering::Relaxed);
        });
        image.assert_untouched_outside();
    }
}

/// The same after the root is the container's: what is masked or read-only is
/// what was found, never what has taken its name since.
#[test]
fn exchanging_a_masked_path_and_a_link_masks_one_of_the_two() {
    for kernel in KERNELS {
        let image = Image::new();
        let volume = image.source("volume");
        for name in ["place", "victim"] {
            fs::create_dir_all(volume.join(name)).unwrap();
            put(&volume.join(name).join("secret"), name);
        }
        symlink("victim", volume.join("link")).unwrap();
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| exchange(&volume.join("place"), &volume.join("link"), &stop));
            for _ in 0..ROUNDS {
                let mut build = Build::new(&image, json!([proc(), bind("volume", "/v")]));
                build.kernel = kernel;
                build.linux = json!({"maskedPaths": ["/v/place", "/v/place/secret"],
                    "readonlyPaths": ["/v/place"]});
                let seen = in_child(|| match build.build() {
                    Ok(()) => {
                        let points = mount_points();
                        let odd = |point: &&String| {
                            let known = ["/", "/proc", "/v"].contains(&point.as_str());
                            !known && !point.starts_with("/v/")
                        };
                        format!("{:?}", points.iter().find(odd))
                    }
                    Err(error) => format!("failed: {error}"),
                });
                assert!(seen == "None" || seen.starts_with("failed"), "{seen}");
            }
            stop.store(true, Ordering::Relaxed);
        });
    }
}

#[test]
fn links_of_control_groups_and_dev_are_not_followed() {
    let image = Image::new();
    image.link("dev/stdin", image.outside().join("stdin"));
    image.link("dev/ptmx", image.outside().join("ptmx"));
    put(&image.outside().join("ptmx"), "kept");
    let seen = Build::new(&image, json!([])).see(|| {
        let link = |path| fs::read_link(path).unwrap().display().to_string();
        format!("{} {}", link("/dev/stdin"), link("/dev/ptmx"))
    });
    assert_eq!(
        seen,
        format!("{} pts/ptmx", image.outside().join("stdin").display())
    );
    assert_eq!(
        fs::read_to_string(image.outside().join("ptmx")).unwrap(),
        "kept"
    );
}
