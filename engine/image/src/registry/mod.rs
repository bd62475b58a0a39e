//! A registry's API, as far as pulling needs it: manifests and blobs.
//!
//! Every answer is bounded, every credential stays with the registry and the
//! repository it was given for. Content is verified by whoever receives it.

mod auth;
mod challenge;
mod mirror;
mod origin;
mod tls;
mod transport;

use std::sync::Mutex;

use base::Digest;
use hyper::StatusCode;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue, RANGE};
use serde::Deserialize;

pub use auth::Credential;
pub use mirror::Mirror;
pub use tls::TlsError;
pub use transport::Trust;

pub(crate) use transport::Answer;

use auth::Applicant;
use origin::{Origin, Scheme, Url};
use transport::{Ask, Transport};

use crate::manifest::{self, MAX_MANIFEST};
use crate::reference::{DEFAULT_DOMAIN, Reference};

/// Docker Hub's registry does not have the name images are given.
const HUB: &str = "registry-1.docker.io";
const MAX_REDIRECTS: usize = 10;
const MAX_ERROR_BODY: u64 = 64 << 10;

/// Says which step of talking to a registry failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
#[expect(missing_docs, reason = "each message says what the variant is")]
pub enum RegistryError {
    #[error("invalid registry address {0:?}")]
    Address(String),
    #[error("cannot connect to {origin}")]
    Connect {
        origin: String,
        #[source]
        source: std::io::Error,
    },
    #[error("cannot set up tls with {origin}")]
    Handshake {
        origin: String,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("gave up waiting to {action} {origin}")]
    Timeout {
        action: &'static str,
        origin: String,
    },
    #[error("cannot talk http with {origin}")]
    Http {
        origin: String,
        #[source]
        source: hyper::Error,
    },
    #[error("the answer of {origin} is longer than {limit} bytes")]
    TooLong { origin: String, limit: u64 },
    #[error("{origin} answered {status}{detail}")]
    Status {
        origin: String,
        status: StatusCode,
        detail: String,
    },
    #[error("not found{0}")]
    NotFound(String),
    #[error("access denied: {0}")]
    Denied(String),
    #[error("{0} refuses the request but names no way to log in that this engine knows")]
    Challenge(String),
    #[error("invalid token server {0:?}")]
    Realm(String),
    #[error("refusing to ask {0} for a token: it is not reached by https")]
    PlainRealm(String),
    #[error("cannot parse the answer of {origin}")]
    Answer {
        origin: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("{0} answered without a token")]
    NoToken(String),
    #[error("the credentials hold characters that cannot be sent")]
    Secret,
    #[error("{from} redirects to {to:?}, which is not followed")]
    Redirect { from: String, to: String },
    #[error("{0} redirects more than {MAX_REDIRECTS} times")]
    Redirects(String),
    #[error("{0} is not a registry")]
    NotARegistry(String),
    #[error("{origin} sent other bytes of the blob than asked for")]
    Range { origin: String },
}

impl RegistryError {
    /// Returns whether the same request may succeed a little later.
    pub fn is_transient(&self) -> bool {
        match self {
            Self::Connect { .. }
            | Self::Timeout { .. }
            | Self::Http { .. }
            | Self::Range { .. } => true,
            Self::Status { status, .. } => status.is_server_error() || status.as_u16() == 429,
            _ => false,
        }
    }
}

/// One repository of a registry that answered.
#[derive(Debug)]
pub(crate) struct Repository {
    origin: Origin,
    path: String,
    credential: Option<Credential>,
    transport: Transport,
    authorization: Mutex<Option<HeaderValue>>,
    /// One log-in at a time.
    login: tokio::sync::Mutex<()>,
}

/// How to reach and use a registry.
#[derive(Debug, Clone, Default)]
pub struct RegistryAccess {
    /// What the user logged in with.
    pub credential: Option<Credential>,
    /// Whether the registry must prove who it is.
    pub trust: Trust,
    /// A directory of `<host[:port]>/*.crt` with further authorities.
    pub certificates: Option<std::path::PathBuf>,
    /// Asked before the registry, in this order.
    pub mirrors: Vec<Mirror>,
}

/// Bytes of a blob from some offset on.
#[derive(Debug)]
pub(crate) struct BlobStream {
    pub(crate) answer: Answer,
    pub(crate) offset: u64,
}

