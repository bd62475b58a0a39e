//! TLS towards registries: the host's roots, extra authorities, or no check at all.

use std::path::Path;
use std::sync::Arc;

use base::file::read_bounded;
use base::{PathContext as _, PathError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// A file of authorities is no larger.
const MAX_CERTIFICATES: u64 = 4 << 20;

/// Says why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file of certificates could not be read.
    #[error(transparent)]
    File(#[from] PathError),
    /// A file holds something else than certificates.
    #[error("cannot parse the certificates in {path:?}")]
    Certificates {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The list of authorities cannot be used.
    #[error("cannot use the authorities")]
    Verifier(#[from] rustls::client::VerifierBuilderError),
    /// The library refused the settings.
    #[error("cannot set up tls")]
    Setup(#[from] rustls::Error),
}

/// Returns a configuration that trusts the host's roots and every `*.crt` in `extra`.
pub(super) fn verified(extra: Option<&Path>) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    let native = rustls_native_certs::load_native_certs();
    for error in &native.errors {
        tracing::warn!(%error, "some of the host's certificates cannot be used");
    }
    roots.add_parsable_certificates(native.certs);
    let builder = ClientConfig::builder_with_provider(provider());
    let builder = builder.with_safe_default_protocol_versions()?;
    let pinned = match extra {
        Some(directory) => read_directory(directory)?,
        None => Vec::new(),
    };
    for certificate in &pinned {
        roots.add(certificate.clone())?;
    }
    if pinned.is_empty() {
        return Ok(builder.with_root_certificates(roots).with_no_client_auth());
    }
    let chains =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider()).build()?;
    let verifier = Arc::new(PinnedOrChained { pinned, chains });
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

/// Returns a configuration that accepts any certificate, for registries that
/// the user declared insecure.
pub(super) fn unverified() -> Result<ClientConfig, TlsError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions()?;
    let verifier = Arc::new(AnyCertificate(provider));
    Ok(builder
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_no_client_auth())
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn read_directory(directory: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.at("list", directory)?,
    };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.at("list", directory)?.path();
        if path.extension().is_none_or(|extension| extension != "crt") {
            continue;
        }
        let text = read_bounded(&path, MAX_CERTIFICATES)?;
        let bad = |source| TlsError::Certificates {
            path: path.clone(),
            source,
        };
        for certificate in CertificateDer::pem_slice_iter(&text) {
            found.push(certificate.map_err(bad)?);
        }
    }
    Ok(found)
}

/// Accepts a chain to a known authority, or exactly a certificate the user put
/// there: self-signed ones are authorities by their own word, which the library
/// refuses for a server but Docker does not.
#[derive(Debug)]
struct PinnedOrChained {
    pinned: Vec<CertificateDer<'static>>,
    chains: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for PinnedOrChained {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.pinned.iter().any(|pinned| pinned == end_entity) {
            let parsed = ParsedCertificate::try_from(end_entity)?;
            verify_server_name(&parsed, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let chains = &self.chains;
        chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}

/// Accepts every certificate, but still only valid signatures of the handshake.
#[derive(Debug)]
struct AnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustls::pki_types::PrivateKeyDer;
    use tokio_rustls::{TlsAcceptor, TlsConnector};

    /// Makes an authority's certificate for example.test, and a server that shows it.
    fn server(directory: &Path) -> TlsAcceptor {
        let (key, certificate) = (directory.join("key.pem"), directory.join("ca.crt"));
        let request = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=example.test -addext subjectAltName=DNS:example.test";
        let mut openssl = std::process::Command::new("openssl");
        openssl
            .args(request.split(' '))
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&certificate);
        let output = openssl
            .output()
            .expect("openssl is needed: apt-get install openssl");
        assert!(output.status.success());
        let key = PrivateKeyDer::from_pem_file(key).unwrap();
        let chain = vec![CertificateDer::from_pem_file(certificate).unwrap()];
        let builder = rustls::ServerConfig::builder_with_provider(provider());
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let config = builder
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        TlsAcceptor::from(Arc::new(config))
    }

    async fn accepts(config: ClientConfig, server: &TlsAcceptor, name: &'static str) -> bool {
        let (here, there) = tokio::io::duplex(1 << 16);
        let name = ServerName::try_from(name).unwrap();
        let client = TlsConnector::from(Arc::new(config));
        let (client, _server) = tokio::join!(client.connect(name, here), server.accept(there));
        client.is_ok()
    }

    #[tokio::test]
    async fn only_known_authorities_and_right_names_are_accepted() {
        let directory = tempfile::tempdir().unwrap();
        let server = server(directory.path());
        let with_extra = || verified(Some(directory.path())).unwrap();
        assert!(accepts(with_extra(), &server, "example.test").await);
        assert!(!accepts(with_extra(), &server, "other.test").await);
        assert!(!accepts(verified(None).unwrap(), &server, "example.test").await);
        assert!(accepts(unverified().unwrap(), &server, "other.test").await);
    }

    #[test]
    fn a_file_that_is_no_certificate_is_an_error() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bad.crt");
        let text = b"-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n";
        base::file::replace(&path, text, base::file::FileMode::Private).unwrap();
        assert!(matches!(
            verified(Some(directory.path())),
            Err(TlsError::Certificates { .. })
        ));
    }
}
