//! What an endpoint may ask of its interface inside the container, by the options that
//! Docker gives an endpoint.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The option that names the interface.
const NAME: &str = "com.docker.network.endpoint.ifname";
/// The option with settings of the interface, divided by commas.
const SYSCTLS: &str = "com.docker.network.endpoint.sysctls";
/// What stands for the interface's name in a setting.
const PLACEHOLDER: &str = "IFNAME";
/// Settings that an endpoint may have.
const SYSCTLS_LIMIT: usize = 64;
/// Bytes that a setting's value may have.
const VALUE_BYTES: usize = 64;
/// Bytes that an interface's name may have (`IFNAMSIZ` with its zero).
const INTERFACE_NAME_BYTES: usize = 15;

/// What an endpoint asks of its interface.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct InterfaceOptions {
    /// In place of the network's prefix and a number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Written before the interface is up, in this order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sysctls: Vec<InterfaceSysctl>,
}

/// Why an endpoint's options cannot be followed.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum InterfaceOptionError {
    #[error("invalid interface name {0:?}")]
    Name(String),
    #[error("invalid setting of an interface {0:?}: net.ipv4.conf.IFNAME.NAME=VALUE is expected")]
    Sysctl(String),
    #[error("an endpoint may have at most {SYSCTLS_LIMIT} settings")]
    TooMany,
}

impl InterfaceOptions {
    /// Reads those of an endpoint's options that are about its interface.
    ///
    /// # Errors
    /// For a name no interface can have, and what is no setting of an interface.
    pub fn read(options: &BTreeMap<String, String>) -> Result<Self, InterfaceOptionError> {
        let name = options.get(NAME).filter(|name| !name.is_empty());
        if let Some(bad) = name.filter(|name| !is_free_name(name)) {
            return Err(InterfaceOptionError::Name(bad.clone()));
        }
        let texts = options.get(SYSCTLS).into_iter();
        let texts = texts.flat_map(|text| text.split(','));
        let texts = texts.filter(|text| !text.is_empty());
        let sysctls: Vec<_> = texts.map(str::parse).collect::<Result<_, _>>()?;
        match sysctls.len() > SYSCTLS_LIMIT {
            true => Err(InterfaceOptionError::TooMany),
            false => Ok(Self {
                name: name.cloned(),
                sysctls,
            }),
        }
    }

    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

/// One setting of an interface, `net.ipv4.conf.IFNAME.log_martians=1`
/// (`Documentation/networking/ip-sysctl.rst` of the kernel).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct InterfaceSysctl {
    /// `ipv4/conf`
    area: String,
    /// `log_martians`
    setting: String,
    pub value: String,
}

impl InterfaceSysctl {
    /// Returns its name below `/proc/sys` for the interface `interface`.
    pub fn name(&self, interface: &str) -> String {
        format!("net/{}/{interface}/{}", self.area, self.setting)
    }
}

impl FromStr for InterfaceSysctl {
    type Err = InterfaceOptionError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let bad = || InterfaceOptionError::Sysctl(text.to_owned());
        let (name, value) = text.trim().split_once('=').ok_or_else(bad)?;
        let parts: Vec<&str> = name.split('.').collect();
        let ["net", family, kind, interface, setting] = parts[..] else {
            return Err(bad());
        };
        let is_word = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let is_known =
            matches!(family, "ipv4" | "ipv6" | "mpls") && matches!(kind, "conf" | "neigh");
        // Docker's command line makes small letters of it.
        let is_its = interface.eq_ignore_ascii_case(PLACEHOLDER);
        let is_setting = !setting.is_empty() && setting.bytes().all(is_word);
        let is_value = (1..=VALUE_BYTES).contains(&value.len());
        let is_value = is_value && !value.contains(char::is_control);
        match is_its && is_known && is_setting && is_value {
            true => Ok(Self {
                area: format!("{family}/{kind}"),
                setting: setting.to_owned(),
                value: value.to_owned(),
            }),
            false => Err(bad()),
        }
    }
}

