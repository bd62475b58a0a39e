//! Raw requests to the API, as any user of the host, so that they can be wrong
//! in every way; and certificates for those over TCP.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::{Gid, Uid};
use rustix::thread::{set_thread_groups, set_thread_res_gid, set_thread_res_uid};
use serde_json::Value;

/// No answer takes longer.
const ANSWER_LIMIT: Duration = Duration::from_secs(20);

/// A user of the host.
#[derive(Debug, Clone, Copy)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// Further groups.
    pub groups: &'static [u32],
}

impl User {
    /// Returns a user in a group of the same number.
    pub fn new(uid: u32) -> Self {
        Self {
            uid,
            gid: uid,
            groups: &[],
        }
    }
}

/// What a request was answered.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// Returns the body as JSON.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    fn parse(bytes: &[u8]) -> Self {
        let text = String::from_utf8_lossy(bytes);
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let status = head.split(' ').nth(1).and_then(|it| it.parse().ok());
        Self {
            status: status.unwrap_or_default(),
            head: head.to_owned(),
            body: unchunked(head, body),
        }
    }
}

fn unchunked(head: &str, body: &str) -> String {
    if !head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        return body.to_owned();
    }
    let (mut whole, mut rest) = (String::new(), body);
    while let Some((size, after)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size.trim(), 16).unwrap_or_default();
        let Some(piece) = after.get(..size).filter(|_| size > 0) else {
            break;
        };
        whole.push_str(piece);
        rest = after[size..].trim_start_matches("\r\n");
    }
    whole
}

/// Connects to a unix socket as `user`. Credentials are a thread's own to the
/// kernel, so a thread of its own gives up root.
pub fn connect(socket: &Path, user: User) -> UnixStream {
    let socket = socket.to_owned();
    let connect = move || {
        let groups: Vec<Gid> = user.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        set_thread_groups(&groups).expect("tests run as root");
        let (gid, uid) = (Gid::from_raw(user.gid), Uid::from_raw(user.uid));
        set_thread_res_gid(gid, gid, gid).expect("tests run as root");
        set_thread_res_uid(uid, uid, uid).expect("tests run as root");
        UnixStream::connect(socket).expect("somebody listens")
    };
    std::thread::spawn(connect).join().expect("connected")
}

/// Sends `request` as it is and returns the answer, whatever comes of it.
pub fn exchange(mut stream: impl Read + Write, request: &[u8]) -> Answer {
    // A server that has heard enough answers and closes: that is no failure here.
    stream.write_all(request).unwrap_or_default();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap_or_default();
    Answer::parse(&answer)
}

/// Sends a request with a JSON body as `user`.
pub fn send(socket: &Path, user: User, line: &str, body: Option<&Value>) -> Answer {
    let stream = connect(socket, user);
    stream
        .set_read_timeout(Some(ANSWER_LIMIT))
        .expect("a socket has a timeout");
    let body = body.map(Value::to_string).unwrap_or_default();
    let length = body.len();
    let request = format!(
        "{line} HTTP/1.1\r\nHost: docker\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {length}\r\n\r\n{body}"
    );
    exchange(stream, request.as_bytes())
}

/// An authority for tests, with what it has signed, in one directory.
#[derive(Debug)]
pub struct Authority {
    directory: PathBuf,
}

impl Authority {
    /// Makes an authority.
    pub fn new(directory: &Path) -> Self {
        std::fs::create_dir_all(directory).expect("made");
        let authority = Self {
            directory: directory.to_owned(),
        };
        openssl(&authority.request("ca", "/CN=test authority"));
        authority
    }

    /// Returns the path of `name`.pem.
    pub fn certificate(&self, name: &str) -> String {
        self.directory
            .join(format!("{name}.pem"))
            .display()
            .to_string()
    }

    /// Returns the path of `name`.key.
    pub fn key(&self, name: &str) -> String {
        self.directory
            .join(format!("{name}.key"))
            .display()
            .to_string()
    }

    /// Signs a certificate for 127.0.0.1 and the common name `name`.
    pub fn sign(&self, name: &str) {
        let mut arguments = self.request(name, &format!("/O=tests/CN={name}"));
        let signer = [("-CA", self.certificate("ca")), ("-CAkey", self.key("ca"))];
        for (option, path) in signer {
            arguments.extend([option.to_owned(), path]);
        }
        for extension in [
            "basicConstraints=critical,CA:FALSE",
            "subjectAltName=IP:127.0.0.1",
            "extendedKeyUsage=serverAuth,clientAuth",
        ] {
            arguments.extend(["-addext".to_owned(), extension.to_owned()]);
        }
        openssl(&arguments);
    }

    fn request(&self, name: &str, subject: &str) -> Vec<String> {
        let line = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
        let mut arguments: Vec<String> =
            crate::words(line).into_iter().map(str::to_owned).collect();
        for (option, value) in [
            ("-subj", subject.to_owned()),
            ("-keyout", self.key(name)),
            ("-out", self.certificate(name)),
        ] {
            arguments.extend([option.to_owned(), value]);
        }
        arguments
    }
}

fn openssl(arguments: &[String]) {
    let said = crate::run(Command::new("openssl").args(arguments));
    assert_eq!(said.code, 0, "{arguments:?}: {said:?}");
}
