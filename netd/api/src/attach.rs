//! Giving a run its network namespace, and taking it away.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use base::{NetworkId, RunId};
use events::RequestBody;
use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};

use crate::interface::InterfaceOptions;
use crate::network::NetworkDriver;

/// Asks for a network namespace for `run` with loopback up, one interface per
/// endpoint (none: loopback only) and the ports published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attach {
    pub run: RunId,
    /// The container's name, which user networks resolve.
    pub container_name: String,
    pub hostname: String,
    pub endpoints: Vec<EndpointRequest>,
    pub ports: Vec<PortRequest>,
    pub dns: Dns,
    /// With it the namespace belongs to a user namespace of the run's own, which
    /// is bound at `<run>/userns/<id>.<run>`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_namespace: Option<base::IdMappings>,
}

/// One network to join.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointRequest {
    pub network: NetworkId,
    /// Further names on that network.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// A fixed address of the network's IPv4 subnet.
    #[serde(default)]
    pub ipv4: Option<Ipv4Addr>,
    /// A fixed address of the network's IPv6 subnet.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Addr>,
    /// Addresses of the link that the interface has beside the network's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
    /// `02:42:ac:11:00:02`.
    #[serde(default)]
    pub mac: Option<String>,
    /// Names of containers on that network, each with what only this run calls it.
    #[serde(default)]
    pub links: Vec<(String, String)>,
    /// Where the default route leads is decided by this first, the highest wins.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gateway_priority: i64,
    /// What its interface is called inside, and how it is set.
    #[serde(default, skip_serializing_if = "InterfaceOptions::is_default")]
    pub interface: InterfaceOptions,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

/// The transport of a published port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

/// Host ports that may be taken: the first free one of the range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostPorts {
    pub first: u16,
    pub last: u16,
}

/// A port to publish.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRequest {
    pub protocol: Protocol,
    pub container_port: u16,
    /// The host address to publish on; if absent, all of the families that the
    /// container's networks have.
    #[serde(default)]
    pub host_ip: Option<IpAddr>,
    /// Absent: netd picks a free port of the kernel's local range.
    #[serde(default)]
    pub host_ports: Option<HostPorts>,
}

/// What the user asked for in resolv.conf; empty lists mean the host's.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Dns {
    #[serde(default)]
    pub servers: Vec<IpAddr>,
    #[serde(default)]
    pub search: Vec<String>,
    #[serde(default)]
    pub options: Vec<String>,
}

/// The namespace is in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// `<run>/netns/<id>.<run>`, to be joined by the runtime.
    pub namespace: PathBuf,
    /// Of each family, the first that has a gateway carries the default route.
    pub endpoints: Vec<Endpoint>,
    pub ports: Vec<PublishedPort>,
    /// What the container's resolv.conf shall hold.
    pub resolver: Dns,
}

impl Attached {
    /// Returns the interface on a network.
    pub fn endpoint_on(&self, network: &NetworkId) -> Option<&Endpoint> {
        let mut endpoints = self.endpoints.iter();
        endpoints.find(|endpoint| endpoint.network == *network)
    }
}

/// One interface of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    pub network: NetworkId,
    pub network_name: String,
    #[serde(default)]
    pub driver: NetworkDriver,
    /// The name inside the namespace, `eth0`.
    pub interface: String,
    /// Absent on a network without IPv4.
    #[serde(default)]
    pub ipv4: Option<Ipv4Net>,
    pub gateway: Option<Ipv4Addr>,
    /// Absent on a network without IPv6.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6: Option<Ipv6Net>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ipv6_gateway: Option<Ipv6Addr>,
    /// What the request named as such.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub link_local: Vec<IpAddr>,
    pub mac: String,
    /// All names the network's DNS resolves to this endpoint.
    pub dns_names: Vec<String>,
    #[serde(default, skip_serializing_if = "is_zero")]
    pub gateway_priority: i64,
}

impl Endpoint {
    /// Returns the addresses of the network it has, IPv4 first.
    pub fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let ipv4 = self.ipv4.map(|net| IpAddr::V4(net.addr()));
        let ipv6 = self.ipv6.map(|net| IpAddr::V6(net.addr()));
        ipv4.into_iter().chain(ipv6)
    }

    /// Returns the gateways that lead out of its network, IPv4 first.
    pub fn gateways(&self) -> impl Iterator<Item = IpAddr> {
        let ipv6 = self.ipv6_gateway.map(IpAddr::V6);
        self.gateway.map(IpAddr::V4).into_iter().chain(ipv6)
    }
}

/// A port that is published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishedPort {
    pub protocol: Protocol,
    pub container_port: u16,
    pub host_ip: IpAddr,
    pub host_port: u16,
}

/// What a run holds; removed when it is released.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    pub request: Attach,
    pub attached: Attached,
    /// The host's ends of the interfaces, one for each endpoint.
    #[serde(default)]
    pub interfaces: Vec<String>,
}

impl RequestBody for Attach {
    const KIND: &'static str = "network.attach";
    const REPLY: &'static str = "network.attached";
    const FAILED: &'static str = "network.attach_failed";
    type Reply = Attached;
}

/// Takes everything away that `run` holds; a run that holds nothing is no error.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detach {
    pub run: RunId,
}

/// Nothing of the run is left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Detached {}

impl RequestBody for Detach {
    const KIND: &'static str = "network.detach";
    const REPLY: &'static str = "network.detached";
    const FAILED: &'static str = "network.detach_failed";
    type Reply = Detached;
}
