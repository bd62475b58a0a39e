//! Why a registry did not do as it was asked, and what it says of it.

use hyper::StatusCode;
use serde::Deserialize;

use super::challenge::parse;
use super::tags::MAX_TAGS;
use super::transport::Answer;
use super::{MAX_REDIRECTS, TlsError};

pub(super) const MAX_ERROR_BODY: u64 = 64 << 10;

/// What Docker says of a proof that does not reach far enough.
const NO_RIGHTS: &str = "denied: requested access to the resource is denied";

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
    #[error("{0}")]
    Denied(String),
    /// What was given to log in is wrong, or not enough.
    #[error("unauthorized: {0}")]
    Unauthorized(String),
    /// A name and a password are asked for and none were given.
    #[error("no basic auth credentials")]
    NoCredentials { request: String },
    #[error("login attempt to {url} failed with status: {status}")]
    Login { url: String, status: StatusCode },
    #[error("{origin} did not take the blob as {expected}")]
    NotTaken { origin: String, expected: String },
    #[error("{0} began an upload without saying where to")]
    NoUpload(String),
    #[error("the proof for {0} was no longer accepted")]
    Expired(String),
    #[error("{0} lists more than {MAX_TAGS} tags")]
    Tags(String),
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
            | Self::Expired(_)
            | Self::Range { .. } => true,
            Self::Status { status, .. } => status.is_server_error() || status.as_u16() == 429,
            _ => false,
        }
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
pub(super) async fn check(answer: Answer) -> Result<Answer, RegistryError> {
    let status = answer.status;
    if status.is_success() {
        return Ok(answer);
    }
    let origin = answer.from.to_string();
    let lacks_rights = asks_for_more(&answer);
    let body = answer.body(MAX_ERROR_BODY).await.unwrap_or_default();
    let detail = explain(&body);
    Err(match status.as_u16() {
        404 => RegistryError::NotFound(detail),
        401 if lacks_rights => RegistryError::Denied(NO_RIGHTS.to_owned()),
        401 => unauthorized(&detail),
        403 => RegistryError::Denied(match detail.strip_prefix(": ") {
            Some(said) => said.to_owned(),
            None => format!("{origin} answered {status}"),
        }),
        _ => RegistryError::Status {
            origin,
            status,
            detail,
        },
    })
}

/// Returns whether the proof is good but does not reach far enough.
fn asks_for_more(answer: &Answer) -> bool {
    let headers = answer.headers.get_all("www-authenticate").iter();
    let mut challenges = headers.filter_map(|h| h.to_str().ok()).flat_map(parse);
    challenges.any(|challenge| challenge.get("error") == Some("insufficient_scope"))
}

/// Returns the error of a refusal that was explained so.
pub(super) fn unauthorized(detail: &str) -> RegistryError {
    let said = detail.strip_prefix(": unauthorized: ").unwrap_or_default();
    RegistryError::Unauthorized(match said {
        "" => "authentication required".to_owned(),
        said => said.to_owned(),
    })
}

/// Returns what an error's body says, with a colon before it; nothing for other bodies.
pub(super) fn explain(body: &[u8]) -> String {
    let parsed = serde_json::from_slice::<ErrorBody>(body).ok();
    let Some(first) = parsed.and_then(|body| body.errors.into_iter().next()) else {
        return String::new();
    };
    let code = first.code.to_lowercase().replace('_', " ");
    let text: String = format!(": {code}: {}", first.message);
    text.chars().filter(|c| !c.is_control()).take(500).collect()
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
}
