//! The options of a log driver, read as dockerd reads them.

use std::collections::BTreeMap;

use engine_api::host_config::LogConfig;

use super::syslog::Server;
use super::tag::{Subject, Template};
use super::{attributes, refuse_value};
use crate::error::{Result, invalid};

/// What a refusal begins with that dockerd has at a container's start.
pub(super) const INITIALIZE: &str = "failed to initialize logging driver";
/// The bounds that hold by default, as those of Docker's `local` driver.
const MAX_SIZE_BYTES: u64 = 20 << 20;
const MAX_FILES: u32 = 5;
/// What waits for a destination with `mode=non-blocking`, as with Docker.
const BUFFER_BYTES: u64 = 1 << 20;
/// Every driver knows these.
const GENERAL: [&str; 6] = [
    "mode",
    "max-buffer-size",
    "cache-disabled",
    "cache-max-size",
    "cache-max-file",
    "cache-compress",
];
const SELECTION: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];
const FILES: [&str; 3] = ["max-size", "max-file", "compress"];
const SYSLOG: [&str; 3] = ["syslog-address", "syslog-facility", "syslog-format"];
/// Of TLS, which is not built.
const SYSLOG_TLS: &str = "syslog-tls-";
const DEFAULT_TAG: &str = "{{.ID}}";

/// What a container's log is asked to be.
#[derive(Debug)]
pub(super) struct Options {
    pub(super) driver: Driver,
    pub(super) mode: LogMode,
    given: BTreeMap<String, String>,
}

/// A driver with what is its own.
#[derive(Debug, PartialEq)]
pub(super) enum Driver {
    None,
    Local(Bounds),
    JsonFile(Bounds),
    Journald {
        /// What is kept to be read.
        cache: Option<Bounds>,
    },
    Syslog {
        server: Server,
        cache: Option<Bounds>,
    },
}

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bounds {
    pub(super) max_size_bytes: u64,
    pub(super) max_files: u32,
    pub(super) compress: bool,
}

/// Whether a slow destination holds the container back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LogMode {
    Blocking,
    NonBlocking { buffer_bytes: u64 },
}

impl Options {
    /// Reads and checks all options.
    ///
    /// # Errors
    /// Invalid for another driver, an option it does not know, or a bad value.
    pub(super) fn read(config: &LogConfig) -> Result<Self> {
        let given = config.config.clone();
        let name = config.r#type.as_str();
        let known: &[&[&str]] = match name {
            "none" => {
                return Ok(Self {
                    driver: Driver::None,
                    mode: LogMode::Blocking,
                    given,
                });
            }
            "json-file" => &[&FILES, &SELECTION],
            "local" => &[&FILES],
            "journald" => &[&SELECTION],
            "syslog" => &[&SYSLOG, &SELECTION],
            other => {
                return Err(invalid(format!(
                    "error looking up logging plugin {other}: plugin \"{other}\" not found"
                )));
            }
        };
        let mode = mode(&given)?;
        flag(&given, "cache-disabled").map_err(|_| {
            let value = &given["cache-disabled"];
            invalid(format!("invalid value for option cache-disabled: {value}"))
        })?;
        check_names(name, known, &given)?;
        let driver = driver(name, &given)?;
        let options = Self {
            driver,
            mode,
            given,
        };
        options.check_selection()?;
        Ok(options)
    }

    /// Whether the request has a tag of its own.
    pub(super) fn has_tag(&self) -> bool {
        self.value("tag").is_some()
    }

    /// Returns an option that says something.
    pub(super) fn value(&self, name: &str) -> Option<&str> {
        let value = self.given.get(name).map(String::as_str);
        value.filter(|value| !value.is_empty())
    }

    /// Returns the tag of a container's lines.
    ///
    /// # Errors
    /// Invalid for a template that asks for what is not there.
    pub(super) fn tag(&self, subject: &Subject) -> Result<String> {
        let template = self.value("tag").unwrap_or(DEFAULT_TAG);
        let template = Template::parse(template).map_err(refuse_value)?;
        Ok(template.render(subject))
    }

    fn check_selection(&self) -> Result<()> {
        if let Some(tag) = self.value("tag") {
            Template::parse(tag).map_err(refuse_value)?;
        }
        for name in ["labels-regex", "env-regex"] {
            attributes::pattern(self, name)?;
        }
        Ok(())
    }
}

fn check_names(driver: &str, known: &[&[&str]], given: &BTreeMap<String, String>) -> Result<()> {
    for name in given.keys().map(String::as_str) {
        if driver == "syslog" && name.starts_with(SYSLOG_TLS) {
            return Err(crate::error::unsupported(format!(
                "log opt '{name}': syslog over TLS is not supported"
            )));
        }
        let is_known = GENERAL.contains(&name) || known.iter().any(|list| list.contains(&name));
        if !is_known {
            return Err(invalid(match driver {
                "local" => format!("unknown log opt '{name}' for log driver local"),
                _ => format!("unknown log opt '{name}' for {driver} log driver"),
            }));
        }
    }
    Ok(())
}

fn driver(name: &str, given: &BTreeMap<String, String>) -> Result<Driver> {
    Ok(match name {
        "local" => Driver::Local(bounds_of_local(given, "")?),
        "journald" => Driver::Journald {
            cache: cache(given)?,
        },
        "syslog" => Driver::Syslog {
            server: Server::read(given)?,
            cache: cache(given)?,
        },
        _ => Driver::JsonFile(bounds_of_json_file(given)?),
    })
}

