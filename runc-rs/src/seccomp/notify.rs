//! Bringing a filter's listener to the agent that answers its calls.
//!
//! The descriptor is made in the process that loads the filter, which may then
//! not be allowed to connect or to send any more; all it is sure to be is able
//! to write, since no filter may notify of that. So it writes the descriptor's
//! number to the runtime, which is outside of the filter, [`take`]s the
//! descriptor from it and [`Agent::tell`]s the agent.

use std::collections::BTreeMap;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use base::file::{PathContext as _, PathError};
use rustix::fs::{Mode, OFlags};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{
    AddressFamily, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, SocketAddrUnix,
    SocketFlags, SocketType,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags};
use serde::Serialize;

use super::Agent;
use crate::state::{Record, Status};

/// What the specification calls the descriptor that is sent.
const DESCRIPTOR_NAME: &str = "seccompFd";
/// An agent that takes nothing for so long is taken for hung.
const SEND_LIMIT: Duration = Duration::from_secs(10);

/// Says why an agent did not get a listener.
#[derive(Debug, thiserror::Error)]
pub enum NotifyError {
    #[error("cannot take the seccomp listener from process {process}")]
    Take {
        process: i32,
        #[source]
        source: io::Error,
    },
    #[error("the seccomp agent's socket {0:?} is no usable path")]
    SocketPath(PathBuf),
    #[error("failed to connect with seccomp agent at {path:?}")]
    Connect {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot make a socket for the seccomp agent")]
    Socket(#[source] io::Error),
    #[error(transparent)]
    File(#[from] PathError),
}

/// The state of a container as the specification has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerState {
    oci_version: String,
    id: String,
    status: Status,
    /// Of the container's first process.
    pid: i32,
    bundle: PathBuf,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: BTreeMap<String, String>,
}

/// What an agent is told.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProcessState<'a> {
    oci_version: &'a str,
    fds: [&'static str; 1],
    pid: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a str>,
    state: &'a ContainerState,
}

impl ContainerState {
    /// Returns the state of the container of `record`, with its first process.
    pub fn new(record: &Record, status: Status, init: i32) -> Self {
        Self {
            oci_version: record.oci_version.clone(),
            id: record.id.to_string(),
            status,
            pid: init,
            bundle: record.bundle.clone(),
            annotations: record.annotations.clone(),
        }
    }
}

/// Returns what a process that loaded a filter tells the runtime: the number
/// the listener has there. It stays open until the process executes something,
/// because closing it could be what the filter notifies of.
pub fn announced(listener: OwnedFd) -> RawFd {
    use std::os::fd::IntoRawFd as _;
    listener.into_raw_fd()
}

/// Takes descriptor `number` from `process`, a child of the caller that has
/// not been waited for.
///
/// # Errors
/// When the process has ended, or the kernel is older than 5.6.
pub fn take(process: Pid, number: RawFd) -> Result<OwnedFd, NotifyError> {
    let taken = rustix::process::pidfd_open(process, PidfdFlags::empty())
        .and_then(|pidfd| rustix::process::pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()));
    taken.map_err(|error| NotifyError::Take {
        process: process.as_raw_nonzero().get(),
        source: error.into(),
    })
}

impl Agent {
    /// Gives the agent the `listener` of the filter that `process` has loaded,
    /// over a connection of its own.
    ///
    /// # Errors
    /// When nobody is there, or what is there takes nothing.
    pub fn tell(
        &self,
        listener: BorrowedFd<'_>,
        process: Pid,
        state: &ContainerState,
    ) -> Result<(), NotifyError> {
        let text = self.text(process, state);
        let socket = connect(&self.path)?;
        let sent = send(&socket, &text, listener);
        Ok(sent.at("send the seccomp listener to", &self.path)?)
    }

    fn text(&self, process: Pid, state: &ContainerState) -> Vec<u8> {
        let state = ProcessState {
            oci_version: &state.oci_version,
            fds: [DESCRIPTOR_NAME],
            pid: process.as_raw_nonzero().get(),
            metadata: self.metadata.as_deref(),
            state,
        };
        serde_json::to_vec(&state).expect("a state always serializes")
    }
}

/// Connects to `path`, which may be longer than a socket address can be.
fn connect(path: &Path) -> Result<OwnedFd, NotifyError> {
    let unusable = || NotifyError::SocketPath(path.to_owned());
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(unusable());
    };
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = rustix::fs::open(parent, flags, Mode::empty()).at("open", parent)?;
    let short = Path::new("/proc/self/fd").join(parent.as_raw_fd().to_string());
    let address = SocketAddrUnix::new(short.join(name)).map_err(|_| unusable())?;
    let (kind, flags) = (SocketType::STREAM, SocketFlags::CLOEXEC);
    let socket = rustix::net::socket_with(AddressFamily::UNIX, kind, flags, None);
    let socket = socket.map_err(|error| NotifyError::Socket(error.into()))?;
    set_socket_timeout(&socket, Timeout::Send, Some(SEND_LIMIT))
        .map_err(|error| NotifyError::Socket(error.into()))?;
    rustix::net::connect(&socket, &address).map_err(|error| NotifyError::Connect {
        path: path.to_owned(),
        source: error.into(),
    })?;
    Ok(socket)
}

