//! Clients of the container's own streams.

use std::io::Write as _;
use std::net::Shutdown;
use std::os::unix::net::UnixStream;

use engine_shim_api::log_reader::LogStream;
use engine_shim_api::{AttachHello, ControlRequest, PROTOCOL_VERSION, StdinMode};

use crate::support::bundle::sized;
use crate::support::host::{runc, runtimes};
use crate::support::{Fixture, eventually, read_all, read_until, unframe};

fn hello() -> AttachHello {
    AttachHello {
        protocol: PROTOCOL_VERSION,
        exec: None,
        stdin: true,
        stdout: true,
        stderr: true,
    }
}

/// Waits until output stands still: the buffers of client and pipe are full.
fn await_standstill(fixture: &Fixture) {
    let mut last = 0;
    eventually("the log has stopped growing", || {
        std::thread::park_timeout(std::time::Duration::from_millis(100));
        let length = log_length(fixture);
        let stopped = length > 0 && length == last;
        last = length;
        stopped
    });
}

fn log_length(fixture: &Fixture) -> u64 {
    let log = &fixture.log_files().place;
    let metadata = std::fs::metadata(log.file(0));
    metadata.unwrap().len()
}

#[test]
fn a_client_gets_frames_and_closing_its_side_ends_the_input() {
    for runtime in runtimes() {
        let mut fixture = Fixture::shell(&runtime, "echo err >&2; cat; echo end");
        fixture.config.stdin = StdinMode::Once;
        fixture.start_shim();
        let mut client = fixture.attach(None);
        client.write_all(b"before the start\n").unwrap();
        fixture.start();
        client.write_all(b"after it\n").unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let [out, err] = unframe(&read_all(&client));
        assert_eq!(out, b"before the start\nafter it\nend\n");
        assert_eq!(err, b"err\n");
        assert_eq!(fixture.wait().exit_code, 0);
        assert_eq!(fixture.output(LogStream::Stdout), out);
        assert_eq!(fixture.output(LogStream::Stderr), err);
    }
}

#[test]
fn open_input_survives_clients_that_come_and_go() {
    let mut fixture = Fixture::shell(&runc(), "read a; echo $a; read b; echo $b");
    fixture.config.stdin = StdinMode::Open;
    fixture.run();
    let mut first = fixture.attach(None);
    first.write_all(b"one\n").unwrap();
    first.shutdown(Shutdown::Write).unwrap();
    assert!(read_until(&first, "one\n").contains("one"));
    drop(first);
    let mut second = fixture.attach(None);
    second.write_all(b"two\n").unwrap();
    let [out, _] = unframe(&read_all(&second));
    assert_eq!(out, b"two\n");
    assert_eq!(fixture.wait().exit_code, 0);
    assert_eq!(fixture.stdout(), "one\ntwo\n");
}

#[test]
fn several_clients_see_the_same() {
    let mut fixture = Fixture::shell(&runc(), "seq 1 20000");
    fixture.start_shim();
    let clients = [
        fixture.attach(None),
        fixture.attach(None),
        fixture.attach(None),
    ];
    fixture.start();
    let readers = clients.map(|client| std::thread::spawn(move || read_all(&client)));
    let outputs = readers.map(|reader| unframe(&reader.join().unwrap()));
    fixture.wait();
    let logged = fixture.output(LogStream::Stdout);
    assert_eq!(logged.len(), 108_894);
    for [out, err] in outputs {
        assert_eq!(out, logged);
        assert_eq!(err, b"");
    }
}

#[test]
fn a_client_that_does_not_read_holds_the_process_back_and_loses_nothing() {
    let mut fixture = Fixture::shell(&runc(), "seq 1 400000; echo done");
    fixture.start_shim();
    let slow = fixture.attach(None);
    fixture.start();
    await_standstill(&fixture);
    assert!(
        !fixture.stdout().contains("done"),
        "the process was not held back"
    );
    let [out, _] = unframe(&read_all(&slow));
    assert_eq!(fixture.wait().exit_code, 0);
    assert!(out.ends_with(b"400000\ndone\n"));
    assert_eq!(out.len(), 2_688_900);
}

