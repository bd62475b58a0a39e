//! The facts a shim appends to the event log; the subject is `<id>.<run>`.

use base::{RunId, Timestamp};
use events::{Class, EventType};
use serde::{Deserialize, Serialize};

/// Init runs.
pub const STARTED: &str = "container.started";
/// Init has ended; its output is drained and logged.
pub const EXITED: &str = "container.exited";
/// `delete` is done: nothing of the run is left but what netd and volumed hold.
pub const CLEANED: &str = "container.cleaned";
/// A further process runs.
pub const EXEC_STARTED: &str = "exec.started";
/// A further process has ended.
pub const EXEC_EXITED: &str = "exec.exited";

const fn fact(kind: &'static str, payload: &'static str, readers: &'static str) -> EventType {
    EventType {
        kind,
        class: Class::Fact,
        writer: "shim",
        payload,
        readers,
    }
}

/// Every type of event that a shim writes.
pub const EVENTS: &[EventType] = &[
    fact(STARTED, "Started", "engine"),
    fact(EXITED, "ExitRecord", "engine, netd, volumed"),
    fact(CLEANED, "Cleaned", "engine, netd, volumed"),
    fact(EXEC_STARTED, "ExecStarted", "engine"),
    fact(EXEC_EXITED, "ExecExited", "engine"),
];

/// Payload of [`STARTED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Started {
    pub pid: u32,
}

/// Payload of [`EXITED`], and `exit.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExitRecord {
    pub run: RunId,
    /// 128 + signal for a process that a signal ended.
    pub exit_code: i32,
    pub oom_killed: bool,
    pub exited: Timestamp,
    /// Set by the engine when the shim died first.
    #[serde(default)]
    pub shim_lost: bool,
}

/// Payload of [`CLEANED`].
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cleaned {
    /// Why `delete` failed, after all attempts; something may be left then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// Payload of [`EXEC_STARTED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecStarted {
    pub exec: String,
    pub pid: u32,
}

/// Payload of [`EXEC_EXITED`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecExited {
    pub exec: String,
    pub exit_code: i32,
}
