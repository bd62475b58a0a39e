//! The per-container supervisor: parent of a container's init by being its
//! subreaper, keeper of its streams and log, and the one that records its end.
//!
//! One thread, one poll loop, no async runtime; it never blocks on a child or a
//! client. The engine may die and come back at any moment without the shim
//! noticing: what the shim knows is told on its control socket and appended to
//! the event log. It never mounts, networks or enters a container; every
//! runtime command of its container goes through [`runtime`].
//!
//! - [`start`]: from the command line to the loop.
//! - [`phase`]: what a run goes through, pure; [`supervisor`]: the loop that acts.
//! - [`stdio`], [`attach`], [`log`]: bytes; [`control`]: requests and notices.
//! - [`init`]: another program, the init of `--init`, in the same file.
//! - [`outbox`], [`oom`], [`runtime`]: events, the kernel's verdict, OCI commands.
#![deny(unsafe_code)]

mod attach;
mod control;
mod diagnostics;
mod directory;
pub mod init;
mod log;
mod oom;
mod outbox;
mod phase;
mod poll;
mod process;
mod runtime;
mod start;
mod stdio;
mod supervisor;
#[expect(
    unsafe_code,
    reason = "signalfd, sigwaitinfo, close_range, kill, fork, posix_spawn and localtime_r have no safe wrapper in rustix"
)]
mod sys;

pub use log::{COMPRESS_ARGUMENT, ConnectError, OpenLogError, compress_log};
pub use runtime::Environment;
pub use start::{RunError, run};
pub use sys::close_inherited;
