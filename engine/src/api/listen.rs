//! Where the API is served: the unix socket, and what `[api]` adds to it.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base::PathContext as _;
use tokio::net::{TcpListener, UnixListener};
use tokio_rustls::TlsAcceptor;

use super::tls;
use crate::Engine;

/// A socket path that fits `sockaddr_un`.
const SOCKET_PATH_BYTES: usize = 107;

/// A place where connections come in.
#[derive(Debug)]
pub(super) enum Socket {
    Unix {
        inner: UnixListener,
        path: PathBuf,
    },
    /// Clients show a certificate.
    Tls {
        inner: TcpListener,
        acceptor: Acceptor,
    },
    /// On loopback, without anything.
    Plain(TcpListener),
    /// On loopback, for measurements.
    Metrics(TcpListener),
}

/// The library's acceptor, which does not print itself.
#[derive(Clone)]
pub(super) struct Acceptor(pub TlsAcceptor);

impl std::fmt::Debug for Acceptor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Acceptor")
    }
}

/// Every place the daemon listens at.
#[derive(Debug)]
pub struct Listeners(pub(super) Vec<Socket>);

/// Binds the unix socket, owned by root and, where there is one, the group
/// `engine`, and the addresses of the configuration.
///
/// # Errors
/// When one cannot be bound, or the files of TLS cannot be used.
pub async fn bind(engine: &Engine, path: Option<&Path>) -> anyhow::Result<Listeners> {
    let config = &engine.config.api;
    let mut sockets = Vec::new();
    let acceptor = match config.tls() {
        Some(files) => Some(Acceptor(tls::acceptor(files)?)),
        None => None,
    };
    for address in config.addresses()? {
        let inner = listen(address).await?;
        sockets.push(match &acceptor {
            Some(acceptor) => Socket::Tls {
                inner,
                acceptor: acceptor.clone(),
            },
            None => Socket::Plain(inner),
        });
    }
    if let Some(address) = config.metrics_listen {
        sockets.push(Socket::Metrics(listen(address).await?));
    }
    // Last: who finds this socket finds the others too.
    sockets.push(bind_socket(engine, path)?);
    Ok(Listeners(sockets))
}

async fn listen(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    let bound = TcpListener::bind(address).await;
    bound.with_context(|| format!("cannot listen on tcp://{address}"))
}

fn bind_socket(engine: &Engine, path: Option<&Path>) -> anyhow::Result<Socket> {
    let path = path.map_or_else(|| engine.instance.socket(), Path::to_owned);
    base::file::remove_if_there(&path)?;
    let inner = bind_unix(&path)?;
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o660))
        .at("set the mode of", &path)?;
    if let Some(group) = engine_group() {
        std::os::unix::fs::chown(&path, Some(0), Some(group)).at("set the group of", &path)?;
    }
    Ok(Socket::Unix { inner, path })
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
