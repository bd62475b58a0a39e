//! Mount tables and groups, as text.

use std::collections::BTreeMap;

use super::*;

const TABLE: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:7 - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 /own /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
40 31 0:37 / /sys/fs/cgroup/systemd rw,relatime - cgroup cgroup rw,xattr,name=systemd
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
42 31 0:32 / /mnt/memory rw,relatime - cgroup cgroup rw,memory
";

#[test]
fn a_table_is_read_with_its_escapes() {
    let line =
        r"22 27 0:21 /a\134b /mnt/with\040blank\012x rw shared:1 master:2 - proc a\040b rw,x";
    let lines: Vec<TableLine> = parse_table(line).collect();
    assert_eq!(
        lines,
        [TableLine {
            root: PathBuf::from(r"/a\b"),
            mount_point: PathBuf::from("/mnt/with blank\nx"),
            kind: "proc".to_owned(),
            superblock: "rw,x".to_owned(),
        }]
    );
    assert_eq!(parse_table("nonsense\n\n").count(), 0);
    assert_eq!(unescape(r"\04\8x\"), Path::new(r"\04\8x\"));
}

#[test]
fn hierarchies_show_the_containers_groups_or_the_callers() {
    let own = "9:name=systemd:/caller\n4:memory:/own/deep\n1:cpu,cpuacct:/\n0::/\n7:net_cls:/x\n";
    let group = |path: &str| PathBuf::from(path);
    let groups = BTreeMap::from([
        ("cpu".to_owned(), group("/sys/fs/cgroup/cpu,cpuacct/c")),
        ("cpuacct".to_owned(), group("/sys/fs/cgroup/cpu,cpuacct/c")),
    ]);
    let found = hierarchies(TABLE, own, &Directories::Split(groups));
    let hierarchy = |name: &str, options: &[&str], group: &str, is_joined| Hierarchy {
        name: name.to_owned(),
        options: options.iter().map(|option| (*option).to_owned()).collect(),
        group: PathBuf::from(group),
        is_joined,
    };
    assert_eq!(
        found,
        [
            hierarchy(
                "systemd",
                &["name=systemd"],
                "/sys/fs/cgroup/systemd/caller",
                false
            ),
            hierarchy("memory", &["memory"], "/sys/fs/cgroup/memory/deep", false),
            hierarchy(
                "cpu,cpuacct",
                &["cpu", "cpuacct"],
                "/sys/fs/cgroup/cpu,cpuacct/c",
                true
            ),
        ]
    );
}

#[test]
fn only_the_initial_user_namespace_maps_everything() {
    assert!(is_whole_map("         0          0 4294967295\n"));
    assert!(!is_whole_map("         0     100000      65536\n"));
    assert!(!is_whole_map("0 0 1\n1 1 4294967294\n"));
}
