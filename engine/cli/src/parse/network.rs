//! `--network`: a name, or `name=…,alias=…,ip=…`; `--add-host`; MAC addresses.

use std::net::IpAddr;

use engine_api::network::{EndpointIpamConfig, EndpointSettings};

use super::{ParseError, csv, label, refuse};

/// A network to join and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Attachment {
    pub network: String,
    pub endpoint: EndpointSettings,
}

/// Reads a `--network` value.
pub(crate) fn parse(text: &str) -> Result<Attachment, ParseError> {
    if text.is_empty() {
        return refuse("no name set for network");
    }
    let mut attachment = Attachment {
        network: text.to_owned(),
        endpoint: EndpointSettings::default(),
    };
    if text.contains('=') {
        attachment.network.clear();
        for field in csv::fields(text)? {
            apply(&mut attachment, &field)?;
        }
    }
    match attachment.network.is_empty() {
        true => refuse(format!("no name set for network in '{text}'")),
        false => Ok(attachment),
    }
}

fn apply(attachment: &mut Attachment, field: &str) -> Result<(), ParseError> {
    let (key, Some(value)) = csv::key_value(field) else {
        return refuse(format!("invalid field {field:?}: expected key=value"));
    };
    let endpoint = &mut attachment.endpoint;
    let value = value.to_owned();
    match key.as_str() {
        "name" => attachment.network = value,
        "alias" => endpoint.aliases.get_or_insert_default().push(value),
        "ip" => ipam(endpoint).ipv4_address = check_ip(&value)?,
        "ip6" => ipam(endpoint).ipv6_address = check_ip(&value)?,
        "link-local-ip" => ipam(endpoint).link_local_ips.push(check_ip(&value)?),
        "gw-priority" => {
            let wrong = |_| format!("invalid gw-priority ({value}): invalid syntax");
            endpoint.gw_priority = value.parse().or_else(|error| refuse(wrong(error)))?;
        }
        "mac-address" => endpoint.mac_address = mac_address(&value)?,
        "driver-opt" => {
            let option = label::parse_option(&value)?;
            let map = label::to_map([&option]);
            endpoint.driver_opts.get_or_insert_default().extend(map);
        }
        _ => return refuse(format!("unexpected key '{key}' in '{field}'")),
    }
    Ok(())
}

/// Returns the addresses `endpoint` asks for.
pub(crate) fn ipam(endpoint: &mut EndpointSettings) -> &mut EndpointIpamConfig {
    endpoint.ipam_config.get_or_insert_default()
}

/// Checks an address.
pub(crate) fn check_ip(text: &str) -> Result<String, ParseError> {
    match text.parse::<IpAddr>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => refuse(format!("{text} is not a valid IP address")),
    }
}

/// Checks a MAC address.
pub(crate) fn mac_address(text: &str) -> Result<String, ParseError> {
    let parts: Vec<&str> = text.split([':', '-']).collect();
    let is_byte = |part: &&str| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit());
    match parts.len() == 6 && parts.iter().all(is_byte) {
        true => Ok(parts.join(":").to_lowercase()),
        false => refuse(format!("{text} is not a valid mac address")),
    }
}

/// Reads an `--add-host` value, `name:address` or `name=address`.
pub(crate) fn extra_host(text: &str) -> Result<String, ParseError> {
    let split = text.split_once('=').or_else(|| text.split_once(':'));
    let (name, address) = match split {
        Some((name, address)) if !name.is_empty() && !address.is_empty() => (name, address),
        _ => return refuse(format!("bad format for add-host: {text:?}")),
    };
    let bare = address.trim_start_matches('[').trim_end_matches(']');
    if address != "host-gateway" && bare.parse::<IpAddr>().is_err() {
        return refuse(format!("invalid IP address in add-host: {address:?}"));
    }
    Ok(format!("{name}:{bare}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_network_has_a_short_and_a_long_form() {
        assert_eq!(parse("host").unwrap().network, "host");
        let long =
            parse("name=n,alias=a,alias=b,ip=10.0.0.2,link-local-ip=fe80::1,mac-address=02-42-AC-11-00-02,gw-priority=-3").unwrap();
        assert_eq!(long.endpoint.gw_priority, -3);
        assert_eq!(long.network, "n");
        assert_eq!(long.endpoint.aliases.unwrap(), ["a", "b"]);
        let ipam = long.endpoint.ipam_config.unwrap();
        assert_eq!(ipam.ipv4_address, "10.0.0.2");
        assert_eq!(ipam.link_local_ips, ["fe80::1"]);
        assert_eq!(long.endpoint.mac_address, "02:42:ac:11:00:02");
        for bad in [
            "",
            "alias=a",
            "name=n,bogus=1",
            "name=n,ip=x",
            "name=n,gw-priority=abc",
            "name=n,alias",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn extra_hosts_have_an_address() {
        assert_eq!(extra_host("a:1.2.3.4").unwrap(), "a:1.2.3.4");
        assert_eq!(extra_host("a=::1").unwrap(), "a:::1");
        assert_eq!(extra_host("a:[::1]").unwrap(), "a:::1");
        assert_eq!(extra_host("a:host-gateway").unwrap(), "a:host-gateway");
        for bad in ["zz", "a:", ":1.2.3.4", "a:b"] {
            assert!(extra_host(bad).is_err(), "{bad:?}");
        }
        assert!(mac_address("zz").is_err());
    }
}
