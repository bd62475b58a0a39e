//! Accepting connections: each listener has so many at once, whoever is not
//! trusted with everything fewer of them, and nobody may be slow about saying
//! what it wants.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use base::{Failure, FailureKind};
use engine_api::version::MAX_VERSION;
use engine_security::access::Policy;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Response, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tracing::Instrument as _;

use super::access::{audit, table};
use super::hangup::{self, Watched};
use super::listen::{Acceptor, Listeners, Socket};
use super::origin::{self, Door};
use super::peer::{Caller, Peer};
use super::places::Places;
use super::request::{Refused, Request};
use super::response::{self, Bare, Body};
use super::{router, tls};
use crate::Engine;

/// Connections of one listener served at once; further ones wait to be accepted.
const CONNECTION_LIMIT: usize = 1024;
/// Bytes of a request's head; a longer one is answered with 431.
const HEAD_LIMIT_BYTES: usize = 64 << 10;
/// Headers of a request; more are answered with 431.
const HEADER_LIMIT: usize = 100;
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a client may take to agree on TLS.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open requests may go on after the daemon was told to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// How long a listener rests that cannot accept.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// What every connection is served with.
#[derive(Debug, Clone)]
struct Server {
    engine: Arc<Engine>,
    closed: watch::Receiver<bool>,
    places: Places,
}

/// Serves until `stop` is ready, then lets open requests end for a moment.
pub async fn serve(engine: &Arc<Engine>, listeners: Listeners, stop: impl Future<Output = ()>) {
    let (closing, closed) = watch::channel(false);
    let server = Server {
        engine: engine.clone(),
        closed,
        places: Places::default(),
    };
    let paths: Vec<_> = listeners.0.iter().filter_map(unix_path).collect();
    let accepting: Vec<_> = listeners
        .0
        .into_iter()
        .map(|socket| tokio::spawn(server.clone().accept_all(socket)))
        .collect();
    drop(server);
    stop.await;
    for task in accepting {
        task.abort();
        // It ends as cancelled.
        drop(task.await);
    }
    for path in paths {
        if let Err(error) = base::file::remove_if_there(&path) {
            tracing::warn!(%error, "cannot remove the socket");
        }
    }
    closing.send_replace(true);
    let drained = tokio::time::timeout(DRAIN_LIMIT, closing.closed()).await;
    if drained.is_err() {
        tracing::info!("ending with requests still open");
    }
}

fn unix_path(socket: &Socket) -> Option<std::path::PathBuf> {
    match socket {
        Socket::Unix { path, .. } => Some(path.clone()),
        Socket::Tls { .. } | Socket::Plain(_) | Socket::Metrics(_) => None,
    }
}

impl Server {
    async fn accept_all(self, socket: Socket) {
        let slots = Arc::new(Semaphore::new(CONNECTION_LIMIT));
        // The semaphore is never closed.
        while let Ok(slot) = slots.clone().acquire_owned().await {
            if let Err(error) = self.accept_one(&socket, slot).await {
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    async fn accept_one(&self, socket: &Socket, slot: OwnedSemaphorePermit) -> io::Result<()> {
        let server = self.clone();
        match socket {
            Socket::Unix { inner, .. } => {
                let (stream, _) = inner.accept().await?;
                match Peer::of_unix(&stream, &self.engine.config.api) {
                    Ok(peer) => server.spawn(stream, (peer, Door::Unix), slot),
                    Err(error) => tracing::warn!(%error, "cannot tell who connected"),
                }
            }
            Socket::Tls { inner, acceptor } => {
                let (stream, _) = inner.accept().await?;
                let acceptor = acceptor.clone();
                tokio::spawn(async move { server.shake_hands(stream, acceptor, slot).await });
            }
            Socket::Plain(inner) => {
                let (stream, _) = inner.accept().await?;
                server.spawn(stream, (Peer::Loopback, Door::Tcp), slot);
            }
            Socket::Metrics(inner) => {
                let (stream, _) = inner.accept().await?;
                server.spawn(stream, (Peer::Scraper, Door::Tcp), slot);
            }
        }
        Ok(())
    }

    async fn shake_hands(self, stream: TcpStream, acceptor: Acceptor, slot: OwnedSemaphorePermit) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "cannot send small packets at once");
        }
        let agreed = tokio::time::timeout(HANDSHAKE_TIMEOUT, acceptor.0.accept(stream)).await;
        let stream = match agreed {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return tracing::info!(%error, "a client was not let in"),
            Err(_) => return tracing::info!("a client did not agree on TLS in time"),
        };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        match tls::common_name(certificates) {
            Ok(common_name) => {
                let peer = Peer::Certificate { common_name };
                self.spawn(stream, (peer, Door::Tcp), slot);
            }
            Err(error) => tracing::warn!(%error, "a client's certificate names nobody"),
        }
    }

