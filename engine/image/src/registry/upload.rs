//! The other direction: blobs and manifests that a registry is given.
//!
//! A blob is asked for first, then mounted from another repository, then sent:
//! in one request where its digest is known, else in a stream that is named once
//! it is over. Nothing here tries twice but for a proof that is asked for.

use base::Digest;
use bytes::Bytes;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use hyper::{Method, StatusCode};

use super::origin::{Scheme, Url, query_escape};
use super::transport::{Answer, Ask, Outgoing};
use super::{RegistryError, Repository, check};

/// How an upload began.
#[derive(Debug)]
pub(crate) enum Begun {
    /// The registry took the blob from the other repository.
    Mounted,
    /// It waits for the bytes.
    Session(Session),
}

/// An upload that has begun, and where it goes on.
#[derive(Debug)]
pub(crate) struct Session(Url);

impl Repository {
    /// Returns whether the repository has a blob.
    pub(crate) async fn has_blob(&self, digest: &Digest) -> Result<bool, RegistryError> {
        let url = self.origin.at(format!("/v2/{}/blobs/{digest}", self.path));
        let ask = Ask {
            method: Method::HEAD,
            ..Ask::default()
        };
        match check(self.ask(url, ask).await?).await {
            Ok(_) => Ok(true),
            Err(RegistryError::NotFound(_)) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Begins an upload.
    pub(crate) async fn begin_upload(&self) -> Result<Session, RegistryError> {
        let url = self.uploads("");
        let answer = check(self.ask(url.clone(), posting()).await?).await?;
        session(&url, &answer)
    }

    /// Asks the registry to take a blob from its repository `from`.
    pub(crate) async fn mount(&self, digest: &Digest, from: &str) -> Result<Begun, RegistryError> {
        let url = self.uploads(&format!("?mount={digest}&from={}", query_escape(from)));
        let mut ask = posting();
        let used = self.authorization();
        let mut answer = self.follow(url.clone(), &mut ask, used.as_ref()).await?;
        if answer.status == StatusCode::UNAUTHORIZED && answer.from == self.origin {
            // For this request only: the proof is good for more than the others need.
            let applicant = self.applicant(Some(from));
            let granted = applicant.authorize(&self.transport, &answer).await?;
            let proof = Some(&granted.header);
            answer = self.follow(url.clone(), &mut ask, proof).await?;
        }
        let answer = check(answer).await?;
        match answer.status {
            StatusCode::CREATED => Ok(Begun::Mounted),
            _ => session(&url, &answer).map(Begun::Session),
        }
    }

    /// Sends a blob whose digest is known.
    pub(crate) async fn send_blob(
        &self,
        session: Session,
        digest: &Digest,
        body: Outgoing,
    ) -> Result<(), RegistryError> {
        let url = named(session, digest);
        let answer = self.send(Method::PUT, &url, body).await?;
        taken(&answer, digest)
    }

    /// Sends bytes whose digest is told afterwards.
    pub(crate) async fn send_bytes(
        &self,
        session: Session,
        body: Outgoing,
    ) -> Result<Session, RegistryError> {
        let answer = self.send(Method::PATCH, &session.0, body).await?;
        self::session(&session.0, &answer)
    }

    /// Ends an upload by saying what was sent.
    pub(crate) async fn end_upload(
        &self,
        session: Session,
        digest: &Digest,
    ) -> Result<(), RegistryError> {
        let ask = Ask {
            method: Method::PUT,
            ..Ask::default()
        };
        let answer = check(self.ask(named(session, digest), ask).await?).await?;
        taken(&answer, digest)
    }

    /// Gives the repository a manifest under a tag.
    pub(crate) async fn put_manifest(
        &self,
        tag: &str,
        media_type: &str,
        bytes: Vec<u8>,
    ) -> Result<(), RegistryError> {
        let url = format!("/v2/{}/manifests/{tag}", self.path);
        let mut ask = Ask {
            method: Method::PUT,
            body: Bytes::from(bytes),
            ..Ask::default()
        };
        let media_type = HeaderValue::try_from(media_type).map_err(|_| RegistryError::Secret)?;
        ask.headers.insert(CONTENT_TYPE, media_type);
        check(self.ask(self.origin.at(url), ask).await?).await?;
        Ok(())
    }

    fn uploads(&self, query: &str) -> Url {
        let path = format!("/v2/{}/blobs/uploads/{query}", self.path);
        self.origin.at(path)
    }

    /// Sends a body that can be sent once only.
    async fn send(
        &self,
        method: Method,
        url: &Url,
        body: Outgoing,
    ) -> Result<Answer, RegistryError> {
        let mut ask = Ask {
            method,
            ..Ask::default()
        };
        let kind = HeaderValue::from_static("application/octet-stream");
        ask.headers.insert(CONTENT_TYPE, kind);
        let used = self.authorization();
        if let Some(proof) = used.clone().filter(|_| url.origin == self.origin) {
            ask.headers.insert(AUTHORIZATION, proof);
        }
        let answer = self.transport.send_body(url, &ask, body).await?;
        if answer.status != StatusCode::UNAUTHORIZED || answer.from != self.origin {
            return check(answer).await;
        }
        let fresh = self.log_in(used.as_ref(), &answer, &ask.method, url);
        if Some(fresh.await?) == used {
            return check(answer).await;
        }
        // The next attempt has the new proof.
        Err(RegistryError::Expired(url.to_string()))
    }
}

fn posting() -> Ask {
    Ask {
        method: Method::POST,
        ..Ask::default()
    }
}

fn session(asked: &Url, answer: &Answer) -> Result<Session, RegistryError> {
    let location = answer.header("location").and_then(|to| asked.join(to));
    let location = location.ok_or_else(|| RegistryError::NoUpload(answer.from.to_string()))?;
    if asked.origin.scheme == Scheme::Https && location.origin.scheme == Scheme::Http {
        let (from, to) = (asked.to_string(), location.to_string());
        return Err(RegistryError::Redirect { from, to });
    }
    Ok(Session(location))
}

fn named(session: Session, digest: &Digest) -> Url {
    let Session(mut url) = session;
    let separator = if url.path.contains('?') { '&' } else { '?' };
    url.path.push(separator);
    url.path.push_str("digest=");
    url.path.push_str(&query_escape(&digest.to_string()));
    url
}

/// Returns if the registry has the blob now, under the name that was meant.
fn taken(answer: &Answer, digest: &Digest) -> Result<(), RegistryError> {
    let expected = digest.to_string();
    match answer.header("docker-content-digest") {
        Some(name) if name != expected => Err(RegistryError::NotTaken {
            origin: answer.from.to_string(),
            expected,
        }),
        _ => Ok(()),
    }
}
