//! Devices: what the devices cgroup allows, and the nodes a container gets.

use std::path::PathBuf;

use oci_spec::runtime::{
    LinuxDevice, LinuxDeviceBuilder, LinuxDeviceCgroup, LinuxDeviceCgroupBuilder, LinuxDeviceType,
};

use crate::SecurityError;

/// A device of the host, as found there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostDevice {
    /// Where the container sees it.
    pub container_path: PathBuf,
    pub kind: DeviceKind,
    pub major: u32,
    pub minor: u32,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// A subset of `rwm`.
    pub permissions: String,
}

/// Block or character device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceKind {
    Block,
    Character,
}

/// null, zero, full, random, urandom, tty, console.
const ALWAYS: [(i64, i64); 7] = [(1, 3), (1, 5), (1, 7), (1, 8), (1, 9), (5, 0), (5, 1)];

const EVERYTHING: &str = "rwm";

/// Returns the rules every container begins with: nothing, but a few
/// harmless character devices.
pub(crate) fn default_rules() -> Vec<LinuxDeviceCgroup> {
    let mut rules = vec![rule(false, LinuxDeviceType::A, None, None, EVERYTHING)];
    for (major, minor) in ALWAYS {
        let kind = LinuxDeviceType::C;
        rules.push(rule(true, kind, Some(major), Some(minor), EVERYTHING));
    }
    rules
}

/// Returns the one rule of a privileged container.
pub(crate) fn allow_everything() -> Vec<LinuxDeviceCgroup> {
    vec![rule(true, LinuxDeviceType::A, None, None, EVERYTHING)]
}

/// Returns the rule that lets a container use `device`.
pub(crate) fn allow(device: &HostDevice) -> LinuxDeviceCgroup {
    let (major, minor) = (i64::from(device.major), i64::from(device.minor));
    let kind = device.kind.into();
    rule(true, kind, Some(major), Some(minor), &device.permissions)
}

/// Returns the node of `device` in the container.
pub(crate) fn node(device: &HostDevice) -> LinuxDevice {
    LinuxDeviceBuilder::default()
        .path(device.container_path.clone())
        .typ(LinuxDeviceType::from(device.kind))
        .major(i64::from(device.major))
        .minor(i64::from(device.minor))
        .file_mode(device.mode)
        .uid(device.uid)
        .gid(device.gid)
        .build()
        .expect("all fields are set")
}

impl From<DeviceKind> for LinuxDeviceType {
    fn from(kind: DeviceKind) -> Self {
        match kind {
            DeviceKind::Block => Self::B,
            DeviceKind::Character => Self::C,
        }
    }
}

/// Reads a `--device-cgroup-rule`, `c 10:200 rwm`.
pub(crate) fn parse_rule(text: &str) -> Result<LinuxDeviceCgroup, SecurityError> {
    let invalid = || SecurityError::DeviceRule(text.to_owned());
    let mut words = text.split(' ');
    let (Some(kind), Some(numbers), Some(access), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(invalid());
    };
    let kind = match kind {
        "a" => LinuxDeviceType::A,
        "b" => LinuxDeviceType::B,
        "c" => LinuxDeviceType::C,
        _ => return Err(invalid()),
    };
    let (major, minor) = numbers.split_once(':').ok_or_else(invalid)?;
    let major = parse_number(major).ok_or_else(invalid)?;
    let minor = parse_number(minor).ok_or_else(invalid)?;
    if !are_permissions(access) {
        return Err(invalid());
    }
    Ok(rule(true, kind, major, minor, access))
}

/// Returns whether `text` is a non-empty subset of `rwm`.
pub(crate) fn are_permissions(text: &str) -> bool {
    let once = |letter| text.matches(letter).count() <= 1;
    !text.is_empty() && text.chars().all(|c| "rwm".contains(c)) && "rwm".chars().all(once)
}

/// A number, or `*` for any, which is `Some(None)`.
#[expect(clippy::option_option, reason = "no number is not a wrong number")]
fn parse_number(text: &str) -> Option<Option<i64>> {
    if text == "*" {
        return Some(None);
    }
    let number: u32 = text.parse().ok()?;
    Some(Some(i64::from(number)))
}

fn rule(
    allow: bool,
    kind: LinuxDeviceType,
    major: Option<i64>,
    minor: Option<i64>,
    access: &str,
) -> LinuxDeviceCgroup {
    let mut built = LinuxDeviceCgroupBuilder::default()
        .allow(allow)
        .typ(kind)
        .access(access)
        .build()
        .expect("all fields are set");
    built.set_major(major).set_minor(minor);
    built
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_as_docker_reads_them() {
        let read = |text: &str| parse_rule(text).map(|rule| rule.to_string());
        assert_eq!(read("c 10:200 rwm").unwrap(), "c 10:200 rwm");
        assert_eq!(parse_rule("b 8:* r").unwrap().minor(), None);
        assert_eq!(parse_rule("a *:* m").unwrap().major(), None);
        let bad = [
            "",
            "c 1:3",
            "d 1:3 r",
            "c 1 r",
            "c 1:3 x",
            "c 1:3 rr",
            "c x:3 r",
            "c 1:3 r w",
        ];
        for text in bad {
            let error = read(text).unwrap_err().to_string();
            assert!(
                error.contains("invalid device cgroup rule format"),
                "{error}"
            );
        }
    }

    #[test]
    fn the_default_rules_deny_first() {
        let rules = default_rules();
        assert!(!rules[0].allow() && rules[0].major().is_none());
        assert!(rules[1..].iter().all(LinuxDeviceCgroup::allow));
        assert_eq!(rules.len(), 8);
    }
}
