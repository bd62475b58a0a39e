//! Accepting connections on the unix socket.

use std::convert::Infallible;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use base::PathContext as _;
use engine_api::version::MAX_VERSION;
use hyper::body::Incoming;
use hyper::header::HeaderValue;
use hyper::service::service_fn;
use hyper::{Response, server::conn::http1};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, watch};

use super::request::{Refused, Request};
use super::response::{self, Body, NoSuchPage};
use super::router;
use crate::Engine;

/// Connections served at once; further ones wait to be accepted.
const CONNECTION_LIMIT: usize = 1024;
/// Bytes of a request's head; a longer one is answered with 431.
const HEAD_LIMIT_BYTES: usize = 64 << 10;
/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// How long open requests may go on after the daemon was told to end.
const DRAIN_LIMIT: Duration = Duration::from_secs(2);
/// A socket path that fits `sockaddr_un`.
const SOCKET_PATH_BYTES: usize = 107;

/// The socket the daemon listens on.
#[derive(Debug)]
pub struct Listener {
    inner: UnixListener,
    path: PathBuf,
}

/// Binds the socket, owned by root and, where there is one, the group `engine`.
///
/// # Errors
/// When it cannot be bound.
pub fn bind(engine: &Engine, path: Option<&Path>) -> anyhow::Result<Listener> {
    let path = path.map_or_else(|| engine.instance.socket(), Path::to_owned);
    base::file::remove_if_there(&path)?;
    let inner = bind_unix(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))
        .at("set the mode of", &path)?;
    if let Some(group) = engine_group() {
        std::os::unix::fs::chown(&path, Some(0), Some(group)).at("set the group of", &path)?;
    }
    Ok(Listener { inner, path })
}

/// A path too long for the kernel is bound through its directory's descriptor.
fn bind_unix(path: &Path) -> anyhow::Result<UnixListener> {
    use std::os::fd::AsRawFd as _;
    if path.as_os_str().len() <= SOCKET_PATH_BYTES {
        return Ok(UnixListener::bind(path).at("bind", path)?);
    }
    let directory = path.parent().context("a socket has a directory")?;
    let handle = std::fs::File::open(directory).at("open", directory)?;
    let name = path.file_name().context("a socket has a name")?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", handle.as_raw_fd())).join(name);
    Ok(UnixListener::bind(short).at("bind", path)?)
}

fn engine_group() -> Option<u32> {
    let groups = std::fs::read_to_string("/etc/group").ok()?;
    let line = groups.lines().find(|line| line.starts_with("engine:"))?;
    line.split(':').nth(2)?.parse().ok()
}

/// Serves until `stop` is ready, then lets open requests end for a moment.
pub async fn serve(engine: &Arc<Engine>, listener: Listener, stop: impl Future<Output = ()>) {
    let slots = Arc::new(Semaphore::new(CONNECTION_LIMIT));
    let (closing, closed) = watch::channel(false);
    tokio::pin!(stop);
    loop {
        let accepted = tokio::select! {
            accepted = accept(&listener.inner, &slots) => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, slot)) => {
                let (engine, closed) = (engine.clone(), closed.clone());
                tokio::spawn(async move {
                    connection(engine, stream, closed).await;
                    drop(slot);
                });
            }
            Err(error) => {
                tracing::error!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
    if let Err(error) = base::file::remove_if_there(&listener.path) {
        tracing::warn!(%error, "cannot remove the socket");
    }
    drop(closed);
    closing.send_replace(true);
    let drained = tokio::time::timeout(DRAIN_LIMIT, closing.closed()).await;
    if drained.is_err() {
        tracing::info!("ending with requests still open");
    }
}

type Slot = tokio::sync::OwnedSemaphorePermit;

async fn accept(
    listener: &UnixListener,
    slots: &Arc<Semaphore>,
) -> std::io::Result<(UnixStream, Slot)> {
    let slot = slots
        .clone()
        .acquire_owned()
        .await
        .map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    Ok((stream, slot))
}

async fn connection(engine: Arc<Engine>, stream: UnixStream, mut closed: watch::Receiver<bool>) {
    let service = service_fn(move |request| handle(engine.clone(), request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(HEAD_LIMIT_BYTES)
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    tokio::pin!(connection);
    let result = tokio::select! {
        result = connection.as_mut() => result,
        () = async { drop(closed.wait_for(|closed| *closed).await) } => {
            connection.as_mut().graceful_shutdown();
            connection.as_mut().await
        }
    };
    if let Err(error) = result {
        tracing::debug!(%error, "a connection ended badly");
    }
}

async fn handle(
    engine: Arc<Engine>,
    request: hyper::Request<Incoming>,
) -> Result<Response<Body>, Infallible> {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut knows_version = true;
    let answered = match Request::new(request) {
        Ok(request) => router::route(&engine, request).await,
        Err(Refused::Invalid(failure)) => Err(failure),
        Err(Refused::Version(refused)) => {
            knows_version = false;
            response::version_refused(&refused)
        }
    };
    let mut answer = answered.unwrap_or_else(|failure| {
        tracing::info!(%method, path, kind = ?failure.kind, message = failure.message, "request refused");
        response::error(&failure)
    });
    if answer.extensions().get::<NoSuchPage>().is_some() {
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
