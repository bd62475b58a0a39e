//! Proofs for a registry: basic, or a token from the server the registry names.
//!
//! A proof is made for one registry and one repository and goes nowhere else.
//! A user's own secret is sent in the clear only to a registry that is itself
//! spoken to in the clear.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyper::Method;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderValue};
use serde::Deserialize;

use super::RegistryError;
use super::challenge::{Challenge, parse};
use super::error::{MAX_ERROR_BODY, explain, unauthorized};
use super::origin::{Origin, Scheme, Url, query_escape};
use super::transport::{Answer, Ask, Transport};

const MAX_TOKEN_ANSWER: u64 = 256 << 10;
const CLIENT_ID: &str = "engine";

/// What a user gave to log in to a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credential {
    /// A name and a password.
    Basic {
        /// The name.
        username: String,
        /// The password.
        password: String,
    },
    /// A refresh token of an earlier login.
    IdentityToken(String),
    /// A token for the registry itself.
    RegistryToken(String),
}

impl std::fmt::Debug for Credential {
    /// Prints the kind only.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(…)",
            Self::IdentityToken(_) => "IdentityToken(…)",
            Self::RegistryToken(_) => "RegistryToken(…)",
        })
    }
}

/// Who asks for what.
#[derive(Debug)]
pub(super) struct Applicant<'a> {
    pub(super) registry: &'a Origin,
    /// What a token is to be good for, such as `repository:a/b:pull`.
    pub(super) scopes: Vec<String>,
    pub(super) credential: Option<&'a Credential>,
    pub(super) purpose: Purpose,
}

/// What a proof is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// One use of a repository.
    Repository,
    /// Logging in, whose result is kept: in place of a password if the server has that.
    Login,
}

/// What was granted.
#[derive(Debug)]
pub(super) struct Grant {
    /// The `Authorization` to send.
    pub(super) header: HeaderValue,
    /// The token to log in with later.
    pub(super) identity_token: Option<String>,
}

#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    refresh_token: Option<String>,
}

impl Applicant<'_> {
    /// Returns the `Authorization` that answers the challenges of a refusal.
    pub(super) async fn authorize(
        &self,
        transport: &Transport,
        refusal: &Answer,
    ) -> Result<Grant, RegistryError> {
        let headers = refusal.headers.get_all("www-authenticate");
        let challenges: Vec<Challenge> = headers
            .iter()
            .filter_map(|h| h.to_str().ok())
            .flat_map(parse)
            .collect();
        let find = |scheme: &str| challenges.iter().find(|c| c.scheme == scheme);
        if let Some(Credential::RegistryToken(token)) = self.credential {
            return Grant::of(&format!("Bearer {token}"));
        }
        if let Some(bearer) = find("bearer") {
            return self.token(transport, bearer).await;
        }
        match (find("basic"), self.credential) {
            (Some(_), Some(Credential::Basic { username, password })) => {
                Grant::of(&basic(username, password))
            }
            (Some(_), _) => Err(RegistryError::NoCredentials {
                request: self.registry.to_string(),
            }),
            (None, _) => Err(RegistryError::Challenge(self.registry.to_string())),
        }
    }

    async fn token(
        &self,
        transport: &Transport,
        challenge: &Challenge,
    ) -> Result<Grant, RegistryError> {
        let realm = challenge.get("realm").unwrap_or_default();
        let realm = Url::parse(realm).ok_or_else(|| RegistryError::Realm(realm.to_owned()))?;
        self.check_realm(&realm)?;
        let answer = self.ask_for_token(transport, challenge, realm).await?;
        let from = answer.from.to_string();
        if !answer.status.is_success() {
            return Err(refusal_of(answer).await);
        }
        let body = answer.body(MAX_TOKEN_ANSWER).await?;
        let parsed: TokenAnswer =
            serde_json::from_slice(&body).map_err(|source| RegistryError::Answer {
                origin: from.clone(),
                source,
            })?;
        let token = parsed
            .token
            .or(parsed.access_token)
            .filter(|t| !t.is_empty());
        let token = token.ok_or(RegistryError::NoToken(from))?;
        Ok(Grant {
            identity_token: parsed.refresh_token.filter(|t| !t.is_empty()),
            ..Grant::of(&format!("Bearer {token}"))?
        })
    }

    /// Refuses a realm that would let a secret, or the choice of token, be read on the way.
    fn check_realm(&self, realm: &Url) -> Result<(), RegistryError> {
        let is_plain = realm.origin.scheme == Scheme::Http;
        let is_foreign = realm.origin != *self.registry;
        let is_downgrade = self.registry.scheme == Scheme::Https;
        if is_plain && (is_downgrade || (is_foreign && self.credential.is_some())) {
            return Err(RegistryError::PlainRealm(realm.to_string()));
        }
        Ok(())
    }

    /// Returns what the token is to be good for. Our own scopes, not the
    /// challenge's: a token for more is not wanted.
    fn query(&self, challenge: &Challenge) -> String {
        let mut all: Vec<(&str, &str)> = Vec::new();
        all.extend(challenge.get("service").map(|service| ("service", service)));
        all.extend(self.scopes.iter().map(|scope| ("scope", scope.as_str())));
        let escaped: Vec<String> = all
            .iter()
            .map(|(name, value)| format!("{name}={}", query_escape(value)))
            .collect();
        escaped.join("&")
    }

    async fn ask_for_token(
        &self,
        transport: &Transport,
        challenge: &Challenge,
        realm: Url,
    ) -> Result<Answer, RegistryError> {
        let mut query = self.query(challenge);
        let mut ask = Ask::default();
        if let Some(Credential::IdentityToken(token)) = self.credential {
            ask.method = Method::POST;
            let form = HeaderValue::from_static("application/x-www-form-urlencoded");
            ask.headers.insert(CONTENT_TYPE, form);
            let token = query_escape(token);
            let grant = format!("grant_type=refresh_token&client_id={CLIENT_ID}");
            ask.body = Bytes::from(format!("{grant}&refresh_token={token}&{query}"));
            return transport.send(&realm, &ask).await;
        }
        if self.purpose == Purpose::Login {
            query = format!("client_id={CLIENT_ID}&offline_token=true&{query}");
        }
        if let Some(Credential::Basic { username, password }) = self.credential {
            query = format!("account={}&{query}", query_escape(username));
            ask.headers
                .insert(AUTHORIZATION, secret_header(&basic(username, password))?);
        }
        let separator = if realm.path.contains('?') { '&' } else { '?' };
        let path = format!("{}{separator}{query}", realm.path);
        transport.send(&realm.origin.at(path), &ask).await
    }
}

