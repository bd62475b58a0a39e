//! How a shim is told what to run, spoken to, and what it leaves behind.
//!
//! Everything of a run lies in `<run>/shim/<id>.<run>/`: `config.json` (a
//! [`ShimConfig`], written by the engine before it starts the shim), `lock`
//! (held as long as the shim lives), `control.sock` (seqpacket, JSON, one
//! message a packet: [`control`]), `attach.sock` (byte streams: [`attach`]),
//! `exit.json` (an [`ExitRecord`]).
#![forbid(unsafe_code)]

pub mod attach;
pub mod config;
pub mod control;
pub mod event;

pub use attach::AttachHello;
pub use config::{LogConfig, RuntimeConfig, ShimConfig, StdinMode};
pub use control::{ControlReply, ControlRequest, Notice};
pub use event::{ExecExited, ExecStarted, ExitRecord, Started};

/// The version of everything in this crate that crosses between two builds;
/// one version back is supported.
pub const PROTOCOL_VERSION: u32 = 1;

/// The name a shim's events carry as their source.
pub const SOURCE: &str = "shim";
