//! Plans of whole specifications, as the list of their steps.

use oci_spec::runtime::Spec;

use super::*;
use crate::rootfs::facts::{CgroupMounts, Hierarchy};
use crate::rootfs::steps::{Content, MountStep, NodeKind, NodeWay};

fn facts() -> RootfsFacts {
    RootfsFacts {
        rootfs: PathBuf::from("/bundle/rootfs"),
        bundle: PathBuf::from("/bundle"),
        root_switch: RootSwitch::PivotRoot,
        in_user_namespace: false,
        has_kcore: true,
        cgroups: CgroupMounts::Unified {
            root: PathBuf::from("/sys/fs/cgroup"),
            group: PathBuf::from("/sys/fs/cgroup/c"),
        },
    }
}

fn split() -> RootfsFacts {
    let hierarchy = |name: &str, options: &[&str], is_joined| Hierarchy {
        name: name.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        group: Path::new("/sys/fs/cgroup").join(name).join("c"),
        is_joined,
    };
    RootfsFacts {
        cgroups: CgroupMounts::Split(vec![
            hierarchy("cpu,cpuacct", &["cpu", "cpuacct"], true),
            hierarchy("systemd", &["name=systemd"], false),
        ]),
        ..facts()
    }
}

fn spec(mounts: &str, linux: &str) -> Spec {
    let json = format!(
        r#"{{"ociVersion": "1.2.0", "root": {{"path": "rootfs", "readonly": true}},
            "mounts": {mounts}, "linux": {linux}}}"#
    );
    serde_json::from_str(&json).unwrap()
}

/// One line for each step.
fn steps(mounts: &str, linux: &str, facts: &RootfsFacts) -> Vec<String> {
    let plan = plan(&spec(mounts, linux), facts).unwrap();
    plan.steps.iter().map(describe).collect()
}

/// The lines of the mounts alone.
fn mounts(mounts: &str, linux: &str, facts: &RootfsFacts) -> Vec<String> {
    let lines = steps(mounts, linux, facts).into_iter();
    let wanted = |line: &String| line.starts_with("mount") || line.starts_with("link /sys");
    lines.filter(wanted).collect()
}

fn fails(mounts: &str, linux: &str, facts: &RootfsFacts) -> String {
    plan(&spec(mounts, linux), facts).unwrap_err().to_string()
}

fn describe(step: &Step) -> String {
    match step {
        Step::Propagate(propagation) => format!("propagate {}", named(propagation)),
        Step::BindRoot { parent: None } => "bind root".to_owned(),
        Step::BindRoot {
            parent: Some(parent),
        } => format!("bind root below {parent:?}"),
        Step::Mount(mount) => describe_mount(mount),
        Step::Node(node) => {
            let kind = match node.kind {
                NodeKind::Character => 'c',
                NodeKind::Block => 'b',
                NodeKind::Pipe => 'p',
            };
            let way = match node.way {
                NodeWay::Make => "make",
                NodeWay::Bind => "bind",
            };
            let (path, major, minor) = (node.path.display(), node.major, node.minor);
            let (mode, uid, gid) = (node.mode, node.uid, node.gid);
            format!("{way} {path} {kind} {major}:{minor} {mode:o} {uid}:{gid}")
        }
        Step::Link(link) => {
            format!(
                "link {}/{} to {}",
                link.directory.display(),
                link.name,
                link.target
            )
        }
        Step::PropagateRoot(propagation) => format!("propagate root {}", named(propagation)),
        Step::ReadOnly(path) => format!("read-only {}", path.display()),
        Step::Mask(path) => format!("mask {}", path.display()),
        other => format!("{other:?}"),
    }
}

fn named(propagation: &Propagation) -> String {
    format!("{:?} {:?}", propagation.kind, propagation.reach)
}

