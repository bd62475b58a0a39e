//! The body of a request: whole, or pieces that come while it is sent.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::{ANSWER_LIMIT, IDLE_LIMIT};

/// The body of a request.
#[derive(Debug)]
pub(crate) struct Outgoing(Kind);

#[derive(Debug)]
enum Kind {
    Whole(Option<Bytes>),
    Pieces {
        pieces: mpsc::Receiver<Bytes>,
        /// How many bytes are yet to come, where that is known.
        left: Option<u64>,
        watch: Watch,
    },
}

/// Sees how far a body is.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    sent: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
}

impl Outgoing {
    /// Returns a body that is there.
    pub(super) fn whole(bytes: Bytes) -> Self {
        Self(Kind::Whole((!bytes.is_empty()).then_some(bytes)))
    }

    /// Returns a body of what arrives at `pieces`; `length` bytes, if that is known.
    /// One that falls short of its length breaks the request off.
    pub(crate) fn pieces(pieces: mpsc::Receiver<Bytes>, length: Option<u64>) -> Self {
        Self(Kind::Pieces {
            pieces,
            left: length,
            watch: Watch::default(),
        })
    }

    pub(super) fn watch(&self) -> Option<Watch> {
        match &self.0 {
            Kind::Whole(_) => None,
            Kind::Pieces { watch, .. } => Some(watch.clone()),
        }
    }
}

impl Watch {
    /// Waits for `answer` as long as the body goes on, and a while after its end.
    pub(super) async fn answer<T>(&self, answer: impl Future<Output = T>) -> Option<T> {
        let mut answer = pin!(answer);
        loop {
            let before = self.sent.load(Ordering::Relaxed);
            let is_over = self.is_over.load(Ordering::Relaxed);
            let limit = if is_over { ANSWER_LIMIT } else { IDLE_LIMIT };
            if let Ok(answer) = timeout(limit, &mut answer).await {
                return Some(answer);
            }
            let stands = before == self.sent.load(Ordering::Relaxed);
            if stands && is_over == self.is_over.load(Ordering::Relaxed) {
                return None;
            }
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match &mut self.get_mut().0 {
            Kind::Whole(bytes) => Poll::Ready(bytes.take()),
            Kind::Pieces {
                pieces,
                left,
                watch,
            } => pieces.poll_recv(context).map(|piece| {
                let length = piece.as_ref().map_or(0, |piece| piece.len() as u64);
                watch.sent.fetch_add(length, Ordering::Relaxed);
                watch.is_over.store(piece.is_none(), Ordering::Relaxed);
                *left = left.map(|left| left.saturating_sub(length));
                piece
            }),
        };
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.0, Kind::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.0 {
            Kind::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Kind::Pieces { left, .. } => left.map_or_else(SizeHint::default, SizeHint::with_exact),
        }
    }
}
