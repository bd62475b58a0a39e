//! Answers: JSON, nothing, an error, or a stream that is fed while it is read.

use std::convert::Infallible;

use base::Failure;
use bytes::Bytes;
use engine_api::error::{ErrorResponse, status_of};
use engine_api::stdcopy::RAW_STREAM;
use engine_api::target::VersionRefused;
use engine_api::version::ApiVersion;
use engine_api::versions::{self, Answer};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::Frame;
use hyper::{Response, StatusCode, header};
use serde::Serialize;
use tokio::sync::mpsc;

use crate::error::{OrFail as _, Result};

/// The body of every answer.
pub type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Pieces a stream may be ahead of its reader; then its writer waits.
const PIECES_AHEAD: usize = 16;

/// Returns an answer with `value` as JSON.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn json(status: StatusCode, value: &impl Serialize) -> Result<Response<Body>> {
    let mut content = serde_json::to_vec(value).or_internal()?;
    content.push(b'\n');
    json_text(status, content)
}

/// Returns an answer whose body is JSON already.
///
/// # Errors
/// Never in practice.
pub fn json_text(status: StatusCode, content: Vec<u8>) -> Result<Response<Body>> {
    build(status, "application/json", full(content))
}

/// Returns an answer in the form of a version, with `value` as JSON.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn versioned(
    (answer, version): (Answer, ApiVersion),
    value: &impl Serialize,
) -> Result<Response<Body>> {
    if versions::is_newest(answer, version) {
        return json(StatusCode::OK, value);
    }
    let mut value = serde_json::to_value(value).or_internal()?;
    versions::shape(answer, version, &mut value);
    json(StatusCode::OK, &value)
}

/// Marks an answer whose head says nothing of the engine.
#[derive(Debug, Clone, Copy)]
pub struct Bare;

/// Returns the answer of a path, or a method of it, that there is not.
///
/// # Errors
/// Never in practice.
pub fn no_such_page() -> Result<Response<Body>> {
    let message = "page not found".to_owned();
    let mut answer = json(StatusCode::NOT_FOUND, &ErrorResponse { message })?;
    answer.extensions_mut().insert(Bare);
    Ok(answer)
}

/// Returns the answer that says, in the words alone, why nobody was connected.
///
/// # Errors
/// Never in practice.
pub fn not_connected(failure: &Failure) -> Result<Response<Body>> {
    let status = StatusCode::from_u16(status_of(failure.kind)).or_internal()?;
    let words = format!("{}\r\n", failure.message);
    let mut answer = build(status, RAW_STREAM, full(words.into_bytes()))?;
    answer.extensions_mut().insert(Bare);
    Ok(answer)
}

/// Returns the answer to a version that is not served. Those that are too old knew no
/// JSON in errors.
///
/// # Errors
/// Never in practice.
pub fn version_refused(refused: &VersionRefused) -> Result<Response<Body>> {
    let message = refused.to_string();
    if let VersionRefused::TooNew(_) = refused {
        return json(StatusCode::BAD_REQUEST, &ErrorResponse { message });
    }
    let mut answer = text(StatusCode::BAD_REQUEST, &format!("{message}\n"))?;
    let nosniff = header::HeaderValue::from_static("nosniff");
    answer
        .headers_mut()
        .insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    Ok(answer)
}

/// Returns an answer without a body.
///
/// # Errors
/// Never in practice.
pub fn empty(status: StatusCode) -> Result<Response<Body>> {
    Response::builder()
        .status(status)
        .body(full(Vec::new()))
        .or_internal()
}

/// Returns an answer in plain text.
///
/// # Errors
/// Never in practice.
pub fn text(status: StatusCode, content: &str) -> Result<Response<Body>> {
    build(
        status,
        "text/plain; charset=utf-8",
        full(content.as_bytes().to_vec()),
    )
}

/// Returns the answer that says what went wrong.
pub fn error(failure: &Failure) -> Response<Body> {
    let status =
        StatusCode::from_u16(status_of(failure.kind)).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let body = ErrorResponse {
        message: failure.message.clone(),
    };
    json(status, &body).unwrap_or_else(|_| {
        let mut plain = Response::new(full(failure.message.clone().into_bytes()));
        *plain.status_mut() = status;
        plain
    })
}

/// Feeds the body of an answer that has begun.
#[derive(Debug, Clone)]
pub struct Feed(mpsc::Sender<Bytes>);

impl Feed {
    /// Sends a piece; waits while the reader is behind.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn send(&self, piece: impl Into<Bytes>) -> Result<(), Gone> {
        self.0.send(piece.into()).await.map_err(|_| Gone)
    }

    /// As `send`, from a thread that may block.
    ///
    /// # Errors
    /// When the client has gone.
    pub fn send_blocking(&self, piece: impl Into<Bytes>) -> Result<(), Gone> {
        self.0.blocking_send(piece.into()).map_err(|_| Gone)
    }

    /// Sends `value` as one line of JSON.
    ///
    /// # Errors
    /// When the client has gone.
    pub async fn send_json(&self, value: &impl Serialize) -> Result<(), Gone> {
        self.send(json_line(value)).await
    }

    /// Returns whether the client has gone.
    pub fn is_closed(&self) -> bool {
        self.0.is_closed()
    }

    /// Returns once the client has gone.
    pub async fn closed(&self) {
        self.0.closed().await;
    }
}

/// Returns `value` as one line of JSON.
pub fn json_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(value).unwrap_or_else(|error| {
        format!("{{\"error\":\"cannot write the message: {error}\"}}").into_bytes()
    });
    line.extend_from_slice(b"\r\n");
    line
}

/// Says that the client has gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the client has gone")]
pub struct Gone;

/// Returns a feed, and where what it is fed with comes out.
pub fn pieces() -> (Feed, mpsc::Receiver<Bytes>) {
    let (sender, receiver) = mpsc::channel(PIECES_AHEAD);
    (Feed(sender), receiver)
}

/// Returns an answer that begins at once and is fed from elsewhere.
///
/// # Errors
/// Never in practice.
pub fn stream(content_type: &str) -> Result<(Feed, Response<Body>)> {
    let (feed, receiver) = pieces();
    let pieces = futures_util::stream::unfold(receiver, |mut receiver| async move {
        let piece = receiver.recv().await?;
        Some((Ok::<_, Infallible>(Frame::data(piece)), receiver))
    });
    let body = StreamBody::new(pieces).boxed_unsync();
    Ok((feed, build(StatusCode::OK, content_type, body)?))
}

fn full(content: Vec<u8>) -> Body {
    Full::new(Bytes::from(content)).boxed_unsync()
}

fn build(status: StatusCode, content_type: &str, body: Body) -> Result<Response<Body>> {
    Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type)
        .body(body)
        .or_internal()
}
