//! Who is called what, and what a question is answered with. Pure.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::message::{Code, Question, TYPE_PTR, record_type};
use crate::resolver::EMBEDDED;

/// Everything the DNS child knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Table {
    pub askers: Vec<Asker>,
    pub zones: Vec<Zone>,
    /// The host's name servers.
    pub upstream: Vec<IpAddr>,
}

/// One container that asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    pub run: String,
    pub namespace: PathBuf,
    /// Nothing is forwarded for containers that are on internal networks only.
    pub forwards: bool,
    /// What it asks instead of the host's name servers.
    pub servers: Vec<IpAddr>,
    /// Names of others, each with what only this one calls it.
    pub links: Vec<(String, String)>,
}

/// One network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Zone {
    pub network: String,
    pub subnets: Vec<IpNet>,
    pub members: Vec<Member>,
}

/// One container on a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The same for all endpoints of a container.
    pub run: String,
    /// One of each family the network has.
    pub addresses: Vec<IpAddr>,
    /// The container's name first.
    pub names: Vec<String>,
}

/// What a question is answered with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Addresses(Vec<IpAddr>),
    Pointer(String),
    Code(Code),
    /// Somebody else knows.
    Forward(Vec<IpAddr>),
    /// Who asks is not known (any more): no answer at all.
    Nobody,
}

impl Table {
    /// Returns what the question of a run is answered with. A container sees the
    /// names of all its networks.
    pub fn answer(&self, run: &str, question: &Question) -> Answer {
        let Some(asker) = self.askers.iter().find(|asker| asker.run == run) else {
            return Answer::Nobody;
        };
        let zones = self.zones.iter().filter(|zone| zone.has(run));
        let visible: Vec<&Zone> = zones.collect();
        if question.is_internet()
            && let Some(name) = &question.name
            && let Some(answer) = local(&visible, asker.linked(name), question.kind)
        {
            return answer;
        }
        self.forward(asker)
    }

    fn forward(&self, asker: &Asker) -> Answer {
        if !asker.forwards {
            return Answer::Code(Code::Refused);
        }
        let servers = match asker.servers.is_empty() {
            true => &self.upstream,
            false => &asker.servers,
        };
        // It would ask us again.
        let ours = |server: &&IpAddr| **server == IpAddr::V4(EMBEDDED);
        let servers: Vec<IpAddr> = servers.iter().filter(|it| !ours(it)).copied().collect();
        match servers.is_empty() {
            true => Answer::Code(Code::ServerFailure),
            false => Answer::Forward(servers),
        }
    }
}

impl Asker {
    /// Returns the name that `name` is a link to for this asker, or `name`.
    fn linked<'a>(&'a self, name: &'a str) -> &'a str {
        let mut links = self.links.iter();
        links
            .find(|(_, alias)| alias.eq_ignore_ascii_case(name))
            .map_or(name, |(target, _)| target)
    }
}

impl Zone {
    fn has(&self, run: &str) -> bool {
        self.members.iter().any(|member| member.run == run)
    }

    fn covers(&self, address: &IpAddr) -> bool {
        self.subnets.iter().any(|subnet| subnet.contains(address))
    }

    fn member_at(&self, address: &IpAddr) -> Option<&Member> {
        let mut members = self.members.iter();
        members.find(|member| member.addresses.contains(address))
    }

    fn addresses(&self, name: &str) -> impl Iterator<Item = IpAddr> {
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
            .flat_map(|member| member.addresses.iter().copied())
    }
}

/// Returns the answer if the name is ours to know.
fn local(visible: &[&Zone], name: &str, kind: u16) -> Option<Answer> {
    let mut addresses: BTreeSet<IpAddr> = visible
        .iter()
        .flat_map(|zone| zone.addresses(name))
        .collect();
    if !addresses.is_empty() {
        // A name we know has no data of other types, and nobody else is asked.
        addresses.retain(|address| record_type(address) == kind);
        return Some(Answer::Addresses(addresses.into_iter().collect()));
    }
    let address = reverse(name)?;
    let zone = visible.iter().find(|zone| zone.covers(&address))?;
    let name = zone
        .member_at(&address)
        .and_then(|member| member.names.first());
    Some(match name {
        Some(name) if kind == TYPE_PTR => Answer::Pointer(format!("{name}.{}", zone.network)),
        Some(_) => Answer::Addresses(Vec::new()),
        None => Answer::Code(Code::NoSuchName),
    })
}

/// Returns the address that `4.3.2.1.in-addr.arpa` or a name of 32 digits below
/// `ip6.arpa` stands for.
fn reverse(name: &str) -> Option<IpAddr> {
    if let Some(digits) = name.strip_suffix(".in-addr.arpa") {
        let octets: [u8; 4] = parts(digits, |part| part.parse().ok())?;
        return Some(Ipv4Addr::from(octets).into());
    }
    let nibble = |part: &str| {
        u8::from_str_radix(part, 16)
            .ok()
            .filter(|_| part.len() == 1)
    };
    let nibbles: [u8; 32] = parts(name.strip_suffix(".ip6.arpa")?, nibble)?;
    let number = nibbles
        .iter()
        .fold(0, |number: u128, nibble| number << 4 | u128::from(*nibble));
    Some(Ipv6Addr::from(number).into())
}

