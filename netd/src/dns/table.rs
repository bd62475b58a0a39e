//! Who is called what, and what a question is answered with. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::message::{Code, Question, TYPE_A, TYPE_PTR};

/// Everything the DNS child knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub zones: Vec<Zone>,
    /// The host's name servers.
    pub upstream: Vec<IpAddr>,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    pub network: String,
    pub gateway: Ipv4Addr,
    pub subnet: Ipv4Net,
    /// Nothing is forwarded for containers that are on such networks only.
    pub internal: bool,
    pub members: Vec<Member>,
}

/// One container on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The same for all endpoints of a container.
    pub run: String,
    pub address: Ipv4Addr,
    /// The container's name first.
    pub names: Vec<String>,
    /// What it asks instead of the host's name servers.
    pub servers: Vec<IpAddr>,
    /// Names of others, each with what only this one calls it.
    #[serde(default)]
    pub links: Vec<(String, String)>,
}

/// What a question is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Addresses(Vec<Ipv4Addr>),
    Pointer(String),
    Code(Code),
    /// Somebody else knows.
    Forward(Vec<IpAddr>),
    /// Who asks is not of the network: no answer at all.
    Nobody,
}

impl Table {
    /// Returns what the question of `source` is answered with that came in at
    /// the gateway `gateway`. A container sees the names of all its networks,
    /// whichever it asks on.
    pub fn answer(&self, gateway: Ipv4Addr, source: IpAddr, question: &Question) -> Answer {
        let IpAddr::V4(source) = source else {
            return Answer::Nobody;
        };
        let asked = self.zones.iter().find(|zone| zone.gateway == gateway);
        let Some(zone) = asked.filter(|zone| zone.subnet.contains(&source)) else {
            return Answer::Nobody;
        };
        let asker = zone.members.iter().find(|member| member.address == source);
        let visible: Vec<&Zone> = match asker {
            Some(asker) => self
                .zones
                .iter()
                .filter(|zone| zone.has(&asker.run))
                .collect(),
            None => vec![zone],
        };
        if question.is_internet()
            && let Some(name) = &question.name
            && let name = asker.map_or(name.as_str(), |it| linked(&visible, &it.run, name))
            && let Some(answer) = local(&visible, name, question.kind)
        {
            return answer;
        }
        self.forward(&visible, asker)
    }

    fn forward(&self, visible: &[&Zone], asker: Option<&Member>) -> Answer {
        if visible.iter().all(|zone| zone.internal) {
            return Answer::Code(Code::Refused);
        }
        let own = asker
            .map(|asker| &asker.servers)
            .filter(|servers| !servers.is_empty());
        let servers = own.unwrap_or(&self.upstream).iter().copied();
        let ours = |server: &IpAddr| {
            self.zones
                .iter()
                .any(|zone| IpAddr::V4(zone.gateway) == *server)
        };
        let servers: Vec<IpAddr> = servers.filter(|server| !ours(server)).collect();
        if servers.is_empty() {
            return Answer::Code(Code::ServerFailure);
        }
        Answer::Forward(servers)
    }
}

impl Zone {
    fn has(&self, run: &str) -> bool {
        self.members.iter().any(|member| member.run == run)
    }

    fn addresses(&self, name: &str) -> impl Iterator<Item = Ipv4Addr> {
        let own = name.strip_suffix(&self.network.to_ascii_lowercase());
        let short = own
            .and_then(|rest| rest.strip_suffix('.'))
            .map(str::to_owned);
        let name = name.to_owned();
        let called = move |known: &String| {
            known.eq_ignore_ascii_case(&name)
                || short
                    .as_ref()
                    .is_some_and(|short| known.eq_ignore_ascii_case(short))
        };
        let members = self.members.iter();
        members
            .filter(move |member| member.names.iter().any(&called))
            .map(|member| member.address)
    }
}

/// Returns the name that `name` is a link to for this asker, or `name`.
fn linked<'a>(visible: &[&'a Zone], run: &str, name: &'a str) -> &'a str {
    let members = visible.iter().flat_map(|zone| &zone.members);
    let own = members.filter(|member| member.run == run);
    let mut links = own.flat_map(|member| &member.links);
    links
        .find(|(_, alias)| alias.eq_ignore_ascii_case(name))
        .map_or(name, |(target, _)| target)
}

/// Returns the answer if the name is ours to know.
fn local(visible: &[&Zone], name: &str, kind: u16) -> Option<Answer> {
    let addresses: BTreeSet<Ipv4Addr> = visible
        .iter()
        .flat_map(|zone| zone.addresses(name))
        .collect();
    if !addresses.is_empty() {
        // A name we know has no data of other types, and nobody else is asked.
        let found = if kind == TYPE_A {
            addresses
        } else {
            BTreeSet::new()
        };
        return Some(Answer::Addresses(found.into_iter().collect()));
    }
    let address = reverse(name)?;
    let zone = visible.iter().find(|zone| zone.subnet.contains(&address))?;
    let member = zone.members.iter().find(|member| member.address == address);
    let name = member.and_then(|member| member.names.first());
    Some(match name {
        Some(name) if kind == TYPE_PTR => Answer::Pointer(format!("{name}.{}", zone.network)),
        Some(_) => Answer::Addresses(Vec::new()),
        None => Answer::Code(Code::NoSuchName),
    })
}

