//! The table `[api]`: where else the API is served, and who may do what there.

use std::net::SocketAddr;
use std::path::PathBuf;

use engine_security::access::Policy;
use serde::Deserialize;

/// Rules the table may have.
const RULES_LIMIT: usize = 256;

/// Why the table makes no sense.
#[derive(Debug, thiserror::Error)]
pub enum ApiSectionError {
    #[error("{0:?} in api.listen is no tcp://ADDRESS:PORT")]
    Listen(String),
    #[error(
        "{0} in api.listen would be served without TLS: name tls-ca, tls-certificate and tls-key, or set allow-plain-loopback for an address on loopback"
    )]
    Plain(SocketAddr),
    #[error("tls-ca, tls-certificate and tls-key in table api belong together")]
    HalfTls,
    #[error("{key} in table api is not absolute: {path:?}")]
    RelativePath { key: &'static str, path: PathBuf },
    #[error("metrics-listen in table api is not on loopback: {0}")]
    Metrics(SocketAddr),
    #[error("rule {number} in table api must have one of uid, gid and common-name")]
    Rule { number: usize },
    #[error("there are more than {RULES_LIMIT} rules in table api")]
    ManyRules,
}

/// The API beside its unix socket.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default, rename_all = "kebab-case")]
pub struct ApiSection {
    /// `tcp://ADDRESS:PORT`, each served with mutual TLS.
    pub listen: Vec<String>,
    /// Authorities that sign clients' certificates, PEM.
    pub tls_ca: Option<PathBuf>,
    /// Our own certificate and those between it and its authority, PEM.
    pub tls_certificate: Option<PathBuf>,
    /// Its key, PEM.
    pub tls_key: Option<PathBuf>,
    /// Serve addresses on loopback without TLS: any process of the host is let in.
    pub allow_plain_loopback: bool,
    /// Names a request may have in its header `Host`, beside addresses and localhost.
    pub allowed_hosts: Vec<String>,
    /// What a request may have in its header `Origin`.
    pub allowed_origins: Vec<String>,
    /// Serves `/metrics`, and nothing else, to whoever connects.
    pub metrics_listen: Option<SocketAddr>,
    /// What clients may do that no rule names; root on the unix socket may
    /// always do everything unless a rule names it.
    pub default_policy: Policy,
    /// The first one that fits decides.
    pub rules: Vec<Rule>,
}

impl Default for ApiSection {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            tls_ca: None,
            tls_certificate: None,
            tls_key: None,
            allow_plain_loopback: false,
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            metrics_listen: None,
            default_policy: Policy::Full,
            rules: Vec::new(),
        }
    }
}

/// Who a policy is for.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct Rule {
    /// A user at the unix socket.
    pub uid: Option<u32>,
    /// A group of a user at the unix socket, be it one of several.
    pub gid: Option<u32>,
    /// The common name of a client's certificate.
    pub common_name: Option<String>,
    pub policy: Policy,
}

/// The three files of mutual TLS.
#[derive(Debug, Clone, Copy)]
pub struct TlsFiles<'a> {
    pub ca: &'a PathBuf,
    pub certificate: &'a PathBuf,
    pub key: &'a PathBuf,
}

impl ApiSection {
    /// Returns the addresses to listen on.
    ///
    /// # Errors
    /// For what is no address.
    pub fn addresses(&self) -> Result<Vec<SocketAddr>, ApiSectionError> {
        let parse = |text: &String| {
            let address = text.strip_prefix("tcp://").unwrap_or_default();
            address
                .parse()
                .map_err(|_| ApiSectionError::Listen(text.clone()))
        };
        self.listen.iter().map(parse).collect()
    }

