//! The daemon's address.

use std::path::PathBuf;

use super::{ParseError, refuse};

/// Where the daemon is, as it was said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Unix(PathBuf),
    /// Without a port the usual one is meant, which depends on TLS.
    Tcp {
        host: String,
        port: Option<u16>,
    },
}

/// Reads `unix:///path` and `tcp://host[:port]`.
pub(crate) fn parse(text: &str) -> Result<Host, ParseError> {
    if let Some(address) = text.strip_prefix("tcp://") {
        return match tcp(address) {
            Some(host) => Ok(host),
            None => refuse(format!(
                "invalid address {text:?}: expected tcp://host[:port]"
            )),
        };
    }
    let Some(path) = text.strip_prefix("unix://") else {
        return refuse(format!(
            "cannot connect to {text:?}: only unix:// and tcp:// are supported"
        ));
    };
    match path.starts_with('/') {
        true => Ok(Host::Unix(path.into())),
        false => refuse(format!(
            "invalid address {text:?}: the path must be absolute"
        )),
    }
}

fn tcp(address: &str) -> Option<Host> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let port = match rest {
                "" => None,
                rest => Some(rest.strip_prefix(':')?),
            };
            host.parse::<std::net::Ipv6Addr>().ok()?;
            (host, port)
        }
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = match port {
        None => None,
        Some(port) => Some(port.parse().ok().filter(|port| *port != 0)?),
    };
    let is_name = |b: u8| b.is_ascii_alphanumeric() || b".-_:".contains(&b);
    (!host.is_empty() && host.bytes().all(is_name)).then(|| Host::Tcp {
        host: host.to_owned(),
        port,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_and_ports_are_taken() {
        assert_eq!(
            parse("unix:///run/x.sock"),
            Ok(Host::Unix("/run/x.sock".into()))
        );
        let tcp = |host: &str, port| {
            Ok(Host::Tcp {
                host: host.to_owned(),
                port,
            })
        };
        assert_eq!(parse("tcp://127.0.0.1:2375"), tcp("127.0.0.1", Some(2375)));
        assert_eq!(parse("tcp://h.example"), tcp("h.example", None));
        assert_eq!(parse("tcp://[::1]:1"), tcp("::1", Some(1)));
        assert_eq!(parse("tcp://[::1]"), tcp("::1", None));
        for bad in [
            "/run/x.sock",
            "unix://run/x.sock",
            "unix://",
            "",
            "ssh://h",
            "tcp://",
            "tcp://h:",
            "tcp://h:0",
            "tcp://h:99999",
            "tcp://h:1/path",
            "tcp://::1:2",
            "tcp://[h]:1",
            "tcp://u@h:1",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }
}
