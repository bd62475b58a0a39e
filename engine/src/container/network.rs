//! From a container's network options to netd's requests.

use base::Instance;
use engine_model::container::{DnsConfig, NetworkEndpoint, PortConfig};
use netd_api::{Dns, EndpointRequest, HostPorts, NetworkConfig, PortRequest, Protocol};

use crate::error::{OrFail as _, Result, invalid, not_found};

/// Finds a network by name, id or unambiguous beginning of its id.
///
/// # Errors
/// Not found, with Docker's sentence.
pub fn find(instance: &Instance, text: &str) -> Result<NetworkConfig> {
    let all = netd_api::query::networks(instance).or_internal()?;
    if let Some(exact) = all
        .iter()
        .find(|network| network.name == text || network.id.as_str() == text)
    {
        return Ok(exact.clone());
    }
    let is_prefix = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
    let mut matching = all
        .iter()
        .filter(|network| is_prefix && network.id.as_str().starts_with(text));
    match (matching.next(), matching.next()) {
        (Some(network), None) => Ok(network.clone()),
        (Some(_), Some(_)) => Err(invalid(format!("network {text} is ambiguous"))),
        (None, _) => Err(not_found(format!("network {text} not found"))),
    }
}

/// Returns what netd is asked to join.
///
/// # Errors
/// Not found for a network that is not there.
pub fn resolve(instance: &Instance, endpoints: &[NetworkEndpoint]) -> Result<Vec<EndpointRequest>> {
    let request = |endpoint: &NetworkEndpoint| {
        let network = find(instance, &endpoint.network)?;
        Ok(EndpointRequest {
            network: network.id,
            aliases: endpoint.aliases.clone(),
            ipv4: endpoint.ipv4,
            mac: endpoint.mac.clone(),
        })
    };
    endpoints.iter().map(request).collect()
}

/// Returns the ports netd is asked to publish.
///
/// # Errors
/// Invalid for a protocol netd does not know.
pub fn ports(ports: &[PortConfig]) -> Result<Vec<PortRequest>> {
    let request = |port: &PortConfig| {
        Ok(PortRequest {
            protocol: protocol(&port.protocol)?,
            container_port: port.container_port,
            host_ip: port.host_ip,
            host_ports: port
                .host_ports
                .map(|(first, last)| HostPorts { first, last }),
        })
    };
    ports.iter().map(request).collect()
}

/// Returns the protocol a port option names.
///
/// # Errors
/// Invalid for any but tcp and udp.
pub fn protocol(text: &str) -> Result<Protocol> {
    match text {
        "tcp" => Ok(Protocol::Tcp),
        "udp" => Ok(Protocol::Udp),
        other => Err(invalid(format!("invalid proto: {other}"))),
    }
}

/// Returns the resolver options netd completes.
pub fn dns(dns: &DnsConfig) -> Dns {
    Dns {
        servers: dns.servers.clone(),
        search: dns.search.clone(),
        options: dns.options.clone(),
    }
}
