//! Choosing a subnet for a network, and checking one the user chose. Pure; the
//! host's routes and addresses are passed in. All subnets of a call are of one
//! family or are passed over.

use std::net::{IpAddr, Ipv6Addr};

use base::{Digest, NetworkId};
use ipnet::{IpNet, Ipv6Net};
use netd_api::config::{AddressPool, longest_prefix};
use netd_api::{Chosen, Pool, PoolRequest};

use crate::family::{Family, number};

/// A route this wide is a default route in pieces, as VPNs set it; it does not
/// make every subnet taken.
const WIDE_ROUTE_BITS: u8 = 8;
/// A network may reserve this many addresses by name.
pub const AUX_LIMIT: usize = 1024;
/// A network may name this many subnets it does not use.
const UNUSED_LIMIT: usize = 8;
/// The first byte of a unique local address that was made by chance (RFC 4193).
const UNIQUE_LOCAL: u8 = 0xfd;
/// The bits of such a block, and of the subnets cut from it.
const UNIQUE_LOCAL_BITS: u8 = 48;
const SUBNET_BITS: u8 = 64;

/// Why a network gets no subnet.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PoolError {
    #[error("all predefined address pools have been fully subnetted")]
    Exhausted,
    #[error(
        "invalid pool request: Pool overlaps with other one on this address space: {subnet} overlaps {taken}"
    )]
    Overlap { subnet: IpNet, taken: IpNet },
    #[error("subnet {0} has no room for a gateway and a container")]
    TooSmall(IpNet),
    #[error("subnet {0} is not one that hosts have addresses of")]
    NotUnicast(IpNet),
    #[error("{what} {value} is not part of subnet {subnet}")]
    Outside {
        what: String,
        value: String,
        subnet: IpNet,
    },
    #[error("a range, a gateway or a reserved address was given without a subnet")]
    NoSubnet,
    #[error("a network may reserve at most {AUX_LIMIT} addresses")]
    TooManyReserved,
    #[error("more than {UNUSED_LIMIT} subnets are of a family the network has not")]
    TooManyUnused,
    #[error("subnet {0} is of the other address family")]
    OtherFamily(IpNet),
}

/// Returns the block that IPv6 subnets of an installation are cut from where
/// the configuration has none: a unique local one, the same each time, another
/// for each installation. `id` is that of its default network, which is random
/// and lives as long as the installation.
pub fn own_block(id: &NetworkId) -> AddressPool {
    let hex = Digest::of(id.as_str().as_bytes()).hex();
    let digits = hex.get(..10).unwrap_or_default();
    let global = u128::from_str_radix(digits, 16).unwrap_or_default();
    let address = u128::from(UNIQUE_LOCAL) << 120 | global << 80;
    let base = Ipv6Net::new(Ipv6Addr::from(address), UNIQUE_LOCAL_BITS);
    AddressPool {
        base: base.expect("a prefix has at most 128 bits").into(),
        size: SUBNET_BITS,
    }
}

/// Returns the first subnet of `pools` that overlaps nothing of `taken`.
///
/// # Errors
/// When there is none.
pub fn choose<'a>(
    pools: impl IntoIterator<Item = &'a AddressPool>,
    taken: &[IpNet],
) -> Result<Pool, PoolError> {
    let mut free = pools.into_iter().filter_map(|pool| first_free(pool, taken));
    let free = free.next().ok_or(PoolError::Exhausted)?;
    Ok(with_first_gateway(free, Chosen::Nothing))
}

/// Goes from what is taken to what follows it: a block may have more subnets
/// than could be looked at one by one.
fn first_free(pool: &AddressPool, taken: &[IpNet]) -> Option<IpNet> {
    let base = pool.base.trunc();
    let family = Family::of(base.network());
    let mut at = base.network();
    while base.contains(&at) {
        let subnet = IpNet::new(at, pool.size).ok()?;
        let Some(other) = overlap(&subnet, taken) else {
            return Some(subnet);
        };
        let end = number(subnet.broadcast()).max(number(other.broadcast()));
        at = family.address(end.checked_add(1)?)?;
    }
    None
}

