//! One descriptor, taken from a unix socket.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use anyhow::{Context, Result};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// More than a name, and than the state that a seccomp agent is told.
const MESSAGE_BYTES: usize = 64 * 1024;

/// Listens at `path`.
///
/// # Errors
/// When that cannot be bound.
pub(crate) fn listen(path: &Path) -> Result<UnixListener> {
    UnixListener::bind(path).with_context(|| format!("listen at {}", path.display()))
}

/// Receives one message with one descriptor and returns both.
///
/// # Errors
/// When there is none, or more than one.
pub(crate) fn receive(stream: &UnixStream) -> Result<(Vec<u8>, OwnedFd)> {
    let mut message = vec![0; MESSAGE_BYTES];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let mut parts = [IoSliceMut::new(&mut message)];
    let received = recvmsg(stream, &mut parts, &mut ancillary, RecvFlags::CMSG_CLOEXEC)
        .context("receive a descriptor")?;
    let mut found: Vec<OwnedFd> = Vec::new();
    for part in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(descriptors) = part {
            found.extend(descriptors);
        }
    }
    message.truncate(received.bytes);
    let [descriptor] = <[OwnedFd; 1]>::try_from(found)
        .map_err(|found| anyhow::anyhow!("{} descriptors came", found.len()))?;
    Ok((message, descriptor))
}
