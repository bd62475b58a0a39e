//! Published ports: `[ip:][host:]container[/protocol]`, with ranges.

use std::net::IpAddr;
use std::ops::RangeInclusive;

use engine_api::host_config::PortBinding;

use super::{ParseError, refuse};

/// What one `-p` publishes: a container's port, `80/tcp`, and where it is bound.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Publish(pub Vec<(String, PortBinding)>);

/// What one `--expose` names: `80/tcp`, one for each port of a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Expose(pub Vec<String>);

type Range = RangeInclusive<u16>;

/// Reads a `-p` value.
pub(crate) fn parse(text: &str) -> Result<Publish, ParseError> {
    let (address, protocol) = split_protocol(text)?;
    let (ip, host, container) = split_address(address)?;
    check_ip(ip)?;
    if container.is_empty() {
        return refuse(format!("no port specified: {text}"));
    }
    let ports = nonzero(container, "containerPort")?;
    let bound = match host {
        "" => None,
        host => Some(range(host, "hostPort")?),
    };
    let host_ports = host_ports(text, &ports, bound)?;
    let pairs = ports.zip(host_ports).map(|(port, host_port)| {
        let binding = PortBinding {
            host_ip: ip.to_owned(),
            host_port,
        };
        (format!("{port}/{protocol}"), binding)
    });
    Ok(Publish(pairs.collect()))
}

/// Reads an `--expose` value.
pub(crate) fn parse_expose(text: &str) -> Result<Expose, ParseError> {
    let (ports, protocol) = split_protocol(text)?;
    if ports.contains(':') {
        return refuse(format!("invalid port format for --expose: {text}"));
    }
    let ports = nonzero(ports, "port")?;
    Ok(Expose(
        ports.map(|port| format!("{port}/{protocol}")).collect(),
    ))
}

fn split_protocol(text: &str) -> Result<(&str, String), ParseError> {
    let (address, protocol) = text.rsplit_once('/').unwrap_or((text, "tcp"));
    let protocol = protocol.to_lowercase();
    match protocol.as_str() {
        "tcp" | "udp" | "sctp" => Ok((address, protocol)),
        _ => refuse(format!("invalid proto: {protocol}")),
    }
}

/// Splits into host address, host port and container port, the first two
/// perhaps empty.
fn split_address(text: &str) -> Result<(&str, &str, &str), ParseError> {
    if let Some(rest) = text.strip_prefix('[') {
        let Some((ip, ports)) = rest.split_once("]:") else {
            return refuse(format!("invalid address in {text}: missing ']:'"));
        };
        let (host, container) = ports.split_once(':').unwrap_or(("", ports));
        return Ok((ip, host, container));
    }
    let Some((rest, container)) = text.rsplit_once(':') else {
        return Ok(("", "", text));
    };
    let (ip, host) = rest.rsplit_once(':').unwrap_or(("", rest));
    Ok((ip, host, container))
}

fn check_ip(ip: &str) -> Result<(), ParseError> {
    match ip.is_empty() || ip.parse::<IpAddr>().is_ok() {
        true => Ok(()),
        false => refuse(format!("invalid IP address: {ip}")),
    }
}

fn range(text: &str, what: &str) -> Result<Range, ParseError> {
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let number = |digits: &str| -> Option<u16> {
        let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
        plain.then(|| digits.parse().ok()).flatten()
    };
    match (number(first), number(last)) {
        (Some(first), Some(last)) if first <= last => Ok(first..=last),
        _ => refuse(format!("invalid {what}: {text}")),
    }
}

/// A port of a container; on the host, zero is any free one.
fn nonzero(text: &str, what: &str) -> Result<Range, ParseError> {
    match range(text, what)? {
        ports if *ports.start() > 0 => Ok(ports),
        _ => refuse(format!("invalid {what}: {text}")),
    }
}

/// Returns the host's side for each of the container's ports: one port each,
/// a free one of a range for a single port, or any.
fn host_ports(text: &str, ports: &Range, bound: Option<Range>) -> Result<Vec<String>, ParseError> {
    let Some(bound) = bound else {
        return Ok(vec![String::new(); ports.len()]);
    };
    match (ports.len(), bound.len()) {
        (wanted, given) if wanted == given => Ok(bound.map(|port| port.to_string()).collect()),
        (1, _) => Ok(vec![format!("{}-{}", bound.start(), bound.end())]),
        _ => refuse(format!(
            "invalid ranges specified for container and host ports: {text}"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[(&str, &str, &str)]) {
        let published = parse(text)
            .unwrap_or_else(|error| panic!("{text}: {error}"))
            .0;
        let got: Vec<_> = published
            .iter()
            .map(|(port, b)| (port.as_str(), b.host_ip.as_str(), b.host_port.as_str()))
            .collect();
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn ports_read_as_docker_reads_them() {
        check("80", &[("80/tcp", "", "")]);
        check("8080:80", &[("80/tcp", "", "8080")]);
        check("8080:80/UDP", &[("80/udp", "", "8080")]);
        check("127.0.0.1:8080:80", &[("80/tcp", "127.0.0.1", "8080")]);
        check("127.0.0.1::80", &[("80/tcp", "127.0.0.1", "")]);
        check("[::1]:8080:80", &[("80/tcp", "::1", "8080")]);
        check("[::1]::80", &[("80/tcp", "::1", "")]);
        check("::1:8080:80", &[("80/tcp", "::1", "8080")]);
        check(
            "9000-9001:90-91/udp",
            &[("90/udp", "", "9000"), ("91/udp", "", "9001")],
        );
        check("9000-9010:80", &[("80/tcp", "", "9000-9010")]);
        check("80-81", &[("80/tcp", "", ""), ("81/tcp", "", "")]);
        check("0:80", &[("80/tcp", "", "0")]);
    }

    #[test]
    fn what_is_no_port_is_named() {
        let message = |text| parse(text).unwrap_err().to_string();
        assert_eq!(message("99999:1"), "invalid hostPort: 99999");
        assert_eq!(message("1:x"), "invalid containerPort: x");
        assert_eq!(message("1:80/icmp"), "invalid proto: icmp");
        assert_eq!(message("8080:"), "no port specified: 8080:");
        assert_eq!(message("1.2.3:80:80"), "invalid IP address: 1.2.3");
        for bad in [
            "",
            "0",
            "81-80",
            "1-2:1-3",
            "+1:80",
            "1:80-",
            "[::1:80:80",
            "a:b:c:80",
        ] {
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn exposed_ports_have_no_host_side() {
        assert_eq!(parse_expose("77-78/udp").unwrap().0, ["77/udp", "78/udp"]);
        assert!(parse_expose("1:2").is_err());
    }
}