fn describe_mount(mount: &MountStep) -> String {
    let mut line = format!("mount {}", mount.destination.display());
    match &mount.content {
        Content::Bind(bind) => {
            line += &format!(" {:?} of {}", bind.reach, bind.source.display());
            line += if bind.explicit { " exactly" } else { "" };
            if let Some(map) = bind.id_map {
                line += &format!(" mapped {} {:?}", map.number, map.reach);
            }
        }
        Content::Filesystem(filesystem) => {
            line += &format!(
                " {} {:?} {:?}",
                filesystem.kind, filesystem.data, filesystem.place
            );
            line += if filesystem.copy_up {
                " copying up"
            } else {
                ""
            };
        }
        Content::Remount { data, .. } => line += &format!(" again {data:?}"),
        Content::Unified {
            filesystem,
            directory,
        } => line += &format!(" cgroup2 {:?} or {}", filesystem.data, directory.display()),
    }
    let names = crate::rootfs::kernel::names_of;
    for (word, attributes) in [("", mount.attributes), ("tree ", mount.tree_attributes)] {
        if !attributes.is_empty() {
            line += &format!(
                " {word}+{} -{}",
                names(attributes.set),
                names(attributes.clear)
            );
        }
    }
    for propagation in &mount.propagation {
        line += &format!(" {}", named(propagation));
    }
    if mount.sealed {
        line += " sealed";
    }
    line
}

#[test]
fn an_ordinary_container_is_built_in_the_order_of_runc() {
    let given = r#"[
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs",
         "options": ["nosuid", "strictatime", "mode=755", "size=65536k"]},
        {"destination": "/dev/pts", "type": "devpts", "source": "devpts",
         "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "gid=5"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
         "options": ["nosuid", "ro"]},
        {"destination": "/etc/hosts", "source": "hosts", "options": ["rbind", "rprivate", "ro"]}
    ]"#;
    let linux = r#"{"namespaces": [{"type": "mount"}, {"type": "cgroup"}],
        "maskedPaths": ["/proc/kcore", "/proc//kcore", "/sys/firmware"],
        "readonlyPaths": ["/proc/sys"]}"#;
    let expected = [
        "propagate Slave Tree",
        "bind root below Private",
        "mount /proc proc [] Ordinary",
        r#"mount /dev tmpfs ["mode=755", "size=65536k"] KeepsMode +nosuid -"#,
        r#"mount /dev/pts devpts ["newinstance", "ptmxmode=0666", "gid=5"] Any +nosuid,noexec -"#,
        "mount /sys sysfs [] Ordinary +ro -",
        "AwaitCgroup",
        "mount /sys/fs/cgroup cgroup2 [] or /sys/fs/cgroup/c +ro,nosuid -",
        "mount /etc/hosts Tree of /bundle/hosts exactly +ro - Private Tree",
        "make /dev/null c 1:3 666 0:0",
        "make /dev/random c 1:8 666 0:0",
        "make /dev/full c 1:7 666 0:0",
        "make /dev/tty c 5:0 666 0:0",
        "make /dev/zero c 1:5 666 0:0",
        "make /dev/urandom c 1:9 666 0:0",
        "Multiplexer",
        "link /dev/fd to /proc/self/fd",
        "link /dev/stdin to /proc/self/fd/0",
        "link /dev/stdout to /proc/self/fd/1",
        "link /dev/stderr to /proc/self/fd/2",
        "link /dev/core to /proc/kcore",
        "BeforePivot",
        "SwitchRoot(PivotRoot)",
        "SealRoot",
        "read-only /proc/sys",
        "mask /proc/kcore",
        "mask /sys/firmware",
    ];
    assert_eq!(steps(given, linux, &facts()), expected);
}

#[test]
fn the_wait_for_control_groups_comes_at_the_end_without_a_mount_of_them() {
    let lines = steps("[]", "{}", &facts());
    let end = &lines[lines.len() - 4..];
    assert_eq!(
        end,
        [
            "AwaitCgroup",
            "BeforePivot",
            "SwitchRoot(PivotRoot)",
            "SealRoot"
        ]
    );
}

