//! Ways of runc that its users rely on, beyond what the specification says.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::Command;

use serde_json::json;

use crate::bundle::{Bundle, finish, wait, wait_until};

/// Returns the process a pidfd is of.
fn process_of(pidfd: &OwnedFd) -> i32 {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", pidfd.as_raw_fd())).unwrap();
    let pid = info.lines().find_map(|line| line.strip_prefix("Pid:"));
    pid.unwrap().trim().parse().unwrap()
}

#[test]
fn pidfds_go_over_a_socket() {
    let bundle = Bundle::idle();
    let path = bundle.path().join("pidfd.sock");
    let socket = path.to_str().unwrap();
    let refused = bundle.runc(&["run", "-d", "--pidfd-socket", socket, "c"]);
    refused.fails(1, "pidfd.sock");
    bundle.assert_clean();
    let listener = UnixListener::bind(&path).unwrap();
    let receive = || {
        let (stream, _) = listener.accept().unwrap();
        runc_rs::handover::receive(stream.as_fd()).unwrap()
    };
    bundle
        .runc(&["run", "-d", "--pidfd-socket", socket, "c"])
        .ok();
    assert_eq!(process_of(&receive()), bundle.pid("c"));
    let pid_file = bundle.path().join("exec.pid");
    let exec = ["exec", "-d", "--pidfd-socket", socket, "--pid-file"];
    let exec = [
        &exec[..],
        &[pid_file.to_str().unwrap(), "c", "sleep", "100"],
    ]
    .concat();
    bundle.runc(&exec).ok();
    let process = process_of(&receive());
    assert_eq!(fs::read_to_string(pid_file).unwrap(), process.to_string());
}

/// Returns a group of the container and what `--cgroup` says to mean a group
/// `sub` below it.
fn sub_group(bundle: &Bundle) -> (std::path::PathBuf, &'static str) {
    let groups = bundle.cgroup_directories();
    match groups
        .iter()
        .find(|group| group.starts_with("/sys/fs/cgroup/pids"))
    {
        Some(pids) => (pids.join("sub"), "pids:sub"),
        None => (groups[0].join("sub"), "sub"),
    }
}

#[test]
fn an_exec_goes_into_a_group_below_the_containers() {
    let bundle = Bundle::idle();
    bundle.start("c");
    let (group, word) = sub_group(&bundle);
    fs::create_dir(&group).unwrap();
    let pid_file = bundle.path().join("exec.pid");
    let exec = |word: &str| {
        let path = pid_file.to_str().unwrap();
        bundle.runc(&[
            "exec",
            "-d",
            "--pid-file",
            path,
            "--cgroup",
            word,
            "c",
            "sleep",
            "100",
        ])
    };
    exec(word).ok();
    let members = fs::read_to_string(group.join("cgroup.procs")).unwrap();
    assert_eq!(members.trim(), fs::read_to_string(&pid_file).unwrap());
    exec("..").fails(255, " .. is not a sub cgroup path");
    exec("missing").fails(255, "/missing/cgroup.procs: no such file ");
    exec("nothing:/").fails(255, "nothing");
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

/// Whoever manages groups of its own, as systemd does, looks for itself in
/// every hierarchy.
#[test]
fn a_container_that_may_write_groups_is_in_every_hierarchy() {
    let mut bundle = Bundle::idle();
    let mount = json!({"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup",
        "options": ["nosuid", "noexec", "nodev"]});
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
    mounts.push(mount);
    bundle.start("c");
    let groups = fs::read_to_string(format!("/proc/{}/cgroup", bundle.pid("c"))).unwrap();
    let mounted = fs::read_to_string("/proc/self/mountinfo").unwrap();
    for line in groups.lines() {
        let name = line.split(':').nth(1).unwrap();
        let mark = match name {
            "" => " - cgroup2 ".to_owned(),
            name => format!("rw,{name}"),
        };
        let is_mounted = mounted.contains(&mark);
        assert!(!is_mounted || line.ends_with(&bundle.cgroup), "{groups}");
    }
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn a_created_container_ends_when_it_is_asked_to() {
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        let bundle = Bundle::idle();
        bundle.runc(&["create", "c"]).ok();
        bundle.runc(&["kill", "c", "0"]).ok();
        bundle.runc(&["kill", "c", signal]).ok();
        bundle.wait_stopped("c");
        bundle
            .runc(&["kill", "c", "0"])
            .fails(1, "container not running");
        bundle.runc(&["kill", "-a", "c", "0"]).ok();
        assert_eq!(bundle.runc(&["ps", "-f", "json", "c"]).ok(), "[]\n");
        bundle.runc(&["delete", "c"]).ok();
        bundle.assert_clean();
    }
}

#[test]
fn hooks_that_fail_are_named_by_their_place() {
    let failing = json!({"path": "/bin/false"});
    for point in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
    ] {
        let mut bundle = Bundle::idle();
        let passing = json!({"path": "/bin/true"});
        bundle.config["hooks"] = json!({});
        bundle.config["hooks"][point] = json!([passing, failing]);
        let said = bundle.runc(&["run", "-d", "c"]);
        said.fails(1, &format!("error running {point} hook #1:"));
        bundle.assert_clean();
    }
}

