//! Whether a registry accepts what a user logs in with.

use hyper::StatusCode;
use hyper::header::AUTHORIZATION;

use super::auth::{Applicant, Purpose};
use super::transport::{Ask, Transport};
use super::{RegistryAccess, RegistryError, find};

/// Asks the registry `domain`, `host[:port]`, whether it accepts the credential of
/// `access`; returns the identity token it gives in place of a password, or an
/// empty text.
///
/// # Errors
/// `Unauthorized` or `Login` when it does not; others when it cannot be asked.
pub async fn log_in(domain: &str, access: &RegistryAccess) -> Result<String, RegistryError> {
    let transport = Transport::new(access.trust, access.certificates.clone());
    let registry = find(&transport, domain).await?;
    let url = registry.at("/v2/".to_owned());
    let mut ask = Ask::default();
    let refusal = transport.send(&url, &ask).await?;
    if refusal.status.is_success() {
        return Ok(String::new());
    }
    if refusal.status != StatusCode::UNAUTHORIZED {
        let status = refusal.status;
        let url = url.to_string();
        return Err(RegistryError::Login { url, status });
    }
    let applicant = Applicant {
        registry: &registry,
        scopes: Vec::new(),
        credential: access.credential.as_ref(),
        purpose: Purpose::Login,
    };
    let granted = applicant.authorize(&transport, &refusal).await;
    let granted = granted.map_err(|error| match error {
        RegistryError::NoCredentials { .. } => RegistryError::NoCredentials {
            request: format!("Get \"{url}\""),
        },
        other => other,
    })?;
    ask.headers.insert(AUTHORIZATION, granted.header);
    let answer = transport.send(&url, &ask).await?;
    if answer.status != StatusCode::OK {
        let (url, status) = (url.to_string(), answer.status);
        return Err(RegistryError::Login { url, status });
    }
    Ok(granted.identity_token.unwrap_or_default())
}