impl Grant {
    fn of(header: &str) -> Result<Self, RegistryError> {
        Ok(Self {
            header: secret_header(header)?,
            identity_token: None,
        })
    }
}

/// Returns why a server of tokens issued none.
async fn refusal_of(answer: Answer) -> RegistryError {
    let (origin, status) = (answer.from.to_string(), answer.status);
    let body = answer.body(MAX_ERROR_BODY).await.unwrap_or_default();
    let detail = explain(&body);
    match status.as_u16() {
        401 => unauthorized(&detail),
        400 | 402 | 403 => {
            RegistryError::Denied(format!("{origin} refused to issue a token ({status})"))
        }
        _ => RegistryError::Status {
            origin,
            status,
            detail,
        },
    }
}

/// Returns the `Authorization` of a name and a password.
pub(super) fn basic(username: &str, password: &str) -> String {
    format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    )
}

pub(super) fn secret_header(text: &str) -> Result<HeaderValue, RegistryError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| RegistryError::Secret)?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(registry: &str, realm: &str, credential: Option<&Credential>) -> bool {
        let registry = Url::parse(registry).unwrap().origin;
        let applicant = Applicant {
            registry: &registry,
            scopes: Vec::new(),
            credential,
            purpose: Purpose::Repository,
        };
        applicant.check_realm(&Url::parse(realm).unwrap()).is_ok()
    }

    #[test]
    fn secrets_never_go_to_a_foreign_realm_in_the_clear() {
        let secret = Credential::IdentityToken("x".to_owned());
        let secret = Some(&secret);
        assert!(allowed("https://r.io/", "https://auth.io/t", secret));
        assert!(allowed(
            "http://localhost:5000/",
            "http://localhost:5000/t",
            secret
        ));
        assert!(!allowed(
            "http://localhost:5000/",
            "http://localhost:5001/t",
            secret
        ));
        assert!(!allowed("http://r.io/", "http://auth.io/t", secret));
        assert!(allowed("http://r.io/", "http://auth.io/t", None));
        assert!(!allowed("https://r.io/", "http://r.io/t", None));
    }

    #[test]
    fn credentials_do_not_print_their_secret() {
        let credential = Credential::Basic {
            username: "u".into(),
            password: "hunter2".into(),
        };
        assert!(!format!("{credential:?}").contains("hunter2"));
    }
}
