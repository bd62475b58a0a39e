//! Table `[network]` of the configuration file, docs/formats/config.md.
//!
//! It is a type of netd's api so that engine can test the whole file before it
//! starts anything: netd reads only its own table and could not tell a misspelt
//! name of a table from another daemon's.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::Deserialize;

/// A smaller subnet has no room for a gateway and a container.
pub const LONGEST_PREFIX: u8 = 30;

/// Why the table cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NetworkSectionError {
    #[error("address-pools in table network is empty: no network could get a subnet")]
    NoPool,
    #[error("default-bridge {0} in table network is no host's address of a subnet")]
    Bridge(Ipv4Net),
    #[error(
        "address pool {base} in table network cannot be cut into subnets of prefix length {size}"
    )]
    Pool { base: Ipv4Net, size: u8 },
}

/// What the configuration says of networks.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
pub struct NetworkSection {
    /// What networks without a subnet of their own get one from, in this order.
    pub address_pools: Vec<AddressPool>,
    /// The default network's gateway, with the prefix length of its subnet; the first
    /// free subnet of the pools if absent.
    pub default_bridge: Option<Ipv4Net>,
}

/// A block that is cut into subnets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct AddressPool {
    pub base: Ipv4Net,
    /// The prefix length of each subnet.
    pub size: u8,
}

impl Default for NetworkSection {
    fn default() -> Self {
        Self {
            address_pools: default_pools(),
            default_bridge: None,
        }
    }
}

impl NetworkSection {
    /// Tests what the types alone do not say.
    ///
    /// # Errors
    /// When a pool cannot be cut as it says, or there is none.
    pub fn check(&self) -> Result<(), NetworkSectionError> {
        if self.address_pools.is_empty() {
            return Err(NetworkSectionError::NoPool);
        }
        if let Some(bridge) = self.default_bridge {
            let (address, subnet) = (bridge.addr(), bridge.trunc());
            let is_hosts = address != subnet.network() && address != subnet.broadcast();
            if bridge.prefix_len() > LONGEST_PREFIX || !is_hosts {
                return Err(NetworkSectionError::Bridge(bridge));
            }
        }
        let bad =
            |pool: &&AddressPool| pool.size < pool.base.prefix_len() || pool.size > LONGEST_PREFIX;
        match self.address_pools.iter().find(bad) {
            Some(pool) => Err(NetworkSectionError::Pool {
                base: pool.base,
                size: pool.size,
            }),
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
    AddressPool { base, size }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(base: &str, size: u8) -> Result<(), NetworkSectionError> {
        let base = base.parse().unwrap();
        let address_pools = vec![AddressPool { base, size }];
        let section = NetworkSection {
            address_pools,
            ..NetworkSection::default()
        };
        section.check()
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
    fn pools_that_cannot_be_cut_are_refused() {
        assert_eq!(NetworkSection::default().check(), Ok(()));
        assert_eq!(check("10.0.0.0/8", 24), Ok(()));
        assert_eq!(check("10.0.0.0/24", 24), Ok(()));
        assert!(check("10.0.0.0/24", 16).is_err());
        assert!(check("10.0.0.0/24", 31).is_err());
        let none = NetworkSection {
            address_pools: Vec::new(),
            ..NetworkSection::default()
        };
        assert_eq!(none.check(), Err(NetworkSectionError::NoPool));
    }
}
