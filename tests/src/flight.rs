//! Clients whose requests are in flight while the engine dies: raw ones, which keep
//! what they have got, and commands.

use std::io::{Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::{Installation, Said, Victim, finish, wait_until};

/// Whoever is connected learns this soon that the engine is dead.
const END_LIMIT: Duration = Duration::from_secs(5);
/// Docker's frames begin with so many bytes.
const FRAME_HEAD_BYTES: usize = 8;
/// The last piece of an answer in pieces: without it the answer is cut.
const LAST_PIECE: &[u8] = b"0\r\n\r\n";

/// A raw client that reads until its connection ends.
#[derive(Debug)]
pub struct Flight {
    what: String,
    got: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<Instant>,
    stream: UnixStream,
}

impl Flight {
    /// Sends a request, such as `GET /events`, and begins to read.
    pub fn begin(host: &Installation, line: &str, body: Option<&Value>) -> Self {
        let mut stream = UnixStream::connect(host.instance.socket()).expect("somebody listens");
        let body = body.map(Value::to_string).unwrap_or_default();
        let length = body.len();
        let is_hijack = line.contains("/attach") || line.starts_with("POST /exec/");
        let upgrade = if is_hijack {
            "Connection: Upgrade\r\nUpgrade: tcp\r\n"
        } else {
            ""
        };
        let request = format!(
            "{line} HTTP/1.1\r\nHost: docker\r\n{upgrade}Content-Type: application/json\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).expect("it is read");
        let got = Arc::<Mutex<Vec<u8>>>::default();
        let mut from = stream.try_clone().expect("a descriptor is left");
        let into = got.clone();
        let read = move || {
            let mut buffer = [0; 4096];
            // Both its end and a reset are a clean end.
            while let Ok(count @ 1..) = from.read(&mut buffer) {
                let mut got = into.lock().unwrap_or_else(PoisonError::into_inner);
                got.extend(&buffer[..count]);
            }
            Instant::now()
        };
        Self {
            what: line.to_owned(),
            got,
            reader: std::thread::spawn(read),
            stream,
        }
    }

    /// Returns the body so far: out of its pieces, and out of frames where it has some.
    pub fn body(&self) -> String {
        let got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
        body(&got)
    }

    /// Waits until the body has `text`.
    pub fn wait_for(&self, text: &str) {
        let what = format!("{} says {text:?}", self.what);
        wait_until(&what, || self.body().contains(text));
    }

    /// Waits for the end of the connection, which must come soon after `death`, and
    /// returns the body. An answer that was cut does not look like a whole one.
    pub fn end_after(self, death: Instant) -> String {
        let (what, reader) = (self.what, self.reader);
        wait_until(&format!("{what} ends"), || reader.is_finished());
        let ended = reader.join().expect("reading does not fail");
        let took = ended.saturating_duration_since(death);
        assert!(took < END_LIMIT, "{what} ended {took:?} after the engine");
        let got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!got.ends_with(LAST_PIECE), "{what} looks whole");
        body(&got)
    }

    /// Hangs up, and returns the body.
    pub fn hang_up(self) -> String {
        self.stream
            .shutdown(Shutdown::Both)
            .expect("it is connected");
        self.reader.join().expect("reading does not fail");
        let got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
        body(&got)
    }

    /// Waits until the server ends the answer, and returns its body.
    pub fn whole(self) -> String {
        let what = format!("{} is answered", self.what);
        wait_until(&what, || {
            let got = self.got.lock().unwrap_or_else(PoisonError::into_inner);
            got.ends_with(LAST_PIECE)
        });
        self.hang_up()
    }
}

/// A command that runs while the engine dies.
#[derive(Debug)]
pub struct Command {
    what: String,
    child: Child,
    output: std::path::PathBuf,
}

impl Command {
    /// Starts `engine …`; its output goes to a file, so that it never waits for us.
    pub fn begin(host: &Installation, arguments: &[&str]) -> Self {
        let output = host.scratch().join(format!("flight-{}", arguments[0]));
        let file = std::fs::File::create(&output).expect("a file can be made");
        let mut command = host.command(arguments);
        let command = command.stdin(Stdio::null()).stdout(file);
        let child = command.stderr(Stdio::piped()).spawn();
        Self {
            what: format!("engine {arguments:?}"),
            child: child.expect("the command is built"),
            output,
        }
    }

    /// Returns what it has printed.
    pub fn output(&self) -> String {
        std::fs::read_to_string(&self.output).unwrap_or_default()
    }

    /// Waits until it has printed `text`.
    pub fn wait_for(&self, text: &str) {
        let what = format!("{} prints {text:?}", self.what);
        wait_until(&what, || self.output().contains(text));
    }

    /// Waits for its end.
    pub fn end(self) -> Said {
        let said = finish(self.child);
        Said {
            stdout: std::fs::read_to_string(&self.output).expect("it was made"),
            ..said
        }
    }

    /// Ends one that would go on, and returns what it has printed.
    pub fn kill(mut self) -> String {
        self.child.kill().expect("it runs");
        self.child.wait().expect("a child can be waited for");
        self.output()
    }

    /// Waits for its end, which must come soon after `death`, with one line that says
    /// why and a code that says so too.
    pub fn fail_after(self, death: Instant) -> Said {
        let what = self.what.clone();
        let said = self.end();
        let took = death.elapsed();
        assert!(took < END_LIMIT, "{what} ended {took:?} after the engine");
        assert!(said.code > 0, "{what} says that all is well: {said:?}");
        let lines = said.stderr.lines().count();
        assert_eq!(lines, 1, "{what} says one thing: {said:?}");
        assert!(said.stderr.contains("engine"), "{what}: {said:?}");
        said
    }
}

/// Kills the engine; returns when that was.
pub fn kill_engine(host: &Installation) -> Instant {
    let death = Instant::now();
    host.kill_daemon(Victim::Engine);
    death
}

fn body(got: &[u8]) -> String {
    let text = String::from_utf8_lossy(got);
    let Some((head, _)) = text.split_once("\r\n\r\n") else {
        return String::new();
    };
    let mut body = got[head.len() + 4..].to_vec();
    let head = head.to_ascii_lowercase();
    if head.contains("transfer-encoding: chunked") {
        body = pieces(&body);
    }
    if head.contains("multiplexed-stream") {
        body = frames(&body);
    }
    String::from_utf8_lossy(&body).into_owned()
}

/// Puts the pieces of an answer together; of a cut one, what is there.
fn pieces(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let size = std::str::from_utf8(&bytes[..end]).unwrap_or_default();
        let size = usize::from_str_radix(size, 16).expect("a piece has a size");
        let rest = &bytes[end + 2..];
        whole.extend(&rest[..size.min(rest.len())]);
        bytes = rest.get(size + 2..).unwrap_or_default();
    }
    whole
}

/// Takes frames apart; of a cut one, what is there.
fn frames(mut bytes: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some((head, rest)) = bytes.split_at_checked(FRAME_HEAD_BYTES) {
        let length = u32::from_be_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (payload, after) = rest.split_at(length.min(rest.len()));
        whole.extend(payload);
        bytes = after;
    }
    whole
}
