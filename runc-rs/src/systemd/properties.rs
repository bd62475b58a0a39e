//! Limits and device rules as properties of units (systemd.resource-control(5)).
//!
//! systemd writes them whenever it likes, on a reload for one: it must know what
//! is written beside it. Pure.

use oci_spec::runtime::LinuxResources;

use super::Property;
use super::value::Value;
use crate::resources::devices::{DeviceKind, DevicePolicy, Verdict};
use crate::resources::plan::ControlWrite;

/// systemd's word for no limit.
const INFINITY: u64 = u64::MAX;
const SECOND_MICROSECONDS: u64 = 1_000_000;
/// The kernel's period where none is given.
const PERIOD_MICROSECONDS: u64 = 100_000;
/// systemd counts in percent of a processor: other quotas are rounded up.
const QUOTA_STEP_MICROSECONDS: u64 = 10_000;
/// And the one that knows cpusets.
const CPUSET_SINCE: u32 = 244;
const CPUS: &str = "AllowedCPUs";
const NODES: &str = "AllowedMemoryNodes";
const WEIGHT: &str = "CPUWeight";
/// The version of systemd that knows the weight 0.
const IDLE_SINCE: u32 = 252;
/// More processors than a kernel is built for.
const CPU_LIMIT: usize = 8192;

/// What is asked of a unit whatever the limits are.
pub(super) fn base(id: &str, slice: &str, pid: Option<i32>) -> Vec<Property> {
    let mut properties = vec![
        Property::new("Description", Value::text(format!("container {id}"))),
        // Without, it would wait for the boot to end.
        Property::new("DefaultDependencies", Value::Bool(false)),
    ];
    for name in [
        "MemoryAccounting",
        "CPUAccounting",
        "IOAccounting",
        "TasksAccounting",
    ] {
        properties.push(Property::new(name, Value::Bool(true)));
    }
    match pid.and_then(|pid| u32::try_from(pid).ok()) {
        Some(pid) => properties.extend([
            Property::new("Slice", Value::text(slice)),
            Property::new("Delegate", Value::Bool(true)),
            Property::new(
                "PIDs",
                Value::Array("u".to_owned(), vec![Value::Uint32(pid)]),
            ),
        ]),
        None => properties.push(Property::new("Wants", Value::texts([slice]))),
    }
    properties
}

/// Returns what systemd must know of these writes.
pub(super) fn of_limits(writes: &[ControlWrite]) -> Vec<Property> {
    let mut properties = Vec::new();
    let (mut quota, mut period) = (None, None);
    for write in writes {
        let value = write.value.as_str();
        match &*write.file {
            "memory.limit_in_bytes" => limit(&mut properties, "MemoryLimit", value),
            "memory.max" => limit(&mut properties, "MemoryMax", value),
            "memory.high" => limit(&mut properties, "MemoryHigh", value),
            "memory.low" => limit(&mut properties, "MemoryLow", value),
            "memory.min" => limit(&mut properties, "MemoryMin", value),
            "memory.swap.max" => limit(&mut properties, "MemorySwapMax", value),
            // systemd takes no limit of none.
            "pids.max" if value == "0" => limit(&mut properties, "TasksMax", "1"),
            "pids.max" => limit(&mut properties, "TasksMax", value),
            "cpu.shares" => limit(&mut properties, "CPUShares", value),
            "cpu.weight" => limit(&mut properties, WEIGHT, value),
            "blkio.weight" => limit(&mut properties, "BlockIOWeight", value),
            "cpu.idle" if value == "1" => properties.push(idle()),
            "cpu.cfs_quota_us" => quota = number(value),
            "cpu.cfs_period_us" => period = number(value),
            "cpu.max" => {
                let (limit, every) = value.split_once(' ').unwrap_or((value, ""));
                quota = number(limit);
                period = number(every).or(period);
            }
            "cpuset.cpus" => set(&mut properties, CPUS, value),
            "cpuset.mems" => set(&mut properties, NODES, value),
            _ => {}
        }
    }
    properties.extend(of_quota(quota, period));
    properties
}

/// Returns what is to be said of a weight beside `cpu.idle`, which is a weight to
/// systemd: it is left out. In runc's words.
pub(crate) fn contradiction(resources: &LinuxResources) -> Option<&'static str> {
    let cpu = resources.cpu().as_ref();
    let is_idle = cpu.and_then(|cpu| cpu.idle()) == Some(1);
    let has_shares = cpu
        .and_then(|cpu| cpu.shares())
        .is_some_and(|shares| shares != 0);
    let unified = resources.unified().as_ref();
    let value = |file: &str| unified.and_then(|values| values.get(file));
    let is_both =
        value("cpu.idle").is_some_and(|idle| idle == "1") && value("cpu.weight").is_some();
    (is_idle && has_shares || is_both)
        .then_some("unable to apply both cpu.weight and cpu.idle: the weight is left out")
}

