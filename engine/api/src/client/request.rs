//! What is sent: a method, a path below the API's version, a query, a body.

use std::convert::Infallible;
use std::fmt::Write as _;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::Frame;
use hyper::{Method, Request, header};
use serde::Serialize;
use tokio::sync::mpsc;

use super::ClientError;
use crate::version::MAX_VERSION;

/// Pieces of a streamed body that wait to be sent.
const BODY_QUEUE: usize = 4;

/// A request's body: whole, or fed through a channel.
#[derive(Debug)]
pub enum Body {
    Whole(Option<Bytes>),
    Channel(mpsc::Receiver<Bytes>),
}

/// Returns a body and the sender that feeds it; dropping the sender ends it.
pub fn channel_body() -> (mpsc::Sender<Bytes>, Body) {
    let (sender, receiver) = mpsc::channel(BODY_QUEUE);
    (sender, Body::Channel(receiver))
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let piece = match self.get_mut() {
            Self::Whole(piece) => Poll::Ready(piece.take()),
            Self::Channel(receiver) => receiver.poll_recv(context),
        };
        piece.map(|piece| piece.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        match self {
            Self::Whole(piece) => {
                hyper::body::SizeHint::with_exact(piece.as_ref().map_or(0, Bytes::len) as u64)
            }
            Self::Channel(_) => hyper::body::SizeHint::default(),
        }
    }
}

/// One request to the API.
#[derive(Debug)]
#[must_use]
pub struct Call {
    method: Method,
    /// Path and query, without the version.
    target: String,
    has_query: bool,
    headers: Vec<(&'static str, String)>,
    body: Body,
    upgrade: bool,
}

impl Call {
    fn new(method: Method, path: &str) -> Self {
        Self {
            method,
            target: path.to_owned(),
            has_query: false,
            headers: Vec::new(),
            body: Body::Whole(None),
            upgrade: false,
        }
    }

    /// Returns a GET of `path`, which begins with a slash and holds no version;
    /// parts that come from a user go through [`encode`].
    pub fn get(path: &str) -> Self {
        Self::new(Method::GET, path)
    }

    /// Returns a HEAD.
    pub fn head(path: &str) -> Self {
        Self::new(Method::HEAD, path)
    }

    /// Returns a PUT without a body.
    pub fn put(path: &str) -> Self {
        Self::new(Method::PUT, path)
    }

    /// Returns a POST without a body.
    pub fn post(path: &str) -> Self {
        Self::new(Method::POST, path)
    }

    /// Returns a DELETE.
    pub fn delete(path: &str) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Adds a query parameter.
    pub fn query(mut self, name: &str, value: impl AsRef<str>) -> Self {
        let separator = if self.has_query { '&' } else { '?' };
        self.has_query = true;
        self.target.push(separator);
        self.target.push_str(name);
        self.target.push('=');
        self.target.push_str(&encode(value.as_ref()));
        self
    }

    /// Adds a query parameter if there is a value.
    pub fn query_some(self, name: &str, value: Option<impl AsRef<str>>) -> Self {
        match value {
            Some(value) => self.query(name, value),
            None => self,
        }
    }

    /// Adds `name=1` if `is_set`.
    pub fn query_flag(self, name: &str, is_set: bool) -> Self {
        self.query_some(name, is_set.then_some("1"))
    }

    /// Adds a header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Sends `body` as JSON.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn json(mut self, body: &impl Serialize) -> Result<Self, ClientError> {
        let bytes = serde_json::to_vec(body).map_err(ClientError::Encode)?;
        self.body = Body::Whole(Some(bytes.into()));
        Ok(self.header("content-type", "application/json"))
    }

    /// Sends `body`, an archive.
    pub fn archive(mut self, body: Body) -> Self {
        self.body = body;
        self.header("content-type", "application/x-tar")
    }

    pub(super) fn upgrading(mut self) -> Self {
        self.upgrade = true;
        self
    }

    pub(super) fn into_request(self, host: &str) -> Result<Request<Body>, ClientError> {
        let uri = format!("/v{MAX_VERSION}{}", self.target);
        let mut request = Request::builder()
            .method(self.method)
            .uri(uri)
            .header(header::HOST, host);
        for (name, value) in self.headers {
            request = request.header(name, value);
        }
        if self.upgrade {
            request = request
                .header(header::CONNECTION, "Upgrade")
                .header(header::UPGRADE, "tcp");
        }
        request.body(self.body).map_err(ClientError::Request)
    }
}

/// Returns `text` with everything but unreserved characters percent-encoded,
/// so that it is one part of a path or one value of a query.
pub fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            _ => write!(out, "%{byte:02X}").expect("writing to a string cannot fail"),
        }
    }
    out
}