/// Returns the pool a user asked for, `None` if they left it to us.
///
/// # Errors
/// When it overlaps something of `taken` or makes no sense.
pub fn check(
    wanted: &PoolRequest,
    family: Family,
    taken: &[IpNet],
) -> Result<Option<Pool>, PoolError> {
    let Some(subnet) = wanted.subnet else {
        let is_alone = wanted.range.is_some() || wanted.gateway.is_some() || !wanted.aux.is_empty();
        return match is_alone {
            true => Err(PoolError::NoSubnet),
            false => Ok(None),
        };
    };
    let subnet = subnet.trunc();
    if Family::of(subnet.network()) != family {
        return Err(PoolError::OtherFamily(subnet));
    }
    if subnet.prefix_len() > longest_prefix(&subnet) {
        return Err(PoolError::TooSmall(subnet));
    }
    let first = subnet.network();
    if first.is_multicast() || first.is_loopback() {
        return Err(PoolError::NotUnicast(subnet));
    }
    if let Some(taken) = overlap(&subnet, taken) {
        return Err(PoolError::Overlap { subnet, taken });
    }
    let mut pool = with_first_gateway(subnet, Chosen::Subnet);
    if wanted.gateway.is_some() {
        pool.gateway = wanted.gateway;
        pool.chosen = Chosen::All;
    }
    pool.range = wanted.range.map(|range| range.trunc());
    if let Some(range) = pool
        .range
        .filter(|range| range.network() != first && subnet.contains(range))
    {
        // As in Docker, it is the first address of those there are.
        pool.gateway = wanted.gateway.or(Some(range.network()));
    }
    pool.aux.clone_from(&wanted.aux);
    inside(&pool)?;
    Ok(Some(pool))
}

/// Checks the subnets that are shown only: there must not be many.
///
/// # Errors
/// When there are.
pub fn check_unused(unused: &[PoolRequest]) -> Result<(), PoolError> {
    if unused.len() > UNUSED_LIMIT {
        return Err(PoolError::TooManyUnused);
    }
    match unused.iter().any(|request| request.aux.len() > AUX_LIMIT) {
        true => Err(PoolError::TooManyReserved),
        false => Ok(()),
    }
}

fn inside(pool: &Pool) -> Result<(), PoolError> {
    let subnet = pool.subnet;
    let outside = |what: &str, value: String| {
        Err(PoolError::Outside {
            what: what.to_owned(),
            value,
            subnet,
        })
    };
    let is_edge = |ip: IpAddr| ip == subnet.network() || (ip.is_ipv4() && ip == subnet.broadcast());
    let is_outside = |ip: &IpAddr| !subnet.contains(ip) || is_edge(*ip);
    if let Some(gateway) = pool.gateway.filter(is_outside) {
        return outside("gateway", gateway.to_string());
    }
    if let Some(range) = pool.range.filter(|range| !subnet.contains(range)) {
        return outside("range", range.to_string());
    }
    if pool.aux.len() > AUX_LIMIT {
        return Err(PoolError::TooManyReserved);
    }
    let is_outside = |(_, address): &(&String, &IpAddr)| !subnet.contains(*address);
    match pool.aux.iter().find(is_outside) {
        Some((name, address)) => outside(&format!("reserved address {name}"), address.to_string()),
        None => Ok(()),
    }
}

fn overlap(subnet: &IpNet, taken: &[IpNet]) -> Option<IpNet> {
    let meets = |other: &IpNet| {
        other.prefix_len() >= WIDE_ROUTE_BITS && (other.contains(subnet) || subnet.contains(other))
    };
    taken.iter().copied().find(meets)
}

