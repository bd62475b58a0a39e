//! Limits of block devices, `/dev/sda:1mb`.

use engine_api::host_config::{ThrottleDevice, WeightDevice};

use super::{ParseError, refuse, size};

/// Reads `PATH:BYTES`, with a unit, per second.
pub(crate) fn parse_bytes(text: &str) -> Result<ThrottleDevice, ParseError> {
    let (path, rate) = split(text)?;
    match size::parse(rate)
        .ok()
        .and_then(|rate| u64::try_from(rate).ok())
    {
        Some(rate) => Ok(ThrottleDevice {
            path: path.to_owned(),
            rate,
        }),
        None => refuse(format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>[<unit>]. Number must be a positive integer. Unit is optional and can be kb, mb, or gb"
        )),
    }
}

/// Reads `PATH:OPERATIONS` per second.
pub(crate) fn parse_operations(text: &str) -> Result<ThrottleDevice, ParseError> {
    let (path, rate) = split(text)?;
    match rate.parse() {
        Ok(rate) => Ok(ThrottleDevice {
            path: path.to_owned(),
            rate,
        }),
        Err(_) => refuse(format!(
            "invalid rate for device: {text}. The correct format is <device-path>:<number>. Number must be a positive integer"
        )),
    }
}

/// Reads `PATH:WEIGHT`.
pub(crate) fn parse_weight(text: &str) -> Result<WeightDevice, ParseError> {
    let (path, weight) = split(text)?;
    match weight.parse() {
        Ok(weight @ (0 | 10..=1000)) => Ok(WeightDevice {
            path: path.to_owned(),
            weight,
        }),
        _ => refuse(format!("invalid weight for device: {text}")),
    }
}

fn split(text: &str) -> Result<(&str, &str), ParseError> {
    match text.split_once(':') {
        Some((path, rest)) if path.starts_with("/dev/") => Ok((path, rest)),
        Some(_) => refuse(format!("bad format for device path: {text}")),
        None => refuse(format!("bad format: {text}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_name_a_device_and_a_rate() {
        assert_eq!(parse_bytes("/dev/sda:1mb").unwrap().rate, 1 << 20);
        assert_eq!(parse_operations("/dev/sda:100").unwrap().rate, 100);
        assert_eq!(parse_weight("/dev/sda:300").unwrap().weight, 300);
        for wrong in ["/dev/sda", "sda:1", "/dev/sda:-1", "/dev/sda:x", ""] {
            parse_bytes(wrong).unwrap_err();
            parse_operations(wrong).unwrap_err();
            parse_weight(wrong).unwrap_err();
        }
        parse_weight("/dev/sda:5").unwrap_err();
    }
}
