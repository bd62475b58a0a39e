//! One request over a unix socket, its answer to the end.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

const ANSWER_LIMIT_BYTES: usize = 16 << 20;
const ANSWER_LIMIT: Duration = Duration::from_secs(60);

/// What was answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Bytes,
}

/// Asks for `call`, a method and a path, with a body of JSON if there is one.
pub(crate) fn ask(socket: &Path, call: &str, body: Option<&str>) -> Result<Answer> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start a runtime")?;
    runtime
        .block_on(async { tokio::time::timeout(ANSWER_LIMIT, exchange(socket, call, body)).await })
        .with_context(|| format!("no answer to {call} within {ANSWER_LIMIT:?}"))?
        .with_context(|| format!("ask for {call}"))
}

async fn exchange(socket: &Path, call: &str, body: Option<&str>) -> Result<Answer> {
    let (method, target) = call.split_once(' ').context("a call has two words")?;
    let stream = UnixStream::connect(socket).await.context("connect")?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .context("begin to speak HTTP")?;
    let connection = tokio::spawn(connection);
    let mut request = hyper::Request::builder()
        .method(method)
        .uri(target)
        .header(HOST, "localhost")
        .header(CONNECTION, "close");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = Full::new(Bytes::from(body.unwrap_or_default().to_owned()));
    let answer = sender.send_request(request.body(body).context("make a request")?);
    let (head, body) = answer.await.context("read the answer")?.into_parts();
    let body = Limited::new(body, ANSWER_LIMIT_BYTES)
        .collect()
        .await
        .map_err(|error| anyhow::anyhow!("read the answer's body: {error}"))?;
    connection.abort();
    let header = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
        let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
        (name.as_str().to_owned(), value)
    };
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers.iter().map(header).collect(),
        body: body.to_bytes(),
    })
}