/// No weight at all, for `cpu.idle`.
fn idle() -> Property {
    Property::new(WEIGHT, Value::Uint64(0))
}

/// Leaves out what older managers refuse; `version` is asked only where one of
/// these is there.
pub(super) fn keep_known<E>(
    properties: &mut Vec<Property>,
    version: impl FnOnce() -> Result<u32, E>,
) -> Result<(), E> {
    let since = |property: &Property| match &*property.name {
        CPUS | NODES => CPUSET_SINCE,
        _ if *property == idle() => IDLE_SINCE,
        _ => 0,
    };
    if properties.iter().any(|property| since(property) > 0) {
        let version = version()?;
        properties.retain(|property| since(property) <= version);
    }
    Ok(())
}

fn limit(properties: &mut Vec<Property>, name: &'static str, text: &str) {
    if let Some(number) = number(text) {
        properties.push(Property::new(name, Value::Uint64(number)));
    }
}

fn set(properties: &mut Vec<Property>, name: &'static str, list: &str) {
    if let Some(mask) = mask(list) {
        properties.push(Property::new(name, Value::bytes(mask)));
    }
}

fn number(text: &str) -> Option<u64> {
    match text {
        "max" | "-1" => Some(INFINITY),
        text => text.parse().ok(),
    }
}

fn of_quota(quota: Option<u64>, period: Option<u64>) -> Vec<Property> {
    let mut properties = Vec::new();
    if let Some(period) = period {
        let value = Value::Uint64(period);
        properties.push(Property::new("CPUQuotaPeriodUSec", value));
    }
    let per_second = match quota {
        None => return properties,
        Some(INFINITY) => INFINITY,
        Some(quota) => per_second(quota, period),
    };
    let value = Value::Uint64(per_second);
    properties.push(Property::new("CPUQuotaPerSecUSec", value));
    properties
}

/// What a quota of a period is of a second, as systemd counts.
fn per_second(quota: u64, period: Option<u64>) -> u64 {
    let period = period.filter(|period| *period > 0);
    let scaled = quota.saturating_mul(SECOND_MICROSECONDS);
    let exact = scaled / period.unwrap_or(PERIOD_MICROSECONDS);
    let rounded = exact.checked_next_multiple_of(QUOTA_STEP_MICROSECONDS);
    rounded.unwrap_or(INFINITY)
}

/// Returns the limits as systemd writes them: the quota of processors is rounded.
pub(crate) fn rounded(resources: &LinuxResources) -> LinuxResources {
    let mut rounded = resources.clone();
    let cpu = rounded.cpu_mut().as_mut();
    if let Some(cpu) = cpu
        && let Some(quota) = cpu.quota().and_then(|quota| u64::try_from(quota).ok())
        && quota > 0
    {
        let period = cpu.period().filter(|period| *period > 0);
        let whole = u128::from(per_second(quota, period))
            * u128::from(period.unwrap_or(PERIOD_MICROSECONDS))
            / u128::from(SECOND_MICROSECONDS);
        cpu.set_quota(i64::try_from(whole).ok());
    }
    rounded
}

/// Returns a list of ranges, `0-2,5`, as bits; none where it is not one.
fn mask(list: &str) -> Option<Vec<u8>> {
    let mut mask = Vec::new();
    for range in list
        .split(',')
        .map(str::trim)
        .filter(|range| !range.is_empty())
    {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (first, last): (usize, usize) = (first.parse().ok()?, last.parse().ok()?);
        if last >= CPU_LIMIT {
            return None;
        }
        for number in first..=last {
            if mask.len() <= number / 8 {
                mask.resize(number / 8 + 1, 0);
            }
            mask[number / 8] |= 1 << (number % 8);
        }
    }
    (!mask.is_empty()).then_some(mask)
}

