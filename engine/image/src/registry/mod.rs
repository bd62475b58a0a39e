//! A registry's API: manifests, blobs, tags, logging in, searching.
//!
//! Every answer is bounded, every credential stays with the registry and the
//! repository it was given for. Content is verified by whoever receives it.

mod auth;
mod challenge;
mod error;
mod login;
mod mirror;
mod origin;
mod search;
mod tags;
mod tls;
mod transport;
mod upload;

use std::sync::Mutex;

use base::Digest;
use hyper::header::{ACCEPT, AUTHORIZATION, HeaderValue, RANGE};
use hyper::{Method, StatusCode};

pub use auth::Credential;
pub use error::RegistryError;
pub use login::log_in;
pub use mirror::Mirror;
pub use search::{SearchError, SearchResult, search};
pub use tls::TlsError;
pub use transport::Trust;

pub(crate) use transport::{Answer, Outgoing};
pub(crate) use upload::{Begun, Session};

use auth::{Applicant, Purpose};
use error::check;
use origin::{Origin, Scheme, Url};
use transport::{Ask, Transport};

use crate::manifest::{self, MAX_MANIFEST};
use crate::reference::{DEFAULT_DOMAIN, Reference};

/// Docker Hub's registry does not have the name images are given.
const HUB: &str = "registry-1.docker.io";
const MAX_REDIRECTS: usize = 10;

/// What is done with a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Use {
    Pull,
    Push,
}

/// One repository of a registry that answered.
#[derive(Debug)]
pub(crate) struct Repository {
    origin: Origin,
    path: String,
    purpose: Use,
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
        purpose: Use,
    ) -> Result<Self, RegistryError> {
        let transport = Transport::new(access.trust, access.certificates.clone());
        let found = find(&transport, reference.domain()).await?;
        let credential = access.credential.clone();
        let repository = Self::at(found, reference, credential, transport);
        Ok(Self {
            purpose,
            ..repository
        })
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
            purpose: Use::Pull,
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

    async fn get(&self, path: String, ask: Ask) -> Result<Answer, RegistryError> {
        check(self.ask(self.origin.at(path), ask).await?).await
    }

    /// Sends a request, again with a proof if one is asked for; returns whatever
    /// is answered.
    async fn ask(&self, url: Url, mut ask: Ask) -> Result<Answer, RegistryError> {
        let used = self.authorization();
        let answer = self.follow(url.clone(), &mut ask, used.as_ref()).await?;
        if answer.status != StatusCode::UNAUTHORIZED || answer.from != self.origin {
            return Ok(answer);
        }
        let fresh = self.log_in(used.as_ref(), &answer, &ask.method, &url);
        let fresh = fresh.await?;
        drop(answer);
        self.follow(url, &mut ask, Some(&fresh)).await
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
        method: &Method,
        url: &Url,
    ) -> Result<HeaderValue, RegistryError> {
        let _turn = self.login.lock().await;
        if let Some(current) = self.authorization().filter(|current| Some(current) != used) {
            return Ok(current);
        }
        let applicant = self.applicant(None);
        let fresh = applicant.authorize(&self.transport, refusal).await;
        let fresh = fresh.map_err(|error| match error {
            RegistryError::NoCredentials { .. } => RegistryError::NoCredentials {
                request: format!("{} \"{url}\"", in_words(method)),
            },
            other => other,
        })?;
        *self.lock() = Some(fresh.header.clone());
        Ok(fresh.header)
    }

    /// Returns who asks for a proof, which is to be good for reading `other` as well.
    fn applicant(&self, other: Option<&str>) -> Applicant<'_> {
        let actions = match self.purpose {
            Use::Pull => "pull",
            Use::Push => "pull,push",
        };
        let mut scopes = vec![format!("repository:{}:{actions}", self.path)];
        scopes.extend(other.map(|other| format!("repository:{other}:pull")));
        Applicant {
            registry: &self.origin,
            scopes,
            credential: self.credential.as_ref(),
            purpose: Purpose::Repository,
        }
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
            let is_reading = matches!(ask.method, Method::GET | Method::HEAD);
            match answer.status.as_u16() {
                307 | 308 => {}
                301..=303 if is_reading => {}
                _ => return Ok(answer),
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

/// Returns how the registry that images call `domain` is reached.
async fn find(transport: &Transport, domain: &str) -> Result<Origin, RegistryError> {
    let domain = match domain {
        DEFAULT_DOMAIN => HUB,
        other => other,
    };
    let origin = |scheme| {
        Origin::new(scheme, domain).ok_or_else(|| RegistryError::Address(domain.to_owned()))
    };
    let secure = origin(Scheme::Https)?;
    match ping(transport, &secure).await {
        Err(error) if transport.accepts_insecure(&secure) => {
            tracing::debug!(%error, registry = domain, "no tls, trying plain http");
            let plain = origin(Scheme::Http)?;
            ping(transport, &plain).await.map(|()| plain)
        }
        other => other.map(|()| secure),
    }
}

/// Returns a method as Docker's messages name it.
fn in_words(method: &Method) -> String {
    let (first, rest) = method.as_str().split_at(1);
    format!("{first}{}", rest.to_lowercase())
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
    fn ranges_are_read() {
        assert_eq!(range_start("bytes 5-9/10"), Some(5));
        assert_eq!(range_start("items 5-9/10"), None);
    }
}
