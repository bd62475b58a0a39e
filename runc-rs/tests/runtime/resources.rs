//! Making groups, putting limits into force, moving a process there: the
//! library's own functions against this kernel, and their clean undoing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use oci_spec::runtime::LinuxResources;
use runc_rs::cgroup::{Cgroup, Directories, Layout};
use runc_rs::resources::{self, Reach, ResourceError};
use serde_json::{Value, json};

use crate::bundle::wait;

/// Groups of a name of their own, removed when dropped.
struct Groups(Cgroup);

impl Groups {
    fn plan(layout: &Layout) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("runc-rs-test-{}-r{number}", std::process::id());
        let path = Path::new(&name).join("a/b");
        Self(Cgroup::plan(layout, Some(&path), "x").unwrap())
    }

    /// Plans a group of v2 where that is mounted, alone or beside v1.
    fn unified() -> Option<Self> {
        let mut groups = Self::plan(&Layout::Unified);
        for root in ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"] {
            if Path::new(root).join("cgroup.subtree_control").exists() {
                let names = groups.0.path.strip_prefix("/").unwrap();
                groups.0.directories = Directories::Unified(Path::new(root).join(names));
                return Some(groups);
            }
        }
        None
    }

    /// Makes what a container with these limits joins.
    fn make(&mut self, limits: &LinuxResources) -> Result<(), ResourceError> {
        resources::narrow(&mut self.0, limits, Reach::Needed);
        resources::make(&self.0)
    }

    fn all(&self) -> Vec<PathBuf> {
        match &self.0.directories {
            Directories::Unified(group) => vec![group.clone()],
            Directories::Split(groups) => groups.values().cloned().collect(),
        }
    }

    fn read(&self, controller: &str, file: &str) -> String {
        let group = match &self.0.directories {
            Directories::Unified(group) => group,
            Directories::Split(groups) => &groups[controller],
        };
        fs::read_to_string(group.join(file))
            .unwrap()
            .trim()
            .to_owned()
    }
}

impl Drop for Groups {
    fn drop(&mut self) {
        let removed = self.0.remove();
        for group in self.all() {
            for above in group.ancestors().skip(1).take(2) {
                // Shared with other controllers' groups where these are mounted together.
                fs::remove_dir(above).ok();
            }
        }
        if !std::thread::panicking() {
            removed.unwrap();
        }
    }
}

fn limits(value: Value) -> LinuxResources {
    serde_json::from_value(value).unwrap()
}

fn split() -> Option<Groups> {
    let layout = Layout::detect().unwrap();
    matches!(layout, Layout::Split(_)).then(|| Groups::plan(&layout))
}

/// Starts a program that does nothing until its input ends.
fn idle() -> Child {
    let mut command = Command::new("cat");
    command.stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().unwrap()
}

#[test]
fn groups_are_made_limited_and_entered() {
    let Some(mut groups) = split() else { return };
    let wanted = limits(json!({
        "memory": {"limit": 32 << 20, "swap": 64 << 20, "swappiness": 10},
        "cpu": {"shares": 512, "quota": 20000, "period": 50000, "burst": 1000, "cpus": "0"},
        "pids": {"limit": 17},
        "devices": [{"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"}],
    }));
    groups.make(&wanted).unwrap();
    // Once more, as where a group is there already.
    groups.make(&wanted).unwrap();
    resources::apply(&groups.0, &wanted).unwrap();
    let expected = [
        ("memory", "memory.limit_in_bytes", "33554432"),
        ("memory", "memory.memsw.limit_in_bytes", "67108864"),
        ("memory", "memory.swappiness", "10"),
        ("cpu", "cpu.shares", "512"),
        ("cpu", "cpu.cfs_quota_us", "20000"),
        ("cpu", "cpu.cfs_period_us", "50000"),
        ("cpu", "cpu.cfs_burst_us", "1000"),
        ("cpuset", "cpuset.cpus", "0"),
        ("cpuset", "cpuset.mems", "0"),
        ("pids", "pids.max", "17"),
    ];
    for (controller, file, value) in expected {
        assert_eq!(groups.read(controller, file), value, "{file}");
    }
    let devices = groups.read("devices", "devices.list");
    for rule in [
        "c *:* m",
        "b *:* m",
        "c 1:3 rwm",
        "c 136:* rwm",
        "c 10:229 rw",
    ] {
        assert!(
            devices.lines().any(|line| line == rule),
            "{rule} in {devices}"
        );
    }
    assert!(!devices.contains("a *:*"), "{devices}");
    assert_entered(&groups);
}

/// Moves a process into the groups and asserts that it is in all.
fn assert_entered(groups: &Groups) {
    let mut child = idle();
    let pid = i32::try_from(child.id()).unwrap();
    resources::join(&groups.0, pid).unwrap();
    for group in groups.all() {
        let members = fs::read_to_string(group.join("cgroup.procs")).unwrap();
        assert_eq!(members.trim(), pid.to_string(), "{group:?}");
    }
    drop(child.stdin.take());
    assert!(wait(&mut child).success());
}

#[test]
fn only_what_is_made_is_remembered() {
    let Some(mut groups) = split() else { return };
    groups.make(&LinuxResources::default()).unwrap();
    for group in groups.all() {
        assert!(group.is_dir(), "{group:?}");
    }
    let Directories::Split(made) = &groups.0.directories else {
        panic!("it was split");
    };
    for name in [
        "cpuset",
        "net_cls",
        "net_prio",
        "perf_event",
        "hugetlb",
        "rdma",
    ] {
        assert!(!made.contains_key(name), "{name}");
    }
    for name in [
        "blkio", "cpu", "cpuacct", "devices", "freezer", "memory", "pids",
    ] {
        assert!(made.contains_key(name), "{name}");
    }
}

