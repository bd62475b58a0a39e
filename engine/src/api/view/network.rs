//! Networks, and a container's place in them.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::net::IpAddr;

use engine_api::host_config::{PortBinding, PortMap};
use engine_api::inspect::NetworkSettings;
use engine_api::network::{
    ConfigReference, EndpointSettings, Ipam, IpamConfig, Network, NetworkContainer,
};
use engine_model::container::NetworkMode;
use netd_api::{Attached, Chosen, Endpoint, Lease, NetworkConfig, NetworkDriver, Protocol};

use crate::Engine;
use crate::container::Container;
use crate::error::{OrFail as _, Result};

/// Returns Docker's name of a driver.
pub(in crate::api) fn driver(driver: NetworkDriver) -> &'static str {
    match driver {
        NetworkDriver::Bridge => "bridge",
        NetworkDriver::Host => "host",
        NetworkDriver::Null => "null",
        NetworkDriver::Macvlan => "macvlan",
        NetworkDriver::Ipvlan => "ipvlan",
    }
}

/// Returns Docker's name of a protocol.
pub(super) fn protocol(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
    }
}

/// Returns a network as a list shows it.
pub(in crate::api) fn summary(network: &NetworkConfig) -> Network {
    Network {
        name: network.name.clone(),
        id: network.id.to_string(),
        created: network.created.to_string(),
        scope: "local".into(),
        driver: driver(network.driver).into(),
        enable_ipv4: match network.template {
            Some(template) => template.ipv4,
            None => network.ipv4.is_some() || !network.driver.has_interfaces(),
        },
        enable_ipv6: network.template.is_some_and(|it| it.ipv6) || network.ipv6.is_some(),
        ipam: Ipam {
            driver: "default".into(),
            options: Some(&network.ipam_options)
                .filter(|options| !options.is_empty())
                .cloned(),
            config: subnets(network),
        },
        internal: network.internal,
        attachable: network.attachable,
        config_only: network.template.is_some(),
        config_from: ConfigReference {
            network: network.config_from.clone().unwrap_or_default(),
        },
        options: network.options.clone(),
        labels: network.labels.clone(),
        ..Network::default()
    }
}

/// Returns all subnets a network was given, IPv4 first, those of a family it has
/// not included.
fn subnets(network: &NetworkConfig) -> Vec<IpamConfig> {
    let unused = network.unused.iter().map(|request| IpamConfig {
        subnet: or_empty(request.subnet),
        ip_range: or_empty(request.range),
        gateway: or_empty(request.gateway),
        auxiliary_addresses: texts(&request.aux),
    });
    let used = network.pools().map(|pool| IpamConfig {
        subnet: pool.subnet.to_string(),
        ip_range: or_empty(pool.range),
        // One that follows from the subnet the user chose is not shown.
        gateway: or_empty(pool.gateway.filter(|_| pool.chosen != Chosen::Subnet)),
        auxiliary_addresses: texts(&pool.aux),
    });
    let mut all: Vec<IpamConfig> = used.chain(unused).collect();
    all.sort_by_key(|config| config.subnet.contains(':'));
    all
}

fn texts(aux: &BTreeMap<String, IpAddr>) -> BTreeMap<String, String> {
    let text = |(name, address): (&String, &IpAddr)| (name.clone(), address.to_string());
    aux.iter().map(text).collect()
}

/// Returns a network with the containers in it.
///
/// # Errors
/// When netd's leases cannot be read.
pub(in crate::api) fn inspect(engine: &Engine, network: &NetworkConfig) -> Result<Network> {
    let mut shown = summary(network);
    for lease in netd_api::query::leases(&engine.instance).or_internal()? {
        for endpoint in lease
            .attached
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.network == network.id)
        {
            shown.containers.insert(
                lease.request.run.container.to_string(),
                container(&lease, endpoint),
            );
        }
    }
    Ok(shown)
}

