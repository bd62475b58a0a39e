//! `--gpus`.

use serde_json::{Value, json};

use super::csv::{fields, key_value};
use super::{ParseError, refuse};

/// Reads `all`, a number, or fields such as `device=0,capabilities=utility` and returns
/// the device request of the API.
pub(crate) fn parse(text: &str) -> Result<Value, ParseError> {
    let mut count = None;
    let mut devices = Vec::new();
    let mut driver = String::new();
    let mut capabilities = vec!["gpu".to_owned()];
    for field in fields(text)? {
        match key_value(&field) {
            (key, None) => count = Some(number(&key)?),
            (key, Some(value)) => match key.as_str() {
                "count" => count = Some(number(value)?),
                "device" => devices.extend(fields(value)?),
                "driver" => driver = value.to_owned(),
                "capabilities" => capabilities.extend(fields(value)?),
                _ => return refuse(format!("unexpected key '{key}' in '{field}'")),
            },
        }
    }
    if count.is_some() && !devices.is_empty() {
        return refuse("cannot set both Count and DeviceIDs on device request");
    }
    let count = count.unwrap_or(if devices.is_empty() { 1 } else { 0 });
    Ok(json!({
        "Driver": driver,
        "Count": count,
        "DeviceIDs": devices,
        "Capabilities": [capabilities],
        "Options": {},
    }))
}

fn number(text: &str) -> Result<i64, ParseError> {
    match text.parse() {
        _ if text == "all" => Ok(-1),
        Ok(count) if count > 0 => Ok(count),
        _ => refuse(format!(
            "invalid count ({text}): value must be either \"all\" or an integer"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_read_as_docker_reads_them() {
        let request = |text| parse(text).unwrap();
        assert_eq!(request("all")["Count"], -1);
        assert_eq!(request("2")["Count"], 2);
        assert_eq!(request("\"device=0,1\"")["DeviceIDs"], json!(["0", "1"]));
        let request = request("driver=x,capabilities=utility,count=all");
        assert_eq!(request["Driver"], "x");
        assert_eq!(request["Capabilities"], json!([["gpu", "utility"]]));
        for text in ["some", "0", "count=x", "bogus=1", "all,device=0"] {
            parse(text).unwrap_err();
        }
    }
}