/// Returns the rules for devices on v1, where systemd would otherwise allow all
/// of them again. What it cannot say, such as exceptions from what is allowed,
/// holds until then.
pub(super) fn of_devices(policy: &DevicePolicy) -> Vec<Property> {
    let none = Value::Array("(ss)".to_owned(), Vec::new());
    if policy.default == Verdict::Allow {
        return vec![
            Property::new("DevicePolicy", Value::text("auto")),
            Property::new("DeviceAllow", none),
        ];
    }
    let allowed = policy.exceptions.iter();
    let allowed = allowed.filter(|rule| rule.verdict == Verdict::Allow);
    let entries = allowed.filter_map(|rule| {
        let kind = match rule.kind {
            DeviceKind::Block => "block",
            DeviceKind::Character => "char",
        };
        let place = match (rule.major, rule.minor) {
            (None, None) => format!("{kind}-*"),
            (Some(major), None) => format!("{kind}-{major}"),
            (Some(major), Some(minor)) => format!("/dev/{kind}/{major}:{minor}"),
            (None, Some(_)) => return None,
        };
        let fields = [place, rule.access.letters()].map(Value::Text);
        Some(Value::Struct(fields.into()))
    });
    vec![
        Property::new("DevicePolicy", Value::text("strict")),
        // The first empties the list.
        Property::new("DeviceAllow", none),
        Property::new(
            "DeviceAllow",
            Value::Array("(ss)".to_owned(), entries.collect()),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxResources;
    use serde_json::{Value as Json, json};

    use super::*;
    use crate::resources::devices;
    use crate::resources::plan::{Existing, Version, plan};

    fn check(version: Version, resources: Json, expected: &[(&'static str, u64)]) {
        let resources: LinuxResources = serde_json::from_value(resources).unwrap();
        let existing = Existing {
            controllers: ["memory", "cpu", "pids"].map(str::to_owned).into(),
            ..Existing::default()
        };
        let writes = plan(version, &resources, &existing).unwrap();
        let found = of_limits(&writes);
        let expected = expected.iter();
        let expected = expected.map(|(name, value)| Property::new(*name, Value::Uint64(*value)));
        assert_eq!(found, expected.collect::<Vec<_>>(), "{resources:?}");
    }

    #[test]
    fn limits_of_both_versions_are_known_to_systemd() {
        use Version::{V1, V2};
        let memory = json!({"memory": {"limit": 1000, "reservation": 500}});
        check(V1, memory.clone(), &[("MemoryLimit", 1000)]);
        check(V2, memory, &[("MemoryMax", 1000), ("MemoryLow", 500)]);
        let swap = json!({"memory": {"limit": 1000, "swap": 3000}});
        check(V2, swap, &[("MemorySwapMax", 2000), ("MemoryMax", 1000)]);
        check(
            V2,
            json!({"pids": {"limit": -1}}),
            &[("TasksMax", INFINITY)],
        );
        check(V1, json!({"cpu": {"shares": 100}}), &[("CPUShares", 100)]);
        check(V2, json!({"cpu": {"shares": 100}}), &[("CPUWeight", 17)]);
        let quota = json!({"cpu": {"quota": 5000, "period": 50_000}});
        let expected = [
            ("CPUQuotaPeriodUSec", 50_000),
            ("CPUQuotaPerSecUSec", 100_000),
        ];
        check(V1, quota.clone(), &expected);
        check(V2, quota, &expected);
        let uneven = json!({"cpu": {"quota": 1234}});
        check(V1, uneven, &[("CPUQuotaPerSecUSec", 20_000)]);
        let unified = json!({"unified": {"memory.high": "5000", "pids.max": "9"}});
        check(V2, unified, &[("MemoryHigh", 5000), ("TasksMax", 9)]);
    }

    #[test]
    fn a_weight_beside_none_is_told_of() {
        let said = |text: &str| contradiction(&serde_json::from_str(text).unwrap());
        for both in [
            r#"{"cpu": {"shares": 100, "idle": 1}}"#,
            r#"{"unified": {"cpu.idle": "1", "cpu.weight": "8"}}"#,
        ] {
            assert!(
                said(both).unwrap().starts_with("unable to apply both"),
                "{both}"
            );
        }
        for one in [
            r#"{"cpu": {"shares": 100, "idle": 0}}"#,
            r#"{"cpu": {"shares": 0, "idle": 1}}"#,
            r#"{"unified": {"cpu.idle": "0", "cpu.weight": "8"}}"#,
        ] {
            assert_eq!(said(one), None, "{one}");
        }
    }

    #[test]
    fn processors_are_bits() {
        assert_eq!(mask("0-2,9"), Some(vec![0b111, 0b10]));
        assert_eq!(mask("1"), Some(vec![0b10]));
        for bad in ["", "x", "0-", "99999999"] {
            assert_eq!(mask(bad), None, "{bad}");
        }
    }

    #[test]
    fn devices_are_named_as_systemd_does() {
        let rules = json!([
            {"allow": false, "access": "rwm"},
            {"allow": true, "type": "c", "major": 10, "minor": 200, "access": "rw"},
            {"allow": true, "type": "b", "major": 8, "access": "r"}
        ]);
        let rules: Vec<_> = serde_json::from_value(rules).unwrap();
        let properties = of_devices(&devices::policy(&rules).unwrap());
        let (first, last) = (&properties[0], &properties[2]);
        assert_eq!(*first, Property::new("DevicePolicy", Value::text("strict")));
        let Value::Array(_, entries) = &last.value else {
            panic!("{last:?}");
        };
        let expected = [
            ("/dev/char/10:200", "rw"),
            ("block-8", "r"),
            ("char-*", "m"),
            ("/dev/char/1:3", "rwm"),
        ];
        for (place, access) in expected {
            let entry = Value::Struct(vec![Value::text(place), Value::text(access)]);
            assert!(entries.contains(&entry), "{place}: {entries:?}");
        }
    }
}
