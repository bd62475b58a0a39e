//! Reading what a container has written.

use engine_model::container::LogDriver;
use engine_shim_api::LogPlace;
use engine_shim_api::log_reader::LogReader;

use super::Container;
use crate::error::{OrFail as _, Result};

/// Returns where a container's log is kept; `None` where it is not.
pub fn place(container: &Container) -> Option<LogPlace> {
    let directory = container.directory();
    match container.config().log {
        LogDriver::None => None,
        LogDriver::Local { .. } => Some(LogPlace {
            directory: directory.join("log"),
            name: "container.log".to_owned(),
        }),
        LogDriver::JsonFile { .. } => Some(LogPlace {
            directory: directory.to_owned(),
            name: format!("{}-json.log", container.id),
        }),
    }
}

/// Returns how many bytes a container's log takes.
///
/// # Errors
/// When a file cannot be looked at.
pub fn size(container: &Container) -> Result<u64> {
    match place(container) {
        Some(place) => LogReader::size(&place).or_internal(),
        None => Ok(0),
    }
}
