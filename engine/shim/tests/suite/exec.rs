//! Further processes in a running container.

use std::io::Write as _;
use std::net::Shutdown;
use std::path::PathBuf;

use base::FailureKind;
use base::file::{FileMode, replace};
use engine_shim_api::control::Notice;
use engine_shim_api::{CallError, ControlReply, ControlRequest};

use crate::support::bundle::{self, sized};
use crate::support::host::{events, runc, runtimes};
use crate::support::{Fixture, LIMIT, read_all, read_until, unframe};

const FOREVER: &str = "trap 'exit 0' TERM; while :; do sleep 0.05; done";

fn process_file(fixture: &Fixture, name: &str, terminal: bool, script: &str) -> PathBuf {
    let path = fixture
        .root
        .path()
        .join(format!("{}.json", name.replace('/', "_")));
    let process = bundle::process(terminal, &["/bin/sh", "-c", script]);
    replace(&path, process.to_string().as_bytes(), FileMode::Private).unwrap();
    path
}

fn exec(fixture: &Fixture, name: &str, script: &str) -> ControlRequest {
    ControlRequest::Exec {
        exec: name.to_owned(),
        process: process_file(fixture, name, false, script),
        terminal: false,
        stdin: true,
    }
}

fn stop(fixture: &mut Fixture) {
    fixture.ask(ControlRequest::Signal {
        signal: 15,
        all: false,
    });
    assert_eq!(fixture.wait().exit_code, 0);
}

