//! What other firewalls on the host would do to our traffic. An accept in our
//! table is final only there: a base chain elsewhere on the forward hook whose
//! policy is to drop, as Docker and ufw set it, still drops our packets.
//!
//! Where Docker is that other one, it offers chain `DOCKER-USER` for rules of
//! the administrator: two rules there let our interfaces pass. Anything else is
//! named in the log, with what to do about it. No other
//! chain is changed.

use std::io;

use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST};

use super::batch::{Batch, Message, attributes};
use crate::netlink::{NetlinkContext as _, NetlinkError};
use base::netlink::{Family, Socket};

const NFT_MSG_GETCHAIN: u16 = 0x0a04;
const NFT_MSG_GETRULE: u16 = 0x0a07;
/// Without the subsystem, which a batch adds.
const NFT_MSG_DELRULE: u16 = 8;
const NFTA_RULE_TABLE: u16 = 1;
const NFTA_RULE_CHAIN: u16 = 2;
const NFTA_RULE_HANDLE: u16 = 3;
const NFTA_RULE_USERDATA: u16 = 7;
/// What rules of ours in Docker's chain look at: one rule each.
const DIRECTIONS: [&str; 2] = ["iifname", "oifname"];
/// Docker's chain for the rules of others.
const DOCKER_USER: &str = "DOCKER-USER";
const NFTA_CHAIN_TABLE: u16 = 1;
const NFTA_CHAIN_NAME: u16 = 3;
const NFTA_CHAIN_HOOK: u16 = 4;
const NFTA_CHAIN_POLICY: u16 = 5;
const NFTA_HOOK_HOOKNUM: u16 = 1;
const NF_INET_FORWARD: u32 = 2;
const NF_DROP: u32 = 0;
const NFPROTO_UNSPEC: u8 = 0;
const NFPROTO_INET: u8 = 1;
const NFPROTO_IPV4: u8 = 2;
const NFPROTO_IPV6: u8 = 10;
/// The families of tables that are not `inet`, by their names and numbers.
const FAMILIES: [(&str, u8); 2] = [("ip", NFPROTO_IPV4), ("ip6", NFPROTO_IPV6)];
/// Bytes of the netlink header and nf_tables' own.
const HEADERS: usize = 20;

/// A chain of somebody else's table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chain {
    /// `ip`, `ip6` or `inet`.
    pub family: &'static str,
    pub table: String,
    pub name: String,
    /// Whether it stands on the forward hook and drops what no rule accepts.
    pub drops_forwarded: bool,
}

/// Returns the chains of IP of all tables but ours.
///
/// # Errors
/// When the kernel refuses the dump.
pub fn chains(own_table: &str) -> Result<Vec<Chain>, NetlinkError> {
    let doing = || "list firewall chains".to_owned();
    let mut socket = Socket::open(Family::Netfilter).doing(doing)?;
    let mut all = Vec::new();
    let answer: io::Result<()> = socket.query(request, &mut |message| all.extend(parse(message)));
    answer.doing(doing)?;
    all.retain(|chain: &Chain| chain.family != "inet" || chain.table != own_table);
    Ok(all)
}

fn request(sequence: u32) -> Vec<u8> {
    let mut message = Message(Vec::new());
    let kind = [NFT_MSG_GETCHAIN, NLM_F_REQUEST | NLM_F_DUMP];
    message.whole(kind, sequence, [NFPROTO_UNSPEC, 0, 0, 0], |_| {});
    message.0
}

fn parse(message: &[u8]) -> Option<Chain> {
    let family = match *message.get(16)? {
        NFPROTO_INET => "inet",
        NFPROTO_IPV4 => "ip",
        NFPROTO_IPV6 => "ip6",
        _ => return None,
    };
    let body = message.get(HEADERS..)?;
    let find = |wanted| {
        attributes(body)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    let text = |wanted| {
        let value: &[u8] = find(wanted)?;
        Some(
            String::from_utf8_lossy(value)
                .trim_end_matches('\0')
                .to_owned(),
        )
    };
    let word = |value: &[u8]| Some(u32::from_be_bytes(*value.first_chunk()?));
    let hook = find(NFTA_CHAIN_HOOK).and_then(|hook| {
        let (_, number) = attributes(hook).find(|(kind, _)| *kind == NFTA_HOOK_HOOKNUM)?;
        word(number)
    });
    let policy = find(NFTA_CHAIN_POLICY).and_then(word);
    Some(Chain {
        family,
        table: text(NFTA_CHAIN_TABLE)?,
        name: text(NFTA_CHAIN_NAME)?,
        drops_forwarded: hook == Some(NF_INET_FORWARD) && policy == Some(NF_DROP),
    })
}

/// What is to be done about the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Advice {
    /// Nobody drops what we forward.
    Nothing,
    /// Docker does, and lets us say otherwise.
    DockerUser,
    /// Somebody does: a sentence for the administrator.
    Warn(String),
}

