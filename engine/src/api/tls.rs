//! Mutual TLS: our certificate, and who a client is by its own.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use base::PathError;
use base::file::read_bounded;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;

use crate::config::TlsFiles;

/// A file of certificates or a key is no larger.
const FILE_LIMIT_BYTES: u64 = 4 << 20;
/// The object identifier of the common name, 2.5.4.3, in DER.
const COMMON_NAME: &[u8] = &[0x55, 0x04, 0x03];
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const OBJECT_IDENTIFIER: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const IA5_STRING: u8 = 0x16;

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub(super) enum TlsError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot parse {path:?}")]
    Pem {
        path: PathBuf,
        source: rustls::pki_types::pem::Error,
    },
    #[error("{0:?} holds no certificate")]
    Empty(PathBuf),
    #[error("cannot use the authorities of clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    #[error("cannot use the certificate and its key")]
    Setup(#[from] rustls::Error),
}

/// Why a certificate names nobody.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum NameError {
    #[error("there is no certificate")]
    Missing,
    #[error("the certificate cannot be read")]
    Unreadable,
    #[error("the subject has not exactly one common name")]
    NotOne,
    #[error("the common name is no plain text")]
    NotText,
}

/// Returns what accepts clients with a certificate of the authorities, no others.
///
/// # Errors
/// When a file cannot be read or used.
pub(super) fn acceptor(files: TlsFiles<'_>) -> Result<TlsAcceptor, TlsError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(files.ca)? {
        roots.add(certificate)?;
    }
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build()?;
    let content = read_bounded(files.key, FILE_LIMIT_BYTES)?;
    let key = PrivateKeyDer::from_pem_slice(&content).map_err(|source| TlsError::Pem {
        path: files.key.clone(),
        source,
    })?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(files.certificate)?, key)?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let content = read_bounded(path, FILE_LIMIT_BYTES)?;
    let found: Vec<_> = CertificateDer::pem_slice_iter(&content)
        .collect::<Result<_, _>>()
        .map_err(|source| TlsError::Pem {
            path: path.to_owned(),
            source,
        })?;
    match found.is_empty() {
        true => Err(TlsError::Empty(path.to_owned())),
        false => Ok(found),
    }
}

/// Returns the common name of a client's certificate, the first of its chain,
/// which has been verified.
///
/// # Errors
/// For one with no common name or several: which one a rule means would be a guess.
pub(super) fn common_name(chain: &[CertificateDer<'_>]) -> Result<String, NameError> {
    let certificate = chain.first().ok_or(NameError::Missing)?;
    let parsed = webpki::EndEntityCert::try_from(certificate).map_err(|_| NameError::Unreadable)?;
    common_name_of(parsed.subject())
}

/// Reads a `Name` of X.509 without its own tag: sets of pairs of an identifier
/// and a value.
fn common_name_of(subject: &[u8]) -> Result<String, NameError> {
    let mut found = Vec::new();
    let mut sets = subject;
    while !sets.is_empty() {
        let mut pairs = take_tagged(&mut sets, SET)?;
        while !pairs.is_empty() {
            let mut pair = take_tagged(&mut pairs, SEQUENCE)?;
            let identifier = take_tagged(&mut pair, OBJECT_IDENTIFIER)?;
            let (tag, value) = take(&mut pair).ok_or(NameError::Unreadable)?;
            if identifier == COMMON_NAME {
                found.push((tag, value));
            }
        }
    }
    let [(tag, value)] = found[..] else {
        return Err(NameError::NotOne);
    };
    let text = std::str::from_utf8(value).map_err(|_| NameError::NotText)?;
    let is_text = matches!(tag, UTF8_STRING | PRINTABLE_STRING | IA5_STRING);
    match is_text && !text.is_empty() && !text.contains(char::is_control) {
        true => Ok(text.to_owned()),
        false => Err(NameError::NotText),
    }
}

fn take_tagged<'a>(input: &mut &'a [u8], expected: u8) -> Result<&'a [u8], NameError> {
    match take(input) {
        Some((tag, value)) if tag == expected => Ok(value),
        _ => Err(NameError::Unreadable),
    }
}

/// Takes one value of DER off: its tag and content.
fn take<'a>(input: &mut &'a [u8]) -> Option<(u8, &'a [u8])> {
    let (&[tag, first], mut rest) = input.split_first_chunk::<2>()?;
    let length = match first {
        0..=0x7f => usize::from(first),
        0x81 | 0x82 => {
            let (digits, after) = rest.split_at_checked(usize::from(first - 0x80))?;
            rest = after;
            digits
                .iter()
                .fold(0, |sum, digit| sum << 8 | usize::from(*digit))
        }
        _ => return None,
    };
    let (value, rest) = rest.split_at_checked(length)?;
    *input = rest;
    Some((tag, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tagged(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u8::try_from(content.len()).unwrap();
        let head: &[u8] = if length < 0x80 {
            &[length]
        } else {
            &[0x81, length]
        };
        [&[tag], head, content].concat()
    }

    fn name(identifier: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        let pair = [tagged(OBJECT_IDENTIFIER, identifier), tagged(tag, value)].concat();
        tagged(SET, &tagged(SEQUENCE, &pair))
    }

    #[test]
    fn the_common_name_is_found_among_others() {
        let organisation = name(&[0x55, 0x04, 0x0a], UTF8_STRING, b"ci");
        let long = "x".repeat(200);
        for text in ["ci", "a user", long.as_str()] {
            let subject = [
                organisation.clone(),
                name(COMMON_NAME, UTF8_STRING, text.as_bytes()),
            ];
            assert_eq!(common_name_of(&subject.concat()).as_deref(), Ok(text));
        }
    }

    #[test]
    fn a_subject_that_leaves_doubt_names_nobody() {
        let good = name(COMMON_NAME, UTF8_STRING, b"ci");
        let twice = [good.clone(), name(COMMON_NAME, UTF8_STRING, b"root")].concat();
        assert_eq!(common_name_of(&twice), Err(NameError::NotOne));
        assert_eq!(common_name_of(b""), Err(NameError::NotOne));
        let zero = name(COMMON_NAME, UTF8_STRING, b"root\0.evil");
        assert_eq!(common_name_of(&zero), Err(NameError::NotText));
        let wide = name(COMMON_NAME, 0x1e, b"\0c\0i");
        assert_eq!(common_name_of(&wide), Err(NameError::NotText));
        for end in 1..good.len() {
            assert!(common_name_of(&good[..end]).is_err(), "{end}");
        }
        assert_eq!(common_name(&[]), Err(NameError::Missing));
    }
}
