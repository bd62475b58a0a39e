//! The console socket of one runtime command: receives the master side of a
//! terminal by SCM_RIGHTS.

use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::PathBuf;

use base::PathError;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketType, recvmsg};

use crate::directory::{Directory, accept};

/// The runtime sends the terminal's name beside the descriptor.
const NAME_LIMIT_BYTES: usize = 256;

/// Waits for a terminal.
#[derive(Debug)]
pub(crate) struct Console {
    name: String,
    listener: OwnedFd,
    connection: Option<OwnedFd>,
}

impl Console {
    /// Listens on the socket `name`.
    ///
    /// # Errors
    /// When it cannot be bound.
    pub(crate) fn listen(directory: &Directory, name: String) -> Result<Self, PathError> {
        let listener = directory.listen(&name, SocketType::STREAM)?;
        Ok(Self {
            name,
            listener,
            connection: None,
        })
    }

    /// Returns what the runtime is told.
    pub(crate) fn path(&self, directory: &Directory) -> PathBuf {
        directory.short_path(&self.name)
    }

    /// Removes the socket.
    pub(crate) fn remove(self, directory: &Directory) {
        directory.remove(&self.name);
    }

    /// Returns what to watch.
    pub(crate) fn descriptor(&self) -> BorrowedFd<'_> {
        self.connection.as_ref().unwrap_or(&self.listener).as_fd()
    }

    /// Returns the terminal if it has come.
    pub(crate) fn receive(&mut self) -> Option<OwnedFd> {
        if self.connection.is_none() {
            self.connection = accept(&self.listener);
        }
        let connection = self.connection.as_ref()?;
        let mut name = [0; NAME_LIMIT_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut parts = [IoSliceMut::new(&mut name)];
        let received = recvmsg(
            connection,
            &mut parts,
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT,
        );
        match received {
            Ok(_) => {}
            Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return None,
            Err(_) => {
                self.connection = None;
                return None;
            }
        }
        let terminal = ancillary.drain().find_map(first_descriptor);
        // Whoever connects without sending a terminal makes room for the next.
        self.connection = None;
        terminal
    }
}

fn first_descriptor(message: RecvAncillaryMessage<'_>) -> Option<OwnedFd> {
    match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    }
}