/// What was last said of each family.
pub type LastAdvice = [Advice; 2];

/// Nothing was said yet.
pub const NO_ADVICE: LastAdvice = [Advice::Nothing, Advice::Nothing];

/// Returns what is to be done about those of a family, `ip` or `ip6`; chains of
/// both are looked at with the first. Pure.
pub fn advise(chains: &[Chain], own_family: &str, prefix: &str) -> Advice {
    let is_meant = |chain: &&Chain| {
        chain.family == own_family || (chain.family == "inet" && own_family == "ip")
    };
    let mut meant = chains.iter().filter(is_meant);
    let dropping = meant.find(|chain| chain.drops_forwarded);
    let Some(chain) = dropping else {
        return Advice::Nothing;
    };
    let named = |name: &str| {
        chains
            .iter()
            .any(|chain| chain.family == own_family && chain.name == name)
    };
    if chain.family == own_family && chain.table == "filter" && named(DOCKER_USER) {
        return Advice::DockerUser;
    }
    let is_ufw = named("ufw-user-forward") || named("ufw6-user-forward");
    let remedy = if is_ufw {
        "allow it with ufw route allow".to_owned()
    } else {
        format!("accept there what comes from and goes to interfaces {prefix}*")
    };
    let Chain {
        family,
        table,
        name,
        ..
    } = chain;
    Advice::Warn(format!(
        "chain {name} of table {family} {table} drops what it does not accept, so containers \
         reach nothing outside and published ports are not reached: {remedy}"
    ))
}

/// Looks at the other firewalls; returns what `nft` is to do about them when it
/// loads our rules. What cannot be done is logged.
///
/// # Errors
/// When the kernel refuses to list them.
pub fn script(own_table: &str, prefix: &str) -> Result<String, NetlinkError> {
    let chains = chains(own_table)?;
    let mut script = String::new();
    for family in FAMILIES {
        match advise(&chains, family.0, prefix) {
            Advice::Nothing => {}
            Advice::Warn(text) => tracing::warn!("{text}"),
            Advice::DockerUser => {
                let handles = docker_user_handles(family, prefix)?;
                script += &docker_user_rules(family.0, prefix, &handles);
            }
        }
    }
    Ok(script)
}

/// As [`script`], where the others have changed: empty where our rules are in place,
/// or nothing has come to `last` that the administrator was not told.
///
/// # Errors
/// When the kernel refuses to list them.
pub fn script_again(
    own_table: &str,
    prefix: &str,
    last: &mut LastAdvice,
) -> Result<String, NetlinkError> {
    let chains = chains(own_table)?;
    let mut script = String::new();
    for (family, last) in FAMILIES.into_iter().zip(last) {
        let advice = advise(&chains, family.0, prefix);
        let is_new = advice != *last;
        last.clone_from(&advice);
        match advice {
            Advice::Nothing => {}
            Advice::Warn(text) if is_new => tracing::warn!("{text}"),
            Advice::Warn(_) => {}
            Advice::DockerUser => {
                let handles = docker_user_handles(family, prefix)?;
                if handles.len() < DIRECTIONS.len() {
                    script += &docker_user_rules(family.0, prefix, &handles);
                }
            }
        }
    }
    Ok(script)
}

/// Takes our rules out of Docker's chain.
///
/// # Errors
/// When the kernel refuses it.
pub fn withdraw(own_table: &str, prefix: &str) -> Result<(), NetlinkError> {
    let chains = chains(own_table)?;
    for family in FAMILIES {
        let is_there = |chain: &Chain| chain.family == family.0 && chain.name == DOCKER_USER;
        if chains.iter().any(is_there) {
            withdraw_from(family, prefix)?;
        }
    }
    Ok(())
}

fn withdraw_from(family: (&str, u8), prefix: &str) -> Result<(), NetlinkError> {
    let handles = docker_user_handles(family, prefix)?;
    if handles.is_empty() {
        return Ok(());
    }
    let doing = || format!("remove our rules from chain {DOCKER_USER}");
    let mut socket = Socket::open(Family::Netfilter).doing(doing)?;
    let mut batch = Batch::begin(&mut socket, family.1);
    for handle in handles {
        batch.message(NFT_MSG_DELRULE, 0, |message| {
            message.text(NFTA_RULE_TABLE, "filter");
            message.text(NFTA_RULE_CHAIN, DOCKER_USER);
            message.bytes(NFTA_RULE_HANDLE, &handle.to_be_bytes());
        });
    }
    batch.commit().doing(doing)
}

