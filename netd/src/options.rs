//! Docker's options of the driver `bridge`: what they mean and which values they
//! may have. Options that nobody knows are kept and of no effect, as in Docker.

use std::collections::BTreeMap;
use std::net::IpAddr;

use netd_api::interface::is_interface_name;
use netd_api::{NetworkConfig, NetworkDriver};

use crate::family::Family;

const MTU: &str = "com.docker.network.driver.mtu";
const MASQUERADE: &str = "com.docker.network.bridge.enable_ip_masquerade";
const BETWEEN: &str = "com.docker.network.bridge.enable_icc";
const NAME: &str = "com.docker.network.bridge.name";
const HOST_BINDING: &str = "com.docker.network.bridge.host_binding_ipv4";
const PREFIX: &str = "com.docker.network.container_iface_prefix";
const MODES: [(&str, Family); 2] = [
    ("com.docker.network.bridge.gateway_mode_ipv4", Family::V4),
    ("com.docker.network.bridge.gateway_mode_ipv6", Family::V6),
];
/// Those Docker knows and we have not: each would be a promise not kept.
const UNSUPPORTED: [&str; 4] = [
    "com.docker.network.bridge.inhibit_ipv4",
    "com.docker.network.bridge.trusted_host_interfaces",
    "com.docker.network.host_ipv4",
    "com.docker.network.host_ipv6",
];

/// Ethernet's, where neither the user nor the network says otherwise.
const DEFAULT_MTU: u32 = 1500;
/// The smallest MTU IPv4 knows and the largest an interface may have.
const MTU_RANGE: std::ops::RangeInclusive<i64> = 68..=65_535;
/// The smallest MTU IPv6 knows; with less an interface has none.
const IPV6_MTU: i64 = 1280;
/// What a container's interfaces are called, with a number behind.
const DEFAULT_PREFIX: &str = "eth";

/// Why an option cannot be had. The sentences are those of Docker's server.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum OptionError {
    #[error("network option {0} is not supported")]
    Unsupported(String),
    #[error(
        "failed to parse {name} value: {value} (strconv.ParseBool: parsing {value:?}: invalid syntax)"
    )]
    Bool { name: &'static str, value: String },
    #[error(
        "failed to parse {name} value: {value} (strconv.Atoi: parsing {value:?}: invalid syntax)"
    )]
    Number { name: &'static str, value: String },
    #[error("invalid MTU number: {0}")]
    Mtu(i64),
    #[error("failed to parse {name} value: {value} (nil ip)")]
    Address { name: &'static str, value: String },
    #[error("failed to parse {name} value: {value} (unknown gateway mode {value})")]
    Mode { name: &'static str, value: String },
    #[error("gateway mode 'isolated' can only be used for an internal network")]
    NotInternal,
    #[error("invalid bridge name {0:?}: invalid argument")]
    Name(String),
}

/// How a network is joined to what is outside, in one family.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum GatewayMode {
    #[default]
    Nat,
    /// The same, and containers are reached at their own addresses.
    NatUnprotected,
    /// Nothing is translated: published ports are reached at the container's address.
    Routed,
    /// The host has no address on the network.
    Isolated,
}

/// The options of a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BridgeOptions {
    /// What the bridge is called; absent, a name of ours.
    pub name: Option<String>,
    pub mtu: u32,
    pub masquerades: bool,
    /// Whether its containers reach each other.
    pub joins: bool,
    /// Where ports are published that name no address; absent, everywhere.
    pub host_binding: Option<IpAddr>,
    /// What a container's interfaces are called, with a number behind.
    pub prefix: String,
    ipv4: GatewayMode,
    ipv6: GatewayMode,
}

impl Default for BridgeOptions {
    fn default() -> Self {
        Self {
            name: None,
            mtu: DEFAULT_MTU,
            masquerades: true,
            joins: true,
            host_binding: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            ipv4: GatewayMode::default(),
            ipv6: GatewayMode::default(),
        }
    }
}

