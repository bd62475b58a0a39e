//! What a shim does when others fail: the runtime, the engine, the disk, itself.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use base::file::{FileMode, replace};
use engine_shim_api::{CallError, ControlReply, ControlRequest};

use crate::support::host::{is_alive, is_held, runc, runtimes};
use crate::support::{Fixture, LIMIT, eventually};

/// A runtime that is a shell script; `$command` is what it was asked.
fn fake(fixture: &mut Fixture, script: &str) -> PathBuf {
    let path = fixture.root.path().join("runtime.sh");
    let text = format!(
        "#!/bin/sh\nfor word; do case $word in run|exec|kill|pause|resume|delete) command=$word; break;; esac; done\n\
         echo \"$command\" >>'{0}/asked'\npid_file=$(echo \"$*\" | sed -n 's/.*--pid-file \\([^ ]*\\).*/\\1/p')\n\
         log=$(echo \"$*\" | sed -n 's/.*--log \\([^ ]*\\).*/\\1/p')\n{script}\n",
        fixture.root.path().display()
    );
    replace(&path, text.as_bytes(), FileMode::Private).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    fixture.config.runtime.path = path.clone();
    path
}

fn with_fake(script: &str) -> Fixture {
    let mut fixture = Fixture::new(&runc());
    fake(&mut fixture, script);
    fixture
}

fn start_failure(fixture: &Fixture) -> String {
    match fixture.control().call(ControlRequest::Start, LIMIT) {
        Err(CallError::Refused(failure)) => failure.message,
        other => panic!("{other:?}"),
    }
}

