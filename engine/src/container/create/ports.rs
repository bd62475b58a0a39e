//! Published ports.

use std::net::IpAddr;

use engine_api::config::ContainerConfig as RequestedConfig;
use engine_api::host_config::{HostConfig, PortBinding};
use engine_model::container::PortConfig;

use crate::error::{Result, invalid};

/// Converts the bindings, and with `PublishAllPorts` every exposed port too.
///
/// # Errors
/// Invalid for a port, range or address Docker refuses too.
pub(super) fn convert(config: &RequestedConfig, host: &HostConfig) -> Result<Vec<PortConfig>> {
    let mut ports = Vec::new();
    for (key, bindings) in &host.port_bindings {
        for binding in bindings.iter().flatten() {
            ports.push(convert_one(key, binding)?);
        }
    }
    if host.publish_all_ports {
        for key in config.exposed_ports.keys() {
            let bound = host
                .port_bindings
                .get(key)
                .is_some_and(|bindings| bindings.as_ref().is_some_and(|b| !b.is_empty()));
            if !bound {
                ports.push(convert_one(key, &PortBinding::default())?);
            }
        }
    }
    Ok(ports)
}

fn convert_one(key: &str, binding: &PortBinding) -> Result<PortConfig> {
    let (port, protocol) = key.split_once('/').unwrap_or((key, "tcp"));
    let bad_port = || invalid(format!("invalid port specification: {key:?}"));
    let container_port: u16 = port.parse().map_err(|_| bad_port())?;
    if container_port == 0 {
        return Err(bad_port());
    }
    crate::container::network::protocol(protocol)?;
    let host_ip = match binding.host_ip.as_str() {
        "" => None,
        text => {
            let bad = |_| invalid(format!("invalid IP address in port specification: {text}"));
            Some(text.parse::<IpAddr>().map_err(bad)?)
        }
    };
    Ok(PortConfig {
        container_port,
        protocol: protocol.to_owned(),
        host_ip,
        host_ports: host_ports(&binding.host_port)?,
    })
}

/// Empty or 0: any free port; a number; a range.
fn host_ports(text: &str) -> Result<Option<(u16, u16)>> {
    let bad = || invalid(format!("invalid port specification: {text:?}"));
    if text.is_empty() || text == "0" {
        return Ok(None);
    }
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let first: u16 = first.parse().map_err(|_| bad())?;
    let last: u16 = last.parse().map_err(|_| bad())?;
    if first == 0 || last < first {
        Err(bad())
    } else {
        Ok(Some((first, last)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(key: &str, ip: &str, port: &str) -> Result<PortConfig> {
        convert_one(
            key,
            &PortBinding {
                host_ip: ip.into(),
                host_port: port.into(),
            },
        )
    }

    #[test]
    fn bindings_are_read_and_nonsense_is_refused() {
        let port = check("80/udp", "127.0.0.1", "8000-8010").unwrap();
        assert_eq!(
            (port.container_port, port.protocol.as_str(), port.host_ports),
            (80, "udp", Some((8000, 8010)))
        );
        assert_eq!(check("80", "", "").unwrap().host_ports, None);
        for (key, ip, host) in [
            ("0/tcp", "", ""),
            ("x/tcp", "", ""),
            ("80/icmp", "", ""),
            ("80", "1.2.3", ""),
            ("80", "", "9-8"),
            ("80", "", "70000"),
        ] {
            assert!(check(key, ip, host).is_err(), "{key} {ip} {host}");
        }
    }
}
