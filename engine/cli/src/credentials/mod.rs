//! What the user has logged in to registries with, kept where the `docker` command
//! keeps it: in its configuration file, or with the programs that file names.
//!
//! Nothing here prints, logs or passes a secret as an argument: programs get it on
//! their standard input, the daemon in a header.

mod file;
mod helper;

use std::path::PathBuf;

use base::PathError;
use engine_api::registry::AuthConfig;

pub(crate) use file::ConfigFile;

use crate::context::{Context, Environment};

/// What Docker Hub is called in the file.
pub(crate) const DOCKER_HUB: &str = "https://index.docker.io/v1/";
/// What Docker Hub is called in names of images.
const DOCKER_HUB_DOMAIN: &str = "docker.io";
/// Holds credentials too, as the file has them; they come before the file's.
const VARIABLE: &str = "DOCKER_AUTH_CONFIG";
/// The user name that says that the secret is a token.
const TOKEN_USER: &str = "<token>";

/// Why credentials cannot be had or kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CredentialError {
    #[error("neither DOCKER_CONFIG nor HOME says where credentials are kept")]
    NoHome,
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot parse {path:?}")]
    Parse {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    #[error("{path:?} is not a configuration of docker: {what}")]
    Form { path: PathBuf, what: String },
    #[error("{0:?} cannot be the name of a credential helper")]
    Name(String),
    #[error("cannot run {program}")]
    Run {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} did not answer within {limit_s} s")]
    Late { program: String, limit_s: u64 },
    #[error("error {action} credentials - err: {program} failed, out: `{said}`")]
    Failed {
        program: String,
        action: &'static str,
        said: String,
    },
    #[error("{program} answered something else than credentials")]
    Answer { program: String },
}

/// Returns the file of the user.
///
/// # Errors
/// When the environment does not say where it is.
pub(crate) fn path(context: &Context) -> Result<PathBuf, CredentialError> {
    Ok(directory(&context.environment)?.join("config.json"))
}

/// Returns the directory of the user's configuration.
///
/// # Errors
/// When the environment does not say where it is.
pub(crate) fn directory(environment: &Environment) -> Result<PathBuf, CredentialError> {
    let variable = |name: &str| {
        let value = environment.variables.get(name);
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    };
    let directory = variable("DOCKER_CONFIG").or_else(|| Some(variable("HOME")?.join(".docker")));
    directory.ok_or(CredentialError::NoHome)
}

/// Returns the key under which a registry's credentials are kept, given a host or
/// an address such as `https://host/v1/`.
pub(crate) fn key(server: &str) -> String {
    match server {
        "" | DOCKER_HUB_DOMAIN | DOCKER_HUB => DOCKER_HUB.to_owned(),
        server => hostname(server).to_owned(),
    }
}

/// Returns the host of an address.
pub(crate) fn hostname(address: &str) -> &str {
    let without = address.strip_prefix("https://");
    let without = without.or_else(|| address.strip_prefix("http://"));
    let host = without.unwrap_or(address).split('/').next();
    host.unwrap_or_default()
}

/// Returns the header with what is known for the registry of an image, `None` for a
/// registry that the user has not logged in to. What cannot be read is warned of:
/// the image may be had without.
pub(crate) async fn header(context: &Context, domain: Option<&str>) -> Option<String> {
    let key = key(domain.unwrap_or_default());
    match find(context, &key).await {
        Ok(auth) => auth.map(|auth| auth.to_header()),
        Err(error) => {
            let error = base::failure::chain(&error);
            context.warn(&format!("WARNING: cannot use stored credentials: {error}"));
            None
        }
    }
}

async fn find(context: &Context, key: &str) -> Result<Option<AuthConfig>, CredentialError> {
    if let Some(text) = context.environment.variables.get(VARIABLE)
        && let Some(auth) = ConfigFile::parse(VARIABLE.into(), text.as_bytes())?.get(key)?
    {
        return Ok(Some(auth));
    }
    // Without a home there is nothing to read.
    let Ok(path) = path(context) else {
        return Ok(None);
    };
    get(context, &ConfigFile::load(path)?, key).await
}

/// Returns what is kept for a registry.
///
/// # Errors
/// When the file or the program that keeps it fails.
pub(crate) async fn get(
    context: &Context,
    file: &ConfigFile,
    key: &str,
) -> Result<Option<AuthConfig>, CredentialError> {
    match file.helper(key) {
        Some(name) => helper::get(context, name, key).await,
        None => file.get(key),
    }
}

/// Keeps what a user has logged in with; returns whether a password was written to
/// the file where it can be read.
///
/// # Errors
/// When the file or the program that keeps it fails.
pub(crate) async fn store(
    context: &Context,
    file: &mut ConfigFile,
    auth: &AuthConfig,
) -> Result<bool, CredentialError> {
    let key = &auth.server_address;
    let Some(name) = file.helper(key).map(str::to_owned) else {
        return Ok(file.set(key, auth)? && !auth.password.is_empty());
    };
    helper::store(context, &name, auth).await?;
    // The file lists what others keep.
    let listed = AuthConfig::default();
    file.set(key, &listed)?;
    Ok(false)
}

/// Forgets what is kept for a registry; nothing is no error.
///
/// # Errors
/// When the file or the program that keeps it fails.
pub(crate) async fn erase(
    context: &Context,
    file: &mut ConfigFile,
    key: &str,
) -> Result<(), CredentialError> {
    if let Some(name) = file.helper(key).map(str::to_owned) {
        helper::erase(context, &name, key).await?;
    }
    file.remove(key)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_has_one_key_however_it_is_written() {
        for (server, expected) in [
            ("", DOCKER_HUB),
            ("docker.io", DOCKER_HUB),
            (DOCKER_HUB, DOCKER_HUB),
            ("localhost:5000", "localhost:5000"),
            ("https://r.test/v1/", "r.test"),
            ("http://r.test:80", "r.test:80"),
        ] {
            assert_eq!(key(server), expected, "{server}");
        }
    }
}
