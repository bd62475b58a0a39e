//! Limits, and control groups that go away with the container.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::json;

use crate::bundle::Bundle;

/// Returns the file of a v1 controller, or of the one hierarchy of v2.
fn control(bundle: &Bundle, v1: &str, v2: &str) -> PathBuf {
    let root = Path::new("/sys/fs/cgroup");
    let name = bundle.cgroup.trim_start_matches('/');
    let (controller, file) = v1.split_once('/').unwrap();
    let split = root.join(controller).join(name).join(file);
    if split.exists() {
        return split;
    }
    root.join(name).join(v2)
}

fn read(bundle: &Bundle, v1: &str, v2: &str) -> String {
    let path = control(bundle, v1, v2);
    fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{path:?}: {error}"))
        .trim()
        .to_owned()
}

#[test]
fn limits_are_set_and_the_groups_removed() {
    let mut bundle = Bundle::idle();
    bundle.config["linux"]["resources"] = json!({
        "memory": {"limit": 32 << 20},
        "pids": {"limit": 17},
        "cpu": {"shares": 512, "quota": 20000, "period": 100_000},
        "devices": [{"allow": false, "access": "rwm"}],
    });
    bundle.start("c");
    let memory = read(&bundle, "memory/memory.limit_in_bytes", "memory.max");
    assert_eq!(memory, (32 << 20).to_string());
    assert_eq!(read(&bundle, "pids/pids.max", "pids.max"), "17");
    if control(&bundle, "cpu/cpu.cfs_quota_us", "none").exists() {
        assert_eq!(read(&bundle, "cpu/cpu.cfs_quota_us", ""), "20000");
        assert_eq!(read(&bundle, "cpu/cpu.shares", ""), "512");
        let devices = read(&bundle, "devices/devices.list", "");
        assert!(devices.contains("c 1:3 rwm"), "{devices}");
        assert!(!devices.contains("a *:*"), "{devices}");
    }
    assert!(!bundle.cgroup_directories().is_empty());
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

/// A threaded group of v2 does not name its processes.
#[test]
fn threaded_groups_go_with_the_container() {
    let bundle = Bundle::idle();
    bundle.start("c");
    let groups = bundle.cgroup_directories();
    let unified = groups
        .iter()
        .find(|group| group.join("cgroup.type").exists())
        .expect("there is a hierarchy of v2");
    let threaded = unified.join("threaded");
    fs::create_dir(&threaded).unwrap();
    runc_rs::cgroup::write_control(&threaded.join("cgroup.type"), "threaded").unwrap();
    fs::read(threaded.join("cgroup.procs")).expect_err("it is threaded");
    assert_eq!(
        bundle
            .runc(&["ps", "-f", "json", "c"])
            .ok()
            .trim()
            .matches(',')
            .count(),
        0
    );
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

/// As `runc spec` has it on v1: every hierarchy is bound where the container is,
/// also those in which it has no group of its own.
#[test]
fn groups_are_shown_without_a_namespace_for_them() {
    let script = "cd /sys/fs/cgroup; cat memory/cgroup.procs cgroup.procs 2>/dev/null; ls; \
        mkdir memory/x x 2>&1";
    let mut bundle = Bundle::with_script(script);
    let namespaces = bundle.config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "cgroup");
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.push(
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "relatime", "ro"]}),
    );
    let said = bundle.runc(&["run", "c"]);
    assert!(said.out.starts_with("1\n"), "{said:?}");
    assert!(said.out.contains("Read-only file system"), "{said:?}");
    if Path::new("/sys/fs/cgroup/cpuset").exists() {
        assert!(said.out.contains("cpuset\n"), "{said:?}");
    }
    bundle.assert_clean();
}

#[test]
fn child_groups_are_removed_too() {
    let bundle = Bundle::idle();
    bundle.start("c");
    for directory in bundle.cgroup_directories() {
        fs::create_dir_all(directory.join("a/b")).unwrap();
    }
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn processes_in_child_groups_belong_to_the_container() {
    let bundle = Bundle::idle();
    bundle.start("c");
    bundle
        .runc(&["exec", "-d", "--pid-file", "pid", "c", "sleep", "999"])
        .ok();
    let pid = fs::read_to_string(bundle.path().join("pid")).unwrap();
    for directory in bundle.cgroup_directories() {
        let child = directory.join("child");
        fs::create_dir(&child).unwrap();
        // A new cpuset takes nobody before it has been given processors.
        if !child.join("cpuset.cpus").exists() {
            runc_rs::cgroup::write_control(&child.join("cgroup.procs"), &pid).unwrap();
        }
    }
    let pids = bundle.runc(&["ps", "--format", "json", "c"]).ok();
    assert!(pids.contains(&pid), "{pids}");
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn a_group_in_use_is_refused_and_left_alone() {
    let bundle = Bundle::idle();
    bundle.start("first");
    bundle.runc(&["create", "second"]).fails(1, "not empty");
    bundle.runc(&["state", "second"]).fails(1, "does not exist");
    assert_eq!(bundle.exec("first", "echo alive"), "alive\n");
}

#[test]
fn a_frozen_group_is_refused() {
    let bundle = Bundle::idle();
    bundle.start("c");
    let state = control(&bundle, "freezer/freezer.state", "cgroup.freeze");
    let group = state.parent().unwrap().to_owned();
    let word = if state.ends_with("freezer.state") {
        "FROZEN"
    } else {
        "1"
    };
    bundle.runc(&["delete", "-f", "c"]).ok();
    fs::create_dir(&group).unwrap();
    runc_rs::cgroup::write_control(&state, word).unwrap();
    bundle.runc(&["create", "c"]).fails(1, "frozen");
    fs::remove_dir(&group).unwrap();
    bundle.assert_clean();
}

#[test]
fn a_path_out_of_the_hierarchy_is_refused() {
    let mut bundle = Bundle::idle();
    bundle.config["linux"]["cgroupsPath"] = json!("/../outside");
    bundle.runc(&["create", "c"]).fails(1, "cgroup path");
    bundle.config["linux"]["cgroupsPath"] = json!("/");
    bundle.runc(&["create", "c"]).fails(1, "cgroup path");
    bundle.assert_clean();
}
