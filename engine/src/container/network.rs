//! From a container's network options to netd's requests.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use base::Instance;
use engine_model::container::{DnsConfig, NetworkEndpoint, PortConfig};
use ipnet::IpNet;
use netd_api::{
    Chosen, Dns, EndpointRequest, HostPorts, InterfaceOptions, NetworkConfig, PREDEFINED,
    PortRequest, Protocol,
};

use crate::error::{OrFail as _, Result, invalid, listed, not_found};

/// How long netd may take to make the networks of a new installation.
const PREDEFINED_LIMIT: Duration = Duration::from_secs(5);
const POLL: Duration = Duration::from_millis(2);
/// The network that containers are on unless they say otherwise.
const DEFAULT: &str = "bridge";

/// Waits until the networks that every installation has are there: netd makes
/// them when it first starts, and clients come at once. Returns whether they are.
pub async fn await_predefined(instance: &Instance) -> bool {
    let deadline = Instant::now() + PREDEFINED_LIMIT;
    let are_there = || {
        let all = netd_api::query::networks(instance).unwrap_or_default();
        let is_there = |name: &str| all.iter().any(|network| network.name == name);
        PREDEFINED.iter().all(|(name, _)| is_there(name))
    };
    loop {
        if are_there() {
            return true;
        }
        if Instant::now() > deadline {
            return false;
        }
        tokio::time::sleep(POLL).await;
    }
}

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
    let resolve = |endpoint: &NetworkEndpoint| {
        let network = find(instance, &endpoint.network)?;
        // It may be another one than when the container was made.
        check_addresses(&network, endpoint)?;
        request(&network, endpoint)
    };
    endpoints.iter().map(resolve).collect()
}

/// Checks that a network lets users choose the addresses that an endpoint names.
///
/// # Errors
/// Invalid, with Docker's sentences.
pub fn check_addresses(network: &NetworkConfig, endpoint: &NetworkEndpoint) -> Result<()> {
    let asked = [endpoint.ipv4.map(IpAddr::V4), endpoint.ipv6.map(IpAddr::V6)];
    let asked = asked.into_iter().flatten();
    let is_free = asked.clone().next().is_none();
    let mut wrong = Vec::new();
    if !is_free && network.name == DEFAULT {
        wrong.push(
            "user specified IP address is supported on user defined networks only".to_owned(),
        );
    }
    wrong.extend(asked.filter_map(|ip| {
        let subnets = chosen_subnets(network, ip);
        if subnets.is_empty() || network.name == DEFAULT {
            return Some(
                "user specified IP address is supported only when connecting to networks with \
                 user configured subnets"
                    .to_owned(),
            );
        }
        let sentence = || format!("no configured subnet or ip-range contain the IP address {ip}");
        let is_within = subnets.iter().any(|subnet| subnet.contains(&ip));
        (!is_within).then(sentence)
    }));
    match wrong.is_empty() {
        true => Ok(()),
        false => Err(invalid(format!(
            "invalid endpoint settings:\n{}",
            listed(&wrong)
        ))),
    }
}

/// Returns the subnets of an address's family that the user chose, those of a
/// family that the network does not have included: Docker takes an address in
/// them and leaves it out.
fn chosen_subnets(network: &NetworkConfig, ip: IpAddr) -> Vec<IpNet> {
    let used = network.pools();
    let chosen = used.filter(|pool| pool.chosen != Chosen::Nothing);
    let chosen = chosen.map(|pool| pool.subnet);
    let unused = network.unused.iter().filter_map(|request| request.subnet);
    let is_of_family = |subnet: &IpNet| subnet.addr().is_ipv4() == ip.is_ipv4();
    chosen.chain(unused).filter(is_of_family).collect()
}

/// Returns what netd is asked of one network.
///
/// # Errors
/// Invalid for options of an endpoint that cannot be followed.
pub fn request(network: &NetworkConfig, endpoint: &NetworkEndpoint) -> Result<EndpointRequest> {
    Ok(EndpointRequest {
        network: network.id.clone(),
        aliases: endpoint.aliases.clone(),
        ipv4: endpoint.ipv4.filter(|_| network.ipv4.is_some()),
        ipv6: endpoint.ipv6.filter(|_| network.ipv6.is_some()),
        link_local: endpoint.link_local.clone(),
        mac: endpoint.mac.clone(),
        links: endpoint.links.clone(),
        gateway_priority: endpoint.gateway_priority,
        interface: InterfaceOptions::read(&endpoint.driver_options).or_invalid()?,
    })
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

#[cfg(test)]
mod tests {
    use base::file::{FileMode, replace};
    use base::{NetworkId, Timestamp};
    use netd_api::PoolRequest;

    use super::*;

    fn config(name: &str, driver: netd_api::NetworkDriver) -> NetworkConfig {
        NetworkConfig {
            id: NetworkId::random(),
            name: name.to_owned(),
            driver,
            created: Timestamp::now(),
            ipv4: None,
            ipv6: None,
            unused: Vec::new(),
            internal: false,
            labels: Default::default(),
            options: Default::default(),
            interface: None,
            adopted: false,
            parent: None,
            attachable: false,
            template: None,
            config_from: None,
            ipam_options: Default::default(),
        }
    }

    fn write(instance: &Instance, name: &str, driver: netd_api::NetworkDriver) {
        let network = config(name, driver);
        let path = instance.networks().join(format!("{}.json", network.id));
        let text = serde_json::to_vec(&network).unwrap();
        replace(&path, &text, FileMode::Private).unwrap();
    }

    #[test]
    fn an_address_of_a_family_that_the_network_lacks_is_taken_and_left_out() {
        let mut network = config("mine", netd_api::NetworkDriver::Bridge);
        let subnet = PoolRequest {
            subnet: Some("2001:389::/64".parse().unwrap()),
            ..PoolRequest::default()
        };
        let with = |ip: &str| -> NetworkEndpoint {
            serde_json::from_value(serde_json::json!({ "network": "mine", "ipv6": ip })).unwrap()
        };
        let said = |network: &NetworkConfig, ip: &str| {
            let checked = check_addresses(network, &with(ip));
            checked.map_err(|failure| failure.message)
        };
        let none = said(&network, "2001:389::f00d").unwrap_err();
        assert!(none.contains("user configured subnets"), "{none}");
        network.unused = vec![subnet];
        assert_eq!(said(&network, "2001:389::f00d"), Ok(()));
        let other = said(&network, "2001:390::f00d").unwrap_err();
        assert!(other.contains("no configured subnet"), "{other}");
        let asked = request(&network, &with("2001:389::f00d")).unwrap();
        assert_eq!(asked.ipv6, None);
        network.name = DEFAULT.to_owned();
        said(&network, "2001:389::f00d").unwrap_err();
    }

    #[tokio::test]
    async fn the_default_networks_are_waited_for() {
        let place = tempfile::tempdir().unwrap();
        let (root, run) = (place.path().join("root"), place.path().join("run"));
        let instance = Instance::open(&root, &run, None).unwrap();
        std::fs::create_dir_all(instance.networks()).unwrap();
        let (first, others) = PREDEFINED.split_first().unwrap();
        write(&instance, first.0, first.1);
        let late = async {
            tokio::time::sleep(10 * POLL).await;
            for (name, driver) in others {
                write(&instance, name, *driver);
            }
        };
        let begun = Instant::now();
        let (are_there, ()) = tokio::join!(await_predefined(&instance), late);
        assert!(are_there && begun.elapsed() >= 10 * POLL);
    }
}
