//! Table `[network]` of the configuration file, docs/formats/config.md.
//!
//! It is a type of netd's api so that engine can test the whole file before it
//! starts anything: netd reads only its own table and could not tell a misspelt
//! name of a table from another daemon's.

use std::net::Ipv4Addr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::Deserialize;

/// A smaller subnet has no room for a gateway and a container, by family.
const LONGEST_PREFIX: u8 = 30;
const LONGEST_PREFIX_IPV6: u8 = 126;

/// Returns the longest prefix that leaves room for a gateway and a container in
/// a subnet of the family of `net`.
pub fn longest_prefix(net: &IpNet) -> u8 {
    match net {
        IpNet::V4(_) => LONGEST_PREFIX,
        IpNet::V6(_) => LONGEST_PREFIX_IPV6,
    }
}

/// Why the table cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NetworkSectionError {
    #[error("address-pools in table network has no IPv4 pool: no network could get a subnet")]
    NoPool,
    #[error("default-bridge {0} in table network is no host's address of a subnet")]
    Bridge(IpNet),
    #[error("{key} {range} in table network is not part of the default bridge's subnet {subnet}")]
    Range {
        key: &'static str,
        range: IpNet,
        subnet: IpNet,
    },
    #[error("{0} in table network leaves no room for a gateway and a container")]
    SmallRange(IpNet),
    #[error(
        "address pool {base} in table network cannot be cut into subnets of prefix length {size}"
    )]
    Pool { base: IpNet, size: u8 },
}

/// What the configuration says of networks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetworkSection {
    /// What networks without a subnet of their own get one from, in this order.
    /// Without one of IPv6, IPv6 subnets are cut from a block of the
    /// installation's own.
    pub address_pools: Vec<AddressPool>,
    /// The default network's gateway, with the prefix length of its subnet; the first
    /// free subnet of the pools if absent.
    pub default_bridge: Option<Ipv4Net>,
    /// Where the default network's containers get addresses from; alone, it is the
    /// network's subnet.
    pub default_bridge_range: Option<Ipv4Net>,
    /// The default network has IPv6.
    pub default_bridge_ipv6: bool,
    /// The same as `default_bridge` and its range, of IPv6.
    pub default_bridge6: Option<Ipv6Net>,
    pub default_bridge6_range: Option<Ipv6Net>,
}

/// A block that is cut into subnets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AddressPool {
    pub base: IpNet,
    /// The prefix length of each subnet.
    pub size: u8,
}

impl Default for NetworkSection {
    fn default() -> Self {
        Self {
            address_pools: default_pools(),
            default_bridge: None,
            default_bridge_range: None,
            default_bridge_ipv6: false,
            default_bridge6: None,
            default_bridge6_range: None,
        }
    }
}

/// What is said of the default network's addresses of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DefaultBridge {
    /// The gateway, with the prefix length of the subnet.
    pub gateway: Option<IpNet>,
    pub range: Option<IpNet>,
}

impl NetworkSection {
    /// Tests what the types alone do not say.
    ///
    /// # Errors
    /// When a pool cannot be cut as it says, or there is none.
    pub fn check(&self) -> Result<(), NetworkSectionError> {
        let is_ipv4 = |pool: &AddressPool| matches!(pool.base, IpNet::V4(_));
        if !self.address_pools.iter().any(is_ipv4) {
            return Err(NetworkSectionError::NoPool);
        }
        self.ipv4().check("default-bridge-range")?;
        self.ipv6().check("default-bridge6-range")?;
        let bad = |pool: &&AddressPool| {
            pool.size < pool.base.prefix_len() || pool.size > longest_prefix(&pool.base)
        };
        match self.address_pools.iter().find(bad) {
            Some(pool) => Err(NetworkSectionError::Pool {
                base: pool.base,
                size: pool.size,
            }),
            None => Ok(()),
        }
    }
}

impl NetworkSection {
    /// Returns what is said of the default network's IPv4.
    pub fn ipv4(&self) -> DefaultBridge {
        DefaultBridge {
            gateway: self.default_bridge.map(IpNet::V4),
            range: self.default_bridge_range.map(IpNet::V4),
        }
    }

