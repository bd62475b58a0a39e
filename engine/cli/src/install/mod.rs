//! What `engine install` puts on a host and `engine uninstall` takes away again: the
//! units of `packaging/`, the group, and the links that were asked for.
//!
//! `plan` says what there should be, `record` keeps what was made of it. What was there
//! before is never replaced, and what was changed since is never removed: a step that
//! would is refused before the first is taken.

mod plan;
mod record;

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use base::PathError;
use base::file::{FileMode, PathContext as _, make_directories, remove_if_there, write_durable};

use plan::{Content, Item};
pub(crate) use plan::{Options, Plan};
use record::Record;

/// Why nothing, or not everything, was installed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("{path:?} is there already and is not engine's; nothing was installed")]
    Taken { path: PathBuf },
    #[error("{path:?} was changed after it was installed; remove it or move it away first")]
    Changed { path: PathBuf },
    #[error("{path:?} is a symbolic link and may lead out of the prefix")]
    Leads { path: PathBuf },
    #[error("{path:?} is not a record of what was installed")]
    Record {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{path:?} has a character that a unit cannot hold in its command")]
    Program { path: PathBuf },
    #[error("there is no {path:?}; all programs belong into one directory")]
    Incomplete { path: PathBuf },
}

/// What is at a place of the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Found {
    Nothing,
    /// What the plan says, whoever made it.
    Same,
    /// Ours, of an older plan.
    Older,
    /// Ours, changed by someone.
    Changed,
    Foreign,
}

/// One step, as it is told to the user.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Made(PathBuf),
    Unchanged(PathBuf),
    Removed(PathBuf),
    /// It was changed since, and stays.
    Left(PathBuf),
}

/// Makes what the plan says and is not there yet; with `is_dry` only says what would
/// be made.
///
/// # Errors
/// When something else is in the way, before anything is made; or when a file cannot
/// be written.
pub(crate) fn install(plan: &Plan, is_dry: bool) -> Result<Vec<Step>, InstallError> {
    let mut record = Record::load(&plan.prefix)?;
    let mut steps = Vec::new();
    for item in &plan.items {
        let path = plan.resolve(&item.path)?;
        steps.push(match found(&record, item, &path)? {
            Found::Nothing | Found::Older => Step::Made(path),
            Found::Same => Step::Unchanged(path),
            Found::Changed => return Err(InstallError::Changed { path }),
            Found::Foreign => return Err(InstallError::Taken { path }),
        });
    }
    if is_dry {
        return Ok(steps);
    }
    let made = plan.items.iter().zip(&steps);
    let made: Vec<&Item> = made
        .filter(|(_, step)| matches!(step, Step::Made(_)))
        .map(|(item, _)| item)
        .collect();
    if made.is_empty() {
        return Ok(steps);
    }
    // First, so that what is made half can be taken away.
    for item in &made {
        record.note(item, &plan.prefix);
    }
    record.save(&plan.prefix)?;
    for item in made {
        make(item, &plan.resolve(&item.path)?)?;
    }
    Ok(steps)
}

/// Takes away what [`install`] made and nobody changed.
///
/// # Errors
/// When the record cannot be read or a file cannot be removed.
pub(crate) fn uninstall(prefix: &Path, is_dry: bool) -> Result<Vec<Step>, InstallError> {
    let mut record = Record::load(prefix)?;
    let mut steps = Vec::new();
    for item in record.items().into_iter().rev() {
        let path = plan::resolve(prefix, &item.path)?;
        match found(&record, &item, &path)? {
            Found::Nothing => {}
            Found::Same | Found::Older => {
                if !is_dry {
                    remove_if_there(&path)?;
                }
                steps.push(Step::Removed(path));
            }
            Found::Changed | Found::Foreign => steps.push(Step::Left(path)),
        }
    }
    if !is_dry {
        record.remove(prefix)?;
    }
    Ok(steps)
}

fn found(record: &Record, item: &Item, path: &Path) -> Result<Found, InstallError> {
    let there = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        other => other.at("look at", path)?,
    };
    let is = match &item.content {
        Content::Link(_) if there.is_symlink() => {
            Some(Content::Link(fs::read_link(path).at("read", path)?))
        }
        Content::Text(_) | Content::Digest(_) if there.is_file() => Some(Content::read(path)?),
        _ => None,
    };
    let Some(is) = is else {
        return Ok(Found::Foreign);
    };
    Ok(if is.is_as(&item.content) {
        Found::Same
    } else {
        match record.wrote(&item.path) {
            Some(wrote) if is.is_as(wrote) => Found::Older,
            Some(_) => Found::Changed,
            None => Found::Foreign,
        }
    })
}

fn make(item: &Item, path: &Path) -> Result<(), InstallError> {
    let parent = path.parent().unwrap_or(Path::new("/"));
    make_directories(parent, 0o755)?;
    match &item.content {
        Content::Text(text) => write_durable(path, text.as_bytes(), FileMode::Public)?,
        Content::Link(target) => {
            remove_if_there(path)?;
            symlink(target, path).at("link", path)?;
        }
        // Only a record has one.
        Content::Digest(_) => {}
    }
    Ok(())
}

#[cfg(test)]
mod tests;
