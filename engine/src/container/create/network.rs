//! The network mode and what comes with it.

use std::net::{IpAddr, Ipv4Addr};

use engine_api::host_config::HostConfig;
use engine_api::network::EndpointSettings;
use engine_model::container::{DnsConfig, NetworkEndpoint, NetworkMode};

use crate::Engine;
use crate::container::{Requested, links, network};
use crate::error::{Result, invalid, unsupported};

/// Converts `NetworkMode` and the endpoints of `NetworkingConfig`.
///
/// # Errors
/// Invalid or unsupported endpoint options; an unknown container to share with.
pub(super) fn convert(engine: &Engine, requested: &Requested) -> Result<NetworkMode> {
    let mode = requested.host_config.network_mode.as_str();
    if requested.config.network_disabled || mode == "none" {
        return Ok(NetworkMode::None);
    }
    if mode == "host" {
        return Ok(NetworkMode::Host);
    }
    if let Some(name) = mode.strip_prefix("container:") {
        return Ok(NetworkMode::Container(
            engine.containers.find(name)?.id.clone(),
        ));
    }
    let mode = &name_of(engine, mode);
    let mut endpoints = vec![endpoint(
        mode,
        settings_of(requested, mode),
        &requested.config.mac_address,
    )?];
    for (name, settings) in &requested.networking_config.endpoints_config {
        if name != mode {
            endpoints.push(endpoint(name, settings.as_ref(), "")?);
        }
    }
    Ok(NetworkMode::Networks(endpoints))
}

/// Calls networks by their names, whatever the request called them by; one that is
/// not there yet keeps what it was called.
pub(super) fn name(engine: &Engine, requested: &mut Requested) {
    let endpoints = &mut requested.networking_config.endpoints_config;
    *endpoints = std::mem::take(endpoints)
        .into_iter()
        .map(|(text, settings)| match text.as_str() {
            "default" => ("bridge".to_owned(), settings),
            _ => (name_of(engine, &text), settings),
        })
        .collect();
}

fn name_of(engine: &Engine, text: &str) -> String {
    match network::find(&engine.instance, text) {
        Ok(network) => network.name,
        Err(_) => text.to_owned(),
    }
}

fn settings_of<'a>(requested: &'a Requested, mode: &str) -> Option<&'a EndpointSettings> {
    let all = &requested.networking_config.endpoints_config;
    // Docker's command line calls the default network so.
    let default = (mode == "bridge").then(|| all.get("default")).flatten();
    all.get(mode).or(default).and_then(Option::as_ref)
}

/// Converts what is asked for of one network.
///
/// # Errors
/// Invalid or unsupported options.
pub(in crate::container) fn endpoint(
    network: &str,
    settings: Option<&EndpointSettings>,
    mac: &str,
) -> Result<NetworkEndpoint> {
    let default = EndpointSettings::default();
    let settings = settings.unwrap_or(&default);
    let parse = |text: &String| {
        let (name, alias) = links::parse(text)?;
        Ok((name.to_owned(), alias.to_owned()))
    };
    let links = settings.links.iter().flatten().map(parse);
    let ipam = settings.ipam_config.clone().unwrap_or_default();
    if !ipam.ipv6_address.is_empty() {
        return Err(unsupported("--ip6 is not supported"));
    }
    let ipv4 = match ipam.ipv4_address.as_str() {
        "" => None,
        text => Some(
            text.parse::<Ipv4Addr>()
                .map_err(|_| invalid(format!("invalid IPv4 address: {text}")))?,
        ),
    };
    let is_default = network == "bridge";
    let aliases = settings.aliases.clone().unwrap_or_default();
    if is_default && (ipv4.is_some() || !aliases.is_empty()) {
        return Err(invalid(
            "network-scoped aliases and user specified IP addresses are supported on user defined networks only",
        ));
    }
    if ![mac, settings.mac_address.as_str()].contains(&"") && mac != settings.mac_address {
        return Err(invalid(
            "the container-wide MAC address must match the endpoint-specific MAC address for the main network, or be left empty",
        ));
    }
    let mac = if settings.mac_address.is_empty() {
        mac
    } else {
        &settings.mac_address
    };
    Ok(NetworkEndpoint {
        network: network.to_owned(),
        aliases,
        ipv4,
        mac: Some(mac.to_owned()).filter(|mac| !mac.is_empty()),
        links: links.collect::<Result<_>>()?,
    })
}

/// Converts the resolver options.
///
/// # Errors
/// Invalid for a server that is no address.
pub(super) fn dns(host: &HostConfig) -> Result<DnsConfig> {
    let parse = |text: &String| {
        text.parse::<IpAddr>()
            .map_err(|_| invalid(format!("invalid DNS server address: {text}")))
    };
    Ok(DnsConfig {
        servers: host
            .dns
            .iter()
            .flatten()
            .map(parse)
            .collect::<Result<_>>()?,
        search: host.dns_search.clone().unwrap_or_default(),
        options: host.dns_options.clone().unwrap_or_default(),
    })
}
