//! Changes limits all together or not at all.

use super::apply::perform;
use super::plan::ControlWrite;
use super::{ResourceError, files};
use crate::cgroup::Cgroup;

/// Returns the writes that put back what `writes` will change.
pub(crate) fn earlier(cgroup: &Cgroup, writes: &[ControlWrite]) -> Vec<ControlWrite> {
    let mut earlier = Vec::new();
    for write in writes {
        let Some(path) = files::target(cgroup, write) else {
            continue;
        };
        // A file that takes commands only has nothing to be put back.
        if let Ok(text) = files::read(&path) {
            earlier.extend(restoring(write, &text));
        }
    }
    earlier
}

/// Performs `writes`; if one fails, puts back what those before it changed.
///
/// # Errors
/// The failed write. What could not be put back is in `lost`.
pub(crate) fn perform_or_restore(
    cgroup: &Cgroup,
    writes: &[ControlWrite],
    earlier: Vec<ControlWrite>,
    lost: &mut Vec<ResourceError>,
) -> Result<(), ResourceError> {
    perform(cgroup, writes).inspect_err(|_| lost.extend(restore(cgroup, earlier)))
}

/// Performs `earlier` backwards and returns what stays undone. What another
/// value stood against is tried again once all others are back.
fn restore(cgroup: &Cgroup, earlier: Vec<ControlWrite>) -> Vec<ResourceError> {
    let again = |write: &ControlWrite| perform(cgroup, std::slice::from_ref(write));
    let mut left: Vec<_> = earlier.into_iter().rev().collect();
    left.retain(|write| again(write).is_err());
    left.iter().filter_map(|write| again(write).err()).collect()
}

/// Returns the write that restores the file of `write`, whose content now is
/// `text`; none where there is nothing to restore. Pure.
fn restoring(write: &ControlWrite, text: &str) -> Option<ControlWrite> {
    let value = match &*write.file {
        "memory.oom_control" => {
            let killer = text.lines().next()?.strip_prefix("oom_kill_disable ")?;
            killer.to_owned()
        }
        "io.max" => keyed_limits(&write.value, text)?,
        "rdma.max" => keyed_line(&write.value, text)?,
        "io.weight" | "io.bfq.weight" | "blkio.bfq.weight" => weight(&write.value, text),
        file if file.starts_with("blkio.throttle.") => {
            let key = key_of(&write.value);
            keyed_line(&write.value, text).unwrap_or_else(|| format!("{key} 0"))
        }
        "blkio.weight_device" | "blkio.leaf_weight_device" | "blkio.bfq.weight_device" => {
            let key = key_of(&write.value);
            keyed_line(&write.value, text).unwrap_or_else(|| format!("{key} 0"))
        }
        "net_prio.ifpriomap" => keyed_line(&write.value, text)?,
        // One value, or a list, that is written as it is read.
        _ if !text.contains('\n') => text.to_owned(),
        _ => return None,
    };
    Some(ControlWrite {
        value,
        ..write.clone()
    })
}

fn key_of(value: &str) -> &str {
    value.split(' ').next().unwrap_or_default()
}

/// Returns the line of the same device.
fn keyed_line(value: &str, text: &str) -> Option<String> {
    let key = key_of(value);
    let mut lines = text.lines();
    let line = lines.find(|line| key_of(line) == key)?;
    Some(line.to_owned())
}

/// Returns the line of the device, or no limit for the key that is set.
fn keyed_limits(value: &str, text: &str) -> Option<String> {
    let (device, limit) = value.split_once(' ')?;
    let (kind, _) = limit.split_once('=')?;
    let line = keyed_line(value, text);
    Some(line.unwrap_or_else(|| format!("{device} {kind}=max")))
}

/// Weights are read as `default 100` and one line for each device.
fn weight(value: &str, text: &str) -> String {
    match value.contains(' ') {
        true => {
            let key = key_of(value);
            keyed_line(value, text).unwrap_or_else(|| format!("{key} default"))
        }
        false => {
            let first = text.lines().next().unwrap_or_default();
            first.strip_prefix("default ").unwrap_or(first).to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::LinuxResources;
    use serde_json::{Value, json};

    use super::restoring;
    use crate::resources::plan::{Existing, Version, plan};

    /// Restores the last write that `resources` plan.
    fn check(version: Version, resources: Value, text: &str, expected: Option<&str>) {
        let resources: LinuxResources = serde_json::from_value(resources).unwrap();
        let existing = Existing {
            controllers: ["misc".to_owned()].into(),
            ..Existing::default()
        };
        let writes = plan(version, &resources, &existing).unwrap();
        let restoring = restoring(writes.last().unwrap(), text);
        let found = restoring.map(|write| write.value);
        assert_eq!(found.as_deref(), expected, "{resources:?} over {text:?}");
    }

    fn throttle(key: &str) -> Value {
        json!({"blockIO": {key: [{"major": 8, "minor": 0, "rate": 5}]}})
    }

    #[test]
    fn values_are_put_back_as_they_are_written() {
        use Version::{V1, V2};
        check(V1, json!({"cpu": {"quota": 5}}), "-1", Some("-1"));
        check(
            V2,
            json!({"cpu": {"quota": 5}}),
            "max 100000",
            Some("max 100000"),
        );
        check(V2, json!({"cpu": {"cpus": "1"}}), "", Some(""));
        let killer = "oom_kill_disable 0\nunder_oom 0\noom_kill 0";
        check(
            V1,
            json!({"memory": {"disableOOMKiller": true}}),
            killer,
            Some("0"),
        );
    }

    #[test]
    fn of_many_lines_only_the_device_s_own_is_put_back() {
        use Version::{V1, V2};
        let bps = throttle("throttleReadBpsDevice");
        check(V1, bps.clone(), "", Some("8:0 0"));
        check(V1, bps.clone(), "8:16 7\n8:0 9", Some("8:0 9"));
        check(V2, bps.clone(), "", Some("8:0 rbps=max"));
        let line = "8:0 rbps=9 wbps=max riops=max wiops=max";
        check(V2, bps, &format!("8:16 rbps=1\n{line}"), Some(line));
        let weight = json!({"blockIO": {"weight": 500}});
        check(V2, weight, "default 100\n8:0 200", Some("100"));
        let rdma = json!({"rdma": {"mlx4_0": {"hcaObjects": 1}}});
        check(
            V2,
            rdma.clone(),
            "mlx4_0 hca_handle=max hca_object=max",
            Some("mlx4_0 hca_handle=max hca_object=max"),
        );
        check(V2, rdma, "", None);
    }

    #[test]
    fn what_cannot_be_told_is_left() {
        check(
            Version::V2,
            json!({"unified": {"misc.max": "a 1"}}),
            "a max\nb max",
            None,
        );
    }
}
