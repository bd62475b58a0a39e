//! Which daemon is meant: options first, then `DOCKER_HOST`, `DOCKER_TLS_VERIFY`
//! and `DOCKER_CERT_PATH`, as with Docker's command line.

use std::path::{Path, PathBuf};

use engine_api::client::{ClientTls, ClientTlsFiles, Endpoint};

use crate::arguments::GlobalOptions;
use crate::context::Environment;
use crate::error::CliError;
use crate::parse::host::{self, Host};

/// Docker's ports, without and with TLS.
const PLAIN_PORT: u16 = 2375;
const TLS_PORT: u16 = 2376;

/// Returns where the daemon is, and whether the user said so.
///
/// # Errors
/// For an address that is none, or certificates that cannot be used.
pub(crate) fn endpoint(
    global: &GlobalOptions,
    environment: &Environment,
) -> Result<(Endpoint, bool), CliError> {
    let variable = |name: &str| {
        let value = environment.variables.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    };
    let host = match (global.host(), variable("DOCKER_HOST")) {
        (Some(host), _) => Some(host.clone()),
        (None, Some(text)) => Some(host::parse(text)?),
        (None, None) => None,
    };
    let verifies = global.tls.tlsverify || variable("DOCKER_TLS_VERIFY").is_some();
    match host {
        Some(Host::Tcp { host, port }) if verifies => {
            let tls = ClientTls::load(&files(global, environment, variable("DOCKER_CERT_PATH")))?;
            let (port, tls) = (port.unwrap_or(TLS_PORT), Some(tls));
            Ok((Endpoint::Tcp { host, port, tls }, true))
        }
        _ if !verifies && global.tls.names_a_file() => Err(CliError::Usage(
            "--tlscacert, --tlscert and --tlskey need --tlsverify".to_owned(),
        )),
        Some(Host::Tcp { host, port }) => {
            let (port, tls) = (port.unwrap_or(PLAIN_PORT), None);
            Ok((Endpoint::Tcp { host, port, tls }, true))
        }
        Some(Host::Unix(path)) => Ok((Endpoint::Unix(path), true)),
        None => Ok((Endpoint::Unix(global.socket()), false)),
    }
}

/// The files that were named, else those of the directory of certificates. There
/// need not be a certificate of the client's own unless it was named.
fn files(
    global: &GlobalOptions,
    environment: &Environment,
    directory: Option<&str>,
) -> ClientTlsFiles {
    let variable = |name: &str| environment.variables.get(name).map(PathBuf::from);
    let directory = directory.map(PathBuf::from);
    let directory = directory.or_else(|| variable("DOCKER_CONFIG"));
    let directory = directory.or_else(|| Some(variable("HOME")?.join(".docker")));
    let directory = directory.unwrap_or_default();
    let or_default =
        |named: &Option<PathBuf>, name: &str| named.clone().unwrap_or_else(|| directory.join(name));
    let tls = &global.tls;
    let (certificate, key) = (
        or_default(&tls.tlscert, "cert.pem"),
        or_default(&tls.tlskey, "key.pem"),
    );
    let is_there = |path: &Path| path.exists();
    let is_named = tls.tlscert.is_some() || tls.tlskey.is_some();
    ClientTlsFiles {
        ca: or_default(&tls.tlscacert, "ca.pem"),
        identity: (is_named || is_there(&certificate) || is_there(&key))
            .then_some((certificate, key)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meant(line: &str, variables: &[(&str, &str)]) -> Result<(String, bool), String> {
        let words = std::iter::once("engine").chain(line.split_whitespace());
        let words = words.chain(["ps"]).map(std::ffi::OsString::from);
        let global = crate::arguments::try_parse(words).unwrap().global;
        let pairs = variables.iter();
        let environment = Environment {
            variables: pairs
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            directory: PathBuf::new(),
        };
        endpoint(&global, &environment)
            .map(|(endpoint, is_named)| (endpoint.to_string(), is_named))
            .map_err(|error| error.message())
    }

    #[test]
    fn options_come_before_the_environment() {
        let docker = ("DOCKER_HOST", "tcp://d.example:1");
        let named = |text: &str| Ok((text.to_owned(), true));
        assert_eq!(meant("", &[docker]), named("tcp://d.example:1"));
        assert_eq!(meant("-H tcp://h", &[docker]), named("tcp://h:2375"));
        assert_eq!(meant("-H unix:///x", &[docker]), named("unix:///x"));
        let own = Ok(("unix:///run/engine/engine.sock".to_owned(), false));
        assert_eq!(meant("", &[("DOCKER_HOST", "")]), own);
        assert!(
            meant("", &[("DOCKER_HOST", "npipe:x")])
                .unwrap_err()
                .contains("npipe")
        );
    }

    #[test]
    fn certificates_are_looked_for_where_docker_looks() {
        let verify = ("DOCKER_TLS_VERIFY", "1");
        let said = |line: &str, variables: &[(&str, &str)]| meant(line, variables).unwrap_err();
        let of_path = said("-H tcp://h", &[verify, ("DOCKER_CERT_PATH", "/nowhere/c")]);
        assert!(of_path.contains("/nowhere/c/ca.pem"), "{of_path}");
        let of_home = said("-H tcp://h --tlsverify", &[("HOME", "/nowhere/h")]);
        assert!(of_home.contains("/nowhere/h/.docker/ca.pem"), "{of_home}");
        let named = said("-H tcp://h --tlsverify --tlscacert /nowhere/x", &[]);
        assert!(named.contains("/nowhere/x"), "{named}");
        let alone = said("-H tcp://h --tlscert /x", &[]);
        assert!(alone.contains("--tlsverify"), "{alone}");
        // A unix socket needs none.
        assert!(meant("-H unix:///x", &[verify]).is_ok());
    }
}
