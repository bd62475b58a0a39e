//! Which daemon is meant: options first, then `DOCKER_HOST`, `DOCKER_TLS_VERIFY`
//! and `DOCKER_CERT_PATH`, then contexts, as with Docker's command line.

use std::path::{Path, PathBuf};

use engine_api::client::{ClientTls, ClientTlsFiles, Endpoint};

use crate::arguments::GlobalOptions;
use crate::context::Environment;
use crate::credentials::{self, ConfigFile};
use crate::error::CliError;
use crate::parse::host::{self, Host};
use crate::stored_contexts::{DEFAULT_CONTEXT, Store};

/// Docker's ports, without and with TLS.
pub(crate) const PLAIN_PORT: u16 = 2375;
pub(crate) const TLS_PORT: u16 = 2376;

/// What the user says of where the daemon is.
pub(crate) enum Chosen {
    Host(Host),
    /// A stored context, not the default one.
    Context(String),
    /// This installation's own.
    Own,
}

/// Returns what was said, in Docker's order: `--context`, `--host`, the variables of hosts,
/// that of contexts, the context in use.
///
/// # Errors
/// When two options contradict each other, or the configuration cannot be read.
pub(crate) fn chosen(
    global: &GlobalOptions,
    environment: &Environment,
) -> Result<Chosen, CliError> {
    let variable = |name: &str| {
        let value = environment.variables.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    };
    let context = |name: &str| match name {
        DEFAULT_CONTEXT => Chosen::Own,
        name => Chosen::Context(name.to_owned()),
    };
    if let Some(name) = &global.context {
        let of_variable = variable("ENGINE_HOST").and_then(|text| host::parse(text).ok());
        if global.host() != of_variable.as_ref() {
            return Err(CliError::Usage(
                "conflicting options: cannot specify both --host and --context".to_owned(),
            ));
        }
        return Ok(context(name));
    }
    if let Some(host) = global.host() {
        return Ok(Chosen::Host(host.clone()));
    }
    if let Some(text) = variable("DOCKER_HOST") {
        return Ok(Chosen::Host(host::parse(text)?));
    }
    if let Some(name) = variable("DOCKER_CONTEXT") {
        return Ok(context(name));
    }
    // Without a home there is no context either.
    let Ok(directory) = credentials::directory(environment) else {
        return Ok(Chosen::Own);
    };
    let file = ConfigFile::load(directory.join("config.json"))?;
    Ok(file.current_context().map_or(Chosen::Own, context))
}

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
    let host = match chosen(global, environment)? {
        Chosen::Host(host) => Some(host),
        Chosen::Context(name) => {
            let stored = Store::of(environment)?.get(&name)?;
            return Ok((stored.endpoint()?, true));
        }
        Chosen::Own => None,
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
        Some(Host::Ssh(host)) => Ok((Endpoint::Ssh(host), true)),
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
    use crate::stored_contexts::Draft;

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
    fn contexts_come_after_hosts() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().to_str().unwrap();
        let of_home = ("DOCKER_CONFIG", home);
        let environment = Environment {
            variables: [("DOCKER_CONFIG".to_owned(), home.to_owned())].into(),
            directory: PathBuf::new(),
        };
        let store = Store::of(&environment).unwrap();
        for name in ["far", "used"] {
            let host = format!("ssh://u@{name}.example");
            let mut draft = Draft::new();
            draft.set_host(&host);
            store.create(name, draft).unwrap();
        }
        let named = |text: &str| Ok((text.to_owned(), true));
        let own = Ok(("unix:///run/engine/engine.sock".to_owned(), false));
        assert_eq!(meant("", &[of_home]), own);
        assert_eq!(
            meant("--context far", &[of_home]),
            named("ssh://u@far.example")
        );
        let mut file = ConfigFile::load(Path::new(home).join("config.json")).unwrap();
        file.use_context(Some("used")).unwrap();
        assert_eq!(meant("", &[of_home]), named("ssh://u@used.example"));
        let far = ("DOCKER_CONTEXT", "far");
        assert_eq!(meant("", &[of_home, far]), named("ssh://u@far.example"));
        assert_eq!(meant("--context default", &[of_home, far]), own);
        let host = ("DOCKER_HOST", "unix:///x");
        assert_eq!(meant("", &[of_home, far, host]), named("unix:///x"));
        assert_eq!(
            meant("--context far", &[of_home, host]),
            named("ssh://u@far.example")
        );
        let both = meant("--context far -H unix:///y", &[of_home]).unwrap_err();
        assert!(both.contains("cannot specify both"), "{both}");
        let missing = meant("--context nobody", &[of_home]).unwrap_err();
        assert!(missing.contains("nobody"), "{missing}");
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
