//! What a container, or its image, must not be able to do.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::symlink;

use serde_json::json;

use crate::bundle::Bundle;

/// The image's /dev leads to a directory of the host: device links would be
/// made, and a file called ptmx removed, there (CVE-2026-41579 in runc).
#[test]
fn a_dev_that_is_a_link_leads_nowhere_and_the_host_is_untouched() {
    let mut bundle = Bundle::with_script("ls -l /dev/null /dev/ptmx");
    let host = tempfile::tempdir().unwrap();
    fs::copy("/usr/bin/busybox", host.path().join("ptmx")).unwrap();
    fs::remove_dir(bundle.rootfs().join("dev")).unwrap();
    symlink(host.path(), bundle.rootfs().join("dev")).unwrap();
    for mounts in [bundle.config["mounts"].clone(), json!([])] {
        bundle.config["mounts"] = mounts;
        let said = bundle.runc(&["run", "c"]);
        assert!(said.code == 0 || !said.err.is_empty(), "{said:?}");
    }
    let names: Vec<_> = fs::read_dir(host.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["ptmx"]);
    assert_eq!(
        fs::read(host.path().join("ptmx")).unwrap(),
        fs::read("/usr/bin/busybox").unwrap()
    );
    bundle.assert_clean();
}

/// What the caller binds there is the container's /dev as it is: no node is
/// made in it, as with runc.
#[test]
fn a_bind_on_dev_is_left_as_it_is() {
    let mut bundle = Bundle::with_script("ls -A /dev");
    let host = tempfile::tempdir().unwrap();
    fs::create_dir(host.path().join("own")).unwrap();
    bundle.config["mounts"] = json!([{
        "destination": "/dev", "type": "bind", "source": host.path(), "options": ["rbind"],
    }]);
    assert_eq!(bundle.runc(&["run", "c"]).ok(), "own\n");
    assert_eq!(fs::read_dir(host.path()).unwrap().count(), 1);
    bundle.assert_clean();
}

#[test]
fn labels_nobody_would_enforce_are_refused() {
    let mut bundle = Bundle::idle();
    bundle.config["process"]["selinuxLabel"] = json!("system_u:system_r:container_t:s0");
    bundle.runc(&["run", "c"]).fails(1, "selinux is disabled");
}

/// Whoever has a runtime process's executable open for writing replaces the
/// runtime on the host (CVE-2019-5736).
#[test]
fn the_runtime_file_cannot_be_opened_for_writing_through_init() {
    let bundle = Bundle::idle();
    // A copy that no other test executes: a file that is executed is busy.
    let program = bundle.path().join("runc-rs");
    let create = bundle.command(&["create", "c"]);
    fs::copy(create.get_program(), &program).unwrap();
    let mut command = std::process::Command::new(program);
    command.current_dir(bundle.path()).args(create.get_args());
    crate::bundle::finish(command).ok();
    let path = format!("/proc/{}/exe", bundle.pid("c"));
    let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
    let handle = rustix::fs::open(&path, flags, rustix::fs::Mode::empty()).unwrap();
    // While it is executed it is busy anyway; that ends with the process.
    bundle.runc(&["delete", "c"]).ok();
    let path = format!("/proc/self/fd/{}", handle.as_raw_fd());
    let error = OpenOptions::new().write(true).open(&path).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(nix::libc::EROFS), "{error}");
}

#[test]
fn the_callers_groups_do_not_leak_into_the_container() {
    let bundle = Bundle::with_script("grep Groups /proc/self/status");
    let mut command = std::process::Command::new("setpriv");
    let runc = bundle.command(&["run", "c"]);
    command
        .args(["--groups", "4,24"])
        .arg(runc.get_program())
        .args(runc.get_args());
    command.current_dir(bundle.path());
    assert_eq!(crate::bundle::finish(command).ok().trim_end(), "Groups:");
}

#[test]
fn the_environment_is_the_specifications_and_home() {
    let mut bundle = Bundle::idle();
    bundle.config["process"]["args"] = json!(["env"]);
    bundle.config["process"]["env"] = json!(["Z=1", "A=x=y", "PATH=/bin"]);
    assert_eq!(
        bundle.runc(&["run", "c"]).ok(),
        "Z=1\nA=x=y\nPATH=/bin\nHOME=/root\n"
    );
    bundle.config["process"]["user"] = json!({"uid": 4711, "gid": 0});
    bundle.config["process"]["env"] = json!([]);
    bundle.config["process"]["args"] = json!(["/bin/env"]);
    assert_eq!(bundle.runc(&["run", "c"]).ok(), "HOME=/\n");
}

