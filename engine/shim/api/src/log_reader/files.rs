//! Which files a log consists of, while the writer renames and compresses them.
//!
//! A file only ever moves to a higher number, and a compressed one is there
//! before what it was made of goes. Looking at the numbers upwards therefore
//! finds every file, some perhaps twice.

use std::fs::File;
use std::io;
use std::path::Path;

use base::{PathContext as _, PathError, Timestamp};

use super::lines::LineReader;
use crate::LogPlace;

/// Numbers looked at; a log has fewer files.
const FILES_LIMIT: u32 = 1000;
/// While files are renamed a number may be free for a moment.
const MISSING_LIMIT: u32 = 2;

/// Opens every file, oldest first.
pub(super) fn open_all(place: &LogPlace) -> Result<Vec<LineReader>, PathError> {
    open_until(place, None)
}

/// Opens the files after `current`, oldest first.
pub(super) fn open_newer(
    place: &LogPlace,
    current: Option<&LineReader>,
) -> Result<Vec<LineReader>, PathError> {
    open_until(place, current)
}

fn open_until(place: &LogPlace, known: Option<&LineReader>) -> Result<Vec<LineReader>, PathError> {
    let mut files: Vec<LineReader> = Vec::new();
    let mut missing = 0;
    for number in 0..FILES_LIMIT {
        let Some(file) = open_number(place, number)? else {
            missing += 1;
            if missing == MISSING_LIMIT {
                break;
            }
            continue;
        };
        missing = 0;
        if known.is_some_and(|known| known.is_same(&file)) {
            break;
        }
        if files.iter().all(|other| !other.is_same(&file)) {
            files.push(file);
        }
    }
    files.reverse();
    Ok(files)
}

/// Opens one file; where both are there, the compressed one is a copy.
fn open_number(place: &LogPlace, number: u32) -> Result<Option<LineReader>, PathError> {
    let path = place.file(number);
    if let Some(file) = open_if_there(&path)? {
        return LineReader::new(file).at("stat", &path).map(Some);
    }
    let path = place.compressed(number);
    match open_if_there(&path)? {
        Some(file) => LineReader::compressed(file).at("stat", &path).map(Some),
        None => Ok(None),
    }
}

fn open_if_there(path: &Path) -> Result<Option<File>, PathError> {
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.at("open", path).map(Some),
    }
}

/// Drops the files that were written last before `since`.
pub(super) fn drop_older(files: &mut Vec<LineReader>, since: Option<Timestamp>) {
    let Some(since) = since else { return };
    let last = files.len().saturating_sub(1);
    let older = files[..last]
        .iter()
        .take_while(|file| file.modified() < since)
        .count();
    files.drain(..older);
}

/// Returns how many bytes the files take.
pub(super) fn size(place: &LogPlace) -> Result<u64, PathError> {
    let (mut bytes, mut missing) = (0_u64, 0);
    for number in 0..FILES_LIMIT {
        let plain = length(&place.file(number))?;
        let compressed = length(&place.compressed(number))?;
        if plain.is_none() && compressed.is_none() {
            missing += 1;
            if missing == MISSING_LIMIT {
                break;
            }
            continue;
        }
        missing = 0;
        bytes += plain.unwrap_or(0) + compressed.unwrap_or(0);
    }
    Ok(bytes)
}

fn length(path: &Path) -> Result<Option<u64>, PathError> {
    match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.at("stat", path).map(|metadata| Some(metadata.len())),
    }
}
