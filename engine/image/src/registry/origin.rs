//! Where a request goes: scheme, host and port, and what may follow from where.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use hyper::Uri;

/// `http` or `https`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scheme {
    Http,
    Https,
}

/// A server: what credentials are scoped to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) scheme: Scheme,
    /// Without brackets.
    pub(super) host: String,
    pub(super) port: u16,
}

/// A resource on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    pub(super) origin: Origin,
    /// Begins with a slash and includes the query.
    pub(super) path: String,
}

impl Scheme {
    fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Origin {
    /// Returns the server of an authority such as `host`, `host:5000` or `[::1]:5000`.
    pub(super) fn new(scheme: Scheme, authority: &str) -> Option<Self> {
        let authority: hyper::http::uri::Authority = authority.parse().ok()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let host = authority
            .host()
            .trim_matches(['[', ']'])
            .to_ascii_lowercase();
        let port = authority.port_u16().unwrap_or(scheme.port());
        (!host.is_empty()).then_some(Self { scheme, host, port })
    }

    /// Returns the server as a `Host` header names it.
    pub(super) fn authority(&self) -> String {
        let is_v6 = self.host.parse::<Ipv6Addr>().is_ok();
        let host = if is_v6 {
            format!("[{}]", self.host)
        } else {
            self.host.clone()
        };
        if self.port == self.scheme.port() {
            return host;
        }
        format!("{host}:{}", self.port)
    }

    pub(super) fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }

    pub(super) fn at(&self, path: String) -> Url {
        Url {
            origin: self.clone(),
            path,
        }
    }
}

impl Url {
    /// Parses an absolute address.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let uri: Uri = text.parse().ok()?;
        let scheme = match uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let origin = Origin::new(scheme, uri.authority()?.as_str())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        Some(Self {
            origin,
            path: path.to_owned(),
        })
    }

    /// Returns where `location`, absolute or a path, leads from here.
    pub(super) fn join(&self, location: &str) -> Option<Self> {
        if location.starts_with('/') && !location.starts_with("//") {
            let path: hyper::http::uri::PathAndQuery = location.parse().ok()?;
            return Some(self.origin.at(path.as_str().to_owned()));
        }
        Self::parse(location)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}", self.authority())
    }
}

impl fmt::Display for Url {
    /// Prints the address without its query, which may hold a signature.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path.split('?').next().unwrap_or_default();
        write!(f, "{}{path}", self.origin)
    }
}

/// Escapes `text` for use in a query.
pub(super) fn query_escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            write!(escaped, "%{byte:02X}").expect("writing to a string cannot fail");
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_joined() {
        let here = Url::parse("http://LOCALHOST:5000/v2/a?x=1").unwrap();
        assert_eq!(here.to_string(), "http://localhost:5000/v2/a");
        let joined = |location: &str| here.join(location).map(|url| url.to_string());
        assert_eq!(
            joined("/v2/b?y").as_deref(),
            Some("http://localhost:5000/v2/b")
        );
        assert_eq!(
            joined("https://[::1]/c").as_deref(),
            Some("https://[::1]/c")
        );
        for bad in [
            "ftp://x/",
            "b",
            "//x/y",
            "http://user@x/",
            "file:///etc/passwd",
            "",
        ] {
            assert_eq!(joined(bad), None, "{bad}");
        }
    }

    #[test]
    fn default_ports_are_not_a_difference() {
        let url = |text| Url::parse(text).unwrap().origin;
        assert_eq!(url("https://a/"), url("https://a:443/x"));
        assert_ne!(url("https://a/"), url("http://a:443/"));
        assert_eq!(query_escape("a b/c:d"), "a%20b%2Fc%3Ad");
    }
}
