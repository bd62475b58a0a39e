//! What is to be done on the host, as data. Planners are pure: they get facts
//! and return operations; `apply` performs them. Every operation is safe to
//! repeat and knows what undoes it.

pub mod attach;
pub mod network;
pub mod parent;
pub mod reconcile;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use base::IdMappings;
use ipnet::IpNet;
use netd_api::{InterfaceSysctl, Parent};

use crate::family::Family;
use crate::firewall::Element;
use crate::mac::Mac;

/// One change of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    EnsureBridge(Bridge),
    EnsureParent(Parent),
    CreateNamespace(PathBuf),
    /// A namespace that belongs to a new user namespace.
    CreateOwnedNamespace {
        path: PathBuf,
        mappings: IdMappings,
    },
    CreateInterface(Box<Interface>),
    JoinBridge {
        interface: String,
        port: Port,
    },
    SetDefaultRoute {
        namespace: PathBuf,
        way: Way,
    },
    AddElements(Vec<Element>),
    RemoveElements(Vec<Element>),
    RemoveLink(String),
    /// Takes an interface away that has no other end on the host.
    RemoveInner {
        namespace: PathBuf,
        name: String,
    },
    /// Takes the addresses of a network from a bridge that is not ours.
    LeaveBridge(Bridge),
    ReleaseNamespace(PathBuf),
}

/// Where a default route leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Way {
    Router(IpAddr),
    /// To whoever is behind an interface of the namespace.
    Interface {
        name: String,
        family: Family,
    },
}

impl Way {
    /// Returns the family of the route.
    pub fn family(&self) -> Family {
        match self {
            Self::Router(gateway) => Family::of(*gateway),
            Self::Interface { family, .. } => *family,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Router(gateway) => write!(f, "{gateway}"),
            Self::Interface { name, family } => write!(f, "{name} {family:?}"),
        }
    }
}

/// A place on a bridge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Port {
    pub bridge: String,
    /// The bridge lets it reach the host only, and no other such place.
    pub isolated: bool,
}

/// What an interface of a namespace is on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uplink {
    Bridge(Port),
    Macvlan {
        parent: String,
        mode: MacvlanMode,
    },
    Ipvlan {
        parent: String,
        mode: IpvlanMode,
        flag: IpvlanFlag,
    },
}

/// Who of those on one parent sees whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MacvlanMode {
    #[default]
    Bridge,
    Private,
    Vepa,
    Passthru,
}

/// On which layer an interface shares its parent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IpvlanMode {
    #[default]
    L2,
    L3,
    L3s,
}

/// Who of those on one parent sees whom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IpvlanFlag {
    #[default]
    Bridge,
    Private,
    Vepa,
}

impl Uplink {
    /// Returns the interface of the host.
    pub fn host_interface(&self) -> &str {
        match self {
            Self::Bridge(port) => &port.bridge,
            Self::Macvlan { parent, .. } | Self::Ipvlan { parent, .. } => parent,
        }
    }
}

/// A bridge with its addresses, one of each family in which the host is on the
/// network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    pub interface: String,
    /// It is not ours: it is there and stays.
    pub adopted: bool,
    pub mac: Mac,
    pub addresses: Vec<IpNet>,
    pub mtu: u32,
}

/// An interface of a namespace, on a bridge one of a pair.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    /// The other one of the pair.
    pub host_name: String,
    pub uplink: Uplink,
    pub namespace: PathBuf,
    pub name: String,
    /// Ignored where it has that of its parent.
    pub mac: Mac,
    pub addresses: Vec<IpNet>,
    /// Of each family at most one.
    pub default_routes: Vec<Way>,
    pub mtu: u32,
    pub sysctls: Vec<InterfaceSysctl>,
}

/// Returns whether one of some addresses is of IPv6.
pub fn has_ipv6(addresses: &[IpNet]) -> bool {
    addresses.iter().any(|net| matches!(net, IpNet::V6(_)))
}

/// Some addresses as a plan shows them.
fn listed<T: fmt::Display>(all: &[T]) -> String {
    let texts: Vec<String> = all.iter().map(T::to_string).collect();
    texts.join(" ")
}

impl Interface {
    /// Returns what takes it away.
    fn removal(&self) -> Operation {
        match &self.uplink {
            Uplink::Bridge(_) => Operation::RemoveLink(self.host_name.clone()),
            Uplink::Macvlan { .. } | Uplink::Ipvlan { .. } => Operation::RemoveInner {
                namespace: self.namespace.clone(),
                name: self.name.clone(),
            },
        }
    }
}

impl Operation {
    /// Returns the name of the step, for faults and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::EnsureBridge(_) => "ensure bridge",
            Self::EnsureParent(_) => "ensure parent",
            Self::CreateNamespace(_) | Self::CreateOwnedNamespace { .. } => "create namespace",
            Self::CreateInterface(_) => "create interface",
            Self::JoinBridge { .. } => "join bridge",
            Self::SetDefaultRoute { .. } => "set default route",
            Self::AddElements(_) => "add elements",
            Self::RemoveElements(_) => "remove elements",
            Self::RemoveLink(_) => "remove link",
            Self::RemoveInner { .. } => "remove inner link",
            Self::LeaveBridge(_) => "leave bridge",
            Self::ReleaseNamespace(_) => "release namespace",
        }
    }

    /// Returns what takes this back, if anything has to. A bridge stays: other
    /// containers may have joined it meanwhile.
    pub fn undo(&self) -> Option<Self> {
        match self {
            Self::CreateNamespace(path) | Self::CreateOwnedNamespace { path, .. } => {
                Some(Self::ReleaseNamespace(path.clone()))
            }
            Self::CreateInterface(interface) => Some(interface.removal()),
            Self::AddElements(elements) => Some(Self::RemoveElements(elements.clone())),
            Self::EnsureBridge(_)
            | Self::EnsureParent(_)
            | Self::LeaveBridge(_)
            | Self::RemoveInner { .. }
            | Self::JoinBridge { .. }
            | Self::SetDefaultRoute { .. }
            | Self::RemoveElements(_)
            | Self::RemoveLink(_)
            | Self::ReleaseNamespace(_) => None,
        }
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.name())?;
        match self {
            Self::EnsureParent(parent) => write!(f, "{} {:?}", parent.interface, parent.origin),
            Self::RemoveInner { namespace, name } => {
                write!(f, "{name} in {}", namespace.display())
            }
            Self::EnsureBridge(bridge) | Self::LeaveBridge(bridge) => {
                let addresses = listed(&bridge.addresses);
                write!(f, "{} {addresses} mtu {}", bridge.interface, bridge.mtu)
            }
            Self::CreateInterface(it) => {
                let (host, on, name) = (&it.host_name, it.uplink.host_interface(), &it.name);
                write!(
                    f,
                    "{host} on {on}, {name} {} {} mtu {}",
                    listed(&it.addresses),
                    it.mac,
                    it.mtu
                )?;
                match it.default_routes.as_slice() {
                    [] => Ok(()),
                    routes => write!(f, " via {}", listed(routes)),
                }
            }
            Self::JoinBridge { interface, port } => write!(f, "{interface} on {}", port.bridge),
            Self::SetDefaultRoute { namespace, way } => {
                write!(f, "{way} in {}", namespace.display())
            }
            Self::AddElements(elements) | Self::RemoveElements(elements) => {
                write!(f, "{elements:?}")
            }
            Self::RemoveLink(name) => f.write_str(name),
            Self::CreateNamespace(path)
            | Self::CreateOwnedNamespace { path, .. }
            | Self::ReleaseNamespace(path) => {
                write!(f, "{}", path.display())
            }
        }
    }
}