fn container(lease: &Lease, endpoint: &Endpoint) -> NetworkContainer {
    NetworkContainer {
        name: lease.request.container_name.clone(),
        endpoint_id: endpoint_id(lease, endpoint),
        mac_address: endpoint.mac.clone(),
        ipv4_address: or_empty(endpoint.ipv4),
        ipv6_address: or_empty(endpoint.ipv6),
    }
}

fn or_empty(value: Option<impl ToString>) -> String {
    value.map(|value| value.to_string()).unwrap_or_default()
}

/// An id that is the same each time it is asked for.
fn endpoint_id(lease: &Lease, endpoint: &Endpoint) -> String {
    base::Digest::of(format!("{}/{}", lease.request.run, endpoint.network).as_bytes()).hex()
}

/// Returns the lease of a container's run, if it runs.
///
/// # Errors
/// When the lease cannot be read.
pub(super) fn lease(engine: &Engine, container: &Container) -> Result<Option<Lease>> {
    if !container.state().is_live() {
        return Ok(None);
    }
    netd_api::query::lease(&engine.instance, &container.run()).or_internal()
}

/// Returns the networks of a container by name.
pub(super) fn endpoints(
    container: &Container,
    lease: Option<&Lease>,
) -> BTreeMap<String, EndpointSettings> {
    let mut all = BTreeMap::new();
    match &container.config().network {
        NetworkMode::Networks(wanted) => {
            let asked = &container.requested().networking_config.endpoints_config;
            for endpoint in wanted {
                let settings = asked.get(&endpoint.network).cloned().flatten();
                let mut settings = settings.unwrap_or_default();
                if container.state().started.is_some() {
                    settings = without_operational(settings);
                }
                settings.mac_address = endpoint.mac.clone().unwrap_or_default();
                all.insert(endpoint.network.clone(), settings);
            }
        }
        NetworkMode::None if container.requested().config.network_disabled => {}
        NetworkMode::None => drop(all.insert("none".to_owned(), EndpointSettings::default())),
        NetworkMode::Host => drop(all.insert("host".to_owned(), EndpointSettings::default())),
        NetworkMode::Container(_) => {}
    }
    for (lease, endpoint) in lease
        .iter()
        .flat_map(|lease| lease.attached.endpoints.iter().map(move |e| (lease, e)))
    {
        let settings = all.entry(endpoint.network_name.clone()).or_default();
        settings.network_id = endpoint.network.to_string();
        settings.endpoint_id = endpoint_id(lease, endpoint);
        settings.gateway = or_empty(endpoint.gateway);
        settings.ip_address = or_empty(endpoint.ipv4.map(|net| net.addr()));
        settings.ip_prefix_len = endpoint.ipv4.map_or(0, |net| net.prefix_len().into());
        settings.ipv6_gateway = or_empty(endpoint.ipv6_gateway);
        settings.global_ipv6_address = or_empty(endpoint.ipv6.map(|net| net.addr()));
        settings.global_ipv6_prefix_len = endpoint.ipv6.map_or(0, |net| net.prefix_len().into());
        settings.mac_address.clone_from(&endpoint.mac);
        settings.dns_names = Some(endpoint.dns_names.clone()).filter(|names| !names.is_empty());
    }
    all
}

/// The ids of networks by their names, read when the first is asked for.
#[derive(Debug)]
pub(super) struct NetworkIds<'a> {
    engine: &'a Engine,
    known: OnceCell<BTreeMap<String, String>>,
}

impl<'a> NetworkIds<'a> {
    pub(super) fn new(engine: &'a Engine) -> Self {
        Self {
            engine,
            known: OnceCell::new(),
        }
    }

    /// Tells of a container that has ended which networks it was on: compose makes one
    /// anew that is on none of those that it wants. Before the first start it is on none.
    pub(super) fn add(
        &self,
        container: &Container,
        endpoints: &mut BTreeMap<String, EndpointSettings>,
    ) {
        if container.state().started.is_none() {
            return;
        }
        for (name, settings) in endpoints {
            if settings.network_id.is_empty() {
                let known = self.known.get_or_init(|| self.read());
                settings.network_id = known.get(name).cloned().unwrap_or_default();
            }
        }
    }

