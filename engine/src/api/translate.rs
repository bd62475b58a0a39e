//! Output in other frames than its process writes: a client says for itself, when it
//! starts an exec, whether it takes frames, whatever the exec has for a terminal.

use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream as StdStream;

use engine_api::stdcopy::{self, Decoder, Stream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::UnixStream;

use super::stream::{COPIED_BYTES, Framing, adopt, hung_up};
use crate::error::{OrFail as _, Result};

/// Returns a connection on which the process's output has the frames that are wanted;
/// its own where it has them already.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn translated(process: StdStream, from: Framing, to: Framing) -> Result<StdStream> {
    if from == to {
        return Ok(process);
    }
    let (client, ours) = StdStream::pair().or_internal()?;
    let (process, ours) = (adopt(process)?, adopt(ours)?);
    tokio::spawn(async move {
        if let Err(error) = join(process, ours, to).await {
            tracing::debug!(%error, "a client whose output was translated was lost");
        }
    });
    Ok(client)
}

/// Moves bytes both ways until the process has no more output or the client is gone.
async fn join(process: UnixStream, client: UnixStream, to: Framing) -> Result<()> {
    let gone = hung_up(client.as_fd().try_clone_to_owned().or_internal()?);
    let (mut from_process, mut to_process) = process.into_split();
    let (mut from_client, mut to_client) = client.into_split();
    let input = async {
        let copied = tokio::io::copy(&mut from_client, &mut to_process).await;
        let ended = to_process.shutdown().await;
        // Output goes on all the same.
        if let Err(error) = copied.map(drop).and(ended) {
            tracing::debug!(%error, "input ended badly");
        }
        gone.await;
    };
    let output = async {
        let mut frames = Frames::new(to);
        let mut buffer = vec![0; COPIED_BYTES];
        loop {
            let count = from_process.read(&mut buffer).await.or_internal()?;
            if count == 0 {
                return to_client.shutdown().await.or_internal();
            }
            let piece = frames.translate(&buffer[..count])?;
            to_client.write_all(&piece).await.or_internal()?;
        }
    };
    tokio::select! {
        () = input => Ok(()),
        ended = output => ended,
    }
}

/// What pieces of output become.
enum Frames {
    /// A terminal's bytes, each piece in a frame.
    Put,
    /// Frames, of which the contents are left.
    Taken(Decoder),
}

impl Frames {
    fn new(to: Framing) -> Self {
        match to {
            Framing::Multiplexed => Self::Put,
            Framing::Raw => Self::Taken(Decoder::new()),
        }
    }

    fn translate(&mut self, piece: &[u8]) -> Result<Vec<u8>> {
        let mut out = Vec::with_capacity(piece.len() + stdcopy::HEADER_SIZE);
        match self {
            Self::Put => stdcopy::encode(Stream::Stdout, piece, &mut out),
            Self::Taken(decoder) => {
                for (_, content) in decoder.feed(piece).or_internal()? {
                    out.extend_from_slice(content);
                }
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};

    async fn output(written: &[u8], from: Framing, to: Framing) -> Vec<u8> {
        let (mut process, end) = StdStream::pair().unwrap();
        let mut client = translated(end, from, to).unwrap();
        process.write_all(written).unwrap();
        drop(process);
        let read = move || {
            let mut bytes = Vec::new();
            client.set_nonblocking(false).unwrap();
            client.read_to_end(&mut bytes).unwrap();
            bytes
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    #[tokio::test]
    async fn frames_are_put_and_taken_away() {
        let mut framed = Vec::new();
        stdcopy::encode(Stream::Stdout, b"out", &mut framed);
        let (raw, multiplexed) = (Framing::Raw, Framing::Multiplexed);
        assert_eq!(output(b"out", raw, multiplexed).await, framed);
        assert_eq!(output(b"out", raw, raw).await, b"out");
        stdcopy::encode(Stream::Stderr, b"err", &mut framed);
        assert_eq!(output(&framed, multiplexed, raw).await, b"outerr");
    }
}
