//! Reads JSON that is right but not as the parser has it: capabilities that it
//! does not know, which the specification wants ignored with a warning
//! (config.md, "Linux Process"); a process without a user, which is root, as
//! for runc; and flags and properties in the specification's spelling.

use oci_spec::runtime::{Capability, LinuxResources};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::capitals;

/// Flags of a scheduler as the specification has them, and as oci-spec 0.10.
const SCHEDULER_FLAGS: [(&str, &str); 2] = [
    ("SCHED_FLAG_RESET_ON_FORK", "SCHED_RESET_ON_FORK"),
    ("SCHED_FLAG_DL_OVERRUN", "SCHED_FLAG_D_L_OVERRUN"),
];
/// Where a property is that is spelt so, and how oci-spec 0.10 has it.
const PROPERTIES: [(&str, &str, &str); 2] = [
    ("/linux/intelRdt", "enableCMT", "enableCmt"),
    ("/linux/intelRdt", "enableMBM", "enableMbm"),
];
const SETS: [&str; 5] = [
    "bounding",
    "effective",
    "permitted",
    "inheritable",
    "ambient",
];

/// Parses `text`, and returns the names of the capabilities left out of it.
///
/// # Errors
/// When it is no JSON, or not of the schema in another way.
pub(crate) fn parse<T: DeserializeOwned>(
    text: &[u8],
) -> Result<(T, Vec<String>), serde_json::Error> {
    let first = serde_json::from_slice(text);
    let has = |word: &str| text.windows(word.len()).any(|part| part == word.as_bytes());
    let is_misspelt =
        PROPERTIES.iter().any(|(_, theirs, _)| has(theirs)) || capitals::may_be_other(text);
    let error = match first {
        Ok(parsed) if !is_misspelt => return Ok((parsed, Vec::new())),
        parsed => parsed.err(),
    };
    let mut value: Value = serde_json::from_slice(text)?;
    let mut respelt = respell(&mut value);
    if let Some(resources) = value.pointer_mut("/linux/resources") {
        respelt |= capitals::respell(resources);
    }
    let mut unknown = Vec::new();
    // A specification has its process in it; else it is one.
    let process = match value.get("process").is_some() {
        true => &mut value["process"],
        false => &mut value,
    };
    let mended = mend(process, &mut unknown);
    if let (Some(error), false) = (error, mended || respelt) {
        return Err(error);
    }
    unknown.sort();
    unknown.dedup();
    // By way of the text: reading the schema from a value is other code, and much.
    let text = serde_json::to_vec(&value)?;
    Ok((serde_json::from_slice(&text)?, unknown))
}

/// Parses limits alone, as `update` gets them.
///
/// # Errors
/// When they are no JSON, or not of the schema.
pub(crate) fn parse_resources(text: &[u8]) -> Result<LinuxResources, serde_json::Error> {
    let mut value: Value = serde_json::from_slice(text)?;
    capitals::respell(&mut value);
    serde_json::from_slice(&serde_json::to_vec(&value)?)
}

/// Respells properties; returns whether anything changed.
fn respell(spec: &mut Value) -> bool {
    let mut changed = false;
    for (place, theirs, ours) in PROPERTIES {
        let objects = match spec.pointer_mut(place) {
            Some(Value::Array(list)) => list.iter_mut().collect(),
            Some(object) => vec![object],
            None => Vec::new(),
        };
        for object in objects.into_iter().filter_map(Value::as_object_mut) {
            if let Some(value) = object.remove(theirs) {
                object.entry(ours).or_insert(value);
                changed = true;
            }
        }
    }
    changed
}

