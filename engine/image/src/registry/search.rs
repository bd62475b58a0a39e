//! Searching for repositories, by the older interface of registries that still
//! is the only one for it: `/v1/search`.

use hyper::StatusCode;
use hyper::header::AUTHORIZATION;
use serde::{Deserialize, Serialize};

use super::auth::{basic, secret_header};
use super::origin::{Origin, Scheme, query_escape};
use super::transport::{Answer, Ask, Transport};
use super::{Credential, RegistryAccess, RegistryError};

/// Where Docker Hub is searched.
const HUB: &str = "index.docker.io";
const MAX_ANSWER: u64 = 4 << 20;

/// Says why a search failed.
#[derive(Debug, thiserror::Error)]
pub enum SearchError {
    /// Neither way leads to a registry.
    #[error(
        "invalid registry endpoint \"{plain}/v1/\". HTTPS attempt: {first}. HTTP attempt: {second}"
    )]
    Endpoint {
        /// The registry without TLS.
        plain: String,
        /// What went wrong with TLS.
        first: String,
        /// What went wrong without.
        second: String,
    },
    /// The registry cannot search, or does not want to.
    #[error("Unexpected status code {0}")]
    Status(u16),
    /// Talking to the registry failed.
    #[error(transparent)]
    Registry(#[from] RegistryError),
}

/// A repository that was found.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SearchResult {
    /// How many like it.
    pub star_count: i64,
    /// Whether the registry's own people look after it.
    pub is_official: bool,
    /// Its name.
    pub name: String,
    /// No longer says anything.
    pub is_automated: bool,
    /// What it is, in a line.
    pub description: String,
}

#[derive(Deserialize)]
struct Found {
    #[serde(default)]
    results: Vec<SearchResult>,
}

/// Searches `registry`, `host[:port]`, or Docker Hub if it is `None`; returns at
/// most `limit` repositories.
///
/// # Errors
/// When the registry cannot be reached or has no such interface.
pub async fn search(
    registry: Option<&str>,
    term: &str,
    limit: usize,
    access: &RegistryAccess,
) -> Result<Vec<SearchResult>, SearchError> {
    let transport = Transport::new(access.trust, access.certificates.clone());
    let domain = registry.unwrap_or(HUB);
    let path = format!("/v1/search?q={}&n={limit}", query_escape(term));
    let answer = ask(&transport, domain, &path, access.credential.as_ref()).await?;
    if answer.status != StatusCode::OK {
        return Err(SearchError::Status(answer.status.as_u16()));
    }
    let origin = answer.from.to_string();
    let body = answer.body(MAX_ANSWER).await?;
    let found: Found =
        serde_json::from_slice(&body).map_err(|source| RegistryError::Answer { origin, source })?;
    Ok(found.results.into_iter().take(limit).collect())
}

async fn ask(
    transport: &Transport,
    domain: &str,
    path: &str,
    credential: Option<&Credential>,
) -> Result<Answer, SearchError> {
    let origin = |scheme| {
        let origin = Origin::new(scheme, domain);
        origin.ok_or_else(|| RegistryError::Address(domain.to_owned()))
    };
    let secure = origin(Scheme::Https)?;
    let first = match send(transport, &secure, path, credential).await {
        Err(error) if transport.accepts_insecure(&secure) => error,
        other => return Ok(other?),
    };
    let plain = origin(Scheme::Http)?;
    let second = send(transport, &plain, path, credential).await;
    second.map_err(|second| SearchError::Endpoint {
        plain: plain.to_string(),
        first: base::failure::chain(&first),
        second: base::failure::chain(&second),
    })
}

async fn send(
    transport: &Transport,
    origin: &Origin,
    path: &str,
    credential: Option<&Credential>,
) -> Result<Answer, RegistryError> {
    let mut ask = Ask::default();
    if let Some(Credential::Basic { username, password }) = credential {
        let proof = secret_header(&basic(username, password))?;
        ask.headers.insert(AUTHORIZATION, proof);
    }
    transport.send(&origin.at(path.to_owned()), &ask).await
}