/// Returns a subnet with its first address as the gateway.
pub fn with_first_gateway(subnet: IpNet, chosen: Chosen) -> Pool {
    let first = subnet.network();
    Pool {
        subnet,
        gateway: Family::of(first).address(number(first) + 1),
        range: None,
        aux: Default::default(),
        chosen,
    }
}

#[cfg(test)]
mod tests {
    use netd_api::config::default_pools;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn first(taken: &[&str]) -> String {
        let pool = choose(&default_pools(), &nets(taken)).unwrap();
        assert_eq!(
            number(pool.gateway.unwrap()),
            number(pool.subnet.network()) + 1
        );
        pool.subnet.to_string()
    }

    #[test]
    fn the_first_subnet_that_nobody_uses_is_chosen() {
        assert_eq!(first(&[]), "172.17.0.0/16");
        assert_eq!(first(&["0.0.0.0/0", "128.0.0.0/1"]), "172.17.0.0/16");
        assert_eq!(
            first(&["172.17.0.0/16"]),
            "172.18.0.0/16",
            "a running Docker"
        );
        assert_eq!(first(&["172.17.4.9/32", "172.18.0.0/15"]), "172.20.0.0/16");
        assert_eq!(first(&["172.16.0.0/12"]), "192.168.0.0/20");
        assert_eq!(
            first(&["172.16.0.0/12", "192.168.1.0/24"]),
            "192.168.16.0/20"
        );
    }

    #[test]
    fn used_up_pools_say_so() {
        let error = choose(
            &default_pools(),
            &nets(&["172.16.0.0/12", "192.168.0.0/16"]),
        );
        assert_eq!(error, Err(PoolError::Exhausted));
    }

    fn wanted(subnet: &str, range: Option<&str>, gateway: Option<&str>) -> Result<Pool, PoolError> {
        let wanted = PoolRequest {
            subnet: Some(subnet.parse().unwrap()),
            range: range.map(|range| range.parse().unwrap()),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
            aux: Default::default(),
        };
        let subnet = wanted.subnet.unwrap();
        let taken = nets(&["10.9.0.0/16", "fd00:9::/48"]);
        check(&wanted, Family::of(subnet.addr()), &taken).map(Option::unwrap)
    }

    #[test]
    fn a_subnet_of_the_users_is_checked() {
        let pool = wanted("10.5.0.0/24", Some("10.5.0.128/25"), Some("10.5.0.254")).unwrap();
        assert_eq!(pool.gateway.unwrap().to_string(), "10.5.0.254");
        assert_eq!(pool.chosen, Chosen::All);
        assert_eq!(
            wanted("10.5.0.7/24", None, None)
                .unwrap()
                .subnet
                .to_string(),
            "10.5.0.0/24"
        );
        let of_range = wanted("10.5.0.0/24", Some("10.5.0.128/25"), None);
        let of_range = of_range.unwrap().gateway.unwrap();
        assert_eq!(of_range.to_string(), "10.5.0.128");
        let overlaps = wanted("10.9.3.0/24", None, None);
        assert!(matches!(overlaps, Err(PoolError::Overlap { .. })));
        let tiny = wanted("10.5.0.0/31", None, None);
        assert!(matches!(tiny, Err(PoolError::TooSmall(_))));
        for (range, gateway) in [
            (Some("10.6.0.0/24"), None),
            (None, Some("10.6.0.1")),
            (None, Some("10.5.0.0")),
        ] {
            let outside = wanted("10.5.0.0/24", range, gateway);
            assert!(
                matches!(outside, Err(PoolError::Outside { .. })),
                "{range:?} {gateway:?}"
            );
        }
        let lonely = PoolRequest {
            gateway: Some("10.5.0.1".parse().unwrap()),
            ..PoolRequest::default()
        };
        assert_eq!(check(&lonely, Family::V4, &[]), Err(PoolError::NoSubnet));
    }

