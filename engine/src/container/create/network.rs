//! The network mode and what comes with it.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use engine_api::host_config::HostConfig;
use engine_api::network::EndpointSettings;
use engine_model::container::{DnsConfig, NetworkEndpoint, NetworkMode};
use netd_api::InterfaceOptions;

use crate::Engine;
use crate::container::{Requested, links, network};
use crate::error::{OrFail as _, Result, invalid};

/// An endpoint may have this many addresses of the link.
const LINK_LOCAL_LIMIT: usize = 64;

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
    for endpoint in &endpoints {
        check_addresses(engine, endpoint)?;
    }
    check_interfaces(&endpoints)?;
    Ok(NetworkMode::Networks(endpoints))
}

/// Checks that no two endpoints name the same interface.
///
/// # Errors
/// Invalid, with the name.
pub(in crate::container) fn check_interfaces(endpoints: &[NetworkEndpoint]) -> Result<()> {
    let mut seen = BTreeSet::new();
    for endpoint in endpoints {
        let options = InterfaceOptions::read(&endpoint.driver_options).or_invalid()?;
        if let Some(name) = options.name
            && !seen.insert(name.clone())
        {
            let sentence = format!("two networks of the container name the interface {name:?}");
            return Err(invalid(sentence));
        }
    }
    Ok(())
}

/// One that is not there yet is looked at when the container starts.
fn check_addresses(engine: &Engine, endpoint: &NetworkEndpoint) -> Result<()> {
    if endpoint.ipv4.is_none() && endpoint.ipv6.is_none() {
        return Ok(());
    }
    let Ok(known) = network::find(&engine.instance, &endpoint.network) else {
        return Ok(());
    };
    network::check_addresses(&known, endpoint).map_err(|failure| {
        invalid(format!(
            "invalid config for network {}: {}",
            endpoint.network, failure.message
        ))
    })
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
    let ipv4: Option<Ipv4Addr> = address(&ipam.ipv4_address, "IPv4")?;
    let ipv6: Option<Ipv6Addr> = address(&ipam.ipv6_address, "IPv6")?;
    let is_default = network == "bridge";
    let aliases = settings.aliases.clone().unwrap_or_default();
    if is_default && !aliases.is_empty() {
        return Err(invalid(
            "invalid endpoint settings:\nnetwork-scoped alias is supported only for containers in user defined networks",
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
    let driver_options = settings.driver_opts.clone().unwrap_or_default();
    InterfaceOptions::read(&driver_options).or_invalid()?;
    Ok(NetworkEndpoint {
        network: network.to_owned(),
        aliases,
        ipv4,
        ipv6,
        link_local: link_local(&ipam.link_local_ips)?,
        mac: Some(mac.to_owned()).filter(|mac| !mac.is_empty()),
        links: links.collect::<Result<_>>()?,
        gateway_priority: settings.gw_priority,
        driver_options,
    })
}

fn address<T: FromStr>(text: &str, family: &str) -> Result<Option<T>> {
    if text.is_empty() {
        return Ok(None);
    }
    let parsed = text.parse().map(Some);
    parsed.map_err(|_| invalid(format!("invalid {family} address: {text}")))
}

fn link_local(texts: &[String]) -> Result<Vec<IpAddr>> {
    if texts.len() > LINK_LOCAL_LIMIT {
        return Err(invalid(format!(
            "an endpoint may have at most {LINK_LOCAL_LIMIT} link-local addresses"
        )));
    }
    let is_of_link = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    };
    let parse = |text: &String| {
        let parsed = text.parse::<IpAddr>().ok().filter(is_of_link);
        parsed.ok_or_else(|| invalid(format!("invalid link-local IP address: {text}")))
    };
    texts.iter().map(parse).collect()
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

#[cfg(test)]
mod tests {
    use engine_api::network::EndpointIpamConfig;

    use super::*;

    fn check(
        network: &str,
        ipv6: &str,
        link_local: &[&str],
    ) -> std::result::Result<String, String> {
        let settings = EndpointSettings {
            ipam_config: Some(EndpointIpamConfig {
                ipv6_address: ipv6.to_owned(),
                link_local_ips: link_local.iter().map(|ip| (*ip).to_owned()).collect(),
                ..EndpointIpamConfig::default()
            }),
            ..EndpointSettings::default()
        };
        match endpoint(network, Some(&settings), "") {
            Ok(endpoint) => Ok(format!("{:?} {:?}", endpoint.ipv6, endpoint.link_local)),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn addresses_of_ipv6_and_of_the_link_are_read() {
        let both = check("n", "fd00::5", &["fe80::7", "169.254.1.1"]);
        assert_eq!(both.unwrap(), "Some(fd00::5) [fe80::7, 169.254.1.1]");
        assert_eq!(check("n", "", &[]).unwrap(), "None []");
        for (ipv6, link_local, message) in [
            ("10.0.0.1", &[][..], "invalid IPv6 address: 10.0.0.1"),
            ("", &["fd00::1"], "invalid link-local IP address: fd00::1"),
            ("", &["x"], "invalid link-local IP address: x"),
        ] {
            assert_eq!(check("n", ipv6, link_local).unwrap_err(), message);
        }
        assert!(check("n", "", &["fe80::1"; 65]).is_err());
    }
}
