//! The subnets a client asks for. All that is wrong with them is said at once, as
//! Docker's server does; whether they are free, netd knows.

use std::fmt::Display;
use std::net::IpAddr;

use base::{Failure, FailureKind};
use engine_api::network::IpamConfig;
use ipnet::IpNet;
use netd_api::PoolRequest;

use crate::error::{Result, invalid, listed};

/// A longer list of subnets is not looked at.
const SUBNET_LIMIT: usize = 64;

/// Which families a network is to have; subnets of others are passed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Enabled {
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
}

/// What is asked for of each family.
#[derive(Debug, PartialEq)]
pub(super) struct Subnets {
    pub(super) ipv4: PoolRequest,
    pub(super) ipv6: PoolRequest,
    /// Those of a family the network is not to have.
    pub(super) unused: Vec<PoolRequest>,
}

/// Returns what is asked for.
///
/// # Errors
/// Invalid for what makes no sense, forbidden for a second subnet of a family.
pub(super) fn convert(configs: &[IpamConfig], enabled: Enabled) -> Result<Subnets> {
    if configs.len() > SUBNET_LIMIT {
        return Err(invalid(format!(
            "invalid network config: more than {SUBNET_LIMIT} subnets"
        )));
    }
    let mut wrong = Vec::new();
    let (mut ipv4, mut ipv6, mut unused) = (Vec::new(), Vec::new(), Vec::new());
    for config in configs {
        let Ok(subnet) = config.subnet.parse::<IpNet>() else {
            let text = &config.subnet;
            wrong.push(format!(
                "invalid subnet {text}: invalid CIDR block notation"
            ));
            continue;
        };
        let (is_enabled, chosen) = match subnet {
            IpNet::V4(_) => (enabled.ipv4, &mut ipv4),
            IpNet::V6(_) => (enabled.ipv6, &mut ipv6),
        };
        if is_enabled {
            chosen.push(pool(config, subnet, &mut wrong));
            continue;
        }
        // What is wrong with one that is not used does not matter.
        unused.push(pool(config, subnet, &mut Vec::new()));
    }
    if !wrong.is_empty() {
        return Err(invalid(format!(
            "invalid network config:\n{}",
            listed(&wrong)
        )));
    }
    if ipv4.len() > 1 || ipv6.len() > 1 {
        return Err(Failure::new(
            FailureKind::Forbidden,
            "bridge driver doesn't support multiple subnets",
        ));
    }
    Ok(Subnets {
        ipv4: ipv4.pop().unwrap_or_default(),
        ipv6: ipv6.pop().unwrap_or_default(),
        unused,
    })
}

fn pool(config: &IpamConfig, subnet: IpNet, wrong: &mut Vec<String>) -> PoolRequest {
    if subnet != subnet.trunc() {
        let right = subnet.trunc();
        wrong.push(format!("invalid subnet {subnet}: it should be {right}"));
    }
    let mut request = PoolRequest {
        subnet: Some(subnet),
        ..PoolRequest::default()
    };
    let text = &config.ip_range;
    if !text.is_empty() {
        match range(text, subnet) {
            Ok(range) => request.range = Some(range),
            Err(whys) => {
                let say = |why| format!("invalid ip-range {text}: {why}");
                wrong.extend(whys.into_iter().map(say));
            }
        }
    }
    let mut kept = |what: &str, text: &str, checked: std::result::Result<_, String>| {
        let failed = |why| wrong.push(format!("invalid {what} {text}: {why}"));
        checked.map_err(failed).ok()
    };
    let gateway = &config.gateway;
    if !gateway.is_empty() {
        request.gateway = kept("gateway", gateway, address(gateway, subnet));
    }
    for (name, text) in &config.auxiliary_addresses {
        let checked = kept("auxiliary address", name, address(text, subnet));
        request.aux.extend(checked.map(|ip| (name.clone(), ip)));
    }
    request
}

fn address(text: &str, subnet: IpNet) -> std::result::Result<IpAddr, String> {
    let ip: IpAddr = text.parse().map_err(|_| "invalid address".to_owned())?;
    if ip.is_ipv4() != subnet.addr().is_ipv4() {
        return Err(other_family(subnet));
    }
    match subnet.contains(&ip) {
        true => Ok(ip),
        false => Err(outside(subnet, "this address")),
    }
}

fn range(text: &str, subnet: IpNet) -> std::result::Result<IpNet, Vec<String>> {
    let Ok(range) = text.parse::<IpNet>() else {
        return Err(vec!["invalid CIDR block notation".to_owned()]);
    };
    if range.addr().is_ipv4() != subnet.addr().is_ipv4() {
        return Err(vec![other_family(subnet)]);
    }
    let mut whys = Vec::new();
    if range.prefix_len() < subnet.prefix_len() {
        whys.push(format!(
            "CIDR block is bigger than its parent subnet {subnet}"
        ));
    }
    if range != range.trunc() {
        whys.push(format!("it should be {}", range.trunc()));
    }
    if !subnet.contains(&range.addr()) && !range.contains(&subnet) {
        whys.push(outside(subnet, "ip-range"));
    }
    match whys.is_empty() {
        true => Ok(range),
        false => Err(whys),
    }
}

