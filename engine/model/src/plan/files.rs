//! The text of a container's hosts and resolv.conf.

use std::fmt::Write as _;
use std::net::IpAddr;

use crate::container::DnsConfig;

/// Returns the hosts file: loopback names, the container's own, the extra ones.
pub fn hosts_file(own: &[(IpAddr, Vec<String>)], extra: &[(String, IpAddr)]) -> String {
    let mut text = String::from(
        "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n\
         ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n",
    );
    for (name, address) in extra {
        writeln!(text, "{address}\t{name}").expect("writing to a string cannot fail");
    }
    for (address, names) in own {
        writeln!(text, "{address}\t{}", names.join(" ")).expect("writing to a string cannot fail");
    }
    text
}

/// Returns the resolv.conf for what the network resolved.
pub fn resolv_conf(dns: &DnsConfig) -> String {
    let mut text = String::new();
    for server in &dns.servers {
        writeln!(text, "nameserver {server}").expect("writing to a string cannot fail");
    }
    // A single dot asks for no search list at all.
    let search: Vec<&str> = dns
        .search
        .iter()
        .map(String::as_str)
        .filter(|domain| *domain != ".")
        .collect();
    if !search.is_empty() {
        writeln!(text, "search {}", search.join(" ")).expect("writing to a string cannot fail");
    }
    if !dns.options.is_empty() {
        writeln!(text, "options {}", dns.options.join(" "))
            .expect("writing to a string cannot fail");
    }
    text
}