#[test]
fn a_client_that_stops_reading_and_goes_blocks_nobody() {
    let mut fixture = Fixture::shell(&runc(), "seq 1 400000; echo done");
    fixture.config.stdin = StdinMode::Open;
    fixture.start_shim();
    let client = fixture.attach(None);
    fixture.start();
    eventually("output comes", || log_length(&fixture) > 0);
    drop(client);
    assert_eq!(fixture.wait().exit_code, 0);
    assert!(fixture.stdout().ends_with("done\n"));
}

#[test]
fn a_client_that_never_reads_does_not_delay_the_end() {
    let mut fixture = Fixture::shell(&runc(), "exec yes");
    fixture.start_shim();
    let slow = fixture.attach(None);
    fixture.start();
    await_standstill(&fixture);
    fixture.ask(ControlRequest::Signal {
        signal: 9,
        all: false,
    });
    let ended = std::time::Instant::now();
    eventually("the exit is recorded", || {
        fixture.file("exit.json").exists()
    });
    assert!(ended.elapsed() < std::time::Duration::from_secs(1));
    let [out, _] = unframe(&read_all(&slow));
    fixture.wait();
    assert_eq!(out, fixture.output(LogStream::Stdout));
}

#[test]
fn a_terminal_is_raw_and_can_be_resized_before_and_after_the_start() {
    for runtime in runtimes() {
        let mut fixture = Fixture::new(&runtime);
        fixture.config.terminal = true;
        fixture.config.stdin = StdinMode::Open;
        let script = sized("30 100", "read line; stty size; echo got $line");
        crate::support::bundle::write(&fixture.config, &["/bin/sh", "-c", &script]);
        fixture.start_shim();
        let mut client = fixture.attach(None);
        let resize = |rows, columns| ControlRequest::Resize {
            exec: None,
            rows,
            columns,
        };
        fixture.ask(resize(30, 100));
        fixture.start();
        let first = read_until(&client, "\r\n");
        fixture.ask(resize(40, 120));
        client.write_all(b"hello\n").unwrap();
        let rest = String::from_utf8(read_all(&client)).unwrap();
        assert_eq!(first, "sized\r\n");
        assert!(
            rest.contains("40 120") && rest.contains("got hello"),
            "{rest:?}"
        );
        assert_eq!(fixture.wait().exit_code, 0);
        assert_eq!(fixture.stdout(), format!("{first}{rest}"));
    }
}

#[test]
fn bad_hellos_are_told_why() {
    let mut fixture = Fixture::shell(&runc(), "true");
    fixture.start_shim();
    let long = "x".repeat(5000);
    let cases: [(&str, &str); 4] = [
        ("GET / HTTP/1.1\n", "cannot read the hello"),
        (
            "{\"protocol\":99,\"stdin\":true,\"stdout\":true,\"stderr\":true}\n",
            "protocol 99",
        ),
        ("{}\nearly", "before the hello was answered"),
        (&long, "too long"),
    ];
    for (sent, expected) in cases {
        let directory = std::fs::File::open(fixture.directory()).unwrap();
        let descriptor = std::os::fd::AsRawFd::as_raw_fd(&directory);
        let path = format!("/proc/self/fd/{descriptor}/attach.sock");
        let mut stream = UnixStream::connect(path).unwrap();
        stream.write_all(sent.as_bytes()).unwrap();
        let answer = String::from_utf8(read_all(&stream)).unwrap();
        assert!(answer.contains(expected), "{sent:?}: {answer:?}");
    }
    let unknown = AttachHello {
        exec: Some("early".to_owned()),
        ..hello()
    };
    let refused = engine_shim_api::connect_attach(&fixture.directory(), &unknown);
    assert!(refused.unwrap_err().to_string().contains("not running"));
    fixture.ask(ControlRequest::Shutdown);
}
