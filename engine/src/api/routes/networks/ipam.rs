//! The subnets a client asks for. All that is wrong with them is said at once, as
//! Docker's server does; whether they are free, netd knows.

use std::fmt::Display;
use std::net::IpAddr;

use base::{Failure, FailureKind};
use engine_api::network::IpamConfig;
use ipnet::IpNet;
use netd_api::PoolRequest;

use crate::error::{Result, invalid};

/// A longer list of subnets is not looked at.
const SUBNET_LIMIT: usize = 64;

/// Which families a network is to have; subnets of others are passed over.
#[derive(Debug, Clone, Copy)]
pub(super) struct Enabled {
    pub(super) ipv4: bool,
    pub(super) ipv6: bool,
}

/// Returns what is asked for of IPv4 and of IPv6.
///
/// # Errors
/// Invalid for what makes no sense, forbidden for a second subnet of a family.
pub(super) fn convert(configs: &[IpamConfig], enabled: Enabled) -> Result<[PoolRequest; 2]> {
    if configs.len() > SUBNET_LIMIT {
        return Err(invalid(format!(
            "invalid network config: more than {SUBNET_LIMIT} subnets"
        )));
    }
    let mut wrong = Vec::new();
    let (mut ipv4, mut ipv6) = (Vec::new(), Vec::new());
    for config in configs {
        if *config == IpamConfig::default() {
            continue;
        }
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
        }
    }
    if !wrong.is_empty() {
        let wrong = wrong.join("\n");
        return Err(invalid(format!("invalid network config:\n{wrong}")));
    }
    if ipv4.len() > 1 || ipv6.len() > 1 {
        return Err(Failure::new(
            FailureKind::Forbidden,
            "bridge driver doesn't support multiple subnets",
        ));
    }
    Ok([ipv4, ipv6].map(|mut pools| pools.pop().unwrap_or_default()))
}

fn pool(config: &IpamConfig, subnet: IpNet, wrong: &mut Vec<String>) -> PoolRequest {
    if subnet != subnet.trunc() {
        let right = subnet.trunc();
        wrong.push(format!("invalid subnet {subnet}: it should be {right}"));
    }
    let mut kept = |what: &str, text: &str, checked: std::result::Result<_, String>| {
        let failed = |why| wrong.push(format!("invalid {what} {text}: {why}"));
        checked.map_err(failed).ok()
    };
    let mut request = PoolRequest {
        subnet: Some(subnet),
        ..PoolRequest::default()
    };
    let gateway = &config.gateway;
    if !gateway.is_empty() {
        request.gateway = kept("gateway", gateway, address(gateway, subnet));
    }
    for (name, text) in &config.auxiliary_addresses {
        let checked = kept("auxiliary address", name, address(text, subnet));
        request.aux.extend(checked.map(|ip| (name.clone(), ip)));
    }
    let text = &config.ip_range;
    if !text.is_empty() {
        match range(text, subnet) {
            Ok(range) => request.range = Some(range),
            Err(why) => wrong.push(format!("invalid ip-range {text}: {why}")),
        }
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

fn range(text: &str, subnet: IpNet) -> std::result::Result<IpNet, String> {
    let range: IpNet = text
        .parse()
        .map_err(|_| "invalid CIDR block notation".to_owned())?;
    if range.addr().is_ipv4() != subnet.addr().is_ipv4() {
        return Err(other_family(subnet));
    }
    if range.prefix_len() < subnet.prefix_len() {
        return Err(format!(
            "CIDR block is bigger than its parent subnet {subnet}"
        ));
    }
    if range != range.trunc() {
        return Err(format!("it should be {}", range.trunc()));
    }
    match subnet.contains(&range) {
        true => Ok(range),
        false => Err(outside(subnet, "ip-range")),
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
            IpamConfig::default(),
            config(
                "10.1.0.0/16",
                "10.1.5.0/24",
                "10.1.5.254",
                &[("a", "10.1.1.5")],
            ),
        ];
        let [ipv4, ipv6] = convert(&configs, BOTH).unwrap();
        assert_eq!(ipv4.subnet.unwrap().to_string(), "10.1.0.0/16");
        assert_eq!(ipv4.aux["a"].to_string(), "10.1.1.5");
        assert_eq!(ipv6.gateway.unwrap().to_string(), "fd00:1::ff");
        assert_eq!(ipv6.range.unwrap().to_string(), "fd00:1::/80");
        let only_ipv4 = Enabled {
            ipv6: false,
            ..BOTH
        };
        let [ipv4, ipv6] = convert(&configs, only_ipv4).unwrap();
        assert!(ipv4.subnet.is_some() && ipv6 == PoolRequest::default());
        let nothing = convert(&[], BOTH).unwrap();
        assert_eq!(nothing, [PoolRequest::default(), PoolRequest::default()]);
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
            config("fd00:1::/64", "fd00:1::1/80", "", &[]),
        ]);
        assert_eq!(kind, FailureKind::Invalid);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "invalid network config:",
                "invalid subnet 10.1.0.7/16: it should be 10.1.0.0/16",
                "invalid gateway 10.2.0.1: parent subnet 10.1.0.7/16 doesn't contain this address",
                "invalid auxiliary address a: invalid address",
                "invalid auxiliary address b: parent subnet is an IPv4 block",
                "invalid ip-range 10.1.0.0/8: CIDR block is bigger than its parent subnet 10.1.0.7/16",
                "invalid gateway 10.0.0.1: parent subnet is an IPv6 block",
                "invalid ip-range fd00:2::/80: parent subnet fd00:1::/64 doesn't contain ip-range",
                "invalid subnet : invalid CIDR block notation",
                "invalid ip-range fd00:1::1/80: it should be fd00:1::/80",
            ]
        );
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