/// Puts a process into the parser's form; returns whether anything changed.
fn mend(process: &mut Value, unknown: &mut Vec<String>) -> bool {
    let Some(properties) = process.as_object_mut() else {
        return false;
    };
    let mut changed = false;
    if !properties.contains_key("user") {
        properties.insert("user".to_owned(), json!({"uid": 0, "gid": 0}));
        changed = true;
    }
    if let Some(capabilities) = process.get_mut("capabilities") {
        remove_unknown(capabilities, unknown);
    }
    let flags = process.pointer_mut("/scheduler/flags");
    let flags = flags.and_then(Value::as_array_mut);
    for flag in flags.into_iter().flatten() {
        let spelt = SCHEDULER_FLAGS.iter().find(|(right, _)| *right == *flag);
        if let Some((_, ours)) = spelt {
            *flag = (*ours).into();
            changed = true;
        }
    }
    changed || !unknown.is_empty()
}

fn remove_unknown(capabilities: &mut Value, unknown: &mut Vec<String>) {
    for set in SETS {
        if let Some(names) = capabilities.get_mut(set).and_then(Value::as_array_mut) {
            names.retain(|name| {
                let is_known = serde_json::from_value::<Capability>(name.clone()).is_ok();
                if !is_known && let Some(name) = name.as_str() {
                    unknown.push(name.to_owned());
                }
                // What is no name stays, and is then an error.
                is_known || !name.is_string()
            });
        }
    }
}

#[cfg(test)]
mod tests {
    use oci_spec::runtime::Process;

    use super::*;

    #[test]
    fn a_process_without_a_user_is_roots() {
        let text = br#"{"cwd": "/", "args": ["sh"], "scheduler": {"policy": "SCHED_BATCH",
            "flags": ["SCHED_FLAG_RESET_ON_FORK", "SCHED_FLAG_DL_OVERRUN"]}}"#;
        let (process, unknown) = parse::<Process>(text).unwrap();
        assert!(unknown.is_empty());
        assert_eq!((process.user().uid(), process.user().gid()), (0, 0));
        let flags = process.scheduler().as_ref().unwrap().flags().clone();
        assert_eq!(flags.unwrap().len(), 2);
    }

    #[test]
    fn properties_are_read_in_the_spelling_of_others() {
        let text = br#"{"ociVersion": "1.0.0", "linux": {
            "intelRdt": {"enableCMT": true, "enableMBM": false},
            "resources": {"CPU": {"Cpus": "0"}, "unified": {"CPU": "1"},
            "hugepageLimits": [{"pagesize": "2MB", "limit": 9}]}}}"#;
        let (spec, _) = parse::<oci_spec::runtime::Spec>(text).unwrap();
        let resources = spec.linux().as_ref().unwrap().resources().clone().unwrap();
        assert_eq!(
            resources.cpu().as_ref().unwrap().cpus().as_deref(),
            Some("0")
        );
        assert!(resources.unified().as_ref().unwrap().contains_key("CPU"));
        let limits = resources.hugepage_limits().clone().unwrap();
        assert_eq!(
            (limits[0].page_size().as_str(), limits[0].limit()),
            ("2MB", 9)
        );
        let rdt = spec.linux().as_ref().unwrap().intel_rdt().clone().unwrap();
        assert_eq!(rdt.enable_cmt(), &Some(true));
        assert_eq!(rdt.enable_mbm(), &Some(false));
    }

    #[test]
    fn unknown_capabilities_are_left_out_and_nothing_else() {
        let text = br#"{"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["sh"], "capabilities":
            {"bounding": ["CAP_KILL", "CAP_BOGUS"], "effective": ["CAP_BOGUS"]}}"#;
        let (process, unknown) = parse::<Process>(text).unwrap();
        assert_eq!(unknown, ["CAP_BOGUS"]);
        let sets = process.capabilities().as_ref().unwrap();
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 1);
        assert!(sets.effective().as_ref().unwrap().is_empty());
        assert!(parse::<Process>(br#"{"cwd": 3}"#).is_err());
        assert!(parse::<Process>(b"[]").is_err());
        assert!(parse::<Process>(br#"{"capabilities": {"bounding": [7]}}"#).is_err());
        assert!(parse::<Process>(b"{").is_err());
    }
}
