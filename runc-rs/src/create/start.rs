//! Letting a created container's program run.

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;

use base::file::{PathContext as _, PathError};

use crate::state::ContainerDirectory;

/// Says why a container could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("container has been started already")]
    AlreadyStarted,
    #[error(transparent)]
    File(#[from] PathError),
}

/// Tells the init of a created container to go on, once.
///
/// # Errors
/// `AlreadyStarted` when somebody was faster; when init cannot be reached.
pub fn start(directory: &ContainerDirectory) -> Result<(), StartError> {
    let socket = directory.notify_socket();
    let parent = socket.parent().expect("the socket is in a directory");
    // Longer paths than 107 bytes cannot be connected to; this one is short.
    let handle = File::open(parent).at("open", parent)?;
    let short = format!("/proc/self/fd/{}/notify.sock", handle.as_raw_fd());
    match UnixStream::connect(short) {
        Err(error) if is_taken(&error) => return Err(StartError::AlreadyStarted),
        stream => stream
            .and_then(|mut stream| stream.write_all(b"start container"))
            .at("connect to", &socket)?,
    }
    Ok(base::file::remove_if_there(&socket)?)
}

fn is_taken(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}
