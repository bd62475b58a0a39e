//! Connections that stop being HTTP: attach and exec.

use bytes::Bytes;
use hyper::body::Incoming;
use hyper::upgrade::Upgraded;
use hyper::{HeaderMap, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

use super::ClientError;
use crate::stdcopy::MULTIPLEXED_STREAM;

/// Whether output is framed by [`crate::stdcopy`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// A terminal's bytes as they are.
    Raw,
    /// stdout and stderr in frames.
    Multiplexed,
}

impl Framing {
    /// Returns what the answer's content type says; without one it is raw.
    pub(super) fn of(headers: &HeaderMap) -> Self {
        match headers.get(header::CONTENT_TYPE) {
            Some(value) if value.as_bytes() == MULTIPLEXED_STREAM.as_bytes() => Self::Multiplexed,
            _ => Self::Raw,
        }
    }
}

/// A connection taken over. Shutting down the writing side tells the other end
/// that stdin is over; output goes on.
#[derive(Debug)]
pub struct Hijacked {
    pub stream: UnixStream,
    /// Bytes of output that came with the answer's head.
    pub early: Bytes,
    pub framing: Framing,
}

pub(super) async fn take_over(response: Response<Incoming>) -> Result<Hijacked, ClientError> {
    let status = response.status();
    if status != StatusCode::SWITCHING_PROTOCOLS {
        let status = status.as_u16();
        return Err(ClientError::NoUpgrade { status });
    }
    let framing = Framing::of(response.headers());
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(ClientError::Http)?;
    match upgraded.downcast::<TokioIo<UnixStream>>() {
        Ok(parts) => Ok(Hijacked {
            stream: parts.io.into_inner(),
            early: parts.read_buf,
            framing,
        }),
        Err(upgraded) => Ok(Hijacked {
            stream: relayed(upgraded)?,
            early: Bytes::new(),
            framing,
        }),
    }
}

/// Returns a socket whose bytes a task moves to and from a connection that is no
/// unix socket: whoever takes it over can do with it what it does with one, from
/// a thread of its own too.
fn relayed(upgraded: Upgraded) -> Result<UnixStream, ClientError> {
    let (here, mut there) = UnixStream::pair().map_err(ClientError::Relay)?;
    tokio::spawn(async move {
        let mut connection = TokioIo::new(upgraded);
        // Either side that breaks ends both, which is what the other side sees.
        drop(tokio::io::copy_bidirectional(&mut connection, &mut there).await);
    });
    Ok(here)
}
