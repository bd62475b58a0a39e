//! Whole commands against a daemon: the order of requests, streams, half-close,
//! terminals, signals and exit codes.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use engine_api::stdcopy::Stream;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::fake::{Behaviour, Connection, Fake, say};

const LIMIT: Duration = Duration::from_secs(10);

fn code(number: u8) -> ExitCode {
    ExitCode::from(number)
}

/// Runs a command line with a limit of time.
async fn run(fake: &Fake, line: &str) -> Result<ExitCode, (u8, String)> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let done = tokio::time::timeout(LIMIT, fake.run(&words)).await;
    let done = done.unwrap_or_else(|_| panic!("{line}: still running after {LIMIT:?}"));
    done.map_err(|error| (error.code(), error.message()))
}

async fn two_streams(mut stream: Connection) -> i64 {
    say(&mut stream, Stream::Stdout, b"out\n").await;
    say(&mut stream, Stream::Stderr, b"err\n").await;
    stream.shutdown().await.unwrap();
    7
}

/// Echoes what it is sent until the end, in frames.
async fn echo(mut stream: Connection) -> i64 {
    let mut input = Vec::new();
    stream.read_to_end(&mut input).await.unwrap();
    say(&mut stream, Stream::Stdout, &input).await;
    stream.shutdown().await.unwrap();
    0
}

#[tokio::test]
async fn run_attaches_and_waits_before_it_starts() {
    let fake = Fake::start(Behaviour::new(two_streams));
    assert_eq!(run(&fake, "run --rm busybox").await, Ok(code(7)));
    assert_eq!(
        (fake.stdout().as_str(), fake.stderr().as_str()),
        ("out\n", "err\n")
    );
    let requests = fake.requests();
    let position = |part: &str| requests.iter().position(|r| r.contains(part)).unwrap();
    assert_eq!(requests.len(), 4, "{requests:?}");
    assert_eq!(position("POST /containers/create"), 0);
    assert_eq!(position("POST /containers/c0ffee/start"), 3);
    assert!(requests.contains(&"POST /containers/c0ffee/wait?condition=removed".to_owned()));
    let attach = "POST /containers/c0ffee/attach?stream=1&stdout=1&stderr=1";
    assert!(requests.contains(&attach.to_owned()), "{requests:?}");
}

#[tokio::test]
async fn the_end_of_input_reaches_the_container() {
    let mut input = tempfile::tempfile().unwrap();
    input.write_all(b"some input").unwrap();
    std::io::Seek::rewind(&mut input).unwrap();
    let fake = Fake::with_input(Behaviour::new(echo), input);
    assert_eq!(run(&fake, "run -i busybox cat").await, Ok(code(0)));
    assert_eq!(fake.stdout(), "some input");
}

#[tokio::test]
async fn a_detached_run_prints_the_id() {
    let fake = Fake::start(Behaviour::idle());
    assert_eq!(run(&fake, "run -d busybox").await, Ok(code(0)));
    assert_eq!(fake.stdout(), "c0ffee\n");
    assert_eq!(fake.requests().len(), 2);
}

