//! Choosing an address of a network. Pure; who holds which address is known
//! from the leases.

use std::collections::BTreeSet;
use std::net::Ipv4Addr;

use netd_api::network::Ipv4Pool;

/// Why a network has no address for a container.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum IpamError {
    #[error("no available IPv4 addresses on network {network}")]
    Exhausted { network: String },
    #[error("address {address} is already in use on network {network}")]
    InUse { network: String, address: Ipv4Addr },
    #[error("address {address} does not belong to network {network} ({subnet})")]
    Outside {
        network: String,
        address: Ipv4Addr,
        subnet: ipnet::Ipv4Net,
    },
}

/// Returns `wanted` if it is free, else the lowest free address of the pool.
///
/// # Errors
/// When the wanted address cannot be had, or the pool is used up.
pub fn choose(
    network: &str,
    pool: &Ipv4Pool,
    used: &BTreeSet<Ipv4Addr>,
    wanted: Option<Ipv4Addr>,
) -> Result<Ipv4Addr, IpamError> {
    if let Some(address) = wanted {
        return choose_fixed(network, pool, used, address);
    }
    let range = pool.range.unwrap_or(pool.subnet);
    let free = |address: &Ipv4Addr| is_host(pool, *address) && !used.contains(address);
    let exhausted = || IpamError::Exhausted {
        network: network.to_owned(),
    };
    every_address(range).find(free).ok_or_else(exhausted)
}

fn choose_fixed(
    network: &str,
    pool: &Ipv4Pool,
    used: &BTreeSet<Ipv4Addr>,
    address: Ipv4Addr,
) -> Result<Ipv4Addr, IpamError> {
    let network = network.to_owned();
    if used.contains(&address) || address == pool.gateway {
        return Err(IpamError::InUse { network, address });
    }
    if !is_host(pool, address) {
        let subnet = pool.subnet;
        return Err(IpamError::Outside {
            network,
            address,
            subnet,
        });
    }
    Ok(address)
}

/// Network and broadcast addresses and the gateway are nobody's.
fn is_host(pool: &Ipv4Pool, address: Ipv4Addr) -> bool {
    let edge = pool.subnet.prefix_len() < 31
        && (address == pool.subnet.network() || address == pool.subnet.broadcast());
    pool.subnet.contains(&address) && !edge && address != pool.gateway
}

fn every_address(range: ipnet::Ipv4Net) -> impl Iterator<Item = Ipv4Addr> {
    (u32::from(range.network())..=u32::from(range.broadcast())).map(Ipv4Addr::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(subnet: &str, range: Option<&str>) -> Ipv4Pool {
        let subnet: ipnet::Ipv4Net = subnet.parse().unwrap();
        Ipv4Pool {
            subnet,
            gateway: subnet.hosts().next().unwrap(),
            range: range.map(|range| range.parse().unwrap()),
        }
    }

    fn check(pool: &Ipv4Pool, used: &[&str], wanted: Option<&str>) -> Result<String, IpamError> {
        let used = used
            .iter()
            .map(|address| address.parse().unwrap())
            .collect();
        let wanted = wanted.map(|address| address.parse().unwrap());
        choose("n", pool, &used, wanted).map(|address| address.to_string())
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
        for taken in ["10.1.0.1", "10.1.0.9"] {
            let error = check(&whole, &["10.1.0.9"], Some(taken)).unwrap_err();
            assert!(matches!(error, IpamError::InUse { .. }), "{error}");
        }
        for outside in ["10.1.0.0", "10.1.0.255", "10.2.0.5"] {
            let error = check(&whole, &[], Some(outside)).unwrap_err();
            assert!(matches!(error, IpamError::Outside { .. }), "{error}");
        }
    }
}