/// Returns the rules that let our interfaces pass, in place of the ones that
/// are there. Each carries our prefix as its comment, to be known by.
fn docker_user_rules(family: &str, prefix: &str, handles: &[u64]) -> String {
    let removed = handles
        .iter()
        .map(|handle| format!("delete rule {family} filter {DOCKER_USER} handle {handle}\n"));
    let added = DIRECTIONS.map(|direction| {
        format!(
            "insert rule {family} filter {DOCKER_USER} {direction} \"{prefix}*\" counter accept \
             comment \"{prefix}\"\n"
        )
    });
    removed.chain(added).collect()
}

/// Returns the handles of our rules in Docker's chain.
fn docker_user_handles(family: (&str, u8), prefix: &str) -> Result<Vec<u64>, NetlinkError> {
    let doing = || format!("list the rules of chain {DOCKER_USER}");
    let mut socket = Socket::open(Family::Netfilter).doing(doing)?;
    let build = |sequence| {
        let mut message = Message(Vec::new());
        let kind = [NFT_MSG_GETRULE, NLM_F_REQUEST | NLM_F_DUMP];
        message.whole(kind, sequence, [family.1, 0, 0, 0], |message| {
            message.text(NFTA_RULE_TABLE, "filter");
            message.text(NFTA_RULE_CHAIN, DOCKER_USER);
        });
        message.0
    };
    let mut handles = Vec::new();
    let answer = socket.query(build, &mut |message| {
        handles.extend(our_rule(message, prefix))
    });
    answer.doing(doing)?;
    Ok(handles)
}

fn our_rule(message: &[u8], prefix: &str) -> Option<u64> {
    let body = message.get(HEADERS..)?;
    let find = |wanted| {
        attributes(body)
            .find(|(kind, _)| *kind == wanted)
            .map(|(_, value)| value)
    };
    // Type, length, text, zero: how nft writes a comment.
    let comment: &[u8] = find(NFTA_RULE_USERDATA)?.get(2..)?;
    let ours = comment.starts_with(prefix.as_bytes());
    let handle: &[u8] = find(NFTA_RULE_HANDLE)?;
    ours.then(|| handle.first_chunk().copied().map(u64::from_be_bytes))?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(table: &str, name: &str, drops_forwarded: bool) -> Chain {
        Chain {
            family: "ip",
            table: table.to_owned(),
            name: name.to_owned(),
            drops_forwarded,
        }
    }

    #[test]
    fn a_policy_that_swallows_our_traffic_is_handled_or_named() {
        let open = [
            chain("filter", "FORWARD", false),
            chain("filter", "DOCKER-USER", false),
        ];
        assert_eq!(advise(&open, "ip", "e123456-"), Advice::Nothing);
        let docker = [
            chain("filter", "FORWARD", true),
            chain("filter", "DOCKER-USER", false),
        ];
        assert_eq!(advise(&docker, "ip", "e123456-"), Advice::DockerUser);
        let ufw = [
            chain("filter", "FORWARD", true),
            chain("filter", "ufw-user-forward", false),
        ];
        let Advice::Warn(text) = advise(&ufw, "ip", "e123456-") else {
            panic!("no warning");
        };
        assert!(text.contains("ufw route allow"), "{text}");
        let Advice::Warn(text) = advise(&[chain("mine", "fwd", true)], "ip", "e123456-") else {
            panic!("no warning");
        };
        assert!(
            text.contains("chain fwd of table ip mine") && text.contains("e123456-*"),
            "{text}"
        );
    }

    #[test]
    fn families_are_looked_at_apart_and_a_chain_of_both_once() {
        let of = |family, name: &str, drops_forwarded| Chain {
            family,
            ..chain("filter", name, drops_forwarded)
        };
        let docker = [
            of("ip", "FORWARD", false),
            of("ip6", "FORWARD", true),
            of("ip6", "DOCKER-USER", false),
        ];
        assert_eq!(advise(&docker, "ip", "e123456-"), Advice::Nothing);
        assert_eq!(advise(&docker, "ip6", "e123456-"), Advice::DockerUser);
        let both = [of("inet", "forward", true)];
        assert!(matches!(advise(&both, "ip", "e-"), Advice::Warn(_)));
        assert_eq!(advise(&both, "ip6", "e-"), Advice::Nothing);
        let rules = docker_user_rules("ip6", "e-", &[7]);
        assert!(rules.starts_with("delete rule ip6 filter DOCKER-USER handle 7\n"));
        assert_eq!(rules.matches("insert rule ip6 filter").count(), 2);
    }
}
