//! The container's specification: reading it, refusing what this runtime
//! cannot do rightly, and filling its gaps.
//!
//! Validation and normalisation are pure; what they need from the host comes
//! in as [`HostFacts`].

mod capitals;
mod facts;
mod lenient;
mod normalise;
mod validate;

use std::path::{Path, PathBuf};

use base::file::{PathError, read_bounded};
use oci_spec::runtime::Spec;
use serde::de::DeserializeOwned;

use crate::log::Logger;
use crate::net_devices::NetDeviceError;
use crate::seccomp::SeccompError;

/// The newest version of the specification that is understood.
pub const OCI_VERSION: &str = "1.2.1";

pub use facts::HostFacts;
pub(crate) use facts::has_selinux;
pub(crate) use lenient::{parse as read, parse_resources};
pub use normalise::normalise;
pub(crate) use normalise::{DEFAULT_UMASK, normalise_process};
pub use validate::validate;
pub(crate) use validate::{validate_label, validate_process};

/// A larger config.json is refused.
const SPEC_LIMIT_BYTES: u64 = 16 << 20;

/// The number that is no user and no group: to the kernel it says "as before".
const NO_ID: u32 = u32::MAX;

/// Says why a specification cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum SpecError {
    #[error(transparent)]
    File(#[from] PathError),
    #[error("cannot parse {path:?}")]
    Parse {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("invalid config: ociVersion {0:?} is not supported, only 1.x is")]
    Version(String),
    #[error("invalid config: {0} is missing")]
    Missing(&'static str),
    #[error("invalid config: {0}")]
    Invalid(&'static str),
    #[error("{0} is not supported by this runtime")]
    Unsupported(&'static str),
    #[error("invalid config: {0} is {NO_ID}, which is no id")]
    NoId(&'static str),
    #[error("invalid environment variable {0:?}: it must be NAME=VALUE")]
    Variable(String),
    #[error("selinux label is specified in config, but selinux is disabled or not supported")]
    NoSelinux,
    #[error("invalid config: {0:?} is not a label")]
    Label(String),
    #[error("sysctl {0:?} is not of a namespace of the container's own")]
    ForeignSysctl(String),
    #[error(transparent)]
    Seccomp(#[from] SeccompError),
    #[error(transparent)]
    NetDevice(#[from] NetDeviceError),
}

/// Reads a specification; unknown capabilities are warned of and left out.
///
/// # Errors
/// When it cannot be read, is too large, or is not valid JSON of the schema.
pub fn load(path: &Path, log: &Logger) -> Result<Spec, SpecError> {
    let text = read_bounded(path, SPEC_LIMIT_BYTES)?;
    parse(&text, path, log)
}

/// Parses a specification, or a process for `exec`, that was read from `path`.
///
/// # Errors
/// When it is not valid JSON of the schema.
pub(crate) fn parse<T: DeserializeOwned>(
    text: &[u8],
    path: &Path,
    log: &Logger,
) -> Result<T, SpecError> {
    let (parsed, unknown) = lenient::parse(text).map_err(|source| SpecError::Parse {
        path: path.to_owned(),
        source,
    })?;
    if !unknown.is_empty() {
        log.warn(&format!(
            "ignoring unknown capabilities: {}",
            unknown.join(", ")
        ));
    }
    Ok(parsed)
}
