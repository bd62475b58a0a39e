//! From creation to removal, and what happens when a step is cut short.

use std::fs;
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::bundle::{Bundle, finish, wait, wait_until};

const FAST_EXITS: usize = 200;
const KILLED_CREATIONS: u32 = 24;

#[test]
fn a_container_goes_through_its_states() {
    let bundle = Bundle::with_script("echo up >/tmp/up; exec sleep 1000");
    bundle.runc(&["create", "--pid-file", "pid", "c"]).ok();
    let state = bundle.state("c");
    assert_eq!(state["status"], "created");
    assert_eq!(state["id"], "c");
    assert_eq!(state["ociVersion"], "1.1.0");
    assert_eq!(state["bundle"], bundle.path().to_str().unwrap());
    assert_eq!(state["rootfs"], bundle.rootfs().to_str().unwrap());
    assert_eq!(state["owner"], "root");
    let pid = fs::read_to_string(bundle.path().join("pid")).unwrap();
    assert_eq!(pid, state["pid"].to_string());
    assert!(!bundle.rootfs().join("tmp/up").exists());

    bundle.runc(&["start", "c"]).ok();
    assert_eq!(bundle.status("c"), "running");
    wait_until("the program runs", || {
        bundle.rootfs().join("tmp/up").exists()
    });
    bundle.runc(&["start", "c"]).fails(1, "running");
    bundle.runc(&["delete", "c"]).fails(1, "not stopped");

    bundle.runc(&["kill", "c", "KILL"]).ok();
    bundle.wait_stopped("c");
    assert_eq!(bundle.state("c")["pid"], 0);
    bundle
        .runc(&["kill", "c", "TERM"])
        .fails(1, "container not running");
    bundle.runc(&["start", "c"]).fails(1, "stopped");
    bundle.runc(&["exec", "c", "true"]).fails(255, "stopped");
    bundle.runc(&["delete", "c"]).ok();
    bundle.runc(&["state", "c"]).fails(1, "does not exist");
    bundle.assert_clean();
}

#[test]
fn a_created_container_can_be_deleted_without_force() {
    let bundle = Bundle::idle();
    bundle.runc(&["create", "c"]).ok();
    let pid = bundle.pid("c");
    bundle.runc(&["delete", "c"]).ok();
    bundle.assert_clean();
    assert!(has_ended(pid));
}

#[test]
fn run_returns_the_exit_code_and_removes_the_container() {
    let bundle = Bundle::with_script("echo out; echo err >&2; exit 7");
    let output = bundle.runc(&["run", "c"]);
    assert_eq!(
        (output.code, output.out.as_str(), output.err.as_str()),
        (7, "out\n", "err\n")
    );
    bundle.assert_clean();
}

