//! A daemon for tests, in the same process: it answers on a real socket, keeps
//! a list of what it was asked, and runs a "program" on the attached stream.

use std::collections::{HashMap, VecDeque};
use std::convert::Infallible;
use std::fs::File;
use std::future::Future;
use std::io::{Read as _, Seek as _};
use std::path::PathBuf;
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::{Arc, Mutex};

use engine_api::client::{Body, Client, channel_body};
use engine_api::registry::AuthConfig;
use engine_api::stdcopy::{MULTIPLEXED_STREAM, RAW_STREAM, Stream, encode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixListener;
use tokio::sync::{Notify, watch};

use crate::arguments;
use crate::context::{Context, Environment, Streams};
use crate::error::CliError;

/// The connection as a program of a test sees it.
pub(crate) type Connection = TokioIo<Upgraded>;
type Outcome = Pin<Box<dyn Future<Output = i64> + Send>>;
type Program = Arc<dyn Fn(Connection) -> Outcome + Send + Sync>;

/// What the daemon does.
#[derive(Clone)]
pub(crate) struct Behaviour {
    pub tty: bool,
    pub program: Program,
    /// Told when a signal for the container arrives.
    pub killed: Arc<Notify>,
    /// Answers by `METHOD /path` without version and query, each used in turn,
    /// the last one for ever.
    pub answers: HashMap<String, VecDeque<(u16, String)>>,
}

impl Behaviour {
    /// Returns a daemon whose containers do `program` on a plain stream.
    pub(crate) fn new<F>(program: impl Fn(Connection) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = i64> + Send + 'static,
    {
        Self {
            tty: false,
            killed: Arc::new(Notify::new()),
            program: Arc::new(move |stream| Box::pin(program(stream))),
            answers: HashMap::new(),
        }
    }

    /// Returns a daemon whose containers do nothing.
    pub(crate) fn idle() -> Self {
        Self::new(|_| async { 0 })
    }

    /// Gives containers a terminal.
    pub(crate) fn with_tty(mut self) -> Self {
        self.tty = true;
        self
    }

    /// Adds an answer.
    pub(crate) fn answer(mut self, request: &str, status: u16, body: &str) -> Self {
        let answers = self.answers.entry(request.to_owned()).or_default();
        answers.push_back((status, body.to_owned()));
        self
    }
}

/// A running daemon and a command line's context for it.
pub(crate) struct Fake {
    pub context: Context,
    stdout: File,
    stderr: File,
    requests: Arc<Mutex<Vec<String>>>,
    secrets: Arc<Mutex<Vec<String>>>,
    _directory: tempfile::TempDir,
}

struct Shared {
    behaviour: Mutex<Behaviour>,
    requests: Arc<Mutex<Vec<String>>>,
    secrets: Arc<Mutex<Vec<String>>>,
    started: watch::Sender<bool>,
    exit: watch::Sender<Option<i64>>,
}

impl Fake {
    /// Starts the daemon; the command's input is empty.
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        Self::with_input(behaviour, File::open("/dev/null").unwrap())
    }

    /// Starts the daemon; the command reads `stdin`.
    pub(crate) fn with_input(behaviour: Behaviour, stdin: File) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let (stdout, stderr) = (tempfile::tempfile().unwrap(), tempfile::tempfile().unwrap());
        let streams = Streams {
            stdin,
            stdout: stdout.try_clone().unwrap(),
            stderr: stderr.try_clone().unwrap(),
        };
        let socket = directory.path().join("engine.sock");
        let (requests, secrets) = serve(behaviour, &socket);
        let host = format!("unix://{}", socket.display());
        let words = ["engine", "--host", &host, "ps"].map(std::ffi::OsString::from);
        let parsed = arguments::try_parse(words.into_iter()).unwrap();
        let context = Context {
            client: Client::new(&socket),
            has_host: true,
            global: parsed.global,
            streams,
            environment: Environment::default(),
        };
        Self {
            context,
            stdout,
            stderr,
            requests,
            secrets,
            _directory: directory,
        }
    }

    /// Gives the command a terminal for input and output.
    pub(crate) fn on_terminal(behaviour: Behaviour, terminal: &File) -> Self {
        let mut fake = Self::with_input(behaviour, terminal.try_clone().unwrap());
        fake.context.streams.stdout = terminal.try_clone().unwrap();
        fake
    }

    /// Runs a command line.
    pub(crate) async fn run(&self, words: &[&str]) -> Result<ExitCode, CliError> {
        let words = [&["engine"], words].concat();
        let words = words.into_iter().map(std::ffi::OsString::from);
        arguments::try_parse(words)
            .unwrap()
            .command
            .run(&self.context)
            .await
    }

    /// Returns what the command wrote to stdout.
    pub(crate) fn stdout(&self) -> String {
        content(&self.stdout)
    }

    /// Returns what the command wrote to stderr.
    pub(crate) fn stderr(&self) -> String {
        content(&self.stderr)
    }

    /// Returns the credentials the daemon was shown, in headers and bodies.
    pub(crate) fn secrets(&self) -> Vec<String> {
        self.secrets.lock().unwrap().clone()
    }

    /// Returns what the daemon was asked, `METHOD /path?query`, without version.
    pub(crate) fn requests(&self) -> Vec<String> {
        self.requests.lock().unwrap().clone()
    }
}

