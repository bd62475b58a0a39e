//! Where a daemon is: a unix socket, a TCP port with or without TLS, or another host.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::PathError;
use base::file::read_bounded;
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;

use super::ssh::SshHost;
use crate::socket::ShortPath;

/// A file of certificates or a key is no larger.
const FILE_LIMIT_BYTES: u64 = 4 << 20;

/// Where a daemon listens.
#[derive(Debug, Clone)]
pub enum Endpoint {
    Unix(PathBuf),
    Tcp {
        host: String,
        port: u16,
        tls: Option<ClientTls>,
    },
    Ssh(SshHost),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp { host, port, .. } => write!(f, "tcp://{}:{port}", bracketed(host)),
            Self::Ssh(host) => host.fmt(f),
        }
    }
}

/// An address of IPv6 stands in brackets before a port.
fn bracketed(host: &str) -> String {
    match host.contains(':') {
        true => format!("[{host}]"),
        false => host.to_owned(),
    }
}

/// The files of TLS, PEM.
#[derive(Debug, Clone, Default)]
pub struct ClientTlsFiles {
    /// Authorities that sign daemons' certificates.
    pub ca: PathBuf,
    /// The client's own certificate and its key, if it shows one.
    pub identity: Option<(PathBuf, PathBuf)>,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum ClientTlsError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot parse {path:?}")]
    Pem {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("cannot use the certificates")]
    Setup(#[from] rustls::Error),
}

/// What a client trusts and shows.
#[derive(Debug, Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl ClientTls {
    /// Reads the files.
    ///
    /// # Errors
    /// When one cannot be read or used.
    pub fn load(files: &ClientTlsFiles) -> Result<Self, ClientTlsError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&files.ca)? {
            roots.add(certificate)?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots);
        let config = match &files.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let content = read_bounded(key, FILE_LIMIT_BYTES)?;
                let parsed = PrivateKeyDer::from_pem_slice(&content);
                let parsed = parsed.map_err(|source| pem(key, source))?;
                builder.with_client_auth_cert(certificates(certificate)?, parsed)?
            }
        };
        Ok(Self(Arc::new(config)))
    }
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, ClientTlsError> {
    let content = read_bounded(path, FILE_LIMIT_BYTES)?;
    let all = CertificateDer::pem_slice_iter(&content).collect::<Result<_, _>>();
    all.map_err(|source| pem(path, source))
}

fn pem(path: &Path, source: rustls::pki_types::pem::Error) -> ClientTlsError {
    ClientTlsError::Pem {
        path: path.to_owned(),
        source,
    }
}

/// A connection of any kind.
pub trait Connection: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Connection for T {}

/// What HTTP is spoken over: one type, so that an upgrade can be taken back.
pub(super) enum Stream {
    Unix(TokioIo<UnixStream>),
    Other(TokioIo<Box<dyn Connection>>),
}

impl Endpoint {
    /// Returns what the header `Host` says.
    pub(super) fn host_header(&self) -> String {
        match self {
            Self::Unix(_) | Self::Ssh(_) => "engine".to_owned(),
            Self::Tcp { host, port, .. } => format!("{}:{port}", bracketed(host)),
        }
    }

    /// Connects.
    ///
    /// # Errors
    /// When nobody listens, or who listens cannot be trusted.
    pub(super) async fn dial(&self) -> io::Result<Stream> {
        match self {
            Self::Unix(path) => {
                let short = ShortPath::new(path)?;
                let stream = UnixStream::connect(short.path()).await?;
                Ok(Stream::Unix(TokioIo::new(stream)))
            }
            Self::Tcp { host, port, tls } => {
                let stream = TcpStream::connect((host.as_str(), *port)).await?;
                stream.set_nodelay(true)?;
                let boxed: Box<dyn Connection> = match tls {
                    None => Box::new(stream),
                    Some(tls) => {
                        let name = ServerName::try_from(host.clone()).map_err(io::Error::other)?;
                        let connector = TlsConnector::from(tls.0.clone());
                        Box::new(connector.connect(name, stream).await?)
                    }
                };
                Ok(Stream::Other(TokioIo::new(boxed)))
            }
            Self::Ssh(host) => Ok(Stream::Other(TokioIo::new(Box::new(host.dial()?)))),
        }
    }

    /// Connects for something else than HTTP.
    ///
    /// # Errors
    /// When nobody listens, or who listens cannot be trusted.
    pub async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        Ok(match self.dial().await? {
            Stream::Unix(stream) => Box::new(stream.into_inner()),
            Stream::Other(stream) => stream.into_inner(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_shown_as_it_is_given() {
        let tcp = |host: &str| Endpoint::Tcp {
            host: host.to_owned(),
            port: 2376,
            tls: None,
        };
        assert_eq!(tcp("h.example").to_string(), "tcp://h.example:2376");
        assert_eq!(tcp("::1").to_string(), "tcp://[::1]:2376");
        assert_eq!(tcp("::1").host_header(), "[::1]:2376");
        assert_eq!(Endpoint::Unix("/x".into()).to_string(), "unix:///x");
    }

    #[test]
    fn a_missing_or_broken_file_is_named() {
        let missing = ClientTlsFiles {
            ca: "/nonexistent/ca.pem".into(),
            identity: None,
        };
        let error = ClientTls::load(&missing).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/ca.pem"), "{error}");
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ca.pem");
        let text = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        base::file::replace(&path, text, base::file::FileMode::Private).unwrap();
        let broken = ClientTlsFiles {
            ca: path.clone(),
            identity: None,
        };
        let error = ClientTls::load(&broken).unwrap_err();
        assert!(matches!(error, ClientTlsError::Pem { .. }), "{error:?}");
    }
}
