//! The runtime where it sees cgroup v2 alone. On a host that has v1, which keeps
//! the controllers, that is a mount namespace with v2 in its place.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use libseccomp::{ScmpAction, ScmpFilterContext, ScmpSyscall};
use runc_rs::cgroup::write_control;
use serde_json::json;

use crate::bundle::{Bundle, Output, finish};

/// Shows v2 alone, and runs what follows.
const ENTER: &str = "umount -R /sys/fs/cgroup && mount -t cgroup2 cgroup2 /sys/fs/cgroup && \
    exec \"$@\"";

/// Calls the binary in there.
fn runc(bundle: &Bundle, arguments: &[&str]) -> Output {
    let call = bundle.command(arguments);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private"]);
    command.args(["sh", "-c", ENTER, "sh"]);
    command.arg(call.get_program()).args(call.get_args());
    command.current_dir(bundle.path()).stdin(Stdio::null());
    finish(command)
}

/// Returns the container's group where the host has it.
fn group(bundle: &Bundle) -> PathBuf {
    let places = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];
    let places = places.map(|place| PathBuf::from(format!("{place}{}", bundle.cgroup)));
    let found = places
        .into_iter()
        .find(|place| place.join("cgroup.events").exists());
    found.expect("the container has a group of v2")
}

fn groups_of(pid: &str) -> String {
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", pid.trim())).unwrap();
    let own = groups.lines().find(|line| line.starts_with("0::"));
    own.unwrap().to_owned()
}

#[test]
fn a_container_lives_from_beginning_to_end() {
    let bundle = Bundle::idle();
    runc(&bundle, &["create", "c"]).ok();
    runc(&bundle, &["start", "c"]).ok();
    let group = group(&bundle);
    let line = format!("0::{}", bundle.cgroup);
    let init = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    assert_eq!(groups_of(&init), line);
    runc(&bundle, &["pause", "c"]).ok();
    let frozen = fs::read_to_string(group.join("cgroup.freeze")).unwrap();
    assert_eq!(frozen, "1\n");
    runc(&bundle, &["exec", "c", "true"]).fails(255, "cannot exec in a paused container");
    runc(&bundle, &["resume", "c"]).ok();
    let said = runc(&bundle, &["events", "--stats", "c"]).ok();
    assert!(said.contains("\"pids\""), "{said}");
    runc(&bundle, &["delete", "--force", "c"]).ok();
    assert!(!group.exists());
    bundle.assert_clean();
}

#[test]
fn a_later_process_is_in_the_containers_group_or_below() {
    let bundle = Bundle::idle();
    runc(&bundle, &["run", "--detach", "c"]).ok();
    let pid_file = bundle.path().join("exec.pid");
    let path = pid_file.to_str().unwrap();
    let exec = |more: &[&str]| {
        let words = [
            &["exec", "-d", "--pid-file", path],
            more,
            &["c", "sleep", "100"],
        ];
        runc(&bundle, &words.concat())
    };
    let line = format!("0::{}", bundle.cgroup);
    exec(&[]).ok();
    assert_eq!(groups_of(&fs::read_to_string(&pid_file).unwrap()), line);
    fs::create_dir(group(&bundle).join("sub")).unwrap();
    exec(&["--cgroup", "/sub"]).ok();
    let below = groups_of(&fs::read_to_string(&pid_file).unwrap());
    assert_eq!(below, format!("{line}/sub"));
    exec(&["--cgroup", "/none"]).fails(255, "/none/cgroup.procs: no such file ");
    runc(&bundle, &["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

/// A later process may not be outside of a group that takes nobody.
#[test]
fn a_group_that_takes_nobody_is_an_error() {
    let bundle = Bundle::idle();
    runc(&bundle, &["run", "--detach", "c"]).ok();
    let threaded = group(&bundle).join("sub");
    fs::create_dir(&threaded).unwrap();
    write_control(&threaded.join("cgroup.type"), "threaded").unwrap();
    // Below a threaded group one is invalid until it is made threaded too.
    fs::create_dir(threaded.join("invalid")).unwrap();
    let exec = runc(&bundle, &["exec", "--cgroup", "/sub/invalid", "c", "true"]);
    exec.fails(255, "/sub/invalid/cgroup.procs: operation not supported");
    runc(&bundle, &["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn devices_are_kept_out() {
    let script = "cat /dev/made";
    let mut bundle = Bundle::with_script(script);
    let device = json!({"path": "/dev/made", "type": "c", "major": 10, "minor": 237});
    bundle.config["linux"]["devices"] = json!([device]);
    let rules = json!([{"allow": false, "access": "rwm"}]);
    bundle.config["linux"]["resources"] = json!({"devices": rules});
    let said = runc(&bundle, &["run", "c"]);
    assert!(
        said.err.contains("'/dev/made': Operation not permitted"),
        "{said:?}"
    );
    bundle.assert_clean();
}

/// Makes the kernel of this test, and of all it starts, one without `clone3`.
fn refuse_clone3() {
    let mut filter = ScmpFilterContext::new(ScmpAction::Allow).unwrap();
    filter.set_ctl_nnp(false).unwrap();
    let call = ScmpSyscall::from_name("clone3").unwrap();
    let enosys = ScmpAction::Errno(nix::libc::ENOSYS);
    filter.add_rule(enosys, call).unwrap();
    filter.load().unwrap();
}

#[test]
fn a_kernel_without_clone3_puts_all_into_the_group_as_well() {
    refuse_clone3();
    let bundle = Bundle::idle();
    runc(&bundle, &["run", "--detach", "c"]).ok();
    let line = format!("0::{}\n", bundle.cgroup);
    let group = group(&bundle);
    let init = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    assert_eq!(format!("{}\n", groups_of(&init)), line);
    let pid_file = bundle.path().join("exec.pid");
    let exec = ["exec", "-d", "--pid-file", pid_file.to_str().unwrap()];
    runc(&bundle, &[&exec[..], &["c", "sleep", "100"]].concat()).ok();
    let later = groups_of(&fs::read_to_string(&pid_file).unwrap());
    assert_eq!(format!("{later}\n"), line);
    runc(&bundle, &["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}
