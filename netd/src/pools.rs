//! Choosing a subnet for a network, and checking one the user chose. Pure; the
//! host's routes and addresses are passed in.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use netd_api::config::{AddressPool, LONGEST_PREFIX};
use netd_api::network::Ipv4Pool;

/// A route this wide is a default route in pieces, as VPNs set it; it does not
/// make every subnet taken.
const WIDE_ROUTE_BITS: u8 = 8;

/// Why a network gets no subnet.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum PoolError {
    #[error("all predefined address pools have been fully subnetted")]
    Exhausted,
    #[error("subnet {subnet} overlaps {taken}, which the host or another network uses")]
    Overlap { subnet: Ipv4Net, taken: Ipv4Net },
    #[error("subnet {0} has no room for a gateway and a container")]
    TooSmall(Ipv4Net),
    #[error("{what} {value} is not part of subnet {subnet}")]
    Outside {
        what: &'static str,
        value: String,
        subnet: Ipv4Net,
    },
    #[error("a range or a gateway was given without a subnet")]
    NoSubnet,
}

/// Returns the first subnet of `pools` that overlaps nothing of `taken`.
///
/// # Errors
/// When there is none.
pub fn choose(pools: &[AddressPool], taken: &[Ipv4Net]) -> Result<Ipv4Pool, PoolError> {
    let subnets = pools
        .iter()
        .filter_map(|pool| pool.base.subnets(pool.size).ok())
        .flatten();
    let mut free = subnets.filter(|subnet| overlap(subnet, taken).is_none());
    Ok(with_first_gateway(free.next().ok_or(PoolError::Exhausted)?))
}

/// What a user asked of a network's addresses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    pub subnet: Option<Ipv4Net>,
    pub range: Option<Ipv4Net>,
    pub gateway: Option<Ipv4Addr>,
}

/// Returns the pool a user asked for, `None` if they left it to us.
///
/// # Errors
/// When it overlaps something of `taken` or makes no sense.
pub fn check(wanted: Wanted, taken: &[Ipv4Net]) -> Result<Option<Ipv4Pool>, PoolError> {
    let Some(subnet) = wanted.subnet else {
        let alone = wanted.range.is_some() || wanted.gateway.is_some();
        return if alone {
            Err(PoolError::NoSubnet)
        } else {
            Ok(None)
        };
    };
    let subnet = subnet.trunc();
    if subnet.prefix_len() > LONGEST_PREFIX {
        return Err(PoolError::TooSmall(subnet));
    }
    if let Some(taken) = overlap(&subnet, taken) {
        return Err(PoolError::Overlap { subnet, taken });
    }
    let mut pool = with_first_gateway(subnet);
    if let Some(gateway) = wanted.gateway {
        pool.gateway = gateway;
    }
    pool.range = wanted.range.map(|range| range.trunc());
    inside(&pool)?;
    Ok(Some(pool))
}

fn inside(pool: &Ipv4Pool) -> Result<(), PoolError> {
    let subnet = pool.subnet;
    let outside = |what, value| PoolError::Outside {
        what,
        value,
        subnet,
    };
    let gateway = pool.gateway;
    if !subnet.contains(&gateway) || [subnet.network(), subnet.broadcast()].contains(&gateway) {
        return Err(outside("gateway", gateway.to_string()));
    }
    match pool.range {
        Some(range) if !subnet.contains(&range) => Err(outside("range", range.to_string())),
        _ => Ok(()),
    }
}

fn overlap(subnet: &Ipv4Net, taken: &[Ipv4Net]) -> Option<Ipv4Net> {
    let meets = |other: &Ipv4Net| {
        other.prefix_len() >= WIDE_ROUTE_BITS && (other.contains(subnet) || subnet.contains(other))
    };
    taken.iter().copied().find(meets)
}

fn with_first_gateway(subnet: Ipv4Net) -> Ipv4Pool {
    Ipv4Pool {
        subnet,
        gateway: Ipv4Addr::from(u32::from(subnet.network()) + 1),
        range: None,
    }
}

#[cfg(test)]
mod tests {
    use netd_api::config::default_pools;

    use super::*;

    fn nets(texts: &[&str]) -> Vec<Ipv4Net> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn first(taken: &[&str]) -> String {
        let pool = choose(&default_pools(), &nets(taken)).unwrap();
        assert_eq!(
            u32::from(pool.gateway),
            u32::from(pool.subnet.network()) + 1
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

    fn wanted(
        subnet: &str,
        range: Option<&str>,
        gateway: Option<&str>,
    ) -> Result<Ipv4Pool, PoolError> {
        let wanted = Wanted {
            subnet: Some(subnet.parse().unwrap()),
            range: range.map(|range| range.parse().unwrap()),
            gateway: gateway.map(|gateway| gateway.parse().unwrap()),
        };
        check(wanted, &nets(&["10.9.0.0/16"])).map(Option::unwrap)
    }

    #[test]
    fn a_subnet_of_the_users_is_checked() {
        let pool = wanted("10.5.0.0/24", Some("10.5.0.128/25"), Some("10.5.0.254")).unwrap();
        assert_eq!(pool.gateway.to_string(), "10.5.0.254");
        assert_eq!(
            wanted("10.5.0.7/24", None, None)
                .unwrap()
                .subnet
                .to_string(),
            "10.5.0.0/24"
        );
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
        let lonely = Wanted {
            gateway: Some(Ipv4Addr::new(10, 5, 0, 1)),
            ..Wanted::default()
        };
        assert_eq!(check(lonely, &[]), Err(PoolError::NoSubnet));
    }
}
