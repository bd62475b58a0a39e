//! Tests of command lines and of what runtimes say.

use super::*;
use base::{ContainerId, RunId, RunNumber};
use engine_shim_api::{RuntimeConfig, StdinMode};
use std::process::Command;

fn config() -> ShimConfig {
    let container: ContainerId = "ab".repeat(32).parse().unwrap();
    ShimConfig {
        stream_owner: None,
        protocol: 1,
        run: RunId::new(container, RunNumber(3)),
        bundle: "/b".into(),
        runtime: RuntimeConfig {
            path: "/bin/runc".into(),
            arguments: vec!["--systemd-cgroup".into()],
            state_root: "/r".into(),
        },
        terminal: false,
        stdin: StdinMode::Null,
        log: None,
        events: "/e".into(),
        cgroup: "/c".into(),
    }
}

fn line(command: RuntimeCommand, console: Option<&str>) -> String {
    let files = CommandFiles {
        log: "/l".into(),
        pid: "/p".into(),
        console: console.map(Into::into),
    };
    let words = arguments(&config(), &command, &files);
    let words: Vec<_> = words.iter().map(|word| word.to_string_lossy()).collect();
    words.join(" ").replace(&"ab".repeat(32), "ID")
}

#[test]
fn command_lines() {
    let global = "--systemd-cgroup --root /r --log /l --log-format json";
    let exec = RuntimeCommand::Exec {
        process: "/x".into(),
    };
    let update = RuntimeCommand::Update {
        resources: "/y".into(),
    };
    let signal = |target| RuntimeCommand::Signal { signal: 9, target };
    let cases = [
        (
            line(RuntimeCommand::Run, None),
            "run --detach --bundle /b --pid-file /p ID.3",
        ),
        (
            line(RuntimeCommand::Run, Some("/s")),
            "run --detach --bundle /b --pid-file /p --console-socket /s ID.3",
        ),
        (
            line(exec, None),
            "exec --detach --process /x --pid-file /p ID.3",
        ),
        (line(signal(Target::Init), None), "kill ID.3 9"),
        (line(signal(Target::All), None), "kill --all ID.3 9"),
        (line(RuntimeCommand::Pause, None), "pause ID.3"),
        (line(RuntimeCommand::Resume, None), "resume ID.3"),
        (line(update, None), "update --resources /y ID.3"),
        (line(RuntimeCommand::Delete, None), "delete --force ID.3"),
    ];
    for (line, expected) in cases {
        assert_eq!(line, format!("{global} {expected}"));
    }
}

/// A wait status as the kernel hands it over.
fn status(command: &str) -> WaitStatus {
    let child = Command::new("/bin/sh").args(["-c", command]).spawn();
    let pid = Pid::from_child(&child.unwrap());
    let options = rustix::process::WaitOptions::empty();
    rustix::process::waitpid(Some(pid), options)
        .unwrap()
        .unwrap()
        .1
}

#[test]
fn the_reason_is_the_last_error_of_the_log_else_what_was_printed() {
    let log = br#"{"level":"warning","msg":"w","time":"t"}
{"level":"error","msg":"first","time":"t"}
not json
{"level":"error","msg":"exec: \"x\": not found","time":"t"}
{"level":"info","msg":"i","time":"t"}
"#;
    let one = status("exit 1");
    assert_eq!(
        failure_message(log, b"printed", one),
        "exec: \"x\": not found"
    );
    assert_eq!(failure_message(b"", b" printed\n", one), "printed");
    assert_eq!(
        failure_message(b"", b"", one),
        "the OCI runtime exited with status 1"
    );
    assert_eq!(
        failure_message(b"", b"", status("kill -9 $$")),
        "the OCI runtime was ended by signal 9"
    );
}

#[test]
fn a_signal_counts_as_128_more() {
    assert_eq!(exit_code(status("exit 7")), 7);
    assert_eq!(exit_code(status("kill -15 $$")), 143);
}

#[test]
fn a_command_that_takes_too_long_is_killed_and_says_so() {
    let directory = tempfile::tempdir().unwrap();
    let files = CommandFiles {
        log: directory.path().join("log"),
        pid: directory.path().join("pid"),
        console: None,
    };
    // It takes any arguments and never ends.
    let mut settings = config();
    settings.runtime.path = "/usr/bin/yes".into();
    settings.runtime.arguments = vec!["--".into()];
    let stdio = ChildStdio::quiet().unwrap();
    let environment = Environment::default();
    let spawned = spawn(
        (&settings, &environment),
        &RuntimeCommand::Pause,
        files,
        stdio,
    );
    let mut command = spawned.unwrap();
    command.kill_if_overdue(Instant::now());
    assert!(!command.overdue);
    command.kill_if_overdue(Instant::now() + COMMAND_LIMIT);
    let options = rustix::process::WaitOptions::empty();
    let ended = rustix::process::waitpid(Some(command.pid), options);
    let status = ended.unwrap().unwrap().1;
    assert_eq!(status.terminating_signal(), Some(9));
    let reason = command.failure(status, b"");
    assert_eq!(reason, "the OCI runtime did not finish in time");
}

#[test]
fn a_process_that_has_ended_is_a_conflict() {
    let kind = |reason: &str| runtime_failure(reason.to_owned()).kind;
    assert_eq!(kind("container not running"), FailureKind::Conflict);
    assert_eq!(kind("process already finished"), FailureKind::Conflict);
    assert_eq!(kind("permission denied"), FailureKind::Internal);
}