#[test]
fn v1_hierarchies_are_bound_or_mounted_and_all_of_them_read_only() {
    let given = |options: &str| {
        format!(r#"[{{"destination": "/sys/fs/cgroup", "type": "cgroup", "options": {options}}}]"#)
    };
    let own = r#"{"namespaces": [{"type": "cgroup"}]}"#;
    let directory = r#"mount /sys/fs/cgroup tmpfs ["mode=755"] Any +nosuid,nodev,noexec -"#;
    let links = [
        "link /sys/fs/cgroup/cpu to cpu,cpuacct",
        "link /sys/fs/cgroup/cpuacct to cpu,cpuacct",
    ];
    let bound = mounts(&given(r#"["ro", "nosuid"]"#), "{}", &split());
    assert_eq!(
        bound,
        [
            format!("{directory} sealed").as_str(),
            "mount /sys/fs/cgroup/cpu,cpuacct Tree of /sys/fs/cgroup/cpu,cpuacct/c exactly \
             +ro,nosuid -",
            links[0],
            links[1],
            "mount /sys/fs/cgroup/systemd Tree of /sys/fs/cgroup/systemd/c exactly +ro,nosuid -",
        ]
    );
    let fresh = mounts(&given(r#"["rslave"]"#), own, &split());
    assert_eq!(
        fresh,
        [
            format!("{directory} Slave Tree").as_str(),
            r#"mount /sys/fs/cgroup/cpu,cpuacct cgroup ["cpu", "cpuacct"] Any +nosuid,nodev,noexec - Slave Tree"#,
            links[0],
            links[1],
            r#"mount /sys/fs/cgroup/systemd cgroup ["name=systemd"] Any +ro,nosuid,nodev,noexec - Slave Tree"#,
        ]
    );
}

#[test]
fn without_a_cgroup_namespace_v2_falls_back_to_the_whole_tree() {
    let given = r#"[{"destination": "/c", "type": "cgroup", "source": "cgroup"}]"#;
    assert_eq!(
        mounts(given, "{}", &facts()),
        ["mount /c cgroup2 [] or /sys/fs/cgroup"]
    );
}

#[test]
fn binds_are_told_by_option_or_type() {
    let lines = mounts(
        r#"[{"destination": "/a", "source": "/x", "options": ["bind"]},
            {"destination": "/b", "type": "bind", "source": "x", "options": ["rw"]},
            {"destination": "/c", "type": "none", "source": "../x", "options": ["rbind", "rro"]},
            {"destination": "/bundle/rootfs/d/./e", "source": "/x", "options": ["bind", "noatime"]}]"#,
        "{}",
        &facts(),
    );
    assert_eq!(
        lines,
        [
            "mount /a Mount of /x",
            "mount /b Mount of /bundle/x exactly + -ro",
            "mount /c Tree of /bundle/../x tree +ro -",
            "mount /d/e Mount of /x exactly + -",
        ]
    );
}

#[test]
fn tmpfs_and_dev_stay_writable_until_the_end() {
    let given = r#"[
        {"destination": "/dev", "type": "devtmpfs", "options": ["ro"]},
        {"destination": "/tmp", "type": "tmpfs", "options": ["rro", "noexec", "tmpcopyup"]},
        {"destination": "/img", "type": "ext4", "source": "/disk", "options": ["ro"]}]"#;
    assert_eq!(
        mounts(given, "{}", &facts()),
        [
            "mount /dev devtmpfs [] Any sealed",
            "mount /tmp tmpfs [] KeepsMode copying up +noexec - sealed",
            "mount /img ext4 [] Any +ro -",
        ]
    );
    let lines = steps(given, "{}", &facts());
    assert!(lines.contains(&"SealMounts".to_owned()));
    assert!(!steps("[]", "{}", &facts()).contains(&"SealMounts".to_owned()));
}

#[test]
fn nothing_is_made_in_a_dev_that_is_bound() {
    for destination in ["/dev", "//dev/./", "/a/../dev", "/bundle/rootfs/dev"] {
        let given = format!(
            r#"[{{"destination": "{destination}", "source": "/dev", "options": ["rbind"]}}]"#
        );
        let linux = r#"{"devices": [{"path": "/dev/x", "type": "c", "major": 1, "minor": 3}]}"#;
        let lines = steps(&given, linux, &facts());
        let made = |line: &&String| line.contains("/dev/") || *line == "Multiplexer";
        assert_eq!(lines.iter().find(made), None, "{destination}");
    }
}

#[test]
fn devices_of_the_specification_replace_default_ones() {
    let linux = r#"{"devices": [
        {"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 8630, "uid": 5},
        {"path": "/dev/ptmx", "type": "c", "major": 5, "minor": 2},
        {"path": "/run/pipe", "type": "p", "major": -1, "minor": -1, "fileMode": 384},
        {"path": "dev//sda", "type": "b", "major": 8, "minor": 1048575}]}"#;
    let nodes = |facts: &RootfsFacts| {
        let lines = steps("[]", linux, facts).into_iter();
        let is_node = |line: &String| line.starts_with("make") || line.starts_with("bind /");
        lines.filter(is_node).collect::<Vec<_>>()
    };
    let made = nodes(&facts());
    assert_eq!(
        made[..3],
        [
            "make /dev/null c 1:3 666 5:0",
            "make /run/pipe p 0:0 600 0:0",
            "make /dev/sda b 8:1048575 666 0:0",
        ]
    );
    assert_eq!(made.len(), 3 + 5);
    let bound = nodes(&RootfsFacts {
        in_user_namespace: true,
        ..facts()
    });
    assert_eq!(bound[0], "bind /dev/null c 1:3 666 5:0");
    assert_eq!(bound[1], "make /run/pipe p 0:0 600 0:0");
}

#[test]
fn the_propagation_of_the_root_is_what_runc_makes_of_it() {
    let of = |name: &str| {
        let linux = format!(r#"{{"rootfsPropagation": "{name}"}}"#);
        let lines = steps("[]", &linux, &facts()).into_iter();
        lines
            .filter(|line| line.contains("ropagate") || line.contains("below"))
            .collect::<Vec<_>>()
    };
    let private = "bind root below Private";
    assert_eq!(of(""), ["propagate Slave Tree", private]);
    assert_eq!(of("rprivate"), ["propagate Private Tree", private]);
    assert_eq!(
        of("slave"),
        ["propagate Slave Mount", "bind root below Slave"]
    );
    assert_eq!(
        of("rshared"),
        [
            "propagate Shared Tree",
            private,
            "propagate root Shared Tree"
        ]
    );
    assert_eq!(
        of("unbindable"),
        [
            "propagate Unbindable Mount",
            private,
            "propagate root Unbindable Mount"
        ]
    );
    assert!(fails("[]", r#"{"rootfsPropagation": "x"}"#, &facts()).contains("not known"));
    let moved = RootfsFacts {
        root_switch: RootSwitch::MoveMount,
        ..facts()
    };
    assert!(fails("[]", r#"{"rootfsPropagation": "private"}"#, &moved).contains("not safe"));
    assert!(steps("[]", "{}", &moved).contains(&"SwitchRoot(MoveMount)".to_owned()));
}

#[test]
fn equal_id_mappings_are_numbered_once() {
    let mapping = |host: u32| format!(r#"[{{"containerID": 0, "hostID": {host}, "size": 9}}]"#);
    let mount = |destination: &str, options: &str, host: u32| {
        let map = mapping(host);
        format!(
            r#"{{"destination": "{destination}", "source": "/x", "options": [{options}],
                "uidMappings": {map}, "gidMappings": {map}}}"#
        )
    };
    let given = format!(
        r#"[{}, {}, {}, {{"destination": "/d", "source": "/x", "options": ["bind", "idmap"]}}]"#,
        mount("/a", r#""bind""#, 1),
        mount("/b", r#""rbind", "ridmap""#, 2),
        mount("/c", r#""bind", "idmap""#, 1),
    );
    let linux = r#"{"namespaces": [{"type": "user"}]}"#;
    let plan = plan(&spec(&given, linux), &facts()).unwrap();
    assert_eq!(plan.id_mappings.len(), 3);
    assert_eq!(plan.id_mappings[2], IdMappings::Container);
    assert!(plan.in_user_namespace);
    assert_eq!(
        mounts(&given, linux, &facts()),
        [
            "mount /a Mount of /x mapped 0 Mount",
            "mount /b Tree of /x mapped 1 Tree",
            "mount /c Mount of /x mapped 0 Mount",
            "mount /d Mount of /x mapped 2 Mount",
        ]
    );
    assert!(fails(&given, "{}", &facts()).contains("no user namespace"));
}

#[test]
fn contradictions_are_refused() {
    let map = r#""uidMappings": [{"containerID": 0, "hostID": 1, "size": 1}]"#;
    let half = format!(r#"[{{"destination": "/a", "source": "/x", "options": ["bind"], {map}}}]"#);
    let tmpfs = format!(r#"[{{"destination": "/a", "type": "tmpfs", {map}}}]"#);
    let cases = [
        (
            r#"[{"destination": "/", "type": "tmpfs"}]"#,
            "hide the whole",
        ),
        (
            r#"[{"destination": "/a/..", "type": "tmpfs"}]"#,
            "hide the whole",
        ),
        (r#"[{"destination": "/a"}]"#, "neither a type"),
        (r#"[{"destination": "/a", "type": "bind"}]"#, "no source"),
        (
            r#"[{"destination": "/a", "source": "/x", "options": ["bind", "size=1"]}]"#,
            "option \"size=1\"",
        ),
        (half.as_str(), "both uidMappings and"),
        (tmpfs.as_str(), "only those can be id-mapped"),
    ];
    for (given, expected) in cases {
        let found = fails(given, "{}", &facts());
        assert!(found.contains(expected), "{found:?} lacks {expected:?}");
    }
    let cases = [
        (r#"{"path": "/dev/x", "type": "a"}"#, "must be a"),
        (
            r#"{"path": "/dev/x", "type": "c", "major": -1}"#,
            "impossible",
        ),
        (
            r#"{"path": "/dev/x", "type": "b", "minor": 1048576}"#,
            "impossible",
        ),
    ];
    for (device, expected) in cases {
        let found = fails("[]", &format!(r#"{{"devices": [{device}]}}"#), &facts());
        assert!(found.contains(expected), "{found:?} lacks {expected:?}");
    }
}

#[test]
fn new_file_systems_are_labelled_but_not_the_kernels() {
    let all = r#"[{"destination": "/proc", "type": "proc"}, {"destination": "/t", "type": "tmpfs"},
        {"destination": "/dev/pts", "type": "devpts"}, {"destination": "/dev/mqueue",
        "type": "mqueue"}, {"destination": "/b", "source": "/b", "options": ["bind"]}]"#;
    let labels = |linux: &str| -> Vec<_> {
        let plan = plan(&spec(all, linux), &facts()).unwrap();
        let labelled = plan.steps.into_iter().filter_map(|step| match step {
            Step::Mount(MountStep {
                content: Content::Filesystem(filesystem),
                ..
            }) => Some((filesystem.kind, filesystem.label?)),
            _ => None,
        });
        labelled
            .map(|(kind, label)| format!("{kind} {label}"))
            .collect()
    };
    assert_eq!(
        labels(r#"{"mountLabel": "l:c1,c2"}"#),
        ["tmpfs l:c1,c2", "devpts l:c1,c2", "mqueue l:c1,c2"]
    );
    let linux = r#"{"mountLabel": "l:c1,c2"}"#;
    let covers = plan(&spec(all, linux), &facts()).unwrap().mask_label;
    assert_eq!(covers.as_deref(), Some("l:c1,c2"));
    assert_eq!(labels(r#"{"mountLabel": ""}"#), [""; 0]);
}