impl TryFrom<String> for InterfaceSysctl {
    type Error = InterfaceOptionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<InterfaceSysctl> for String {
    fn from(sysctl: InterfaceSysctl) -> Self {
        sysctl.to_string()
    }
}

impl fmt::Display for InterfaceSysctl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let area = self.area.replace('/', ".");
        let (setting, value) = (&self.setting, &self.value);
        write!(f, "net.{area}.{PLACEHOLDER}.{setting}={value}")
    }
}

/// Returns whether an interface can be called so that a user names: the kernel has these
/// itself, and takes `%` for the place of a number.
fn is_free_name(text: &str) -> bool {
    let is_odd = |byte: u8| byte == b'%' || byte.is_ascii_control();
    let is_taken = matches!(text, "lo" | "all" | "default");
    is_interface_name(text) && !is_taken && !text.bytes().any(is_odd)
}

/// Returns whether the kernel lets an interface be called so.
pub fn is_interface_name(text: &str) -> bool {
    let is_odd = |byte: u8| byte == b'/' || byte == b':' || byte.is_ascii_whitespace();
    let fits = (1..=INTERFACE_NAME_BYTES).contains(&text.len());
    fits && !matches!(text, "." | "..") && !text.bytes().any(is_odd) && text.is_ascii()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(name: &str, value: &str) -> Result<InterfaceOptions, InterfaceOptionError> {
        InterfaceOptions::read(&[(name.to_owned(), value.to_owned())].into())
    }

    #[test]
    fn settings_are_of_one_interface_and_stay_below_it() {
        let both = "net.ipv4.conf.IFNAME.log_martians=1,net.ipv6.neigh.ifname.gc_stale_time=9";
        let options = read(SYSCTLS, both).unwrap();
        let names: Vec<_> = options.sysctls.iter().map(|it| it.name("wan0")).collect();
        assert_eq!(
            names,
            [
                "net/ipv4/conf/wan0/log_martians",
                "net/ipv6/neigh/wan0/gc_stale_time"
            ]
        );
        let kept = serde_json::to_string(&options).unwrap();
        assert_eq!(
            serde_json::from_str::<InterfaceOptions>(&kept).unwrap(),
            options
        );
        for bad in [
            "net.ipv4.conf.eth0.log_martians=1",
            "net.ipv4.conf.IFNAME.log_martians",
            "net.ipv4.conf.IFNAME.=1",
            "net.ipv4.conf.IFNAME.../../x=1",
            "net.ipv4.conf.IFNAME.a/b=1",
            "net.core.conf.IFNAME.a=1",
            "kernel.ipv4.conf.IFNAME.a=1",
            "net.ipv4.route.IFNAME.a=1",
            "net.ipv4.conf.IFNAME.a=",
        ] {
            let refused = read(SYSCTLS, bad).unwrap_err();
            assert_eq!(refused, InterfaceOptionError::Sysctl(bad.to_owned()));
        }
        let long = "1".repeat(VALUE_BYTES + 1);
        let long = format!("net.ipv4.conf.IFNAME.a={long}");
        assert!(read(SYSCTLS, &long).is_err());
        let many = vec!["net.ipv4.conf.IFNAME.a=1"; SYSCTLS_LIMIT + 1].join(",");
        assert_eq!(read(SYSCTLS, &many), Err(InterfaceOptionError::TooMany));
    }

    #[test]
    fn a_name_is_one_that_an_interface_can_have() {
        assert_eq!(read(NAME, "wan0").unwrap().name.as_deref(), Some("wan0"));
        assert!(read("other", "a b").unwrap().is_default());
        for bad in [
            "lo",
            "all",
            "default",
            "a%d",
            "a\x01b",
            "a/b",
            "a b",
            ".",
            "..",
            "sixteen-letters-",
            "ä",
        ] {
            assert_eq!(
                read(NAME, bad),
                Err(InterfaceOptionError::Name(bad.to_owned()))
            );
        }
    }
}
