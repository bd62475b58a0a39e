//! What a container's resolv.conf shall hold, from the host's and the request.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use base::PathError;
use base::file::read_bounded;
use netd_api::Dns;

/// No resolv.conf we read is larger.
const FILE_LIMIT_BYTES: u64 = 64 * 1024;
/// As many servers and search domains as are taken from a file.
const ENTRY_LIMIT: usize = 32;

/// Reads the host's resolv.conf; without one it is empty.
///
/// # Errors
/// When it is there and cannot be read.
pub fn read(path: &Path) -> Result<Dns, PathError> {
    match read_bounded(path, FILE_LIMIT_BYTES) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Dns::default()),
        other => Ok(parse(&String::from_utf8_lossy(&other?))),
    }
}

/// Parses a resolv.conf; what it does not know it skips, as resolvers do.
pub fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        let keyword = words.next();
        let rest = words.take(ENTRY_LIMIT);
        match keyword {
            Some("nameserver") if dns.servers.len() < ENTRY_LIMIT => {
                // `fe80::1%eth0`: a zone of the host means nothing elsewhere.
                dns.servers
                    .extend(rest.take(1).filter_map(|word| word.parse::<IpAddr>().ok()));
            }
            Some("search" | "domain") => dns.search = rest.map(str::to_owned).collect(),
            Some("options") => dns.options = rest.map(str::to_owned).collect(),
            _ => {}
        }
    }
    dns
}

/// Where the DNS process answers in a container's own namespace, as Docker's does.
pub const EMBEDDED: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 11);

/// Where names are looked up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup {
    /// Loopback only: nowhere.
    Nowhere,
    /// The default network: the host's servers.
    Host,
    /// A user's network: the DNS process knows the containers' names.
    Network,
}

/// Returns what a container's resolv.conf shall hold. Servers on the host's
/// loopback are of no use in a container; where the host has no other, the DNS
/// process forwards to them.
pub fn resolver(lookup: Lookup, wanted: &Dns, host: &Dns) -> Dns {
    let or_host = |wanted: &[String], host: &[String]| {
        let own = if wanted.is_empty() { host } else { wanted };
        own.to_vec()
    };
    let mut dns = Dns {
        servers: wanted.servers.clone(),
        search: or_host(&wanted.search, &host.search),
        options: or_host(&wanted.options, &host.options),
    };
    // Docker's way to ask for no search domain at all.
    dns.search.retain(|domain| domain != ".");
    let reachable = host.servers.iter().filter(|server| !server.is_loopback());
    match lookup {
        Lookup::Network => {
            dns.servers = vec![EMBEDDED.into()];
            if !dns
                .options
                .iter()
                .any(|option| option.starts_with("ndots:"))
            {
                // A container's name has no dot and is to be asked for first.
                dns.options.push("ndots:0".to_owned());
            }
        }
        Lookup::Host | Lookup::Nowhere if !dns.servers.is_empty() => {}
        Lookup::Nowhere => dns.servers = reachable.copied().collect(),
        Lookup::Host => {
            dns.servers = reachable.copied().collect();
            if dns.servers.is_empty() {
                dns.servers.push(EMBEDDED.into());
            }
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(host: &str, wanted: &Dns, lookup: Lookup) -> String {
        let dns = resolver(lookup, wanted, &parse(host));
        let servers: Vec<_> = dns.servers.iter().map(ToString::to_string).collect();
        format!(
            "{} | {} | {}",
            servers.join(" "),
            dns.search.join(" "),
            dns.options.join(" ")
        )
    }

    #[test]
    fn the_default_network_uses_the_hosts_servers_but_those_on_loopback() {
        let lookup = Lookup::Host;
        let none = Dns::default();
        let host = "# a comment\nsearch corp.example\nnameserver 10.0.0.53\nnameserver 127.0.0.53\noptions edns0\n";
        assert_eq!(
            check(host, &none, lookup),
            "10.0.0.53 | corp.example | edns0"
        );
        assert_eq!(
            check("nameserver 127.0.0.53\n", &none, lookup),
            "127.0.0.11 |  | "
        );
        assert_eq!(check("", &none, lookup), "127.0.0.11 |  | ");
        assert_eq!(
            check("nameserver 127.0.0.1\n", &none, Lookup::Nowhere),
            " |  | "
        );
    }

    #[test]
    fn what_the_user_asks_for_comes_first() {
        let wanted = Dns {
            servers: vec!["1.1.1.1".parse().unwrap()],
            search: vec![".".to_owned()],
            options: vec!["ndots:3".to_owned()],
        };
        let host = "search corp.example\nnameserver 10.0.0.53\n";
        let lookup = Lookup::Host;
        assert_eq!(check(host, &wanted, lookup), "1.1.1.1 |  | ndots:3");
        let lookup = Lookup::Network;
        assert_eq!(check(host, &wanted, lookup), "127.0.0.11 |  | ndots:3");
    }

    #[test]
    fn a_users_network_asks_the_dns_process() {
        let lookup = Lookup::Network;
        let host = "search corp.example\nnameserver 10.0.0.53\n";
        assert_eq!(
            check(host, &Dns::default(), lookup),
            "127.0.0.11 | corp.example | ndots:0"
        );
    }
}