    fn read(&self) -> BTreeMap<String, String> {
        let all = netd_api::query::networks(&self.engine.instance);
        let all = all.inspect_err(|error| tracing::warn!(%error, "cannot read the networks"));
        let pair = |network: NetworkConfig| (network.name, network.id.to_string());
        all.into_iter().flatten().map(pair).collect()
    }
}

/// What a client once read of a run and sent along is no wish: the first start
/// replaces it, and after the run nothing of it is left.
fn without_operational(settings: EndpointSettings) -> EndpointSettings {
    EndpointSettings {
        endpoint_id: String::new(),
        gateway: String::new(),
        ip_address: String::new(),
        ip_prefix_len: 0,
        ipv6_gateway: String::new(),
        global_ipv6_address: String::new(),
        global_ipv6_prefix_len: 0,
        ..settings
    }
}

/// Returns the network settings that inspecting a container shows.
pub(super) fn settings(
    engine: &Engine,
    container: &Container,
    lease: Option<&Lease>,
) -> NetworkSettings {
    let mut networks = endpoints(container, lease);
    NetworkIds::new(engine).add(container, &mut networks);
    let flat = networks.get("bridge").cloned().unwrap_or_default();
    let namespace = lease.map(|_| {
        engine
            .instance
            .network_namespace(&container.run())
            .display()
            .to_string()
    });
    NetworkSettings {
        sandbox_id: lease.map(|_| container.id.to_string()).unwrap_or_default(),
        sandbox_key: namespace.unwrap_or_default(),
        ports: ports(container, lease.map(|lease| &lease.attached)),
        endpoint_id: flat.endpoint_id,
        gateway: flat.gateway,
        ip_address: flat.ip_address,
        ip_prefix_len: flat.ip_prefix_len,
        ipv6_gateway: flat.ipv6_gateway,
        global_ipv6_address: flat.global_ipv6_address,
        global_ipv6_prefix_len: flat.global_ipv6_prefix_len,
        mac_address: flat.mac_address,
        networks,
        ..NetworkSettings::default()
    }
}

/// Returns exposed and published ports; only those of a live run are bound.
fn ports(container: &Container, attached: Option<&Attached>) -> PortMap {
    let Some(attached) = attached else {
        return PortMap::new();
    };
    let mut all: PortMap = container
        .requested()
        .config
        .exposed_ports
        .keys()
        .map(|key| (key.clone(), None))
        .collect();
    for port in &attached.ports {
        let key = format!("{}/{}", port.container_port, protocol(port.protocol));
        let binding = PortBinding {
            host_ip: port.host_ip.to_string(),
            // Where nothing is translated, no port of the host is taken.
            host_port: or_empty(Some(port.host_port).filter(|port| *port != 0)),
        };
        all.entry(key)
            .or_default()
            .get_or_insert_default()
            .push(binding);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_an_endpoint_only_what_was_wished_stays() {
        let wished = EndpointSettings {
            aliases: Some(vec!["db".to_owned()]),
            driver_opts: Some([("a".to_owned(), "b".to_owned())].into()),
            network_id: "n".to_owned(),
            gw_priority: 3,
            ..EndpointSettings::default()
        };
        let read = EndpointSettings {
            endpoint_id: "e".to_owned(),
            gateway: "10.0.0.1".to_owned(),
            ip_address: "10.0.0.2".to_owned(),
            ip_prefix_len: 24,
            ipv6_gateway: "fd00::1".to_owned(),
            global_ipv6_address: "fd00::2".to_owned(),
            global_ipv6_prefix_len: 64,
            ..wished.clone()
        };
        assert_eq!(without_operational(read), wished);
    }
}