#[test]
fn run_can_keep_an_ended_container() {
    let bundle = Bundle::with_script("exit 3");
    assert_eq!(bundle.runc(&["run", "--keep", "c"]).code, 3);
    assert_eq!(bundle.status("c"), "stopped");
    bundle.runc(&["delete", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn run_returns_128_and_the_signal_that_ended_init() {
    let bundle = Bundle::with_script("touch /tmp/up; exec sleep 1000");
    let mut child = bundle.command(&["run", "c"]).spawn().unwrap();
    wait_until("it runs", || bundle.rootfs().join("tmp/up").exists());
    bundle.runc(&["kill", "c", "9"]).ok();
    assert_eq!(wait(&mut child).code(), Some(137));
    bundle.assert_clean();
}

#[test]
fn run_passes_signals_on() {
    let script = "trap 'exit 42' TERM; touch /tmp/up; while :; do sleep 0.01; done";
    let bundle = Bundle::with_script(script);
    let mut child = bundle.command(&["run", "c"]).spawn().unwrap();
    wait_until("it runs", || bundle.rootfs().join("tmp/up").exists());
    kill(Pid::from_raw(child.id() as i32), Signal::SIGTERM).unwrap();
    assert_eq!(wait(&mut child).code(), Some(42));
}

/// A reference implementation loses the SIGCHLD of a container that ends
/// before it waits, and hangs.
#[test]
fn no_end_is_missed_however_fast() {
    let mut bundle = Bundle::idle();
    bundle.config["process"]["args"] = json!(["true"]);
    for round in 0..FAST_EXITS {
        let output = bundle.runc(&["run", "c"]);
        assert_eq!(output.code, 0, "round {round}: {output:?}");
    }
    bundle.assert_clean();
}

#[test]
fn a_signal_never_marks_a_container_stopped() {
    let bundle = Bundle::idle();
    bundle.start("c");
    // Init of a pid namespace ignores what it has no handler for.
    bundle.runc(&["kill", "c"]).ok();
    bundle.runc(&["kill", "c", "SIGCONT"]).ok();
    bundle.runc(&["kill", "c", "USR1"]).ok();
    assert_eq!(bundle.status("c"), "running");
    bundle
        .runc(&["kill", "c", "NOPE"])
        .fails(1, "unknown signal");
    assert_eq!(bundle.exec("c", "echo alive"), "alive\n");
}

#[test]
fn kill_all_reaches_processes_init_knows_nothing_of() {
    let bundle = Bundle::idle();
    bundle.start("c");
    bundle
        .runc(&["exec", "--detach", "--pid-file", "pid", "c", "sleep", "999"])
        .ok();
    let pid: i32 = fs::read_to_string(bundle.path().join("pid"))
        .unwrap()
        .parse()
        .unwrap();
    bundle.runc(&["kill", "--all", "c", "KILL"]).ok();
    bundle.wait_stopped("c");
    wait_until("the other process ends", || has_ended(pid));
}

/// Whether a process is gone, or only waits for whoever inherited it.
fn has_ended(pid: i32) -> bool {
    let status = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    status.is_empty() || status.contains(") Z ")
}

#[test]
fn a_reused_pid_is_neither_the_container_nor_signalled() {
    let bundle = Bundle::idle();
    bundle.start("c");
    let path = bundle.root().join("c/state.json");
    let original = fs::read(&path).unwrap();
    let mut record: serde_json::Value = serde_json::from_slice(&original).unwrap();
    let started = record["init"]["start_time"].as_u64().unwrap();
    record["init"]["start_time"] = json!(started + 1);
    let write = |bytes: &[u8]| {
        base::file::replace(&path, bytes, base::file::FileMode::Private).unwrap();
    };
    write(&serde_json::to_vec(&record).unwrap());
    assert_eq!(bundle.status("c"), "stopped");
    bundle
        .runc(&["kill", "c", "KILL"])
        .fails(1, "container not running");
    bundle.runc(&["exec", "c", "true"]).fails(255, "stopped");
    write(&original);
    assert_eq!(bundle.status("c"), "running");
}

#[test]
fn of_many_creations_of_one_id_exactly_one_wins() {
    let bundle = Bundle::idle();
    let mut children: Vec<_> = (0..8)
        .map(|_| {
            bundle
                .command(&["create", "c"])
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    let codes: Vec<_> = children
        .iter_mut()
        .map(|child| wait(child).code())
        .collect();
    assert_eq!(
        codes.iter().filter(|code| **code == Some(0)).count(),
        1,
        "{codes:?}"
    );
    bundle.runc(&["create", "c"]).fails(1, "already exists");
    assert_eq!(bundle.status("c"), "created");
    bundle.runc(&["start", "c"]).ok();
    assert_eq!(bundle.exec("c", "echo alive"), "alive\n");
}

/// Cuts creations at moments spread over their whole length.
#[test]
fn what_a_killed_creation_leaves_is_removed_by_delete() {
    let bundle = Bundle::idle();
    for step in 0..KILLED_CREATIONS {
        let mut child = bundle
            .command(&["create", "c"])
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let begun = std::time::Instant::now();
        let moment = std::time::Duration::from_micros(u64::from(step) * 1500);
        while begun.elapsed() < moment && child.try_wait().unwrap().is_none() {
            std::thread::yield_now();
        }
        child.kill().unwrap();
        child.wait().unwrap();
        bundle.runc(&["delete", "--force", "c"]).ok();
        bundle.assert_clean();
    }
    bundle.runc(&["create", "c"]).ok();
}

#[test]
fn an_unfinished_creation_is_ended_by_force_only() {
    let mut bundle = Bundle::idle();
    let pid_file = bundle.path().join("hook");
    let script = format!(
        "echo $$ >{0}.new; mv {0}.new {0}; exec sleep 1000",
        pid_file.display()
    );
    let hook =
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}]);
    bundle.config["hooks"] = json!({"createRuntime": hook});
    let mut child = bundle
        .command(&["create", "c"])
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    wait_until("the hook runs", || pid_file.exists());
    assert_eq!(bundle.status("c"), "creating");
    bundle.runc(&["start", "c"]).fails(1, "creating");
    bundle.runc(&["delete", "c"]).fails(1, "creating");
    bundle.runc(&["delete", "--force", "c"]).ok();
    assert!(!wait(&mut child).success());
    bundle.assert_clean();
    // A hook is a process of the host, not the container's.
    let hook: i32 = fs::read_to_string(&pid_file)
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    kill(Pid::from_raw(hook), Signal::SIGKILL).unwrap();
}

#[test]
fn a_failed_creation_leaves_nothing() {
    let mut bundle = Bundle::idle();
    bundle.config["process"]["args"] = json!(["nope"]);
    bundle
        .runc(&["create", "c"])
        .fails(1, "executable file not found in $PATH");
    bundle.config["process"]["args"] = json!(["/etc/passwd"]);
    bundle.runc(&["run", "c"]).fails(1, "permission denied");
    bundle.config["process"]["args"] = json!(["/no/such"]);
    bundle
        .runc(&["run", "--detach", "c"])
        .fails(1, "no such file or directory");
    bundle.config["process"]["args"] = json!(["true"]);
    bundle
        .runc(&["create", "--pid-file", "no/such/dir", "c"])
        .fails(1, "no/such");
    bundle.config["mounts"][0]["type"] = json!("nosuchfs");
    assert_eq!(bundle.runc(&["create", "c"]).code, 1);
    bundle.config["root"]["path"] = json!("missing");
    bundle.runc(&["create", "c"]).fails(1, "missing");
    bundle.assert_clean();
}

#[test]
fn hooks_run_around_the_life_and_get_the_state() {
    let mut bundle = Bundle::with_script("exit 0");
    let log = bundle.path().join("hooks");
    let hook = |name: &str| {
        let script = format!("echo {name} $(cat) >>{}", log.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}])
    };
    bundle.config["hooks"] = json!({
        "createRuntime": hook("createRuntime"),
        "poststart": hook("poststart"),
        "poststop": hook("poststop"),
    });
    bundle.runc(&["run", "c"]).ok();
    let text = fs::read_to_string(&log).unwrap();
    let names: Vec<_> = text
        .lines()
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    assert_eq!(names, ["createRuntime", "poststart", "poststop"]);
    for line in text.lines() {
        let state: serde_json::Value =
            serde_json::from_str(line.split_once(' ').unwrap().1).unwrap();
        assert_eq!(state["id"], "c", "{line}");
        assert_eq!(state["bundle"], bundle.path().to_str().unwrap(), "{line}");
    }
}

