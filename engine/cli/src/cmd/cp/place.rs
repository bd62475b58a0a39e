//! Where a copy comes from and goes to, by the rules of `docker cp`, which are those
//! of cp(1) with one more: a path that ends in `/.` means what is in the directory.

use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use engine_api::archive::{PathStat, go_mode};

use crate::error::CliError;

const DIRECTORY: u32 = 1 << 31;

/// One side of a copy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place<'a> {
    Container {
        name: &'a str,
        path: PathBuf,
    },
    /// `-` is a stream.
    Host(PathBuf),
}

impl<'a> Place<'a> {
    /// Reads `CONTAINER:PATH`; what begins as a path is one of the host.
    pub(super) fn parse(text: &'a str) -> Self {
        let is_path = text.starts_with(['/', '.']);
        match text.split_once(':') {
            Some((name, path)) if !is_path && !name.is_empty() => {
                let path = match path.starts_with('/') {
                    true => path.to_owned(),
                    false => format!("/{path}"),
                };
                Self::Container {
                    name,
                    path: path.into(),
                }
            }
            _ => Self::Host(text.into()),
        }
    }
}

/// Where an archive is unpacked, and what its first name becomes there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) directory: PathBuf,
    pub(super) rename: Option<OsString>,
}

/// Returns where a copy of `source` goes that is to be at `destination`, where
/// `there` is now.
///
/// # Errors
/// When it cannot be there.
pub(super) fn target(
    source: &PathStat,
    source_path: &Path,
    destination: &Path,
    there: Option<PathStat>,
) -> Result<Target, CliError> {
    let is_directory = |stat: &PathStat| stat.mode & DIRECTORY != 0;
    let refuse = |message: &str| Err(CliError::Usage(message.to_owned()));
    let only_content = source_path.as_os_str().as_bytes().ends_with(b"/.");
    let ends_in_slash = destination.as_os_str().as_bytes().ends_with(b"/");
    let beside = |rename: OsString| {
        let directory = destination
            .parent()
            .filter(|path| !path.as_os_str().is_empty());
        Target {
            directory: directory.unwrap_or(Path::new(".")).to_owned(),
            rename: Some(rename),
        }
    };
    let name = destination.file_name().map(OsString::from);
    match there {
        Some(there) if is_directory(&there) => Ok(Target {
            directory: destination.to_owned(),
            rename: (only_content && is_directory(source)).then(OsString::new),
        }),
        Some(_) if is_directory(source) => refuse("cannot copy directory"),
        Some(_) if ends_in_slash => refuse("not a directory"),
        None if ends_in_slash && !is_directory(source) => {
            refuse("destination directory must exist")
        }
        Some(_) | None => match name {
            Some(name) => Ok(beside(name)),
            None => refuse("invalid destination"),
        },
    }
}

/// Returns what is at a path of the host, following a link; nothing where it cannot
/// be seen.
pub(super) fn on_host(path: &Path) -> Option<PathStat> {
    stat(path, &std::fs::metadata(path).ok()?)
}

/// Returns what is at a path of the host; a link is one, unless the path ends in a
/// slash or a dot.
///
/// # Errors
/// When nothing is there.
pub(super) fn stat_on_host(path: &Path) -> io::Result<PathStat> {
    let metadata = match path.as_os_str().as_bytes() {
        bytes if bytes.ends_with(b"/") || bytes.ends_with(b".") => std::fs::metadata(path),
        _ => std::fs::symlink_metadata(path),
    };
    let missing = || io::Error::from(io::ErrorKind::NotFound);
    stat(path, &metadata?).ok_or_else(missing)
}

fn stat(path: &Path, metadata: &std::fs::Metadata) -> Option<PathStat> {
    use std::os::unix::fs::MetadataExt as _;
    let absolute = absolute(path).ok()?;
    let name = absolute.file_name().unwrap_or("/".as_ref());
    Some(PathStat {
        name: name.to_string_lossy().into_owned(),
        size: i64::try_from(metadata.len()).unwrap_or(i64::MAX),
        mode: go_mode(metadata.mode()),
        ..PathStat::default()
    })
}

/// Makes a path absolute; what it ends in is kept.
///
/// # Errors
/// When the working directory is not known.
pub(super) fn absolute(path: &Path) -> io::Result<PathBuf> {
    match path.is_absolute() {
        true => Ok(path.to_owned()),
        false => Ok(std::env::current_dir()?.join(path)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(is_directory: bool) -> PathStat {
        PathStat {
            mode: if is_directory { DIRECTORY } else { 0 },
            ..PathStat::default()
        }
    }

    #[track_caller]
    fn goes(
        source: &str,
        to: &str,
        there: Option<bool>,
        expected: Result<(&str, Option<&str>), &str>,
    ) {
        let is_directory = source.ends_with("dir") || source.ends_with("/.");
        let found = target(
            &stat(is_directory),
            Path::new(source),
            Path::new(to),
            there.map(stat),
        );
        match (found, expected) {
            (Ok(found), Ok((directory, rename))) => {
                assert_eq!(found.directory, Path::new(directory), "{source} {to}");
                assert_eq!(found.rename, rename.map(OsString::from), "{source} {to}");
            }
            (Err(error), Err(text)) => assert!(error.message().contains(text), "{source} {to}"),
            (found, expected) => panic!("{source} {to}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_copy_goes_where_cp_would_put_it() {
        goes("/a/file", "/to", Some(true), Ok(("/to", None)));
        goes("/a/file", "/to/new", None, Ok(("/to", Some("new"))));
        goes("/a/file", "/to/old", Some(false), Ok(("/to", Some("old"))));
        goes("/a/file", "/to/new/", None, Err("must exist"));
        goes("/a/dir", "/to", Some(true), Ok(("/to", None)));
        goes("/a/dir", "/to/new", None, Ok(("/to", Some("new"))));
        goes("/a/dir", "/to/new/", None, Ok(("/to", Some("new"))));
        goes(
            "/a/dir",
            "/to/old",
            Some(false),
            Err("cannot copy directory"),
        );
        goes("/a/dir/.", "/to", Some(true), Ok(("/to", Some(""))));
        goes("/a/dir/.", "/to/new", None, Ok(("/to", Some("new"))));
        goes("file", "new", None, Ok((".", Some("new"))));
    }

    #[test]
    fn a_colon_in_a_path_of_the_host_is_part_of_it() {
        let container = Place::Container {
            name: "web",
            path: "/etc".into(),
        };
        assert_eq!(Place::parse("web:etc"), container);
        assert_eq!(Place::parse("web:/etc"), container);
        for host in ["/a:b", "./a:b", "-", "file", ":x"] {
            assert_eq!(Place::parse(host), Place::Host(host.into()));
        }
    }
}
