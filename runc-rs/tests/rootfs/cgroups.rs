//! Mounts of control groups, on whichever hierarchies this machine has.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::sched::{CloneFlags, unshare};
use runc_rs::cgroup::{Cgroup, Directories, Layout, write_control};
use runc_rs::create::RootSwitch;
use runc_rs::rootfs::{CgroupMounts, RootfsFacts};
use serde_json::{Value, json};

use crate::build::{Build, Image, KERNELS, Kernel, mounted, options, proc, read};

/// Groups of a test, removed with it.
struct Groups {
    cgroup: Cgroup,
    mounts: CgroupMounts,
}

impl Groups {
    fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let path = format!("/runc-rs-rootfs-{}-{number}", std::process::id());
        let layout = Layout::detect().unwrap();
        let mut cgroup = Cgroup::plan(&layout, Some(Path::new(&path)), "x").unwrap();
        if let Directories::Split(groups) = &mut cgroup.directories {
            // Nobody can enter a new one before it is filled in.
            groups.remove("cpuset");
        }
        for procs in cgroup.entrances() {
            fs::create_dir_all(procs.parent().unwrap()).unwrap();
        }
        let root = Path::new("/");
        let facts = RootfsFacts::gather(root, root, &cgroup, RootSwitch::PivotRoot).unwrap();
        Self {
            cgroup,
            mounts: facts.cgroups,
        }
    }

    fn enter(&self) {
        for procs in self.cgroup.entrances() {
            write_control(&procs, &std::process::id().to_string()).unwrap();
        }
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            self.cgroup.remove().unwrap();
        }
    }
}

fn mount(options: &[&str]) -> Value {
    json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": options})
}

/// Builds a container with its own groups and, if told so, a namespace of them.
fn see(groups: &Groups, asked: &[&str], own: bool, kernel: Kernel, look: fn() -> String) -> String {
    let image = Image::new();
    fs::create_dir_all(image.path("sys/fs/cgroup")).unwrap();
    let mut build = Build::new(&image, json!([proc(), mount(asked)]));
    build.kernel = kernel;
    build.cgroups = Some(groups.mounts.clone());
    if own {
        build.linux = json!({"namespaces": [{"type": "cgroup"}]});
    }
    build.cgroup_ready = Box::new(move || {
        groups.enter();
        if own {
            unshare(CloneFlags::CLONE_NEWCGROUP).unwrap();
        }
    });
    build.see(look)
}

fn hierarchies() -> Vec<PathBuf> {
    let table = read("/proc/self/mountinfo");
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    let below = points.filter(|point| point.starts_with("/sys/fs/cgroup"));
    below.map(PathBuf::from).collect()
}

/// GHSA-m8cg-xc2p-r3fc, and what libcontainer lets through: with one hierarchy
/// writable, a container lifts its own limits.
#[test]
fn every_hierarchy_is_read_only_when_asked() {
    for kernel in KERNELS {
        for own in [false, true] {
            let groups = Groups::new();
            let seen = see(
                &groups,
                &["nosuid", "noexec", "nodev", "ro"],
                own,
                kernel,
                || {
                    let points = hierarchies();
                    assert!(!points.is_empty());
                    for point in &points {
                        let options = options(point.to_str().unwrap());
                        assert!(
                            options.starts_with("ro,nosuid,nodev,noexec"),
                            "{point:?} {options}"
                        );
                        let made = fs::create_dir(point.join("x")).unwrap_err();
                        assert_eq!(made.raw_os_error(), Some(nix::libc::EROFS), "{point:?}");
                    }
                    "looked".to_owned()
                },
            );
            assert_eq!(seen, "looked");
        }
    }
}

#[test]
fn a_container_sees_its_own_groups() {
    for kernel in KERNELS {
        for own in [false, true] {
            let groups = Groups::new();
            // Without a namespace of its own, v2 is shown as a whole.
            if matches!(groups.mounts, CgroupMounts::Unified { .. }) && !own {
                continue;
            }
            let seen = see(&groups, &["rw", "nosuid"], own, kernel, || {
                let unjoined = [
                    "/sys/fs/cgroup",
                    "/sys/fs/cgroup/cpuset",
                    "/sys/fs/cgroup/systemd",
                ];
                for point in hierarchies() {
                    let name = point.to_str().unwrap();
                    if mounted(name).concat().contains(" - tmpfs ") || unjoined.contains(&name) {
                        continue;
                    }
                    let procs = read(point.join("cgroup.procs").to_str().unwrap());
                    assert_eq!(procs.trim(), std::process::id().to_string(), "{point:?}");
                    let group = point.join("child");
                    fs::create_dir(&group).unwrap();
                    fs::remove_dir(&group).unwrap();
                }
                "looked".to_owned()
            });
            assert_eq!(seen, "looked");
        }
    }
}

