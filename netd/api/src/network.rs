//! Networks: definition, creation, removal.

use std::collections::BTreeMap;
use std::net::IpAddr;

use base::{NetworkId, Timestamp};
use events::RequestBody;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Docker's option for the mode of an ipvlan network.
pub const IPVLAN_MODE: &str = "ipvlan_mode";

/// How a network is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkDriver {
    /// A Linux bridge with addresses of its own and masquerade.
    #[default]
    Bridge,
    /// The host's own namespace; joined by nobody through netd.
    Host,
    /// Loopback only. Docker calls the driver `null`, the network `none`.
    Null,
    /// Interfaces with addresses of their own on an interface of the host.
    Macvlan,
    /// Interfaces that share the address of an interface of the host.
    Ipvlan,
}

impl NetworkDriver {
    /// Returns whether a run gets an interface on such a network.
    pub fn has_interfaces(self) -> bool {
        match self {
            Self::Bridge | Self::Macvlan | Self::Ipvlan => true,
            Self::Host | Self::Null => false,
        }
    }
}

/// The networks every installation has, in the order they are made.
pub const PREDEFINED: [(&str, NetworkDriver); 3] = [
    ("bridge", NetworkDriver::Bridge),
    ("host", NetworkDriver::Host),
    ("none", NetworkDriver::Null),
];

/// A network as `<root>/networks/<id>.json` holds it. netd makes `bridge`,
/// `host` and `none` when it first starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkConfig {
    pub id: NetworkId,
    pub name: String,
    pub driver: NetworkDriver,
    pub created: Timestamp,
    #[serde(default)]
    pub ipv4: Option<Pool>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Pool>,
    /// Subnets of a family the network has not: shown, as Docker does, and of no
    /// effect.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unused: Vec<PoolRequest>,
    /// No route to the outside.
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The bridge's interface, `e<6 hex>-<n>` or what the user calls it.
    #[serde(default)]
    pub interface: Option<String>,
    /// The bridge was there before and stays when the network goes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub adopted: bool,
    /// What the interfaces of a macvlan or ipvlan network are on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Parent>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub attachable: bool,
    /// It is there for others to take their configuration from, and for nothing
    /// else: its subnets are in `unused`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub template: Option<Template>,
    /// The name of the network whose configuration it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_from: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub ipam_options: BTreeMap<String, String>,
}

/// The families of a network that is made after a template.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Template {
    pub ipv4: bool,
    pub ipv6: bool,
}

/// An interface of the host that others are on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Parent {
    pub interface: String,
    pub origin: ParentOrigin,
}

/// Where a parent comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ParentOrigin {
    /// It was there and stays.
    Host,
    /// A virtual LAN on an interface of the host, made for the network.
    Vlan { on: String, id: u16 },
    /// Nothing is behind it: the network's containers reach each other only.
    Dummy,
}

impl NetworkConfig {
    /// Returns whether packets leave by the interface and not by a router.
    pub fn is_without_router(&self) -> bool {
        let mode = self.options.get(IPVLAN_MODE);
        let is_routed = mode.is_some_and(|mode| mode == "l3" || mode == "l3s");
        self.driver == NetworkDriver::Ipvlan && is_routed
    }

    /// Returns the network's addresses, IPv4 first.
    pub fn pools(&self) -> impl Iterator<Item = &Pool> {
        self.ipv4.iter().chain(&self.ipv6)
    }
}

/// A network's addresses of one family.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pool {
    pub subnet: IpNet,
    /// Absent: there is no router on the network.
    pub gateway: Option<IpAddr>,
    /// Where addresses are taken from, the whole subnet if absent.
    #[serde(default)]
    pub range: Option<IpNet>,
    /// Addresses no container gets, by the names the user gave them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub aux: BTreeMap<String, IpAddr>,
    #[serde(default)]
    pub chosen: Chosen,
}

/// What of a pool the user chose.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Chosen {
    /// Subnet and gateway.
    #[default]
    All,
    Subnet,
    Nothing,
}

/// What a user asked of a network's addresses of one family.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PoolRequest {
    /// Absent: netd takes one that nobody uses.
    #[serde(default)]
    pub subnet: Option<IpNet>,
    #[serde(default)]
    pub range: Option<IpNet>,
    #[serde(default)]
    pub gateway: Option<IpAddr>,
    #[serde(default)]
    pub aux: BTreeMap<String, IpAddr>,
}

/// Makes a network. A name that is taken, a subnet that overlaps a host route
/// or another network: conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateNetwork {
    pub id: NetworkId,
    pub name: String,
    pub driver: NetworkDriver,
    #[serde(flatten)]
    pub ipv4: PoolRequest,
    /// The network has no IPv4.
    #[serde(default)]
    pub without_ipv4: bool,
    /// Absent: the network has no IPv6.
    #[serde(default)]
    pub ipv6: Option<PoolRequest>,
    /// Subnets of a family the network is not to have.
    #[serde(default)]
    pub unused: Vec<PoolRequest>,
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    #[serde(default)]
    pub attachable: bool,
    #[serde(default)]
    pub template: Option<Template>,
    #[serde(default)]
    pub config_from: Option<String>,
    #[serde(default)]
    pub ipam_options: BTreeMap<String, String>,
}

impl RequestBody for CreateNetwork {
    const KIND: &'static str = "network.create";
    const REPLY: &'static str = "network.created";
    const FAILED: &'static str = "network.create_failed";
    type Reply = NetworkConfig;
}

/// Removes a network; one with live endpoints, or a predefined one: conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoveNetwork {
    pub id: NetworkId,
}

/// The network is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkRemoved {
    pub name: String,
    #[serde(default)]
    pub driver: NetworkDriver,
}

impl RequestBody for RemoveNetwork {
    const KIND: &'static str = "network.remove";
    const REPLY: &'static str = "network.removed";
    const FAILED: &'static str = "network.remove_failed";
    type Reply = NetworkRemoved;
}

/// Payload of [`crate::RECONCILED`]: what netd found and did when it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reconciled {
    /// Runs that still have all they had.
    pub runs: u64,
    /// Runs whose making or release a killed daemon had not finished.
    pub runs_released: u64,
    pub links_added: u64,
    pub links_removed: u64,
    pub namespaces_removed: u64,
    pub elements_added: u64,
    pub elements_removed: u64,
    /// Published ports that another program took meanwhile.
    pub ports_lost: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_requests_of_a_build_without_ipv6_are_read() {
        let id = "a".repeat(64);
        let pool = r#"{"subnet":"10.1.0.0/24","gateway":"10.1.0.1","range":null}"#;
        let file = format!(
            r#"{{"id":"{id}","name":"n","driver":"bridge","created":"2026-01-01T00:00:00Z","ipv4":{pool}}}"#
        );
        let network: NetworkConfig = serde_json::from_str(&file).unwrap();
        assert_eq!(network.ipv6, None);
        let pool = network.ipv4.unwrap();
        assert_eq!(pool.gateway.unwrap().to_string(), "10.1.0.1");
        assert_eq!(pool.chosen, Chosen::All);
        let request = format!(
            r#"{{"id":"{id}","name":"n","driver":"bridge","subnet":"10.1.0.0/24","range":null,"gateway":null}}"#
        );
        let request: CreateNetwork = serde_json::from_str(&request).unwrap();
        assert!(request.ipv6.is_none() && !request.without_ipv4);
        assert_eq!(request.ipv4.subnet.unwrap().to_string(), "10.1.0.0/24");
        let written = serde_json::to_value(&request).unwrap();
        assert_eq!(written["subnet"], "10.1.0.0/24", "where it always was");
    }
}
