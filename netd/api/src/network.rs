//! Networks: definition, creation, removal.

use std::collections::BTreeMap;
use std::net::Ipv4Addr;

use base::{NetworkId, Timestamp};
use events::RequestBody;
use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

/// How a network is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkDriver {
    /// A Linux bridge with addresses of its own and masquerade.
    Bridge,
    /// The host's own namespace; joined by nobody through netd.
    Host,
    /// Loopback only. Docker calls the driver `null`, the network `none`.
    Null,
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
    pub ipv4: Option<Ipv4Pool>,
    /// No route to the outside.
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
    /// The bridge's interface, `e<6 hex>-<n>`.
    #[serde(default)]
    pub interface: Option<String>,
}

/// A network's addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipv4Pool {
    pub subnet: Ipv4Net,
    pub gateway: Ipv4Addr,
    /// Where addresses are taken from, the whole subnet if absent.
    #[serde(default)]
    pub range: Option<Ipv4Net>,
}

/// Makes a network. A name that is taken, a subnet that overlaps a host route
/// or another network: conflict.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreateNetwork {
    pub id: NetworkId,
    pub name: String,
    pub driver: NetworkDriver,
    #[serde(default)]
    pub subnet: Option<Ipv4Net>,
    #[serde(default)]
    pub range: Option<Ipv4Net>,
    #[serde(default)]
    pub gateway: Option<Ipv4Addr>,
    #[serde(default)]
    pub internal: bool,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub options: BTreeMap<String, String>,
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
