//! How a shim is told what to run, spoken to, and what it leaves behind.
//!
//! Everything of a run lies in `<run>/shim/<id>.<run>/`: `config.json` (a
//! [`ShimConfig`], written by the engine before it starts the shim), `lock`
//! (held as long as the shim lives), `control.sock` (seqpacket, JSON, one
//! message a packet: [`control`]), `attach.sock` (byte streams: [`attach`]),
//! `exit.json` (an [`ExitRecord`]).
#![forbid(unsafe_code)]

pub mod attach;
pub mod client;
pub mod config;
pub mod control;
pub mod event;
pub mod log_reader;

pub use attach::AttachHello;
pub use client::{AttachError, CallError, ControlClient, connect_attach};
pub use config::{
    LogConfig, LogDestination, LogFilesConfig, LogFormat, LogPeer, LogPlace, RuntimeConfig,
    ShimConfig, StdinMode, SyslogAddress, SyslogConfig, SyslogFormat,
};
pub use control::{ControlReply, ControlRequest, Notice};
pub use event::{Cleaned, ExecExited, ExecStarted, ExitRecord, Started};

/// The version of everything in this crate that crosses between two builds;
/// one version back is supported.
pub const PROTOCOL_VERSION: u32 = 1;

/// The oldest version that is understood.
pub const OLDEST_PROTOCOL_VERSION: u32 = 1;

/// Files and sockets in the directory of a run.
pub const CONFIG_FILE: &str = "config.json";
/// Held as long as the shim lives; holds its pid in decimal, for people.
pub const LOCK_FILE: &str = "lock";
/// Seqpacket: [`control`].
pub const CONTROL_SOCKET: &str = "control.sock";
/// Stream: [`attach`].
pub const ATTACH_SOCKET: &str = "attach.sock";
/// An [`ExitRecord`], once init has ended.
pub const EXIT_FILE: &str = "exit.json";
/// What the shim has to say about itself; bounded.
pub const LOG_FILE: &str = "shim.log";

/// Returns the id under which the OCI runtime knows a run: one of its own, so
/// that a late `delete` of one run cannot hit the next.
pub fn runtime_id(run: &base::RunId) -> String {
    run.to_string()
}

/// The name a shim's events carry as their source.
pub const SOURCE: &str = "shim";
