//! Which files a log consists of, while the writer renames them.
//!
//! A file only ever moves to a higher number. Looking at the numbers upwards
//! therefore finds every file, some perhaps twice.

use std::fs::File;
use std::io;
use std::path::Path;

use base::{PathContext as _, PathError, Timestamp};

use super::lines::{FileIdentity, LineReader};

/// Numbers looked at; a log has fewer files.
const FILES_LIMIT: u32 = 1000;
/// While files are renamed a number may be free for a moment.
const MISSING_LIMIT: u32 = 2;

/// Returns the name of a file of a log: 0 is the one written, 1 the one before.
pub fn file_name(number: u32) -> String {
    match number {
        0 => "container.log".to_owned(),
        number => format!("container.log.{number}"),
    }
}

/// Opens every file, oldest first.
pub(super) fn open_all(directory: &Path) -> Result<Vec<LineReader>, PathError> {
    open_until(directory, None)
}

/// Opens the files after `current`, oldest first.
pub(super) fn open_newer(
    directory: &Path,
    current: Option<&LineReader>,
) -> Result<Vec<LineReader>, PathError> {
    open_until(directory, current.map(|current| current.identity))
}

fn open_until(directory: &Path, known: Option<FileIdentity>) -> Result<Vec<LineReader>, PathError> {
    let mut files: Vec<LineReader> = Vec::new();
    let mut missing = 0;
    for number in 0..FILES_LIMIT {
        let path = directory.join(file_name(number));
        let file = match File::open(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                missing += 1;
                if missing == MISSING_LIMIT {
                    break;
                }
                continue;
            }
            other => LineReader::new(other.at("open", &path)?).at("stat", &path)?,
        };
        missing = 0;
        if known == Some(file.identity) {
            break;
        }
        if files.iter().all(|other| other.identity != file.identity) {
            files.push(file);
        }
    }
    files.reverse();
    Ok(files)
}

/// Drops the files that were written last before `since`.
pub(super) fn drop_older(files: &mut Vec<LineReader>, since: Option<Timestamp>) -> io::Result<()> {
    let Some(since) = since else { return Ok(()) };
    let last = files.len().saturating_sub(1);
    let mut older = 0;
    for file in &files[..last] {
        let modified = file.file.metadata()?.modified()?;
        let since = std::time::UNIX_EPOCH
            + std::time::Duration::from_nanos(u64::try_from(since.nanoseconds()).unwrap_or(0));
        if modified >= since {
            break;
        }
        older += 1;
    }
    files.drain(..older);
    Ok(())
}
