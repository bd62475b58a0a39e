//! Copies between the user's streams and a hijacked connection, one thread for
//! each direction: a reader that pauses the output must not stop the input,
//! nor keep signals from being passed on.

use std::fs::File;
use std::io::{self, Read, Write as _};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::thread;

use engine_api::client::{Framing, Hijacked};
use engine_api::detach_keys::{DetachKeys, Detector, Typed};
use engine_api::stdcopy::{Decoder, StdcopyError, Stream};
use tokio::sync::mpsc;

/// Bytes copied at a time.
const BUFFER_BYTES: usize = 32 * 1024;

/// Why copying stopped early.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AttachError {
    #[error("cannot prepare the connection")]
    Prepare(#[source] io::Error),
    #[error("cannot read the container's output")]
    Read(#[source] io::Error),
    #[error("cannot write the container's output")]
    Write(#[source] io::Error),
    #[error(transparent)]
    Frame(#[from] StdcopyError),
}

/// How an attachment ended.
#[derive(Debug)]
pub(crate) enum End {
    /// The container's output is over.
    Output(Result<(), AttachError>),
    /// The user typed the detach keys.
    Detached,
}

/// Where the bytes come from and go to.
#[derive(Debug)]
pub(crate) struct Ends {
    /// What is passed on to the container, if anything is.
    pub input: Option<Input>,
    pub stdout: File,
    pub stderr: File,
}

/// The user's input.
#[derive(Debug)]
pub(crate) struct Input {
    pub stdin: File,
    /// The keys to look for; on terminals only.
    pub detach_keys: Option<DetachKeys>,
}

/// A running copy in both directions.
#[derive(Debug)]
pub(crate) struct Attachment {
    ends: mpsc::Receiver<End>,
}

impl Attachment {
    /// Begins to copy.
    ///
    /// # Errors
    /// When the connection cannot be shared between threads.
    pub(crate) fn begin(hijacked: Hijacked, ends: Ends) -> Result<Self, AttachError> {
        let stream = hijacked.stream.into_std().map_err(AttachError::Prepare)?;
        stream
            .set_nonblocking(false)
            .map_err(AttachError::Prepare)?;
        let (sender, receiver) = mpsc::channel(2);
        if let Some(input) = ends.input {
            let stream = stream.try_clone().map_err(AttachError::Prepare)?;
            let sender = sender.clone();
            thread::spawn(move || send_input(input, &stream, &sender));
        }
        let output = Output {
            framing: hijacked.framing,
            stdout: ends.stdout,
            stderr: ends.stderr,
        };
        thread::spawn(move || {
            let copied = output.copy((&*hijacked.early).chain(&stream));
            // Nobody waits any more once the user has detached.
            drop(sender.blocking_send(End::Output(copied)));
        });
        Ok(Self { ends: receiver })
    }

    /// Returns how the attachment ends, once it does.
    pub(crate) async fn end(&mut self) -> End {
        let end = self.ends.recv().await;
        end.expect("the output thread always sends its end before it drops its sender")
    }
}

/// Copies the user's input until it ends, then closes that side.
fn send_input(input: Input, mut stream: &UnixStream, ends: &mpsc::Sender<End>) {
    let mut detector = input.detach_keys.map(Detector::new);
    let mut stdin = input.stdin;
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        let length = match stdin.read(&mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            // A terminal that hangs up reads as an error: the input is over.
            Ok(0) | Err(_) => break,
            Ok(length) => length,
        };
        let typed = match &mut detector {
            Some(detector) => detector.feed(&buffer[..length]),
            None => Typed::Input(buffer[..length].to_vec()),
        };
        let (Typed::Input(bytes) | Typed::Detach(bytes)) = &typed;
        let sent = stream.write_all(bytes);
        if matches!(typed, Typed::Detach(_)) {
            drop(ends.blocking_send(End::Detached));
            return;
        }
        // A container that is gone takes no more input; its output tells.
        if sent.is_err() {
            return;
        }
    }
    // The other side may be gone already, which ends the input as well.
    drop(stream.shutdown(Shutdown::Write));
}

/// Where the container's output goes.
struct Output {
    framing: Framing,
    stdout: File,
    stderr: File,
}

impl Output {
    fn copy(&self, mut from: impl Read) -> Result<(), AttachError> {
        let mut decoder = Decoder::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            let length = match from.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // A daemon that was killed resets the connection.
                Err(error) => return Err(AttachError::Read(error)),
                Ok(0) => break,
                Ok(length) => length,
            };
            self.write(&mut decoder, &buffer[..length])?;
        }
        Ok(decoder.finish()?)
    }

    fn write(&self, decoder: &mut Decoder, bytes: &[u8]) -> Result<(), AttachError> {
        if self.framing == Framing::Raw {
            return (&self.stdout).write_all(bytes).map_err(AttachError::Write);
        }
        for (stream, piece) in decoder.feed(bytes)? {
            let mut file = match stream {
                Stream::Stderr => &self.stderr,
                Stream::Stdin | Stream::Stdout => &self.stdout,
            };
            file.write_all(piece).map_err(AttachError::Write)?;
        }
        Ok(())
    }
}
