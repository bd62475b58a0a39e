//! Which processors and memory nodes a container may be bound to.

use std::collections::BTreeSet;
use std::path::Path;

use engine_api::host_config::HostConfig;

use crate::error::{OrFail as _, Result, invalid};

/// More than any kernel has; a range beyond it would only fill memory.
const HIGHEST: u32 = 8191;
const CPUS: &str = "/sys/devices/system/cpu/online";
const NODES: &str = "/sys/devices/system/node/online";

/// Refuses sets that are none, and members that the host has not.
///
/// # Errors
/// Invalid for such a set.
pub(super) fn check(host: &HostConfig) -> Result<()> {
    for (what, wanted, file) in [
        ("CPUs", &host.cpuset_cpus, CPUS),
        ("memory nodes", &host.cpuset_mems, NODES),
    ] {
        let kind = if what == "CPUs" { "cpus" } else { "mems" };
        let Some(set) = parse(wanted) else {
            return Err(invalid(format!("Invalid value {wanted} for cpuset {kind}")));
        };
        // A kernel without memory nodes does not say which there are.
        if set.is_empty() || !Path::new(file).exists() {
            continue;
        }
        let available = std::fs::read_to_string(file).or_internal()?;
        let available = available.trim();
        let has = parse(available).unwrap_or_default();
        if !set.is_subset(&has) {
            return Err(invalid(format!(
                "Requested {what} are not available - requested {wanted}, available: {available}"
            )));
        }
    }
    Ok(())
}

/// Reads `0-2,7`.
fn parse(text: &str) -> Option<BTreeSet<u32>> {
    let mut set = BTreeSet::new();
    for part in text.split(',').filter(|_| !text.is_empty()) {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (first, last): (u32, u32) = (first.parse().ok()?, last.parse().ok()?);
        if first > last || last > HIGHEST {
            return None;
        }
        set.extend(first..=last);
    }
    Some(set)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_are_ranges_and_numbers() {
        let set = |text| parse(text).map(|set| set.into_iter().collect::<Vec<_>>());
        assert_eq!(set(""), Some(vec![]));
        assert_eq!(set("0-2,7"), Some(vec![0, 1, 2, 7]));
        for bad in ["x", "2-1", "1,,2", "0-4294967295", "-1"] {
            assert_eq!(set(bad), None, "{bad}");
        }
    }

    #[test]
    fn what_the_host_has_not_is_refused() {
        let asked = |cpus: &str| {
            check(&HostConfig {
                cpuset_cpus: cpus.to_owned(),
                ..HostConfig::default()
            })
        };
        asked("0").unwrap();
        let refused = asked("8000").unwrap_err().message;
        assert!(refused.starts_with("Requested CPUs are not available - requested 8000"));
        assert_eq!(
            asked("one").unwrap_err().message,
            "Invalid value one for cpuset cpus"
        );
    }
}
