//! The control protocol: one JSON message a packet on a seqpacket socket.
//!
//! A client connects, sends [`Packet`]s and gets one reply for each, in any
//! order, matched by `id`; notices come unasked on every connection.

use std::path::PathBuf;

use base::{Failure, Timestamp};
use serde::{Deserialize, Serialize};

/// No packet is larger.
pub const PACKET_LIMIT_BYTES: usize = 64 * 1024;

/// A request as it is sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packet {
    pub protocol: u32,
    pub id: u64,
    pub request: ControlRequest,
}

/// What a shim can be asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "do", rename_all = "snake_case")]
pub enum ControlRequest {
    /// Runs the container (`run --detach`); answered by `Started`. Once.
    Start,
    /// Runs a further process (`exec --detach --process`); answered by `Started`.
    Exec {
        exec: String,
        /// OCI process JSON, mode 0600 below `<run>`; the engine removes it.
        process: PathBuf,
        terminal: bool,
        stdin: bool,
    },
    /// Signals init (`kill`); with `all`, every process of the container.
    Signal { signal: u32, all: bool },
    /// Signals an exec process.
    SignalExec { exec: String, signal: u32 },
    /// Sets a terminal's size; `exec` absent means the container's.
    Resize {
        exec: Option<String>,
        rows: u16,
        columns: u16,
    },
    /// Freezes the container (`pause`).
    Pause,
    /// Thaws it (`resume`).
    Resume,
    /// Changes limits (`update --resources`).
    Update {
        /// OCI `LinuxResources` JSON below `<run>`; the engine removes it.
        resources: PathBuf,
    },
    /// What lives: answered by `Status`.
    Status,
    /// Ends a shim whose container never started or is cleaned up.
    Shutdown,
}

/// What comes back: the reply to a request, or a notice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Message {
    Reply {
        id: u64,
        result: Result<ControlReply, Failure>,
    },
    Notice(Notice),
}

/// A granted request's answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum ControlReply {
    Done,
    Started {
        pid: u32,
    },
    Status {
        pid: Option<u32>,
        started: Option<Timestamp>,
        paused: bool,
        execs: Vec<String>,
    },
}

/// What a shim tells unasked; the event log says the same, later readers use that.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "snake_case")]
pub enum Notice {
    ExecExited { exec: String, exit_code: i32 },
    Exited { exit_code: i32 },
}
