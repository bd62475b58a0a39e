//! Names of limits in other capitals: Go's parser takes them, and runc's own tests
//! write `CPU`, `Cpus` and `pagesize`.

use serde_json::{Map, Value};

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
                let mut value = object.remove(&theirs).unwrap_or_default();
                if ours != FREE {
                    respell(&mut value);
                }
                add(object, ours, value);
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

/// Adds a property that may be there in its right spelling, which then counts: of
/// two objects the second has what the first has not.
fn add(object: &mut Map<String, Value>, name: &str, value: Value) {
    match (object.get_mut(name), value) {
        (None, value) => drop(object.insert(name.to_owned(), value)),
        (Some(Value::Object(there)), Value::Object(more)) => {
            for (name, value) in more {
                there.entry(name).or_insert(value);
            }
        }
        (Some(_), _) => {}
    }
}

/// Returns how a name is spelt that is spelt otherwise.
fn ours(name: &str) -> Option<&'static str> {
    let same = |known: &&&str| known.eq_ignore_ascii_case(name);
    let known = NAMES.iter().find(same)?;
    (*known != name).then_some(known)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn names_are_respelt_and_both_spellings_are_one() {
        let mut value = json!({
            "CPU": {"Cpus": "0", "SHARES": 5}, "cpu": {"shares": 100},
            "Unified": {"CPU": "x"}, "other": {"Limit": 1}, "Pids": {"LIMIT": 7},
        });
        assert!(respell(&mut value));
        let expected = json!({
            "cpu": {"cpus": "0", "shares": 100},
            "unified": {"CPU": "x"}, "other": {"limit": 1}, "pids": {"limit": 7},
        });
        assert_eq!(value, expected);
        assert!(!respell(&mut value));
    }

    #[test]
    fn other_spellings_are_noticed_in_the_text() {
        for text in [r#"{"CPU": 1}"#, r#"{"a": {"pagesize": 2}}"#] {
            assert!(may_be_other(text.as_bytes()), "{text}");
        }
        assert!(!may_be_other(br#"{"cpu": {"pageSize": "CPU time"}}"#));
    }
}