/// Returns exactly `N` parts of a name, the last first.
fn parts<const N: usize>(name: &str, read: impl Fn(&str) -> Option<u8>) -> Option<[u8; N]> {
    let mut parts = name.split('.').rev();
    let mut all = [0; N];
    for part in &mut all {
        *part = read(parts.next()?)?;
    }
    parts.next().is_none().then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::message::{TYPE_A, TYPE_AAAA as AAAA};

    fn member(run: &str, address: &str, names: &[&str]) -> Member {
        Member {
            run: run.to_owned(),
            addresses: address.split(' ').map(|it| it.parse().unwrap()).collect(),
            names: names.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    fn asker(run: &str) -> Asker {
        Asker {
            run: run.to_owned(),
            namespace: PathBuf::new(),
            forwards: run != "r4",
            servers: Vec::new(),
            links: Vec::new(),
        }
    }

    fn table() -> Table {
        let zone = |network: &str, third: u8, members| Zone {
            network: network.to_owned(),
            subnets: vec![
                format!("10.0.{third}.0/24").parse().unwrap(),
                format!("fd00:{third}::/64").parse().unwrap(),
            ],
            members,
        };
        let front = vec![
            member("r1", "10.0.1.2", &["web", "shared"]),
            member("r2", "10.0.1.3 fd00:1::3", &["app", "shared"]),
            member("r3", "10.0.1.4", &["own"]),
        ];
        let back = vec![
            member("r2", "10.0.2.2", &["app"]),
            member("r4", "10.0.2.3", &["db"]),
        ];
        let mut askers: Vec<_> = ["r1", "r2", "r3", "r4"].map(asker).into();
        askers[1].links = vec![("web".to_owned(), "store".to_owned())];
        askers[2].servers = vec!["9.9.9.9".parse().unwrap()];
        Table {
            askers,
            zones: vec![zone("front", 1, front), zone("Back", 2, back)],
            upstream: vec!["8.8.8.8".parse().unwrap(), EMBEDDED.into()],
        }
    }

    #[test]
    fn a_link_is_known_to_its_own_container_only() {
        assert_eq!(check("r2", "Store", TYPE_A), "10.0.1.2");
        assert_eq!(check("r1", "store", TYPE_A), "Forward([8.8.8.8])");
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

    fn check(run: &str, name: &str, kind: u16) -> String {
        match table().answer(run, &question(name, kind)) {
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
        assert_eq!(check("r1", "app", TYPE_A), "10.0.1.3");
        assert_eq!(check("r1", "app.front", TYPE_A), "10.0.1.3");
        assert_eq!(check("r1", "shared", TYPE_A), "10.0.1.2 10.0.1.3");
        assert_eq!(
            check("r1", "db", TYPE_A),
            "Forward([8.8.8.8])",
            "not its network"
        );
        assert_eq!(
            check("r2", "db", TYPE_A),
            "10.0.2.3",
            "asked on the other network"
        );
        assert_eq!(check("r2", "db.back", TYPE_A), "10.0.2.3");
        assert_eq!(check("r1", "web", AAAA), "", "known, without such data");
    }

    #[test]
    fn strangers_get_no_answer() {
        assert_eq!(check("r9", "web", TYPE_A), "Nobody");
    }

    #[test]
    fn other_names_are_forwarded_but_not_from_internal_networks() {
        assert_eq!(check("r1", "example.com", TYPE_A), "Forward([8.8.8.8])");
        assert_eq!(check("r3", "example.com", AAAA), "Forward([9.9.9.9])");
        assert_eq!(check("r4", "example.com", TYPE_A), "Code(Refused)");
        assert_eq!(
            check("r2", "example.com", TYPE_A),
            "Forward([8.8.8.8])",
            "on both"
        );
    }

    #[test]
    fn addresses_of_ours_have_names() {
        assert_eq!(
            check("r1", "3.1.0.10.in-addr.arpa", TYPE_PTR),
            "Pointer(\"app.front\")"
        );
        assert_eq!(
            check("r1", "9.1.0.10.in-addr.arpa", TYPE_PTR),
            "Code(NoSuchName)"
        );
        assert_eq!(
            check("r1", "1.2.3.4.in-addr.arpa", TYPE_PTR),
            "Forward([8.8.8.8])"
        );
        let six = |last: &str| format!("{last}.{}1.0.0.0.0.0.d.f.ip6.arpa", "0.".repeat(23));
        assert_eq!(check("r1", &six("3"), TYPE_PTR), "Pointer(\"app.front\")");
        assert_eq!(check("r1", &six("9"), TYPE_PTR), "Code(NoSuchName)");
        assert_eq!(reverse(&six("10")), None);
        assert_eq!(reverse("1.0.0.ip6.arpa"), None);
        assert_eq!(reverse("1.2.3.in-addr.arpa"), None);
        assert_eq!(reverse("1.2.3.4.5.in-addr.arpa"), None);
    }

    #[test]
    fn a_name_has_the_families_its_container_has() {
        assert_eq!(check("r1", "app", AAAA), "fd00:1::3");
        assert_eq!(check("r1", "app", TYPE_A), "10.0.1.3");
        assert_eq!(check("r1", "shared", AAAA), "fd00:1::3");
    }
}