impl Repository {
    /// Finds out how the registry of `reference` is reached.
    pub(crate) async fn connect(
        reference: &Reference,
        access: &RegistryAccess,
    ) -> Result<Self, RegistryError> {
        let transport = Transport::new(access.trust, access.certificates.clone());
        let domain = match reference.domain() {
            DEFAULT_DOMAIN => HUB,
            other => other,
        };
        let origin = |scheme| {
            Origin::new(scheme, domain).ok_or_else(|| RegistryError::Address(domain.to_owned()))
        };
        let secure = origin(Scheme::Https)?;
        let found = match ping(&transport, &secure).await {
            Err(error) if transport.accepts_insecure(&secure) => {
                tracing::debug!(%error, registry = domain, "no tls, trying plain http");
                let plain = origin(Scheme::Http)?;
                ping(&transport, &plain).await.map(|()| plain)
            }
            other => other.map(|()| secure),
        };
        Ok(Self::at(
            found?,
            reference,
            access.credential.clone(),
            transport,
        ))
    }

    /// Finds out whether a mirror answers; it gets no credential.
    pub(crate) async fn connect_mirror(
        reference: &Reference,
        mirror: &Mirror,
        access: &RegistryAccess,
    ) -> Result<Self, RegistryError> {
        let transport = Transport::new(Trust::Verified, access.certificates.clone());
        ping(&transport, &mirror.0).await?;
        Ok(Self::at(mirror.0.clone(), reference, None, transport))
    }

    fn at(
        origin: Origin,
        reference: &Reference,
        credential: Option<Credential>,
        transport: Transport,
    ) -> Self {
        Self {
            origin,
            path: reference.path().to_owned(),
            credential,
            transport,
            authorization: Mutex::new(None),
            login: tokio::sync::Mutex::new(()),
        }
    }

    /// Returns the bytes of the manifest with this tag or digest.
    pub(crate) async fn manifest(&self, reference: &str) -> Result<Vec<u8>, RegistryError> {
        let mut ask = Ask::default();
        ask.headers
            .insert(ACCEPT, HeaderValue::from_static(manifest::ACCEPT));
        let path = format!("/v2/{}/manifests/{reference}", self.path);
        let answer = self.get(path, ask).await?;
        answer.body(MAX_MANIFEST).await
    }

    /// Returns a blob that is not longer than `limit`.
    pub(crate) async fn small_blob(
        &self,
        digest: &Digest,
        limit: u64,
    ) -> Result<Vec<u8>, RegistryError> {
        self.blob(digest, 0).await?.answer.body(limit).await
    }

    /// Begins to fetch a blob at `offset`; the server may begin at 0 instead.
    pub(crate) async fn blob(
        &self,
        digest: &Digest,
        offset: u64,
    ) -> Result<BlobStream, RegistryError> {
        let mut ask = Ask::default();
        if offset > 0 {
            let range = format!("bytes={offset}-");
            ask.headers
                .insert(RANGE, HeaderValue::try_from(range).expect("digits only"));
        }
        let answer = self
            .get(format!("/v2/{}/blobs/{digest}", self.path), ask)
            .await?;
        let offset = match answer.status {
            StatusCode::PARTIAL_CONTENT => {
                let range = answer.header("content-range").and_then(range_start);
                let origin = answer.from.to_string();
                range
                    .filter(|start| *start == offset)
                    .ok_or(RegistryError::Range { origin })?
            }
            _ => 0,
        };
        Ok(BlobStream { answer, offset })
    }

    async fn get(&self, path: String, mut ask: Ask) -> Result<Answer, RegistryError> {
        let url = self.origin.at(path);
        let used = self.authorization();
        let answer = self.follow(url.clone(), &mut ask, used.as_ref()).await?;
        if answer.status != StatusCode::UNAUTHORIZED || answer.from != self.origin {
            return check(answer).await;
        }
        let fresh = self.log_in(used.as_ref(), &answer).await?;
        drop(answer);
        check(self.follow(url, &mut ask, Some(&fresh)).await?).await
    }

