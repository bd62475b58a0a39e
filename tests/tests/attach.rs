//! Attaching through the API: the log so far and then what follows, once and whole.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde_json::json;
use tests::api::{User, send};
use tests::{Installation, wait_until};

/// Clients that attach while the container writes.
const CLIENTS: u64 = 8;
/// Numbers with and without line ends, so that lines are cut at any place; in the end what
/// nothing follows.
const SCRIPT: &str = "i=0; while [ $i -lt 20000 ]; do printf \"%d \" $i; \
    [ $((i % 7)) = 0 ] && echo; [ $((i % 200)) = 0 ] && sleep 0.01; i=$((i + 1)); done; printf end";

/// Kinds of messages of a websocket.
const TEXT: u8 = 1;
const BINARY: u8 = 2;
const FAREWELL: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// What the script prints.
fn expected() -> String {
    let number = |i: u32| match i % 7 {
        0 => format!("{i} \n"),
        _ => format!("{i} "),
    };
    (0..20000).map(number).chain(["end".to_owned()]).collect()
}

/// Asks for an upgrade and returns the head of the answer and the connection.
fn attach(socket: &Path, target: &str) -> (String, UnixStream) {
    let mut stream = asked(socket, target);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("an answer comes");
        head.push(byte[0]);
    }
    (String::from_utf8(head).expect("text"), stream)
}

/// Asks for an upgrade and returns the connection, on which the answer will come.
fn asked(socket: &Path, target: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout can be set");
    let request =
        format!("POST {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("written");
    stream
}

/// Begins to speak the protocol of websockets.
fn websocket(socket: &Path, target: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket).expect("the daemon listens");
    stream
        .set_read_timeout(Some(Duration::from_secs(60)))
        .expect("a timeout can be set");
    let request = format!(
        "GET {target} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).expect("written");
    let head = read_until(&mut stream, "\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert!(
        head.to_lowercase()
            .contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo=\r\n"),
        "{head}"
    );
    stream
}

/// Sends a short message; the mask of a client is of zeros.
fn say(stream: &mut UnixStream, kind: u8, text: &str) {
    let length = u8::try_from(text.len()).expect("short");
    assert!(length < 126);
    let mut frame = vec![0x80 | kind, 0x80 | length, 0, 0, 0, 0];
    frame.extend(text.bytes());
    stream.write_all(&frame).expect("written");
}

/// Reads messages up to a text, or to the farewell; returns what they said and which kinds
/// there were.
fn hear(stream: &mut UnixStream, text: &str) -> (String, Vec<u8>) {
    let (mut said, mut kinds) = (String::new(), Vec::new());
    while text.is_empty() || !said.ends_with(text) {
        let mut head = [0; 2];
        stream.read_exact(&mut head).expect("a message comes");
        let length = match head[1] {
            126 => {
                let mut more = [0; 2];
                stream.read_exact(&mut more).expect("a length comes");
                usize::from(u16::from_be_bytes(more))
            }
            length => usize::from(length),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).expect("it is whole");
        kinds.push(head[0] & 0x0f);
        if head[0] & 0x0f == FAREWELL {
            break;
        }
        said += std::str::from_utf8(&payload).expect("text");
    }
    kinds.dedup();
    (said, kinds)
}

/// Takes Docker's frames apart: standard output and standard error.
fn frames(mut bytes: &[u8]) -> (String, String) {
    let (mut output, mut error) = (Vec::new(), Vec::new());
    while let Some((head, rest)) = bytes.split_at_checked(8) {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        match head[0] {
            1 => output.extend(&rest[..length]),
            2 => error.extend(&rest[..length]),
            other => panic!("there is no stream {other}"),
        }
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "a frame was cut");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    (text(output), text(error))
}

/// Reads up to a text.
fn read_until(stream: &mut UnixStream, text: &str) -> String {
    let mut bytes = Vec::new();
    while !bytes.ends_with(text.as_bytes()) {
        let mut byte = [0];
        stream.read_exact(&mut byte).expect("the text comes");
        bytes.push(byte[0]);
    }
    String::from_utf8(bytes).expect("text")
}

fn read(mut stream: UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).expect("it ends");
    bytes
}

