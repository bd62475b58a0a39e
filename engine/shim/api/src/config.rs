//! What a shim is told when it is started.

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
    /// Absent: output is not kept (`--log-driver none`).
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

/// Where output goes: `<directory>/container.log`, rotated to `.1`, `.2`, ….
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogConfig {
    pub directory: PathBuf,
    /// A file is rotated before it would exceed this.
    pub max_size_bytes: u64,
    /// Files kept, the current one included; at least 1.
    pub max_files: u32,
}