/// What else of a network its options have to agree with.
#[derive(Debug, Clone, Copy)]
pub struct Frame {
    pub ipv6: bool,
    pub internal: bool,
}

impl BridgeOptions {
    /// Reads the options that a user gives.
    ///
    /// # Errors
    /// The first that cannot be had.
    pub fn parse(options: &BTreeMap<String, String>, frame: Frame) -> Result<Self, OptionError> {
        let unsupported = UNSUPPORTED.iter().find(|name| options.contains_key(**name));
        if let Some(name) = unsupported {
            return Err(OptionError::Unsupported((*name).to_owned()));
        }
        let mut read = Self::default();
        let text = |name: &str| options.get(name);
        if let Some(value) = text(MTU) {
            read.mtu = mtu(value, frame)?;
        }
        if let Some(value) = text(MASQUERADE) {
            read.masquerades = boolean(MASQUERADE, value)?;
        }
        if let Some(value) = text(BETWEEN) {
            read.joins = boolean(BETWEEN, value)?;
        }
        if let Some(value) = text(HOST_BINDING) {
            read.host_binding = Some(address(value)?).filter(|ip| !ip.is_unspecified());
        }
        if let Some(value) = text(PREFIX).filter(|value| !value.is_empty()) {
            read.prefix.clone_from(value);
        }
        if let Some(value) = text(NAME).filter(|value| !value.is_empty()) {
            read.name = Some(interface_name(value)?);
        }
        for (name, family) in MODES {
            if let Some(value) = text(name) {
                *read.mode_mut(family) = mode(name, value)?;
            }
        }
        let is_isolated = [read.ipv4, read.ipv6].contains(&GatewayMode::Isolated);
        match is_isolated && !frame.internal {
            true => Err(OptionError::NotInternal),
            false => Ok(read),
        }
    }

    /// Returns the options of a network that was made: they were read before.
    pub fn of(network: &NetworkConfig) -> Self {
        if network.driver != NetworkDriver::Bridge {
            return Self::default();
        }
        let frame = Frame {
            ipv6: false,
            internal: true,
        };
        Self::parse(&network.options, frame).unwrap_or_default()
    }

    /// Returns how the network is joined to what is outside.
    pub fn mode(&self, family: Family) -> GatewayMode {
        match family {
            Family::V4 => self.ipv4,
            Family::V6 => self.ipv6,
        }
    }

    fn mode_mut(&mut self, family: Family) -> &mut GatewayMode {
        match family {
            Family::V4 => &mut self.ipv4,
            Family::V6 => &mut self.ipv6,
        }
    }
}

fn mtu(value: &str, frame: Frame) -> Result<u32, OptionError> {
    let number: i64 = value.parse().map_err(|_| OptionError::Number {
        name: MTU,
        value: value.to_owned(),
    })?;
    let smallest = if frame.ipv6 { IPV6_MTU } else { 0 };
    match u32::try_from(number) {
        Ok(0) => Ok(DEFAULT_MTU),
        Ok(mtu) if MTU_RANGE.contains(&number) && number >= smallest => Ok(mtu),
        _ => Err(OptionError::Mtu(number)),
    }
}

/// The texts that Docker takes for one.
fn boolean(name: &'static str, value: &str) -> Result<bool, OptionError> {
    match value {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
        _ => Err(OptionError::Bool {
            name,
            value: value.to_owned(),
        }),
    }
}

fn address(value: &str) -> Result<IpAddr, OptionError> {
    value.parse().map_err(|_| OptionError::Address {
        name: HOST_BINDING,
        value: value.to_owned(),
    })
}

fn mode(name: &'static str, value: &str) -> Result<GatewayMode, OptionError> {
    match value {
        "nat" => Ok(GatewayMode::Nat),
        "nat-unprotected" => Ok(GatewayMode::NatUnprotected),
        "routed" => Ok(GatewayMode::Routed),
        "isolated" => Ok(GatewayMode::Isolated),
        _ => Err(OptionError::Mode {
            name,
            value: value.to_owned(),
        }),
    }
}