#[test]
fn log_and_stream_are_all_output_once() {
    let host = Installation::new();
    // Files so small that several are begun while clients attach.
    let options = "run -d --name box --log-opt max-size=64k --log-opt max-file=100 busybox:1 sh -c";
    let mut words = tests::words(options);
    words.push(SCRIPT);
    host.ok(&words);
    let socket = host.instance.socket();
    let target = "/v1.51/containers/box/attach?logs=1&stream=1&stdout=1&stderr=1";
    let clients: Vec<_> = (0..CLIENTS)
        .map(|number| {
            let socket = socket.clone();
            std::thread::spawn(move || {
                std::thread::sleep(Duration::from_millis(number * 90));
                let (head, stream) = attach(&socket, target);
                assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
                assert!(head.contains("multiplexed-stream"), "{head}");
                frames(&read(stream))
            })
        })
        .collect();
    let expected = expected();
    for (number, client) in clients.into_iter().enumerate() {
        let (output, error) = client.join().expect("a client reads to the end");
        assert_eq!(error, "");
        assert!(
            output == expected,
            "client {number} got {} bytes of {}",
            output.len(),
            expected.len()
        );
    }
    // Of one that is over, the log alone; as a body, too.
    let (_, stream) = attach(
        &socket,
        "/v1.41/containers/box/attach?logs=1&stdout=1&stderr=1",
    );
    assert_eq!(frames(&read(stream)).0, expected);
    host.finish();
}

/// As Docker's SDK for Python reads: the head by way of a buffer whose rest is lost.
#[test]
fn nothing_comes_in_one_piece_with_the_answer() {
    let host = Installation::new();
    host.ok(&["run", "--name", "box", "busybox:1", "echo", "hello"]);
    let target = "/v1.51/containers/box/attach?logs=1&stdout=1";
    let mut stream = asked(&host.instance.socket(), target);
    // Late enough for all of it to have come, were it not held back.
    std::thread::sleep(Duration::from_millis(50));
    let mut buffer = [0; 8192];
    let length = stream.read(&mut buffer).expect("the answer comes");
    let head = String::from_utf8_lossy(&buffer[..length]);
    assert!(head.ends_with("\r\n\r\n"), "{head}");
    assert_eq!(frames(&read(stream)).0, "hello\n");
    host.finish();
}

#[test]
fn the_log_of_a_terminal_is_raw_and_an_earlier_run_comes_first() {
    let host = Installation::new();
    let script = "stty -onlcr -echo; echo run; read line; echo got $line";
    host.ok(&[
        "create",
        "-it",
        "--name",
        "box",
        "busybox:1",
        "sh",
        "-c",
        script,
    ]);
    let socket = host.instance.socket();
    let target = "/containers/box/attach?logs=1&stream=1&stdout=1&stdin=1";
    // Before there is anything.
    let (head, mut first) = attach(&socket, target);
    assert!(head.contains("raw-stream"), "{head}");
    host.ok(&["start", "box"]);
    assert_eq!(read_until(&mut first, "run\n"), "run\n");
    first.write_all(b"one\n").expect("written");
    assert_eq!(String::from_utf8(read(first)).expect("text"), "got one\n");
    wait_until("its end is known", || {
        host.ok(&["inspect", "-f", "{{.State.Status}}", "box"])
            .trim()
            == "exited"
    });
    // With the log of the run before.
    let (head, mut second) = attach(&socket, target);
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    assert_eq!(read_until(&mut second, "got one\n"), "run\ngot one\n");
    host.ok(&["start", "box"]);
    assert_eq!(read_until(&mut second, "run\n"), "run\n");
    second.write_all(b"two\n").expect("written");
    assert_eq!(String::from_utf8(read(second)).expect("text"), "got two\n");
    host.finish();
}

#[test]
fn output_alone_needs_no_upgrade() {
    let host = Installation::new();
    host.ok(&[
        "run",
        "-d",
        "--name",
        "box",
        "busybox:1",
        "sh",
        "-c",
        "echo a; read x",
    ]);
    wait_until("it has written", || host.ok(&["logs", "box"]) == "a\n");
    let mut stream = UnixStream::connect(host.instance.socket()).expect("the daemon listens");
    let request = "POST /containers/box/attach?logs=1&stdout=1 HTTP/1.0\r\n\r\n";
    stream.write_all(request.as_bytes()).expect("written");
    let answer = read(stream);
    let text = String::from_utf8_lossy(&answer);
    assert!(text.starts_with("HTTP/1.0 200 OK\r\n"), "{text}");
    let body = text.split_once("\r\n\r\n").expect("a head").1;
    assert_eq!(frames(body.as_bytes()), ("a\n".into(), String::new()));
    host.finish();
}

