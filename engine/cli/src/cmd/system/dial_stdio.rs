//! `engine system dial-stdio`: bytes from stdin to the daemon, from it to stdout.

use std::fs::File;
use std::io::{self, Read as _};
use std::pin::pin;

use engine_api::client::ClientError;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::mpsc;

use crate::context::Context;
use crate::error::CliError;

/// Bytes that are read at once.
const CHUNK_BYTES: usize = 64 * 1024;
/// So many chunks are held where the daemon does not take them.
const CHUNKS: usize = 4;

/// Ends when the daemon has said all; the end of stdin is only told to it.
pub(super) async fn run(context: &Context) -> Result<(), CliError> {
    let client = context.connect().await?;
    let endpoint = client.endpoint();
    let connection = endpoint.connect().await.map_err(|source| {
        CliError::Client(ClientError::Connect {
            endpoint: endpoint.to_string(),
            source,
        })
    })?;
    let stdin = context
        .streams
        .stdin
        .try_clone()
        .map_err(CliError::Streams)?;
    let stdout = context
        .streams
        .stdout
        .try_clone()
        .map_err(CliError::Streams)?;
    let (from, to) = tokio::io::split(connection);
    let mut input = pin!(send(read(stdin), to));
    let mut output = pin!(receive(from, tokio::fs::File::from_std(stdout)));
    tokio::select! {
        sent = &mut input => {
            sent.map_err(CliError::Streams)?;
            output.await.map_err(CliError::Output)
        }
        received = &mut output => received.map_err(CliError::Output),
    }
}

/// Reads in a thread of its own: a read that never returns must not keep the process.
fn read(mut stdin: File) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel(CHUNKS);
    std::thread::spawn(move || {
        let mut chunk = vec![0; CHUNK_BYTES];
        loop {
            let next = match stdin.read(&mut chunk) {
                Ok(0) => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read.map(|length| chunk[..length].to_vec()),
            };
            let is_last = next.is_err();
            if sender.blocking_send(next).is_err() || is_last {
                return;
            }
        }
    });
    receiver
}

async fn send(
    mut chunks: mpsc::Receiver<io::Result<Vec<u8>>>,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    while let Some(chunk) = chunks.recv().await {
        match to.write_all(&chunk?).await {
            // What the daemon said before it went is still to be passed on.
            Err(error) if is_gone(&error) => return Ok(()),
            written => written?,
        }
    }
    match to.shutdown().await {
        Err(error) if !is_gone(&error) => Err(error),
        _ => Ok(()),
    }
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset | io::ErrorKind::NotConnected
    )
}

async fn receive(mut from: impl AsyncRead + Unpin, mut to: tokio::fs::File) -> io::Result<()> {
    tokio::io::copy(&mut from, &mut to).await?;
    to.flush().await
}
