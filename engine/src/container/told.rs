//! That a container was created and removed is told once, also where the engine was
//! killed between doing it and telling it.
//!
//! What became of its runs is told by shims, which nothing of this touches.

use base::Timestamp;
use events::Position;

use super::{Container, remove, store};
use crate::Engine;
use crate::error::{OrFail as _, Result};
use crate::event::{CONTAINER_CREATED, CONTAINER_REMOVED};

/// Tells that a container was created.
///
/// # Errors
/// When the log cannot be written.
pub fn tell_created(engine: &Engine, container: &Container) -> Result<Position> {
    tell(engine, container, CONTAINER_CREATED)
}

/// Tells that a container was removed.
///
/// # Errors
/// When the log cannot be written.
pub fn tell_removed(engine: &Engine, container: &Container) -> Result<Position> {
    tell(engine, container, CONTAINER_REMOVED)
}

/// Tells of a container whose creation was cut short, unless the log does already.
///
/// # Errors
/// When the log or the container's state cannot be read or written.
pub fn complete_creation(engine: &Engine, container: &Container) -> Result<()> {
    let since = container.config().created;
    if !is_told(engine, container, (CONTAINER_CREATED, since))? {
        engine.steps.reached("told.created");
        tell_created(engine, container)?;
    }
    let directory = container.directory();
    // A host that lost its power may have lost that file.
    let noted = store::note_told(directory);
    noted
        .or_else(|_| store::write_state(directory, &container.state()))
        .or_internal()
}

/// Tells of a removal that was cut short, unless the log does already.
///
/// # Errors
/// When the log cannot be read or written.
pub fn complete_removal(engine: &Engine, container: &Container) -> Result<()> {
    // What runs cannot be removed.
    let since = container.state().finished;
    let since = since.unwrap_or(container.config().created);
    if !is_told(engine, container, (CONTAINER_REMOVED, since))? {
        engine.steps.reached("told.removed");
        tell_removed(engine, container)?;
    }
    Ok(())
}

fn tell(engine: &Engine, container: &Container, kind: &'static str) -> Result<Position> {
    let subject = container.id.to_string();
    engine.bus.publish(kind, subject, &remove::named(container))
}

/// Returns whether the log has such a record about a container since a time.
fn is_told(
    engine: &Engine,
    container: &Container,
    (kind, since): (&str, Timestamp),
) -> Result<bool> {
    let log = engine.bus.log();
    let start = log.position_before(since).or_internal()?;
    let mut reader = log.read_after(start).or_internal()?;
    loop {
        let records = reader.read_batch().or_internal()?;
        if records.is_empty() {
            return Ok(false);
        }
        let id = container.id.as_str();
        if records.iter().any(|it| it.kind == kind && it.subject == id) {
            return Ok(true);
        }
    }
}