/// As dockerode starts one.
#[test]
fn an_exec_needs_no_upgrade_and_has_ended_when_its_output_has() {
    let host = Installation::new();
    host.ok(&tests::words("run -d --name box busybox:1 sleep 1000"));
    let socket = host.instance.socket();
    let root = User::new(tests::ROOT);
    let body = json!({"AttachStdout": true, "Cmd": ["sh", "-c", "echo a; exit 3"]});
    let made = send(&socket, root, "POST /containers/box/exec", Some(&body)).json();
    let id = made["Id"].as_str().expect("it has an id");
    let body = json!({"Detach": false, "Tty": false});
    let path = format!("POST /exec/{id}/start");
    let answer = send(&socket, User::new(tests::ROOT), &path, Some(&body));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.body.contains("a\n"), "{answer:?}");
    let path = format!("GET /exec/{id}/json");
    let told = send(&socket, User::new(tests::ROOT), &path, None).json();
    assert_eq!(
        (&told["Running"], &told["ExitCode"]),
        (&json!(false), &json!(3))
    );
    host.finish();
}

/// Makes an exec in the container `box` and starts it; returns its id and its streams.
fn exec(socket: &Path, wanted: &serde_json::Value, wants_terminal: bool) -> (String, UnixStream) {
    let root = User::new(tests::ROOT);
    let made = send(socket, root, "POST /containers/box/exec", Some(wanted)).json();
    let id = made["Id"].as_str().expect("it has an id").to_owned();
    let body = json!({ "Tty": wants_terminal }).to_string();
    let mut stream = tests::api::connect(socket, User::new(tests::ROOT));
    let length = body.len();
    let request = format!(
        "POST /exec/{id}/start HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).expect("written");
    read_until(&mut stream, "\r\n\r\n");
    (id, stream)
}

/// As bollard does: it is connected, and its process perhaps not there yet.
#[test]
fn an_execs_terminal_has_a_size_as_soon_as_its_client_is_connected() {
    let host = Installation::new();
    host.ok(&tests::words("run -d --name box busybox:1 sleep 1000"));
    let socket = host.instance.socket();
    for _ in 0..10 {
        let command = ["sh", "-c", "read word; stty size"];
        let body = json!({
            "Tty": true, "Cmd": command, "AttachStdin": true, "AttachStdout": true,
        });
        let (id, mut stream) = exec(&socket, &body, true);
        let line = format!("POST /exec/{id}/resize?h=21&w=63");
        let resized = send(&socket, User::new(tests::ROOT), &line, None);
        assert_eq!(resized.status, 200, "{resized:?}");
        stream.write_all(b"word\n").expect("written");
        let shown = String::from_utf8(read(stream)).expect("text");
        assert!(shown.ends_with("\r\n21 63\r\n"), "{shown:?}");
    }
    host.finish();
}

/// As Docker's SDK for Python does, which starts an exec with a terminal without one.
#[test]
fn an_execs_output_has_the_frames_that_its_start_asks_for() {
    let host = Installation::new();
    host.ok(&tests::words("run -d --name box busybox:1 sleep 1000"));
    let socket = host.instance.socket();
    let output = |has_terminal: bool, wants_terminal: bool| {
        let command = ["sh", "-c", "echo out; echo err >&2"];
        let body = json!({
            "Tty": has_terminal, "Cmd": command, "AttachStdout": true, "AttachStderr": true,
        });
        read(exec(&socket, &body, wants_terminal).1)
    };
    assert_eq!(frames(&output(true, false)).0, "out\r\nerr\r\n");
    assert_eq!(output(true, true), b"out\r\nerr\r\n");
    let plain = output(false, true);
    let plain = String::from_utf8_lossy(&plain);
    assert!(plain == "out\nerr\n" || plain == "err\nout\n", "{plain:?}");
    let both = frames(&output(false, false));
    assert_eq!(both, ("out\n".into(), "err\n".into()));
    host.finish();
}

#[test]
fn without_a_log_there_is_none_to_begin_with() {
    let host = Installation::new();
    let options = "run -d --name box --log-driver none busybox:1 sleep 1000";
    host.ok(&tests::words(options));
    let target = "/containers/box/attach?logs=1&stream=1&stdout=1";
    let (head, stream) = attach(&host.instance.socket(), target);
    assert!(head.starts_with("HTTP/1.1 501 "), "{head}");
    drop(stream);
    host.ok(&["rm", "-f", "box"]);
    host.finish();
}

#[test]
fn a_websocket_carries_log_output_and_input() {
    let host = Installation::new();
    let script = "echo before; echo wrong >&2; read line; echo got $line; read line; exit 3";
    host.ok(&[
        "run",
        "-d",
        "-i",
        "--name",
        "box",
        "busybox:1",
        "sh",
        "-c",
        script,
    ]);
    wait_until("it has written", || {
        host.ok(&["logs", "box"]).contains("before")
    });
    let socket = host.instance.socket();
    let query = "logs=1&stream=1&stdin=1&stdout=1&stderr=1";
    let target = format!("/v1.51/containers/box/attach/ws?{query}");
    let mut first = websocket(&socket, &target);
    // Without frames: the streams are one.
    assert_eq!(
        hear(&mut first, "wrong\n"),
        ("before\nwrong\n".into(), vec![BINARY])
    );
    say(&mut first, PING, "there?");
    assert_eq!(hear(&mut first, "there?").1, [PONG]);
    say(&mut first, BINARY, "in");
    say(&mut first, TEXT, "put\n");
    assert_eq!(hear(&mut first, "got input\n").0, "got input\n");
    say(&mut first, FAREWELL, "");
    assert_eq!(hear(&mut first, "").1, [FAREWELL]);
    // Another goes on; old clients hear text.
    let target = format!("/v1.27/containers/box/attach/ws?{query}");
    let mut second = websocket(&socket, &target);
    let all = "before\nwrong\ngot input\n";
    assert_eq!(hear(&mut second, "input\n"), (all.into(), vec![TEXT]));
    say(&mut second, TEXT, "end\n");
    assert_eq!(hear(&mut second, "").1, [FAREWELL]);
    assert_eq!(host.ok(&["wait", "box"]).trim(), "3");
    host.finish();
}

#[test]
fn a_terminal_on_a_websocket_is_left_by_its_keys() {
    let host = Installation::new();
    let script = "stty -echo; echo ready; read line; echo got $line; read line";
    host.ok(&[
        "create",
        "-it",
        "--name",
        "box",
        "busybox:1",
        "sh",
        "-c",
        script,
    ]);
    let target = "/containers/box/attach/ws?stream=1&stdin=1&stdout=1&detachKeys=x,y";
    let mut client = websocket(&host.instance.socket(), target);
    host.ok(&["start", "box"]);
    assert_eq!(hear(&mut client, "ready\r\n").0, "ready\r\n");
    say(&mut client, BINARY, "early\n");
    assert_eq!(hear(&mut client, "got early\r\n").0, "got early\r\n");
    say(&mut client, BINARY, "x");
    say(&mut client, BINARY, "y");
    assert_eq!(hear(&mut client, "").1, [FAREWELL]);
    let status = host.ok(&["inspect", "-f", "{{.State.Status}}", "box"]);
    assert_eq!(status.trim(), "running");
    host.ok(&["rm", "-f", "box"]);
    host.finish();
}

#[test]
fn what_is_no_websocket_is_told_so() {
    let host = Installation::new();
    host.ok(&["create", "--name", "box", "busybox:1", "true"]);
    for (target, expected) in [
        ("/containers/box/attach/ws", "400 Bad Request"),
        ("/containers/nobody/attach/ws", "400 Bad Request"),
    ] {
        let mut stream = UnixStream::connect(host.instance.socket()).expect("it listens");
        let request = format!("GET {target} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("written");
        let answer = String::from_utf8(read(stream)).expect("text");
        assert!(
            answer.starts_with(&format!("HTTP/1.0 {expected}")),
            "{answer}"
        );
    }
    host.finish();
}
