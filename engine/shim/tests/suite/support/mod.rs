//! A run of one container under a shim, in directories of its own.

pub(crate) mod bundle;
pub(crate) mod host;

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader, Read as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use base::file::{FileMode, replace};
use base::{ContainerId, RunId, RunNumber};
use engine_shim_api::log_reader::{LogContent, LogReader, LogStart, LogStream};
use engine_shim_api::{
    AttachHello, ControlClient, ControlReply, ControlRequest, ExitRecord, LogConfig,
    LogFilesConfig, LogFormat, LogPlace, PROTOCOL_VERSION, RuntimeConfig, ShimConfig, StdinMode,
    connect_attach,
};

/// Nothing here takes longer, even on a loaded machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// A container that may be run once.
pub(crate) struct Fixture {
    pub(crate) root: tempfile::TempDir,
    pub(crate) config: ShimConfig,
    /// A command that executes the shim, as `unshare` does.
    pub(crate) wrapper: Vec<String>,
    shim: Option<Child>,
}

impl Fixture {
    /// Returns what the shim is told of the log's files.
    pub(crate) fn log_files(&self) -> &LogFilesConfig {
        let log = self.config.log.as_ref().unwrap();
        log.files.as_ref().unwrap()
    }

    /// The same, to be changed before the shim is started.
    pub(crate) fn log_files_mut(&mut self) -> &mut LogFilesConfig {
        let log = self.config.log.as_mut().unwrap();
        log.files.as_mut().unwrap()
    }

    /// A container that runs `script` in a busybox shell.
    pub(crate) fn shell(runtime: &Path, script: &str) -> Self {
        let fixture = Self::new(runtime);
        bundle::write(&fixture.config, &["/bin/sh", "-c", script]);
        fixture
    }

    /// A container without a bundle, for `runtime`.
    pub(crate) fn new(runtime: &Path) -> Self {
        let root = tempfile::Builder::new().prefix("shim").tempdir().unwrap();
        let run = RunId::new(ContainerId::random(), RunNumber(1));
        let at = |name: &str| {
            let path = root.path().join(name);
            std::fs::create_dir_all(&path).unwrap();
            path
        };
        let config = ShimConfig {
            stream_owner: None,
            protocol: PROTOCOL_VERSION,
            bundle: at("bundle"),
            runtime: RuntimeConfig {
                path: runtime.to_owned(),
                arguments: Vec::new(),
                state_root: at("runtime"),
            },
            terminal: false,
            stdin: StdinMode::Null,
            log: Some(LogConfig {
                files: Some(LogFilesConfig {
                    place: LogPlace {
                        directory: at("log"),
                        name: "container.log".to_owned(),
                    },
                    format: LogFormat::Local,
                    max_size_bytes: 10 << 20,
                    max_files: 3,
                    compress: false,
                    attributes: BTreeMap::new(),
                }),
                destination: None,
            }),
            events: at("events"),
            cgroup: format!("/shim-test-{}", run.container.short()),
            run,
        };
        Self {
            root,
            config,
            wrapper: Vec::new(),
            shim: None,
        }
    }

    pub(crate) fn directory(&self) -> PathBuf {
        self.root
            .path()
            .join("shim")
            .join(self.config.run.to_string())
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory().join(name)
    }

    /// Writes the configuration and starts a shim; returns once it is ready.
    pub(crate) fn start_shim(&mut self) {
        self.write_config();
        let mut shim = self.command().spawn().unwrap();
        let mut line = String::new();
        let output = shim.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        if line != "ready\n" {
            let mut errors = String::new();
            let mut pipe = shim.stderr.take().unwrap();
            pipe.read_to_string(&mut errors).unwrap();
            panic!("the shim said {line:?} {errors}");
        }
        self.shim = Some(shim);
    }

    pub(crate) fn write_config(&self) {
        std::fs::create_dir_all(self.directory()).unwrap();
        let content = serde_json::to_vec(&self.config).unwrap();
        replace(&self.file("config.json"), &content, FileMode::Private).unwrap();
    }