#[test]
fn an_explicit_false_no_new_privileges_runs_with_a_filter() {
    let mut bundle = Bundle::with_script("grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status");
    bundle.config["process"]["noNewPrivileges"] = json!(false);
    bundle.config["linux"]["seccomp"] = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["keyctl"], "action": "SCMP_ACT_ERRNO"}]});
    assert_eq!(
        bundle.runc(&["run", "c"]).ok(),
        "NoNewPrivs:\t0\nSeccomp:\t2\n"
    );
}

#[test]
fn an_absent_capability_set_is_empty() {
    let mut bundle = Bundle::with_script("grep -E '^Cap(Eff|Amb)' /proc/self/status");
    bundle.config["process"]["capabilities"] = json!({"bounding": ["CAP_KILL"]});
    // Root gains what is in the bounding set on execve; nothing more.
    let text = bundle.runc(&["run", "c"]).ok();
    assert_eq!(
        text,
        "CapEff:\t0000000000000020\nCapAmb:\t0000000000000000\n"
    );
}

#[test]
fn a_missing_working_directory_is_made_inside_the_root() {
    let mut bundle = Bundle::with_script("pwd");
    bundle.config["process"]["cwd"] = json!("/a/b");
    assert_eq!(bundle.runc(&["run", "c"]).ok(), "/a/b\n");
    let outside = tempfile::tempdir().unwrap();
    symlink(outside.path(), bundle.rootfs().join("link")).unwrap();
    bundle.config["process"]["cwd"] = json!("/link/c");
    assert_ne!(bundle.runc(&["run", "c"]).code, -1);
    assert_eq!(fs::read_dir(outside.path()).unwrap().count(), 0);
}

#[test]
fn loopback_is_up_in_a_new_network_namespace() {
    let bundle = Bundle::with_script("cat /sys/class/net/lo/flags");
    assert_eq!(bundle.runc(&["run", "c"]).ok(), "0x9\n");
}

#[test]
fn an_unprivileged_user_can_reopen_its_standard_output() {
    let mut bundle = Bundle::with_script("echo hello >/proc/self/fd/1");
    bundle.config["process"]["user"] = json!({"uid": 33, "gid": 34});
    assert_eq!(bundle.runc(&["run", "c"]).ok(), "hello\n");
}

#[test]
fn signals_are_neither_blocked_nor_ignored_in_the_container() {
    let mut bundle = Bundle::idle();
    let command = ["grep", "-E", "^Sig(Blk|Ign)", "/proc/self/status"];
    bundle.config["process"]["args"] = json!(command);
    let expected = "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n";
    assert_eq!(bundle.runc(&["run", "c"]).ok(), expected);
    bundle.config["process"]["args"] = json!(["sleep", "1000"]);
    bundle.start("c");
    let exec = [&["exec", "c"], &command[..]].concat();
    assert_eq!(bundle.runc(&exec).ok(), expected);
}

/// CVE-2024-21626: a descriptor of the runtime's, to a directory of the host, became
/// the working directory. That of the container's own root is nothing of the host's.
#[test]
fn no_descriptor_leads_a_working_directory_to_the_host() {
    let mut bundle = Bundle::idle();
    let is_outside = |said: &str| {
        let inodes = said
            .lines()
            .filter_map(|line| line.split_whitespace().next());
        let inodes: Vec<&str> = inodes.collect();
        inodes.len() != 2 || inodes[0] != inodes[1]
    };
    bundle.start("c");
    for number in 0..32 {
        let cwd = format!("/proc/self/fd/{number}");
        let said = bundle.runc(&["exec", "--cwd", &cwd, "c", "ls", "-di", ".", "/"]);
        assert!(said.code != 0 || !is_outside(&said.out), "{cwd}: {said:?}");
    }
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.config["process"]["args"] = json!(["ls", "-di", ".", "/"]);
    for number in 0..32 {
        let cwd = format!("/proc/self/fd/{number}");
        bundle.config["process"]["cwd"] = json!(cwd);
        let said = bundle.runc(&["run", "c"]);
        assert!(said.code != 0 || !is_outside(&said.out), "{cwd}: {said:?}");
    }
    bundle.assert_clean();
}

/// CVE-2022-29162: capabilities that are asked for were inheritable, and came back
/// in programs with inheritable capabilities of their own.
#[test]
fn capabilities_of_a_later_process_are_not_inheritable() {
    let bundle = Bundle::idle();
    bundle.start("c");
    let words = ["exec", "--cap", "CAP_SYS_CHROOT", "c"];
    let said = bundle.runc(&[&words[..], &["grep", "Cap", "/proc/self/status"]].concat());
    let said = said.ok();
    let set = |name: &str| {
        let line = said
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .unwrap();
        u64::from_str_radix(line.trim(), 16).unwrap()
    };
    const SYS_CHROOT: u64 = 1 << 18;
    assert_eq!(set("CapEff:") & SYS_CHROOT, SYS_CHROOT, "{said}");
    assert_eq!((set("CapInh:"), set("CapAmb:")), (0, 0), "{said}");
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}