fn other_family(subnet: IpNet) -> String {
    let number = if subnet.addr().is_ipv4() { 4 } else { 6 };
    format!("parent subnet is an IPv{number} block")
}

fn outside(subnet: IpNet, what: impl Display) -> String {
    format!("parent subnet {subnet} doesn't contain {what}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOTH: Enabled = Enabled {
        ipv4: true,
        ipv6: true,
    };

    fn config(subnet: &str, range: &str, gateway: &str, aux: &[(&str, &str)]) -> IpamConfig {
        IpamConfig {
            subnet: subnet.to_owned(),
            ip_range: range.to_owned(),
            gateway: gateway.to_owned(),
            auxiliary_addresses: aux
                .iter()
                .map(|(name, ip)| ((*name).to_owned(), (*ip).to_owned()))
                .collect(),
        }
    }

    #[test]
    fn a_subnet_of_each_family_is_taken_with_what_belongs_to_it() {
        let configs = [
            config("fd00:1::/64", "fd00:1::/80", "fd00:1::ff", &[]),
            config(
                "10.1.0.0/16",
                "10.1.5.0/24",
                "10.1.5.254",
                &[("a", "10.1.1.5")],
            ),
        ];
        let Subnets { ipv4, ipv6, .. } = convert(&configs, BOTH).unwrap();
        assert_eq!(ipv4.subnet.unwrap().to_string(), "10.1.0.0/16");
        assert_eq!(ipv4.aux["a"].to_string(), "10.1.1.5");
        assert_eq!(ipv6.gateway.unwrap().to_string(), "fd00:1::ff");
        assert_eq!(ipv6.range.unwrap().to_string(), "fd00:1::/80");
        let only_ipv4 = Enabled {
            ipv6: false,
            ..BOTH
        };
        let some = convert(&configs, only_ipv4).unwrap();
        assert!(some.ipv4.subnet.is_some() && some.ipv6 == PoolRequest::default());
        assert_eq!(some.unused, [ipv6], "kept to be shown");
        let nothing = convert(&[], BOTH).unwrap();
        assert_eq!(nothing.ipv4, nothing.ipv6);
        let wrong = [config("fd00:1::7/64", "x", "y", &[])];
        assert!(convert(&wrong, only_ipv4).is_ok(), "does not matter");
    }

    fn check(configs: &[IpamConfig]) -> (FailureKind, String) {
        let failure = convert(configs, BOTH).unwrap_err();
        (failure.kind, failure.message)
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        let (kind, text) = check(&[
            config(
                "10.1.0.7/16",
                "10.1.0.0/8",
                "10.2.0.1",
                &[("a", "x"), ("b", "fd00::1")],
            ),
            config("fd00:1::/64", "fd00:2::/80", "10.0.0.1", &[]),
            config("", "", "10.0.0.1", &[]),
        ]);
        assert_eq!(kind, FailureKind::Invalid);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "invalid network config:",
                "* invalid subnet 10.1.0.7/16: it should be 10.1.0.0/16",
                "* invalid ip-range 10.1.0.0/8: CIDR block is bigger than its parent subnet 10.1.0.7/16",
                "* invalid ip-range 10.1.0.0/8: it should be 10.0.0.0/8",
                "* invalid gateway 10.2.0.1: parent subnet 10.1.0.7/16 doesn't contain this address",
                "* invalid auxiliary address a: invalid address",
                "* invalid auxiliary address b: parent subnet is an IPv4 block",
                "* invalid ip-range fd00:2::/80: parent subnet fd00:1::/64 doesn't contain ip-range",
                "* invalid gateway 10.0.0.1: parent subnet is an IPv6 block",
                "* invalid subnet : invalid CIDR block notation",
            ]
        );
    }

    #[test]
    fn one_thing_that_is_wrong_is_no_list() {
        let (_, text) = check(&[config("fd00:1::/64", "fd00:1::1/80", "", &[])]);
        let expected =
            "invalid network config:\ninvalid ip-range fd00:1::1/80: it should be fd00:1::/80";
        assert_eq!(text, expected);
    }

    #[test]
    fn a_second_subnet_of_a_family_is_forbidden() {
        for (one, two) in [
            ("10.1.0.0/16", "10.2.0.0/16"),
            ("fd00:1::/64", "fd00:2::/64"),
        ] {
            let configs = [config(one, "", "", &[]), config(two, "", "", &[])];
            let (kind, text) = check(&configs);
            assert_eq!(kind, FailureKind::Forbidden);
            assert_eq!(text, "bridge driver doesn't support multiple subnets");
        }
    }
}