#[test]
fn an_exec_has_streams_of_its_own_and_its_exit_is_told() {
    for runtime in runtimes() {
        let mut fixture = Fixture::shell(&runtime, FOREVER);
        fixture.run();
        let mut control = fixture.control();
        let mut client = fixture.attach(Some("one"));
        client.write_all(b"input\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let request = exec(&fixture, "one", "echo err >&2; cat; exit 5");
        let started = control.call(request, LIMIT).unwrap();
        let ControlReply::Started { pid } = started else {
            panic!("{started:?}");
        };
        let [out, err] = unframe(&read_all(&client));
        assert_eq!((out, err), (b"input\n".to_vec(), b"err\n".to_vec()));
        let told = control.next_notice(LIMIT).unwrap();
        let exec = "one".to_owned();
        assert_eq!(told, Notice::ExecExited { exec, exit_code: 5 });
        stop(&mut fixture);
        assert_eq!(
            fixture.stdout(),
            "",
            "an exec's output is not the container's"
        );
        let events = events(&fixture.config.events);
        let facts: Vec<_> = events
            .iter()
            .filter(|it| it.kind.starts_with("exec."))
            .collect();
        assert_eq!(facts[0].kind, "exec.started");
        assert_eq!(facts[0].data, format!(r#"{{"exec":"one","pid":{pid}}}"#));
        assert_eq!(facts[1].data, r#"{"exec":"one","exit_code":5}"#);
        assert!(events.iter().all(|it| !it.data.contains("cat")));
    }
}

#[test]
fn many_execs_at_once_end_each_with_their_own_code() {
    for runtime in runtimes() {
        let mut fixture = Fixture::shell(&runtime, FOREVER);
        fixture.run();
        let mut control = fixture.control();
        let count = 12;
        for number in 0..count {
            let request = exec(&fixture, &format!("e{number}"), &format!("exit {number}"));
            control.send(request).unwrap();
        }
        let mut codes = std::collections::BTreeMap::new();
        while codes.len() < count {
            if let Notice::ExecExited { exec, exit_code } = control.next_notice(LIMIT).unwrap() {
                codes.insert(exec, exit_code);
            }
        }
        for number in 0..count {
            assert_eq!(codes[&format!("e{number}")], number as i32);
        }
        stop(&mut fixture);
    }
}

#[test]
fn an_exec_with_a_terminal_is_raw_sized_and_signalled() {
    for runtime in runtimes() {
        let mut fixture = Fixture::shell(&runtime, FOREVER);
        fixture.run();
        let client = fixture.attach(Some("tty"));
        fixture.ask(ControlRequest::Resize {
            exec: Some("tty".to_owned()),
            rows: 12,
            columns: 34,
        });
        let mut control = fixture.control();
        let request = ControlRequest::Exec {
            exec: "tty".to_owned(),
            process: process_file(&fixture, "tty", true, &sized("12 34", "sleep 100")),
            terminal: true,
            stdin: true,
        };
        control.call(request, LIMIT).unwrap();
        let status = fixture.ask(ControlRequest::Status);
        assert!(matches!(status, ControlReply::Status { execs, .. } if execs == ["tty"]));
        assert_eq!(read_until(&client, "\r\n"), "sized\r\n");
        fixture.ask(ControlRequest::SignalExec {
            exec: "tty".to_owned(),
            signal: 9,
        });
        assert_eq!(read_all(&client), b"");
        let exec = "tty".to_owned();
        let ended = Notice::ExecExited {
            exec,
            exit_code: 137,
        };
        assert_eq!(control.next_notice(LIMIT).unwrap(), ended);
        stop(&mut fixture);
    }
}

#[test]
fn an_exec_that_cannot_start_says_why_and_leaves_nothing() {
    for runtime in runtimes() {
        let mut fixture = Fixture::shell(&runtime, FOREVER);
        fixture.run();
        let path = fixture.root.path().join("bad");
        let process = bundle::process(false, &["/no/such/program"]);
        replace(&path, process.to_string().as_bytes(), FileMode::Private).unwrap();
        let client = fixture.attach(Some("bad"));
        let request = ControlRequest::Exec {
            exec: "bad".to_owned(),
            process: path,
            terminal: false,
            stdin: false,
        };
        let error = fixture.control().call(request, LIMIT).unwrap_err();
        assert!(error.to_string().contains("/no/such/program"), "{error}");
        assert_eq!(read_all(&client), b"");
        let status = fixture.ask(ControlRequest::Status);
        assert!(matches!(status, ControlReply::Status { execs, .. } if execs.is_empty()));
        stop(&mut fixture);
    }
}

#[test]
fn requests_about_execs_are_checked() {
    let mut fixture = Fixture::shell(&runc(), FOREVER);
    fixture.run();
    let mut control = fixture.control();
    let mut kind = |request| match control.call(request, LIMIT) {
        Err(CallError::Refused(failure)) => failure.kind,
        other => panic!("{other:?}"),
    };
    let no_exec = ControlRequest::SignalExec {
        exec: "nobody".to_owned(),
        signal: 9,
    };
    assert_eq!(kind(no_exec), FailureKind::NotFound);
    assert_eq!(kind(exec(&fixture, "../x", "true")), FailureKind::Invalid);
    let bad_signal = ControlRequest::Signal {
        signal: 65,
        all: false,
    };
    assert_eq!(kind(bad_signal), FailureKind::Invalid);
    let size = ControlRequest::Resize {
        exec: None,
        rows: 1,
        columns: 1,
    };
    assert_eq!(kind(size), FailureKind::Conflict);
    assert_eq!(kind(ControlRequest::Shutdown), FailureKind::Conflict);
    assert_eq!(kind(ControlRequest::Start), FailureKind::Conflict);
    stop(&mut fixture);
}

#[test]
fn execs_end_with_init_and_are_recorded_before_it() {
    for runtime in runtimes() {
        let mut fixture = Fixture::shell(&runtime, FOREVER);
        fixture.run();
        for name in ["e1", "e2"] {
            let request = exec(&fixture, name, "sleep 100");
            fixture.ask(request);
        }
        fixture.ask(ControlRequest::Signal {
            signal: 9,
            all: false,
        });
        assert_eq!(fixture.wait().exit_code, 137);
        let kinds = fixture.events();
        let expected = [
            "container.started",
            "exec.started",
            "exec.started",
            "exec.exited",
            "exec.exited",
            "container.exited",
            "container.cleaned",
        ];
        assert_eq!(kinds, expected);
    }
}

#[test]
fn an_exec_that_leaves_a_process_behind_ends_all_the_same() {
    let mut fixture = Fixture::shell(&runc(), FOREVER);
    fixture.run();
    let client = fixture.attach(Some("parent"));
    let mut control = fixture.control();
    let request = exec(&fixture, "parent", "sleep 100 & echo started");
    control.call(request, LIMIT).unwrap();
    let [out, _] = unframe(&read_all(&client));
    assert_eq!(out, b"started\n");
    let exec = "parent".to_owned();
    let told = control.next_notice(LIMIT).unwrap();
    assert_eq!(told, Notice::ExecExited { exec, exit_code: 0 });
    stop(&mut fixture);
}
