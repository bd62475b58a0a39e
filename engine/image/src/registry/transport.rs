//! One HTTP/1.1 request over a connection of its own, with limits on everything.
//!
//! No redirects, no credentials, no retries: those are decided above.

mod outgoing;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use hyper::client::conn::http1::SendRequest;
use hyper::header::{HOST, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::AbortHandle;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

pub(crate) use outgoing::Outgoing;

use super::RegistryError;
use super::origin::{Origin, Scheme, Url};
use super::tls::{self, TlsError};

const CONNECT_LIMIT: Duration = Duration::from_secs(15);
const HEADER_LIMIT: Duration = Duration::from_secs(30);
/// A registry may take so long over what it was given, to check and to move it.
const ANSWER_LIMIT: Duration = Duration::from_secs(300);
/// A body may pause so long.
const IDLE_LIMIT: Duration = Duration::from_secs(60);
const MAX_HEADERS: usize = 100;
const MAX_HEADER_BYTES: usize = 64 << 10;
const AGENT: &str = concat!("engine/", env!("CARGO_PKG_VERSION"));

/// Whether a registry must prove who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Trust {
    /// By a certificate; registries on loopback may do without, as with Docker.
    #[default]
    Verified,
    /// Any certificate or plain HTTP will do.
    Insecure,
}

/// Makes connections to registries.
#[derive(Debug)]
pub(super) struct Transport {
    pub(super) trust: Trust,
    /// Holds `<host>/*.crt`, authorities for one registry each.
    pub(super) certificates: Option<PathBuf>,
    verified: OnceLock<Arc<rustls::ClientConfig>>,
}

/// What to ask.
#[derive(Debug, Default)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A server's answer; dropping it closes the connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) from: Origin,
    body: Incoming,
    _connection: Connection,
}

#[derive(Debug)]
struct Connection(AbortHandle);

impl Drop for Connection {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Transport {
    pub(super) fn new(trust: Trust, certificates: Option<PathBuf>) -> Self {
        Self {
            trust,
            certificates,
            verified: OnceLock::new(),
        }
    }

    /// Sends one request and returns the head of the answer.
    pub(super) async fn send(&self, url: &Url, ask: &Ask) -> Result<Answer, RegistryError> {
        let body = Outgoing::whole(ask.body.clone());
        self.send_body(url, ask, body).await
    }

    /// As `send`, with a body that comes while it is sent.
    pub(super) async fn send_body(
        &self,
        url: &Url,
        ask: &Ask,
        body: Outgoing,
    ) -> Result<Answer, RegistryError> {
        let origin = &url.origin;
        let connect = async {
            let tcp = TcpStream::connect((origin.host.as_str(), origin.port)).await?;
            tcp.set_nodelay(true)?;
            Ok::<_, io::Error>(tcp)
        };
        let tcp = limited(CONNECT_LIMIT, "connect to", origin, connect).await?;
        let tcp = tcp.map_err(|source| RegistryError::Connect {
            origin: origin.to_string(),
            source,
        })?;
        if origin.scheme == Scheme::Http {
            return exchange(tcp, url, ask, body).await;
        }
        let connector = TlsConnector::from(self.tls_for(origin)?);
        let name = ServerName::try_from(origin.host.clone())
            .map_err(|_| RegistryError::Address(origin.to_string()))?;
        let tls = limited(
            CONNECT_LIMIT,
            "set up tls with",
            origin,
            connector.connect(name, tcp),
        )
        .await?;
        let tls = tls.map_err(|source| RegistryError::Handshake {
            origin: origin.to_string(),
            source,
        })?;
        exchange(tls, url, ask, body).await
    }

    /// Returns whether `origin` may be spoken to without proof.
    pub(super) fn accepts_insecure(&self, origin: &Origin) -> bool {
        self.trust == Trust::Insecure || origin.is_loopback()
    }

