//! Choosing an address of a network. Pure; who holds which address is known
//! from the leases.

use std::net::IpAddr;

use ipnet::IpNet;
use netd_api::Pool;

use crate::family::{Family, number};

/// Why a network has no address for a container.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IpamError {
    #[error("no available {family} addresses on network {network}")]
    Exhausted {
        network: String,
        family: &'static str,
    },
    #[error("Address already in use: {address} on network {network}")]
    InUse { network: String, address: IpAddr },
    #[error("address {address} does not belong to network {network} ({subnet})")]
    Outside {
        network: String,
        address: IpAddr,
        subnet: IpNet,
    },
    #[error("no configured subnet of network {network} contains IP address {address}")]
    NoSubnet { network: String, address: IpAddr },
}

/// Returns `wanted` if it is free, else the lowest free address of the pool.
///
/// # Errors
/// When the wanted address cannot be had, or the pool is used up.
pub fn choose(
    network: &str,
    pool: &Pool,
    is_used: &dyn Fn(&IpAddr) -> bool,
    wanted: Option<IpAddr>,
) -> Result<IpAddr, IpamError> {
    if let Some(address) = wanted {
        return choose_fixed(network, pool, is_used, address);
    }
    let range = pool.range.unwrap_or(pool.subnet);
    let free = |address: &IpAddr| is_host(pool, *address) && !is_used(address);
    let exhausted = || IpamError::Exhausted {
        network: network.to_owned(),
        family: match Family::of(pool.subnet.network()) {
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        },
    };
    every_address(range).find(free).ok_or_else(exhausted)
}

fn choose_fixed(
    network: &str,
    pool: &Pool,
    is_used: &dyn Fn(&IpAddr) -> bool,
    address: IpAddr,
) -> Result<IpAddr, IpamError> {
    let network = network.to_owned();
    let subnet = pool.subnet;
    if !subnet.contains(&address) {
        return Err(IpamError::Outside {
            network,
            address,
            subnet,
        });
    }
    match is_used(&address) || !is_host(pool, address) {
        true => Err(IpamError::InUse { network, address }),
        false => Ok(address),
    }
}

/// The gateway is nobody's, nor is the network's own address, which in IPv6 is
/// that of any router, nor IPv4's broadcast address.
fn is_host(pool: &Pool, address: IpAddr) -> bool {
    let subnet = pool.subnet;
    let has_edges = subnet.max_prefix_len() - subnet.prefix_len() > 1;
    let is_edge =
        address == subnet.network() || (address.is_ipv4() && address == subnet.broadcast());
    subnet.contains(&address) && !(has_edges && is_edge) && Some(address) != pool.gateway
}

fn every_address(range: IpNet) -> impl Iterator<Item = IpAddr> {
    let family = Family::of(range.network());
    (number(range.network())..=number(range.broadcast()))
        .filter_map(move |number| family.address(number))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(subnet: &str, range: Option<&str>) -> Pool {
        let subnet: IpNet = subnet.parse().unwrap();
        let family = Family::of(subnet.network());
        Pool {
            subnet,
            gateway: family.address(number(subnet.network()) + 1),
            range: range.map(|range| range.parse().unwrap()),
            aux: Default::default(),
            chosen: Default::default(),
        }
    }

    fn check(pool: &Pool, used: &[&str], wanted: Option<&str>) -> Result<String, IpamError> {
        let used: Vec<IpAddr> = used
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        let is_used = |address: &IpAddr| used.contains(address);
        let wanted = wanted.map(|address| address.parse().unwrap());
        choose("n", pool, &is_used, wanted).map(|address| address.to_string())
    }

    #[test]
    fn the_lowest_free_address_is_chosen() {
        let whole = pool("172.17.0.0/16", None);
        assert_eq!(check(&whole, &[], None).unwrap(), "172.17.0.2");
        assert_eq!(
            check(&whole, &["172.17.0.2", "172.17.0.4"], None).unwrap(),
            "172.17.0.3"
        );
        let part = pool("172.17.0.0/16", Some("172.17.5.0/24"));
        assert_eq!(check(&part, &[], None).unwrap(), "172.17.5.0");
    }

    #[test]
    fn a_used_up_pool_says_so() {
        let small = pool("10.0.0.0/30", None);
        assert_eq!(check(&small, &[], None).unwrap(), "10.0.0.2");
        let error = check(&small, &["10.0.0.2"], None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no available IPv4 addresses on network n"
        );
    }

    #[test]
    fn a_wanted_address_is_given_or_refused_with_its_reason() {
        let whole = pool("10.1.0.0/24", None);
        assert_eq!(check(&whole, &[], Some("10.1.0.77")).unwrap(), "10.1.0.77");
        for taken in ["10.1.0.0", "10.1.0.1", "10.1.0.9", "10.1.0.255"] {
            let error = check(&whole, &["10.1.0.9"], Some(taken)).unwrap_err();
            assert!(matches!(error, IpamError::InUse { .. }), "{error}");
        }
        let error = check(&whole, &[], Some("10.2.0.5")).unwrap_err();
        assert!(matches!(error, IpamError::Outside { .. }), "{error}");
    }

    #[test]
    fn without_a_gateway_its_address_is_a_containers() {
        let alone = Pool {
            gateway: None,
            ..pool("10.1.0.0/24", None)
        };
        assert_eq!(check(&alone, &[], None).unwrap(), "10.1.0.1");
        assert_eq!(check(&alone, &[], Some("10.1.0.1")).unwrap(), "10.1.0.1");
    }

    #[test]
    fn ipv6_knows_no_broadcast_and_is_as_fast_in_a_vast_subnet() {
        let whole = pool("fd00:1::/64", None);
        assert_eq!(check(&whole, &[], None).unwrap(), "fd00:1::2");
        assert_eq!(check(&whole, &["fd00:1::2"], None).unwrap(), "fd00:1::3");
        let last = "fd00:1::ffff:ffff:ffff:ffff";
        assert_eq!(check(&whole, &[], Some(last)).unwrap(), last);
        for outside in ["fd00:2::5", "10.0.0.1"] {
            let error = check(&whole, &[], Some(outside)).unwrap_err();
            assert!(matches!(error, IpamError::Outside { .. }), "{error}");
        }
        let part = pool("fd00:1::/64", Some("fd00:1::a:0/112"));
        assert_eq!(check(&part, &[], None).unwrap(), "fd00:1::a:0");
        let small = pool("fd00:1::/126", None);
        let error = check(&small, &["fd00:1::2", "fd00:1::3"], None).unwrap_err();
        assert_eq!(
            error.to_string(),
            "no available IPv6 addresses on network n"
        );
    }
}
