//! The log's driver and bounds.

use engine_api::host_config::LogConfig;
use engine_model::container::LogDriver;

use crate::error::{OrFail as _, Result, invalid};

/// The bounds that hold by default, as those of Docker's `local` driver.
const MAX_SIZE_BYTES: u64 = 20 << 20;
const MAX_FILES: u32 = 5;
/// A file holds a few records at least.
const MAX_SIZE_AT_LEAST_BYTES: u64 = 64 << 10;

/// Fills in the driver where the request leaves it open. Options stay as they were
/// given, as with Docker.
pub(super) fn complete(config: &mut LogConfig) {
    if config.r#type.is_empty() {
        config.r#type = "json-file".into();
    }
}

/// Converts a completed request to the model.
///
/// # Errors
/// Invalid for another driver, an option it does not know, or a bad bound.
pub(super) fn convert(config: &LogConfig) -> Result<LogDriver> {
    match config.r#type.as_str() {
        "none" => return Ok(LogDriver::None),
        "json-file" | "local" => {}
        other => {
            return Err(invalid(format!(
                "logger: no log driver named '{other}' is registered"
            )));
        }
    }
    let (mut max_size_bytes, mut max_files) = (MAX_SIZE_BYTES, MAX_FILES);
    for (key, value) in &config.config {
        match key.as_str() {
            "max-size" => max_size_bytes = value.parse::<base::size::ByteSize>().or_invalid()?.0,
            "max-file" => {
                let bad = |_| invalid(format!("invalid value for max-file: {value}"));
                max_files = value.parse().map_err(bad)?;
            }
            other => {
                return Err(invalid(format!(
                    "unknown log opt '{other}' for {} log driver",
                    config.r#type
                )));
            }
        }
    }
    if max_size_bytes < MAX_SIZE_AT_LEAST_BYTES || max_files == 0 {
        return Err(invalid(
            "log options: max-size must be at least 64k and max-file at least 1",
        ));
    }
    Ok(LogDriver::Local {
        max_size_bytes,
        max_files,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn completed(driver: &str, options: &[(&str, &str)]) -> LogConfig {
        let options = options.iter();
        let mut config = LogConfig {
            r#type: driver.to_owned(),
            config: options
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
        };
        complete(&mut config);
        config
    }

    #[test]
    fn options_are_shown_as_they_were_given() {
        let config = completed("", &[("max-file", "2")]);
        assert_eq!(config.r#type, "json-file");
        assert_eq!(config.config.len(), 1);
        assert_eq!(config.config["max-file"], "2");
        let expected = LogDriver::Local {
            max_size_bytes: 20 << 20,
            max_files: 2,
        };
        assert_eq!(convert(&config).unwrap(), expected);
        let none = completed("none", &[]);
        assert!(none.config.is_empty());
        assert_eq!(convert(&none).unwrap(), LogDriver::None);
    }

    #[test]
    fn bad_bounds_and_drivers_are_refused() {
        for (driver, options) in [
            ("syslog", vec![]),
            ("local", vec![("max-size", "1k")]),
            ("local", vec![("max-file", "0")]),
            ("local", vec![("max-file", "many")]),
            ("local", vec![("compress", "true")]),
        ] {
            let refused = convert(&completed(driver, &options));
            refused.expect_err(&format!("{driver} {options:?}"));
        }
    }
}