fn cache(given: &BTreeMap<String, String>) -> Result<Option<Bounds>> {
    if flag(given, "cache-disabled").map_err(refuse_value)? == Some(true) {
        return Ok(None);
    }
    bounds_of_local(given, "cache-").map(Some)
}

/// Without a bound of its own a log has one all the same.
fn bounds_of_json_file(given: &BTreeMap<String, String>) -> Result<Bounds> {
    let size = given.get("max-size").map(|text| human_size(text));
    let size = size.transpose().map_err(refuse_value)?;
    if size == Some(0) {
        return Err(refuse_value("max-size must be a positive number"));
    }
    let files = match given.get("max-file") {
        None if size.is_some() => 1,
        None => i64::from(MAX_FILES),
        Some(text) => integer(text).map_err(refuse_value)?,
    };
    if files < 1 {
        return Err(refuse_value("max-file cannot be less than 1"));
    }
    let compress = flag(given, "compress").map_err(refuse_value)?;
    if compress == Some(true) && files < 2 {
        return Err(refuse_value(
            "compress cannot be true when max-file is less than 2 or max-size is not set",
        ));
    }
    Ok(Bounds {
        max_size_bytes: size.unwrap_or(MAX_SIZE_BYTES),
        max_files: u32::try_from(files).unwrap_or(u32::MAX),
        compress: compress.unwrap_or(false),
    })
}

fn bounds_of_local(given: &BTreeMap<String, String>, prefix: &str) -> Result<Bounds> {
    let option = |name: &str| {
        let name = format!("{prefix}{name}");
        given.get(&name).map(|value| (name, value.as_str()))
    };
    let bad = |name: &str, value: &str, reason: String| {
        refuse_value(format!("invalid value for {name}: {value}: {reason}"))
    };
    let size = match option("max-size") {
        None => MAX_SIZE_BYTES,
        Some((name, value)) => human_size(value).map_err(|reason| bad(&name, value, reason))?,
    };
    let files = match option("max-file") {
        None => i64::from(MAX_FILES),
        Some((name, value)) => integer(value).map_err(|reason| bad(&name, value, reason))?,
    };
    let compress = flag(given, &format!("{prefix}compress"))
        .map_err(|reason| refuse_value(format!("error reading compress log option: {reason}")))?
        .unwrap_or(true);
    if size == 0 || files < 0 || (files == 0 && !compress) {
        return Err(refuse_value("max-size and max-file must be positive"));
    }
    if compress && files < 2 {
        return Err(refuse_value(
            "compression cannot be enabled when max file count is 1",
        ));
    }
    Ok(Bounds {
        max_size_bytes: size,
        max_files: u32::try_from(files).unwrap_or(u32::MAX),
        compress,
    })
}

fn mode(given: &BTreeMap<String, String>) -> Result<LogMode> {
    let mode = given.get("mode").map_or("", String::as_str);
    let size = given.get("max-buffer-size");
    match (mode, size) {
        ("" | "blocking", None) => Ok(LogMode::Blocking),
        ("" | "blocking", Some(_)) => Err(invalid(
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
        )),
        ("non-blocking", None) => Ok(LogMode::NonBlocking {
            buffer_bytes: BUFFER_BYTES,
        }),
        ("non-blocking", Some(size)) => {
            let bad = |reason| invalid(format!("error parsing option max-buffer-size: {reason}"));
            let buffer_bytes = size_of(size, 1024).map_err(bad)?;
            Ok(LogMode::NonBlocking { buffer_bytes })
        }
        (other, _) => Err(invalid(format!(
            "logger: logging mode not supported: {other}"
        ))),
    }
}

/// Reads a size whose units are powers of 1000.
fn human_size(text: &str) -> Result<u64, String> {
    size_of(text, 1000)
}

/// Reads a number with an optional fraction and unit, as Docker's options have it.
fn size_of(text: &str, base: u64) -> Result<u64, String> {
    let bad = || format!("invalid size: '{text}'");
    let end = text.rfind(|c: char| c.is_ascii_digit() || c == '.');
    let (number, suffix) = text.split_at(end.map_or(0, |end| end + 1));
    let number: f64 = match number.bytes().all(|b| b.is_ascii_digit() || b == b'.') {
        true => number.parse().map_err(|_| bad())?,
        false => return Err(bad()),
    };
    let suffix = suffix.trim_start_matches(' ').to_ascii_lowercase();
    let mut letters = suffix.chars();
    let power = match letters.next() {
        None => 0,
        Some('b') if suffix == "b" => 0,
        Some(unit) => "kmgtp".find(unit).map_or(-1, |power| power as i32 + 1),
    };
    if power < 0 || (power > 0 && !matches!(letters.as_str(), "" | "b" | "ib")) {
        return Err(format!("invalid suffix: '{suffix}'"));
    }
    let bytes = number * (base as f64).powi(power);
    if !bytes.is_finite() || bytes >= i64::MAX as f64 {
        return Err(bad());
    }
    Ok(bytes as u64)
}

fn integer(text: &str) -> Result<i64, String> {
    let said = |_| format!("strconv.Atoi: parsing {text:?}: invalid syntax");
    text.parse().map_err(said)
}

/// Reads a yes or no as Go does; an empty or absent one says nothing.
fn flag(given: &BTreeMap<String, String>, name: &str) -> Result<Option<bool>, String> {
    match given.get(name).map_or("", String::as_str) {
        "" => Ok(None),
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Ok(Some(true)),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Ok(Some(false)),
        other => Err(format!(
            "strconv.ParseBool: parsing {other:?}: invalid syntax"
        )),
    }
}