fn asked(fixture: &Fixture) -> Vec<String> {
    let text = std::fs::read_to_string(fixture.root.path().join("asked")).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn a_start_that_fails_returns_the_runtimes_reason_and_is_undone() {
    for runtime in runtimes() {
        let mut fixture = Fixture::shell(&runtime, "true");
        crate::support::bundle::change(&fixture.config.bundle, |spec| {
            spec["process"]["args"] = serde_json::json!(["/no/such/program"]);
        });
        fixture.start_shim();
        let reason = start_failure(&fixture);
        assert!(reason.contains("/no/such/program"), "{reason}");
        let state = fixture
            .config
            .runtime
            .state_root
            .join(fixture.config.run.to_string());
        assert!(!state.exists());
        assert_eq!(fixture.events(), [""; 0]);
        assert_eq!(
            fixture.stdout(),
            "",
            "the runtime's words are not the container's"
        );
        fixture.ask(ControlRequest::Shutdown);
        eventually("the shim ends", || !is_held(&fixture));
        assert!(!fixture.file("exit.json").exists());
    }
}

#[test]
fn what_a_failing_runtime_prints_is_the_reason_if_its_log_is_empty() {
    let mut fixture = with_fake("[ $command = delete ] && exit 0; echo broken bundle >&2; exit 1");
    fixture.start_shim();
    assert_eq!(start_failure(&fixture), "broken bundle");
    assert_eq!(asked(&fixture), ["run", "delete"]);
    fixture.ask(ControlRequest::Shutdown);
}

#[test]
fn a_runtime_that_is_missing_or_leaves_no_pid_is_a_failed_start() {
    let mut missing = Fixture::new("/no/such/runtime".as_ref());
    missing.start_shim();
    let reason = start_failure(&missing);
    assert!(reason.contains("/no/such/runtime"), "{reason}");

    let mut silent = with_fake("exit 0");
    silent.start_shim();
    let reason = start_failure(&silent);
    assert!(reason.contains("process-0.pid"), "{reason}");
    assert_eq!(asked(&silent), ["run", "delete"]);
}

#[test]
fn a_terminal_that_is_not_sent_is_a_failed_start() {
    let mut fixture = with_fake("[ $command = run ] && { sleep 3 & echo $! >$pid_file; }; exit 0");
    fixture.config.terminal = true;
    fixture.start_shim();
    assert_eq!(start_failure(&fixture), "the OCI runtime sent no terminal");
}

/// Init is a child of the runtime, orphaned when it ends, as with a real one. It
/// waits for that: a shell takes the status of children that end before it.
const FAKE_INIT: &str = "[ $command = run ] && { \
    sh -c \"while kill -0 $$ 2>/dev/null; do :; done; $INIT\" & echo $! >$pid_file; }; exit 0";

#[test]
fn an_exit_status_that_the_runtime_kept_is_255() {
    let script = "[ $command = run ] && { sh -c 'exit 5' & echo $! >$pid_file; wait; }; exit 0";
    let mut fixture = with_fake(script);
    fixture.run();
    assert_eq!(fixture.wait().exit_code, 255);
    assert!(fixture.shim_log().contains("kept the exit status"));
}

#[test]
fn a_process_that_outlives_init_and_holds_its_output_delays_the_end_for_a_bounded_time() {
    let script = FAKE_INIT.replace(
        "$INIT",
        "sleep 5 & echo $! >\"$0.sleeper\"; echo out; exit 4",
    );
    let mut fixture = with_fake(&script.replace("$0", "$(dirname $pid_file)/x"));
    fixture.run();
    let record = fixture.wait();
    assert_eq!(record.exit_code, 4);
    assert_eq!(fixture.stdout(), "out\n");
}

#[test]
fn a_delete_that_fails_is_repeated_and_the_run_is_cleaned_with_the_reason() {
    let script = FAKE_INIT.replace("$INIT", "true");
    let mut fixture = with_fake(&format!(
        "[ $command = delete ] && {{ echo busy >&2; exit 1; }}\n{script}"
    ));
    fixture.run();
    fixture.wait();
    assert_eq!(
        asked(&fixture),
        ["run", "delete", "delete", "delete", "delete", "delete"]
    );
    let events = crate::support::host::events(&fixture.config.events);
    assert_eq!(events.last().unwrap().data, r#"{"failure":"busy"}"#);
}

#[test]
fn runtime_commands_run_one_at_a_time_in_the_order_asked() {
    let script = FAKE_INIT.replace("$INIT", "exec sleep 300");
    let script = format!(
        "lock=$(dirname $log)/busy; mkdir $lock || echo overlap >>$(dirname $log)/overlaps; sleep 0.02; rmdir $lock\n\
         [ $command = kill ] && [ \"$word\" ] && case \"$*\" in *' 9') kill -9 $(cat $(dirname $log)/init);; esac\n{}",
        script.replace(
            ">$pid_file",
            ">$pid_file; cp $pid_file $(dirname $log)/init"
        )
    );
    let mut fixture = with_fake(&script);
    fixture.run();
    let mut control = fixture.control();
    let signal = |signal| ControlRequest::Signal { signal, all: false };
    for request in [
        signal(1),
        ControlRequest::Pause,
        ControlRequest::Resume,
        signal(2),
        signal(9),
    ] {
        control.send(request).unwrap();
    }
    assert_eq!(fixture.wait().exit_code, 137);
    let expected = ["run", "kill", "pause", "resume", "kill", "kill", "delete"];
    assert_eq!(asked(&fixture), expected);
    assert!(!fixture.file("overlaps").exists());
}

#[test]
fn a_killed_shim_leaves_the_lock_free_and_init_alive() {
    let mut fixture = Fixture::shell(&runc(), "sleep 300");
    let pid = fixture.run();
    assert!(is_held(&fixture));
    fixture.shim().kill().unwrap();
    fixture.shim().wait().unwrap();
    assert!(!is_held(&fixture));
    assert!(is_alive(pid));
    assert!(!fixture.file("exit.json").exists());
    assert_eq!(fixture.events(), ["container.started"]);
}

#[test]
fn only_one_shim_serves_a_run() {
    let mut fixture = Fixture::shell(&runc(), "true");
    fixture.start_shim();
    let output = fixture.command().output().unwrap();
    assert!(!output.status.success());
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("another shim serves this run"), "{errors}");
    fixture.start();
    fixture.wait();
}

#[test]
fn termination_signals_do_not_end_a_shim() {
    let mut fixture = Fixture::shell(&runc(), "sleep 0.2; exit 6");
    fixture.run();
    let pid = fixture.shim().id().to_string();
    for signal in ["TERM", "INT", "HUP", "QUIT", "USR1", "PIPE"] {
        let sent = Command::new("kill").args(["-s", signal, &pid]).status();
        assert!(sent.unwrap().success());
    }
    assert_eq!(fixture.wait().exit_code, 6);
}

#[test]
fn a_bad_configuration_is_refused_before_anything_is_made() {
    let mut fixture = Fixture::shell(&runc(), "true");
    fixture.config.protocol = 99;
    fixture.write_config();
    let output = fixture.command().output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert_eq!(errors, "engine-shim: protocol 99 is not supported\n");
    assert_eq!(output.stdout, b"");
    replace(&fixture.file("config.json"), b"{", FileMode::Private).unwrap();
    let output = fixture.command().output().unwrap();
    assert!(
        String::from_utf8(output.stderr)
            .unwrap()
            .contains("cannot read the configuration")
    );
    assert!(!fixture.file("lock").exists() && !fixture.file("control.sock").exists());
}

#[test]
fn an_engine_that_comes_back_finds_everything() {
    let mut fixture = Fixture::shell(&runc(), "read a; echo got $a");
    fixture.config.stdin = engine_shim_api::StdinMode::Open;
    let pid = fixture.run();
    // Each call is a connection of its own: an engine that died has left none.
    let status = fixture.ask(ControlRequest::Status);
    let ControlReply::Status {
        pid: told,
        started,
        paused,
        execs,
    } = status
    else {
        panic!("{status:?}");
    };
    assert_eq!((told, paused, execs.len()), (Some(pid), false, 0));
    assert!(started.is_some());
    let mut client = fixture.attach(None);
    std::io::Write::write_all(&mut client, b"again\n").unwrap();
    let [out, _] = crate::support::unframe(&crate::support::read_all(&client));
    assert_eq!(out, b"got again\n");
    fixture.wait();
}

#[test]
fn the_exit_is_recorded_when_delete_runs_and_cleaned_is_not() {
    let script = FAKE_INIT.replace("$INIT", "exit 5");
    let look = "[ $command = delete ] && cat $(dirname $log)/../../events/*.jsonl \
                $(dirname $log)/exit.json >$(dirname $log)/at-delete\n";
    let mut fixture = with_fake(&format!("{look}{script}"));
    fixture.run();
    fixture.wait();
    let seen = std::fs::read_to_string(fixture.file("at-delete")).unwrap();
    assert!(seen.contains("container.exited"), "{seen}");
    assert!(seen.contains(r#""exit_code":5"#), "{seen}");
    assert!(!seen.contains("container.cleaned"), "{seen}");
}

#[test]
fn a_client_that_catches_up_after_the_end_lets_the_shim_end_at_once() {
    let mut fixture = Fixture::shell(&runc(), "exec yes");
    fixture.start_shim();
    let slow = fixture.attach(None);
    fixture.start();
    let log = fixture.log_files().place.file(0);
    eventually("output comes", || {
        std::fs::metadata(&log).is_ok_and(|metadata| metadata.len() > 100_000)
    });
    fixture.ask(ControlRequest::Signal {
        signal: 9,
        all: false,
    });
    eventually("the run is cleaned", || {
        fixture
            .events()
            .last()
            .is_some_and(|kind| kind == "container.cleaned")
    });
    let begin = std::time::Instant::now();
    crate::support::read_all(&slow);
    fixture.wait();
    assert!(begin.elapsed() < std::time::Duration::from_secs(5));
}