#[test]
fn pause_freezes_and_resume_thaws() {
    let bundle = Bundle::idle();
    bundle.start("c");
    bundle.runc(&["pause", "c"]).ok();
    assert_eq!(bundle.status("c"), "paused");
    bundle.runc(&["pause", "c"]).fails(1, "paused");
    bundle.runc(&["exec", "c", "true"]).fails(255, "paused");
    bundle.runc(&["resume", "c"]).ok();
    assert_eq!(bundle.status("c"), "running");
    bundle.runc(&["resume", "c"]).fails(1, "running");
    assert_eq!(bundle.exec("c", "echo on"), "on\n");
    bundle.runc(&["pause", "c"]).ok();
    bundle.runc(&["kill", "c", "KILL"]).ok();
    bundle.wait_stopped("c");
    bundle.runc(&["delete", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn a_paused_container_can_be_deleted_by_force() {
    let bundle = Bundle::idle();
    bundle.start("c");
    bundle.runc(&["pause", "c"]).ok();
    bundle.runc(&["delete", "c"]).fails(1, "paused");
    bundle.runc(&["delete", "--force", "c"]).ok();
    bundle.assert_clean();
}

#[test]
fn descriptors_are_passed_on_only_as_asked() {
    let bundle = Bundle::with_script("ls /proc/self/fd; cat <&3");
    bundle
        .runc(&["run", "--preserve-fds", "1", "c"])
        .fails(1, "descriptor 3");
    let file = bundle.path().join("given");
    fs::copy(bundle.rootfs().join("etc/group"), &file).unwrap();
    let shell = |script: &str| {
        let runc = bundle.command(&["run"]);
        let mut command = std::process::Command::new("sh");
        command.current_dir(bundle.path()).stdin(Stdio::null());
        command
            .env("RUNC", runc.get_program())
            .env("ROOT", bundle.root());
        command.args(["-c", script]);
        finish(command)
    };
    let output = shell("exec \"$RUNC\" --root \"$ROOT\" run --preserve-fds 1 c 3<given 4<given");
    let text = output.ok();
    assert!(text.contains("wheel:x:10"), "{text}");
    // 0 to 2, the given one, and the directory that ls itself reads.
    assert_eq!(
        text.lines()
            .filter(|line| line.parse::<u32>().is_ok())
            .count(),
        5,
        "{text}"
    );
}
