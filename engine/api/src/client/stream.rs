//! Answers that come piece by piece: raw bytes, or one JSON object after another.

use std::marker::PhantomData;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use serde::de::DeserializeOwned;

use super::{Body, ClientError};
use crate::client::hijack::Framing;

/// Bytes of one JSON message of a stream.
const LINE_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// The body of an answer, read as it comes. Dropping it ends the connection.
#[derive(Debug)]
pub struct BodyStream {
    body: Incoming,
    headers: hyper::HeaderMap,
    framing: Framing,
    _connection: SendRequest<Body>,
}

impl BodyStream {
    pub(super) fn new(response: Response<Incoming>, connection: SendRequest<Body>) -> Self {
        Self {
            framing: Framing::of(response.headers()),
            headers: response.headers().clone(),
            body: response.into_body(),
            _connection: connection,
        }
    }

    /// Returns whether the answer says that it is framed.
    pub fn framing(&self) -> Framing {
        self.framing
    }

    /// Returns a header of the answer, if it is there and text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the next piece, `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks within the answer.
    pub async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        while let Some(frame) = self.body.frame().await {
            let frame = frame.map_err(ClientError::Http)?;
            if let Ok(data) = frame.into_data()
                && !data.is_empty()
            {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// Reads the stream as JSON objects of one type, one after another.
    pub fn json<T: DeserializeOwned>(self) -> JsonStream<T> {
        JsonStream {
            stream: self,
            pending: Vec::new(),
            message: PhantomData,
        }
    }
}

/// JSON objects of one type, separated by white space or nothing.
#[derive(Debug)]
pub struct JsonStream<T> {
    stream: BodyStream,
    pending: Vec<u8>,
    message: PhantomData<T>,
}

impl<T: DeserializeOwned> JsonStream<T> {
    /// Returns the next object, `None` at the end.
    ///
    /// # Errors
    /// When the connection breaks, or what comes is not a `T`.
    pub async fn next(&mut self) -> Result<Option<T>, ClientError> {
        loop {
            if let Some(message) = self.take()? {
                return Ok(Some(message));
            }
            if self.pending.len() > LINE_LIMIT_BYTES {
                let limit_bytes = LINE_LIMIT_BYTES;
                return Err(ClientError::LongLine { limit_bytes });
            }
            match self.stream.next().await? {
                Some(piece) => self.pending.extend_from_slice(&piece),
                None => return self.last(),
            }
        }
    }

    /// Takes one whole object off what is there.
    fn take(&mut self) -> Result<Option<T>, ClientError> {
        let mut objects = serde_json::Deserializer::from_slice(&self.pending).into_iter();
        let read = match objects.next() {
            Some(Ok(message)) => Some(message),
            Some(Err(error)) if error.is_eof() => None,
            Some(Err(error)) => return Err(ClientError::Decode(error)),
            None => None,
        };
        if read.is_some() {
            let taken = objects.byte_offset();
            self.pending.drain(..taken);
        }
        Ok(read)
    }

    /// Ends the stream; half an object left over is an error.
    fn last(&mut self) -> Result<Option<T>, ClientError> {
        if self.pending.iter().all(u8::is_ascii_whitespace) {
            return Ok(None);
        }
        serde_json::from_slice(&std::mem::take(&mut self.pending))
            .map(Some)
            .map_err(ClientError::Decode)
    }
}