fn interface_name(value: &str) -> Result<String, OptionError> {
    match is_interface_name(value) {
        true => Ok(value.to_owned()),
        false => Err(OptionError::Name(value.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: Frame = Frame {
        ipv6: false,
        internal: false,
    };

    fn parse(pairs: &[(&str, &str)], frame: Frame) -> Result<BridgeOptions, String> {
        let pairs = pairs.iter();
        let options = pairs.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        BridgeOptions::parse(&options.collect(), frame).map_err(|error| error.to_string())
    }

    #[test]
    fn what_docker_knows_is_read_and_what_nobody_knows_is_kept() {
        let read = parse(
            &[
                (MTU, "1400"),
                (MASQUERADE, "f"),
                (BETWEEN, "False"),
                (NAME, "br-mine"),
                (HOST_BINDING, "127.0.0.1"),
                (PREFIX, "net"),
                (MODES[1].0, "routed"),
                ("com.docker.network.bridge.colour", "red"),
            ],
            FRAME,
        );
        let expected = BridgeOptions {
            name: Some("br-mine".to_owned()),
            mtu: 1400,
            masquerades: false,
            joins: false,
            host_binding: Some("127.0.0.1".parse().unwrap()),
            prefix: "net".to_owned(),
            ipv4: GatewayMode::Nat,
            ipv6: GatewayMode::Routed,
        };
        assert_eq!(read, Ok(expected));
        let nothing = [
            (MTU, "0"),
            (NAME, ""),
            (PREFIX, ""),
            (HOST_BINDING, "0.0.0.0"),
        ];
        assert_eq!(parse(&nothing, FRAME), Ok(BridgeOptions::default()));
    }

    #[test]
    fn what_is_wrong_is_said_as_docker_says_it() {
        for (name, value, message) in [
            (
                MTU,
                "abc",
                "failed to parse com.docker.network.driver.mtu value: abc (strconv.Atoi: parsing \"abc\": invalid syntax)",
            ),
            (MTU, "-5", "invalid MTU number: -5"),
            (MTU, "20", "invalid MTU number: 20"),
            (MTU, "70000", "invalid MTU number: 70000"),
            (
                BETWEEN,
                "perhaps",
                "failed to parse com.docker.network.bridge.enable_icc value: perhaps (strconv.ParseBool: parsing \"perhaps\": invalid syntax)",
            ),
            (
                HOST_BINDING,
                "abc",
                "failed to parse com.docker.network.bridge.host_binding_ipv4 value: abc (nil ip)",
            ),
            (
                MODES[0].0,
                "pigeon",
                "failed to parse com.docker.network.bridge.gateway_mode_ipv4 value: pigeon (unknown gateway mode pigeon)",
            ),
            (
                MODES[0].0,
                "isolated",
                "gateway mode 'isolated' can only be used for an internal network",
            ),
            (NAME, "a/b", "invalid bridge name \"a/b\": invalid argument"),
            (
                NAME,
                "thisnameistoolong",
                "invalid bridge name \"thisnameistoolong\": invalid argument",
            ),
            (
                UNSUPPORTED[0],
                "true",
                "network option com.docker.network.bridge.inhibit_ipv4 is not supported",
            ),
        ] {
            assert_eq!(parse(&[(name, value)], FRAME), Err(message.to_owned()));
        }
    }

    #[test]
    fn what_else_a_network_is_counts_too() {
        let internal = Frame {
            ipv6: true,
            internal: true,
        };
        let isolated = parse(&[(MODES[0].0, "isolated")], internal).unwrap();
        assert_eq!(isolated.mode(Family::V4), GatewayMode::Isolated);
        assert!(parse(&[(MTU, "1279")], internal).is_err());
        assert!(parse(&[(MTU, "1279")], FRAME).is_ok());
    }
}
