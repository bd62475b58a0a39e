//! Bodies and answers of `/networks`, and endpoints of containers.

use std::collections::BTreeMap;

use crate::config::StringMap;
use crate::wire::{is_zero, wire};

wire! {
    /// Which networks a new container joins.
    pub struct NetworkingConfig {
        pub endpoints_config: BTreeMap<String, Option<EndpointSettings>>,
    }

    /// A container's place in one network: what is asked for and what it got.
    pub struct EndpointSettings {
        #[serde(rename = "IPAMConfig")]
        pub ipam_config: Option<EndpointIpamConfig>,
        pub links: Option<Vec<String>>,
        pub aliases: Option<Vec<String>>,
        pub mac_address: String,
        pub driver_opts: Option<StringMap>,
        pub gw_priority: i64,
        #[serde(rename = "NetworkID")]
        pub network_id: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub gateway: String,
        #[serde(rename = "IPAddress")]
        pub ip_address: String,
        #[serde(rename = "IPPrefixLen")]
        pub ip_prefix_len: i64,
        #[serde(rename = "IPv6Gateway")]
        pub ipv6_gateway: String,
        #[serde(rename = "GlobalIPv6Address")]
        pub global_ipv6_address: String,
        #[serde(rename = "GlobalIPv6PrefixLen")]
        pub global_ipv6_prefix_len: i64,
        #[serde(rename = "DNSNames")]
        pub dns_names: Option<Vec<String>>,
    }

    /// The addresses a client asks for.
    pub struct EndpointIpamConfig {
        #[serde(rename = "IPv4Address", skip_serializing_if = "is_zero")]
        pub ipv4_address: String,
        #[serde(rename = "IPv6Address", skip_serializing_if = "is_zero")]
        pub ipv6_address: String,
        #[serde(rename = "LinkLocalIPs", skip_serializing_if = "is_zero")]
        pub link_local_ips: Vec<String>,
    }

    /// A network, in a list and alone.
    pub struct Network {
        pub name: String,
        pub id: String,
        pub created: String,
        pub scope: String,
        pub driver: String,
        #[serde(rename = "EnableIPv4")]
        pub enable_ipv4: bool,
        #[serde(rename = "EnableIPv6")]
        pub enable_ipv6: bool,
        #[serde(rename = "IPAM")]
        pub ipam: Ipam,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_from: ConfigReference,
        pub config_only: bool,
        /// By container id; empty in a list.
        pub containers: BTreeMap<String, NetworkContainer>,
        pub options: StringMap,
        pub labels: StringMap,
    }

    /// Address management of a network.
    pub struct Ipam {
        pub driver: String,
        pub options: Option<StringMap>,
        #[serde(serialize_with = "crate::wire::empty_is_null")]
        pub config: Vec<IpamConfig>,
    }

    /// One subnet of a network.
    pub struct IpamConfig {
        #[serde(skip_serializing_if = "is_zero")]
        pub subnet: String,
        #[serde(rename = "IPRange", skip_serializing_if = "is_zero")]
        pub ip_range: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub gateway: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub auxiliary_addresses: StringMap,
    }

    /// The network whose configuration is taken over.
    pub struct ConfigReference {
        pub network: String,
    }

    /// A container in a network's own list.
    pub struct NetworkContainer {
        pub name: String,
        #[serde(rename = "EndpointID")]
        pub endpoint_id: String,
        pub mac_address: String,
        #[serde(rename = "IPv4Address")]
        pub ipv4_address: String,
        #[serde(rename = "IPv6Address")]
        pub ipv6_address: String,
    }

    /// The body of `POST /networks/create`.
    pub struct NetworkCreateBody {
        pub name: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub check_duplicate: bool,
        pub driver: String,
        #[serde(skip_serializing_if = "is_zero")]
        pub scope: String,
        #[serde(rename = "EnableIPv4", skip_serializing_if = "Option::is_none")]
        pub enable_ipv4: Option<bool>,
        #[serde(rename = "EnableIPv6", skip_serializing_if = "Option::is_none")]
        pub enable_ipv6: Option<bool>,
        #[serde(rename = "IPAM")]
        pub ipam: Option<Ipam>,
        pub internal: bool,
        pub attachable: bool,
        pub ingress: bool,
        pub config_only: bool,
        pub config_from: Option<ConfigReference>,
        pub options: StringMap,
        pub labels: StringMap,
    }

    /// The answer to `POST /networks/create`.
    pub struct NetworkCreateResponse {
        pub id: String,
        pub warning: String,
    }

    /// The body of `POST /networks/{id}/connect`.
    pub struct NetworkConnectBody {
        pub container: String,
        pub endpoint_config: Option<EndpointSettings>,
    }

    /// The body of `POST /networks/{id}/disconnect`.
    pub struct NetworkDisconnectBody {
        pub container: String,
        pub force: bool,
    }
}
