//! Everything done with registries: images from them and to them, logging in,
//! searching, looking a name up.
//!
//! A credential is used for the one request it came with and written nowhere.

pub mod pull;
pub mod push;

use base::{Failure, FailureKind};
use engine_api::registry::AuthConfig;
use engine_image::{
    Credential, DEFAULT_DOMAIN, InspectError, Inspected, Reference, RegistryAccess, RegistryError,
    SearchError, SearchResult, Trust,
};

use crate::Engine;
use crate::error::{OrFail as _, Result, invalid, not_found};

/// Where further authorities of registries are, one directory a registry.
const CERTIFICATES: &str = "/etc/engine/certs.d";
/// Progress messages a pull or a push may be ahead of its client; later ones are
/// skipped.
const MESSAGES_AHEAD: usize = 256;
/// What Docker Hub is called where users log in.
const INDEX: &str = "index.docker.io";

/// Returns the credential that `auth` holds, `None` for an anonymous user.
pub fn credential(auth: AuthConfig) -> Option<Credential> {
    if !auth.registry_token.is_empty() {
        return Some(Credential::RegistryToken(auth.registry_token));
    }
    if !auth.identity_token.is_empty() {
        return Some(Credential::IdentityToken(auth.identity_token));
    }
    let (username, password) = (auth.username, auth.password);
    (!username.is_empty()).then_some(Credential::Basic { username, password })
}

/// Returns how a registry is reached.
fn access(engine: &Engine, registry: &str, credential: Option<Credential>) -> RegistryAccess {
    let config = &engine.config;
    let is_insecure = config.insecure_registries.iter().any(|one| one == registry);
    RegistryAccess {
        credential,
        trust: match is_insecure {
            true => Trust::Insecure,
            false => Trust::Verified,
        },
        certificates: Some(CERTIFICATES.into()),
        mirrors: config.mirrors.get(registry).cloned().unwrap_or_default(),
    }
}

/// Asks a registry whether it accepts what `auth` holds; returns the identity token
/// it gives in place of a password, or an empty text.
///
/// # Errors
/// Unauthorized, or as dockerd internal, when it does not; internal when it cannot
/// be asked.
pub async fn log_in(engine: &Engine, auth: AuthConfig) -> Result<String> {
    let registry = registry_of(&auth.server_address)?;
    let access = access(engine, &registry, credential(auth));
    engine_image::log_in(&registry, &access)
        .await
        .map_err(|error| registry_failure(&error))
}

/// Returns the registry of an address such as `https://index.docker.io/v1/`.
fn registry_of(address: &str) -> Result<String> {
    let without = address.strip_prefix("https://");
    let rest = without.or_else(|| address.strip_prefix("http://"));
    let host = rest.unwrap_or(address).split('/').next();
    match host.unwrap_or_default() {
        "" | INDEX => Ok(DEFAULT_DOMAIN.to_owned()),
        // The grammar of references knows what a host is.
        host if format!("{host}/x:y").parse::<Reference>().is_err() => Err(invalid(format!(
            "unable to parse server address: {address:?}"
        ))),
        host => Ok(host.to_owned()),
    }
}

/// Asks a registry what it has under a name.
///
/// # Errors
/// Invalid for a name that is none, not found when it has nothing there.
pub async fn inspect(
    engine: &Engine,
    name: &str,
    credential: Option<Credential>,
) -> Result<Inspected> {
    let reference: Reference = name.parse().or_invalid()?;
    let access = access(engine, reference.domain(), credential);
    let found = engine_image::inspect(&reference, &access).await;
    found.map_err(|error| match error {
        InspectError::Registry(error) => registry_failure(&error),
        other => Failure::from_error(FailureKind::Internal, &other),
    })
}

/// Searches the registry that `term` names before its first slash, or Docker Hub.
///
/// # Errors
/// Invalid for a term with a scheme or a registry that does not answer; internal
/// when it has no search.
pub async fn search(
    engine: &Engine,
    term: &str,
    limit: usize,
    credential: Option<Credential>,
) -> Result<Vec<SearchResult>> {
    if term.contains("://") {
        return Err(invalid(format!(
            "invalid repository name: repository name ({term}) should not have a scheme"
        )));
    }
    let (registry, term) = split_term(term);
    let access = access(engine, registry.unwrap_or(DEFAULT_DOMAIN), credential);
    let found = engine_image::search(registry, term, limit, &access).await;
    found.map_err(|error| match &error {
        SearchError::Registry(error) => registry_failure(error),
        SearchError::Endpoint { .. } => invalid(error),
        _ => Failure::from_error(FailureKind::Internal, &error),
    })
}

/// Splits `host/name`; other names are Docker Hub's.
fn split_term(term: &str) -> (Option<&str>, &str) {
    let is_host = |first: &str| first.contains(['.', ':']) || first == "localhost";
    match term.split_once('/') {
        Some((DEFAULT_DOMAIN | INDEX, name)) => (None, official(name)),
        Some((host, name)) if is_host(host) => (Some(host), name),
        _ => (None, official(term)),
    }
}

fn official(name: &str) -> &str {
    name.strip_prefix("library/").unwrap_or(name)
}

/// Turns a registry's refusal into a failure of the kind that dockerd makes of it.
fn registry_failure(error: &RegistryError) -> Failure {
    match error {
        RegistryError::NotFound(detail) => {
            not_found(detail.strip_prefix(": ").unwrap_or("not found"))
        }
        RegistryError::NoCredentials { request } => {
            Failure::new(FailureKind::Internal, format!("{request}: {error}"))
        }
        RegistryError::Unauthorized(_) => Failure::new(FailureKind::Unauthorized, error),
        RegistryError::Denied(_) => Failure::from_error(FailureKind::Forbidden, error),
        other => Failure::from_error(FailureKind::Internal, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_logins_are_registries() {
        for (address, expected) in [
            ("", "docker.io"),
            ("https://index.docker.io/v1/", "docker.io"),
            ("localhost:5000", "localhost:5000"),
            ("http://registry.test/v2/", "registry.test"),
        ] {
            assert_eq!(registry_of(address).unwrap(), expected, "{address}");
        }
        for bad in ["local host:5001", "a@b", "-x-", "ftp://a.b"] {
            let failure = registry_of(bad).unwrap_err();
            assert_eq!(failure.kind, FailureKind::Invalid, "{bad}");
        }
    }

    #[test]
    fn the_term_of_a_search_may_name_a_registry() {
        assert_eq!(split_term("busybox"), (None, "busybox"));
        assert_eq!(split_term("library/x"), (None, "x"));
        assert_eq!(split_term("a/b"), (None, "a/b"));
        assert_eq!(split_term("localhost/b"), (Some("localhost"), "b"));
        assert_eq!(split_term("r.test:5000/a/b"), (Some("r.test:5000"), "a/b"));
    }
}