    /// Returns what is said of the default network's IPv6.
    pub fn ipv6(&self) -> DefaultBridge {
        DefaultBridge {
            gateway: self.default_bridge6.map(IpNet::V6),
            range: self.default_bridge6_range.map(IpNet::V6),
        }
    }
}

impl DefaultBridge {
    fn check(&self, key: &'static str) -> Result<(), NetworkSectionError> {
        let Some(bridge) = self.gateway else {
            return match self.range {
                Some(range) if range.prefix_len() > longest_prefix(&range) => {
                    Err(NetworkSectionError::SmallRange(range))
                }
                _ => Ok(()),
            };
        };
        let (address, subnet) = (bridge.addr(), bridge.trunc());
        let is_last = address.is_ipv4() && address == subnet.broadcast();
        let is_hosts = address != subnet.network() && !is_last;
        if bridge.prefix_len() > longest_prefix(&bridge) || !is_hosts {
            return Err(NetworkSectionError::Bridge(bridge));
        }
        match self.range.filter(|range| !subnet.contains(range)) {
            Some(range) => Err(NetworkSectionError::Range { key, range, subnet }),
            None => Ok(()),
        }
    }
}

/// Returns the pools Docker has.
pub fn default_pools() -> Vec<AddressPool> {
    let sixteen = (17..32).map(|second| pool(Ipv4Addr::new(172, second, 0, 0), 16, 16));
    let twenty = pool(Ipv4Addr::new(192, 168, 0, 0), 16, 20);
    sixteen.chain([twenty]).collect()
}

fn pool(address: Ipv4Addr, prefix_bits: u8, size: u8) -> AddressPool {
    let base = Ipv4Net::new(address, prefix_bits).expect("a prefix has at most 32 bits");
    AddressPool {
        base: base.into(),
        size,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &str, size: u8) -> Result<(), NetworkSectionError> {
        let base = base.parse().unwrap();
        let mut address_pools = default_pools();
        address_pools.push(AddressPool { base, size });
        with_pools(address_pools).check()
    }

    fn with_pools(address_pools: Vec<AddressPool>) -> NetworkSection {
        NetworkSection {
            address_pools,
            ..NetworkSection::default()
        }
    }

    #[test]
    fn the_default_bridge_is_a_hosts_address() {
        let check = |bridge: &str| {
            let section = NetworkSection {
                default_bridge: Some(bridge.parse().unwrap()),
                ..NetworkSection::default()
            };
            section.check().is_ok()
        };
        assert!(check("10.9.0.1/24") && check("10.9.0.254/24"));
        for wrong in ["10.9.0.0/24", "10.9.0.255/24", "10.9.0.1/31", "10.9.0.1/32"] {
            assert!(!check(wrong), "{wrong}");
        }
    }

    #[test]
    fn the_default_bridges_ranges_are_of_its_subnets() {
        let check = |bridge: Option<&str>, range: &str| {
            let section = NetworkSection {
                default_bridge6: bridge.map(|bridge| bridge.parse().unwrap()),
                default_bridge6_range: Some(range.parse().unwrap()),
                ..NetworkSection::default()
            };
            section.check().is_ok()
        };
        assert!(check(Some("fd00:1::5/64"), "fd00:1::8000:0/112"));
        assert!(check(None, "fd00:1::/64"));
        assert!(!check(Some("fd00:1::5/64"), "fd00:2::/112"));
        assert!(!check(Some("fd00:1::/64"), "fd00:1::/112"));
        assert!(!check(None, "fd00:1::/127"));
    }

    #[test]
    fn pools_that_cannot_be_cut_are_refused() {
        assert_eq!(NetworkSection::default().check(), Ok(()));
        assert_eq!(check("10.0.0.0/8", 24), Ok(()));
        assert_eq!(check("10.0.0.0/24", 24), Ok(()));
        assert!(check("10.0.0.0/24", 16).is_err());
        assert!(check("10.0.0.0/24", 31).is_err());
        assert_eq!(check("fd00:1::/48", 64), Ok(()));
        assert!(check("fd00:1::/48", 127).is_err());
        for address_pools in [
            Vec::new(),
            vec![AddressPool {
                base: "fd00:1::/48".parse().unwrap(),
                size: 64,
            }],
        ] {
            let none = with_pools(address_pools).check();
            assert_eq!(none, Err(NetworkSectionError::NoPool));
        }
    }
}
