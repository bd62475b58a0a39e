//! The rules of our table as text, and the one `nft` process that loads them.
//!
//! Loading is one transaction and keeps the elements of sets and maps, so a
//! restarted daemon never interrupts a connection.

use std::io::{self, Write as _};
use std::process::{Command, Stdio};

use super::LINK_GROUP;

/// Interfaces other container and virtual machine managers own, which forward
/// by their own rules even where the guard of ours is on.
const FOREIGN_BRIDGES: [&str; 8] = [
    "docker*", "br-*", "podman*", "cni*", "flannel*", "virbr*", "lxcbr*", "lxdbr*",
];

/// Why the table could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error("cannot start nft, which the Debian package nftables brings")]
    Start(#[source] io::Error),
    #[error("cannot give nft its rules")]
    Write(#[source] io::Error),
    #[error("nft refused the rules of table inet {table}: {message}")]
    Refused { table: String, message: String },
}

/// Returns the rules of table `inet <table>`.
///
/// - `guard`: a container reaches the host's loopback neither as destination
///   nor with a forged source.
/// - `prerouting`, `output`: published ports, from outside and from the host. A
///   packet for loopback is translated only in `output`: one that arrives by
///   wire and claims to be local never is.
/// - `loopback`: what was translated from IPv6 loopback and cannot be answered
///   (set `deaf`) is `refused` at once, so that clients try another address; a
///   chain of its own, since nft from 1.1 on finds a look-up of the protocol
///   beside a rule of IPv6 contradictory.
/// - `input`: of the host, an internal network reaches its own bridge's
///   addresses; IPv6 finds their neighbours by multicast.
/// - `forward`: bridges reach the outside; only answers and published ports
///   reach a bridge; networks do not reach each other; an internal network
///   reaches nothing. What is routed and not translated has its open ports.
///   `foreign` is the forwarding guard, on while set
///   `guarded` holds the protocol.
pub fn rules(table: &str) -> String {
    let mut text = String::new();
    let mut line = |words: String| {
        text.push_str(&words);
        text.push('\n');
    };
    line(format!("add table inet {table}"));
    line(format!("flush table inet {table}"));
    for (kind, name, definition) in SETS {
        line(format!("add {kind} inet {table} {name} {{ {definition} }}"));
    }
    for (chain, hook) in CHAINS {
        line(format!("add chain inet {table} {chain} {hook}"));
    }
    for (chain, rule) in RULES {
        line(format!("add rule inet {table} {chain} {rule}"));
    }
    line(format!(
        "add rule inet {table} foreign iifgroup {LINK_GROUP} return"
    ));
    line(format!(
        "add rule inet {table} foreign oifgroup {LINK_GROUP} return"
    ));
    for name in FOREIGN_BRIDGES {
        line(format!(
            "add rule inet {table} foreign iifname \"{name}\" return"
        ));
        line(format!(
            "add rule inet {table} foreign oifname \"{name}\" return"
        ));
    }
    line(format!(
        "add rule inet {table} foreign meta nfproto @guarded drop"
    ));
    text
}

const SETS: [(&str, &str, &str); 19] = [
    ("set", "bridges", "type ifname;"),
    ("set", "outbound", "type ifname;"),
    ("set", "outbound6", "type ifname;"),
    ("set", "routed", "type ifname;"),
    ("set", "routed6", "type ifname;"),
    ("set", "unprotected", "type ifname;"),
    ("set", "unprotected6", "type ifname;"),
    ("set", "open", "type inet_proto . ipv4_addr . inet_service;"),
    (
        "set",
        "open6",
        "type inet_proto . ipv6_addr . inet_service;",
    ),
    ("set", "internal", "type ifname;"),
    ("set", "within", "type ifname . ifname;"),
    ("set", "hairpin", "type ifname . ipv4_addr; flags interval;"),
    (
        "set",
        "hairpin6",
        "type ifname . ipv6_addr; flags interval;",
    ),
    ("set", "guarded", "type nf_proto;"),
    ("set", "deaf", "type nf_proto;"),
    (
        "map",
        "publish",
        "type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service;",
    ),
    (
        "map",
        "publish_any",
        "type inet_proto . inet_service : ipv4_addr . inet_service;",
    ),
    (
        "map",
        "publish6",
        "type inet_proto . ipv6_addr . inet_service : ipv6_addr . inet_service;",
    ),
    (
        "map",
        "publish_any6",
        "type inet_proto . inet_service : ipv6_addr . inet_service;",
    ),
];

const CHAINS: [(&str, &str); 11] = [
    (
        "guard",
        "{ type filter hook prerouting priority -300; policy accept; }",
    ),
    (
        "prerouting",
        "{ type nat hook prerouting priority -100; policy accept; }",
    ),
    (
        "output",
        "{ type nat hook output priority -100; policy accept; }",
    ),
    (
        "loopback",
        "{ type filter hook output priority 0; policy accept; }",
    ),
    (
        "postrouting",
        "{ type nat hook postrouting priority 100; policy accept; }",
    ),
    (
        "input",
        "{ type filter hook input priority 0; policy accept; }",
    ),
    (
        "forward",
        "{ type filter hook forward priority 0; policy accept; }",
    ),
    ("refused", ""),
    ("published", ""),
    ("to_container", ""),
    ("foreign", ""),
];

const RULES: [(&str, &str); 38] = [
    ("guard", "iifname @bridges ip daddr 127.0.0.0/8 drop"),
    ("guard", "iifname @bridges ip saddr 127.0.0.0/8 drop"),
    ("guard", "iifname @bridges ip6 daddr ::1 drop"),
    ("guard", "iifname @bridges ip6 saddr ::1 drop"),
    ("prerouting", "ip daddr 127.0.0.0/8 return"),
    ("prerouting", "ip6 daddr ::1 return"),
    (
        "prerouting",
        "meta l4proto { tcp, udp } fib daddr type local goto published",
    ),
    (
        "output",
        "meta l4proto { tcp, udp } fib daddr type local goto published",
    ),
    ("loopback", "meta nfproto @deaf goto refused"),
    (
        "refused",
        "ip6 saddr ::1 ip6 daddr != ::1 meta l4proto tcp reject with tcp reset",
    ),
    (
        "refused",
        "ip6 saddr ::1 ip6 daddr != ::1 reject with icmpv6 port-unreachable",
    ),
    (
        "published",
        "dnat ip to meta l4proto . ip daddr . th dport map @publish",
    ),
    (
        "published",
        "dnat ip to meta l4proto . th dport map @publish_any",
    ),
    (
        "published",
        "dnat ip6 to meta l4proto . ip6 daddr . th dport map @publish6",
    ),
    (
        "published",
        "dnat ip6 to meta l4proto . th dport map @publish_any6",
    ),
    (
        "postrouting",
        "meta nfproto ipv4 iifname @outbound oifname != @bridges masquerade",
    ),
    (
        "postrouting",
        "meta nfproto ipv6 iifname @outbound6 oifname != @bridges masquerade",
    ),
    (
        "postrouting",
        "ip saddr 127.0.0.0/8 oifname @bridges masquerade",
    ),
    ("postrouting", "ip6 saddr ::1 oifname @bridges masquerade"),
    (
        "postrouting",
        "oifname . ip saddr @hairpin ct status dnat masquerade",
    ),
    (
        "postrouting",
        "oifname . ip6 saddr @hairpin6 ct status dnat masquerade",
    ),
    (
        "input",
        "iifname @internal icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } accept",
    ),
    (
        "input",
        "iifname @internal fib daddr . iif type != local drop",
    ),
    ("forward", "iifname . oifname @within accept"),
    ("forward", "iifname @internal drop"),
    ("forward", "oifname @internal drop"),
    ("forward", "oifname @bridges goto to_container"),
    ("forward", "iifname @bridges accept"),
    ("forward", "goto foreign"),
    ("to_container", "ct state established,related accept"),
    ("to_container", "ct status dnat accept"),
    // By number: names of protocols are in a file that a small system does not have.
    ("to_container", "oifname @routed meta l4proto 1 accept"),
    ("to_container", "oifname @routed6 meta l4proto 58 accept"),
    (
        "to_container",
        "meta l4proto . ip daddr . th dport @open accept",
    ),
    (
        "to_container",
        "meta l4proto . ip6 daddr . th dport @open6 accept",
    ),
    (
        "to_container",
        "meta nfproto ipv4 iifname != @bridges oifname @unprotected accept",
    ),
    (
        "to_container",
        "meta nfproto ipv6 iifname != @bridges oifname @unprotected6 accept",
    ),
    ("to_container", "drop"),
];

/// Loads the rules, and what `others` says, with one `nft` process. A table that an older build left
/// with other sets is replaced as a whole; its elements come back when the
/// daemon reconciles.
///
/// # Errors
/// When `nft` cannot be run or refuses the rules.
pub fn load(table: &str, others: &str) -> Result<(), LoadError> {
    let rules = rules(table) + others;
    match run(table, &rules) {
        Err(LoadError::Refused { message, .. }) => {
            tracing::warn!(%message, "the firewall table is of another build, replacing it");
            run(
                table,
                &format!("add table inet {table}\ndelete table inet {table}\n{rules}"),
            )
        }
        other => other,
    }
}

/// The one place where netd starts a process of another program.
///
/// # Errors
/// When `nft` cannot be run or refuses the script.
pub fn run(table: &str, script: &str) -> Result<(), LoadError> {
    let mut child = Command::new("nft")
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(LoadError::Start)?;
    let written = child
        .stdin
        .take()
        .map_or(Ok(()), |mut stdin| stdin.write_all(script.as_bytes()));
    let output = child.wait_with_output().map_err(LoadError::Start)?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        let table = table.to_owned();
        return Err(LoadError::Refused { table, message });
    }
    written.map_err(LoadError::Write)
}
