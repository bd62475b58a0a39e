//! `runc-rs`, an OCI runtime: the command line that runc defined, on code of
//! our own (`docs/RUNTIME.md` says what it does and why).
//!
//! It knows no daemon and keeps no process: what it must remember is in
//! `<root>/<id>/` (see [`state`]), what is true is asked of the kernel.
#![deny(unsafe_code)]

pub mod cgroup;
pub mod checkpoint;
pub mod cli;
pub mod commands;
pub mod create;
pub mod exec;
pub mod handover;
pub mod hooks;
pub mod init;
pub mod log;
pub mod net_devices;
mod oci_state;
pub mod passwd;
pub mod payload;
mod pid_file;
pub mod proc;
pub mod resources;
pub mod rootfs;
pub mod seal;
pub mod seccomp;
pub mod signals;
pub mod spec;
pub mod state;
pub mod sys;
pub mod systemd;
pub mod terminal;
pub mod untrusted;

pub use cli::main;