/// A hierarchy in which the container has no group shows its caller's, which it
/// must not change.
#[test]
fn a_hierarchy_that_is_not_joined_is_read_only_whatever_is_asked() {
    for kernel in KERNELS {
        for own in [false, true] {
            let groups = Groups::new();
            let CgroupMounts::Split(hierarchies) = &groups.mounts else {
                return;
            };
            let foreign = hierarchies.iter().filter(|hierarchy| !hierarchy.is_joined);
            let names: Vec<String> = foreign.map(|hierarchy| hierarchy.name.clone()).collect();
            assert!(names.contains(&"cpuset".to_owned()), "{names:?}");
            let seen = see(&groups, &["rw"], own, kernel, || {
                options("/sys/fs/cgroup/cpuset")
            });
            assert!(seen.starts_with("ro,"), "{kernel:?} {own}: {seen}");
        }
    }
}

#[test]
fn hierarchies_mounted_together_have_all_their_names() {
    let image = Image::new();
    let mut build = Build::new(&image, json!([proc(), mount(&["ro"])]));
    let source = image.source("groups");
    build.cgroups = Some(CgroupMounts::Split(vec![runc_rs::rootfs::Hierarchy {
        name: "cpu,cpuacct".to_owned(),
        options: vec!["cpu".to_owned(), "cpuacct".to_owned()],
        group: source,
        is_joined: true,
    }]));
    let seen = build.see(|| {
        let link = |name: &str| fs::read_link(Path::new("/sys/fs/cgroup").join(name)).unwrap();
        let (cpu, cpuacct) = (link("cpu"), link("cpuacct"));
        let text = read("/sys/fs/cgroup/cpuacct/file");
        format!("{} {} {text}", cpu.display(), cpuacct.display())
    });
    assert_eq!(seen, "cpu,cpuacct cpu,cpuacct groups");
}

/// Where hierarchies of v1 are mounted anew by root of a user namespace, as
/// engines that remap users ask for it.
#[test]
fn hierarchies_are_mounted_in_a_user_namespace_with_its_own_groups() {
    for kernel in KERNELS {
        let image = Image::new();
        image.give();
        let groups = Groups::new();
        let outside = json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]});
        let mut build = Build::new(&image, json!([outside, mount(&["ro", "nosuid"])]));
        build.kernel = kernel;
        build.cgroups = Some(groups.mounts.clone());
        build.linux = json!({"namespaces": [{"type": "user"}, {"type": "cgroup"}]});
        build.cgroup_ready = Box::new(|| unshare(CloneFlags::CLONE_NEWCGROUP).unwrap());
        let seen = crate::child::in_user_namespace_of(
            || groups.enter(),
            || {
                build.build().unwrap();
                for point in hierarchies() {
                    let options = options(point.to_str().unwrap());
                    assert!(options.starts_with("ro,nosuid"), "{point:?} {options}");
                }
                read("/sys/fs/cgroup/memory/cgroup.procs").trim().to_owned()
                    + &std::process::id().to_string()
            },
            |_| (),
        );
        let half = seen.len() / 2;
        assert_eq!(seen[..half], seen[half..], "{kernel:?}");
    }
}

/// The hierarchy of v2 on this machine, alone or beside v1's; where there is
/// none, one of v1's stands for it: what is bound is not looked into.
fn unified() -> PathBuf {
    let root = PathBuf::from("/sys/fs/cgroup");
    let beside = ["unified", "pids"].map(|name| root.join(name));
    let beside = beside.into_iter().find(|path| path.exists());
    beside.unwrap_or(root)
}

#[test]
fn v2_is_mounted_anew() {
    for kernel in KERNELS {
        let image = Image::new();
        let mut build = Build::new(&image, json!([proc(), mount(&["ro", "nosuid"])]));
        build.kernel = kernel;
        build.cgroups = Some(CgroupMounts::Unified {
            root: PathBuf::from("/absent"),
            group: PathBuf::from("/absent"),
        });
        let seen = build.see(|| {
            assert!(Path::new("/sys/fs/cgroup/cgroup.procs").exists());
            mounted("/sys/fs/cgroup").concat()
        });
        assert!(
            seen.starts_with("ro,nosuid,relatime - cgroup2 cgroup"),
            "{kernel:?}: {seen}"
        );
    }
}

#[test]
fn v2_is_bound_where_it_cannot_be_mounted() {
    for kernel in KERNELS {
        for own in [false, true] {
            let image = Image::new();
            image.give();
            let groups = image.source("groups");
            let outside = json!({"destination": "/proc", "source": "/proc", "options": ["rbind"]});
            let mut build = Build::new(&image, json!([outside, mount(&["ro"])]));
            build.kernel = kernel;
            build.cgroups = Some(CgroupMounts::Unified {
                root: unified(),
                group: groups,
            });
            let names = if own {
                &["user", "cgroup"][..]
            } else {
                &["user"]
            };
            let names: Vec<_> = names.iter().map(|name| json!({"type": name})).collect();
            build.linux = json!({"namespaces": names});
            let seen = crate::child::in_user_namespace(|| {
                build.build().unwrap();
                let whole = Path::new("/sys/fs/cgroup/cgroup.procs").exists();
                let group = read("/sys/fs/cgroup/file");
                format!("{} {whole} {group}", options("/sys/fs/cgroup"))
            });
            let shown = if own {
                "false groups"
            } else {
                "true No such file"
            };
            assert!(
                seen.starts_with("ro,") && seen.contains(shown),
                "{kernel:?}: {seen}"
            );
        }
    }
}