    fn tls_for(&self, origin: &Origin) -> Result<Arc<rustls::ClientConfig>, TlsError> {
        if self.accepts_insecure(origin) {
            return tls::unverified().map(Arc::new);
        }
        let extra = self
            .certificates
            .as_ref()
            .map(|all| all.join(origin.authority()));
        if let Some(extra) = extra.filter(|directory| directory.is_dir()) {
            return tls::verified(Some(&extra)).map(Arc::new);
        }
        if let Some(config) = self.verified.get() {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(tls::verified(None)?);
        Ok(Arc::clone(self.verified.get_or_init(|| config)))
    }
}

async fn limited<T>(
    limit: Duration,
    action: &'static str,
    origin: &Origin,
    work: impl Future<Output = T>,
) -> Result<T, RegistryError> {
    let late = |_| RegistryError::Timeout {
        action,
        origin: origin.to_string(),
    };
    timeout(limit, work).await.map_err(late)
}

fn request_for(url: &Url, ask: &Ask, body: Outgoing) -> Result<Request<Outgoing>, RegistryError> {
    let wrong = || RegistryError::Address(url.to_string());
    let host = HeaderValue::try_from(url.origin.authority()).map_err(|_| wrong())?;
    let mut request = Request::new(body);
    *request.method_mut() = ask.method.clone();
    *request.uri_mut() = url.path.parse().map_err(|_| wrong())?;
    let headers = request.headers_mut();
    headers.clone_from(&ask.headers);
    headers.insert(HOST, host);
    headers.insert(USER_AGENT, HeaderValue::from_static(AGENT));
    Ok(request)
}

/// Begins to speak HTTP; the connection ends with the second value.
async fn handshake<S>(stream: S) -> hyper::Result<(SendRequest<Outgoing>, Connection)>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut builder = hyper::client::conn::http1::Builder::new();
    builder
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEADER_BYTES);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await?;
    let task = tokio::spawn(async move {
        // The request or its body reports the same failure.
        if let Err(error) = connection.await {
            tracing::debug!(%error, "registry connection ended");
        }
    });
    Ok((sender, Connection(task.abort_handle())))
}

async fn exchange<S>(
    stream: S,
    url: &Url,
    ask: &Ask,
    body: Outgoing,
) -> Result<Answer, RegistryError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let origin = &url.origin;
    let failed = |source| RegistryError::Http {
        origin: origin.to_string(),
        source,
    };
    let (mut sender, connection) = handshake(stream).await.map_err(failed)?;
    let watch = body.watch();
    let request = request_for(url, ask, body)?;
    let response = match watch {
        None => {
            let limit = match ask.method {
                Method::PUT => ANSWER_LIMIT,
                _ => HEADER_LIMIT,
            };
            let answer = sender.send_request(request);
            limited(limit, "get an answer from", origin, answer).await?
        }
        Some(watch) => {
            let answer = watch.answer(sender.send_request(request)).await;
            answer.ok_or_else(|| RegistryError::Timeout {
                action: "send to",
                origin: origin.to_string(),
            })?
        }
    };
    let (head, body) = response.map_err(failed)?.into_parts();
    Ok(Answer {
        status: head.status,
        headers: head.headers,
        from: origin.clone(),
        body,
        _connection: connection,
    })
}

impl Answer {
    /// Returns a header as text.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Returns the next piece of the body, `None` at its end.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, RegistryError> {
        loop {
            let next = limited(IDLE_LIMIT, "read from", &self.from, self.body.frame()).await?;
            let Some(frame) = next else {
                return Ok(None);
            };
            let failed = |source| RegistryError::Http {
                origin: self.from.to_string(),
                source,
            };
            // Trailers say nothing we use.
            if let Ok(data) = frame.map_err(failed)?.into_data() {
                return Ok(Some(data));
            }
        }
    }

    /// Returns the whole body if it is not longer than `limit`.
    pub(super) async fn body(mut self, limit: u64) -> Result<Vec<u8>, RegistryError> {
        let mut body = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if (body.len() + chunk.len()) as u64 > limit {
                return Err(RegistryError::TooLong {
                    origin: self.from.to_string(),
                    limit,
                });
            }
            body.extend_from_slice(&chunk);
        }
        Ok(body)
    }
}
