//! Where a syslog server is and how it is spoken to.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use engine_shim_api::{SyslogAddress, SyslogConfig, SyslogFormat};

use crate::error::{Result, invalid, unsupported};

const DEFAULT_PORT: u16 = 514;
/// Of daemons.
const DEFAULT_FACILITY: u8 = 3;
/// How long a server's name may take to be resolved.
const RESOLVE_LIMIT: Duration = Duration::from_secs(10);
/// The facilities' names, by their numbers; some numbers have none.
const FACILITIES: [(&str, u8); 20] = [
    ("kern", 0),
    ("user", 1),
    ("mail", 2),
    ("daemon", 3),
    ("auth", 4),
    ("syslog", 5),
    ("lpr", 6),
    ("news", 7),
    ("uucp", 8),
    ("cron", 9),
    ("authpriv", 10),
    ("ftp", 11),
    ("local0", 16),
    ("local1", 17),
    ("local2", 18),
    ("local3", 19),
    ("local4", 20),
    ("local5", 21),
    ("local6", 22),
    ("local7", 23),
];

/// A syslog server as the options name it.
#[derive(Debug, PartialEq)]
pub(super) struct Server {
    address: Address,
    facility: u8,
    format: SyslogFormat,
}

#[derive(Debug, PartialEq)]
enum Address {
    Local,
    Unix(PathBuf),
    Unixgram(PathBuf),
    Udp(Host),
    Tcp(Host),
}

#[derive(Debug, PartialEq)]
struct Host {
    name: String,
    port: u16,
}

impl Server {
    /// Reads the options.
    ///
    /// # Errors
    /// Invalid for a bad value, in dockerd's words.
    pub(super) fn read(given: &BTreeMap<String, String>) -> Result<Self> {
        let value = |name: &str| given.get(name).map_or("", String::as_str);
        Ok(Self {
            address: address(value("syslog-address"))?,
            facility: facility(value("syslog-facility"))?,
            format: format(value("syslog-format"))?,
        })
    }

    /// Returns what a shim is told: it does not resolve names.
    ///
    /// # Errors
    /// When the name cannot be resolved.
    pub(super) async fn resolve(&self, tag: String) -> Result<SyslogConfig> {
        let address = match &self.address {
            Address::Local => SyslogAddress::Local,
            Address::Unix(path) => SyslogAddress::Unix(path.clone()),
            Address::Unixgram(path) => SyslogAddress::Unixgram(path.clone()),
            Address::Udp(host) => SyslogAddress::Udp(host.resolve("udp").await?),
            Address::Tcp(host) => SyslogAddress::Tcp(host.resolve("tcp").await?),
        };
        Ok(SyslogConfig {
            address,
            facility: self.facility,
            format: self.format,
            tag,
        })
    }
}

impl Host {
    async fn resolve(&self, protocol: &str) -> Result<SocketAddr> {
        let name = match self.name.as_str() {
            "" => "127.0.0.1",
            name => name,
        };
        let looked_up = tokio::net::lookup_host((name, self.port));
        let found = tokio::time::timeout(RESOLVE_LIMIT, looked_up).await;
        let reason = match found {
            Ok(Ok(mut addresses)) => match addresses.next() {
                Some(address) => return Ok(address),
                None => "no such host".to_owned(),
            },
            Ok(Err(error)) => error.to_string(),
            Err(_) => "i/o timeout".to_owned(),
        };
        Err(crate::error::internal(format!(
            "dial {protocol}: lookup {name}: {reason}"
        )))
    }
}

fn address(text: &str) -> Result<Address> {
    if text.is_empty() {
        return Ok(Address::Local);
    }
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    match scheme {
        "unix" => socket(rest).map(Address::Unix),
        "unixgram" => socket(rest).map(Address::Unixgram),
        "udp" => host(text, rest).map(Address::Udp),
        "tcp" => host(text, rest).map(Address::Tcp),
        "tcp+tls" => Err(unsupported(
            "syslog-address tcp+tls is not supported: use tcp and a local relay",
        )),
        other => Err(invalid(format!("unsupported scheme: '{other}'"))),
    }
}

fn socket(path: &str) -> Result<PathBuf> {
    let found = std::fs::metadata(path);
    let path = PathBuf::from(path);
    match found {
        Ok(_) => Ok(path),
        Err(error) => {
            let reason = match error.kind() {
                std::io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => error.to_string(),
            };
            Err(invalid(format!("stat {}: {reason}", path.display())))
        }
    }
}

fn host(whole: &str, rest: &str) -> Result<Host> {
    let authority = rest.split('/').next().unwrap_or_default();
    let (name, port) = match authority.rsplit_once(':') {
        // A colon within brackets is the address's.
        Some((name, port)) if !port.ends_with(']') => (name, Some(port)),
        _ => (authority, None),
    };
    let is_bracketed = name.starts_with('[') && name.ends_with(']');
    let bad = |port: &str| {
        invalid(format!(
            "parse {whole:?}: invalid port {:?} after host",
            format!(":{port}")
        ))
    };
    let port = match port {
        None | Some("") => DEFAULT_PORT,
        Some(port) if name.contains(':') && !is_bracketed => return Err(bad(port)),
        Some(port) => port.parse().map_err(|_| bad(port))?,
    };
    Ok(Host {
        name: name.trim_matches(['[', ']']).to_owned(),
        port,
    })
}

fn facility(text: &str) -> Result<u8> {
    if text.is_empty() {
        return Ok(DEFAULT_FACILITY);
    }
    let named = FACILITIES.iter().find(|(name, _)| *name == text);
    let number = text.parse().ok().filter(|number| *number <= 23);
    let facility = named.map(|(_, number)| *number).or(number);
    facility.ok_or_else(|| invalid("invalid syslog facility"))
}

fn format(text: &str) -> Result<SyslogFormat> {
    match text {
        "" => Ok(SyslogFormat::Unix),
        "rfc3164" => Ok(SyslogFormat::Rfc3164),
        "rfc5424" => Ok(SyslogFormat::Rfc5424),
        "rfc5424micro" => Ok(SyslogFormat::Rfc5424Micro),
        _ => Err(invalid("Invalid syslog format")),
    }
}
