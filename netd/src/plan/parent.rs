//! Docker's options of the drivers `macvlan` and `ipvlan`: on which interface of
//! the host a network is, and in which mode.

use std::collections::BTreeMap;

use netd_api::network::IPVLAN_MODE;
use netd_api::{Parent, ParentOrigin};

use super::{IpvlanFlag, IpvlanMode, MacvlanMode};

const PARENT: &str = "parent";
const MACVLAN_MODE: &str = "macvlan_mode";
const IPVLAN_FLAG: &str = "ipvlan_flag";
const LOOPBACK: &str = "lo";
/// The numbers a virtual LAN may have.
const VLAN_IDS: std::ops::RangeInclusive<i64> = 1..=4094;

/// Why a network has no parent. The sentences are those of Docker's server.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParentError {
    #[error("loopback interface is not a valid {0} parent link")]
    Loopback(&'static str),
    #[error("invalid subinterface vlan name {0}, example formatting is eth0.10")]
    Form(String),
    #[error("unable to parse a valid vlan id from: {0} (ex. eth0.10 for vlan 10)")]
    Number(String),
    #[error("vlan id must be between 1-4094, received: {0}")]
    Range(i64),
    #[error("-o parent interface was not found on the host: {0}")]
    Missing(String),
    #[error(
        "requested macvlan mode '{0}' is not valid, 'bridge' mode is the macvlan driver default"
    )]
    MacvlanMode(String),
    #[error("requested ipvlan mode '{0}' is not valid, 'l2' mode is the ipvlan driver default")]
    IpvlanMode(String),
    #[error("requested ipvlan flag '{0}' is not valid, 'bridge' is the ipvlan driver default")]
    IpvlanFlag(String),
}

/// Returns the mode of a macvlan network.
///
/// # Errors
/// When there is no such mode.
pub fn macvlan_mode(options: &BTreeMap<String, String>) -> Result<MacvlanMode, ParentError> {
    match options.get(MACVLAN_MODE).map(String::as_str) {
        None | Some("" | "bridge") => Ok(MacvlanMode::Bridge),
        Some("private") => Ok(MacvlanMode::Private),
        Some("vepa") => Ok(MacvlanMode::Vepa),
        Some("passthru") => Ok(MacvlanMode::Passthru),
        Some(other) => Err(ParentError::MacvlanMode(other.to_owned())),
    }
}

/// Returns the mode of an ipvlan network.
///
/// # Errors
/// When there is no such mode or flag.
pub fn ipvlan_mode(
    options: &BTreeMap<String, String>,
) -> Result<(IpvlanMode, IpvlanFlag), ParentError> {
    let mode = match options.get(IPVLAN_MODE).map(String::as_str) {
        None | Some("" | "l2") => IpvlanMode::L2,
        Some("l3") => IpvlanMode::L3,
        Some("l3s") => IpvlanMode::L3s,
        Some(other) => return Err(ParentError::IpvlanMode(other.to_owned())),
    };
    let flag = match options.get(IPVLAN_FLAG).map(String::as_str) {
        None | Some("" | "bridge") => IpvlanFlag::Bridge,
        Some("private") => IpvlanFlag::Private,
        Some("vepa") => IpvlanFlag::Vepa,
        Some(other) => return Err(ParentError::IpvlanFlag(other.to_owned())),
    };
    Ok((mode, flag))
}

/// Returns the parent that options name; `None` where they leave it to us.
/// `is_there` tells whether the host has an interface.
///
/// # Errors
/// When there is none and none can be made.
pub fn parent(
    driver: &'static str,
    options: &BTreeMap<String, String>,
    is_there: impl Fn(&str) -> bool,
) -> Result<Option<Parent>, ParentError> {
    let Some(name) = options.get(PARENT).filter(|name| !name.is_empty()) else {
        return Ok(None);
    };
    if name == LOOPBACK {
        return Err(ParentError::Loopback(driver));
    }
    if is_there(name) {
        return Ok(Some(Parent {
            interface: name.clone(),
            origin: ParentOrigin::Host,
        }));
    }
    let (on, number) = name
        .split_once('.')
        .filter(|(_, number)| !number.contains('.'))
        .ok_or_else(|| ParentError::Form(name.clone()))?;
    let id: i64 = number
        .parse()
        .map_err(|_| ParentError::Number(number.to_owned()))?;
    let id = u16::try_from(id)
        .ok()
        .filter(|_| VLAN_IDS.contains(&id))
        .ok_or(ParentError::Range(id))?;
    if !is_there(on) {
        return Err(ParentError::Missing(on.to_owned()));
    }
    Ok(Some(Parent {
        interface: name.clone(),
        origin: ParentOrigin::Vlan {
            on: on.to_owned(),
            id,
        },
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(name: &str, value: &str) -> BTreeMap<String, String> {
        BTreeMap::from([(name.to_owned(), value.to_owned())])
    }

    fn check(name: &str) -> Result<Option<Parent>, String> {
        let is_there = |name: &str| name == "eth0" || name == "eth0.7";
        let parent = parent("macvlan", &options(PARENT, name), is_there);
        parent.map_err(|error| error.to_string())
    }

    #[test]
    fn a_parent_is_there_or_a_virtual_lan_is_made() {
        let found = |name| check(name).unwrap().map(|parent| parent.origin);
        assert_eq!(found(""), None);
        assert_eq!(found("eth0"), Some(ParentOrigin::Host));
        assert_eq!(found("eth0.7"), Some(ParentOrigin::Host));
        let on = "eth0".to_owned();
        assert_eq!(found("eth0.10"), Some(ParentOrigin::Vlan { on, id: 10 }));
        for (name, message) in [
            (
                "lo",
                "loopback interface is not a valid macvlan parent link",
            ),
            (
                "eth9",
                "invalid subinterface vlan name eth9, example formatting is eth0.10",
            ),
            (
                "eth0.abc",
                "unable to parse a valid vlan id from: abc (ex. eth0.10 for vlan 10)",
            ),
            (
                "eth0.5000",
                "vlan id must be between 1-4094, received: 5000",
            ),
            (
                "eth9.10",
                "-o parent interface was not found on the host: eth9",
            ),
        ] {
            assert_eq!(check(name), Err(message.to_owned()));
        }
    }

    #[test]
    fn modes_are_those_of_the_kernel() {
        let macvlan = |text| macvlan_mode(&options(MACVLAN_MODE, text));
        assert_eq!(macvlan(""), Ok(MacvlanMode::Bridge));
        assert_eq!(macvlan("passthru"), Ok(MacvlanMode::Passthru));
        let error = macvlan("pigeon").unwrap_err().to_string();
        let expected = "requested macvlan mode 'pigeon' is not valid, 'bridge' mode is the macvlan driver default";
        assert_eq!(error, expected);
        let ipvlan = |name, text| ipvlan_mode(&options(name, text));
        assert_eq!(ipvlan(IPVLAN_MODE, "l3s").unwrap().0, IpvlanMode::L3s);
        assert_eq!(ipvlan(IPVLAN_FLAG, "vepa").unwrap().1, IpvlanFlag::Vepa);
        for name in [IPVLAN_MODE, IPVLAN_FLAG] {
            assert!(ipvlan(name, "pigeon").is_err());
        }
    }
}
