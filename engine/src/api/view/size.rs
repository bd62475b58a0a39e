//! What containers and images take on the disk, which is only told when it is asked
//! for: it is counted.

use engine_api::container::ContainerSummary;
use engine_archive::size::size_of;
use engine_image::Image;

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

/// Adds the sizes to rows of containers; one that is gone meanwhile has none.
///
/// # Errors
/// When a writable layer cannot be read.
pub(in crate::api) fn add(engine: &Engine, rows: &mut [ContainerSummary]) -> Result<()> {
    for row in rows {
        let Ok(container) = engine.containers.find(&row.id) else {
            continue;
        };
        let size = measure(engine, &container)?;
        // Docker does not tell nothing.
        row.size_rw = Some(size.written).filter(|bytes| *bytes > 0);
        row.size_root_fs = Some(size.total).filter(|bytes| *bytes > 0);
        row.size_log = Some(size.log);
    }
    Ok(())
}

/// Returns the bytes of an image's layers that others have as well.
pub(in crate::api) fn shared(image: &Image, all: &[Image]) -> i64 {
    let others = || all.iter().filter(|other| other.id != image.id);
    let is_shared = |diff_id| others().any(|other| other.diff_ids().any(|id| id == diff_id));
    let layers = image.layers.iter();
    let shared = layers.filter(|layer| is_shared(layer.diff_id));
    signed(shared.map(|layer| layer.size_bytes).sum())
}

/// Returns a size as Docker's answers have it.
pub(in crate::api) fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}