/// Sends all of `text`, the descriptor with its first byte.
fn send(socket: &OwnedFd, text: &[u8], listener: BorrowedFd<'_>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [listener];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(io::ErrorKind::OutOfMemory.into());
    }
    let whole = [IoSlice::new(text)];
    let flags = SendFlags::NOSIGNAL;
    let mut sent = rustix::net::sendmsg(socket, &whole, &mut control, flags)?;
    while sent < text.len() {
        sent += rustix::net::send(socket.as_fd(), &text[sent..], flags)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{IoSliceMut, Read as _};
    use std::os::unix::net::UnixListener;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    use serde_json::{Value, json};

    use super::*;

    fn state() -> ContainerState {
        ContainerState {
            oci_version: "1.2.0".to_owned(),
            id: "c".to_owned(),
            status: Status::Creating,
            pid: 12,
            bundle: "/b".into(),
            annotations: BTreeMap::from([("a".to_owned(), "b".to_owned())]),
        }
    }

    fn agent(path: PathBuf, metadata: &str) -> Agent {
        Agent {
            path,
            metadata: Some(metadata.to_owned()),
        }
    }

    #[test]
    fn an_agent_is_told_what_the_specification_says() {
        let text = agent("/a".into(), "m").text(Pid::from_raw(34).unwrap(), &state());
        let expected = json!({
            "ociVersion": "1.2.0", "fds": ["seccompFd"], "pid": 34, "metadata": "m",
            "state": {"ociVersion": "1.2.0", "id": "c", "status": "creating", "pid": 12,
                      "bundle": "/b", "annotations": {"a": "b"}},
        });
        assert_eq!(serde_json::from_slice::<Value>(&text).unwrap(), expected);
    }

    /// More than a socket takes at once, at a path longer than an address.
    #[test]
    fn a_long_text_arrives_whole_with_its_descriptor() {
        let directory = tempfile::tempdir().unwrap();
        let long = directory.path().join("d".repeat(200));
        std::fs::create_dir(&long).unwrap();
        let short = directory.path().join("s");
        std::os::unix::fs::symlink(&long, &short).unwrap();
        let listener = UnixListener::bind(short.join("agent")).unwrap();
        let metadata = "m".repeat(1 << 20);
        let agent = agent(long.join("agent"), &metadata);
        let sent = tempfile::tempfile().unwrap();
        let inode = rustix::fs::fstat(&sent).unwrap().st_ino;
        let pid = rustix::process::getpid();
        std::thread::scope(|scope| {
            let telling = scope.spawn(|| agent.tell(sent.as_fd(), pid, &state()));
            let (mut stream, _) = listener.accept().unwrap();
            let mut text = vec![0; 16];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let mut first = [IoSliceMut::new(&mut text)];
            let flags = RecvFlags::CMSG_CLOEXEC;
            rustix::net::recvmsg(&stream, &mut first, &mut control, flags).unwrap();
            let mut messages = control.drain();
            let Some(RecvAncillaryMessage::ScmRights(mut descriptors)) = messages.next() else {
                panic!("no descriptor");
            };
            let received = rustix::fs::fstat(descriptors.next().unwrap()).unwrap();
            assert_eq!(received.st_ino, inode);
            stream.read_to_end(&mut text).unwrap();
            telling.join().unwrap().unwrap();
            let told: Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(told["metadata"], json!(metadata));
        });
    }

    #[test]
    fn an_agent_that_is_not_there_is_named() {
        let agent = agent("/nowhere/agent".into(), "m");
        let pid = rustix::process::getpid();
        let null = std::fs::File::open("/dev/null").unwrap();
        let error = agent.tell(null.as_fd(), pid, &state()).unwrap_err();
        assert!(error.to_string().contains("/nowhere"), "{error}");
    }

    #[test]
    fn a_descriptor_that_is_not_there_is_an_error() {
        let error = take(rustix::process::getpid(), 1 << 20).unwrap_err();
        assert!(matches!(error, NotifyError::Take { .. }), "{error}");
    }
}