    /// Returns the files of TLS, if they are named.
    pub fn tls(&self) -> Option<TlsFiles<'_>> {
        Some(TlsFiles {
            ca: self.tls_ca.as_ref()?,
            certificate: self.tls_certificate.as_ref()?,
            key: self.tls_key.as_ref()?,
        })
    }

    /// Returns whether a rule asks for a client's groups.
    pub fn wants_groups(&self) -> bool {
        self.rules.iter().any(|rule| rule.gid.is_some())
    }

    /// Refuses what would leave a door open or make no sense.
    ///
    /// # Errors
    /// What is wrong.
    pub fn check(&self) -> Result<(), ApiSectionError> {
        let files = [
            ("tls-ca", &self.tls_ca),
            ("tls-certificate", &self.tls_certificate),
            ("tls-key", &self.tls_key),
        ];
        for (key, file) in files {
            if let Some(path) = file
                && !path.is_absolute()
            {
                let path = path.clone();
                return Err(ApiSectionError::RelativePath { key, path });
            }
        }
        if !matches!(files.iter().filter(|(_, it)| it.is_some()).count(), 0 | 3) {
            return Err(ApiSectionError::HalfTls);
        }
        for address in self.addresses()? {
            let is_plain_allowed = self.allow_plain_loopback && address.ip().is_loopback();
            if self.tls().is_none() && !is_plain_allowed {
                return Err(ApiSectionError::Plain(address));
            }
        }
        if let Some(address) = self.metrics_listen
            && !address.ip().is_loopback()
        {
            return Err(ApiSectionError::Metrics(address));
        }
        self.check_rules()
    }

    fn check_rules(&self) -> Result<(), ApiSectionError> {
        if self.rules.len() > RULES_LIMIT {
            return Err(ApiSectionError::ManyRules);
        }
        let names = |rule: &Rule| {
            let named = [
                rule.uid.is_some(),
                rule.gid.is_some(),
                rule.common_name.is_some(),
            ];
            named.iter().filter(|is_named| **is_named).count()
        };
        match self.rules.iter().position(|rule| names(rule) != 1) {
            Some(index) => Err(ApiSectionError::Rule { number: index + 1 }),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, error: Option<&str>) {
        let section: ApiSection = toml::from_str(text).unwrap();
        let said = section.check().map_err(|error| error.to_string());
        match error {
            None => assert_eq!(said, Ok(()), "{text}"),
            Some(part) => assert!(said.as_ref().is_err_and(|it| it.contains(part)), "{said:?}"),
        }
    }

    const TLS: &str = "tls-ca = \"/a\"\ntls-certificate = \"/b\"\ntls-key = \"/c\"\n";

    #[test]
    fn nothing_is_served_to_everybody() {
        check("", None);
        check("listen = [\"tcp://0.0.0.0:2376\"]", Some("without TLS"));
        check("listen = [\"tcp://127.0.0.1:2375\"]", Some("without TLS"));
        let loopback = "allow-plain-loopback = true\n";
        check(
            &format!("{loopback}listen = [\"tcp://127.0.0.1:2375\", \"tcp://[::1]:2375\"]"),
            None,
        );
        check(
            &format!("{loopback}listen = [\"tcp://0.0.0.0:2375\"]"),
            Some("without TLS"),
        );
        check(&format!("{TLS}listen = [\"tcp://0.0.0.0:2376\"]"), None);
        check("metrics-listen = \"0.0.0.0:9323\"", Some("not on loopback"));
        check("metrics-listen = \"127.0.0.1:9323\"", None);
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        check("listen = [\"http://x\"]", Some("http://x"));
        check("listen = [\"tcp://name:2376\"]", Some("name:2376"));
        check("tls-ca = \"/a\"", Some("belong together"));
        check("tls-ca = \"a\"", Some("not absolute"));
        check("[[rules]]\npolicy = \"full\"", Some("rule 1"));
        check(
            "[[rules]]\nuid = 1\npolicy = \"full\"\n[[rules]]\nuid = 1\ngid = 1\npolicy = \"full\"",
            Some("rule 2"),
        );
        assert!(toml::from_str::<ApiSection>("default-policy = \"all\"").is_err());
    }
}
