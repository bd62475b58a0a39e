//! Names of limits in other capitals: Go's parser takes them, and runc's own tests
//! write `CPU`, `Cpus` and `pagesize`.

use serde_json::Value;

/// The properties of `linux.resources` and what is below them.
const NAMES: [&str; 47] = [
    "access",
    "allow",
    "blockIO",
    "burst",
    "checkBeforeUpdate",
    "classID",
    "cpu",
    "cpus",
    "devices",
    "disableOOMKiller",
    "hcaHandles",
    "hcaObjects",
    "hugepageLimits",
    "idle",
    "kernel",
    "kernelTCP",
    "leafWeight",
    "limit",
    "major",
    "memory",
    "mems",
    "minor",
    "name",
    "network",
    "pageSize",
    "period",
    "pids",
    "priorities",
    "priority",
    "quota",
    "rate",
    "rdma",
    "realtimePeriod",
    "realtimeRuntime",
    "reservation",
    "shares",
    "swap",
    "swappiness",
    "throttleReadBpsDevice",
    "throttleReadIOPSDevice",
    "throttleWriteBpsDevice",
    "throttleWriteIOPSDevice",
    "type",
    "unified",
    "useHierarchy",
    "weight",
    "weightDevice",
];
/// Its names are files of the kernel's.
const FREE: &str = "unified";

/// Returns whether a text of JSON has such a name in it; what is none, as a word
/// of a string, is found as well, which costs only time.
pub(super) fn may_be_other(text: &[u8]) -> bool {
    let mut words = text.split(|byte| *byte == b'"');
    words.any(|word| std::str::from_utf8(word).is_ok_and(|word| ours(word).is_some()))
}

/// Respells all names; returns whether one changed.
pub(super) fn respell(value: &mut Value) -> bool {
    let mut changed = false;
    match value {
        Value::Array(list) => {
            for item in list {
                changed |= respell(item);
            }
        }
        Value::Object(object) => {
            let others = object
                .keys()
                .filter_map(|name| Some((name.clone(), ours(name)?)));
            for (theirs, ours) in others.collect::<Vec<_>>() {
                let value = object.remove(&theirs).unwrap_or_default();
                // The last one counts in Go; one that is spelt rightly does here.
                object.entry(ours).or_insert(value);
                changed = true;
            }
            let deeper = object.iter_mut().filter(|(name, _)| *name != FREE);
            for (_, item) in deeper {
                changed |= respell(item);
            }
        }
        _ => {}
    }
    changed
}

/// Returns how a name is spelt that is spelt otherwise.
fn ours(name: &str) -> Option<&'static str> {
    let same = |known: &&&str| known.eq_ignore_ascii_case(name);
    let known = NAMES.iter().find(same)?;
    (*known != name).then_some(known)
}