/// Returns the address that `4.3.2.1.in-addr.arpa` stands for.
fn reverse(name: &str) -> Option<Ipv4Addr> {
    let digits = name.strip_suffix(".in-addr.arpa")?;
    let mut parts = digits.split('.').rev().map(str::parse::<u8>);
    let mut octets = [0; 4];
    for octet in &mut octets {
        *octet = parts.next()?.ok()?;
    }
    parts.next().is_none().then(|| Ipv4Addr::from(octets))
}

#[cfg(test)]
mod tests {
    use super::*;

    const AAAA: u16 = 28;

    fn member(run: &str, address: &str, names: &[&str]) -> Member {
        Member {
            run: run.to_owned(),
            address: address.parse().unwrap(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            servers: Vec::new(),
            links: Vec::new(),
        }
    }

    #[test]
    fn a_link_is_known_to_its_own_container_only() {
        let mut table = table();
        let known = table.zones[0].members[0].address;
        table.zones[0].members[1].links = vec![("web".to_owned(), "store".to_owned())];
        let ask = |source: &str| {
            let gateway = Ipv4Addr::new(10, 0, 1, 1);
            let question = question("store", TYPE_A);
            table.answer(gateway, source.parse().unwrap(), &question)
        };
        assert_eq!(ask("10.0.1.3"), Answer::Addresses(vec![known]));
        assert!(matches!(ask("10.0.1.4"), Answer::Forward(_)));
    }

    fn table() -> Table {
        let zone = |network: &str, third: u8, internal, members| Zone {
            network: network.to_owned(),
            gateway: Ipv4Addr::new(10, 0, third, 1),
            subnet: format!("10.0.{third}.0/24").parse().unwrap(),
            internal,
            members,
        };
        let mut own = member("r3", "10.0.1.4", &["own"]);
        own.servers = vec!["9.9.9.9".parse().unwrap()];
        let front = vec![
            member("r1", "10.0.1.2", &["web", "shared"]),
            member("r2", "10.0.1.3", &["app", "shared"]),
            own,
        ];
        let back = vec![
            member("r2", "10.0.2.2", &["app"]),
            member("r4", "10.0.2.3", &["db"]),
        ];
        Table {
            zones: vec![zone("front", 1, false, front), zone("Back", 2, true, back)],
            upstream: vec!["8.8.8.8".parse().unwrap(), "10.0.2.1".parse().unwrap()],
        }
    }

    fn question(name: &str, kind: u16) -> Question {
        Question {
            id: 1,
            recursion_desired: true,
            name: Some(name.to_owned()),
            kind,
            class: 1,
            end: 0,
        }
    }

    fn check(source: &str, name: &str, kind: u16) -> String {
        let question = question(name, kind);
        let source: Ipv4Addr = source.parse().unwrap();
        let [.., third, _] = source.octets();
        let gateway = Ipv4Addr::new(10, 0, third.clamp(1, 2), 1);
        match table().answer(gateway, source.into(), &question) {
            Answer::Addresses(all) => all
                .iter()
                .map(|a| a.to_string())
                .collect::<Vec<_>>()
                .join(" "),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn containers_see_the_names_of_their_own_networks() {
        assert_eq!(check("10.0.1.2", "app", TYPE_A), "10.0.1.3");
        assert_eq!(check("10.0.1.2", "app.front", TYPE_A), "10.0.1.3");
        assert_eq!(check("10.0.1.2", "shared", TYPE_A), "10.0.1.2 10.0.1.3");
        assert_eq!(
            check("10.0.1.2", "db", TYPE_A),
            "Forward([8.8.8.8])",
            "not its network"
        );
        assert_eq!(
            check("10.0.1.3", "db", TYPE_A),
            "10.0.2.3",
            "asked on the other network"
        );
        assert_eq!(check("10.0.1.3", "db.back", TYPE_A), "10.0.2.3");
        assert_eq!(
            check("10.0.1.2", "web", AAAA),
            "",
            "known, without such data"
        );
    }

    #[test]
    fn strangers_get_no_answer() {
        assert_eq!(check("192.0.2.1", "web", TYPE_A), "Nobody");
        assert_eq!(
            check("10.0.1.1", "web", TYPE_A),
            "10.0.1.2",
            "the host itself may ask"
        );
    }

    #[test]
    fn other_names_are_forwarded_but_not_from_internal_networks() {
        assert_eq!(
            check("10.0.1.2", "example.com", TYPE_A),
            "Forward([8.8.8.8])"
        );
        assert_eq!(check("10.0.1.4", "example.com", AAAA), "Forward([9.9.9.9])");
        assert_eq!(check("10.0.2.3", "example.com", TYPE_A), "Code(Refused)");
        assert_eq!(
            check("10.0.2.2", "example.com", TYPE_A),
            "Forward([8.8.8.8])",
            "on both"
        );
    }

    #[test]
    fn addresses_of_ours_have_names() {
        assert_eq!(
            check("10.0.1.2", "3.1.0.10.in-addr.arpa", TYPE_PTR),
            "Pointer(\"app.front\")"
        );
        assert_eq!(
            check("10.0.1.2", "9.1.0.10.in-addr.arpa", TYPE_PTR),
            "Code(NoSuchName)"
        );
        assert_eq!(
            check("10.0.1.2", "1.2.3.4.in-addr.arpa", TYPE_PTR),
            "Forward([8.8.8.8])"
        );
        assert_eq!(reverse("1.2.3.in-addr.arpa"), None);
        assert_eq!(reverse("1.2.3.4.5.in-addr.arpa"), None);
    }
}
