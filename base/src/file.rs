//! The two ways this project writes a file, bounded reads, and errors that
//! carry their path.
//!
//! `write_durable` is for what a user named and nobody can rebuild; `replace`
//! for what the event log can rebuild, ten times cheaper. A reader of either
//! sees the old or the new content, never a part.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// A file operation that failed, with the path it failed on.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {path:?}")]
pub struct PathError {
    /// What was attempted, as a verb: "open", "rename to".
    pub action: &'static str,
    pub path: PathBuf,
    #[source]
    pub source: io::Error,
}

impl PathError {
    /// Returns the kind of the underlying error.
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }

    /// Returns whether there was no room on the file system, or in a quota.
    pub fn is_full(&self) -> bool {
        use io::ErrorKind as E;
        matches!(self.kind(), E::StorageFull | E::QuotaExceeded)
    }
}

/// Adds the path to an I/O error.
pub trait PathContext<T> {
    /// Turns an I/O error into a [`PathError`] that names `action` and `path`.
    ///
    /// # Errors
    /// The error it was called on, with its path.
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, PathError>;
}

impl<T, E: Into<io::Error>> PathContext<T> for Result<T, E> {
    fn at(self, action: &'static str, path: impl AsRef<Path>) -> Result<T, PathError> {
        self.map_err(|source| PathError {
            action,
            path: path.as_ref().to_owned(),
            source: source.into(),
        })
    }
}

/// Who may read a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileMode {
    /// 0600: state, configuration, secrets.
    Private,
    /// 0644: what a container reads, such as its hosts file.
    Public,
}

impl FileMode {
    fn bits(self) -> u32 {
        match self {
            Self::Private => 0o600,
            Self::Public => 0o644,
        }
    }
}

/// Writes `content` to `path` so that it survives a power cut once this
/// returns: temporary file, sync, rename, sync of the directory.
///
/// # Errors
/// The step that failed, with its path; the old content is then still there.
pub fn write_durable(path: &Path, content: &[u8], mode: FileMode) -> Result<(), PathError> {
    let file = write_temporary(path, content, mode)?;
    file.0.sync_data().at("sync", &file.1)?;
    rename_over(&file.1, path)?;
    sync_directory(parent(path))
}

/// Writes `content` to `path` by rename and without a sync: atomic for
/// readers, not durable across a power cut.
///
/// # Errors
/// The step that failed, with its path; the old content is then still there.
pub fn replace(path: &Path, content: &[u8], mode: FileMode) -> Result<(), PathError> {
    let file = write_temporary(path, content, mode)?;
    rename_over(&file.1, path)
}

/// Makes the entries of `directory` durable.
///
/// # Errors
/// When the directory cannot be opened or synced.
pub fn sync_directory(directory: &Path) -> Result<(), PathError> {
    let handle = File::open(directory).at("open", directory)?;
    handle.sync_all().at("sync", directory)
}

/// Reads a whole file of at most `limit_bytes`.
///
/// # Errors
/// When it cannot be read, or is larger than the limit (`FileTooLarge`).
pub fn read_bounded(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, PathError> {
    let file = File::open(path).at("open", path)?;
    let mut content = Vec::new();
    file.take(limit_bytes + 1)
        .read_to_end(&mut content)
        .at("read", path)?;
    if content.len() as u64 > limit_bytes {
        return Err(io::Error::from(io::ErrorKind::FileTooLarge)).at("read", path);
    }
    Ok(content)
}

/// Makes `path` and its missing parents, each with mode `mode`.
///
/// # Errors
/// When one cannot be made.
pub fn make_directories(path: &Path, mode: u32) -> Result<(), PathError> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new()
        .recursive(true)
        .mode(mode)
        .create(path)
        .at("make directory", path)
}

/// Removes a file; one that is not there is no error.
///
/// # Errors
/// When it exists and cannot be removed.
pub fn remove_if_there(path: &Path) -> Result<(), PathError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error).at("remove", path),
        _ => Ok(()),
    }
}

fn write_temporary(
    path: &Path,
    content: &[u8],
    mode: FileMode,
) -> Result<(File, PathBuf), PathError> {
    let temporary = temporary_name(path);
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode.bits())
        .open(&temporary)
        .at("create", &temporary)?;
    if let Err(error) = file.write_all(content) {
        // The write's own error is the one to report.
        drop(fs::remove_file(&temporary));
        return Err(error).at("write", &temporary);
    }
    Ok((file, temporary))
}

fn rename_over(from: &Path, to: &Path) -> Result<(), PathError> {
    fs::rename(from, to).at("rename to", to).inspect_err(|_| {
        // The rename's own error is the one to report.
        drop(fs::remove_file(from));
    })
}

/// A name beside `path` that no other writer uses: `.<name>.<pid>.<n>.tmp`.
fn temporary_name(path: &Path) -> PathBuf {
    use std::sync::atomic::{AtomicU64, Ordering};
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let random = uuid::Uuid::new_v4().as_fields().0;
    parent(path).join(format!(
        ".{name}.{}.{number}.{random:08x}.tmp",
        std::process::id()
    ))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("/"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    #[test]
    fn a_write_replaces_the_whole_file_and_leaves_no_temporary() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state.json");
        write_durable(&path, b"a longer first content", FileMode::Private).unwrap();
        replace(&path, b"second", FileMode::Public).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(
            fs::metadata(&path).unwrap().permissions().mode() & 0o777,
            0o644
        );
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_error_names_the_path_and_keeps_the_old_content() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("missing").join("x");
        let error = replace(&path, b"", FileMode::Private).unwrap_err();
        assert!(error.to_string().contains("missing"), "{error}");
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_file_over_the_limit_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("big");
        replace(&path, &[0; 100], FileMode::Private).unwrap();
        assert_eq!(read_bounded(&path, 100).unwrap().len(), 100);
        assert_eq!(
            read_bounded(&path, 99).unwrap_err().kind(),
            io::ErrorKind::FileTooLarge
        );
    }
}
