//! Connections that stop being HTTP: attach and exec.

use bytes::Bytes;
use hyper::body::Incoming;
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
    let parts = upgraded
        .downcast::<TokioIo<UnixStream>>()
        .expect("every connection of this client is made over a UnixStream");
    Ok(Hijacked {
        stream: parts.io.into_inner(),
        early: parts.read_buf,
        framing,
    })
}
