//! Keeps browsers out: a page that a user looks at must not reach the API, be it
//! by a request across sites or by a name that leads here (DNS rebinding).
//!
//! Addresses and localhost are good names: only whoever owns a name can make it
//! lead here, and nobody owns those.

use std::net::IpAddr;

use hyper::HeaderMap;
use hyper::header::{HOST, ORIGIN};

use crate::config::ApiSection;

/// What Docker's client calls a daemon that it reaches by ssh, where `system dial-stdio`
/// brings the request to the unix socket.
const DOCKERS_NAME_BY_SSH: &str = "docker.example.com";

/// Where a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Door {
    /// Clients make names up here, of one word or a path.
    Unix,
    Tcp,
}

/// Refuses what a browser sends.
///
/// # Errors
/// What is wrong, as a sentence.
pub(super) fn check(headers: &HeaderMap, door: Door, config: &ApiSection) -> Result<(), String> {
    let mut origins = headers.get_all(ORIGIN).iter();
    let is_allowed = |origin: &hyper::header::HeaderValue| {
        let mut allowed = config.allowed_origins.iter();
        allowed.any(|it| it.as_bytes() == origin.as_bytes())
    };
    if let Some(origin) = origins.find(|origin| !is_allowed(origin)) {
        let origin = String::from_utf8_lossy(origin.as_bytes());
        return Err(format!(
            "requests of pages are refused: origin {origin:?} is not among allowed-origins"
        ));
    }
    // A request for an image or a script says no origin, but this.
    let site = headers.get("sec-fetch-site");
    let is_foreign = site.is_some_and(|site| site != "none" && site != "same-origin");
    if is_foreign && !headers.contains_key(ORIGIN) {
        return Err("requests of pages are refused".to_owned());
    }
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) => Ok(()),
        (Some(host), None) => {
            let host = host.to_str().unwrap_or("?");
            match is_known(host, door, config) {
                true => Ok(()),
                false => Err(format!("host {host:?} is not among allowed-hosts")),
            }
        }
        (Some(_), Some(_)) => Err("a request has one host".to_owned()),
    }
}

fn is_known(host: &str, door: Door, config: &ApiSection) -> bool {
    let name = without_port(host)
        .trim_end_matches('.')
        .to_ascii_lowercase();
    let address = name.trim_start_matches('[').trim_end_matches(']');
    let is_made_up = || {
        door == Door::Unix
            && (!name.contains('.')
                || name.contains('/')
                || is_socket(&name)
                || name == DOCKERS_NAME_BY_SSH)
    };
    name.is_empty()
        || address.parse::<IpAddr>().is_ok()
        || name == "localhost"
        || name.ends_with(".localhost")
        || config
            .allowed_hosts
            .iter()
            .any(|it| it.eq_ignore_ascii_case(&name))
        || is_made_up()
}

/// Some clients send the socket's path, encoded, or its name.
fn is_socket(name: &str) -> bool {
    name.starts_with("%2f") || name.ends_with(".sock")
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(door: Door, headers: &[(&'static str, &str)]) -> bool {
        let config = ApiSection {
            allowed_hosts: vec!["engine.example".to_owned()],
            allowed_origins: vec!["https://ui.example".to_owned()],
            ..ApiSection::default()
        };
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        check(&map, door, &config).is_ok()
    }

    #[test]
    fn names_that_others_own_are_foreign() {
        for host in [
            "127.0.0.1:2375",
            "[::1]:2376",
            "10.1.2.3",
            "localhost",
            "LocalHost:1",
            "api.moby.localhost",
            "engine.example",
            "ENGINE.example.:2376",
            "",
        ] {
            assert!(allowed(Door::Tcp, &[("host", host)]), "{host}");
            assert!(allowed(Door::Unix, &[("host", host)]), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:2375",
            "x.docker.example.com",
            "127.0.0.1.evil.example",
            "localhost.evil.example",
        ] {
            assert!(!allowed(Door::Tcp, &[("host", host)]), "{host}");
            assert!(!allowed(Door::Unix, &[("host", host)]), "{host}");
        }
        for host in [
            "docker",
            "engine",
            "%2Fvar%2Frun%2Fdocker.sock",
            "unix.sock",
            "docker.example.com",
        ] {
            assert!(allowed(Door::Unix, &[("host", host)]), "{host}");
            assert!(!allowed(Door::Tcp, &[("host", host)]), "{host}");
        }
        assert!(!allowed(
            Door::Unix,
            &[("host", "docker"), ("host", "docker")]
        ));
    }

    #[test]
    fn pages_are_kept_out() {
        for origin in [
            "http://evil.example",
            "null",
            "http://127.0.0.1:2375",
            "https://ui.example.evil",
        ] {
            assert!(!allowed(Door::Unix, &[("origin", origin)]), "{origin}");
        }
        assert!(allowed(
            Door::Tcp,
            &[
                ("origin", "https://ui.example"),
                ("sec-fetch-site", "cross-site")
            ]
        ));
        assert!(!allowed(
            Door::Tcp,
            &[
                ("origin", "https://ui.example"),
                ("origin", "http://evil.example")
            ]
        ));
        assert!(!allowed(Door::Tcp, &[("sec-fetch-site", "cross-site")]));
        assert!(allowed(Door::Tcp, &[("sec-fetch-site", "none")]));
    }
}