#[test]
fn a_refused_limit_is_named() {
    let Some(mut groups) = split() else { return };
    groups.make(&LinuxResources::default()).unwrap();
    let error = |value: Value| {
        let error = resources::apply(&groups.0, &limits(value)).unwrap_err();
        base::failure::chain(&error)
    };
    let text = error(json!({"cpu": {"period": 1}}));
    assert!(
        text.contains("cpu.cfs_period_us") && text.contains("\"1\""),
        "{text}"
    );
    let text = error(json!({"cpu": {"cpus": "0"}}));
    assert!(
        text.contains("the container has no cpuset control group"),
        "{text}"
    );
    let text = error(json!({"blockIO": {"leafWeight": 100}}));
    assert!(text.contains("blkio.leaf_weight"), "{text}");
}

#[test]
fn a_shorter_period_is_taken_together_with_its_quota() {
    let Some(mut groups) = split() else { return };
    groups.make(&LinuxResources::default()).unwrap();
    let parent = groups
        .all()
        .into_iter()
        .find(|group| group.starts_with("/sys/fs/cgroup/cpu/"));
    let Some(parent) = parent.as_deref().and_then(Path::parent) else {
        return;
    };
    let write = |file: &str, value: &str| {
        runc_rs::cgroup::write_control(&parent.join(file), value).unwrap();
    };
    // Half a processor above: 50 of 100 ms now, then 5 of 10 ms.
    write("cpu.cfs_quota_us", "50000");
    let bandwidth = |quota: i64, period: u64| {
        let cpu = limits(json!({"cpu": {"quota": quota, "period": period}}));
        resources::apply(&groups.0, &cpu).unwrap();
    };
    bandwidth(50000, 100_000);
    bandwidth(5000, 10000);
    assert_eq!(groups.read("cpu", "cpu.cfs_period_us"), "10000");
    assert_eq!(groups.read("cpu", "cpu.cfs_quota_us"), "5000");
}

/// Reads a device from inside of a group, by a program that moves itself there.
fn can_read(group: &Path, device: &str) -> bool {
    let script = format!("echo $$ > {}/cgroup.procs && cat {device}", group.display());
    let mut command = Command::new("timeout");
    command.args(["10", "sh", "-c", &script]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    wait(&mut command.spawn().unwrap()).success()
}

#[test]
fn device_programs_are_enforced_and_replaced() {
    let Some(mut groups) = Groups::unified() else {
        return;
    };
    groups.make(&LinuxResources::default()).unwrap();
    let group = groups.all().remove(0);
    // The kernel log; a device every kernel has and no container needs.
    let rules = |allow: bool| {
        limits(json!({"devices": [
            {"allow": false, "access": "rwm"},
            {"allow": allow, "type": "c", "major": 1, "minor": 11, "access": "r"},
        ]}))
    };
    let node = tempfile::tempdir().unwrap();
    let node = node.path().join("kmsg");
    let mut mknod = Command::new("mknod");
    mknod.arg(&node).args(["c", "1", "11"]);
    assert!(wait(&mut mknod.spawn().unwrap()).success());
    let open = format!("/dev/null; exec 3<{}", node.display());
    assert!(can_read(&group, &open), "no program denies it yet");
    for allow in [false, true, false] {
        resources::apply(&groups.0, &rules(allow)).unwrap();
        assert_eq!(can_read(&group, &open), allow);
        assert!(can_read(&group, "/dev/null"));
    }
    let handle = fs::File::open(&group).unwrap();
    let attached = runc_rs::sys::bpf::attached_device_programs(std::os::fd::AsFd::as_fd(&handle));
    assert_eq!(attached.unwrap().len(), 1, "each replaces the one before");
}

#[test]
fn a_group_of_v2_is_given_away() {
    use std::os::unix::fs::MetadataExt as _;
    let Some(mut groups) = Groups::unified() else {
        return;
    };
    groups.make(&LinuxResources::default()).unwrap();
    resources::delegate(&groups.0, 1234).unwrap();
    let group = groups.all().remove(0);
    let owner = |file: &str| fs::metadata(group.join(file)).unwrap().uid();
    for file in [
        "",
        "cgroup.procs",
        "cgroup.threads",
        "cgroup.subtree_control",
    ] {
        assert_eq!(owner(file), 1234, "{file:?}");
    }
    assert_eq!(owner("cgroup.max.depth"), 0);
}

#[test]
fn limits_of_v2_are_put_into_force() {
    let Some(mut groups) = Groups::unified() else {
        return;
    };
    let wanted = limits(json!({
        "memory": {"limit": 32 << 20, "swap": 64 << 20},
        "cpu": {"shares": 1024, "quota": 20000, "period": 50000, "burst": 1000, "cpus": "0"},
        "pids": {"limit": 17},
        "unified": {"memory.high": "16777216", "cgroup.max.depth": "3"},
    }));
    groups.make(&wanted).unwrap();
    if Layout::detect().unwrap() != Layout::Unified {
        // Beside v1 the controllers are all there, and that is said.
        let error = resources::apply(&groups.0, &wanted)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("controller \"memory\" not available"),
            "{error}"
        );
        return;
    }
    resources::apply(&groups.0, &wanted).unwrap();
    let expected = [
        ("memory.max", "33554432"),
        ("memory.swap.max", "33554432"),
        ("memory.high", "16777216"),
        ("cgroup.max.depth", "3"),
        ("cpu.weight", "100"),
        ("cpu.max", "20000 50000"),
        ("cpu.max.burst", "1000"),
        ("cpuset.cpus", "0"),
        ("pids.max", "17"),
    ];
    for (file, value) in expected {
        assert_eq!(groups.read("", file), value, "{file}");
    }
    assert_entered(&groups);
}
