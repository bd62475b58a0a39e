//! The client of the API over a unix socket or TCP: one connection is kept between
//! requests, streams and hijacked connections take theirs along.
//!
//! It never retries and never starts a daemon; both are its caller's.

mod endpoint;
mod error;
mod hijack;
mod request;
mod ssh;
mod stream;

use std::path::PathBuf;
use std::sync::Mutex;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Response, StatusCode};
use serde::de::DeserializeOwned;

pub use endpoint::{ClientTls, ClientTlsError, ClientTlsFiles, Endpoint};
pub use error::ClientError;
pub use hijack::{Framing, Hijacked};
pub use request::{Body, Call, channel_body, encode};
pub use ssh::SshHost;
pub use stream::{BodyStream, JsonStream};

use crate::error::ErrorResponse;
use endpoint::Stream;

/// Bytes of an answer that is read as a whole.
const ANSWER_LIMIT_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of an error's body.
const ERROR_LIMIT_BYTES: usize = 1024 * 1024;

/// A client of one daemon.
#[derive(Debug)]
pub struct Client {
    endpoint: Endpoint,
    idle: Mutex<Option<SendRequest<Body>>>,
}

impl Client {
    /// Returns a client of the daemon that listens on `socket`; connects when
    /// the first request is sent.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self::at(Endpoint::Unix(socket.into()))
    }

    /// Returns a client of the daemon that listens at `endpoint`, as
    /// [`Client::new`] does.
    pub fn at(endpoint: Endpoint) -> Self {
        Self {
            endpoint,
            idle: Mutex::new(None),
        }
    }

    /// Returns where the daemon is.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Connects, unless a connection is open already.
    ///
    /// # Errors
    /// When nobody listens.
    pub async fn connect(&self) -> Result<(), ClientError> {
        let sender = self.sender().await?;
        self.keep(sender);
        Ok(())
    }

    /// Sends `call` and reads its answer as JSON.
    ///
    /// # Errors
    /// When the daemon cannot be reached, refuses, or answers something else.
    pub async fn json<T: DeserializeOwned>(&self, call: Call) -> Result<T, ClientError> {
        let answer = self.bytes(call).await?;
        serde_json::from_slice(&answer).map_err(ClientError::Decode)
    }

    /// Sends `call` and reads its answer, which it returns as it is.
    ///
    /// # Errors
    /// When the daemon cannot be reached, refuses, or sends too much.
    pub async fn bytes(&self, call: Call) -> Result<Bytes, ClientError> {
        let (response, sender) = self.send(call).await?;
        let body = read_whole(response, ANSWER_LIMIT_BYTES).await?;
        self.keep(sender);
        Ok(body)
    }

    /// Sends `call` and drops whatever its answer says but the status.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub async fn done(&self, call: Call) -> Result<StatusCode, ClientError> {
        let (response, sender) = self.send(call).await?;
        let status = response.status();
        read_whole(response, ANSWER_LIMIT_BYTES).await?;
        self.keep(sender);
        Ok(status)
    }

    /// Sends `call` and returns its answer as a stream, once its head is there.
    ///
    /// # Errors
    /// When the daemon cannot be reached or refuses.
    pub async fn stream(&self, call: Call) -> Result<BodyStream, ClientError> {
        let (response, sender) = self.send(call).await?;
        Ok(BodyStream::new(response, sender))
    }

    /// Sends `call` and takes the connection over: bytes in both directions.
    ///
    /// # Errors
    /// When the daemon cannot be reached, refuses, or does not switch protocols.
    pub async fn hijack(&self, call: Call) -> Result<Hijacked, ClientError> {
        let mut sender = self.sender().await?;
        let response = self.exchange(&mut sender, call.upgrading()).await?;
        hijack::take_over(response).await
    }

    async fn send(
        &self,
        call: Call,
    ) -> Result<(Response<Incoming>, SendRequest<Body>), ClientError> {
        let mut sender = self.sender().await?;
        let response = self.exchange(&mut sender, call).await?;
        Ok((response, sender))
    }

    /// Returns the idle connection if it is still good, else a new one.
    async fn sender(&self) -> Result<SendRequest<Body>, ClientError> {
        let idle = self.idle.lock().ok().and_then(|mut idle| idle.take());
        if let Some(mut sender) = idle
            && sender.ready().await.is_ok()
        {
            return Ok(sender);
        }
        let connected = self.endpoint.dial().await;
        let stream = connected.map_err(|source| ClientError::Connect {
            endpoint: self.endpoint.to_string(),
            source,
        })?;
        match stream {
            Stream::Unix(stream) => speak(stream).await,
            Stream::Other(stream) => speak(stream).await,
        }
    }

    /// Sends one request; an answer from 400 on is an error.
    async fn exchange(
        &self,
        sender: &mut SendRequest<Body>,
        call: Call,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = call.into_request(&self.endpoint.host_header())?;
        let is_head = request.method() == Method::HEAD;
        let response = sender
            .send_request(request)
            .await
            .map_err(ClientError::Http)?;
        let status = response.status();
        if !status.is_client_error() && !status.is_server_error() {
            return Ok(response);
        }
        let message = match is_head {
            true => String::new(),
            false => error_message(&read_whole(response, ERROR_LIMIT_BYTES).await?),
        };
        Err(ClientError::refused(status, message))
    }

    fn keep(&self, sender: SendRequest<Body>) {
        if let Ok(mut idle) = self.idle.lock() {
            *idle = Some(sender);
        }
    }
}

/// Begins to speak HTTP on a connection.
async fn speak(
    stream: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
) -> Result<SendRequest<Body>, ClientError> {
    let (sender, connection) = http1::handshake(stream).await.map_err(ClientError::Http)?;
    // Its end is seen by whoever waits for the answer.
    drop(tokio::spawn(connection.with_upgrades()));
    Ok(sender)
}

fn error_message(body: &[u8]) -> String {
    match serde_json::from_slice::<ErrorResponse>(body) {
        Ok(error) => error.message,
        Err(_) => String::from_utf8_lossy(body).trim().to_owned(),
    }
}

async fn read_whole(response: Response<Incoming>, limit: usize) -> Result<Bytes, ClientError> {
    let body = Limited::new(response.into_body(), limit);
    let collected = body.collect().await.map_err(ClientError::Body)?;
    Ok(collected.to_bytes())
}

#[cfg(test)]
mod tests;
