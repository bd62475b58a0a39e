//! Addresses of both families as numbers, and which families something has.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netd_api::PublishedPort;

/// An address family.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    /// Returns the family of an address.
    pub fn of(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }

    /// Returns that of two which is for the family.
    pub fn choose<T>(self, [ipv4, ipv6]: [T; 2]) -> T {
        match self {
            Self::V4 => ipv4,
            Self::V6 => ipv6,
        }
    }

    /// Returns the address with this number; none where the family has no such.
    pub fn address(self, number: u128) -> Option<IpAddr> {
        match self {
            Self::V4 => Some(Ipv4Addr::from(u32::try_from(number).ok()?).into()),
            Self::V6 => Some(Ipv6Addr::from(number).into()),
        }
    }
}

/// Returns the number of an address.
pub fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(address) => u32::from(address).into(),
        IpAddr::V6(address) => address.into(),
    }
}

/// Returns an address with the prefix length of the subnet it is of.
pub fn in_subnet(address: IpAddr, subnet: &IpNet) -> IpNet {
    IpNet::new(address, subnet.prefix_len()).expect("the prefix is that of a subnet")
}

/// The families that a container can be reached by from outside.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Families {
    pub ipv4: bool,
    pub ipv6: bool,
}

impl Families {
    /// Returns whether there is one.
    pub fn any(self) -> bool {
        self.ipv4 || self.ipv6
    }

    /// Returns whether the family is among them.
    pub fn has(self, family: Family) -> bool {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }

    /// Returns whether a port is published in one of them.
    pub fn carry(self, port: &PublishedPort) -> bool {
        self.has(Family::of(port.host_ip))
    }

    /// Returns those of both.
    pub fn and(self, others: Self) -> Self {
        Self {
            ipv4: self.ipv4 || others.ipv4,
            ipv6: self.ipv6 || others.ipv6,
        }
    }

    /// Returns those that `others` lacks.
    pub fn without(self, others: Self) -> Self {
        Self {
            ipv4: self.ipv4 && !others.ipv4,
            ipv6: self.ipv6 && !others.ipv6,
        }
    }
}
