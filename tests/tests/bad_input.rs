//! Requests that make no sense, by the command line and by raw HTTP: one clear
//! error each, with Docker's exit or status code, and nothing left behind.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tests::Installation;

/// No answer takes longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);
/// No message is longer, hints included.
const MESSAGE_LIMIT_BYTES: usize = 600;
/// More than the daemon reads of an answer's body.
const BODY_TOO_LARGE_BYTES: usize = 5 << 20;
const HEADER_TOO_LARGE_BYTES: usize = 10 << 20;

/// Checks that nothing was made by what was refused.
fn finish(host: Installation) {
    assert_eq!(host.ok(&["ps", "-aq"]), "");
    assert_eq!(host.ok(&["volume", "ls", "-q"]), "");
    let networks = host.ok(&["network", "ls", "--format", "{{.Name}}"]);
    assert_eq!(networks, "bridge\nhost\nnone\n");
    host.finish();
}

/// Options and image of a run, and what the message must contain.
const RUNS: &[(&str, &str)] = &[
    (
        "localhost:1/nosuch:1",
        "cannot connect to http://localhost:1",
    ),
    ("BAD", "must be lowercase"),
    ("busybox:1:2", "invalid reference format"),
    ("busybox@sha256:12", "invalid"),
    ("--network nonsense busybox:1", "network nonsense not found"),
    (
        "--network container:nope busybox:1",
        "No such container: nope",
    ),
    (
        "-v relative/path:/x busybox:1",
        "includes invalid characters",
    ),
    ("-v /tmp:relative busybox:1", "must be absolute"),
    ("-v /tmp:/x:nonsense busybox:1", "invalid mode: nonsense"),
    ("--mount type=nonsense,dst=/x busybox:1", "'nonsense'"),
    (
        "--mount type=bind,src=/no/such,dst=/x busybox:1",
        "/no/such",
    ),
    (
        "--mount type=bind,src=x,dst=/x busybox:1",
        "must be an absolute path",
    ),
    ("--tmpfs relative busybox:1", "relative"),
    ("-p 99999:80 busybox:1", "99999"),
    ("-p 80:99999 busybox:1", "99999"),
    ("-p x busybox:1", "invalid containerPort: x"),
    ("-p 80:80/sctp6 busybox:1", "sctp6"),
    ("-p 1-3:1-2 busybox:1", "1-3"),
    ("-m nonsense busybox:1", "nonsense"),
    ("-m 1k busybox:1", "Minimum memory limit allowed is 6MB"),
    ("--cpus x busybox:1", "x"),
    ("--cpus 1000 busybox:1", "CPUs"),
    ("--pids-limit x busybox:1", "x"),
    ("--restart nonsense busybox:1", "nonsense"),
    ("--restart always busybox:1", "--restart and --rm"),
    ("--name a/b busybox:1", "Invalid container name (a/b)"),
    ("--name x busybox:1", "Invalid container name (x)"),
    ("--stop-signal NOPE busybox:1", "invalid signal: NOPE"),
    ("-w relative busybox:1", "'relative' is invalid"),
    ("-u nobody2 busybox:1", "unable to find user nobody2"),
    ("-u 1:nogroup2 busybox:1", "unable to find group nogroup2"),
    ("--ulimit nofile=x busybox:1", "nofile=x"),
    ("--ulimit nonsense=1 busybox:1", "nonsense"),
    ("-e =x busybox:1", "=x"),
    ("--env-file /no/such busybox:1", "/no/such"),
    ("--add-host x busybox:1", "add-host"),
    ("--add-host x:y busybox:1", "\"y\""),
    ("--dns x busybox:1", "x is not a valid IP address"),
    ("--nonsense busybox:1", "'--nonsense'"),
    ("--log-driver nonsense busybox:1", "nonsense"),
    ("--userns nonsense busybox:1", "userns"),
];