#[tokio::test]
async fn a_missing_image_is_pulled_once() {
    let create = "POST /containers/create";
    let behaviour = Behaviour::new(two_streams)
        .answer(
            create,
            404,
            r#"{"message":"No such image: busybox:latest"}"#,
        )
        .answer(create, 201, r#"{"Id":"c0ffee","Warnings":["swap is off"]}"#)
        .answer(
            "POST /images/create",
            200,
            "{\"status\":\"Pulling\",\"id\":\"1\"}\r\n{\"status\":\"Done\"}\r\n",
        );
    let fake = Fake::start(behaviour);
    assert_eq!(run(&fake, "run busybox").await, Ok(code(7)));
    assert_eq!(
        fake.stderr(),
        "Unable to find image 'busybox:latest' locally\n1: Pulling\nDone\nWARNING: swap is off\nerr\n"
    );
    let pull = "POST /images/create?fromImage=busybox&tag=latest";
    assert_eq!(fake.requests()[1], pull);
}

#[tokio::test]
async fn a_pull_that_fails_ends_the_run() {
    let behaviour = Behaviour::idle()
        .answer(
            "POST /containers/create",
            404,
            r#"{"message":"No such image: x:latest"}"#,
        )
        .answer(
            "POST /images/create",
            200,
            r#"{"errorDetail":{"message":"registry is down"}}"#,
        );
    let fake = Fake::start(behaviour);
    assert_eq!(
        run(&fake, "run x").await,
        Err((125, "registry is down".to_owned()))
    );
    let never = Fake::start(Behaviour::idle().answer(
        "POST /containers/create",
        404,
        r#"{"message":"No such image: x"}"#,
    ));
    let (status, message) = run(&never, "run --pull never x").await.unwrap_err();
    assert_eq!(
        (status, message.as_str()),
        (125, "Error response from daemon: No such image: x")
    );
    assert_eq!(never.requests().len(), 1);
}

#[tokio::test]
async fn an_image_that_is_to_be_mounted_is_not_pulled() {
    let fake = Fake::start(Behaviour::idle().answer(
        "POST /containers/create",
        404,
        r#"{"message":"No such image: tools:latest"}"#,
    ));
    let line = "run --mount type=image,src=tools,dst=/t --mount type=image,src=x,dst=/x x";
    let (status, message) = run(&fake, line).await.unwrap_err();
    assert_eq!(
        (status, message.as_str()),
        (
            125,
            "Error response from daemon: No such image: tools:latest"
        )
    );
    assert_eq!(fake.requests().len(), 1);
}

#[tokio::test]
async fn failed_starts_have_the_codes_of_shells() {
    let cases = [
        (r#"exec: \"x\": executable file not found in $PATH"#, 127),
        ("stat /x: no such file or directory", 127),
        (r#"exec: \"/etc\": permission denied"#, 126),
        ("exec /x: exec format error", 126),
        ("port is already allocated", 125),
    ];
    for (message, expected) in cases {
        for line in ["run busybox x", "run -d busybox x"] {
            let body = format!(r#"{{"message":"{message}"}}"#);
            let start = "POST /containers/c0ffee/start";
            let fake = Fake::start(Behaviour::idle().answer(start, 400, &body));
            let (code, said) = run(&fake, line).await.unwrap_err();
            assert_eq!(code, expected, "{line}: {message}");
            assert!(said.starts_with("Error response from daemon: "), "{said}");
        }
    }
    let conflict = r#"{"message":"Conflict. The container name is already in use"}"#;
    let fake = Fake::start(Behaviour::idle().answer("POST /containers/create", 409, conflict));
    assert_eq!(run(&fake, "run --name x busybox").await.unwrap_err().0, 125);
    assert_eq!(
        run(&fake, "create --name x busybox").await.unwrap_err().0,
        1
    );
}

#[tokio::test]
async fn a_daemon_that_dies_is_told_from_an_exit() {
    let behaviour = Behaviour::new(two_streams).answer("POST /containers/c0ffee/wait", 200, "");
    let fake = Fake::start(behaviour);
    let (code, message) = run(&fake, "run busybox").await.unwrap_err();
    assert_eq!(
        (code, message.as_str()),
        (125, "the engine ended while the container was waited for")
    );
}

#[tokio::test]
async fn a_terminal_needs_a_terminal() {
    let fake = Fake::start(Behaviour::idle());
    let refused = Err((1, "the input device is not a TTY".to_owned()));
    assert_eq!(run(&fake, "run -it busybox").await, refused);
    assert_eq!(run(&fake, "exec -it web sh").await, refused);
    assert!(fake.requests().is_empty());
}

#[tokio::test]
async fn signals_are_passed_on_to_the_process() {
    let mut behaviour = Behaviour::idle();
    let killed = behaviour.killed.clone();
    let until_killed = move |mut stream: Connection| {
        let killed = killed.clone();
        async move {
            use rustix::process::{Signal, getpid, kill_process};
            kill_process(getpid(), Signal::USR1).unwrap();
            killed.notified().await;
            stream.shutdown().await.unwrap();
            0
        }
    };
    behaviour.program = Behaviour::new(until_killed).program;
    let fake = Fake::start(behaviour);
    assert_eq!(run(&fake, "run busybox").await, Ok(code(0)));
    let kill = "POST /containers/c0ffee/kill?signal=USR1".to_owned();
    assert!(fake.requests().contains(&kill), "{:?}", fake.requests());
}

/// A terminal: the side a person sits at, and the side a command gets.
struct Terminal {
    person: File,
    command: File,
}

impl Terminal {
    fn open() -> Self {
        let person: OwnedFd = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&person).unwrap();
        unlockpt(&person).unwrap();
        let path = ptsname(&person, Vec::new()).unwrap();
        let flags = rustix::fs::OFlags::RDWR | rustix::fs::OFlags::NOCTTY;
        let command = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).unwrap();
        let size = Winsize {
            ws_row: 33,
            ws_col: 99,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        tcsetwinsize(&command, size).unwrap();
        Self {
            person: person.into(),
            command: command.into(),
        }
    }

    fn is_canonical(&self) -> bool {
        tcgetattr(&self.command)
            .unwrap()
            .local_modes
            .contains(LocalModes::ICANON)
    }

    /// Types `keys` once the terminal has become raw.
    fn type_when_raw(&self, keys: &'static [u8]) -> std::thread::JoinHandle<()> {
        let (mut person, command) = (
            self.person.try_clone().unwrap(),
            self.command.try_clone().unwrap(),
        );
        std::thread::spawn(move || {
            let begin = Instant::now();
            while tcgetattr(&command)
                .unwrap()
                .local_modes
                .contains(LocalModes::ICANON)
            {
                assert!(begin.elapsed() < LIMIT, "the terminal never became raw");
                std::thread::yield_now();
            }
            person.write_all(keys).unwrap();
        })
    }
}

/// A shell that echoes every byte and ends by `q`.
async fn shell(mut stream: Connection) -> i64 {
    loop {
        match stream.read_u8().await {
            Ok(b'q') => return 3,
            Ok(byte) => stream.write_all(&[byte]).await.unwrap(),
            Err(_) => return 0,
        }
    }
}

#[tokio::test]
async fn a_terminal_is_raw_while_the_container_runs_and_has_its_size() {
    let terminal = Terminal::open();
    let fake = Fake::on_terminal(Behaviour::new(shell).with_tty(), &terminal.command);
    let typing = terminal.type_when_raw(b"a\x03\x10q");
    assert_eq!(run(&fake, "run -it busybox").await, Ok(code(3)));
    typing.join().unwrap();
    assert!(terminal.is_canonical(), "the terminal's mode is back");
    let mut echoed = [0; 3];
    (&terminal.person).read_exact(&mut echoed).unwrap();
    assert_eq!(&echoed, b"a\x03\x10");
    let resize = "POST /containers/c0ffee/resize?h=33&w=99".to_owned();
    assert!(fake.requests().contains(&resize), "{:?}", fake.requests());
}

#[tokio::test]
async fn the_detach_keys_leave_the_container_running() {
    let terminal = Terminal::open();
    let fake = Fake::on_terminal(Behaviour::new(shell).with_tty(), &terminal.command);
    let typing = terminal.type_when_raw(b"\x10\x11");
    assert_eq!(run(&fake, "run -it --rm busybox").await, Ok(code(0)));
    typing.join().unwrap();
    assert!(terminal.is_canonical());
}

#[tokio::test]
async fn other_detach_keys_can_be_chosen() {
    let terminal = Terminal::open();
    let fake = Fake::on_terminal(Behaviour::new(shell).with_tty(), &terminal.command);
    let typing = terminal.type_when_raw(b"x\x01d");
    let detached = Err((1, "read escape sequence".to_owned()));
    assert_eq!(
        run(&fake, "exec -it --detach-keys ctrl-a,d web sh").await,
        detached
    );
    typing.join().unwrap();
    assert!(terminal.is_canonical());
    let resize = "POST /exec/e0/resize?h=33&w=99".to_owned();
    assert!(fake.requests().contains(&resize), "{:?}", fake.requests());
}

#[tokio::test]
async fn exec_returns_the_commands_code() {
    let fake = Fake::start(Behaviour::new(two_streams));
    assert_eq!(run(&fake, "exec web sh").await, Ok(code(7)));
    assert_eq!(
        (fake.stdout().as_str(), fake.stderr().as_str()),
        ("out\n", "err\n")
    );
    let requests = [
        "POST /containers/web/exec",
        "POST /exec/e0/start",
        "GET /exec/e0/json",
    ];
    assert_eq!(fake.requests(), requests);
}

#[tokio::test]
async fn attach_joins_what_runs_and_refuses_what_does_not() {
    let inspect = "GET /containers/web/json";
    let running = r#"{"Id":"c0ffee","State":{"Running":true,"Status":"running"},"Config":{}}"#;
    let start = "POST /containers/c0ffee/attach";
    let fake = Fake::start(Behaviour::new(two_streams).answer(inspect, 200, running));
    // The program waits for a start, which an earlier command sent.
    fake.context
        .client
        .done(engine_api::client::Call::post("/containers/c0ffee/start"))
        .await
        .unwrap();
    assert_eq!(run(&fake, "attach web").await, Ok(code(7)));
    assert!(
        fake.requests()
            .iter()
            .any(|request| request.starts_with(start))
    );
    let stopped = r#"{"Id":"c0ffee","State":{"Status":"exited"},"Config":{}}"#;
    let fake = Fake::start(Behaviour::idle().answer(inspect, 200, stopped));
    let (code, message) = run(&fake, "attach web").await.unwrap_err();
    assert_eq!(
        (code, message.as_str()),
        (1, "cannot attach to a stopped container, start it first")
    );
}

#[tokio::test]
async fn one_failure_does_not_stop_the_others() {
    let behaviour = Behaviour::idle()
        .answer("POST /containers/a/stop", 204, "")
        .answer("POST /containers/c/stop", 304, "");
    let fake = Fake::start(behaviour);
    assert_eq!(run(&fake, "stop a b c").await.unwrap_err().0, 1);
    assert_eq!(fake.stdout(), "a\nc\n");
    assert!(
        fake.stderr()
            .starts_with("Error response from daemon: no such thing")
    );
}

#[tokio::test]
async fn logs_are_taken_apart() {
    let mut framed = Vec::new();
    engine_api::stdcopy::encode(Stream::Stdout, b"out\n", &mut framed);
    engine_api::stdcopy::encode(Stream::Stderr, b"err\n", &mut framed);
    let body = String::from_utf8(framed).unwrap();
    let fake = Fake::start(Behaviour::idle().answer("GET /containers/web/logs", 200, &body));
    assert_eq!(run(&fake, "logs --tail 5 -t web").await, Ok(code(0)));
    assert_eq!(
        (fake.stdout().as_str(), fake.stderr().as_str()),
        ("out\n", "err\n")
    );
    let request = "GET /containers/web/logs?stdout=1&stderr=1&tail=5&timestamps=1";
    assert_eq!(fake.requests(), [request]);
}

#[tokio::test]
async fn inspect_finds_an_object_of_any_kind() {
    let behaviour =
        Behaviour::idle().answer("GET /networks/n", 200, r#"{"Name":"n","Options":{}}"#);
    let fake = Fake::start(behaviour);
    assert_eq!(run(&fake, "inspect n").await, Ok(code(0)));
    assert_eq!(
        fake.stdout(),
        "[\n    {\n        \"Name\": \"n\",\n        \"Options\": {}\n    }\n]\n"
    );
    let (code, _) = run(&fake, "inspect n none").await.unwrap_err();
    assert_eq!(code, 1);
    assert_eq!(fake.stderr(), "Error: No such object: none\n");
}

#[tokio::test]
async fn a_prune_asks_first() {
    let mut answer = tempfile::tempfile().unwrap();
    answer.write_all(b"n\n").unwrap();
    std::io::Seek::rewind(&mut answer).unwrap();
    let fake = Fake::with_input(Behaviour::idle(), answer);
    assert_eq!(run(&fake, "volume prune").await, Ok(code(0)));
    assert!(fake.requests().is_empty());
    let pruned = r#"{"VolumesDeleted":["a"],"SpaceReclaimed":2000}"#;
    let fake = Fake::start(Behaviour::idle().answer("POST /volumes/prune", 200, pruned));
    assert_eq!(run(&fake, "volume prune -f").await, Ok(code(0)));
    assert_eq!(
        fake.stdout(),
        "Deleted Volumes:\na\n\nTotal reclaimed space: 2kB\n"
    );
}

#[tokio::test]
async fn images_without_a_name_are_pruned_unless_all_are_meant() {
    let pruned =
        r#"{"ImagesDeleted":[{"Untagged":"a:1"},{"Deleted":"sha256:1"}],"SpaceReclaimed":5}"#;
    for (line, dangling) in [("image prune -f", "true"), ("image prune -a -f", "false")] {
        let fake = Fake::start(Behaviour::idle().answer("POST /images/prune", 200, pruned));
        assert_eq!(run(&fake, line).await, Ok(code(0)));
        let text =
            "Deleted Images:\nUntagged: a:1\nDeleted: sha256:1\n\nTotal reclaimed space: 5B\n";
        assert_eq!(fake.stdout(), text);
        let expected =
            engine_api::client::encode(&format!(r#"{{"dangling":{{"{dangling}":true}}}}"#));
        assert_eq!(
            fake.requests(),
            [format!("POST /images/prune?filters={expected}")]
        );
    }
}

#[tokio::test]
async fn tables_of_processes_and_history_are_dockers() {
    let top = r#"{"Titles":["PID","CMD"],"Processes":[["1","sh -c x"]]}"#;
    let fake = Fake::start(Behaviour::idle().answer("GET /containers/web/top", 200, top));
    assert_eq!(run(&fake, "top web -o pid,cmd").await, Ok(code(0)));
    assert_eq!(fake.stdout(), "PID       CMD\n1         sh -c x\n");
    assert_eq!(
        fake.requests(),
        ["GET /containers/web/top?ps_args=-o%20pid%2Ccmd"]
    );
    let step = r#"[{"Id":"sha256:0123456789abcdef","CreatedBy":"COPY x","Size":5,"Comment":"c"}]"#;
    let fake = Fake::start(Behaviour::idle().answer("GET /images/x/history", 200, step));
    let format = "history --format {{.ID}}|{{.CreatedBy}}|{{.Size}}|{{.Comment}} x";
    assert_eq!(run(&fake, format).await, Ok(code(0)));
    assert_eq!(fake.stdout(), "0123456789ab|COPY x|5B|c\n");
}

#[tokio::test]
async fn an_archive_is_saved_under_its_name_only_when_it_is_whole() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("x.tar");
    let line = format!("save -o {} a", path.display());
    let fake = Fake::start(Behaviour::idle().answer("GET /images/get", 200, "archive"));
    assert_eq!(run(&fake, &line).await, Ok(code(0)));
    assert_eq!(std::fs::read(&path).unwrap(), b"archive");
    std::fs::remove_file(&path).unwrap();
    let fake = Fake::start(Behaviour::idle());
    assert_eq!(run(&fake, &line).await.unwrap_err().0, 1);
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_named_socket_without_a_daemon_is_an_error() {
    let fake = Fake::start(Behaviour::idle());
    std::fs::remove_file(fake.context.global.socket()).unwrap();
    let (code, message) = run(&fake, "ps").await.unwrap_err();
    assert_eq!(code, 1);
    assert!(
        message.starts_with("cannot connect to the engine at unix://"),
        "{message}"
    );
}