    pub(crate) fn command(&self) -> Command {
        let shim = env!("CARGO_BIN_EXE_engine-shim").to_owned();
        let words = [&self.wrapper[..], &[shim]].concat();
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .arg(self.directory())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// The shim's process, while this test is its parent.
    pub(crate) fn shim(&mut self) -> &mut Child {
        self.shim.as_mut().unwrap()
    }

    pub(crate) fn control(&self) -> ControlClient {
        ControlClient::connect(&self.directory()).unwrap()
    }

    /// Starts the container; returns init's pid.
    pub(crate) fn start(&self) -> u32 {
        let reply = self.control().call(ControlRequest::Start, LIMIT);
        match reply {
            Ok(ControlReply::Started { pid }) => pid,
            other => panic!("not started: {other:?}; {}", self.shim_log()),
        }
    }

    /// Starts shim and container.
    pub(crate) fn run(&mut self) -> u32 {
        self.start_shim();
        self.start()
    }

    pub(crate) fn ask(&self, request: ControlRequest) -> ControlReply {
        self.control().call(request, LIMIT).unwrap()
    }

    pub(crate) fn attach(&self, exec: Option<&str>) -> UnixStream {
        let hello = AttachHello {
            protocol: PROTOCOL_VERSION,
            exec: exec.map(str::to_owned),
            stdin: true,
            stdout: true,
            stderr: true,
            log_position: false,
        };
        let stream = connect_attach(&self.directory(), &hello).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream
    }

    /// Waits until the shim has ended by itself; returns what it recorded.
    pub(crate) fn wait(&mut self) -> ExitRecord {
        let shim = self.shim.as_mut().unwrap();
        eventually("the shim ends", || shim.try_wait().unwrap().is_some());
        let status = shim.wait().unwrap();
        assert!(status.success(), "{status}; {}", self.shim_log());
        self.exit_record()
    }

    pub(crate) fn exit_record(&self) -> ExitRecord {
        let content = std::fs::read(self.file("exit.json")).unwrap();
        serde_json::from_slice(&content).unwrap()
    }

    pub(crate) fn shim_log(&self) -> String {
        std::fs::read_to_string(self.file("shim.log")).unwrap_or_default()
    }

    /// All that is in the container's log, by stream.
    pub(crate) fn output(&self, wanted: LogStream) -> Vec<u8> {
        let place = &self.log_files().place;
        let mut reader = LogReader::open(place, &LogStart::default()).unwrap();
        let mut output = Vec::new();
        while let Some(entry) = reader.next_entry().unwrap() {
            match entry.content {
                LogContent::Output { stream, bytes } if stream == wanted => output.extend(bytes),
                LogContent::Output { .. } => {}
                LogContent::Dropped { records } => panic!("{records} records dropped"),
                LogContent::Missed { files } => panic!("{files} files missed"),
                LogContent::Damaged => panic!("a file is damaged"),
            }
        }
        output
    }

    pub(crate) fn stdout(&self) -> String {
        String::from_utf8(self.output(LogStream::Stdout)).unwrap()
    }

    /// The kinds of the events of this run, in order.
    pub(crate) fn events(&self) -> Vec<String> {
        host::events(&self.config.events)
            .into_iter()
            .filter(|event| event.subject == self.config.run.to_string())
            .map(|event| event.kind)
            .collect()
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        if let Some(mut shim) = self.shim.take() {
            shim.kill().unwrap();
            shim.wait().unwrap();
        }
        host::end_container(self);
    }
}

/// Waits for a condition.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + LIMIT;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

/// Reads until the end.
pub(crate) fn read_all(mut stream: &UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

/// Reads until `text` has come.
pub(crate) fn read_until(mut stream: &UnixStream, text: &str) -> String {
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(text) {
        let length = stream.read(&mut buffer).unwrap();
        assert!(
            length > 0,
            "ended after {:?}",
            String::from_utf8_lossy(&seen)
        );
        seen.extend(&buffer[..length]);
    }
    String::from_utf8_lossy(&seen).into_owned()
}

/// Takes Docker's frames apart into standard output and standard error.
pub(crate) fn unframe(mut bytes: &[u8]) -> [Vec<u8>; 2] {
    let mut streams = [Vec::new(), Vec::new()];
    while !bytes.is_empty() {
        let length = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
        assert_eq!(bytes[1..4], [0, 0, 0]);
        streams[bytes[0] as usize - 1].extend(&bytes[8..8 + length]);
        bytes = &bytes[8 + length..];
    }
    streams
}