    fn authorization(&self) -> Option<HeaderValue> {
        self.lock().clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<HeaderValue>> {
        self.authorization
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Returns a proof newer than `used`, which was refused.
    async fn log_in(
        &self,
        used: Option<&HeaderValue>,
        refusal: &Answer,
    ) -> Result<HeaderValue, RegistryError> {
        let _turn = self.login.lock().await;
        if let Some(current) = self.authorization().filter(|current| Some(current) != used) {
            return Ok(current);
        }
        let applicant = Applicant {
            registry: &self.origin,
            repository: &self.path,
            credential: self.credential.as_ref(),
        };
        let fresh = applicant.authorize(&self.transport, refusal).await?;
        *self.lock() = Some(fresh.clone());
        Ok(fresh)
    }

    /// Sends the request and follows redirects, the proof going to the registry only.
    async fn follow(
        &self,
        mut url: Url,
        ask: &mut Ask,
        proof: Option<&HeaderValue>,
    ) -> Result<Answer, RegistryError> {
        for _ in 0..=MAX_REDIRECTS {
            ask.headers.remove(AUTHORIZATION);
            if let Some(proof) = proof.filter(|_| url.origin == self.origin) {
                ask.headers.insert(AUTHORIZATION, proof.clone());
            }
            let answer = self.transport.send(&url, ask).await?;
            if !matches!(answer.status.as_u16(), 301 | 302 | 303 | 307 | 308) {
                return Ok(answer);
            }
            let location = answer.header("location").unwrap_or_default();
            let refused = || RegistryError::Redirect {
                from: url.to_string(),
                to: location
                    .split('?')
                    .next()
                    .unwrap_or_default()
                    .chars()
                    .take(256)
                    .collect(),
            };
            let next = url.join(location).ok_or_else(refused)?;
            if url.origin.scheme == Scheme::Https && next.origin.scheme == Scheme::Http {
                return Err(refused());
            }
            url = next;
        }
        Err(RegistryError::Redirects(self.origin.to_string()))
    }
}

/// Returns if `origin` speaks the registry API, be it only to refuse.
async fn ping(transport: &Transport, origin: &Origin) -> Result<(), RegistryError> {
    let answer = transport
        .send(&origin.at("/v2/".to_owned()), &Ask::default())
        .await?;
    match answer.status.as_u16() {
        200 | 401 | 403 => Ok(()),
        _ if answer.status.is_server_error() => Err(RegistryError::Status {
            origin: origin.to_string(),
            status: answer.status,
            detail: String::new(),
        }),
        // Some mirrors answer /v2/ with a page or a redirect but do serve images.
        _ if answer.header("docker-distribution-api-version").is_some() => Ok(()),
        300..=399 => Ok(()),
        _ => Err(RegistryError::NotARegistry(origin.to_string())),
    }
}

#[derive(Deserialize)]
struct ErrorBody {
    errors: Vec<ErrorEntry>,
}

#[derive(Deserialize)]
struct ErrorEntry {
    #[serde(default)]
    code: String,
    #[serde(default)]
    message: String,
}

/// Returns a good answer, or what the registry says is wrong.
async fn check(answer: Answer) -> Result<Answer, RegistryError> {
    let status = answer.status;
    if status.is_success() {
        return Ok(answer);
    }
    let origin = answer.from.to_string();
    let body = answer.body(MAX_ERROR_BODY).await.unwrap_or_default();
    let detail = explain(&body);
    Err(match status.as_u16() {
        404 => RegistryError::NotFound(detail),
        401 | 403 => RegistryError::Denied(format!("{origin} answered {status}{detail}")),
        _ => RegistryError::Status {
            origin,
            status,
            detail,
        },
    })
}

fn explain(body: &[u8]) -> String {
    let parsed = serde_json::from_slice::<ErrorBody>(body).ok();
    let Some(first) = parsed.and_then(|body| body.errors.into_iter().next()) else {
        return String::new();
    };
    let code = first.code.to_lowercase().replace('_', " ");
    let text: String = format!(": {code}: {}", first.message);
    text.chars().filter(|c| !c.is_control()).take(500).collect()
}

/// Returns the first position of `bytes 5-9/10`.
fn range_start(header: &str) -> Option<u64> {
    header
        .strip_prefix("bytes ")?
        .split('-')
        .next()?
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_explains_itself_in_few_words() {
        let body = br#"{"errors":[{"code":"MANIFEST_UNKNOWN","message":"no\u001b[31m such","detail":{}}]}"#;
        assert_eq!(explain(body), ": manifest unknown: no[31m such");
        assert_eq!(explain(b"<html>"), "");
    }

    #[test]
    fn ranges_are_read() {
        assert_eq!(range_start("bytes 5-9/10"), Some(5));
        assert_eq!(range_start("items 5-9/10"), None);
    }
}
