//! Passing a descriptor to whoever listens on a unix socket, as runc does with
//! terminals and pidfds: one message, the descriptor's name, with the descriptor.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use base::file::{PathContext as _, PathError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags,
};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// What is received was sent before, so it is there already.
const RECEIVE_LIMIT: Timespec = Timespec {
    tv_sec: 10,
    tv_nsec: 0,
};
const NAME_LIMIT_BYTES: usize = 4096;

/// Says why a descriptor was not passed on.
#[derive(Debug, thiserror::Error)]
pub enum HandoverError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("socket {0:?} is not a usable path")]
    SocketPath(PathBuf),
    #[error("cannot open the pidfd of process {0}")]
    Pidfd(Pid, #[source] io::Error),
    #[error("cannot send a descriptor over the socket")]
    Send(#[source] io::Error),
    #[error("cannot receive a descriptor")]
    Receive(#[source] io::Error),
    #[error("no descriptor came over the socket")]
    NothingReceived,
}

/// Connects to `path`, which may be longer than a socket address can be.
///
/// # Errors
/// When nobody listens there.
pub fn connect(path: &Path) -> Result<UnixStream, HandoverError> {
    let (directory, short) = shorten(path)?;
    let stream = UnixStream::connect(short).at("connect to socket", path);
    drop(directory);
    Ok(stream?)
}

fn shorten(path: &Path) -> Result<(File, PathBuf), HandoverError> {
    let unusable = || HandoverError::SocketPath(path.to_owned());
    let name = path.file_name().ok_or_else(unusable)?;
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    let directory = File::open(parent).at("open", parent)?;
    let short = Path::new("/proc/self/fd").join(directory.as_raw_fd().to_string());
    Ok((directory, short.join(name)))
}

/// Takes the descriptor that comes over a connected socket.
///
/// # Errors
/// When none comes in time.
pub fn receive(stream: BorrowedFd<'_>) -> Result<OwnedFd, HandoverError> {
    wait_readable(stream)?;
    let mut name = [0; NAME_LIMIT_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut data = [IoSliceMut::new(&mut name)];
    let received = rustix::net::recvmsg(stream, &mut data, &mut control, RecvFlags::CMSG_CLOEXEC)
        .map_err(|error| HandoverError::Receive(error.into()))?;
    if received.flags.contains(ReturnFlags::CTRUNC) {
        return Err(HandoverError::NothingReceived);
    }
    let mut messages = control.drain();
    let descriptor = messages.find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    descriptor.ok_or(HandoverError::NothingReceived)
}

fn wait_readable(descriptor: BorrowedFd<'_>) -> Result<(), HandoverError> {
    let mut watched = [PollFd::from_borrowed_fd(descriptor, PollFlags::IN)];
    match poll(&mut watched, Some(&RECEIVE_LIMIT)) {
        Ok(0) => Err(HandoverError::NothingReceived),
        Ok(_) => Ok(()),
        Err(error) => Err(HandoverError::Receive(error.into())),
    }
}

/// Sends a descriptor and its name over a connected socket.
///
/// # Errors
/// When nobody is at the other end.
pub fn send(
    socket: BorrowedFd<'_>,
    name: &str,
    descriptor: BorrowedFd<'_>,
) -> Result<(), HandoverError> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [descriptor];
    if !control.push(SendAncillaryMessage::ScmRights(&descriptors)) {
        return Err(HandoverError::Send(io::ErrorKind::OutOfMemory.into()));
    }
    let name = [IoSlice::new(name.as_bytes())];
    rustix::net::sendmsg(socket, &name, &mut control, SendFlags::NOSIGNAL)
        .map_err(|error| HandoverError::Send(error.into()))?;
    Ok(())
}

/// Sends a pidfd of `process`, which must be a child not waited for yet.
///
/// # Errors
/// When nobody is at the other end.
pub fn send_pidfd(socket: &UnixStream, process: Pid) -> Result<(), HandoverError> {
    let pidfd = pidfd_open(process, PidfdFlags::empty())
        .map_err(|error| HandoverError::Pidfd(process, error.into()))?;
    send(socket.as_fd(), "pidfd", pidfd.as_fd())
}
