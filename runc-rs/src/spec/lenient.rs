//! Reads JSON with capabilities that this program does not know: newer engines
//! name newer ones, which the specification wants ignored with a warning
//! (config.md, "Linux Process").

use oci_spec::runtime::Capability;
use serde::de::DeserializeOwned;
use serde_json::Value;

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
    let error = match serde_json::from_slice(text) {
        Ok(parsed) => return Ok((parsed, Vec::new())),
        Err(error) => error,
    };
    let mut value: Value = serde_json::from_slice(text)?;
    let mut unknown = Vec::new();
    for place in ["/process/capabilities", "/capabilities"] {
        if let Some(capabilities) = value.pointer_mut(place) {
            remove_unknown(capabilities, &mut unknown);
        }
    }
    if unknown.is_empty() {
        return Err(error);
    }
    unknown.sort();
    unknown.dedup();
    // By way of the text: reading the schema from a value is other code, and much.
    let text = serde_json::to_vec(&value)?;
    Ok((serde_json::from_slice(&text)?, unknown))
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
    fn unknown_capabilities_are_left_out_and_nothing_else() {
        let text = br#"{"cwd": "/", "user": {"uid": 0, "gid": 0}, "args": ["sh"], "capabilities":
            {"bounding": ["CAP_KILL", "CAP_BOGUS"], "effective": ["CAP_BOGUS"]}}"#;
        let (process, unknown) = parse::<Process>(text).unwrap();
        assert_eq!(unknown, ["CAP_BOGUS"]);
        let sets = process.capabilities().as_ref().unwrap();
        assert_eq!(sets.bounding().as_ref().unwrap().len(), 1);
        assert!(sets.effective().as_ref().unwrap().is_empty());
        assert!(parse::<Process>(br#"{"cwd": 3}"#).is_err());
        assert!(parse::<Process>(br#"{"capabilities": {"bounding": [7]}}"#).is_err());
        assert!(parse::<Process>(b"{").is_err());
    }
}
