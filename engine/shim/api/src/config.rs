//! What a shim is told when it is started.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use base::RunId;
use serde::{Deserialize, Serialize};

/// `<run>/shim/<id>.<run>/config.json`, mode 0600.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShimConfig {
    /// [`crate::PROTOCOL_VERSION`] of the engine that wrote it.
    pub protocol: u32,
    pub run: RunId,
    /// The OCI bundle, with config.json in it.
    pub bundle: PathBuf,
    pub runtime: RuntimeConfig,
    /// Whether the process gets a pseudo-terminal.
    pub terminal: bool,
    pub stdin: StdinMode,
    /// Whose the streams are, user and group, where not root's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stream_owner: Option<(u32, u32)>,
    /// Absent: output is neither kept nor sent (`--log-driver none`).
    pub log: Option<LogConfig>,
    /// The event log's directory.
    pub events: PathBuf,
    /// The container's cgroup, relative to each hierarchy's mount, as in the
    /// OCI spec; read for OOM kills before `delete`.
    pub cgroup: String,
}

/// The OCI runtime and its global options.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeConfig {
    pub path: PathBuf,
    /// Global options before the command.
    pub arguments: Vec<String>,
    /// `--root`.
    pub state_root: PathBuf,
}

/// What the process reads from standard input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StdinMode {
    /// `/dev/null`.
    Null,
    /// Open until the shim ends, whoever comes and goes.
    Open,
    /// Open until the first attached client that sends input goes.
    Once,
}

/// What becomes of output.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    /// Absent: nothing is kept to be read.
    #[serde(default)]
    pub files: Option<LogFilesConfig>,
    /// Who else is told each line.
    #[serde(default)]
    pub destination: Option<LogDestination>,
}

/// The files output is kept in, described in `docs/formats/container-log.md`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFilesConfig {
    pub place: LogPlace,
    #[serde(default)]
    pub format: LogFormat,
    /// A file is rotated before it would exceed this.
    pub max_size_bytes: u64,
    /// Files kept, the current one included; at least 1.
    pub max_files: u32,
    /// Whether files that are no longer written are compressed.
    #[serde(default)]
    pub compress: bool,
    /// Written with each record of [`LogFormat::Json`].
    #[serde(default)]
    pub attributes: BTreeMap<String, String>,
}

/// How a record is spelled.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// Ours: every byte comes back, and files are numbered.
    #[default]
    Local,
    /// As Docker's `json-file` driver does.
    Json,
}

/// Whom a container's lines are sent to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogDestination {
    pub peer: LogPeer,
    /// What may wait while the container runs on (`mode=non-blocking`); absent:
    /// a destination that is slow holds the container back.
    #[serde(default)]
    pub buffer_bytes: Option<u64>,
}

/// A kind of destination.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogPeer {
    Journald {
        socket: PathBuf,
        /// Fields of every entry, by name.
        fields: BTreeMap<String, String>,
    },
    Syslog(SyslogConfig),
}

/// A syslog server and what it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SyslogConfig {
    pub address: SyslogAddress,
    /// 0 to 23.
    pub facility: u8,
    pub format: SyslogFormat,
    pub tag: String,
}

/// Where a syslog server listens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogAddress {
    /// The host's own, wherever that is.
    Local,
    Udp(SocketAddr),
    Tcp(SocketAddr),
    Unix(PathBuf),
    Unixgram(PathBuf),
}

/// How a message is spelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyslogFormat {
    /// As syslog(3) of a C library: without a host name.
    Unix,
    Rfc3164,
    Rfc5424,
    Rfc5424Micro,
}

/// Where a log's files are: the one written, and others beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlace {
    pub directory: PathBuf,
    /// Of the file that is written.
    pub name: String,
}

impl LogPlace {
    /// Returns a file of a log: 0 is the one written, 1 the one before.
    pub fn file(&self, number: u32) -> PathBuf {
        match number {
            0 => self.directory.join(&self.name),
            number => self.directory.join(format!("{}.{number}", self.name)),
        }
    }

    /// Returns the same file, compressed.
    pub fn compressed(&self, number: u32) -> PathBuf {
        self.directory.join(format!("{}.{number}.gz", self.name))
    }

    /// Returns the file that is being made by compressing another.
    pub fn unfinished(&self) -> PathBuf {
        self.directory.join(format!("{}.gz.tmp", self.name))
    }
}