#[test]
fn a_run_that_cannot_be_is_refused_with_125_and_its_reason() {
    let host = Installation::new();
    let mut wrong = Vec::new();
    for (words, text) in RUNS {
        let words: Vec<&str> = ["run", "--rm"]
            .into_iter()
            .chain(words.split(' '))
            .chain(["true"])
            .collect();
        let said = host.engine(&words);
        let is_error = |line: &&str| line.starts_with("engine: ") || line.starts_with("error: ");
        let is_right = said.code == 125
            && said.stdout.is_empty()
            && said.stderr.contains(text)
            && said.stderr.len() < MESSAGE_LIMIT_BYTES
            && said.stderr.lines().filter(is_error).count() == 1;
        if !is_right || !host.ok(&["ps", "-aq"]).is_empty() {
            wrong.push((words, text, said));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    finish(host);
}

/// Exit code, what the message must contain, and the command.
const COMMANDS: &[(i32, &str, &str)] = &[
    (
        125,
        "is already in use by container",
        "run --name taken busybox:1 true",
    ),
    (
        1,
        "is already in use by container",
        "create --name taken busybox:1 true",
    ),
    (1, "nonsense", "nonsense"),
    (1, "Usage:", "run"),
    (125, "--nonsense", "ps --nonsense"),
    (125, "bad format of filter", "ps --filter nonsense"),
    (1, "invalid filter 'nonsense'", "ps --filter nonsense=1"),
    (
        1,
        "invalid filter 'nonsense'",
        "volume ls --filter nonsense=1",
    ),
    (
        1,
        "invalid filter 'nonsense'",
        "network ls --filter nonsense=1",
    ),
    (1, "invalid filter 'nonsense'", "images --filter nonsense=1"),
    (1, "No such container: nope", "start nope"),
    (1, "No such container: nope", "stop nope"),
    (1, "No such container: nope", "kill nope"),
    (1, "No such container: nope", "rm nope"),
    (1, "No such container: nope", "logs nope"),
    (1, "No such container: nope", "exec nope true"),
    (1, "No such container: nope", "attach nope"),
    (1, "No such container: nope", "wait nope"),
    (1, "No such object: nope", "inspect nope"),
    (1, "is not running", "exec taken true"),
    (1, "is not running", "kill taken"),
    (1, "invalid signal", "kill -s NOPE taken"),
    (1, "Invalid container name", "rename taken a/b"),
    (1, "No such image: nope:latest", "rmi nope"),
    (1, "No such image: nope:latest", "tag nope x"),
    (1, "must be lowercase", "tag busybox:1 X"),
    (1, "No such image: nope:latest", "save -o /dev/null nope"),
    (
        1,
        "operation is not permitted on predefined",
        "network create bridge",
    ),
    (1, "nonsense", "network create --subnet nonsense n1"),
    (1, "network nope not found", "network rm nope"),
    (1, "is a pre-defined network", "network rm bridge"),
    (1, "no such volume", "volume rm nope"),
    (1, "no such volume", "volume inspect nope"),
    (1, "includes invalid characters", "volume create a/b"),
    (1, "nonsense", "volume create -d nonsense v1"),
];

#[test]
fn other_commands_fail_as_dockers_do() {
    let host = Installation::new();
    host.ok(&["create", "--name", "taken", "busybox:1", "true"]);
    let mut wrong = Vec::new();
    for (code, text, words) in COMMANDS {
        let said = host.engine(&words.split(' ').collect::<Vec<_>>());
        let is_short = said.stderr.len() < MESSAGE_LIMIT_BYTES;
        if said.code != *code || !said.stderr.contains(text) || !is_short {
            wrong.push((words, text, said));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    host.ok(&["rm", "taken"]);
    finish(host);
}

#[test]
fn files_that_are_no_images_are_refused() {
    let host = Installation::new();
    let file = host.scratch().join("not-an-image");
    base::file::replace(&file, &[b'x'; 4096], base::file::FileMode::Private).expect("written");
    let file = file.display().to_string();
    host.fails(1, "", &["load", "-i", &file]);
    host.fails(1, "", &["import", &file, "broken:1"]);
    host.fails(1, "/no/such", &["load", "-i", "/no/such"]);
    host.fails(1, "/no/such", &["import", "/no/such", "broken:1"]);
    let images = host.ok(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
    assert_eq!(images, "busybox:1\n");
    finish(host);
}

/// What the daemon answered; a status of 0 means that it hung up.
#[derive(Debug)]
struct Answer {
    status: u16,
    body: String,
}

/// Sends bytes as they are and returns the answer to them.
fn ask(host: &Installation, request: &[u8]) -> Answer {
    let mut stream = UnixStream::connect(host.instance.socket()).expect("the daemon runs");
    stream.set_read_timeout(Some(ANSWER_LIMIT)).expect("set");
    // The daemon may have answered and hung up before it had everything.
    stream.write_all(request).unwrap_or_default();
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_ne!(
            error.kind(),
            std::io::ErrorKind::WouldBlock,
            "no answer in time"
        );
    }
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_default();
    let status = head
        .split(' ')
        .nth(1)
        .and_then(|status| status.parse().ok());
    Answer {
        status: status.unwrap_or(0),
        body: body.to_owned(),
    }
}

fn request(line: &str, body: &str) -> Vec<u8> {
    let length = body.len();
    format!(
        "{line} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

/// Checks that a request is answered with a status and a message in JSON.
fn refused(host: &Installation, line: &str, body: &str, expected: (u16, &str)) {
    let answer = ask(host, &request(line, body));
    let (status, text) = expected;
    assert_eq!(answer.status, status, "{line}: {answer:?}");
    let message: serde_json::Value = serde_json::from_str(&answer.body).expect("a JSON body");
    let message = message["message"].as_str().expect("a message");
    assert!(message.contains(text), "{line}: {message}");
}

const CREATE: &str = "POST /v1.43/containers/create";

/// Request line, body, and the status and message of the answer.
const REQUESTS: &[(&str, &str, (u16, &str))] = &[
    (CREATE, "", (400, "invalid JSON")),
    (CREATE, "{\"Image\":", (400, "invalid JSON")),
    (CREATE, "{\"Image\":5}", (400, "expected a string")),
    (CREATE, "[]", (400, "invalid JSON")),
    (CREATE, "{}", (400, "config cannot be empty")),
    (
        CREATE,
        "{\"Image\":\"\",\"Tty\":true}",
        (400, "invalid reference format"),
    ),
    (
        CREATE,
        "{\"Image\":\"nope\"}",
        (404, "No such image: nope:latest"),
    ),
    (
        CREATE,
        "{\"Image\":\"busybox:1\"}",
        (400, "no command specified"),
    ),
    ("POST /networks/create", "{}", (400, "name")),
    (
        "POST /volumes/create",
        "{\"Name\":\"../x\"}",
        (400, "invalid characters"),
    ),
    (
        "POST /containers/nope/start",
        "",
        (404, "No such container: nope"),
    ),
    (
        "POST /containers/..%2f..%2fetc/start",
        "",
        (404, "No such container"),
    ),
    ("GET /containers/%zz/json", "", (400, "invalid URL escape")),
    ("GET /containers/json?limit=x", "", (400, "limit")),
    (
        "GET /v1.99/containers/json",
        "",
        (400, "client version 1.99 is too new"),
    ),
    (
        "GET /v9.1/containers/json",
        "",
        (400, "client version 9.1 is too new"),
    ),
    ("GET /vx/containers/json", "", (404, "page not found")),
    ("GET /nonsense", "", (404, "page not found")),
    (
        "GET /v1.43/containers/nonsense/nonsense",
        "",
        (404, "page not found"),
    ),
    ("PUT /containers/json", "", (404, "page not found")),
    ("DELETE /version", "", (404, "page not found")),
    (
        "GET /containers/json?filters=nonsense",
        "",
        (400, "invalid filters"),
    ),
    (
        "GET /containers/json?filters=%7B%22x%22%3A%5B%221%22%5D%7D",
        "",
        (400, "invalid filter 'x'"),
    ),
    (
        "POST /containers/prune?filters=%7B%22lable%22%3A%5B%221%22%5D%7D",
        "",
        (400, "invalid filter 'lable'"),
    ),
    ("POST /build", "", (501, "not supported")),
    ("GET /swarm", "", (503, "not a swarm manager")),
    ("POST /swarm/init", "{}", (501, "swarm mode")),
    ("POST /swarm/leave", "", (503, "not part of a swarm")),
    ("GET /system/df?type=x", "", (400, "unknown object type")),
    ("GET /plugins/x/json", "", (501, "plugins")),
];

#[test]
fn requests_that_make_no_sense_are_answered_with_their_reason() {
    let host = Installation::new();
    let deep = "[".repeat(100_000);
    refused(&host, CREATE, &deep, (400, "invalid JSON"));
    for (line, body, expected) in REQUESTS {
        refused(&host, line, body, *expected);
    }
    // Clients that are too old know no JSON in errors.
    let old = ask(&host, &request("GET /v1.10/containers/json", ""));
    assert_eq!(old.status, 400);
    assert!(
        old.body
            .starts_with("client version 1.10 is too old. Minimum supported"),
        "{old:?}"
    );
    finish(host);
}

#[test]
fn what_is_too_large_is_refused_and_the_daemon_goes_on() {
    let host = Installation::new();
    let pid = host.pid_of("engine");
    let create = "POST /containers/create";
    let large = " ".repeat(BODY_TOO_LARGE_BYTES);
    refused(&host, create, &large, (400, "request body is larger than"));
    // Only the length comes, which is enough to refuse.
    let announced = b"POST /containers/create HTTP/1.1\r\nHost: engine\r\nConnection: close\r\n\
        Content-Type: application/json\r\nContent-Length: 99999999999\r\n\r\n{";
    let answer = ask(&host, announced);
    assert_eq!(answer.status, 400, "{answer:?}");
    assert!(answer.body.contains("larger than"), "{answer:?}");
    let header = "x".repeat(HEADER_TOO_LARGE_BYTES);
    let head = format!("GET /info HTTP/1.1\r\nHost: engine\r\nX-Large: {header}\r\n\r\n");
    assert_eq!(ask(&host, head.as_bytes()).status, 431);
    let many: String = (0..5000).map(|n| format!("X-{n}: x\r\n")).collect();
    let head = format!("GET /info HTTP/1.1\r\nHost: engine\r\n{many}\r\n");
    assert_eq!(ask(&host, head.as_bytes()).status, 431);
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: engine\r\n\r\n",
        "x".repeat(100_000)
    );
    assert_eq!(ask(&host, long.as_bytes()).status, 414);
    assert_eq!(ask(&host, b"nonsense\r\n\r\n").status, 400);
    assert_eq!(ask(&host, &request("GET /_ping", "")).body, "OK");
    assert_eq!(host.pid_of("engine"), pid, "it is the same daemon");
    finish(host);
}
