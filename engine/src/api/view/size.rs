//! What a container takes on the disk.

use engine_archive::size::size_of;

use crate::Engine;
use crate::container::{Container, logs};
use crate::error::{OrFail as _, Result};

/// Bytes of a container.
#[derive(Debug, Clone, Copy)]
pub(in crate::api) struct ContainerSize {
    /// Of what it has written over its image.
    pub(in crate::api) written: i64,
    /// The same and the image.
    pub(in crate::api) total: i64,
    /// Of its log, which Docker counts nowhere.
    pub(in crate::api) log: i64,
}

/// Measures a container by looking at its files.
///
/// # Errors
/// When a directory cannot be read.
pub(in crate::api) fn measure(engine: &Engine, container: &Container) -> Result<ContainerSize> {
    let upper = engine.instance.container(&container.id).join("upper");
    let written = size_of(&upper).or_internal()?;
    let image = engine.images.image(&container.config().image_id);
    let below = image.map_or(0, |image| image.size_bytes);
    Ok(ContainerSize {
        written: signed(written),
        total: signed(written.saturating_add(below)),
        log: signed(logs::size(container)?),
    })
}

/// Returns a size as Docker's answers have it.
pub(in crate::api) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
