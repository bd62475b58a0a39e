//! The daemon's address.

use std::path::PathBuf;

use engine_api::client::SshHost;

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
    Ssh(SshHost),
}

/// Reads `unix:///path`, `tcp://host[:port]` and `ssh://[user@]host[:port][/path]`.
pub(crate) fn parse(text: &str) -> Result<Host, ParseError> {
    if let Some(address) = text.strip_prefix("tcp://") {
        return match tcp(address) {
            Some(host) => Ok(host),
            None => refuse(format!(
                "invalid address {text:?}: expected tcp://host[:port]"
            )),
        };
    }
    if let Some(address) = text.strip_prefix("ssh://") {
        return match ssh(address) {
            Some(host) => Ok(host),
            None => refuse(format!(
                "invalid address {text:?}: expected ssh://[user@]host[:port][/path/of/socket]"
            )),
        };
    }
    let Some(path) = text.strip_prefix("unix://") else {
        return refuse(format!(
            "cannot connect to {text:?}: only unix://, tcp:// and ssh:// are supported"
        ));
    };
    match path.starts_with('/') {
        true => Ok(Host::Unix(path.into())),
        false => refuse(format!(
            "invalid address {text:?}: the path must be absolute"
        )),
    }
}

/// A password cannot be given, and nothing of it can be an option of ssh or a word of a
/// shell.
fn ssh(address: &str) -> Option<Host> {
    let (address, socket) = match address.split_once('/') {
        Some((address, "")) => (address, None),
        Some((address, path)) => (address, Some(format!("/{path}"))),
        None => (address, None),
    };
    let (user, address) = match address.rsplit_once('@') {
        Some((user, address)) => (Some(user.to_owned()), address),
        None => (None, address),
    };
    let (host, port) = host_and_port(address)?;
    let is_plain = |text: &str, more: &[u8]| {
        !text.starts_with('-')
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || more.contains(&b))
    };
    let user_is_plain = user
        .as_deref()
        .is_none_or(|user| !user.is_empty() && is_plain(user, b"._-\\@+"));
    let socket_is_plain = socket
        .as_deref()
        .is_none_or(|path| is_plain(path, b"/._-+@:"));
    let is_plain = user_is_plain && socket_is_plain && !host.starts_with('-');
    is_plain.then(|| {
        Host::Ssh(SshHost {
            user,
            host: host.to_owned(),
            port,
            socket,
        })
    })
}

fn tcp(address: &str) -> Option<Host> {
    let (host, port) = host_and_port(address)?;
    Some(Host::Tcp {
        host: host.to_owned(),
        port,
    })
}

fn host_and_port(address: &str) -> Option<(&str, Option<u16>)> {
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
    (!host.is_empty() && host.bytes().all(is_name)).then_some((host, port))
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
        for text in ["ssh://h", "ssh://u@h.example:2/run/x.sock", "ssh://[::1]:2"] {
            let Ok(Host::Ssh(host)) = parse(text) else {
                panic!("{text}");
            };
            assert_eq!(host.to_string(), text);
        }
        for bad in [
            "/run/x.sock",
            "unix://run/x.sock",
            "unix://",
            "",
            "ssh://",
            "ssh://u@",
            "ssh://@h",
            "ssh://u:secret@h",
            "ssh://-oProxyCommand=x",
            "ssh://-h",
            "ssh://-u@h",
            "ssh://h:0",
            "ssh://h/x;id",
            "ssh://h/x'y",
            "ssh://h?x",
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
