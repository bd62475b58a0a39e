//! What is to be done on the host, as data. Planners are pure: they get facts
//! and return operations; `apply` performs them. Every operation is safe to
//! repeat and knows what undoes it.

pub mod attach;
pub mod network;
pub mod reconcile;

#[cfg(test)]
mod tests;

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use base::IdMappings;
use ipnet::IpNet;

use crate::firewall::Element;
use crate::mac::Mac;

/// Ethernet's, where neither the user nor the network says otherwise.
pub const DEFAULT_MTU: u32 = 1500;

/// One change of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    EnsureBridge(Bridge),
    CreateNamespace(PathBuf),
    /// A namespace that belongs to a new user namespace.
    CreateOwnedNamespace {
        path: PathBuf,
        mappings: IdMappings,
    },
    CreateInterface(Box<Interface>),
    JoinBridge {
        interface: String,
        bridge: String,
    },
    SetDefaultRoute {
        namespace: PathBuf,
        gateway: IpAddr,
    },
    AddElements(Vec<Element>),
    RemoveElements(Vec<Element>),
    RemoveLink(String),
    ReleaseNamespace(PathBuf),
}

/// A bridge with its addresses, one of each family the network has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bridge {
    pub interface: String,
    pub mac: Mac,
    pub addresses: Vec<IpNet>,
    pub mtu: u32,
}

/// A pair of interfaces between a bridge and a namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interface {
    pub host_name: String,
    pub bridge: String,
    pub namespace: PathBuf,
    pub name: String,
    pub mac: Mac,
    pub addresses: Vec<IpNet>,
    /// Of each family at most one.
    pub default_routes: Vec<IpAddr>,
    pub mtu: u32,
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

impl Operation {
    /// Returns the name of the step, for faults and logs.
    pub fn name(&self) -> &'static str {
        match self {
            Self::EnsureBridge(_) => "ensure bridge",
            Self::CreateNamespace(_) | Self::CreateOwnedNamespace { .. } => "create namespace",
            Self::CreateInterface(_) => "create interface",
            Self::JoinBridge { .. } => "join bridge",
            Self::SetDefaultRoute { .. } => "set default route",
            Self::AddElements(_) => "add elements",
            Self::RemoveElements(_) => "remove elements",
            Self::RemoveLink(_) => "remove link",
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
            Self::CreateInterface(interface) => Some(Self::RemoveLink(interface.host_name.clone())),
            Self::AddElements(elements) => Some(Self::RemoveElements(elements.clone())),
            Self::EnsureBridge(_)
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
            Self::EnsureBridge(bridge) => {
                let addresses = listed(&bridge.addresses);
                write!(f, "{} {addresses} mtu {}", bridge.interface, bridge.mtu)
            }
            Self::CreateInterface(it) => {
                let (host, bridge, name) = (&it.host_name, &it.bridge, &it.name);
                write!(
                    f,
                    "{host} on {bridge}, {name} {} {} mtu {}",
                    listed(&it.addresses),
                    it.mac,
                    it.mtu
                )?;
                match it.default_routes.as_slice() {
                    [] => Ok(()),
                    routes => write!(f, " via {}", listed(routes)),
                }
            }
            Self::JoinBridge { interface, bridge } => write!(f, "{interface} on {bridge}"),
            Self::SetDefaultRoute { namespace, gateway } => {
                write!(f, "{gateway} in {}", namespace.display())
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