fn content(mut file: &File) -> String {
    let mut text = String::new();
    file.rewind().unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

type Seen = Arc<Mutex<Vec<String>>>;

/// Returns the lists of what the daemon will be asked, and of credentials.
fn serve(behaviour: Behaviour, socket: &PathBuf) -> (Seen, Seen) {
    let listener = UnixListener::bind(socket).unwrap();
    let (requests, secrets) = (Seen::default(), Seen::default());
    let shared = Arc::new(Shared {
        behaviour: Mutex::new(behaviour),
        requests: requests.clone(),
        secrets: secrets.clone(),
        started: watch::Sender::new(false),
        exit: watch::Sender::new(None),
    });
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let shared = shared.clone();
            let service =
                hyper::service::service_fn(move |request| answer(shared.clone(), request));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades();
            tokio::spawn(connection);
        }
    });
    (requests, secrets)
}

async fn answer(
    shared: Arc<Shared>,
    mut request: Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let target = request.uri().to_string();
    let target = target
        .strip_prefix("/v1.51")
        .expect("the client sends its version")
        .to_owned();
    let path = target.split('?').next().unwrap_or_default();
    if path == "/_ping" {
        return Ok(plain(200, "OK".to_owned()));
    }
    let key = format!("{} {path}", request.method());
    shared
        .requests
        .lock()
        .unwrap()
        .push(format!("{} {target}", request.method()));
    shared.note_secrets(&mut request, path).await;
    if let Some((status, body)) = shared.scripted(&key) {
        let mut response = plain(status, body);
        if path.ends_with("/logs") {
            let kind = MULTIPLEXED_STREAM.parse().unwrap();
            response.headers_mut().insert("content-type", kind);
        }
        return Ok(response);
    }
    let action = path.rsplit('/').next().unwrap_or_default();
    Ok(match (path.starts_with("/exec/"), action) {
        (_, "attach") => shared.hijack(&mut request, true),
        (true, "start") => shared.hijack(&mut request, false),
        (true, "json") => {
            let code = (*shared.exit.borrow()).unwrap_or(0);
            plain(
                200,
                format!(r#"{{"ID":"e0","Running":false,"ExitCode":{code}}}"#),
            )
        }
        (_, "wait") => shared.wait(),
        (_, action) => shared
            .act(action)
            .unwrap_or_else(|| plain(404, format!(r#"{{"message":"no such thing: {key}"}}"#))),
    })
}

fn plain(status: u16, body: String) -> Response<Body> {
    let body = Body::Whole((!body.is_empty()).then(|| body.into()));
    Response::builder().status(status).body(body).unwrap()
}

impl Shared {
    async fn note_secrets(&self, request: &mut Request<Incoming>, path: &str) {
        if let Some(header) = request.headers().get("x-registry-auth") {
            let auth = AuthConfig::from_header(header.to_str().unwrap()).unwrap();
            let auth = serde_json::to_string(&auth).unwrap();
            self.secrets.lock().unwrap().push(auth);
        }
        if path == "/auth" {
            let body = request.body_mut().collect().await.unwrap().to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            self.secrets.lock().unwrap().push(body);
        }
    }

    fn scripted(&self, key: &str) -> Option<(u16, String)> {
        let mut behaviour = self.behaviour.lock().unwrap();
        let answers = behaviour.answers.get_mut(key)?;
        match answers.len() {
            1 => answers.front().cloned(),
            _ => answers.pop_front(),
        }
    }

    /// Does what changes the container and answers shortly.
    fn act(&self, action: &str) -> Option<Response<Body>> {
        match action {
            "start" => drop(self.started.send_replace(true)),
            "kill" => self.behaviour.lock().unwrap().killed.notify_one(),
            "create" => {
                return Some(plain(201, r#"{"Id":"c0ffee","Warnings":[]}"#.to_owned()));
            }
            "exec" => return Some(plain(201, r#"{"Id":"e0"}"#.to_owned())),
            "resize" => {}
            _ => return None,
        }
        Some(plain(204, String::new()))
    }

    /// Switches protocols and runs the program, at once or once it is started.
    fn hijack(
        self: &Arc<Self>,
        request: &mut Request<Incoming>,
        awaits_start: bool,
    ) -> Response<Body> {
        let behaviour = self.behaviour.lock().unwrap().clone();
        let (upgrade, shared) = (hyper::upgrade::on(request), self.clone());
        tokio::spawn(async move {
            let stream = TokioIo::new(upgrade.await.unwrap());
            if awaits_start {
                shared
                    .started
                    .subscribe()
                    .wait_for(|started| *started)
                    .await
                    .unwrap();
            }
            let code = (behaviour.program)(stream).await;
            shared.exit.send_replace(Some(code));
        });
        let kind = if behaviour.tty {
            RAW_STREAM
        } else {
            MULTIPLEXED_STREAM
        };
        Response::builder()
            .status(101)
            .header("connection", "Upgrade")
            .header("upgrade", "tcp")
            .header("content-type", kind)
            .body(Body::Whole(None))
            .unwrap()
    }

    /// Answers at once and tells the exit code later, as Docker does.
    fn wait(self: &Arc<Self>) -> Response<Body> {
        let (sender, body) = channel_body();
        let mut exit = self.exit.subscribe();
        tokio::spawn(async move {
            let code = exit
                .wait_for(Option::is_some)
                .await
                .unwrap()
                .unwrap_or_default();
            let answer = format!(r#"{{"StatusCode":{code}}}"#);
            sender.send(answer.into()).await.ok();
        });
        Response::builder().status(200).body(body).unwrap()
    }
}

/// Writes `bytes` to the client, framed.
pub(crate) async fn say(connection: &mut Connection, stream: Stream, bytes: &[u8]) {
    let mut frame = Vec::new();
    encode(stream, bytes, &mut frame);
    connection.write_all(&frame).await.unwrap();
}
