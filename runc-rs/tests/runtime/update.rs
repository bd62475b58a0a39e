//! `update`, with what the kernel then says. Each test is of one version of
//! control groups and does nothing on a host with the other; the VM has v2.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::{Value, json};

use crate::bundle::{Bundle, read_again, wait};

const MEGABYTE: u64 = 1 << 20;

/// Returns a control file of the container.
fn control(bundle: &Bundle, controller: &str, file: &str) -> PathBuf {
    let name = bundle.cgroup.trim_start_matches('/');
    let root = Path::new("/sys/fs/cgroup");
    root.join(controller).join(name).join(file)
}

fn read(bundle: &Bundle, controller: &str, file: &str) -> String {
    let path = control(bundle, controller, file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    text.trim().to_owned()
}

fn memory(bundle: &Bundle) -> (u64, u64, u64) {
    let number = |file: &str| read(bundle, "memory", file).parse().unwrap();
    (
        number("memory.limit_in_bytes"),
        number("memory.memsw.limit_in_bytes"),
        number("memory.soft_limit_in_bytes"),
    )
}

/// Returns shares, quota and period.
fn cpu(bundle: &Bundle) -> [String; 3] {
    ["cpu.shares", "cpu.cfs_quota_us", "cpu.cfs_period_us"].map(|file| read(bundle, "cpu", file))
}

fn update(bundle: &Bundle, options: &[&str]) {
    bundle.runc(&[&["update", "c"], options].concat()).ok();
}

/// A container with limits, or `None` on v2.
fn limited() -> Option<Bundle> {
    if !Path::new("/sys/fs/cgroup/memory").exists() {
        return None;
    }
    let mut bundle = Bundle::idle();
    bundle.config["linux"]["resources"] = json!({
        "memory": {"limit": 32 * MEGABYTE, "reservation": 24 * MEGABYTE},
        "cpu": {"shares": 100, "quota": 50000, "period": 100_000},
        "pids": {"limit": 20},
        "devices": [{"allow": false, "access": "rwm"}],
    });
    bundle.start("c");
    Some(bundle)
}

#[test]
fn memory_is_changed_up_and_down() {
    let Some(bundle) = limited() else { return };
    update(&bundle, &["--memory", "67108864"]);
    assert_eq!(memory(&bundle).0, 64 * MEGABYTE);
    update(&bundle, &["--memory", "50M", "--memory-swap", "80M"]);
    assert_eq!(
        memory(&bundle),
        (50 * MEGABYTE, 80 * MEGABYTE, 24 * MEGABYTE)
    );
    // Above what the sum was, and below again.
    update(&bundle, &["--memory", "90m", "--memory-swap", "100m"]);
    assert_eq!(
        memory(&bundle),
        (90 * MEGABYTE, 100 * MEGABYTE, 24 * MEGABYTE)
    );
    update(&bundle, &["--memory", "30m", "--memory-swap", "40m"]);
    assert_eq!(
        memory(&bundle),
        (30 * MEGABYTE, 40 * MEGABYTE, 24 * MEGABYTE)
    );
    update(&bundle, &["--memory-reservation", "16m"]);
    assert_eq!(
        memory(&bundle),
        (30 * MEGABYTE, 40 * MEGABYTE, 16 * MEGABYTE)
    );
    let unlimited = fs::read_to_string("/sys/fs/cgroup/memory/memory.limit_in_bytes").unwrap();
    let unlimited: u64 = unlimited.trim().parse().unwrap();
    update(&bundle, &["--memory", "-1"]);
    assert_eq!(memory(&bundle), (unlimited, unlimited, 16 * MEGABYTE));
}

#[test]
fn processors_and_processes_are_changed() {
    let Some(bundle) = limited() else { return };
    update(&bundle, &["--cpu-period", "90000"]);
    assert_eq!(cpu(&bundle), ["100", "50000", "90000"]);
    update(&bundle, &["--cpu-quota", "60000", "--cpu-share", "200"]);
    assert_eq!(cpu(&bundle), ["200", "60000", "90000"]);
    update(&bundle, &["--cpu-burst", "10000"]);
    assert_eq!(read(&bundle, "cpu", "cpu.cfs_burst_us"), "10000");
    update(&bundle, &["--cpu-burst=0", "--cpu-quota", "-1"]);
    assert_eq!(cpu(&bundle), ["200", "-1", "90000"]);
    update(&bundle, &["--cpu-idle", "1"]);
    assert_eq!(read(&bundle, "cpu", "cpu.idle"), "1");
    update(&bundle, &["--cpu-idle", "0", "--cpu-share", "300"]);
    assert_eq!(cpu(&bundle), ["300", "-1", "90000"]);
    update(&bundle, &["--pids-limit", "10"]);
    assert_eq!(read(&bundle, "pids", "pids.max"), "10");
    update(&bundle, &["--pids-limit", "0"]);
    assert_eq!(read(&bundle, "pids", "pids.max"), "10");
    update(&bundle, &["--pids-limit", "-1"]);
    assert_eq!(read(&bundle, "pids", "pids.max"), "max");
}

#[test]
fn limits_come_from_a_file_or_standard_input() {
    let Some(bundle) = limited() else { return };
    let text = json!({
        "memory": {"limit": 48 * MEGABYTE, "swap": 0},
        "cpu": {"shares": 150},
        "pids": {"limit": 30},
        "devices": [{"allow": true, "access": "rwm"}],
    })
    .to_string();
    let path = bundle.path().join("limits.json");
    base::file::replace(&path, text.as_bytes(), base::file::FileMode::Public).unwrap();
    // Options for single limits do not count then.
    update(
        &bundle,
        &["--resources", "limits.json", "--pids-limit", "7"],
    );
    assert_eq!(memory(&bundle).0, 48 * MEGABYTE);
    assert_eq!(cpu(&bundle)[0], "150");
    assert_eq!(read(&bundle, "pids", "pids.max"), "30");
    assert!(!read(&bundle, "devices", "devices.list").contains("a *:*"));
    let mut error = tempfile::tempfile().unwrap();
    let mut command = bundle.command(&["update", "-r", "-", "c"]);
    command
        .stdin(Stdio::piped())
        .stderr(error.try_clone().unwrap());
    let mut child = command.spawn().unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(br#"{"pids": {"limit": 40}}"#).unwrap();
    drop(input);
    assert!(wait(&mut child).success(), "{}", read_again(&mut error));
    assert_eq!(read(&bundle, "pids", "pids.max"), "40");
}

#[test]
fn a_second_update_knows_the_first() {
    let Some(bundle) = limited() else { return };
    update(&bundle, &["--memory", "40m", "--memory-swap", "60m"]);
    let refused = bundle.runc(&["update", "c", "--memory", "70m"]);
    refused.fails(1, "should be >= memory limit");
    update(&bundle, &["--memory", "50m"]);
    assert_eq!(memory(&bundle).1, 60 * MEGABYTE);
    let recorded = fs::read_to_string(bundle.root().join("c/config.json")).unwrap();
    let recorded: Value = serde_json::from_str(&recorded).unwrap();
    let recorded = &recorded["linux"]["resources"];
    assert_eq!(recorded["memory"]["limit"], 50 * MEGABYTE);
    assert_eq!(recorded["memory"]["reservation"], 24 * MEGABYTE);
    assert_eq!(recorded["cpu"]["shares"], 100);
}

#[test]
fn a_failed_update_changes_nothing() {
    let Some(bundle) = limited() else { return };
    let before = (memory(&bundle), cpu(&bundle));
    // The period is refused by the kernel after the shares were taken.
    let options = ["--cpu-share", "700", "--cpu-period", "1", "--memory", "40m"];
    let output = bundle.runc(&[&["update", "c"], &options[..]].concat());
    output.fails(1, "cpu.cfs_period_us");
    assert_eq!((memory(&bundle), cpu(&bundle)), before);
    let recorded = fs::read_to_string(bundle.root().join("c/config.json")).unwrap();
    assert!(recorded.contains("\"shares\":100"), "{recorded}");
    // Below what is in use.
    let output = bundle.runc(&["update", "c", "--pids-limit", "9", "--memory", "4096"]);
    output.fails(1, "unable to set memory limit to 4096 (current usage: ");
    assert_eq!(memory(&bundle), before.0);
    assert_eq!(read(&bundle, "pids", "pids.max"), "20");
}

#[test]
fn processors_are_restricted_later_too() {
    let Some(bundle) = limited() else { return };
    let pids = || -> Vec<i32> {
        let text = bundle.runc(&["ps", "--format", "json", "c"]).ok();
        serde_json::from_str(&text).unwrap()
    };
    update(&bundle, &["--cpuset-cpus", "0", "--cpuset-mems", "0"]);
    assert_eq!(read(&bundle, "cpuset", "cpuset.cpus"), "0");
    let members = read(&bundle, "cpuset", "cgroup.procs");
    let members: Vec<i32> = members.lines().map(|line| line.parse().unwrap()).collect();
    assert_eq!(members, pids());
    assert_eq!(
        bundle.exec("c", "grep Cpus_allowed_list: /proc/self/status"),
        "Cpus_allowed_list:\t0\n"
    );
    bundle
        .runc(&["update", "c", "--cpuset-cpus", "4095"])
        .fails(1, "cpuset.cpus");
    assert_eq!(read(&bundle, "cpuset", "cpuset.cpus"), "0");
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn a_paused_or_created_container_is_updated() {
    if !Path::new("/sys/fs/cgroup/pids").exists() {
        return;
    }
    let bundle = Bundle::idle();
    bundle.runc(&["create", "c"]).ok();
    update(&bundle, &["--pids-limit", "12"]);
    assert_eq!(read(&bundle, "pids", "pids.max"), "12");
    bundle.runc(&["start", "c"]).ok();
    bundle.runc(&["pause", "c"]).ok();
    update(&bundle, &["--pids-limit", "13"]);
    assert_eq!(read(&bundle, "pids", "pids.max"), "13");
    bundle.runc(&["resume", "c"]).ok();
}

#[test]
fn updates_that_cannot_be_are_one_clear_error() {
    let bundle = Bundle::with_script("exit 0");
    bundle
        .runc(&["update", "c", "--pids-limit", "1"])
        .fails(1, "does not exist");
    bundle.start("c");
    bundle.wait_stopped("c");
    bundle
        .runc(&["update", "c", "--pids-limit", "1"])
        .fails(1, "container not running");
    let cases = [
        ("--memory", "1x", "invalid value for memory"),
        ("--cpu-quota", "-x", "invalid value for cpu-quota"),
        ("--cpu-share", "-1", "invalid value for cpu-share"),
        ("--blkio-weight", "x", "--blkio-weight"),
        ("--resources", "/no/such/file", "/no/such/file"),
    ];
    for (option, value, expected) in cases {
        let argument = format!("{option}={value}");
        bundle.runc(&["update", "c", &argument]).fails(1, expected);
    }
    let schema = bundle.runc(&["update", "c", "--l3-cache-schema", "L3:0=1"]);
    schema.fails(1, "l3 cache schema is not enabled");
}

/// Returns a control file of a container on v2.
fn read_unified(bundle: &Bundle, file: &str) -> String {
    let name = bundle.cgroup.trim_start_matches('/');
    let path = Path::new("/sys/fs/cgroup").join(name).join(file);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    text.trim().to_owned()
}

/// Starts a container with limits, or returns `None` on v1.
fn limited_unified() -> Option<Bundle> {
    if !Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return None;
    }
    let mut bundle = Bundle::idle();
    bundle.config["linux"]["resources"] = json!({
        "memory": {"limit": 32 * MEGABYTE, "reservation": 24 * MEGABYTE},
        "cpu": {"shares": 100, "quota": 50000, "period": 100_000},
        "pids": {"limit": 20},
    });
    bundle.start("c");
    Some(bundle)
}

#[test]
fn limits_of_v2_are_changed() {
    let Some(bundle) = limited_unified() else {
        return;
    };
    let read = |file: &str| read_unified(&bundle, file);
    update(
        &bundle,
        &[
            "--memory",
            "50M",
            "--memory-swap",
            "80M",
            "--cpu-quota",
            "60000",
        ],
    );
    assert_eq!(read("memory.max"), (50 * MEGABYTE).to_string());
    assert_eq!(read("memory.swap.max"), (30 * MEGABYTE).to_string());
    assert_eq!(read("memory.low"), (24 * MEGABYTE).to_string());
    assert_eq!(read("cpu.max"), "60000 100000");
    // The sum stays, so that swap alone shrinks.
    update(
        &bundle,
        &[
            "--memory",
            "60M",
            "--cpu-share",
            "1024",
            "--pids-limit",
            "12",
        ],
    );
    assert_eq!(read("memory.swap.max"), (20 * MEGABYTE).to_string());
    assert_eq!(read("cpu.weight"), "100");
    assert_eq!(read("pids.max"), "12");
    update(
        &bundle,
        &["--memory", "-1", "--cpu-quota", "-1", "--cpuset-cpus", "0"],
    );
    assert_eq!(read("memory.max"), "max");
    assert_eq!(read("memory.swap.max"), "max");
    assert_eq!(read("cpu.max"), "max 100000");
    assert_eq!(read("cpuset.cpus"), "0");
    let options = ["--pids-limit", "13", "--cpu-period", "1"];
    let failed = bundle.runc(&[&["update", "c"], &options[..]].concat());
    failed.fails(1, "cpu.max");
    assert_eq!(read("pids.max"), "12");
}