    fn spawn(self, stream: impl Watched, (peer, door): (Peer, Door), slot: OwnedSemaphorePermit) {
        let mut caller = Caller::new(peer, &self.engine.config.api);
        match caller.policy {
            Policy::Full => {}
            Policy::ReadOnly | Policy::OwnContainers | Policy::None | Policy::Metrics => {
                caller.place = self.places.take(&caller.peer.to_string());
                if caller.place.is_none() {
                    return tracing::debug!(peer = %caller.peer, "too many connections");
                }
            }
        }
        tokio::spawn(async move {
            self.connection(stream, Arc::new(caller), door).await;
            drop(slot);
        });
    }

    async fn connection(self, stream: impl Watched, caller: Arc<Caller>, door: Door) {
        let socket = match stream.descriptor().try_clone_to_owned() {
            Ok(socket) => socket,
            Err(error) => return tracing::warn!(%error, "cannot watch a connection"),
        };
        let Self {
            engine, mut closed, ..
        } = self;
        let is_answered = Arc::new(AtomicBool::new(false));
        let answered = is_answered.clone();
        let service = service_fn(move |request| {
            answered.store(false, Ordering::Relaxed);
            let (answered, work) = (
                answered.clone(),
                handle(engine.clone(), caller.clone(), door, request),
            );
            async move {
                let answer = work.await;
                answered.store(true, Ordering::Relaxed);
                answer
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .max_buf_size(HEAD_LIMIT_BYTES)
            .max_headers(HEADER_LIMIT)
            .half_close(true)
            .serve_connection(TokioIo::new(stream), service)
            .with_upgrades();
        tokio::pin!(connection);
        let result = tokio::select! {
            result = connection.as_mut() => result,
            () = hangup::of(socket, &is_answered) => return,
            () = async { drop(closed.wait_for(|closed| *closed).await) } => {
                connection.as_mut().graceful_shutdown();
                connection.as_mut().await
            }
        };
        if let Err(error) = result {
            tracing::debug!(%error, "a connection ended badly");
        }
    }
}

async fn handle(
    engine: Arc<Engine>,
    caller: Arc<Caller>,
    door: Door,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let begun = Instant::now();
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let number = engine.metrics.next_request();
    let span = tracing::info_span!("request", number, peer = %caller.peer, %method, path);
    let Answered {
        label,
        result,
        knows_version,
    } = answer(&engine, caller, door, request)
        .instrument(span.clone())
        .await;
    let mut answer = result.unwrap_or_else(|failure| {
        span.in_scope(|| {
            tracing::info!(kind = ?failure.kind, message = failure.message, "request refused");
        });
        response::error(&failure)
    });
    engine
        .metrics
        .observe(label, &method, answer.status().as_u16(), begun.elapsed());
    if answer.extensions().get::<Bare>().is_some() {
        return Ok(answer);
    }
    let headers = answer.headers_mut();
    headers.insert(
        "Api-Version",
        HeaderValue::from_str(&MAX_VERSION.to_string()).unwrap_or(HeaderValue::from_static("")),
    );
    headers.insert("Ostype", HeaderValue::from_static("linux"));
    if knows_version {
        headers.insert("Docker-Experimental", HeaderValue::from_static("false"));
    }
    headers.insert(
        "Server",
        HeaderValue::from_static(concat!("Docker/", env!("CARGO_PKG_VERSION"), " (linux)")),
    );
    Ok(answer)
}

/// What became of a request.
struct Answered {
    /// What the route is called; none where there is none.
    label: Option<&'static str>,
    result: crate::error::Result<Response<Body>>,
    /// Whether it asked for a version that there is.
    knows_version: bool,
}

impl Answered {
    fn early(result: crate::error::Result<Response<Body>>) -> Self {
        Self {
            label: None,
            result,
            knows_version: true,
        }
    }
}

async fn answer(
    engine: &Arc<Engine>,
    caller: Arc<Caller>,
    door: Door,
    request: hyper::Request<Incoming>,
) -> Answered {
    if let Err(reason) = origin::check(request.headers(), door, &engine.config.api) {
        let what = (request.method().as_str(), request.uri().path());
        audit::record(engine, &caller, what, &reason);
        let failure = Failure::new(FailureKind::Forbidden, format!("access denied: {reason}"));
        return Answered::early(Err(failure));
    }
    match Request::new(request, caller) {
        Ok(request) => {
            let route = table::route_of(&request.method, &request.path);
            Answered {
                label: route.map(|route| route.label),
                result: router::route(engine, request).await,
                knows_version: true,
            }
        }
        Err(Refused::Invalid(failure)) => Answered::early(Err(failure)),
        Err(Refused::Version(refused)) => Answered {
            knows_version: false,
            ..Answered::early(response::version_refused(&refused))
        },
    }
}
