//! TLS towards registries: the host's roots, extra authorities, or no check at all.

use std::path::Path;
use std::sync::Arc;

use base::file::read_bounded;
use base::{PathContext as _, PathError};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
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
    if let Some(directory) = extra {
        add_directory(&mut roots, directory)?;
    }
    let builder =
        ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
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

fn add_directory(roots: &mut RootCertStore, directory: &Path) -> Result<(), TlsError> {
    let entries = match std::fs::read_dir(directory) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        other => other.at("list", directory)?,
    };
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
            roots.add(certificate.map_err(bad)?)?;
        }
    }
    Ok(())
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
