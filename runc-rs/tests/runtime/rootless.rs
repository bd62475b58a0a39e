//! The runtime of an ordinary user, who may make no control groups.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::bundle::{Bundle, Output, finish, wait_until};

const USER: u32 = 54_321;
/// Whose processes are all of one test.
const LONELY_USER: u32 = 54_322;

/// A bundle of a user's, whose root in the container is that user.
fn bundle() -> Bundle {
    bundle_of(USER)
}

fn bundle_of(user: u32) -> Bundle {
    let mut bundle = Bundle::idle();
    let map = json!([{"containerID": 0, "hostID": user, "size": 1}]);
    let linux = &mut bundle.config["linux"];
    linux["uidMappings"] = map.clone();
    linux["gidMappings"] = map;
    linux.as_object_mut().unwrap().remove("cgroupsPath");
    linux.as_object_mut().unwrap().remove("resources");
    let namespaces = linux["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "user"}));
    let process = &mut bundle.config["process"];
    process["user"] = json!({"uid": 0, "gid": 0});
    // The tests' own folder need not be open to everybody.
    let program = bundle.path().join("runtime");
    fs::copy(env!("CARGO_BIN_EXE_runc-rs"), program).unwrap();
    fs::set_permissions(bundle.path(), fs::Permissions::from_mode(0o755)).unwrap();
    give_away(bundle.path(), user);
    bundle
}

fn give_away(path: &Path, user: u32) {
    chown(path, Some(user), Some(user)).unwrap();
    let is_directory = path.symlink_metadata().unwrap().is_dir();
    for entry in is_directory
        .then(|| fs::read_dir(path).unwrap())
        .into_iter()
        .flatten()
    {
        let entry = entry.unwrap();
        if !entry.file_type().unwrap().is_symlink() {
            give_away(&entry.path(), user);
        }
    }
}

/// Calls the binary as the user.
fn runc(bundle: &Bundle, arguments: &[&str]) -> Output {
    runc_as(USER, bundle, arguments)
}

fn runc_as(user: u32, bundle: &Bundle, arguments: &[&str]) -> Output {
    let call = bundle.command(arguments);
    let mut command = Command::new(bundle.path().join("runtime"));
    command.args(call.get_args()).uid(user).gid(user);
    command.current_dir(bundle.path()).stdin(Stdio::null());
    finish(command)
}

#[test]
fn without_limits_no_group_is_needed() {
    let mut bundle = bundle();
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.push(
        json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev", "ro"]}),
    );
    runc(&bundle, &["create", "c"]).ok();
    runc(&bundle, &["start", "c"]).ok();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    let state: serde_json::Value =
        serde_json::from_str(&runc(&bundle, &["state", "c"]).ok()).unwrap();
    let theirs = fs::read_to_string(format!("/proc/{}/cgroup", state["pid"])).unwrap();
    assert_eq!(theirs, own);
    let said = runc(
        &bundle,
        &["exec", "c", "sh", "-c", "id -u; ls /sys/fs/cgroup"],
    )
    .ok();
    assert!(
        said.starts_with("0\n") && said.lines().count() > 1,
        "{said}"
    );
    runc(&bundle, &["ps", "c"]).fails(1, "has no control group");
    runc(&bundle, &["pause", "c"]).fails(1, "has no freezer control group");
    runc(&bundle, &["update", "--pids-limit", "9", "c"]).fails(1, "has no pids control group");
    runc(&bundle, &["delete", "--force", "c"]).ok();
    assert_eq!(runc(&bundle, &["list", "--quiet"]).ok(), "");
}

#[test]
fn a_limit_and_a_named_group_need_one() {
    let mut bundle = bundle();
    bundle.config["linux"]["resources"] = json!({"pids": {"limit": 9}});
    runc(&bundle, &["run", "c"]).fails(1, "rootless needs no limits + no cgrouppath");
    // Whoever says that privilege is there hears what the kernel says.
    bundle.config["linux"]["resources"] = json!({});
    runc(&bundle, &["--rootless", "false", "run", "c"]).fails(1, "permission denied");
    bundle.config["linux"]["cgroupsPath"] = json!("/runc-rs-test-rootless");
    runc(&bundle, &["run", "c"]).fails(1, "permission denied");
    assert_eq!(runc(&bundle, &["list", "--quiet"]).ok(), "");
}

#[test]
fn a_process_enters_a_container_that_waits_for_its_start() {
    let bundle = bundle();
    // Again and again: init and the runtime must not wait for each other by luck.
    for _ in 0..5 {
        runc(&bundle, &["create", "c"]).ok();
        let script = "grep -ac [A-Z] /proc/1/environ; echo inside";
        let said = runc(&bundle, &["exec", "c", "sh", "-c", script]);
        assert!(said.out.ends_with("inside\n"), "{said:?}");
        assert!(said.out.starts_with("0\n"), "{said:?}");
        runc(&bundle, &["start", "c"]).ok();
        runc(&bundle, &["delete", "--force", "c"]).ok();
    }
}

#[test]
fn a_shared_pid_namespace_without_groups_is_warned_of() {
    let mut bundle = bundle();
    let linux = &mut bundle.config["linux"];
    let namespaces = linux["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "pid");
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    for mount in mounts.iter_mut().filter(|mount| mount["type"] == "proc") {
        *mount = json!({"destination": "/proc", "type": "none", "source": "/proc",
            "options": ["rbind", "nosuid", "nodev", "noexec"]});
    }
    let said = runc(&bundle, &["create", "c"]);
    assert!(said.err.contains("is strongly discouraged"), "{said:?}");
    said.ok();
    runc(&bundle, &["start", "c"]).ok();
    runc(&bundle, &["kill", "c", "KILL"]).ok();
    let is_stopped = || runc(&bundle, &["state", "c"]).ok().contains("\"stopped\"");
    wait_until("the container has ended", is_stopped);
    runc(&bundle, &["kill", "c", "0"]).fails(1, "container not running");
    runc(&bundle, &["kill", "--all", "c", "KILL"]).ok();
    runc(&bundle, &["delete", "c"]).ok();
}

#[test]
fn a_time_namespace_is_that_of_the_user_namespace() {
    let mut bundle = bundle();
    let linux = &mut bundle.config["linux"];
    let namespaces = linux["namespaces"].as_array_mut().unwrap();
    namespaces.push(json!({"type": "time"}));
    linux["timeOffsets"] = json!({"boottime": {"secs": 1_000_000, "nanosecs": 5}});
    runc(&bundle, &["run", "--detach", "c"]).ok();
    // Init is in it, and so is what enters later.
    let said = runc(
        &bundle,
        &[
            "exec",
            "c",
            "cat",
            "/proc/self/timens_offsets",
            "/proc/uptime",
        ],
    )
    .ok();
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[1].split_whitespace().eq(["boottime", "1000000", "5"]),
        "{said}"
    );
    let uptime: f64 = lines[2].split_whitespace().next().unwrap().parse().unwrap();
    assert!(uptime > 1e6, "{said}");
    runc(&bundle, &["delete", "--force", "c"]).ok();
}

fn has_processes(user: u32) -> bool {
    let ids = fs::read_dir("/proc")
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut statuses = ids.filter_map(|path| fs::read_to_string(path.join("status")).ok());
    let line = format!("Uid:\t{user}\t");
    // Whoever has ended may not be waited for yet.
    statuses.any(|status| status.contains(&line) && !status.contains("State:\tZ"))
}

/// Nothing but the record leads to its init.
#[test]
fn a_creation_killed_at_any_step_leaves_nothing() {
    let bundle = bundle_of(LONELY_USER);
    for step in 1.. {
        let step = step.to_string();
        let create = ["--die-at-step", &step, "create", "c"];
        let has_survived = runc_as(LONELY_USER, &bundle, &create).code == 0;
        runc_as(LONELY_USER, &bundle, &["delete", "--force", "c"]).ok();
        wait_until("nobody is left", || !has_processes(LONELY_USER));
        if has_survived {
            assert!(step.parse::<u32>().unwrap() > 5, "{step}");
            return;
        }
    }
}

#[test]
fn a_container_of_a_pod_is_hidden_and_killed() {
    let mut bundle = bundle();
    runc(&bundle, &["run", "--detach", "c"]).ok();
    let state = runc(&bundle, &["state", "c"]).ok();
    let state: serde_json::Value = serde_json::from_str(&state).unwrap();
    let linux = bundle.config["linux"].as_object_mut().unwrap();
    linux.remove("uidMappings");
    linux.remove("gidMappings");
    for namespace in linux["namespaces"].as_array_mut().unwrap() {
        let kind = namespace["type"].as_str().unwrap().to_owned();
        if kind == "pid" || kind == "user" {
            namespace["path"] = json!(format!("/proc/{}/ns/{kind}", state["pid"]));
        }
    }
    bundle.config["process"]["oomScoreAdj"] = json!(100);
    runc(&bundle, &["create", "d"]).ok();
    // Init of `d` is the second process of that namespace.
    let look = |path: &str| runc(&bundle, &["exec", "c", "cat", path]);
    look("/proc/1/environ").ok();
    look("/proc/2/environ").fails(1, "Permission denied");
    runc(&bundle, &["start", "d"]).ok();
    runc(&bundle, &["kill", "d", "KILL"]).ok();
    runc(&bundle, &["delete", "--force", "d"]).ok();
    runc(&bundle, &["delete", "--force", "c"]).ok();
}