#[test]
fn a_hook_in_the_container_has_its_processs_variables_and_place() {
    let mut bundle = Bundle::with_script("cat /seen /made");
    bundle.config["root"]["readonly"] = json!(false);
    bundle.config["process"]["env"] = json!(["ONE=two", "PATH=/bin"]);
    let script = |text: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", text]}]);
    bundle.config["hooks"] = json!({
        "createContainer": script("echo made >./made"),
        "startContainer": script("echo $ONE >/seen"),
    });
    assert_eq!(bundle.runc(&["run", "c"]).ok(), "two\nmade\n");
}

#[test]
fn an_empty_home_is_none() {
    let mut bundle = Bundle::with_script("echo $HOME");
    bundle.config["process"]["env"] = json!(["PATH=/bin", "HOME=/other", "HOME="]);
    let home = bundle.runc(&["run", "c"]).ok();
    assert!(home.starts_with('/') && home != "/other\n", "{home:?}");
}

/// What is mounted is mounted on the host; here that is a namespace made for it.
#[test]
fn a_container_without_a_mount_namespace_changes_its_root_only() {
    let mut bundle = Bundle::with_script("cat /etc/passwd >/dev/null && echo inside");
    let linux = &mut bundle.config["linux"];
    let namespaces = linux["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "mount");
    linux["maskedPaths"] = json!([]);
    linux["readonlyPaths"] = json!([]);
    let run = bundle.command(&["run", "c"]);
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--"]);
    command.arg(run.get_program()).args(run.get_args());
    if let Some(directory) = run.get_current_dir() {
        command.current_dir(directory);
    }
    let before = fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert_eq!(finish(command).ok(), "inside\n");
    assert_eq!(fs::read_to_string("/proc/self/mountinfo").unwrap(), before);
    bundle.assert_clean();
    let linux = &mut bundle.config["linux"];
    linux["maskedPaths"] = json!(["/proc/kcore"]);
    bundle
        .runc(&["run", "c"])
        .fails(1, "need a mount namespace");
}

#[test]
fn a_read_only_dev_has_its_console() {
    let mut bundle = Bundle::with_script("touch /dev/x 2>/dev/null; ls /dev/console /dev/x");
    bundle.config["process"]["terminal"] = json!(true);
    for mount in bundle.config["mounts"].as_array_mut().unwrap() {
        if mount["destination"] == "/dev" {
            mount["options"].as_array_mut().unwrap().push(json!("ro"));
        }
    }
    // Without a terminal of ours nothing is added to the lines.
    let said = bundle.runc(&["run", "c"]);
    assert!(said.out.contains("/dev/console\n"), "{said:?}");
    assert!(!said.out.contains("/dev/x\n"), "{said:?}");
}

#[test]
fn a_directory_is_not_removed_below_its_creator() {
    let bundle = Bundle::idle();
    let directory = bundle.root().join("c");
    fs::create_dir_all(&directory).unwrap();
    let lock = base::lock::FileLock::acquire(&directory.join("creating.lock")).unwrap();
    let mut deletion = bundle.command(&["delete", "--force", "c"]).spawn().unwrap();
    // Long enough for one that would not wait.
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert!(directory.exists());
    bundle.runc(&["create", "c"]).fails(1, "already exists");
    drop(lock);
    assert!(wait(&mut deletion).success());
    assert!(!directory.exists());
}

#[test]
fn a_starter_that_was_killed_leaves_a_container_that_can_be_started() {
    let bundle = Bundle::idle();
    bundle.runc(&["create", "c"]).ok();
    let gate = bundle.root().join("c/exec.fifo");
    assert!(Path::new(&gate).exists());
    // As one that was killed before it wrote: it had the gate open and locked.
    drop(fs::File::options().write(true).open(&gate).unwrap());
    assert_eq!(bundle.status("c"), "created");
    bundle.runc(&["start", "c"]).ok();
    wait_until("it runs", || bundle.status("c") == "running");
    bundle.runc(&["start", "c"]).fails(1, "it is running");
}

#[test]
fn a_callers_cpus_are_not_the_containers() {
    let script = "grep Cpus_allowed_list: /proc/self/status";
    let mut bundle = Bundle::with_script(&format!("{script}; exec sleep 1000"));
    let all = fs::read_to_string("/proc/self/status").unwrap();
    let all = all
        .lines()
        .find(|line| line.starts_with("Cpus_allowed_list:"));
    let all = format!("{}\n", all.unwrap());
    let bound = |bundle: &Bundle, arguments: &[&str]| {
        let command = bundle.command(arguments);
        let mut bound = Command::new("taskset");
        bound.args(["--cpu-list", "0"]).arg(command.get_program());
        bound.args(command.get_args());
        if let Some(directory) = command.get_current_dir() {
            bound.current_dir(directory);
        }
        finish(bound).ok()
    };
    bundle.config["process"]["args"] = json!(["sh", "-c", script]);
    assert_eq!(bound(&bundle, &["run", "a"]), all);
    bundle.config["process"]["args"] = json!(["sleep", "1000"]);
    bundle.config["process"]["execCPUAffinity"] = json!({"initial": "0", "final": "0"});
    bundle.start("b");
    assert_eq!(bundle.exec("b", script), "Cpus_allowed_list:\t0\n");
    bundle.runc(&["delete", "--force", "b"]).ok();
    bundle.config["process"]["execCPUAffinity"] = json!(null);
    bundle.start("c");
    assert_eq!(bound(&bundle, &["exec", "c", "sh", "-c", script]), all);
}

#[test]
fn without_criu_a_checkpoint_says_so_and_the_container_goes_on() {
    let bundle = Bundle::idle();
    let image = bundle.path().join("image");
    let image = image.to_str().unwrap();
    bundle.start("c");
    let mut checkpoint = bundle.command(&["checkpoint", "--image-path", image, "c"]);
    checkpoint.env("PATH", bundle.path());
    finish(checkpoint).fails(1, "cannot run criu");
    assert_eq!(bundle.status("c"), "running");
    let parent = [
        "checkpoint",
        "--image-path",
        image,
        "--parent-path",
        "/x",
        "c",
    ];
    bundle.runc(&parent).fails(1, "--parent-path");
    let restore = ["restore", "-d", "--image-path", image, "d"];
    bundle
        .runc(&restore)
        .fails(1, "container's cgroup is not empty");
    assert_eq!(
        bundle.status("c"),
        "running",
        "its groups are not the other's"
    );
    bundle.runc(&["delete", "--force", "c"]).ok();
    let mut restore = bundle.command(&restore);
    restore.env("PATH", bundle.path());
    finish(restore).fails(1, "cannot run criu");
    bundle.assert_clean();
    bundle.runc(&["create", "e"]).ok();
    let created = ["checkpoint", "--image-path", image, "e"];
    bundle
        .runc(&created)
        .fails(1, "cannot checkpoint container e: it is created");
}

/// The runtime opens what the user namespace cannot reach. What it has to say
/// meanwhile, that the groups are there, was once taken for the answer.
#[test]
fn sources_out_of_reach_are_mounted_in_any_order() {
    let mut bundle = Bundle::with_script("readlink /mnt/word");
    bundle.use_user_namespace();
    let hidden = bundle.path().join("hidden");
    fs::create_dir(&hidden).unwrap();
    fs::create_dir(hidden.join("source")).unwrap();
    symlink("reached", hidden.join("source/word")).unwrap();
    let closed = <fs::Permissions as std::os::unix::fs::PermissionsExt>::from_mode(0o700);
    fs::set_permissions(&hidden, closed).unwrap();
    let mount = json!({"destination": "/mnt", "type": "bind", "options": ["bind", "ro"],
        "source": hidden.join("source")});
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.insert(0, mount);
    assert_eq!(bundle.runc(&["run", "c"]).ok(), "reached\n");
    let mounts = bundle.config["mounts"].as_array_mut().unwrap();
    mounts.rotate_left(1);
    assert_eq!(bundle.runc(&["run", "c"]).ok(), "reached\n");
}
