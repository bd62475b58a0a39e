//! The byte streams of `attach.sock`, a stream socket.
//!
//! The client sends one line of JSON, an [`AttachHello`], and waits for one
//! line: `ok` or an error text. Then bytes flow. To the shim: raw standard
//! input; shutting down the sending side means end of input. From the shim: raw
//! bytes of a terminal, else Docker's frames (one byte stream number 1 or 2,
//! three zero bytes, big-endian length, bytes), so that the engine passes them
//! on unchanged. The shim closes the connection once the process has ended and
//! its output is drained. A client that does not read is given a bounded
//! buffer, then holds the process back, as Docker does.
//!
//! A client that asks for the position in the log is told how much of the log comes
//! before the stream. Lines that had begun then and are in no record yet come first in
//! the stream, so that log and stream together are all output, once.
//!
//! Nothing is lost at a start: whoever wants all output of the container
//! attaches before [`Start`](crate::control::ControlRequest::Start). In the same
//! way the client of an exec attaches first, naming an exec id of its own
//! choice, which the shim then holds ready until the client goes; the request
//! [`Exec`](crate::control::ControlRequest::Exec) with that id runs the process
//! on these streams. An exec that nobody attached to runs all the same, and its
//! output is dropped until somebody does. Input sent before a start waits.

use serde::{Deserialize, Serialize};

/// The first line a client sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttachHello {
    pub protocol: u32,
    /// Absent: the container's own streams.
    #[serde(default)]
    pub exec: Option<String>,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Whether the answer shall say where in the log the stream begins. A shim of an
    /// earlier build does not know of it and says nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub log_position: bool,
}

/// The answer to a hello that is granted; a space and the [`LogPosition`] follow where it
/// was asked for and there is a log.
///
/// [`LogPosition`]: crate::log_reader::LogPosition
pub const GRANTED: &str = "ok";
/// The answer to a hello that comes when the streams of the container are over.
pub const NOT_RUNNING: &str = "the container is not running";
/// The hello line may not be longer.
pub const HELLO_LIMIT_BYTES: usize = 4096;