    #[test]
    fn an_ipv6_subnet_of_the_users_is_checked() {
        let pool = wanted("fd00:5::/64", Some("fd00:5::8000:0/112"), None).unwrap();
        assert_eq!(pool.gateway.unwrap().to_string(), "fd00:5::8000:0");
        assert_eq!(pool.chosen, Chosen::Subnet);
        let last = Some("fd00:5::ffff:ffff:ffff:ffff");
        assert_eq!(
            wanted("fd00:5::/64", None, last).unwrap().gateway,
            Some(pool.subnet.broadcast()),
            "IPv6 has no broadcast"
        );
        let overlaps = wanted("fd00:9:0:7::/64", None, None);
        assert!(matches!(overlaps, Err(PoolError::Overlap { .. })));
        let tiny = wanted("fd00:5::/127", None, None);
        assert!(matches!(tiny, Err(PoolError::TooSmall(_))));
        let multicast = wanted("ff05::/64", None, None);
        assert!(matches!(multicast, Err(PoolError::NotUnicast(_))));
        for (range, gateway) in [
            (Some("fd00:6::/112"), None),
            (None, Some("fd00:5::")),
            (None, Some("10.0.0.1")),
        ] {
            let outside = wanted("fd00:5::/64", range, gateway);
            assert!(
                matches!(outside, Err(PoolError::Outside { .. })),
                "{range:?} {gateway:?}"
            );
        }
        let other = PoolRequest {
            subnet: Some("10.0.0.0/24".parse().unwrap()),
            ..PoolRequest::default()
        };
        let refused = check(&other, Family::V6, &[]);
        assert!(matches!(refused, Err(PoolError::OtherFamily(_))));
    }

    #[test]
    fn reserved_addresses_are_of_the_subnet_and_few() {
        let request = |addresses: Vec<IpAddr>| PoolRequest {
            subnet: Some("10.5.0.0/16".parse().unwrap()),
            aux: (0..)
                .map(|number| format!("a{number}"))
                .zip(addresses)
                .collect(),
            ..PoolRequest::default()
        };
        let inner: IpAddr = "10.5.1.5".parse().unwrap();
        let pool = check(&request(vec![inner]), Family::V4, &[]);
        assert_eq!(pool.unwrap().unwrap().aux["a0"], inner);
        let outer = request(vec!["10.6.1.5".parse().unwrap()]);
        let error = check(&outer, Family::V4, &[]).unwrap_err();
        assert!(error.to_string().contains("reserved address a0 10.6.1.5"));
        let many = request(vec![inner; AUX_LIMIT + 1]);
        let error = check(&many, Family::V4, &[]).unwrap_err();
        assert_eq!(error, PoolError::TooManyReserved);
    }

    #[test]
    fn an_installation_has_a_block_of_ipv6_of_its_own() {
        let block = |digit: &str| own_block(&digit.repeat(64).parse().unwrap());
        let own = block("a");
        assert_eq!((own.clone(), own.size), (block("a"), 64));
        assert_ne!(own, block("b"));
        let text = own.base.to_string();
        assert!(text.starts_with("fd") && text.ends_with("::/48"), "{text}");
        let first = choose([&own], &[]).unwrap();
        assert_eq!(first.subnet.network(), own.base.network());
        let second = choose([&own], &[first.subnet]).unwrap();
        assert_eq!(
            number(second.subnet.network()),
            number(first.subnet.broadcast()) + 1
        );
        assert_eq!(choose([&own], &[own.base]), Err(PoolError::Exhausted));
    }

    #[test]
    fn a_vast_block_is_not_gone_through_one_by_one() {
        let pool = AddressPool {
            base: "fc00::/7".parse().unwrap(),
            size: 126,
        };
        let taken = nets(&["fc00::/8", "fd00::/9", "10.0.0.0/8"]);
        let chosen = choose([&pool], &taken).unwrap();
        assert_eq!(chosen.subnet.to_string(), "fd80::/126");
    }
}
