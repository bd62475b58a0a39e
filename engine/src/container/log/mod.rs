//! The driver of a container's log: what its options mean, what is kept of the
//! output to be read, and what a shim is told.
//!
//! Everything that can be refused is refused when the container is created, with
//! dockerd's words, those included that it has only when a container starts.

mod attributes;
mod options;
mod syslog;
mod tag;

use engine_api::host_config::LogConfig;
use engine_model::container::LogDriver;
use engine_shim_api::{
    LogConfig as ShimLogConfig, LogDestination, LogFilesConfig, LogFormat, LogPeer,
};

use super::{Container, logs};
use crate::error::{Result, internal, invalid};
use options::{Bounds, Driver, LogMode, Options};
use tag::Subject;

/// What containers get that name no driver, unless the configuration says other.
pub const DEFAULT_DRIVER: &str = "json-file";
/// The drivers there are, but for `none`, as clients are told.
pub const DRIVERS: [&str; 4] = ["journald", "json-file", "local", "syslog"];
/// Where journald listens.
const JOURNAL_SOCKET: &str = "/run/systemd/journal/socket";

/// Fills in the driver where the request leaves it open, and the options that
/// the configuration has for it. The request's own stay as they were given.
pub fn complete(config: &mut LogConfig, of_engine: &LogConfig) {
    if config.r#type.is_empty() {
        config.r#type.clone_from(&of_engine.r#type);
    }
    if config.r#type == of_engine.r#type {
        for (key, value) in &of_engine.config {
            let entry = config.config.entry(key.clone());
            entry.or_insert_with(|| value.clone());
        }
    }
}

/// Checks a completed request and returns what is kept to be read.
///
/// # Errors
/// Invalid for another driver, an option it does not know, or a bad value.
pub fn convert(config: &LogConfig) -> Result<LogDriver> {
    let options = Options::read(config)?;
    let kept = |bounds: Bounds| LogDriver::Local {
        max_size_bytes: bounds.max_size_bytes,
        max_files: bounds.max_files,
        compress: bounds.compress,
    };
    Ok(match options.driver {
        Driver::None => LogDriver::None,
        Driver::Local(bounds) => kept(bounds),
        Driver::JsonFile(bounds) => LogDriver::JsonFile {
            max_size_bytes: bounds.max_size_bytes,
            max_files: bounds.max_files,
            compress: bounds.compress,
        },
        Driver::Journald { cache } | Driver::Syslog { cache, .. } => {
            cache.map_or(LogDriver::None, kept)
        }
    })
}

/// Returns what the shim of a run is told of the log.
///
/// # Errors
/// When a server's name cannot be resolved.
pub async fn for_shim(container: &Container) -> Result<Option<ShimLogConfig>> {
    let requested = container.requested().host_config.log_config.clone();
    let options = Options::read(&requested)?;
    let subject = Subject::of(container);
    let destination = destination(&options, &subject).await.map_err(at_start)?;
    let files = files(container, &options, &subject)?;
    let config = ShimLogConfig { files, destination };
    Ok(Some(config).filter(|config| config.files.is_some() || config.destination.is_some()))
}

/// What a client is told of a driver that cannot be started.
fn at_start(failure: base::Failure) -> base::Failure {
    internal(format!(
        "failed to create task for container: {}: {failure}",
        options::INITIALIZE
    ))
}

fn files(
    container: &Container,
    options: &Options,
    subject: &Subject,
) -> Result<Option<LogFilesConfig>> {
    let Some(place) = logs::place(container) else {
        return Ok(None);
    };
    let (bounds, format) = match container.config().log {
        LogDriver::None => return Ok(None),
        LogDriver::Local {
            max_size_bytes,
            max_files,
            compress,
        } => ((max_size_bytes, max_files, compress), LogFormat::Local),
        LogDriver::JsonFile {
            max_size_bytes,
            max_files,
            compress,
        } => ((max_size_bytes, max_files, compress), LogFormat::Json),
    };
    let mut attributes = std::collections::BTreeMap::new();
    if format == LogFormat::Json {
        attributes = attributes::of(options, subject)?;
        if options.has_tag() {
            attributes.insert("tag".to_owned(), options.tag(subject)?);
        }
    }
    let (max_size_bytes, max_files, compress) = bounds;
    Ok(Some(LogFilesConfig {
        place,
        format,
        max_size_bytes,
        max_files,
        compress,
        attributes,
    }))
}

async fn destination(options: &Options, subject: &Subject) -> Result<Option<LogDestination>> {
    let peer = match &options.driver {
        Driver::None | Driver::Local(_) | Driver::JsonFile(_) => return Ok(None),
        Driver::Journald { .. } => LogPeer::Journald {
            socket: JOURNAL_SOCKET.into(),
            fields: attributes::journal_fields(options, subject)?,
        },
        Driver::Syslog { server, .. } => {
            LogPeer::Syslog(server.resolve(options.tag(subject)?).await?)
        }
    };
    Ok(Some(LogDestination {
        peer,
        buffer_bytes: match options.mode {
            LogMode::Blocking => None,
            LogMode::NonBlocking { buffer_bytes } => Some(buffer_bytes),
        },
    }))
}

/// Says that the configuration's default cannot be used.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("log-driver and log-opts: {0}")]
pub struct DefaultError(String);

/// Checks the driver and the options that the configuration has.
///
/// # Errors
/// What a request for them would be told.
pub fn check(config: &LogConfig) -> std::result::Result<(), DefaultError> {
    let said = |failure: base::Failure| DefaultError(failure.to_string());
    convert(config).map(drop).map_err(said)
}

/// Returns the refusal of an option that dockerd has when a container starts.
fn refuse_value(reason: impl std::fmt::Display) -> base::Failure {
    invalid(format!("{}: {reason}", options::INITIALIZE))
}

#[cfg(test)]
mod tests;
